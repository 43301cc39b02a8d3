// Where the RoIs of a call lie on their maps, axis by axis, and their taps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "separable.h"
#include "taps.h"

namespace roialign {

/// The pixels first .. last of an axis.
struct PixelRange {
  int64_t first, last;

  int64_t length() const { return last - first + 1; }
  PixelRange joined(const PixelRange& other) const {
    return {std::min(first, other.first), std::max(last, other.last)};
  }
  /// Positions ascend.
  void include(const std::vector<int64_t>& positions) {
    if (!positions.empty()) *this = joined({positions.front(), positions.back()});
  }
};

/// One axis of one RoI: 0 is y, 1 is x. Rows of RoIs hold (image, x1, y1, x2, y2).
class RoiAxis {
 public:
  RoiAxis(const SeparableCall& call, const View& map, int64_t row, int axis, int64_t bins) : call_(call), row_(row) {
    const SeparableSpec& spec = call.spec;
    const int64_t size = map.size[2 + axis];
    lower_column_ = axis == 0 ? 1 : 0;
    const double* box = call.roi_rows + 5 * row + 1;
    lower_ = box[lower_column_];
    upper_ = box[lower_column_ + 2];
    const double scale = spec.normalised_boxes ? static_cast<double>(size - 1) : call.scales[call.levels[row]];
    mapping_ = {scale, spec.offset, spec.minimum_length};
    sampling_ = {spec.rule,
                 size,
                 map_boxes(lower_, upper_, mapping_),
                 bins,
                 spec.sampling_ratio[axis],
                 Generator{spec.seed, axis, row}};
  }

  const AxisSampling& sampling() const { return sampling_; }
  int lower_column() const { return lower_column_; }

  AxisTangent tangent(double lower, double upper) const {
    return map_boxes_tangent(lower_, upper_, lower, upper, mapping_);
  }

  /// The call's tangents, as this axis sees them.
  std::vector<AxisTangent> tangents() const {
    std::vector<AxisTangent> along;
    for (const double* tangent : call_.tangents) {
      along.push_back(this->tangent(tangent[4 * row_ + lower_column_], tangent[4 * row_ + lower_column_ + 2]));
    }
    return along;
  }

  /// About the first and the last pixel that a tap touches: an estimate that needs no taps.
  PixelRange pixels() const {
    const double one = sampling_.roi.start, other = sampling_.roi.start + sampling_.roi.length;
    const auto pixel = [this](double x) { return std::clamp<int64_t>(cell_of(x), 0, sampling_.size - 1); };
    return {pixel(std::min(one, other)), pixel(std::max(one, other) + 1.0)};
  }

 private:
  const SeparableCall& call_;
  int64_t row_;
  int lower_column_;
  double lower_, upper_;
  AxisMapping mapping_;
  AxisSampling sampling_;
};

struct RoiTaps {
  Taps y, x;

  void build(const SeparableCall& call, const View& map, int64_t row, int64_t bins_y, int64_t bins_x) {
    for (int axis = 0; axis < 2; ++axis) {
      const RoiAxis roi(call, map, row, axis, axis == 0 ? bins_y : bins_x);
      Taps& taps = axis == 0 ? y : x;
      build_taps(roi.sampling(), static_cast<int>(call.tangents.size()), taps);
      if (!call.tangents.empty()) apply_tangents(roi.tangents(), taps);
    }
  }
};

inline int64_t image_of(const SeparableCall& call, int64_t row) { return static_cast<int64_t>(call.roi_rows[5 * row]); }

/// The RoIs in an order in which neighbours share memory: by level, image, and place on the map.
std::vector<int64_t> order_by_place(const SeparableCall& call, std::span<const View> maps);

/// RoIs of one image and level, and about the rectangle of pixels that they touch.
struct RoiGroup {
  int64_t level, image;
  PixelRange y, x;
  int64_t pixels_apart;  // of the rectangles of each RoI alone, summed
  std::vector<int64_t> rows;

  void join(const RoiGroup& other) {
    y = y.joined(other.y);
    x = x.joined(other.x);
    pixels_apart += other.pixels_apart;
    rows.insert(rows.end(), other.rows.begin(), other.rows.end());
  }
};

/// The RoIs, ordered by place, in groups that share a panel: all of a map where they lie so dense that a window of at
/// most `most_pixels` sweeping over its rows reads less than they do one by one; else those that lie close together.
/// Each alone where `most_pixels` is 0, or it has no image. A group is worked on in `channel_shares` independent parts.
std::vector<RoiGroup> group_by_place(const SeparableCall& call, std::span<const View> maps, int64_t most_pixels,
                                     int64_t channel_shares);

}  // namespace roialign
