// The positions of the RoIs of a call on their maps, per axis, and their taps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "places.h"
#include "separable.h"
#include "taps.h"

namespace roialign {

/// One axis of one RoI: 0 is y, 1 is x. Rows of RoIs are (image, x1, y1, x2, y2).
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

  /// The tangents of the call along this axis.
  std::vector<AxisTangent> tangents() const {
    std::vector<AxisTangent> along;
    for (const double* tangent : call_.tangents) {
      along.push_back(this->tangent(tangent[4 * row_ + lower_column_], tangent[4 * row_ + lower_column_ + 2]));
    }
    return along;
  }

  /// The approximate first and last pixel that a tap touches, estimated without taps.
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
};

/// The taps of one RoI, with their directional derivatives if the call has tangents.
inline RoiTaps taps_of(const SeparableCall& call, const View& map, int64_t row, int64_t bins_y, int64_t bins_x,
                       TapBuilder& builder, Arena& arena) {
  const auto along = [&](int axis, int64_t bins) {
    const RoiAxis roi(call, map, row, axis, bins);
    const Taps taps = builder.build(roi.sampling(), static_cast<int>(call.tangents.size()), arena);
    if (!call.tangents.empty()) apply_tangents(roi.tangents(), taps);
    return taps;
  };
  return {along(0, bins_y), along(1, bins_x)};
}

inline int64_t image_of(const SeparableCall& call, int64_t row) { return static_cast<int64_t>(call.roi_rows[5 * row]); }

/// Groups of RoIs, made by the function of the same name in places.h, which may share a sweep. A group is processed in
/// `channel_shares` independent parts.
std::vector<RoiGroup> group_by_place(const SeparableCall& call, std::span<const View> maps, int64_t most_pixels,
                                     int64_t channel_shares);

}  // namespace roialign
