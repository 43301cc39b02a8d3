// The shortest way for calls that need no conversion, since checks in Python take longer than pooling a few RoIs. It
// computes nothing unless everything is as it should be. Otherwise the caller takes the general way, which converts and
// checks, and raises the errors.
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "bindings.h"
#include "bindings_arguments.h"
#include "pointwise.h"
#include "separable.h"
#include "suspicions.h"

namespace nb = nanobind;

namespace roialign {
namespace {

/// Whether the general way would draw points, or warn about an argument that is not used.
template <class Spec>
bool is_unusual(const Spec& spec) {
  using Rule = decltype(spec.rule);
  return spec.rule == Rule::random || (spec.rule != Rule::grid && spec.sampling_ratio != std::array<int64_t, 2>{0, 0});
}

/// The channels of the result, or 0 if those of the maps cannot be divided among bins or orientations.
int64_t channels_of_result(const SeparableSpec&, int64_t channels, int64_t, int64_t) { return channels; }
int64_t channels_of_result(const PointwiseSpec& spec, int64_t channels, int64_t bins_y, int64_t bins_x) {
  switch (spec.channels) {
    case Channels::same:
      return channels;
    case Channels::orientation:
      return channels % spec.orientations == 0 ? channels : 0;
    case Channels::position:
      // Compared one after the other, so that the product is not larger than the channels.
      if (bins_y < 1 || bins_x < 1 || bins_y > channels || bins_x > channels / bins_y) return 0;
      return channels % (bins_y * bins_x) == 0 ? channels / (bins_y * bins_x) : 0;
  }
  return 0;  // unreachable: every kind has a case
}

/// A call of either family, with the memory that it refers to.
template <class Spec>
class PlainCall;

template <>
class PlainCall<SeparableSpec> {
 public:
  PlainCall(const SeparableSpec& spec, ScalarType type, const Levels& levels, const Rows& rows, Team team)
      : call{spec, type, levels.scales, rows.count(), rows.rows.data(), rows.levels.data(), {}, team} {}

  void compute(std::span<const View> maps, const View& out) const { forward(call, maps, out); }
  void compute_gradients(const View& grad_output, std::span<const View>, std::span<const View> grad_features) const {
    adjoint_features(call, grad_output, grad_features);
  }

  SeparableCall call;
};

template <>
class PlainCall<PointwiseSpec> {
 public:
  PlainCall(const PointwiseSpec& spec, ScalarType type, const Levels& levels, const Rows& rows, Team team) {
    for (auto row = rows.rows.begin(); row != rows.rows.end(); row += rows.columns()) {
      images_.push_back(static_cast<int64_t>(*row));
      boxes_.insert(boxes_.end(), row + 1, row + rows.columns());
    }
    const Geometry geometry{boxes_.data(), nullptr, nullptr};
    call = {spec,     type,    levels.scales, rows.count(), rows.numbers, images_.data(), rows.levels.data(),
            geometry, nullptr, team};
  }
  PlainCall(const PlainCall&) = delete;

  void compute(std::span<const View> maps, const View& out) const { forward(call, maps, maps, out); }
  void compute_gradients(const View& grad_output, std::span<const View> deciding,
                         std::span<const View> grad_features) const {
    adjoint_features(call, grad_output, deciding, grad_features);
  }

  PointwiseCall call;

