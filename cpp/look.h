// Detects RoIs of a call that are valid but probably a mistake.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "pointwise.h"
#include "separable.h"

namespace roialign {

/// The bits of the result of `look_at`.
enum Look : int64_t { has_inverted = 1, is_beside_the_maps = 2 };

/// Whether a box is inverted, and whether no box touches its map.
int64_t look_at(const SeparableCall& call, std::span<const View> maps);
int64_t look_at(const PointwiseCall& call, std::span<const View> maps);

}  // namespace roialign
