// The part of a map that a group of RoIs reads, with adjacent channels: the map itself, or a window that sweeps over
// its rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

#include "separable/pieces.h"
#include "separable/workspace.h"

namespace roialign {

/// If channels are not adjacent, the rows of a block of channels are transposed into a ring buffer as the RoIs need
/// them, in the order of their first rows. A pixel is transposed once for all RoIs of the group. The ring has few more
/// rows than the tallest RoI. If that is too large for the cache, RoIs are cut into pieces of fewer rows. If the RoIs
/// touch few pixels of these rows, or there is only one, the pixels that each one touches are gathered.
template <class A>
class Panel {
 public:
  /// Prepares a panel for the taps of the group's RoIs. A block has at most `channels` channels; a tile, which a RoI
  /// needs from its first to its last piece, has `bins` pixels. Pixels that are copied are stored as `values`.
  Panel(Workspace<A>& work, std::span<const RoiTaps> taps, const View& map, bool is_in_place, const RoiGroup& group,
        int64_t channels, int64_t bins, Values values)
      : work_(work),
        taps_(taps),
        map_(map),
        values_(values),
        is_in_place_(is_in_place),
        group_(group),
        gathers_(group.rows.size() == 1),
        pieces_(RoiPieces::whole(taps)) {
    if (is_in_place || gathers_) return;
    PixelRange x = PixelRange::none(), y = PixelRange::none();
    int64_t touched = 0;
    for (const RoiTaps& roi : taps) {
      if (roi.y.entries() == 0 || roi.x.entries() == 0) continue;
      touched += static_cast<int64_t>(roi.y.position.size() * roi.x.position.size());
      y.include(roi.y.position);
      x.include(roi.x.position);
    }
    if (x.length() == 0) x = y = {0, 0};                             // no RoI touches the map
    if (4 * x.length() > 3 * map.size[3]) x = {0, map.size[3] - 1};  // whole rows are one long run in memory
    gathers_ = gathering_takes * touched < y.length() * x.length();
    if (gathers_) return;
    x_ = x;
    last_row_ = y.last;
    cut_into_pieces(cached_bytes / std::max<int64_t>(channels * work.kernels.bytes_of(values), 1), bins);
    ring_rows_ = std::clamp<int64_t>(pieces_.tallest + rows_at_once_, 1, y.length());
  }

  /// The pieces of the group's RoIs, in the order in which they must be requested.
  std::span<const RoiPiece> pieces() const { return pieces_.list; }

  /// How many RoIs have begun and not ended, at most.
  int64_t tiles() const { return pieces_.tiles; }

  /// The layout of the pixels of a RoI, for a block of so many channels.
  Lattice lattice(size_t index, int64_t channels) const {
    if (is_in_place_) return Workspace<A>::in_place(map_, 0, 0).lattice;
    const auto columns = gathers_ ? static_cast<int64_t>(taps_[index].x.position.size()) : x_.length();
    Lattice lattice = dense_lattice(work_.kernels, columns, channels, values_);
    if (gathers_) return lattice;
    lattice.is_compact = false;
    lattice.ring_rows = ring_rows_;
    return lattice;
  }

  /// Restarts with a block of channels.
  void begin(int64_t channel, int64_t channels) {
    channel_ = channel;
    channels_ = channels;
    end_row_ = 0;
    if (is_in_place_ || gathers_) return;
    ring_ = work_.tile(work_.source_tile, ring_rows_, x_.length(), channels, values_);
  }

  /// The memory that has the pixels of a piece now.
  const std::byte* pixels_of(const RoiPiece& piece) {
    if (is_in_place_) return address(map_, group_.image, channel_);
    if (gathers_) {
      const RoiTaps& taps = taps_[piece.index];
      return work_
          .gather(map_, group_.image, channel_, channels_, taps.y.position, taps.x.position, work_.source_tile, values_)
          .base;
    }
    if (piece.rows.length() > 0) sweep_to(piece.rows);
    return ring_.base - x_.first * ring_.lattice.column_step;
  }

 private:
  /// Cuts the RoIs if the ring and a tile have more than `most_pixels` otherwise, and if what the ring then saves is
  /// more than the tiles of the RoIs that have begun need.
  void cut_into_pieces(int64_t most_pixels, int64_t bins) {
    const int64_t pixels = pixels_in_use(pieces_, bins);
    if (pixels <= most_pixels) return;
    const int64_t most_rows = most_pixels / std::max<int64_t>(x_.length(), 1);
    const int64_t rows_at_once = std::clamp<int64_t>(most_rows / 6, 1, most_rows_at_once);
    RoiPieces cut = RoiPieces::cut(taps_, std::max<int64_t>(most_rows - rows_at_once, 1));
    if (pixels_in_use(cut, bins) >= pixels) return;
    pieces_ = std::move(cut);
    rows_at_once_ = rows_at_once;
  }

  /// The pixels of the ring, if it has no rows to spare but the most that are transposed at once, and of the tiles.
  int64_t pixels_in_use(const RoiPieces& pieces, int64_t bins) const {
    return (pieces.tallest + most_rows_at_once) * x_.length() + pieces.tiles * bins;
  }

  /// Transposes the missing rows, and some more if they replace rows that are no longer needed.
  void sweep_to(const PixelRange& rows) {
    if (rows.last < end_row_) return;
    end_row_ = std::max(end_row_, rows.first);
    const int64_t end = std::min({rows.last + rows_at_once_, rows.first + ring_rows_, last_row_ + 1});
    while (end_row_ < end) {
      const int64_t slot = end_row_ % ring_rows_;
      View strip = map_;
      strip.size[2] = std::min(end - end_row_, ring_rows_ - slot);
      strip.size[3] = x_.length();
      strip.data += end_row_ * map_.stride[2] + x_.first * map_.stride[3];
      work_.gather_into({ring_.base + slot * ring_.lattice.row_step, ring_.lattice}, strip, group_.image, channel_,
                        channels_);
      end_row_ += strip.size[2];
    }
  }

  static constexpr int64_t most_rows_at_once = 8;
  static constexpr int64_t gathering_takes = 3;  // as long for a pixel as transposing many
  static constexpr int64_t cached_bytes = int64_t{640} << 10;

  Workspace<A>& work_;
  std::span<const RoiTaps> taps_;
  const View& map_;
  Values values_;
  bool is_in_place_;
  const RoiGroup& group_;
  bool gathers_;
  RoiPieces pieces_;
  PixelRange x_{0, 0};
  Operand ring_{};
  int64_t ring_rows_ = 1, rows_at_once_ = most_rows_at_once, last_row_ = 0, end_row_ = 0, channel_ = 0, channels_ = 0;
};

}  // namespace roialign
