// Pieces of RoIs: rows of bins that are computed while their pixels are in the window that sweeps over a map.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "places.h"
#include "separable/geometry.h"

namespace roialign {

/// The rows of bins [first_bin, end_bin) of RoI `index` of a group, and the rows of pixels that they touch.
struct RoiPiece {
  size_t index;
  int64_t first_bin, end_bin;
  PixelRange rows;
  bool is_last;      // of its RoI
  int64_t tile = 0;  // of the RoI, reused by other RoIs after its last piece
};

/// The pieces of the RoIs of a group, in the order of their first rows. The pieces of a RoI follow one another in the
/// order of its bins.
struct RoiPieces {
  std::vector<RoiPiece> list;
  int64_t tallest = 0;  // rows of pixels
  int64_t tiles = 1;    // how many RoIs have begun and not ended, at most

  /// One piece for each RoI.
  static RoiPieces whole(std::span<const RoiTaps> rois);

  /// A RoI with more than `most_rows` rows of pixels is cut between rows of bins, unless its rows of bins are in
  /// another order than the rows of pixels.
  static RoiPieces cut(std::span<const RoiTaps> rois, int64_t most_rows);

 private:
  void arrange(size_t rois);
};

}  // namespace roialign
