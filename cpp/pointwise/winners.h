// Which point of every bin is the maximum of every channel.
#pragma once

#include <cstdint>
#include <vector>

#include "large_array.h"
#include "pointwise/workspace.h"

namespace roialign {

/// For every RoI, [bins][channels] numbers of points within the bin; -1 for a point off the map.
class Winners {
 public:
  Winners(const PointwiseCall& call, int64_t bins_y, int64_t bins_x, int64_t channels)
      : call_(call), bins_y_(bins_y), bins_x_(bins_x), channels_(channels), numbers_(call.rois * bins() * channels) {}

  int64_t bins() const { return bins_y_ * bins_x_; }
  /// From one bin's numbers to the next bin's.
  int64_t step() const { return channels_; }
  const int32_t* of(int64_t row, int64_t bin) const { return numbers_.data() + (row * bins() + bin) * channels_; }

  /// Looks for them in `maps`.
  template <class A>
  void find(std::span<const View> maps, std::vector<PointWorkspace<A>>& workspaces) {
    parallel_for(call_.team, call_.rois, [&](int64_t row, int worker) {
      if (call_.images[row] >= 0) find_in_roi(maps[call_.levels[row]], row, workspaces[worker]);
    });
  }

 private:
  template <class A>
  void find_in_roi(const View& map, int64_t row, PointWorkspace<A>& work) {
    RoiPoints roi(call_, map, row, bins_y_, bins_x_);
    work.points.resize(std::max<size_t>(work.points.size(), 1));
    BinPoints& points = work.points[0];
    const bool in_place = has_adjacent_channels(map, call_.scalar_type);
    const ChannelBlocks blocks(channels_, in_place ? std::max<int64_t>(channels_, 1) : panel_channels);
    for (int64_t b = 0; b < blocks.count; ++b) {
      const int64_t channel = blocks.first(b), channels = blocks.length(b);
      const Operand source = in_place ? work.in_place(map, call_.images[row], channel)
                                      : work.panel(map, call_.images[row], roi.pixels(), channel, channels);
      for (int64_t first = 0; first < bins(); first = points.first_bin + points.bins()) {
        points.list(roi, first, bins(), TapValues::still, false);
        work.find_winners(points, source, call_.scalar_type, channels);
        for (int64_t bin = 0; bin < points.bins(); ++bin) {
          std::copy_n(work.winner.data() + bin * channels, channels,
                      numbers_.data() + (row * bins() + first + bin) * channels_ + channel);
        }
      }
    }
  }

  static constexpr int64_t panel_channels = 64;

  const PointwiseCall& call_;
  int64_t bins_y_, bins_x_, channels_;
  LargeArray<int32_t> numbers_;
};

}  // namespace roialign
