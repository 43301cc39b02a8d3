#include <nanobind/stl/array.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>

#include "bindings.h"

namespace nb = nanobind;

namespace roialign {
namespace {

/// The C structure of NumPy's array interface, whose layout NumPy guarantees.
struct ArrayInterface {
  int two;
  int dimensions;
  char kind;
  int item_size;
  int flags;
  intptr_t* shape;
  intptr_t* strides;
  void* data;
};

/// Flags of the array interface.
constexpr int is_aligned = 0x100, has_native_bytes = 0x200;

const ArrayInterface& interface_of(const nb::object& capsule) {
  const auto* array = static_cast<const ArrayInterface*>(PyCapsule_GetPointer(capsule.ptr(), nullptr));
  if (array == nullptr) throw nb::python_error();
  return *array;
}

std::optional<ScalarType> scalar_type_of(const ArrayInterface& array) {
  if (array.kind != 'f') return std::nullopt;  // bfloat16, which NumPy has as an extension, has another kind
  switch (array.item_size) {
    case 8:
      return ScalarType::float64;
    case 4:
      return ScalarType::float32;
    case 2:
      return ScalarType::float16;
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<Array> array_of(const Memory& memory) {
  Array found{};
  if (nb::isinstance<nb::tuple>(memory)) {
    const nb::tuple parts = nb::borrow<nb::tuple>(memory);
    const nb::tuple shape = nb::borrow<nb::tuple>(parts[1]), strides = nb::borrow<nb::tuple>(parts[2]);
    found.data = reinterpret_cast<std::byte*>(nb::cast<uintptr_t>(parts[0]));
    found.dimensions = static_cast<int64_t>(nb::len(shape));
    found.type = nb::cast<ScalarType>(parts[3]);
    if (found.dimensions > 4 || found.data == nullptr) return std::nullopt;
    for (int64_t axis = 0; axis < found.dimensions; ++axis) {
      found.size[axis] = nb::cast<int64_t>(shape[axis]);
      found.stride[axis] = nb::cast<int64_t>(strides[axis]) * size_of(found.type);
    }
    return found;
  }
  const nb::object capsule = memory.attr("__array_struct__");
  const ArrayInterface& array = interface_of(capsule);
  const std::optional<ScalarType> type = scalar_type_of(array);
  const bool is_native = (array.flags & is_aligned) != 0 && (array.flags & has_native_bytes) != 0;
  if (!type || !is_native || array.dimensions > 4) return std::nullopt;
  found.data = static_cast<std::byte*>(array.data);
  found.dimensions = array.dimensions;
  found.type = *type;
  for (int axis = 0; axis < array.dimensions; ++axis) {
    if (array.strides[axis] % array.item_size != 0) return std::nullopt;
    found.size[axis] = array.shape[axis];
    found.stride[axis] = array.strides[axis];
  }
  return found;
}

View view_of(const Memory& memory) {
  View view{};
  if (nb::isinstance<nb::tuple>(memory)) {
    const auto [address, size, stride] =
        nb::cast<std::tuple<uintptr_t, std::array<int64_t, 4>, std::array<int64_t, 4>>>(memory);
    return {reinterpret_cast<std::byte*>(address), size, stride};
  }
  const nb::object capsule = memory.attr("__array_struct__");
  const ArrayInterface& array = interface_of(capsule);
  if (array.two != 2 || array.dimensions != 4) throw nb::type_error("expected a four-dimensional array");
  std::copy_n(array.shape, 4, view.size.begin());
  std::copy_n(array.strides, 4, view.stride.begin());
  view.data = static_cast<std::byte*>(array.data);
  return view;
}

std::vector<View> views_of(const std::vector<Memory>& memories) {
  std::vector<View> views;
  for (const Memory& memory : memories) views.push_back(view_of(memory));
  return views;
}

}  // namespace roialign
