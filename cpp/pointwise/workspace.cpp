#include "pointwise/workspace.h"

#include <cmath>
#include <numbers>

namespace roialign {

Orientation::Orientation(const PointwiseCall& call, int64_t row)
    : orientations(call.spec.orientations), per_angle(static_cast<double>(orientations) / (2.0 * std::numbers::pi)) {
  const double angle = call.geometry.boxes[row * call.columns + 4];
  const double turned = angle * static_cast<double>(orientations) / (2.0 * std::numbers::pi);
  const double whole = std::floor(turned);
  between = turned - whole;
  const auto remainder = static_cast<int64_t>(std::fmod(whole, static_cast<double>(orientations)));
  steps = (remainder + orientations) % orientations;
}

}  // namespace roialign
