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

/// Converts rows of (image, x1, y1, x2, y2) to float64. Returns false if a row is invalid.
template <class T>
bool read_rows(const Array& rois, int64_t images, std::vector<double>& rows) {
  rows.resize(static_cast<size_t>(5 * rois.size[0]));
  double* to = rows.data();
  for (int64_t row = 0; row < rois.size[0]; ++row) {
    bool finite = true;  // NaN fails every comparison
    for (int64_t column = 0; column < 5; ++column) {
      const std::byte* const from = rois.data + row * rois.stride[0] + column * rois.stride[1];
      const auto value = static_cast<double>(*reinterpret_cast<const T*>(from));
      finite &= std::fabs(value) <= largest_coordinate;
      *to++ = value;
    }
    const double image = to[-5];
    if (!finite || !(image >= 0.0 && image < static_cast<double>(images)) || image != std::floor(image)) return false;
  }
  return true;
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

/// RoIs of one map, converted to rows that the core takes. Nothing if a row is not as it should be.
struct Rows {
  std::vector<double> rows;
  std::vector<int64_t> levels;
};

std::optional<Rows> rows_of(const Array& rois, int64_t images) {
  if (rois.dimensions != 2 || rois.size[0] == 0 || rois.size[1] != 5) return std::nullopt;
  Rows found{{}, std::vector<int64_t>(static_cast<size_t>(rois.size[0]), 0)};
  const bool valid = rois.type == ScalarType::float64   ? read_rows<double>(rois, images, found.rows)
                     : rois.type == ScalarType::float32 ? read_rows<float>(rois, images, found.rows)
                                                        : false;
  if (!valid) return std::nullopt;
  return found;
}

bool is_pooled(const std::optional<Array>& array) {
  return array && array->dimensions == 4 && std::ranges::count(array->size, 0) == 0;
}

SeparableCall call_of(const SeparableSpec& spec, ScalarType type, const double& scale, const Rows& rows,
                      const Team* team) {
  const auto count = static_cast<int64_t>(rows.levels.size());
  return {spec, type, {&scale, 1}, count, rows.rows.data(), rows.levels.data(), {}, team == nullptr ? Team{} : *team};
}

/// Returns whether `out` has been computed. The caller has made it for the features and the RoIs.
bool plain_forward(const SeparableSpec& spec, nb::handle features, nb::handle rois, double scale, bool channels_last,
                   nb::handle out, const Team* team, nb::handle exchange) {
  const std::optional<Array> map = array_of(features, exchange), boxes = array_of(rois, exchange),
                             target = array_of(out, exchange);
  if (!is_pooled(map) || !boxes || !target || spec.rule == Rule::random || has_unused_ratio(spec)) return false;
  const std::optional<Rows> rows = rows_of(*boxes, map->size[0]);
  if (!rows) return false;
  const SeparableCall call = call_of(spec, map->type, scale, *rows, team);
  const View from = nchw(*map, channels_last), to = nchw(*target, channels_last);
  const nb::gil_scoped_release release;
  if (suspicions_of(call, {&from, 1}) != 0) return false;  // the general way warns
  forward(call, {&from, 1}, to);
  return true;
}

/// Returns whether `grad_features` has been computed. The caller has made it.
bool plain_adjoint_features(const SeparableSpec& spec, nb::handle grad_output, nb::handle rois, double scale,
                            nb::handle grad_features, const Team* team, nb::handle exchange) {
  const std::optional<Array> gradient = array_of(grad_output, exchange), boxes = array_of(rois, exchange),
                             map = array_of(grad_features, exchange);
  if (!is_pooled(gradient) || !is_pooled(map) || !boxes || spec.rule == Rule::random) return false;
  const std::optional<Rows> rows = rows_of(*boxes, map->size[0]);
  if (!rows || gradient->size[0] != boxes->size[0] || gradient->size[1] != map->size[1] || gradient->type != map->type)
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
