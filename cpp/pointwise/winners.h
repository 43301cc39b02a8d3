// The winners: the points that have the maximum of each bin and channel.
#pragma once

#include <cstdint>
#include <span>

#include "pointwise/workspace.h"

namespace roialign {

/// They are computed again wherever they are needed. Storing them for all bins would take as much memory as the result,
/// and loading them would take longer than computing them again.
template <class A>
class Winners {
 public:
  Winners(const PointwiseCall& call, std::span<const View> deciding) : call_(call), deciding_(deciding) {}

  /// For bins of a RoI and a block of channels: [bins][channels] indices of points within the bin, or -1 for a point
  /// outside the map. The bins start at `first`, are as many as `points` lists, and end before `end`.
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
