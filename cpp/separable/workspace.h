// The buffers of one thread, reused from RoI to RoI.
#pragma once

#include <vector>

#include "contraction.h"
#include "memory.h"
#include "separable/geometry.h"

namespace roialign {

template <class A>
struct Workspace : Tiles<A> {
  using Tiles<A>::Tiles;

  void grow(size_t rois) {
    if (taps.size() < rois) taps.resize(rois);
    if (contractions.size() < rois) contractions.resize(rois);
  }

  std::vector<Contraction<A>> contractions;
  std::vector<RoiTaps> taps;
  AlignedVector<A> intermediate;
};

/// One workspace per thread.
template <class A>
std::vector<Workspace<A>> make_workspaces(const SeparableCall& call) {
  return make_workspaces<Workspace<A>, A>(call.scalar_type, call.team);
}

}  // namespace roialign
