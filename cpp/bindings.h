// Shared parts of the Python module.
#pragma once

#include <nanobind/nanobind.h>

#include <optional>
#include <vector>

#include "memory.h"

namespace roialign {

/// Memory of any framework, seen as [N, C, H, W]: a NumPy array of any dtype, including extension dtypes, or a tuple
/// (address, shape, strides in bytes).
using Memory = nanobind::object;

View view_of(const Memory& memory);
std::vector<View> views_of(const std::vector<Memory>& memories);

/// An array with native floats at aligned addresses: strides in bytes, which are multiples of its items.
struct Array {
  std::byte* data;
  int64_t dimensions;  // 1 to 4; the sizes and strides of the others are undefined
  std::array<int64_t, 4> size;
  std::array<int64_t, 4> stride;
  ScalarType type;
};

/// Reads a NumPy array. Returns nothing for arrays that the core cannot read.
std::optional<Array> array_of_numpy(nanobind::handle array);

/// The same for a tensor on the CPU, by the `__dlpack_c_exchange_api__` of its type, which takes less than a tenth of
/// the time of the tensor's methods in Python.
std::optional<Array> array_of_tensor(nanobind::handle tensor, nanobind::handle exchange);

void bind_plain(nanobind::module_& m);
void bind_pointwise(nanobind::module_& m);
void bind_remembered(nanobind::module_& m);
void bind_rotated(nanobind::module_& m);
void bind_xla(nanobind::module_& m);

}  // namespace roialign
