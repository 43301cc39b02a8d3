#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <span>

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

/// The C structure behind `__dlpack_c_exchange_api__`, in version 1 of DLPack, up to the last function that is called.
struct Exchange {
  uint32_t major, minor;
  const void* older;
  void (*functions_of_owned_tensors[3])();
  int (*view)(void* tensor, nb::dlpack::dltensor* out);  // may be null
};

std::optional<ScalarType> scalar_type_of(const nb::dlpack::dltensor& tensor) {
  using Code = nb::dlpack::dtype_code;
  const auto is = [&](Code code, int bits) {
    return tensor.dtype == nb::dlpack::dtype{static_cast<uint8_t>(code), static_cast<uint8_t>(bits), 1};
  };
  if (is(Code::Float, 64)) return ScalarType::float64;
  if (is(Code::Float, 32)) return ScalarType::float32;
  if (is(Code::Float, 16)) return ScalarType::float16;
  if (is(Code::Bfloat, 16)) return ScalarType::bfloat16;
  return std::nullopt;
}

}  // namespace

std::optional<Array> array_of_numpy(nb::handle array) {
  const nb::object capsule = array.attr("__array_struct__");
  const ArrayInterface& memory = interface_of(capsule);
  const std::optional<ScalarType> type = scalar_type_of(memory);
  const bool is_native = (memory.flags & is_aligned) != 0 && (memory.flags & has_native_bytes) != 0;
  if (!type || !is_native || memory.dimensions > 4) return std::nullopt;
  Array found{static_cast<std::byte*>(memory.data), memory.dimensions, {}, {}, *type};
  for (int axis = 0; axis < memory.dimensions; ++axis) {
    if (memory.strides[axis] % memory.item_size != 0) return std::nullopt;
    found.size[axis] = memory.shape[axis];
    found.stride[axis] = memory.strides[axis];
  }
  return found;
}

std::optional<Array> array_of_tensor(nb::handle tensor, nb::handle exchange) {
  const auto* functions = static_cast<const Exchange*>(PyCapsule_GetPointer(exchange.ptr(), "dlpack_exchange_api"));
  if (functions == nullptr) throw nb::python_error();
  if (functions->major != 1 || functions->view == nullptr) return std::nullopt;
  nb::dlpack::dltensor view;
  if (functions->view(tensor.ptr(), &view) != 0) {
    PyErr_Clear();  // a tensor without memory of its own, or with another dtype; the general way raises the error
    return std::nullopt;
  }
  const std::optional<ScalarType> type = scalar_type_of(view);
  const bool is_on_cpu = view.device.device_type == nb::device::cpu::value;
  if (!type || !is_on_cpu || view.ndim > 4 || view.strides == nullptr) return std::nullopt;
  const bool is_empty = std::ranges::count(std::span(view.shape, view.ndim), 0) > 0;
  if (view.data == nullptr && !is_empty) return std::nullopt;
  Array found{static_cast<std::byte*>(view.data) + view.byte_offset, view.ndim, {}, {}, *type};
  for (int axis = 0; axis < view.ndim; ++axis) {
    found.size[axis] = view.shape[axis];
    found.stride[axis] = view.strides[axis] * size_of(*type);
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
