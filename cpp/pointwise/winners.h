// Which point of every bin is the maximum of every channel.
#pragma once

#include <cstdint>
#include <span>

#include "pointwise/workspace.h"

namespace roialign {

/// They are looked for wherever they are needed: their numbers, kept for all bins, would take as much memory as the
/// answer, and longer to come from there than to be found again.
template <class A>
class Winners {
 public:
  Winners(const PointwiseCall& call, std::span<const View> deciding) : call_(call), deciding_(deciding) {}

  /// Of bins of a RoI, and a block of channels: [bins][channels] numbers of points within the bin, -1 for a point off
  /// the map. The bins from `first` on, as many as `points` lists of them, and none from `end` on.
  const int32_t* find(PointWorkspace<A>& work, RoiPoints& roi, BinPoints& points, int64_t row, int64_t first,
                      int64_t end, int64_t channel, int64_t channels) const {
    const View& map = deciding_[call_.levels[row]];
    points.list(roi, first, end, TapValues::still, false);
    const Operand source = has_adjacent_channels(map, call_.scalar_type)
                               ? work.in_place(map, call_.images[row], channel)
                               : work.panel(map, call_.images[row], roi.pixels_of(first, first + points.bins()),
                                            channel, channels, work.deciding_tile);
    work.winner.resize(std::max<int64_t>(points.bins() * channels, 1));
    const Operand values = work.tile(work.maximum_tile, points.bins(), 1, channels);
    work.maximum(points, source, call_.scalar_type, values, work.winner.data(), channels,
                 [&](int64_t bin) { return (bin - first) * values.lattice.row_step; });
    return work.winner.data();
  }

 private:
  const PointwiseCall& call_;
  std::span<const View> deciding_;
};

}  // namespace roialign
