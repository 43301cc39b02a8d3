// The taps of one axis of one RoI: what every pixel weighs in every bin, merged, with derivatives in start and length.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "steps/bilinear.h"
#include "steps/sample_points.h"

namespace roialign {

/// The derivatives of a tap in (start, length), in the order in which they are stored.
enum TapDerivative : int { value_ = 0, start_, length_, start_start_, start_length_, length_length_ };

/// A sparse [bins, pixels] matrix with several values per entry.
///
/// Entry t of bin i, row_begin[i] <= t < row_begin[i + 1], belongs to pixel[t], ascending within the bin.
/// `position` lists the pixels that any bin touches, ascending, and column[t] is the place of pixel[t] in it.
/// The same form holds the transpose, [pixels, bins]; row_place[i] says where in the target row i belongs.
struct Taps {
  std::vector<int32_t> row_begin;
  std::vector<int64_t> row_place;
  std::vector<int64_t> pixel;
  std::vector<int32_t> column;
  std::vector<int64_t> position;
  std::vector<std::vector<double>> value;  // [kind of value][entry]

  int64_t rows() const { return static_cast<int64_t>(row_begin.size()) - 1; }
  int64_t entries() const { return static_cast<int64_t>(pixel.size()); }
};

/// Merge the points of every bin into taps, with all derivatives up to `order` (0, 1 or 2) as the kinds of value.
void build_taps(const AxisSampling& axis, int order, Taps& taps);

/// Directional derivatives: the values of every entry along each subset of `tangents` (bit b of the kind of value:
/// tangent b taken), in place of the derivatives in start and length. There are at most as many tangents as orders.
void apply_tangents(std::span<const AxisTangent> tangents, Taps& taps);

/// The same for at most one tangent, and of each the derivatives in start and length too: kind of value 3 * subset + d,
/// with d = 0 none, 1 in start, 2 in length. Taps of one order more than there are tangents.
void apply_tangents_and_keep_derivatives(std::span<const AxisTangent> tangents, Taps& taps);

/// The transpose of the first `kinds` values, for the pixels in [first, end): row_place counts from `first`.
void transpose_taps(const Taps& taps, int64_t first, int64_t end, int kinds, Taps& transposed);

/// The dense [bins, size] matrix of one axis, for the derivative of the given orders in start and length.
void dense_taps(const AxisSampling& axis, int order_start, int order_length, double* matrix);

}  // namespace roialign
