// Step 4: interpolate the map at a point, one axis at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace roialign {

/// How a rule continues the map beyond its outermost pixel centres.
enum class Border {
  replicate,  // RoIAlign: keeps the edge value on [-1, 0] and [size - 1, size]; zero beyond
  zero,       // PrRoIPool: the map is padded with zeros
  reject,     // crop_and_resize: nothing outside [0, size - 1]
  nearest,    // the same, with the nearest pixel inside, or the one farther from 0 if two are
};

/// The two pixels that a point depends on, and their weights. The derivatives are -slope below and +slope above.
struct Neighbours {
  int64_t below;  // with Border::zero, either index may be outside the map: such a pixel is zero
  int64_t above;
  double weight_below;
  double weight_above;
  double slope;
  bool inside;
};

/// `cell` is the integer at or below x. The caller gives it because rounding may have lifted x to the next integer.
/// At an integer, where the weights have a kink, the derivative is the one from the right.
inline Neighbours bilinear(double x, int64_t cell, int64_t size, Border border) {
  const auto last = static_cast<double>(size - 1);
  if (border == Border::reject || border == Border::nearest) {
    if (!(x >= 0.0 && x <= last)) return {0, 0, 0.0, 0.0, 0.0, false};
    const double below = std::floor(x);
    if (border == Border::nearest) {
      const int64_t pixel = static_cast<int64_t>(below) + (x - below >= 0.5);
      return {pixel, pixel, 1.0, 0.0, 0.0, true};
    }
    // The floor and the ceiling. At an integer, both are the same pixel, and the derivative cancels.
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
