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

/// Whether a sweep over whole rows of the map, in a small window, reads fewer pixels than these RoIs do one by one.
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

/// Makes groups of many RoIs, in the order of their first rows.
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

/// Makes groups of RoIs that are so close that their common rectangle has no more pixels than their own rectangles.
void cluster(std::span<RoiGroup> apart, int64_t most_pixels, std::vector<RoiGroup>& groups) {
  constexpr size_t most_rois = 64;  // so that there are enough groups for the threads
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

/// How many parts of at most `most` make up `size`.
int64_t parts_of(int64_t size, int64_t most) { return (size + most - 1) / most; }

}  // namespace

std::vector<RoiGroup> group_by_place(std::vector<RoiPlace> places, std::span<const View> maps, int64_t most_pixels,
                                     size_t most_swept) {
  order_by_place(places);
  std::vector<RoiGroup> apart, groups;
  apart.reserve(places.size());
  for (const RoiPlace& place : places) {
    const int64_t pixels = place.y.length() * place.x.length();
    apart.push_back({place.level, place.image, place.y, place.x, pixels, {place.row}});
  }
  if (most_pixels == 0) return apart;
  for (size_t first = 0, end = 0; first < apart.size(); first = end) {
    const int64_t level = apart[first].level, image = apart[first].image;
    do ++end;
    while (end < apart.size() && image >= 0 && apart[end].level == level && apart[end].image == image);
    const std::span<RoiGroup> of_map(&apart[first], end - first);
    if (most_swept > 0 && is_worth_sweeping(of_map, maps[level].size[3], most_pixels)) {
      sweep(of_map, most_swept, groups);
    } else {
      cluster(of_map, most_pixels, groups);
    }
  }
  return groups;
}

TileShape TileShape::square(int64_t most_pixels) {
  int64_t side = 1;
  while (2 * side * 2 * side <= most_pixels && side < 256) side *= 2;
  return {side, side};
}

TileShape TileShape::wide(const View& map, int64_t most_pixels) {
  constexpr int64_t least_height = 16, most_height = 32, columns_of_line = 16;
  const auto equal_part = [](int64_t size, int64_t most) { return parts_of(size, parts_of(size, most)); };
  const int64_t columns = std::max<int64_t>(map.size[3], 1), rows = std::max<int64_t>(map.size[2], 1);
  const int64_t most_width = std::max(most_pixels / least_height, columns_of_line);
  const int64_t width =
      columns <= most_width ? columns : parts_of(equal_part(columns, most_width), columns_of_line) * columns_of_line;
  return {equal_part(rows, std::clamp(most_pixels / width, least_height, most_height)), width};
}

std::vector<MapTile> cut_into_tiles(std::span<const View> maps, std::span<const TileShape> shapes,
                                    std::span<const RoiPlace> places) {
  std::vector<MapTile> tiles;
  std::vector<int64_t> first_of_level;
  for (size_t level = 0; level < maps.size(); ++level) {
    const auto& size = maps[level].size;
    const auto [height, width] = shapes[level];
    first_of_level.push_back(static_cast<int64_t>(tiles.size()));
    for (int64_t image = 0; image < size[0]; ++image) {
      for (int64_t y = 0; y < size[2]; y += height) {
        for (int64_t x = 0; x < size[3]; x += width) {
          tiles.push_back({static_cast<int64_t>(level),
                           image,
                           y,
                           std::min(y + height, size[2]),
                           x,
                           std::min(x + width, size[3]),
                           {}});
        }
      }
    }
  }
  for (const RoiPlace& place : places) {
    if (place.image < 0 || place.y.length() == 0 || place.x.length() == 0) continue;
    const auto& size = maps[place.level].size;
    const auto [height, width] = shapes[place.level];
    const int64_t tiles_y = parts_of(size[2], height), tiles_x = parts_of(size[3], width);
    const int64_t first = first_of_level[place.level] + place.image * tiles_y * tiles_x;
    for (int64_t ty = place.y.first / height; ty <= place.y.last / height; ++ty) {
      for (int64_t tx = place.x.first / width; tx <= place.x.last / width; ++tx) {
        tiles[first + ty * tiles_x + tx].rows.push_back(place.row);
      }
    }
  }
  return tiles;
}

}  // namespace roialign
