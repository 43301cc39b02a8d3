// Step 3: choose the points of a bin, one axis at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "aggregate.h"
#include "bin_grid.h"
#include "map_boxes.h"
#include "philox.h"

namespace roialign {

enum class Rule { grid, random, exact, prroi, crop, nearest };
constexpr int rule_count = static_cast<int>(Rule::nearest) + 1;

/// One mapped axis of one RoI, and the sampling of its bins.
struct AxisSampling {
  Rule rule;
  int64_t size;  // pixels of the map
  MappedAxis roi;
  int64_t bins;
  int64_t sampling_ratio;  // 0: adaptive
  Generator generator;
};

struct SamplePoint {
  double x;           // feature coordinate
  int64_t cell;       // the integer at or below it
  double position;    // in the RoI: x = start + position * length
  double share;       // the fraction of the bin that the point represents
  bool moves = true;  // false for a point that does not move with the RoI
};

/// The maximum adaptive count: beyond 2^52 pixels, a float64 coordinate no longer resolves a pixel.
constexpr double largest_count = 0x1p52;
/// If a bin has more points than this, only those that can touch the map are visited.
constexpr double small_count = 64.0;

inline double sample_count(double bin_length, int64_t sampling_ratio) {
  if (sampling_ratio > 0) return static_cast<double>(sampling_ratio);
  return std::clamp(std::ceil(bin_length), 0.0, largest_count);
}

/// floor(x) as an integer. Points beyond the map are rejected by their coordinate, so it only has to be in range.
inline int64_t cell_of(double x) { return static_cast<int64_t>(std::floor(std::clamp(x, -0x1p52, 0x1p52))); }

/// The cells [k, k + 1] of [-1, size] that may intersect [low, high]: the first, and one past the last.
struct CellRange {
  int64_t first;
  int64_t end;
};

inline CellRange cells_between(int64_t size, double low, double high) {
  const auto limit = static_cast<double>(size);
  const int64_t first = cell_of(std::min(std::max(low, -1.0), limit)) - 1;
  const int64_t last = cell_of(std::max(std::min(high, limit), -1.0)) + 2;
  return {std::max<int64_t>(first, -1), std::min(last, size)};
}

/// The points that may lie on [low, high], with a margin of 4 points on each side for rounding.
inline CellRange samples_touching(double low, double high, const Bin& bin, double count) {
  if (count <= small_count) return {0, static_cast<int64_t>(count)};
  const double samples_per_pixel = count / bin.length;
  if (!std::isfinite(samples_per_pixel)) return {0, static_cast<int64_t>(count)};
  const double one = (low - bin.start) * samples_per_pixel;
  const double other = (high - bin.start) * samples_per_pixel;
  return {static_cast<int64_t>(std::clamp(std::floor(std::min(one, other)) - 4.0, 0.0, count)),
          static_cast<int64_t>(std::clamp(std::ceil(std::max(one, other)) + 4.0, 0.0, count))};
}

/// One of `count` points of a bin, with its share. `within` is its position in its stratum, from 0 to 1.
inline SamplePoint stratum(const Bin& bin, int64_t bins, int64_t bin_index, double count, double share, int64_t sample,
                           double within) {
  const double place = static_cast<double>(sample) + within;
  const double x = bin.start + place * bin.length / count;
  const double position = (static_cast<double>(bin_index) + place / count) / static_cast<double>(bins);
  return {x, cell_of(x), position, share};
}

/// Calls visit(SamplePoint) for the candidates for the maximum of an interpolated map over a bin: the integers inside
/// it and its two ends, in ascending order. The ends move with the RoI and the integers do not, so an integer at an end
/// counts as the end.
template <class Visit>
void lattice(int64_t size, const MappedAxis& roi, int64_t bins, int64_t bin_index, Visit&& visit) {
  const Interval ends = bin_ends(roi.length, bins, bin_index);
  const int inverted = roi.length < 0.0;
  const auto end = [&](double distance, int side) {
    const double x = roi.start + distance;
    const double position = static_cast<double>(bin_index + side) / static_cast<double>(bins);
    visit(SamplePoint{x, cell_of(x), position, 1.0});
  };
  end(ends.low, inverted);
  if (ends.high == ends.low) return;
  const CellRange cells = cells_between(size, roi.start + ends.low, roi.start + ends.high);
  for (int64_t cell = cells.first; cell <= cells.end; ++cell) {
    const double distance = static_cast<double>(cell) - roi.start;
    if (ends.low < distance && distance < ends.high) {
      visit(SamplePoint{static_cast<double>(cell), cell, 0.0, 1.0, false});
    }
  }
  end(ends.high, 1 - inverted);
}

/// Calls visit(SamplePoint) for the points of a bin that can touch the map, in ascending order. `grid` and `random`
/// have a point per stratum. `exact` and `prroi` have the middles of the pieces into which the integers divide the bin.
/// `crop` and `nearest` have one point.
template <class Visit>
void sample_points(const AxisSampling& axis, int64_t bin_index, Visit&& visit) {
  const auto [start, length] = axis.roi;
  const auto bins = static_cast<double>(axis.bins);
  const auto index = static_cast<double>(bin_index);
  const Bin bin = bin_grid(start, length, axis.bins, bin_index);
  switch (axis.rule) {
    case Rule::crop:
    case Rule::nearest: {
      const bool one = axis.bins == 1;
      const double x = one ? start + 0.5 * length : start + index * (length / (bins - 1.0));
      visit(SamplePoint{x, cell_of(x), one ? 0.5 : index / (bins - 1.0), 1.0});
      return;
    }
    case Rule::grid:
    case Rule::random: {
      const double count = sample_count(bin.length, axis.sampling_ratio);
      const CellRange samples = samples_touching(-1.0, static_cast<double>(axis.size), bin, count);
      const bool inverted = bin.length < 0.0;
      const double share = aggregate_mean(count);
      for (int64_t step = samples.first; step < samples.end; ++step) {
        const int64_t sample = inverted ? samples.first + samples.end - 1 - step : step;
        const double within = axis.rule == Rule::grid ? 0.5 : axis.generator.uniform(sample, bin_index);
        visit(stratum(bin, axis.bins, bin_index, count, share, sample, within));
      }
      return;
    }
    case Rule::exact:
    case Rule::prroi: {
      if (bin.length == 0.0 || (axis.rule == Rule::prroi && length < 0.0)) {
        // On an axis of zero length, the value at the point or, as in the paper of PrRoIPool, nothing.
        if (axis.rule == Rule::exact) visit(SamplePoint{start, cell_of(start), (index + 0.5) / bins, 1.0});
        return;
      }
      const Interval ends = bin_ends(length, axis.bins, bin_index);
      const CellRange cells = cells_between(axis.size, start + ends.low, start + ends.high);
      for (int64_t cell = cells.first; cell < cells.end; ++cell) {
        // Distances from the start of the RoI are exact for a box near the integer, whatever its size.
        const double low = std::max(ends.low, static_cast<double>(cell) - start);
        const double high = std::min(ends.high, static_cast<double>(cell + 1) - start);
        if (!(high > low)) continue;
        const double middle = 0.5 * (low + high);
        visit(SamplePoint{start + middle, cell, middle / length, (high - low) / std::abs(bin.length)});
      }
      return;
    }
  }
}

}  // namespace roialign
