// A vector aligned to a cache line, so that no SIMD load or store crosses two lines. New elements have no value.
#pragma once

#include <cstddef>
#include <new>
#include <utility>
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

  /// `resize` does not clear: tiles have megabytes, and all of what is read is written first.
  template <class Element>
  void construct(Element* element) {
    ::new (static_cast<void*>(element)) Element;
  }
  template <class Element, class... Values>
  void construct(Element* element, Values&&... values) {
    ::new (static_cast<void*>(element)) Element(std::forward<Values>(values)...);
  }
  bool operator==(const CacheLineAllocator&) const { return true; }
};

template <class T>
using AlignedVector = std::vector<T, CacheLineAllocator<T>>;

}  // namespace roialign
