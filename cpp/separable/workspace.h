// What one thread needs to work on one RoI after another.
#pragma once

#include <vector>

#include "contraction.h"
#include "memory.h"
#include "separable/geometry.h"

namespace roialign {

template <class A>
struct Workspace : Tiles<A> {
  using Tiles<A>::Tiles;
  using Tiles<A>::in_place;
  using Tiles<A>::gather;
  using Tiles<A>::tile;
  using Tiles<A>::source_tile;

  /// The part of a map that the first taps here, those of a group of RoIs, read, for a block of channels: in place; or,
  /// where channels are apart, a copy of the group's rectangle, or of the pixels alone that a single RoI touches.
  Operand read(const View& map, bool is_in_place, const RoiGroup& group, int64_t channel, int64_t channels) {
    if (is_in_place) return in_place(map, group.image, channel);
    if (group.rows.size() == 1) {
      return gather(map, group.image, channel, channels, source_tile, &taps[0].y.position, &taps[0].x.position);
    }
    PixelRange y = PixelRange::none(), x = PixelRange::none();
    for (size_t index = 0; index < group.rows.size(); ++index) {
      y.include(taps[index].y.position);
      x.include(taps[index].x.position);
    }
    if (y.length() == 0 || x.length() == 0) return tile(source_tile, 0, 0, channels);
    View rectangle = map;
    rectangle.data += y.first * map.stride[2] + x.first * map.stride[3];
    rectangle.size[2] = y.length();
    rectangle.size[3] = x.length();
    Operand panel = gather(rectangle, group.image, channel, channels, source_tile);
    panel.lattice.is_compact = false;
    panel.base -= y.first * panel.lattice.row_step + x.first * panel.lattice.column_step;
    return panel;
  }

  void grow(size_t rois) {
    if (taps.size() < rois) taps.resize(rois);
    if (contractions.size() < rois) contractions.resize(rois);
  }

  std::vector<Contraction<A>> contractions;
  std::vector<RoiTaps> taps;
  std::vector<A> intermediate;
};

/// One workspace per thread.
template <class A>
std::vector<Workspace<A>> make_workspaces(const SeparableCall& call) {
  return make_workspaces<Workspace<A>, A>(call.scalar_type, call.team);
}

}  // namespace roialign
