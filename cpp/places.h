// The places of RoIs on their maps: which RoIs share memory, and which touch a tile of a map.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "memory.h"

namespace roialign {

/// The pixels first .. last of an axis.
struct PixelRange {
  int64_t first, last;

  static PixelRange none() { return {std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()}; }
  int64_t length() const { return last < first ? 0 : last - first + 1; }
  PixelRange joined(const PixelRange& other) const {
    return {std::min(first, other.first), std::max(last, other.last)};
  }
  /// Positions ascend.
  void include(std::span<const int64_t> positions) {
    if (!positions.empty()) *this = joined({positions.front(), positions.back()});
  }
};

/// A RoI, and the approximate rectangle of pixels that it touches.
struct RoiPlace {
  int64_t level, image, row;
  PixelRange y, x;
  double middle_y, start_x;
};

/// RoIs of one image and level, and the approximate rectangle of pixels that they touch.
struct RoiGroup {
  int64_t level, image;
  PixelRange y, x;
  int64_t pixels_apart;  // the sum over the rectangles of the single RoIs
  std::vector<int64_t> rows;

  void join(const RoiGroup& other) {
    y = y.joined(other.y);
    x = x.joined(other.x);
    pixels_apart += other.pixels_apart;
    rows.insert(rows.end(), other.rows.begin(), other.rows.end());
  }
};

/// Sorts the RoIs by level, image and place on the map, so that neighbours share memory, and groups RoIs that share a
/// panel. All RoIs of a map, up to `most_swept` (none if that is 0), are a group if a window of at most `most_pixels`
/// that sweeps over its rows reads less than the RoIs do one by one. Otherwise, RoIs that are close together are a
/// group. If `most_pixels` is 0, or a RoI has no image, it is alone.
std::vector<RoiGroup> group_by_place(std::vector<RoiPlace> places, std::span<const View> maps, int64_t most_pixels,
                                     size_t most_swept);

/// A tile of a map, and the RoIs that touch it.
struct MapTile {
  int64_t level, image, first_y, end_y, first_x, end_x;
  std::vector<int64_t> rows;  // ascending

  View of(std::span<const View> maps) const {
    View piece = maps[level];
    piece.data += first_y * piece.stride[2] + first_x * piece.stride[3];
    piece.size[2] = end_y - first_y;
    piece.size[3] = end_x - first_x;
    return piece;
  }
};

/// The size of tiles in pixels.
struct TileShape {
  int64_t height, width;

  /// The largest square of at most `most_pixels` whose side is a power of two, up to 256.
  static TileShape square(int64_t most_pixels);
  /// For planes, whose pixels are adjacent along a row: as wide as possible with 16 to 32 rows and about `most_pixels`.
  /// All tiles of a map have nearly the same size, and a large map has several, so that threads can share the work.
  static TileShape wide(const View& map, int64_t most_pixels);
};

/// Divides every map into tiles of its shape, and lists the RoIs whose pixels intersect each tile. An empty range of
/// pixels, such as that of a RoI without an image, intersects none.
std::vector<MapTile> cut_into_tiles(std::span<const View> maps, std::span<const TileShape> shapes,
                                    std::span<const RoiPlace> places);

}  // namespace roialign
