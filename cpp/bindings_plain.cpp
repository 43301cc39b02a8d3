// The shortest way for calls that need no conversion, since checks in Python take longer than pooling a few RoIs. It
// computes nothing unless everything is as it should be. Otherwise the caller takes the general way, which converts and
// checks, and raises the errors.
#include <nanobind/stl/array.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "bindings.h"
#include "separable.h"
#include "suspicions.h"

namespace nb = nanobind;

namespace roialign {
namespace {

/// Coordinates beyond this count as infinite, as in `_validate.py`.
constexpr double largest_coordinate = 1e100;

/// RoIs as the core takes them.
struct Rows {
  std::vector<double> rows;
  std::vector<int64_t> levels;
};

/// The levels of a pyramid. A box is on the last level whose smallest area it has, as `_levels.py` describes.
struct Levels {
  std::vector<double> scales;
  std::vector<double> smallest_areas;  // of all levels but the first

  bool are_valid(size_t maps) const {
    return scales.size() == maps && smallest_areas.size() + 1 == maps &&
           std::ranges::adjacent_find(scales, std::less_equal()) == scales.end();
  }

  int64_t level_of(const double* box) const {
    const double area = std::max((box[2] - box[0]) * (box[3] - box[1]), 0.0);
    return std::ranges::upper_bound(smallest_areas, area) - smallest_areas.begin();
  }
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

using Arrays = nb::typed<nb::tuple, nb::object, nb::ellipsis>;
using Torch = Arrays;

/// What the core needs of torch: how to read tensors and, for calls that are not small, how to make them and which
/// threads to use.
struct Tensors {
  explicit Tensors(const Torch& given)
      : exchange(given[0]), empty(given[1]), team_for(given[2]), small_elements(nb::cast<int64_t>(given[3])) {}

  nb::object exchange;  // `__dlpack_c_exchange_api__` of the type
  nb::object empty;     // makes a tensor of (shape, whether it is channels-last, a tensor like it)
  nb::object team_for;  // the Team for a call that reads and writes so many elements
  int64_t small_elements;
};

/// Reads arrays of NumPy, or the tensors of a call.
struct Reader {
  const Tensors* tensors = nullptr;
  bool with_gradients = true;  // whether tensors may require gradients
  bool is_checked = false;     // whether the tensors are known to have no lazy negation

