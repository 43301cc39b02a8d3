#include "places.h"

#include <compare>

namespace roialign {
namespace {

void order_by_place(std::vector<RoiPlace>& places) {
  struct Key {
    int64_t level, image, band;
    double x;
    int64_t row;
    auto operator<=>(const Key&) const = default;
  };
  constexpr double band_pixels = 16.0;
  const auto key = [](const RoiPlace& place) {
    return Key{place.level, place.image, static_cast<int64_t>(place.middle_y / band_pixels), place.start_x, place.row};
  };
  if (places.size() < 2) return;
  std::sort(places.begin(), places.end(),
            [&](const RoiPlace& one, const RoiPlace& other) { return key(one) < key(other); });
}

}  // namespace

std::vector<RoiGroup> group_by_place(std::vector<RoiPlace> places, int64_t most_pixels) {
  constexpr size_t most_rois = 64;  // so that there are groups enough for the threads, and what they prepare is bounded
  order_by_place(places);
  std::vector<RoiGroup> groups;
  for (const RoiPlace& place : places) {
    RoiGroup alone{place.level, place.image, place.y, place.x, place.y.length() * place.x.length(), {place.row}};
    if (!groups.empty() && alone.image >= 0) {
      RoiGroup& last = groups.back();
      const PixelRange y = last.y.joined(alone.y), x = last.x.joined(alone.x);
      const int64_t together = y.length() * x.length();
      if (last.image == alone.image && last.level == alone.level && last.rows.size() < most_rois &&
          together <= most_pixels && together <= last.pixels_apart + alone.pixels_apart) {
        last.y = y;
        last.x = x;
        last.pixels_apart += alone.pixels_apart;
        last.rows.push_back(place.row);
        continue;
      }
    }
    groups.push_back(std::move(alone));
  }
  return groups;
}

std::vector<MapTile> cut_into_tiles(std::span<const View> maps, int64_t side, std::span<const RoiPlace> places) {
  std::vector<MapTile> tiles;
  std::vector<int64_t> first_of_level;
  for (size_t level = 0; level < maps.size(); ++level) {
    const auto& size = maps[level].size;
    first_of_level.push_back(static_cast<int64_t>(tiles.size()));
    for (int64_t image = 0; image < size[0]; ++image) {
      for (int64_t y = 0; y < size[2]; y += side) {
        for (int64_t x = 0; x < size[3]; x += side) {
          tiles.push_back({static_cast<int64_t>(level),
                           image,
                           y,
                           std::min(y + side, size[2]),
                           x,
                           std::min(x + side, size[3]),
                           {}});
        }
      }
    }
  }
  for (const RoiPlace& place : places) {
    if (place.image < 0 || place.y.length() == 0 || place.x.length() == 0) continue;
    const auto& size = maps[place.level].size;
    const int64_t tiles_y = (size[2] + side - 1) / side, tiles_x = (size[3] + side - 1) / side;
    const int64_t first = first_of_level[place.level] + place.image * tiles_y * tiles_x;
    for (int64_t ty = place.y.first / side; ty <= place.y.last / side; ++ty) {
      for (int64_t tx = place.x.first / side; tx <= place.x.last / side; ++tx) {
        tiles[first + ty * tiles_x + tx].rows.push_back(place.row);
      }
    }
  }
  return tiles;
}

}  // namespace roialign
