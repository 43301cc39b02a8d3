// Memory for many small arrays that are needed equally long.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "aligned_vector.h"

namespace roialign {

/// Hands out arrays one behind the other, so that arrays that are used in this order are read in this order. They do
/// not move. Clearing keeps the memory.
class Arena {
 public:
  /// An array without values, valid until `clear`.
  template <class T>
  std::span<T> take(int64_t count) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= unit);
    const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + unit - 1) / unit * unit;
    if (chunk_ == chunks_.size() || used_ + bytes > chunks_[chunk_].size()) next_chunk(bytes);
    std::byte* const memory = chunks_[chunk_].data() + used_;
    used_ += bytes;
    return {reinterpret_cast<T*>(memory), static_cast<size_t>(count)};
  }

  /// An array with these values.
  template <class T>
  std::span<T> copy(std::span<const T> values) {
    const std::span<T> array = take<T>(static_cast<int64_t>(values.size()));
    std::copy(values.begin(), values.end(), array.begin());
    return array;
  }

  void clear() { chunk_ = used_ = 0; }

 private:
  void next_chunk(size_t bytes) {
    if (chunk_ < chunks_.size()) ++chunk_;
    while (chunk_ < chunks_.size() && chunks_[chunk_].size() < bytes) ++chunk_;
    if (chunk_ == chunks_.size()) {
      const size_t doubled = chunks_.empty() ? first_bytes : 2 * chunks_.back().size();
      chunks_.emplace_back(std::max(bytes, std::min(doubled, most_bytes)));
    }
    used_ = 0;
  }

  static constexpr size_t unit = 8;
  static constexpr size_t first_bytes = 4096, most_bytes = size_t{1} << 20;

  std::vector<AlignedVector<std::byte>> chunks_;
  size_t chunk_ = 0, used_ = 0;
};

}  // namespace roialign
