// Step 2: divide the mapped RoI into bins, one axis at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace roialign {

struct Bin {
  double start;
  double length;  // negative for an inverted RoI
};

/// Bin i covers [start + i * length / bins, start + (i + 1) * length / bins].
inline Bin bin_grid(double start, double length, int64_t bins, int64_t bin) {
  const double bin_length = length / static_cast<double>(bins);
  return {start + static_cast<double>(bin) * bin_length, bin_length};
}

struct Interval {
  double low;
  double high;
};

/// Both ends of a bin as distances from the start of the RoI, in ascending order.
inline Interval bin_ends(double length, int64_t bins, int64_t bin) {
  const double first = bin_grid(0.0, length, bins, bin).start;
  const double second = bin_grid(0.0, length, bins, bin + 1).start;
  return {std::min(first, second), std::max(first, second)};
}

/// The whole pixels [first, end) of an axis.
struct PixelSpan {
  int64_t first;
  int64_t end;
};

/// The pixels of a map of `size` pixels that a bin covers, from its floor to its ceiling. Bins are computed relative to
/// the pixel in which the RoI starts, and then shifted.
inline PixelSpan integer_bin(double start, double length, int64_t bins, int64_t bin, int64_t size) {
  const double whole = std::floor(start);
  const double low = std::floor(bin_grid(start - whole, length, bins, bin).start) + whole;
  const double high = std::ceil(bin_grid(start - whole, length, bins, bin + 1).start) + whole;
  const auto pixel = [size](double x) { return static_cast<int64_t>(std::clamp(x, 0.0, static_cast<double>(size))); };
  return {pixel(low), pixel(high)};
}

}  // namespace roialign
