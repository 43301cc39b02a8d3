// Step 1: image coordinates to feature coordinates, one axis at a time.
#pragma once

#include <algorithm>
#include <cmath>

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

/// The derivative of (start, length) of a mapped axis along some direction.
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

/// Both ends of a box rounded to pixels, with halves away from zero. The result is at least one pixel long.
/// `extra_pixels` is 1 if the pixel at the upper end is part of the RoI.
inline MappedAxis map_boxes_rounded(double lower, double upper, double scale, double extra_pixels) {
  const double start = std::round(lower * scale);
  return {start, std::max(std::round(upper * scale) - start + extra_pixels, 1.0)};
}

/// A RoI on the map: its own two axes and their position and direction. Or a directional derivative of these.
struct Frame {
  MappedAxis y, x;
  double cosine = 1.0, sine = 0.0;
  double centre_y = 0.0, centre_x = 0.0;

  struct Place {
    double y, x;
  };
  /// Maps a point on the RoI's own axes to the map. Positive angles are counter-clockwise on the screen.
  Place place(double along_y, double along_x) const {
    return {along_y * cosine - along_x * sine + centre_y, along_y * sine + along_x * cosine + centre_x};
  }
};

/// Maps (centre x, centre y, width, height, angle in radians). The origin of the RoI's own axes is its centre.
inline Frame map_rotated_boxes(const double* box, const AxisMapping& mapping, bool clockwise) {
  const double width = std::max(box[2] * mapping.scale, mapping.minimum_length);
  const double height = std::max(box[3] * mapping.scale, mapping.minimum_length);
  const double turn = clockwise ? -box[4] : box[4];
  return {{-height / 2.0, height},
          {-width / 2.0, width},
          std::cos(turn),
          std::sin(turn),
          box[1] * mapping.scale - mapping.offset,
          box[0] * mapping.scale - mapping.offset};
}

/// The derivative of `map_rotated_boxes` along a tangent of the box.
inline Frame map_rotated_boxes_tangent(const double* box, const double* tangent, const AxisMapping& mapping,
                                       bool clockwise) {
  const auto side = [&](int i) {
    return box[i] * mapping.scale < mapping.minimum_length ? 0.0 : tangent[i] * mapping.scale;
  };
  const double width = side(2), height = side(3), sign = clockwise ? -1.0 : 1.0;
  const double turn = sign * box[4], speed = sign * tangent[4];
  return {{-height / 2.0, height}, {-width / 2.0, width},      -std::sin(turn) * speed,
          std::cos(turn) * speed,  tangent[1] * mapping.scale, tangent[0] * mapping.scale};
}

/// The axis of a RoI for a bin with an offset. `shift` is gamma times the offset: the start moves by it times the
/// length.
inline MappedAxis shift_axis(const MappedAxis& axis, double shift) {
  return {axis.start + shift * axis.length, axis.length};
}

}  // namespace roialign
