#include "separable/pieces.h"

#include <algorithm>

namespace roialign {
namespace {

/// The rows of pixels that a row of bins touches.
PixelRange rows_of_bin(const Taps& y, int64_t bin) {
  PixelRange rows = PixelRange::none();
  rows.include(y.pixel.subspan(y.row_begin[bin], y.row_begin[bin + 1] - y.row_begin[bin]));
  return rows;
}

RoiPiece whole_roi(size_t index, const RoiTaps& taps) {
  RoiPiece piece{index, 0, taps.y.rows(), PixelRange::none(), true};
  if (taps.x.entries() > 0) piece.rows.include(taps.y.position);
  return piece;
}

/// Whether the first pixel of a row of bins is never above that of the row before.
bool ascends(const Taps& y) {
  int64_t first = 0;
  for (int64_t bin = 0; bin < y.rows(); ++bin) {
    const PixelRange rows = rows_of_bin(y, bin);
    if (rows.length() == 0) continue;
    if (rows.first < first) return false;
    first = rows.first;
  }
  return true;
}

}  // namespace

RoiPieces RoiPieces::whole(std::span<const RoiTaps> rois) {
  RoiPieces pieces;
  pieces.list.reserve(rois.size());
  for (size_t index = 0; index < rois.size(); ++index) pieces.list.push_back(whole_roi(index, rois[index]));
  pieces.arrange(rois.size());
  return pieces;
}

RoiPieces RoiPieces::cut(std::span<const RoiTaps> rois, int64_t most_rows) {
  RoiPieces pieces;
  pieces.list.reserve(2 * rois.size());
  for (size_t index = 0; index < rois.size(); ++index) {
    const Taps& y = rois[index].y;
    RoiPiece rest = whole_roi(index, rois[index]);
    if (rest.rows.length() > most_rows && ascends(y)) {
      RoiPiece piece{index, 0, 0, PixelRange::none(), false};
      for (int64_t bin = 0; bin < y.rows(); ++bin) {
        const PixelRange rows = rows_of_bin(y, bin);
        const bool fits = piece.rows.joined(rows).length() <= most_rows;
        if (!fits && piece.rows.length() > 0 && rows.length() > 0) {
          pieces.list.push_back(piece);
          piece = {index, bin, bin, PixelRange::none(), false};
        }
        piece.rows = piece.rows.joined(rows);
        piece.end_bin = bin + 1;
      }
      rest = piece;
      rest.is_last = true;
    }
    pieces.list.push_back(rest);
  }
  pieces.arrange(rois.size());
  return pieces;
}

/// Orders the pieces, and gives every RoI a tile that no other RoI has between its first and its last piece.
void RoiPieces::arrange(size_t rois) {
  if (list.size() == 1) {
    tallest = list[0].rows.length();
    return;
  }
  std::stable_sort(list.begin(), list.end(),
                   [](const RoiPiece& a, const RoiPiece& b) { return a.rows.first < b.rows.first; });
  constexpr int64_t none = -1;
  std::vector<int64_t> tile_of(rois, none), unused;
  tiles = 0;
  for (RoiPiece& piece : list) {
    tallest = std::max(tallest, piece.rows.length());
    int64_t& tile = tile_of[piece.index];
    if (tile == none) {
      if (unused.empty()) unused.push_back(tiles++);
      tile = unused.back();
      unused.pop_back();
    }
    piece.tile = tile;
    if (piece.is_last) unused.push_back(tile);
  }
}

}  // namespace roialign
