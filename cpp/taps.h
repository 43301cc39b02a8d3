// The taps of one axis of one RoI: the merged weights of pixels in bins, with derivatives in start and length.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "arena.h"
#include "steps/bilinear.h"
#include "steps/sample_points.h"

namespace roialign {

/// The derivatives of a tap in (start, length), in the order in which they are stored.
enum TapDerivative : int { value_ = 0, start_, length_, start_start_, start_length_, length_length_ };

constexpr int most_tap_values = 6;  // of an entry: all derivatives up to the second

/// A sparse [bins, pixels] matrix with several values per entry, in the memory of an arena.
///
/// Entry t of bin i, row_begin[i] <= t < row_begin[i + 1], belongs to pixel[t], ascending within the bin.
/// `position` lists the pixels that any bin touches, ascending, and column[t] is the index of pixel[t] in it. The
/// transpose, [pixels, bins], has the same form; row_place[i] is the place of row i in the target.
struct Taps {
  std::span<const int32_t> row_begin;
  std::span<const int64_t> row_place;
  std::span<const int64_t> pixel;
  std::span<const int32_t> column;
  std::span<const int64_t> position;
  std::array<std::span<double>, most_tap_values> value;  // [kind of value][entry]

  int64_t rows() const { return static_cast<int64_t>(row_begin.size()) - 1; }
  int64_t entries() const { return static_cast<int64_t>(pixel.size()); }
};

/// Builds taps, and keeps the memory that it needs meanwhile for the next ones.
class TapBuilder {
 public:
  /// Merges the points of every bin into taps, with all derivatives up to `order` (0, 1 or 2) as kinds of values.
  Taps build(const AxisSampling& axis, int order, Arena& arena);

 private:
  template <int order>
  class Bins;
  void number_columns();
  bool number_ascending_columns();

  std::vector<int32_t> row_begin_, column_;
  std::vector<int64_t> pixel_, position_;
  std::array<std::vector<double>, most_tap_values> value_;
};

/// Replaces the derivatives in start and length by directional derivatives: the values of every entry along each subset
/// of `tangents` (bit b of the kind of value: tangent b is included). There are at most as many tangents as orders.
void apply_tangents(std::span<const AxisTangent> tangents, const Taps& taps);

/// The same for at most one tangent, with derivatives in start and length of each: kind of value 3 * subset + d, where
/// d = 0 is no derivative, 1 is in start, and 2 is in length. The order of the taps is the number of tangents plus one.
void apply_tangents_and_keep_derivatives(std::span<const AxisTangent> tangents, const Taps& taps);

/// The transpose of the first `kinds` values, for the pixels in [first, end): row_place counts from `first`.
Taps transpose_taps(const Taps& taps, int64_t first, int64_t end, int kinds, Arena& arena);

/// The dense [bins, size] matrix of one axis, for the derivative of the given orders in start and length.
void dense_taps(const AxisSampling& axis, int order_start, int order_length, double* matrix);

}  // namespace roialign
