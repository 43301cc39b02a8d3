#include "suspicions.h"

#include <cmath>

namespace roialign {
namespace {

struct Interval {
  double first, last;
};

/// Whether a point in an interval of feature coordinates can depend on an axis of so many pixels. Rounding and the
/// minimum length of boxes can make the interval longer, so a margin of two pixels is added on each side.
bool touches(const Interval& along, int64_t size) {
  return along.last >= -3.0 && along.first <= static_cast<double>(size) + 2.0;
}

Interval scaled(double lower, double upper, double scale, double offset) {
  const double one = lower * scale - offset, other = upper * scale - offset;
  return {std::min(one, other), std::max(one, other)};
}

}  // namespace

int64_t suspicions_of(const SeparableCall& call, std::span<const View> maps) {
  bool inverted = false, some = false, touching = false;
  for (int64_t row = 0; row < call.rois; ++row) {
    const double* const box = call.roi_rows + 5 * row;
    if (box[0] < 0.0) continue;
    some = true;
    inverted |= box[3] < box[1] || box[4] < box[2];
    if (touching) continue;
    const View& map = maps[call.levels[row]];
    const auto meets = [&](int axis) {
      const int64_t size = map.size[2 + axis];
      const double scale = call.spec.normalised_boxes ? static_cast<double>(size - 1) : call.scales[call.levels[row]];
      return touches(scaled(box[2 - axis], box[4 - axis], scale, call.spec.offset), size);
    };
    touching = meets(0) && meets(1);
  }
  return (inverted ? int64_t{inverted_boxes} : 0) | (some && !touching ? int64_t{no_box_on_the_map} : 0);
}

int64_t suspicions_of(const PointwiseCall& call, std::span<const View> maps) {
  const bool rotated = call.spec.mapping == Mapping::rotated;
  bool inverted = false, some = false;
  bool touching = call.geometry.offset != nullptr;  // offsets may move bins anywhere
  for (int64_t row = 0; row < call.rois; ++row) {
    if (call.images[row] < 0) continue;
    const double* const box = call.geometry.boxes + call.columns * row;
    some = true;
    inverted |= rotated ? box[2] < 0.0 || box[3] < 0.0 : box[2] < box[0] || box[3] < box[1];
    if (touching) continue;
    const double scale = call.scales[call.levels[row]], reach = rotated ? std::hypot(box[2], box[3]) / 2.0 : 0.0;
    const View& map = maps[call.levels[row]];
    const auto meets = [&](int axis) {
      const double lower = box[1 - axis] - reach, upper = rotated ? box[1 - axis] + reach : box[3 - axis];
      return touches(scaled(lower, upper, scale, call.spec.offset), map.size[2 + axis]);
    };
    touching = meets(0) && meets(1);
  }
  return (inverted ? int64_t{inverted_boxes} : 0) | (some && !touching ? int64_t{no_box_on_the_map} : 0);
}

}  // namespace roialign
