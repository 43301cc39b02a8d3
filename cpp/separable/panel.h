// The part of a map that a group of RoIs reads, with adjacent channels: the map itself, or a window that sweeps over
// its rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "separable/workspace.h"

namespace roialign {

/// If channels are not adjacent, the rows of a block of channels are transposed into a ring buffer as the RoIs need
/// them, in the order of their first rows. A pixel is transposed once for all RoIs of the group, and the ring has only
/// as many rows as the tallest RoI. For a single RoI, only the pixels that it touches are gathered.
template <class A>
class Panel {
 public:
  /// Prepares a panel for the taps of the group's RoIs.
  Panel(Workspace<A>& work, std::span<const RoiTaps> taps, const View& map, bool is_in_place, const RoiGroup& group)
      : work_(work),
        taps_(taps),
        map_(map),
        is_in_place_(is_in_place),
        group_(group),
        is_alone_(group.rows.size() == 1) {
    order_.resize(group.rows.size());
    std::iota(order_.begin(), order_.end(), size_t{0});
    if (is_in_place || is_alone_) return;
    PixelRange x = PixelRange::none(), y = PixelRange::none();
    rows_.reserve(group.rows.size());
    for (size_t index = 0; index < group.rows.size(); ++index) {
      PixelRange& rows = rows_.emplace_back(PixelRange::none());
      rows.include(taps[index].y.position);
      if (rows.length() == 0) continue;
      ring_rows_ = std::max(ring_rows_, rows.length() + rows_at_once);
      y = y.joined(rows);
      x.include(taps[index].x.position);
    }
    std::stable_sort(order_.begin(), order_.end(), [&](size_t a, size_t b) { return rows_[a].first < rows_[b].first; });
    if (x.length() == 0 || y.length() == 0) x = y = {0, 0};          // no RoI touches the map
    if (4 * x.length() > 3 * map.size[3]) x = {0, map.size[3] - 1};  // whole rows are one long run in memory
    ring_rows_ = std::min(ring_rows_, y.length());
    x_ = x;
    last_row_ = y.last;
  }

  /// The RoIs of the group, in the order in which they must be requested.
  const std::vector<size_t>& order() const { return order_; }

  /// The layout of the pixels, for a block of so many channels.
  Lattice lattice(int64_t channels) const {
    if (is_in_place_) return Workspace<A>::in_place(map_, 0, 0).lattice;
    if (is_alone_) return dense_lattice<A>(static_cast<int64_t>(taps_[0].x.position.size()), channels);
    Lattice lattice = dense_lattice<A>(x_.length(), channels);
    lattice.is_compact = false;
    lattice.ring_rows = ring_rows_;
    return lattice;
  }

  /// Restarts with a block of channels.
  void begin(int64_t channel, int64_t channels) {
    channel_ = channel;
    channels_ = channels;
    end_row_ = 0;
    if (!is_in_place_ && !is_alone_) work_.tile(work_.source_tile, ring_rows_, x_.length(), channels);
  }

  /// The memory that has the pixels of a RoI now.
  const std::byte* pixels_of(size_t index) {
    if (is_in_place_) return address(map_, group_.image, channel_);
    if (is_alone_) {
      const RoiTaps& taps = taps_[index];
      return work_
          .gather(map_, group_.image, channel_, channels_, work_.source_tile, &taps.y.position, &taps.x.position)
          .base;
    }
    if (rows_[index].length() > 0) sweep_to(rows_[index]);
    const auto* const base = reinterpret_cast<const std::byte*>(work_.source_tile.data());
    return base - x_.first * channels_ * int64_t{sizeof(A)};
  }

 private:
  /// Transposes the missing rows, and some more if they replace rows that are no longer needed.
  void sweep_to(const PixelRange& rows) {
    if (rows.last < end_row_) return;
    end_row_ = std::max(end_row_, rows.first);
    const int64_t end = std::min({rows.last + rows_at_once, rows.first + ring_rows_, last_row_ + 1});
    while (end_row_ < end) {
      const int64_t slot = end_row_ % ring_rows_;
      View strip = map_;
      strip.size[2] = std::min(end - end_row_, ring_rows_ - slot);
      strip.size[3] = x_.length();
      strip.data += end_row_ * map_.stride[2] + x_.first * map_.stride[3];
      A* const target = work_.source_tile.data() + slot * x_.length() * channels_;
      work_.kernels.gather(work_.block(strip, group_.image, channel_, channels_), target);
      end_row_ += strip.size[2];
    }
  }

  static constexpr int64_t rows_at_once = 8;

  Workspace<A>& work_;
  std::span<const RoiTaps> taps_;
  const View& map_;
  bool is_in_place_;
  const RoiGroup& group_;
  bool is_alone_;
  std::vector<size_t> order_;
  std::vector<PixelRange> rows_;  // of each RoI, beside each other, because every block of channels reads them
  PixelRange x_{0, 0};
  int64_t ring_rows_ = 1, last_row_ = 0, end_row_ = 0, channel_ = 0, channels_ = 0;
};

}  // namespace roialign
