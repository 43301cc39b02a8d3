// Shared parts of the Python module.
#pragma once

#include <nanobind/nanobind.h>

#include <vector>

#include "memory.h"

namespace roialign {

/// Memory of any framework, seen as [N, C, H, W]: a NumPy array of any dtype, including extension dtypes, or a tuple
/// (address, shape, strides in bytes).
using Memory = nanobind::object;

View view_of(const Memory& memory);
std::vector<View> views_of(const std::vector<Memory>& memories);

void bind_pointwise(nanobind::module_& m);
void bind_rotated(nanobind::module_& m);

}  // namespace roialign
