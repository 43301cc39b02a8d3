// The inner loops of maxima, and of bins whose channels are not adjacent, as one table of functions per instruction set
// (see kernels.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels.h"

namespace roialign {

/// Bins of points: bin b has the points point_begin[b] <= p < point_begin[b + 1], and point p is the sum over
/// tap_begin[p] <= t < tap_begin[p + 1] of weight[t] times the pixel at source_offset[t].
template <class Accumulator>
struct PointPlan {
  int64_t bins;
  const int32_t* point_begin;
  const uint8_t* has_zero;  // per bin: whether it has points outside the map, whose value is 0
  const int32_t* tap_begin;
  const int64_t* source_offset;  // bytes, per tap
  const Accumulator* weight;     // per tap
  const int64_t* target_offset;  // bytes, per bin
};

/// With so few channels, the pixels of a row are treated as one run of values. Narrow vectors are faster for more.
constexpr int64_t most_run_channels = 3;

/// A row of bins of whole pixels: bin b has the rows first_row <= y < end_row and the columns
/// first_column[b] <= x < end_column[b] of a map.
template <class Accumulator>
struct PixelBins {
  int64_t bins;
  int64_t first_row, end_row;
  const int64_t* first_column;
  const int64_t* end_column;
  int64_t row_step, column_step;  // bytes, of the map
  int64_t bin_step;               // bytes, from bin to bin of the result or of its gradient
  // Scratch memory for as many values as a row of the map has from the first to the last bin, if a pixel has at most
  // `most_run_channels`.
  Accumulator* column_best;
  int32_t* column_row;

  bool is_empty(int64_t bin) const { return first_row >= end_row || first_column[bin] >= end_column[bin]; }
};

/// The part of a map that a kernel may write: the piece that its thread computes.
struct KeptPixels {
  int64_t first_row, end_row, first_column, end_column;
};

/// The kernels for one scalar type. [0] is the scalar type and [1] the accumulator type.
template <class Accumulator>
struct PointKernels {
  /// target(bin) = the maximum of each channel over the points of the bin, or 0 for a bin without points. `winner`, if
  /// not null, gets [bins][length] indices of the maximal points within their bins, or -1 for a point outside the map.
  /// If points are equal, the first wins. A point on the map wins over one outside it, and NaN wins over all.
  using Maximum = void (*)(const PointPlan<Accumulator>& plan, const std::byte* source, std::byte* target,
                           int32_t* winner, int64_t length);
  Maximum maximum[2][2];  // [source][target]
  /// The same for bins of whole pixels, which are numbered in row-major order within their bin.
  using MaximumOfPixels = void (*)(const PixelBins<Accumulator>& bins, const std::byte* source, std::byte* target,
                                   int32_t* winner, int64_t length);
  MaximumOfPixels maximum_of_pixels[2][2];  // [source][target]

  /// The transpose: every tap's pixel, now a target, += weight times the gradient of the channels that its point won.
  /// `winner` holds what `maximum` wrote; a bin's gradient lies at its target_offset.
  void (*add_to_winners)(const PointPlan<Accumulator>& plan, const std::byte* gradient, std::byte* target,
                         const int32_t* winner, int64_t length);
  /// The same for bins of whole pixels. The steps are those of the target, of which only `kept` is written. Bin b has
  /// its gradient at b * bin_step.
  void (*add_to_winning_pixels)(const PixelBins<Accumulator>& bins, const KeptPixels& kept, const std::byte* gradient,
                                std::byte* target, const int32_t* winner, int64_t length);
  /// dots[t] = the sum, over the channels that tap t's point won, of the gradient times the tap's pixel.
  void (*winner_dots)(const PointPlan<Accumulator>& plan, const std::byte* source, const std::byte* gradient,
                      const int32_t* winner, int64_t length, double* dots);

  /// target(bin) = the sum over the bin's taps of weight times source, where the channels of the source and of the
  /// target are a number of bytes apart. Both have the scalar type.
  void (*contract_apart)(const AxisPlan<Accumulator>& bins, const std::byte* source, int64_t source_step,
                         std::byte* target, int64_t target_step, int64_t channels);
  /// The transpose: every tap's pixel, now a target and an accumulator, += weight times the gradient at the bin's
  /// target_offset, which is of the scalar type.
  void (*spread_apart)(const AxisPlan<Accumulator>& bins, const std::byte* gradient, int64_t gradient_step,
                       std::byte* target, int64_t target_step, int64_t channels);
};

const PointKernels<float>& point_kernels_float(ScalarType type);
const PointKernels<double>& point_kernels_double();

}  // namespace roialign
