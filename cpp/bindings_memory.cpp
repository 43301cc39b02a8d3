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

}  // namespace

View view_of(const Memory& memory) {
  View view{};
  if (nb::isinstance<nb::tuple>(memory)) {
    const auto [address, size, stride] =
        nb::cast<std::tuple<uintptr_t, std::array<int64_t, 4>, std::array<int64_t, 4>>>(memory);
    return {reinterpret_cast<std::byte*>(address), size, stride};
  }
  const nb::object capsule = memory.attr("__array_struct__");
  const auto* array = static_cast<const ArrayInterface*>(PyCapsule_GetPointer(capsule.ptr(), nullptr));
  if (array == nullptr) throw nb::python_error();
  if (array->two != 2 || array->dimensions != 4) throw nb::type_error("expected a four-dimensional array");
  std::copy_n(array->shape, 4, view.size.begin());
  std::copy_n(array->strides, 4, view.stride.begin());
  view.data = static_cast<std::byte*>(array->data);
  return view;
}

std::vector<View> views_of(const std::vector<Memory>& memories) {
  std::vector<View> views;
  for (const Memory& memory : memories) views.push_back(view_of(memory));
  return views;
}

}  // namespace roialign
