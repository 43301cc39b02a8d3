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

  TapBuilder builder;
  Arena taps_memory, plans_memory;
  std::vector<RoiTaps> taps;  // of the RoIs of a group
  std::vector<Contraction<A>> contractions;
  AlignedVector<A> intermediate;
};

/// One workspace per thread.
template <class A>
std::vector<Workspace<A>> make_workspaces(const SeparableCall& call) {
  return make_workspaces<Workspace<A>, A>(call.scalar_type, call.team);
}

}  // namespace roialign
