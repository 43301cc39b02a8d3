// A vector aligned to a cache line, so that no SIMD load or store crosses two lines.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace roialign {

template <class T>
struct CacheLineAllocator {
  using value_type = T;
  static constexpr std::align_val_t cache_line{64};

  CacheLineAllocator() = default;
  template <class Other>
  CacheLineAllocator(const CacheLineAllocator<Other>&) {}

  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), cache_line)); }
  void deallocate(T* memory, size_t) { ::operator delete(memory, cache_line); }
  bool operator==(const CacheLineAllocator&) const { return true; }
};

template <class T>
using AlignedVector = std::vector<T, CacheLineAllocator<T>>;

}  // namespace roialign
