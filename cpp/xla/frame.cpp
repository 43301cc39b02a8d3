#include "frame.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <stdexcept>

namespace roialign::xla {
namespace {

[[noreturn]] void fail(std::string_view name, const char* what) {
  throw std::logic_error("roialign was called wrongly by XLA: " + std::string(name) + ": " + what);
}

int64_t elements_of(const Buffer& buffer) {
  int64_t elements = 1;
  for (int64_t axis = 0; axis < buffer.rank; ++axis) elements *= buffer.sizes[axis];
  return elements;
}

template <class T, class To>
std::vector<To> converted(const Buffer& buffer) {
  const T* values = static_cast<const T*>(buffer.data);
  return std::vector<To>(values, values + elements_of(buffer));
}

}  // namespace

const void* Frame::attribute(std::string_view name, AttributeType type) const {
  const Attributes& attributes = frame_.attributes;
  for (int64_t index = 0; index < attributes.count; ++index) {
    const Text& given = *attributes.names[index];
    if (std::string_view(given.data, given.size) != name) continue;
    if (attributes.types[index] != type) fail(name, "an attribute of another type");
    return attributes.values[index];
  }
  fail(name, "no such attribute");
}

const void* Frame::scalar(std::string_view name, DataType type) const {
  const auto& scalar = *static_cast<const Scalar*>(attribute(name, AttributeType::scalar));
  if (scalar.type != type) fail(name, "an attribute of another data type");
  return scalar.value;
}

int64_t Frame::integer(std::string_view name) const {
  return *static_cast<const int64_t*>(scalar(name, DataType::int64));
}

double Frame::number(std::string_view name) const {
  return *static_cast<const double*>(scalar(name, DataType::float64));
}

std::string Frame::text(std::string_view name) const {
  const auto& text = *static_cast<const Text*>(attribute(name, AttributeType::text));
  return {text.data, text.size};
}

std::vector<double> Frame::numbers(std::string_view name) const {
  const auto& array = *static_cast<const Array*>(attribute(name, AttributeType::array));
  if (array.size == 0) return {};  // then its data type is not said
  if (array.type != DataType::float64) fail(name, "an attribute of another data type");
  const auto* values = static_cast<const double*>(array.data);
  return {values, values + array.size};
}

ScalarType scalar_type_of(const Buffer& buffer) {
  switch (buffer.type) {
    case DataType::float64:
      return ScalarType::float64;
    case DataType::float32:
      return ScalarType::float32;
    case DataType::float16:
      return ScalarType::float16;
    case DataType::bfloat16:
      return ScalarType::bfloat16;
    default:
      fail("features", "a data type that is not a float");
  }
}

void prefer_huge_pages(std::span<const Buffer* const> results) {
#ifdef __linux__
  constexpr uintptr_t page = uintptr_t{2} << 20;
  for (const Buffer* result : results) {
    const auto begin = reinterpret_cast<uintptr_t>(result->data);
    const uintptr_t end = begin + static_cast<uintptr_t>(elements_of(*result) * size_of(scalar_type_of(*result)));
    const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
    // If the system has none, the call fails, and nothing changes.
    if (last > first + page) static_cast<void>(madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE));
  }
#else
  static_cast<void>(results);
#endif
}

View view_of(const Buffer& buffer, bool channels_last) {
  if (buffer.rank != 4) fail("features", "an array that does not have four axes");
  std::array<int64_t, 4> size, stride;
  int64_t step = size_of(scalar_type_of(buffer));
  for (int axis = 3; axis >= 0; --axis) {
    const int to = !channels_last || axis == 0 ? axis : axis == 3 ? 1 : axis + 1;
    size[to] = buffer.sizes[axis];
    stride[to] = step;
    step *= std::max<int64_t>(buffer.sizes[axis], 1);
  }
  return {static_cast<std::byte*>(buffer.data), size, stride};
}

std::vector<View> views_of(std::span<const Buffer* const> buffers, bool channels_last) {
  std::vector<View> views;
  for (const Buffer* buffer : buffers) views.push_back(view_of(*buffer, channels_last));
  return views;
}

std::vector<double> numbers_of(const Buffer& buffer, int64_t rows, int64_t columns) {
  if (buffer.rank != 2 || buffer.sizes[0] != rows || buffer.sizes[1] != columns)
    fail("rois", "a table of another shape");
  switch (buffer.type) {
    case DataType::float64:
      return converted<double, double>(buffer);
    case DataType::float32:
      return converted<float, double>(buffer);
    case DataType::int64:
      return converted<int64_t, double>(buffer);
    case DataType::int32:
      return converted<int32_t, double>(buffer);
    default:
      fail("rois", "a data type that is not float32, float64, int32 or int64");
  }
}

std::vector<int64_t> integers_of(const Buffer& buffer, int64_t count) {
  if (buffer.rank != 1 || buffer.sizes[0] != count) fail("levels", "a list of another length");
  switch (buffer.type) {
    case DataType::int64:
      return converted<int64_t, int64_t>(buffer);
    case DataType::int32:
      return converted<int32_t, int64_t>(buffer);
    case DataType::uint32:
      return converted<uint32_t, int64_t>(buffer);
    default:
      fail("levels", "a data type that is not int32, int64 or uint32");
  }
}

void set_number(const Buffer& table, int64_t index, double value) {
  switch (table.type) {
    case DataType::float64:
      static_cast<double*>(table.data)[index] = value;
      return;
    case DataType::float32:
      static_cast<float*>(table.data)[index] = static_cast<float>(value);
      return;
    default:
      fail("rois", "a gradient that is not float32 or float64");
  }
}

}  // namespace roialign::xla
