// The shortest way for calls that need no conversion, since checks in Python take longer than pooling a few RoIs. It
// computes nothing unless everything is as it should be. Otherwise the caller takes the general way, which converts and
// checks, and raises the errors.
#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "bindings.h"
#include "separable.h"
#include "suspicions.h"

namespace nb = nanobind;

namespace roialign {
namespace {

/// Coordinates beyond this count as infinite, as in `_validate.py`.
constexpr double largest_coordinate = 1e100;

/// RoIs of one map, as rows that the core takes.
struct Rows {
  std::vector<double> rows;
  std::vector<int64_t> levels;
};

/// Appends RoIs, which are rows of (image, x1, y1, x2, y2), or of (x1, y1, x2, y2) on a given image. Returns false if
/// one is invalid.
template <class T>
bool append_rows(const Array& rois, std::optional<int64_t> image, int64_t images, std::vector<double>& rows) {
  for (int64_t row = 0; row < rois.size[0]; ++row) {
    const std::byte* from = rois.data + row * rois.stride[0];
    const auto next = [&] {
      const auto value = static_cast<double>(*reinterpret_cast<const T*>(from));
      from += rois.stride[1];
      return value;
    };
    const double on = image ? static_cast<double>(*image) : next();
    if (!(on >= 0.0 && on < static_cast<double>(images)) || on != std::floor(on)) return false;
    rows.push_back(on);
    for (int column = 0; column < 4; ++column) {
      rows.push_back(next());
      if (!(std::fabs(rows.back()) <= largest_coordinate)) return false;  // also for NaN
    }
  }
  return true;
}

/// Reads one array of rows with their images, or a tuple with one array of boxes per image. Returns nothing if there
/// are no RoIs, or not all are as they should be.
std::optional<Rows> rows_of(nb::handle rois, int64_t images, nb::handle exchange) {
  Rows found;
  const auto append = [&](nb::handle array, std::optional<int64_t> image) {
    const std::optional<Array> part = array_of(array, exchange);
    if (!part || part->dimensions != 2 || part->size[1] != (image ? 4 : 5)) return false;
    if (!image) found.rows.reserve(static_cast<size_t>(5 * part->size[0]));
    if (part->type == ScalarType::float64) return append_rows<double>(*part, image, images, found.rows);
    if (part->type == ScalarType::float32) return append_rows<float>(*part, image, images, found.rows);
    return false;
  };
  if (nb::isinstance<nb::tuple>(rois)) {
    int64_t image = 0;
    for (const nb::handle boxes : nb::borrow<nb::tuple>(rois)) {
      if (!append(boxes, image++)) return std::nullopt;
    }
    if (image != images) return std::nullopt;
  } else if (!append(rois, std::nullopt)) {
    return std::nullopt;
  }
  if (found.rows.empty()) return std::nullopt;
  found.levels.resize(found.rows.size() / 5);  // zeros
  return found;
}

View nchw(const Array& array, bool channels_last) {
  const auto& [n, a, b, c] = array.size;
  const auto& [step_n, step_a, step_b, step_c] = array.stride;
  if (channels_last) return {array.data, {n, c, a, b}, {step_n, step_c, step_a, step_b}};
  return {array.data, array.size, array.stride};
}

/// Whether the call would raise a warning because of an argument that is not used.
bool has_unused_ratio(const SeparableSpec& spec) {
  return spec.rule != Rule::grid && spec.sampling_ratio != std::array<int64_t, 2>{0, 0};
}

bool is_pooled(const std::optional<Array>& array) {
  return array && array->dimensions == 4 && std::ranges::count(array->size, 0) == 0;
}

SeparableCall call_of(const SeparableSpec& spec, ScalarType type, const double& scale, const Rows& rows,
                      const Team* team) {
  const auto count = static_cast<int64_t>(rows.levels.size());
  return {spec, type, {&scale, 1}, count, rows.rows.data(), rows.levels.data(), {}, team == nullptr ? Team{} : *team};
}

/// Returns whether `out` has been computed. The caller has made it for the features and the RoIs, but another thread
/// may have changed them since.
bool plain_forward(const SeparableSpec& spec, nb::handle features, nb::handle rois, double scale, bool channels_last,
                   nb::handle out, const Team* team, nb::handle exchange) {
  const std::optional<Array> map = array_of(features, exchange), target = array_of(out, exchange);
  if (!is_pooled(map) || !is_pooled(target) || spec.rule == Rule::random || has_unused_ratio(spec)) return false;
  const std::optional<Rows> rows = rows_of(rois, map->size[0], exchange);
  if (!rows) return false;
  const SeparableCall call = call_of(spec, map->type, scale, *rows, team);
  const View from = nchw(*map, channels_last), to = nchw(*target, channels_last);
  if (to.size[0] != call.rois || to.size[1] != from.size[1] || target->type != map->type) return false;
  const nb::gil_scoped_release release;
  if (suspicions_of(call, {&from, 1}) != 0) return false;  // the general way warns
  forward(call, {&from, 1}, to);
  return true;
}

/// Returns whether `grad_features` has been computed. The caller has made it.
bool plain_adjoint_features(const SeparableSpec& spec, nb::handle grad_output, nb::handle rois, double scale,
                            nb::handle grad_features, const Team* team, nb::handle exchange) {
  const std::optional<Array> gradient = array_of(grad_output, exchange), map = array_of(grad_features, exchange);
  if (!is_pooled(gradient) || !is_pooled(map) || spec.rule == Rule::random) return false;
  const std::optional<Rows> rows = rows_of(rois, map->size[0], exchange);
  if (!rows || gradient->size[0] != static_cast<int64_t>(rows->levels.size()) || gradient->size[1] != map->size[1] ||
      gradient->type != map->type)
    return false;
  const SeparableCall call = call_of(spec, map->type, scale, *rows, team);
  const View from = nchw(*gradient, false), to = nchw(*map, false);
  const nb::gil_scoped_release release;
  adjoint_features(call, from, {&to, 1});
  return true;
}

}  // namespace

void bind_plain(nb::module_& m) {
  m.def("plain_forward", &plain_forward, nb::arg("spec"), nb::arg("features"), nb::arg("rois"), nb::arg("scale"),
        nb::arg("channels_last"), nb::arg("out"), nb::arg("team") = nb::none(), nb::arg("exchange") = nb::none());
  m.def("plain_adjoint_features", &plain_adjoint_features, nb::arg("spec"), nb::arg("grad_output"), nb::arg("rois"),
        nb::arg("scale"), nb::arg("grad_features"), nb::arg("team") = nb::none(), nb::arg("exchange") = nb::none());
}

}  // namespace roialign
