// Detects RoIs of a call that are valid but probably a mistake.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "pointwise.h"
#include "separable.h"

namespace roialign {

/// The bits of the result of `suspicions_of`.
enum Suspicion : int64_t { inverted_boxes = 1, no_box_on_the_map = 2 };

/// Whether a box is inverted, and whether no box touches its map.
int64_t suspicions_of(const SeparableCall& call, std::span<const View> maps);
int64_t suspicions_of(const PointwiseCall& call, std::span<const View> maps);

}  // namespace roialign
