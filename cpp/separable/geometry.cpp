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

namespace {

RoiGroup group_of_one(const SeparableCall& call, const View& map, int64_t row) {
  RoiGroup alone{call.levels[row],
                 image_of(call, row),
                 RoiAxis(call, map, row, 0, 1).pixels(),
                 RoiAxis(call, map, row, 1, 1).pixels(),
                 0,
                 {row}};
  alone.pixels_apart = alone.y.length() * alone.x.length();
  return alone;
}

/// Whether a sweep over whole rows of the map reads fewer pixels than these RoIs do one by one, in a small window.
bool is_worth_sweeping(std::span<const RoiGroup> apart, int64_t width, int64_t most_pixels) {
  int64_t pixels_apart = 0, tallest = 0;
  PixelRange y = apart[0].y;
  for (const RoiGroup& alone : apart) {
    pixels_apart += alone.pixels_apart;
    tallest = std::max(tallest, alone.y.length());
    y = y.joined(alone.y);
  }
  return apart.size() > 1 && y.length() * width <= pixels_apart && tallest * width <= most_pixels;
}

/// Groups of many RoIs, in the order of their first rows.
void sweep(std::span<RoiGroup> apart, size_t most_rois, std::vector<RoiGroup>& groups) {
  std::stable_sort(apart.begin(), apart.end(),
                   [](const RoiGroup& a, const RoiGroup& b) { return a.y.first < b.y.first; });
  for (size_t index = 0; index < apart.size(); ++index) {
    if (index % most_rois == 0) {
      groups.push_back(std::move(apart[index]));
    } else {
      groups.back().join(apart[index]);
    }
  }
}

/// Groups of RoIs that lie so close that their common rectangle has no more pixels than theirs together.
void cluster(std::span<RoiGroup> apart, int64_t most_pixels, std::vector<RoiGroup>& groups) {
  constexpr size_t most_rois = 64;  // so that there are groups enough for the threads
  for (RoiGroup& alone : apart) {
    const bool is_first = &alone == apart.data();
    if (!is_first && groups.back().rows.size() < most_rois) {
      RoiGroup& last = groups.back();
      const int64_t together = last.y.joined(alone.y).length() * last.x.joined(alone.x).length();
      if (together <= most_pixels && together <= last.pixels_apart + alone.pixels_apart) {
        last.join(alone);
        continue;
      }
    }
    groups.push_back(std::move(alone));
  }
}

}  // namespace

std::vector<RoiGroup> group_by_place(const SeparableCall& call, std::span<const View> maps, int64_t most_pixels,
                                     int64_t channel_shares) {
  std::vector<RoiGroup> apart, groups;
  apart.reserve(call.rois);
  for (const int64_t row : order_by_place(call, maps)) apart.push_back(group_of_one(call, maps[call.levels[row]], row));
  if (most_pixels == 0) return apart;
  // What a group prepares takes memory, and there must be work for all threads.
  const int64_t items = call.team.threads == 1 ? 1 : 2 * call.team.threads;
  const auto most_rois = static_cast<size_t>(std::clamp<int64_t>(call.rois * channel_shares / items, 16, 1024));
  for (size_t first = 0, end = 0; first < apart.size(); first = end) {
    const int64_t level = apart[first].level, image = apart[first].image;
    do ++end;
    while (end < apart.size() && image >= 0 && apart[end].level == level && apart[end].image == image);
    const std::span<RoiGroup> of_map(&apart[first], end - first);
    if (is_worth_sweeping(of_map, maps[level].size[3], most_pixels)) {
      sweep(of_map, most_rois, groups);
    } else {
      cluster(of_map, most_pixels, groups);
    }
  }
  return groups;
}

}  // namespace roialign