 private:
  std::vector<int64_t> images_;
  std::vector<double> boxes_;
};

/// Returns whether `out` has been computed. It has been made for the features and the RoIs, but another thread may have
/// changed them since.
template <class Spec>
bool forward_into(const Spec& spec, const Maps& maps, const Levels& levels, const Rows& rows, Team team, const View& to,
                  ScalarType type_of_output) {
  const auto& [count, channels, bins_y, bins_x] = to.size;
  if (count != rows.count() || channels != channels_of_result(spec, maps.views[0].size[1], bins_y, bins_x))
    return false;
  if (type_of_output != maps.type) return false;
  const PlainCall<Spec> plain(spec, maps.type, levels, rows, team);
  const nb::gil_scoped_release release;
  if (suspicions_of(plain.call, maps.views) != 0) return false;  // the general way warns
  plain.compute(maps.views, to);
  return true;
}

/// Returns whether `out`, which the caller has made, has been computed.
template <class Spec>
bool plain_forward(const Spec& spec, const Arrays& features, nb::handle rois, const Levels& levels, bool channels_last,
                   nb::handle out) {
  const Reader read;
  const std::optional<Maps> maps = maps_of(features, channels_last, read);
  const std::optional<Array> target = read(out);
  if (!maps || !levels.are_valid(maps->views.size()) || !is_pooled(target) || is_unusual(spec)) return false;
  const std::optional<Rows> rows = rows_of(rois, numbers_of_box(spec), levels, maps->views[0].size[0], read);
  return rows && forward_into(spec, *maps, levels, *rows, Team{}, nchw(*target, channels_last), target->type);
}

using Shape = std::array<int64_t, 4>;

int64_t elements_of(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies());
}

nb::object new_tensor(const Tensors& tensors, const Shape& shape, bool channels_last, nb::handle like) {
  const auto& [n, c, h, w] = shape;
  const nb::object sizes = nb::make_tuple(n, c, h, w);
  const double elements = std::accumulate(shape.begin(), shape.end(), 1.0, std::multiplies());  // never overflows
  if (elements >= static_cast<double>(tensors.small_elements)) return tensors.empty(sizes, channels_last, like);
  const nb::object strides =
      channels_last ? nb::make_tuple(c * h * w, 1, w * c, c) : nb::make_tuple(c * h * w, h * w, w, 1);
  return tensors.new_empty_strided(like, sizes, strides);
}

Team team_of(const Tensors& tensors, int64_t elements) {
  return elements < tensors.small_elements ? Team{1} : nb::cast<Team>(tensors.team_for(elements));
}

bool require_gradients(const Tensors& tensors, const Arrays& maps) {
  return std::any_of(maps.begin(), maps.end(),
                     [&](nb::handle map) { return nb::cast<bool>(tensors.requires_grad(map)); });
}

nb::object shapes_of(const Maps& maps) {
  nb::list shapes;
  for (const View& map : maps.views) {
    const auto& [n, c, h, w] = map.size;
    shapes.append(nb::make_tuple(n, c, h, w));
  }
  return shapes;
}

/// Returns the result, whether the channels of the finest map are adjacent, and the shapes of the maps (N, C, H, W) if
/// their gradients will be needed, else None. `out` is None or has the shape of the result.
template <class Spec>
nb::object plain_tensor_forward(const Torch& torch, const Spec& spec, const Arrays& features, nb::handle rois,
                                const Levels& levels, std::array<int64_t, 2> bins, bool channels_last, nb::object out,
                                bool records) {
  const Tensors tensors(torch);
  const Reader read{.tensors = &tensors}, read_again{.tensors = &tensors, .is_checked = true};
  const std::optional<Maps> given = maps_of(features, channels_last, read);
  if (!given || !levels.are_valid(given->views.size()) || is_unusual(spec)) return nb::none();
  const View& first = given->views[0];
  const std::optional<Rows> rows =
      rows_of(rois, numbers_of_box(spec), levels, first.size[0], {.tensors = &tensors, .with_gradients = !records});
  const int64_t channels = channels_of_result(spec, first.size[1], bins[0], bins[1]);
  if (!rows || channels == 0) return nb::none();
  const Shape shape{rows->count(), channels, bins[0], bins[1]};
  const bool is_last =
      first.size[1] > 1 && first.size[2] * first.size[3] > 1 && first.stride[1] == size_of(given->type);
  if (out.is_none()) out = new_tensor(tensors, shape, is_last, features[0]);
  // Memory is read after all calls of Python, which may have let another thread change it.
  const Team team = team_of(tensors, elements_of(shape));
  const std::optional<Maps> maps = maps_of(features, channels_last, read_again);
  const std::optional<Array> target = read_again(out);
  if (!maps || maps->views[0].size[0] != first.size[0] || !is_pooled(target)) return nb::none();
  if (!forward_into(spec, *maps, levels, *rows, team, nchw(*target, false), target->type)) return nb::none();
  return nb::make_tuple(out, is_last,
                        records && require_gradients(tensors, features) ? shapes_of(*maps) : nb::object(nb::none()));
}

/// Returns the gradients of maps with these sizes, which are alike. A maximum is decided by the maps themselves.
template <class Spec>
nb::object plain_tensor_adjoint_features(const Torch& torch, const Spec& spec, nb::handle grad_output,
                                         const Arrays& deciding, nb::handle rois, const Levels& levels,
                                         const std::vector<Shape>& sizes, bool channels_last) {
  const Tensors tensors(torch);
  const Reader read{.tensors = &tensors}, read_again{.tensors = &tensors, .is_checked = true};
  const std::optional<Array> given = read(grad_output);
  if (!levels.are_valid(sizes.size()) || !is_pooled(given) || !maps_of(deciding, false, read)) return nb::none();
  const std::optional<Rows> rows = rows_of(rois, numbers_of_box(spec), levels, sizes[0][0], read);
  if (!rows) return nb::none();
  nb::list grad_features;
  int64_t elements = elements_of(given->size);
  for (const Shape& shape : sizes) {
    grad_features.append(new_tensor(tensors, shape, channels_last, grad_output));
    elements += elements_of(shape);
  }
  const Team team = team_of(tensors, elements);
  const std::optional<Array> gradient = read_again(grad_output);
  const std::optional<Maps> maps = maps_of(nb::tuple(grad_features), false, read_again);
  if (!is_pooled(gradient) || !maps || gradient->type != maps->type) return nb::none();
  const View from = nchw(*gradient, false);
  if (from.size[0] != rows->count() ||
      from.size[1] != channels_of_result(spec, maps->views[0].size[1], from.size[2], from.size[3])) {
    return nb::none();
  }
  const std::optional<Maps> decisive = maps_of(deciding, false, read_again);
  if (!decisive || (!decisive->views.empty() && !are_alike(*decisive, *maps))) return nb::none();
  {
    const PlainCall<Spec> plain(spec, maps->type, levels, *rows, team);
    const nb::gil_scoped_release release;
    plain.compute_gradients(from, decisive->views, maps->views);
  }
  return grad_features;
}

using Table = nb::ndarray<const double, nb::numpy, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Numbers = nb::ndarray<const int64_t, nb::numpy, nb::shape<-1>, nb::c_contig, nb::device::cpu>;

/// Reports suspicious RoIs, as bits of `Suspicion`, on maps of these heights and widths.
template <class Spec>
int64_t suspicions(const Spec& spec, const Table& rois, const Levels& levels, const Numbers& level_of_roi,
                   const std::vector<std::array<int64_t, 2>>& sizes) {
  Rows rows{static_cast<int64_t>(rois.shape(1)) - 1, {}, {}};
  rows.rows.assign(rois.data(), rois.data() + rois.size());
  rows.levels.assign(level_of_roi.data(), level_of_roi.data() + level_of_roi.size());
  std::vector<View> maps;
  for (const auto& [height, width] : sizes) maps.push_back({nullptr, {0, 0, height, width}, {}});
  return suspicions_of(PlainCall<Spec>(spec, ScalarType::float32, levels, rows, Team{1}).call, maps);
}

template <class Spec>
void bind_family(nb::module_& m) {
  m.def("suspicions", &suspicions<Spec>, nb::arg("spec"), nb::arg("rois"), nb::arg("levels"), nb::arg("level_of_roi"),
        nb::arg("sizes"));
  m.def("plain_forward", &plain_forward<Spec>, nb::arg("spec"), nb::arg("features"), nb::arg("rois"), nb::arg("levels"),
        nb::arg("channels_last"), nb::arg("out"));
  m.def("plain_tensor_forward", &plain_tensor_forward<Spec>, nb::arg("torch"), nb::arg("spec"), nb::arg("features"),
        nb::arg("rois"), nb::arg("levels"), nb::arg("bins"), nb::arg("channels_last"), nb::arg("out").none(),
        nb::arg("records"));
  m.def("plain_tensor_adjoint_features", &plain_tensor_adjoint_features<Spec>, nb::arg("torch"), nb::arg("spec"),
        nb::arg("grad_output"), nb::arg("deciding"), nb::arg("rois"), nb::arg("levels"), nb::arg("sizes"),
        nb::arg("channels_last"));
}

}  // namespace

void bind_plain(nb::module_& m) {
  nb::class_<Levels>(m, "Levels")
      .def(
          "__init__",
          [](Levels* self, std::vector<double> scales, std::vector<double> smallest_areas) {
            new (self) Levels{std::move(scales), std::move(smallest_areas)};
          },
          nb::arg("scales"), nb::arg("smallest_areas"));
  bind_family<SeparableSpec>(m);
  bind_family<PointwiseSpec>(m);
}

}  // namespace roialign
