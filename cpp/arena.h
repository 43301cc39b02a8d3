// Memory for many small arrays that are needed equally long.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

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
    if (chunk_ == chunks_.size() || used_ + bytes > chunks_[chunk_].bytes) next_chunk(bytes);
    std::byte* const memory = chunks_[chunk_].memory.get() + used_;
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
    while (chunk_ < chunks_.size() && chunks_[chunk_].bytes < bytes) ++chunk_;
    if (chunk_ == chunks_.size()) {
      const size_t doubled = chunks_.empty() ? first_bytes : 2 * chunks_.back().bytes;
      const size_t size = std::max(bytes, std::min(doubled, most_bytes));
      chunks_.push_back({std::unique_ptr<std::byte[]>(new std::byte[size]), size});
    }
    used_ = 0;
  }

  struct Chunk {
    std::unique_ptr<std::byte[]> memory;
    size_t bytes;
  };

  static constexpr size_t unit = 8;
  static constexpr size_t first_bytes =
      1000;  // sufficient for one RoI; malloc keeps freed blocks of up to 1 KB at hand
  static constexpr size_t most_bytes = size_t{1} << 20;

  std::vector<Chunk> chunks_;
  size_t chunk_ = 0, used_ = 0;
};

}  // namespace roialign
