// The arguments, the results and the attributes of a call from XLA.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "interface.h"
#include "memory.h"

namespace roialign::xla {

/// Reads a call. Its attributes are those that `jax/wiring/lowering.py` writes, so a wrong one is a fault of ours.
class Frame {
 public:
  explicit Frame(const CallFrame& frame) : frame_(frame) {}

  std::span<const Buffer* const> arguments() const { return buffers_of(frame_.arguments); }
  std::span<const Buffer* const> results() const { return buffers_of(frame_.results); }

  int64_t integer(std::string_view name) const;
  bool flag(std::string_view name) const { return integer(name) != 0; }
  double number(std::string_view name) const;
  std::string text(std::string_view name) const;
  std::vector<double> numbers(std::string_view name) const;

 private:
  static std::span<const Buffer* const> buffers_of(const Buffers& buffers) {
    return {buffers.buffers, static_cast<size_t>(buffers.count)};
  }
  const void* attribute(std::string_view name, AttributeType type) const;
  const void* scalar(std::string_view name, DataType type) const;

  const CallFrame& frame_;
};

ScalarType scalar_type_of(const Buffer& buffer);

/// Asks the system for huge pages for large results. XLA allocates them anew for every call, and the system clears
/// every new page, which takes longer with small ones.
void prefer_huge_pages(std::span<const Buffer* const> results);

/// A map or a result, seen as [N, C, H, W].
View view_of(const Buffer& buffer, bool channels_last);
std::vector<View> views_of(std::span<const Buffer* const> buffers, bool channels_last);

/// The values of a table of real numbers, or of a list of integers, of a shape that the caller relies on.
std::vector<double> numbers_of(const Buffer& buffer, int64_t rows, int64_t columns);
std::vector<int64_t> integers_of(const Buffer& buffer, int64_t count);

/// Writes a value of a table of float32 or float64.
void set_number(const Buffer& table, int64_t index, double value);

}  // namespace roialign::xla
