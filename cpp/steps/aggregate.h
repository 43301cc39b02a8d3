// Step 5: reduce the points of a bin.
#pragma once

namespace roialign {

/// The weight of each of `count` points in a mean. A bin without points is zero, so its divisor does not matter.
inline double aggregate_mean(double count) { return 1.0 / count; }

}  // namespace roialign
