// Step 5: reduce the points of a bin.
#pragma once

namespace roialign {

/// The mean's weight of one of `count` points. A bin without points is zero, so its divisor never matters.
inline double aggregate_mean(double count) { return 1.0 / count; }

}  // namespace roialign
