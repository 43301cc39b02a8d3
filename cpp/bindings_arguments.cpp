#include "bindings_arguments.h"

#include <algorithm>
#include <span>

namespace nb = nanobind;

namespace roialign {
namespace {

/// Appends RoIs, which are rows of an image and the numbers of a box, or of these numbers on a given image. Returns
/// false if one is invalid.
template <class T>
bool append_rows(const Array& rois, std::optional<int64_t> image, int64_t images, int64_t numbers,
                 std::vector<double>& rows) {
  for (int64_t row = 0; row < rois.size[0]; ++row) {
    const std::byte* from = rois.data + row * rois.stride[0];
    const auto next = [&] {
      const auto value = static_cast<double>(*reinterpret_cast<const T*>(from));
      from += rois.stride[1];
      return value;
    };
    const double on = image ? static_cast<double>(*image) : next();
    if (!is_image(on, images)) return false;
    rows.push_back(on);
    for (int64_t number = 0; number < numbers; ++number) {
      rows.push_back(next());
      if (!is_coordinate(rows.back())) return false;
    }
  }
  return true;
}

}  // namespace

std::optional<Array> Reader::operator()(nb::handle array) const {
  if (tensors == nullptr) return array_of_numpy(array);
  if (!is_checked && nb::cast<bool>(tensors->is_neg(array))) return std::nullopt;
  if (!with_gradients && nb::cast<bool>(tensors->requires_grad(array))) return std::nullopt;
  return array_of_tensor(array, tensors->exchange);
}

std::optional<Rows> rows_of(nb::handle rois, int64_t numbers, const Levels& levels, int64_t images,
                            const Reader& read) {
  Rows found{numbers, {}, {}};
  const auto append = [&](nb::handle array, std::optional<int64_t> image) {
    const std::optional<Array> part = read(array);
    if (!part || part->dimensions != 2 || part->size[1] != found.columns() - (image ? 1 : 0)) return false;
    if (!image) found.rows.reserve(static_cast<size_t>(found.columns() * part->size[0]));
    if (part->type == ScalarType::float64) return append_rows<double>(*part, image, images, numbers, found.rows);
    if (part->type == ScalarType::float32) return append_rows<float>(*part, image, images, numbers, found.rows);
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
  for (size_t row = 0; row < found.rows.size(); row += static_cast<size_t>(found.columns())) {
    found.levels.push_back(levels.level_of(&found.rows[row + 1], numbers == 5));
  }
  return found;
}

View nchw(const Array& array, bool channels_last) {
  const auto& [n, a, b, c] = array.size;
  const auto& [step_n, step_a, step_b, step_c] = array.stride;
  if (channels_last) return {array.data, {n, c, a, b}, {step_n, step_c, step_a, step_b}};
  return {array.data, array.size, array.stride};
}

bool is_pooled(const std::optional<Array>& array) {
  return array && array->dimensions == 4 && std::ranges::count(array->size, 0) == 0;
}

bool are_alike(const Maps& one, const Maps& other) {
  return one.type == other.type && std::ranges::equal(one.views, other.views, {}, &View::size, &View::size);
}

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

}  // namespace roialign
