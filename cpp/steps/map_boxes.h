// Step 1: image coordinates to feature coordinates, one axis at a time.
#pragma once

namespace roialign {

/// start = lower * scale - offset, length = max(upper * scale - offset - start, minimum_length).
struct AxisMapping {
  double scale;
  double offset;
  double minimum_length;
};

struct MappedAxis {
  double start;
  double length;
};

/// How a mapped axis moves: the derivative of (start, length) along some direction.
struct AxisTangent {
  double start;
  double length;
};

inline MappedAxis map_boxes(double lower, double upper, const AxisMapping& mapping) {
  const double start = lower * mapping.scale - mapping.offset;
  const double length = (upper * mapping.scale - mapping.offset) - start;
  return {start, length < mapping.minimum_length ? mapping.minimum_length : length};
}

/// The derivative of `map_boxes` along (lower, upper).
inline AxisTangent map_boxes_tangent(double lower, double upper, double tangent_lower, double tangent_upper,
                                     const AxisMapping& mapping) {
  const double start = lower * mapping.scale - mapping.offset;
  const bool lengthened = (upper * mapping.scale - mapping.offset) - start < mapping.minimum_length;
  return {mapping.scale * tangent_lower, lengthened ? 0.0 : mapping.scale * (tangent_upper - tangent_lower)};
}

}  // namespace roialign
