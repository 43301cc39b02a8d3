// The overlap of two rotated boxes.
#pragma once

#include <array>

#include "rotated/boxes.h"

namespace roialign {

/// The intersection over union of two boxes. It is 0 if both are empty.
double overlap(const RotatedBox& first, const RotatedBox& second);

struct OverlapGradient {
  std::array<double, 5> first{}, second{};
};

/// Its derivatives in the numbers of both boxes: see `roialign.rotated_iou` for those at kinks.
OverlapGradient overlap_gradient(const RotatedBox& first, const RotatedBox& second);

}  // namespace roialign
