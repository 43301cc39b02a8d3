// The weights of pixels in the bins of a RoI. The points of a bin are merged for a mean, and kept apart for a maximum.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "pointwise/points.h"

namespace roialign {

/// The kinds of values of an entry for the gradient in the geometry: the weight, and its derivatives in y and x, each
/// times (1, position along y, position along x) of the point.
enum TapKind : int { weight_ = 0, slope_y_, slope_x_ = slope_y_ + 3, tap_kinds = slope_x_ + 3 };

/// The values that entries get.
enum class TapValues {
  weight,      // with the mask; along the tangent of the call if it has one
  still,       // with the mask, without the tangent
  all_slopes,  // every TapKind, without the mask
};

/// The weights of the points of one bin.
class BinWeights {
 public:
  BinWeights(const RoiPoints& roi, int64_t bin, TapValues values, bool has_tangent)
      : moves_(has_tangent && values == TapValues::weight),
        mask_(values == TapValues::all_slopes ? 1.0 : roi.mask(bin)),
        mask_tangent_(moves_ ? roi.mask_tangent(bin) : 0.0),
        velocity_(moves_ ? roi.velocity(bin) : Velocity{}) {}

  bool moves() const { return moves_; }
  double mask() const { return mask_; }

  /// The weight of a pixel in a point, with its weights and slopes along both axes.
  double of(const SamplePoint& y, const SamplePoint& x, double weight_y, double weight_x, double slope_y,
            double slope_x) const {
    const double weight = weight_y * weight_x;
    if (!moves_) return mask_ * weight;
    const double moved = slope_y * weight_x * velocity_.along_y(y, x) + weight_y * slope_x * velocity_.along_x(y, x);
    return mask_ * moved + mask_tangent_ * weight;
  }

 private:
  bool moves_;
  double mask_, mask_tangent_;
  Velocity velocity_;
};

/// Entries of consecutive bins: those of bin b are begin[b] <= t < begin[b + 1].
struct BinTaps {
  int64_t first_bin = 0;
  std::vector<int32_t> begin;
  std::vector<int32_t> y, x;  // the pixel
  std::array<std::vector<double>, tap_kinds> value;

  int64_t bins() const { return static_cast<int64_t>(begin.size()) - 1; }
  int64_t entries() const { return static_cast<int64_t>(y.size()); }
  void clear(int64_t first);
};

/// Bins are prepared together, up to about this many entries at a time.
constexpr int64_t most_entries = int64_t{1} << 17;

/// Merges the points of each bin into one entry per pixel.
class TapMerger {
 public:
  /// The bins from `first` on, as many as `most_entries` allow, but at least one, and none from `end` on. Pixels
  /// outside `clip` are left out.
  void merge(RoiPoints& roi, int64_t first, int64_t end, TapValues values, bool has_tangent, const PixelBox& clip,
             BinTaps& taps);

 private:
  struct Slot {
    int64_t key;
    int32_t entry;
    uint32_t bin;  // the number of the bin that filled the slot
  };

  static void multiply_axes(const RoiPoints::TapsOfBin& axes, double factor, const PixelBox& clip, BinTaps& taps);
  int32_t entry_of(int64_t row, int64_t column, BinTaps& taps);
  void grow(const BinTaps& taps);
  void start_bin();
  Slot& find(int64_t key);

  std::vector<Slot> slots_ = std::vector<Slot>(256);
  uint32_t bin_ = 0;
  int kinds_ = 1;
};

/// The points of bins with the pixels of each.
struct BinPoints {
  int64_t first_bin = 0;
  std::vector<int32_t> point_begin;  // per bin and one more
  std::vector<uint8_t> has_zero;     // per bin: whether it has points outside the map
  std::vector<int32_t> tap_begin;    // per point and one more
  std::vector<int32_t> y, x;         // per tap
  std::vector<double> weight, slope_y, slope_x;
  std::vector<SamplePoint> own_y, own_x;  // per point

  int64_t bins() const { return static_cast<int64_t>(point_begin.size()) - 1; }
  int64_t entries() const { return static_cast<int64_t>(y.size()); }

  /// The bins from `first` on, as many as `most_entries` allow, but at least one, and none from `end` on. Pixels that
  /// weigh nothing are left out unless their slopes are wanted. Where points are split into their corners, each is a
  /// point here, and beyond the edge, where a point has fewer, one of value 0.
  void list(RoiPoints& roi, int64_t first, int64_t end, TapValues values, bool has_tangent);
};

}  // namespace roialign