  /// Returns nothing for arrays that the core cannot read.
  std::optional<Array> operator()(nb::handle array) const {
    if (tensors == nullptr) return array_of_numpy(array);
    if (!is_checked && nb::cast<bool>(array.attr("is_neg")())) return std::nullopt;
    if (!with_gradients && nb::cast<bool>(array.attr("requires_grad"))) return std::nullopt;
    return array_of_tensor(array, tensors->exchange);
  }
};

/// Reads one array of rows with their images, or a tuple with one array of boxes per image. Returns nothing if there
/// are no RoIs, or not all are as they should be.
std::optional<Rows> rows_of(nb::handle rois, const Levels& levels, int64_t images, const Reader& read) {
  Rows found;
  const auto append = [&](nb::handle array, std::optional<int64_t> image) {
    const std::optional<Array> part = read(array);
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
  for (size_t row = 0; row < found.rows.size(); row += 5) found.levels.push_back(levels.level_of(&found.rows[row + 1]));
  return found;
}

View nchw(const Array& array, bool channels_last) {
  const auto& [n, a, b, c] = array.size;
  const auto& [step_n, step_a, step_b, step_c] = array.stride;
  if (channels_last) return {array.data, {n, c, a, b}, {step_n, step_c, step_a, step_b}};
  return {array.data, array.size, array.stride};
}

/// Whether the general way would draw points, or warn about an argument that is not used.
bool is_unusual(const SeparableSpec& spec) {
  return spec.rule == Rule::random || (spec.rule != Rule::grid && spec.sampling_ratio != std::array<int64_t, 2>{0, 0});
}

bool is_pooled(const std::optional<Array>& array) {
  return array && array->dimensions == 4 && std::ranges::count(array->size, 0) == 0;
}

/// The maps of all levels, which are alike.
struct Maps {
  ScalarType type;
  std::vector<View> views;
};

/// Returns nothing unless all maps have the same images, channels and type.
std::optional<Maps> maps_of(const nb::tuple& features, bool channels_last, const Reader& read) {
  Maps maps;
  maps.views.reserve(features.size());
  for (const nb::handle level : features) {
    const std::optional<Array> map = read(level);
    if (!is_pooled(map)) return std::nullopt;
    const View view = nchw(*map, channels_last);
    if (maps.views.empty()) maps.type = map->type;
    const View& first = maps.views.empty() ? view : maps.views[0];
    if (map->type != maps.type || view.size[0] != first.size[0] || view.size[1] != first.size[1]) return std::nullopt;
    maps.views.push_back(view);
  }
  return maps;
}

SeparableCall call_of(const SeparableSpec& spec, const Maps& maps, const Levels& levels, const Rows& rows, Team team) {
  const auto count = static_cast<int64_t>(rows.levels.size());
  return {spec, maps.type, levels.scales, count, rows.rows.data(), rows.levels.data(), {}, team};
}

/// Returns whether `out` has been computed. It has been made for the features and the RoIs, but another thread may have
/// changed them since.
bool forward_into(const SeparableCall& call, std::span<const View> from, const View& to, ScalarType type_of_output) {
  if (to.size[0] != call.rois || to.size[1] != from[0].size[1] || type_of_output != call.scalar_type) return false;
  const nb::gil_scoped_release release;
  if (suspicions_of(call, from) != 0) return false;  // the general way warns
  forward(call, from, to);
  return true;
}

/// Returns whether `out`, which the caller has made, has been computed.
bool plain_forward(const SeparableSpec& spec, const Arrays& features, nb::handle rois, const Levels& levels,
                   bool channels_last, nb::handle out) {
  const Reader read;
  const std::optional<Maps> maps = maps_of(features, channels_last, read);
  const std::optional<Array> target = read(out);
  if (!maps || !levels.are_valid(maps->views.size()) || !is_pooled(target) || is_unusual(spec)) return false;
  const std::optional<Rows> rows = rows_of(rois, levels, maps->views[0].size[0], read);
  return rows && forward_into(call_of(spec, *maps, levels, *rows, Team{}), maps->views, nchw(*target, channels_last),
                              target->type);
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
  return like.attr("new_empty_strided")(sizes, strides);
}

Team team_of(const Tensors& tensors, int64_t elements) {
  return elements < tensors.small_elements ? Team{1} : nb::cast<Team>(tensors.team_for(elements));
}

bool require_gradients(const Arrays& tensors) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [](nb::handle tensor) { return nb::cast<bool>(tensor.attr("requires_grad")); });
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
nb::object plain_tensor_forward(const Torch& torch, const SeparableSpec& spec, const Arrays& features, nb::handle rois,
                                const Levels& levels, std::array<int64_t, 2> bins, bool channels_last, nb::object out,
                                bool records) {
  const Tensors tensors(torch);
  const Reader read{.tensors = &tensors}, read_again{.tensors = &tensors, .is_checked = true};
  const std::optional<Maps> given = maps_of(features, channels_last, read);
  if (!given || !levels.are_valid(given->views.size()) || is_unusual(spec)) return nb::none();
  const View& first = given->views[0];
  const std::optional<Rows> rows =
      rows_of(rois, levels, first.size[0], {.tensors = &tensors, .with_gradients = !records});
  if (!rows) return nb::none();
  const Shape shape{static_cast<int64_t>(rows->levels.size()), first.size[1], bins[0], bins[1]};
  const bool is_last =
      first.size[1] > 1 && first.size[2] * first.size[3] > 1 && first.stride[1] == size_of(given->type);
  if (out.is_none()) out = new_tensor(tensors, shape, is_last, features[0]);
  // Memory is read after all calls of Python, which may have let another thread change it.
  const Team team = team_of(tensors, elements_of(shape));
  const std::optional<Maps> maps = maps_of(features, channels_last, read_again);
  const std::optional<Array> target = read_again(out);
  if (!maps || maps->views[0].size[0] != first.size[0] || !is_pooled(target)) return nb::none();
  const SeparableCall call = call_of(spec, *maps, levels, *rows, team);
  if (!forward_into(call, maps->views, nchw(*target, false), target->type)) return nb::none();
  return nb::make_tuple(out, is_last,
                        records && require_gradients(features) ? shapes_of(*maps) : nb::object(nb::none()));
}

/// Returns the gradients of maps with these sizes, which are alike.
nb::object plain_tensor_adjoint_features(const Torch& torch, const SeparableSpec& spec, nb::handle grad_output,
                                         nb::handle rois, const Levels& levels, const std::vector<Shape>& sizes,
                                         bool channels_last) {
  const Tensors tensors(torch);
  const Reader read{.tensors = &tensors}, read_again{.tensors = &tensors, .is_checked = true};
  const std::optional<Array> given = read(grad_output);
  if (!levels.are_valid(sizes.size()) || !is_pooled(given)) return nb::none();
  const std::optional<Rows> rows = rows_of(rois, levels, sizes[0][0], read);
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
  const SeparableCall call = call_of(spec, *maps, levels, *rows, team);
  const View from = nchw(*gradient, false);
  if (from.size[0] != call.rois || from.size[1] != maps->views[0].size[1]) return nb::none();
  {
    const nb::gil_scoped_release release;
    adjoint_features(call, from, maps->views);
  }
  return grad_features;
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
  m.def("plain_forward", &plain_forward, nb::arg("spec"), nb::arg("features"), nb::arg("rois"), nb::arg("levels"),
        nb::arg("channels_last"), nb::arg("out"));
  m.def("plain_tensor_forward", &plain_tensor_forward, nb::arg("torch"), nb::arg("spec"), nb::arg("features"),
        nb::arg("rois"), nb::arg("levels"), nb::arg("bins"), nb::arg("channels_last"), nb::arg("out").none(),
        nb::arg("records"));
  m.def("plain_tensor_adjoint_features", &plain_tensor_adjoint_features, nb::arg("torch"), nb::arg("spec"),
        nb::arg("grad_output"), nb::arg("rois"), nb::arg("levels"), nb::arg("sizes"), nb::arg("channels_last"));
}

}  // namespace roialign
