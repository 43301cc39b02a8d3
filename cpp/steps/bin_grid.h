// Step 2: cut the mapped RoI into bins, one axis at a time.
#pragma once

#include <algorithm>
#include <cstdint>

namespace roialign {

struct Bin {
  double start;
  double length;  // negative in an inverted RoI
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

/// Both ends of a bin as distances from the start of the RoI, the smaller first.
inline Interval bin_ends(double length, int64_t bins, int64_t bin) {
  const double first = bin_grid(0.0, length, bins, bin).start;
  const double second = bin_grid(0.0, length, bins, bin + 1).start;
  return {std::min(first, second), std::max(first, second)};
}

}  // namespace roialign
