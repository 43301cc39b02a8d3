// The largest pixels of bins of whole pixels (the winners), to which the gradient of RoIPool goes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "pointwise/workspace.h"

namespace roialign {

/// Bins of one row of bins, from `first` to `end`. `columns` are those of any row.
template <class A>
PixelBins<A> part_of_row(const RoiPoints& roi, const PixelBins<A>& columns, int64_t bins_x, int64_t first,
                         int64_t end) {
  const PixelSpan rows = roi.whole_pixels(0, first / bins_x);
  PixelBins<A> bins = columns;
  bins.bins = end - first;
  bins.first_row = rows.first;
  bins.end_row = rows.end;
  bins.first_column += first % bins_x;
  bins.end_column += first % bins_x;
  return bins;
}

/// The winners are found again for every tile of the gradient map, because storing and loading them takes longer. RoIs
/// that meet many tiles are an exception.
template <class A>
class LargestPixels {
 public:
  LargestPixels(const PointwiseCall& call, std::span<const View> deciding, int64_t bins_y, int64_t bins_x)
      : call_(call), deciding_(deciding), bins_y_(bins_y), bins_x_(bins_x), winners_(call.rois) {}

  /// Finds and keeps the winners of RoIs that meet many tiles, of as many as there is memory for.
  void find_all_of_large_rois(std::span<const RoiPlace> places, std::span<const TileShape> tiles,
                              const ChannelBlocks& channels, std::vector<PointWorkspace<A>>& workspaces) {
    const int64_t numbers = bins_y_ * bins_x_ * channels.channels;
    std::vector<int64_t> large;
    for (int64_t row = 0; row < call_.rois; ++row) {
      const RoiPlace& place = places[row];
      if (place.image < 0) continue;
      const TileShape& tile = tiles[place.level];
      const PixelBox pixels{place.y, place.x};
      if (pixels.pixels() <= most_tiles * tile.height * tile.width || !is_read_in_place(deciding_[place.level])) {
        continue;
      }
      if (static_cast<int64_t>(large.size() + 1) * numbers > most_numbers) break;
      large.push_back(row);
      winners_[row].resize(numbers);
    }
    const int64_t items = channels.count * bins_y_;  // of a RoI
    parallel_for(call_.team, static_cast<int64_t>(large.size()) * items, [&](int64_t item, int worker) {
      const int64_t block = item % items / bins_y_;
      find_row(workspaces[worker], large[item / items], item % bins_y_, channels.first(block), channels.length(block));
    });
  }

  bool has(int64_t row) const { return !winners_[row].empty(); }

  /// Those that were found, [bins][channels], of a block of channels and the bins from `first` on.
  const int32_t* of(int64_t row, int64_t channel, int64_t channels, int64_t first) const {
    return winners_[row].data() + bins_y_ * bins_x_ * channel + first * channels;
  }

  /// The winners of a part of a row of bins of a RoI, [bins][channels], valid until the next call.
  const int32_t* find(PointWorkspace<A>& work, PixelBins<A> bins, const Operand& deciding, int64_t channels) const {
    const Operand values = work.tile(work.maximum_tile, bins.bins, 1, channels, Values::accumulators);
    bins.bin_step = values.lattice.column_step;
    work.winner.resize(std::max<int64_t>(bins.bins * channels, 1));
    const auto maximum = point_kernels<A>(call_.scalar_type)
                             .maximum_of_pixels[index(deciding.lattice.values)][index(Values::accumulators)];
    maximum(bins, deciding.base, values.base, work.winner.data(), channels);
    return work.winner.data();
  }

 private:
  bool is_read_in_place(const View& map) const {
    return has_adjacent_channels(map, call_.scalar_type) || have_rows({&map, 1}, call_.scalar_type);
  }

  /// Of a row of bins and a block of channels: of all at once or, in a planar map, of one after the other.
  void find_row(PointWorkspace<A>& work, int64_t row, int64_t bin_row, int64_t channel, int64_t channels) {
    const View& map = deciding_[call_.levels[row]];
    const int64_t at_once = has_adjacent_channels(map, call_.scalar_type) ? channels : 1;
    const int64_t first = bin_row * bins_x_;
    const RoiPoints roi(call_, map, row, bins_y_, bins_x_);
    const Lattice pixels = work.in_place(map, 0, 0).lattice;
    const PixelBins<A> bins =
        part_of_row(roi, work.pixel_bins(roi, bins_x_, pixels, at_once), bins_x_, first, first + bins_x_);
    int32_t* const winners = winners_[row].data() + bins_y_ * bins_x_ * channel + first * channels;
    for (int64_t c = 0; c < channels; c += at_once) {
      const int32_t* const found = find(work, bins, work.in_place(map, call_.images[row], channel + c), at_once);
      for (int64_t bin = 0; bin < bins_x_; ++bin) {
        std::copy_n(found + bin * at_once, at_once, winners + bin * channels + c);
      }
    }
  }

  static constexpr int64_t most_numbers = int64_t{16} << 20;
  static constexpr int64_t most_tiles = 4;

  const PointwiseCall& call_;
  std::span<const View> deciding_;
  int64_t bins_y_, bins_x_;
  std::vector<AlignedVector<int32_t>> winners_;  // of large RoIs: blocks of channels of all bins
};

}  // namespace roialign
