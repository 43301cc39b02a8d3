// Step 4: interpolate the map at a point, one axis at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace roialign {

/// How a rule continues the map beyond its outermost pixel centres.
enum class Border {
  replicate,  // RoIAlign: the edge value holds on [-1, 0] and [size - 1, size]; zero beyond
  zero,       // PrRoIPool: the map is padded with zeros
  reject,     // crop_and_resize: nothing outside [0, size - 1]
  nearest,    // the same, and inside it the nearest pixel alone, the one farther from 0 where two are
};

/// The two pixels that a point takes part in, with their weights; the slope of a weight is -slope below, +slope above.
struct Neighbours {
  int64_t below;  // either index may lie off the map under Border::zero: such a pixel is zero
  int64_t above;
  double weight_below;
  double weight_above;
  double slope;
  bool inside;
};

/// `cell` is the integer at or below x, told by the caller where rounding may have lifted x onto the next one.
/// At an integer, where the weights have a kink, the slope is the one to the right.
inline Neighbours bilinear(double x, int64_t cell, int64_t size, Border border) {
  const auto last = static_cast<double>(size - 1);
  if (border == Border::reject || border == Border::nearest) {
    if (!(x >= 0.0 && x <= last)) return {0, 0, 0.0, 0.0, 0.0, false};
    const double below = std::floor(x);
    if (border == Border::nearest) {
      const int64_t pixel = static_cast<int64_t>(below) + (x - below >= 0.5);
      return {pixel, pixel, 1.0, 0.0, 0.0, true};
    }
    // The floor and the ceiling: on an integer both are one pixel, and the slope cancels.
    return {static_cast<int64_t>(below), static_cast<int64_t>(std::ceil(x)), 1.0 - (x - below), x - below, 1.0, true};
  }
  if (!(x >= -1.0 && x <= static_cast<double>(size))) return {0, 0, 0.0, 0.0, 0.0, false};
  const double fraction = std::clamp(x - static_cast<double>(cell), 0.0, 1.0);
  if (border == Border::replicate && (cell < 0 || cell >= size - 1)) {
    const int64_t edge = cell < 0 ? 0 : size - 1;
    return {edge, edge, 1.0, 0.0, 0.0, true};
  }
  return {cell, cell + 1, 1.0 - fraction, fraction, 1.0, true};
}

}  // namespace roialign
