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

std::optional<Array> array_of_numpy(nb::handle memory) {
  const nb::object capsule = memory.attr("__array_struct__");
  const ArrayInterface& array = interface_of(capsule);
  const std::optional<ScalarType> type = scalar_type_of(array);
  const bool is_native = (array.flags & is_aligned) != 0 && (array.flags & has_native_bytes) != 0;
  if (!type || !is_native || array.dimensions > 4) return std::nullopt;
  Array found{static_cast<std::byte*>(array.data), array.dimensions, {}, {}, *type};
  for (int axis = 0; axis < array.dimensions; ++axis) {
    if (array.strides[axis] % array.item_size != 0) return std::nullopt;
    found.size[axis] = array.shape[axis];
    found.stride[axis] = array.strides[axis];
  }
  return found;
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

std::optional<Array> array_of_tensor(nb::handle memory, nb::handle capsule) {
  const auto* exchange = static_cast<const Exchange*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (exchange == nullptr) throw nb::python_error();
  if (exchange->major != 1 || exchange->view == nullptr) return std::nullopt;
  nb::dlpack::dltensor tensor;
  if (exchange->view(memory.ptr(), &tensor) != 0) {
    PyErr_Clear();  // a tensor without memory of its own, or with another dtype; the general way raises the error
    return std::nullopt;
  }
  const std::optional<ScalarType> type = scalar_type_of(tensor);
  const bool is_on_cpu = tensor.device.device_type == nb::device::cpu::value;
  if (!type || !is_on_cpu || tensor.ndim > 4 || tensor.strides == nullptr) return std::nullopt;
  const bool is_empty = std::ranges::count(std::span(tensor.shape, tensor.ndim), 0) > 0;
  if (tensor.data == nullptr && !is_empty) return std::nullopt;
  Array found{static_cast<std::byte*>(tensor.data) + tensor.byte_offset, tensor.ndim, {}, {}, *type};
  for (int axis = 0; axis < tensor.ndim; ++axis) {
    found.size[axis] = tensor.shape[axis];
    found.stride[axis] = tensor.strides[axis] * size_of(*type);
  }
  return found;
}

}  // namespace

std::optional<Array> array_of(nb::handle array, nb::handle exchange) {
  return exchange.is_none() ? array_of_numpy(array) : array_of_tensor(array, exchange);
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
