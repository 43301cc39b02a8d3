#include "separable/geometry.h"

#include <compare>

namespace roialign {

std::vector<int64_t> order_by_place(const SeparableCall& call, std::span<const View> maps) {
  struct Key {
    int64_t level, image, band;
    double x;
    int64_t row;
    auto operator<=>(const Key&) const = default;
  };
  constexpr double band_pixels = 16.0;
  std::vector<Key> keys(call.rois);
  for (int64_t row = 0; row < call.rois; ++row) {
    const View& map = maps[call.levels[row]];
    const AxisSampling y = RoiAxis(call, map, row, 0, 1).sampling(), x = RoiAxis(call, map, row, 1, 1).sampling();
    const double middle = std::clamp(y.roi.start + 0.5 * y.roi.length, -1.0, static_cast<double>(y.size));
    keys[row] = {call.levels[row], image_of(call, row), static_cast<int64_t>(middle / band_pixels), x.roi.start, row};
  }
  if (call.rois > 1) std::sort(keys.begin(), keys.end());
  std::vector<int64_t> order(call.rois);
  for (int64_t place = 0; place < call.rois; ++place) order[place] = keys[place].row;
  return order;
}

std::vector<RoiGroup> group_by_place(const SeparableCall& call, std::span<const View> maps, int64_t most_pixels) {
  constexpr size_t most_rois = 64;  // so that there are groups enough for the threads, and what they prepare is bounded
  std::vector<RoiGroup> groups;
  for (const int64_t row : order_by_place(call, maps)) {
    const View& map = maps[call.levels[row]];
    RoiGroup alone{call.levels[row],
                   image_of(call, row),
                   RoiAxis(call, map, row, 0, 1).pixels(),
                   RoiAxis(call, map, row, 1, 1).pixels(),
                   0,
                   {row}};
    alone.pixels_apart = alone.y.length() * alone.x.length();
    if (!groups.empty() && alone.image >= 0) {
      RoiGroup& last = groups.back();
      const PixelRange y = last.y.joined(alone.y), x = last.x.joined(alone.x);
      const int64_t together = y.length() * x.length();
      if (last.image == alone.image && last.level == alone.level && last.rows.size() < most_rois &&
          together <= most_pixels && together <= last.pixels_apart + alone.pixels_apart) {
        last.y = y;
        last.x = x;
        last.pixels_apart += alone.pixels_apart;
        last.rows.push_back(row);
        continue;
      }
    }
    groups.push_back(std::move(alone));
  }
  return groups;
}

}  // namespace roialign
