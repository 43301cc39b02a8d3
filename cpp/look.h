// What looks like a mistake in the RoIs of a call. The formula has an answer for them all the same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "pointwise.h"
#include "separable.h"

namespace roialign {

/// Bits of what `look_at` returns.
enum Look : int64_t { has_inverted = 1, is_beside_the_maps = 2 };

/// Whether some box has its upper corner below its lower one, and whether none of them touches its map.
int64_t look_at(const SeparableCall& call, std::span<const View> maps);
int64_t look_at(const PointwiseCall& call, std::span<const View> maps);

}  // namespace roialign
