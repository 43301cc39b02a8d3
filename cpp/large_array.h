// Memory for many numbers: not cleared, and in huge pages where the system has them, so that it is there at once.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace roialign {

template <class T>
class LargeArray {
 public:
  explicit LargeArray(int64_t count) {
    if (count == 0) return;
    const size_t needed = static_cast<size_t>(count) * sizeof(T);
    const size_t page = needed < 2 * huge_page ? cache_line : huge_page;
    const size_t bytes = (needed + page - 1) / page * page;
    data_.reset(static_cast<T*>(std::aligned_alloc(page, bytes)));
    if (data_ == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    if (page == huge_page) madvise(data_.get(), bytes, MADV_HUGEPAGE);  // a wish: without it there are small pages
#endif
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };

  static constexpr size_t huge_page = size_t{1} << 21, cache_line = 64;

  std::unique_ptr<T, Free> data_;
};

}  // namespace roialign
