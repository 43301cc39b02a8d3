// Rotated boxes in the form that pairs of them are compared in.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "rotated.h"

namespace roialign {

/// A cosine or sine below this size counts as zero. So boxes at multiples of a quarter turn, which have no exact angle
/// in radians, are parallel, and their sides can coincide.
constexpr double negligible = 1e-15;

/// The direction of an angle.
struct Direction {
  Direction() = default;
  Direction(double cosine, double sine)
      : cosine(std::abs(cosine) < negligible ? 0.0
               : std::abs(sine) < negligible ? std::copysign(1.0, cosine)
                                             : cosine),
        sine(std::abs(sine) < negligible     ? 0.0
             : std::abs(cosine) < negligible ? std::copysign(1.0, sine)
                                             : sine) {}

  double cosine = 1.0, sine = 0.0;
};

struct RotatedBox {
  double x, y, width, height;
  Direction along;  // of the width, from x towards y

  double area() const { return width * height; }
};

/// Boxes, and apart from them the numbers that decide whether a pair may overlap, which are read for every pair.
class RotatedBoxes {
 public:
  explicit RotatedBoxes(const BoxRows& rows);

  int64_t size() const { return static_cast<int64_t>(boxes_.size()); }
  const RotatedBox& operator[](int64_t index) const { return boxes_[index]; }

  /// Replaces `found` by the boxes in [first, last) whose upright hulls overlap that of a box, which may be one of
  /// another set.
  void near(const RotatedBoxes& set, int64_t box, int64_t first, int64_t last, std::vector<int64_t>& found) const;
  bool is_near(const RotatedBoxes& set, int64_t box, int64_t index) const;

  /// Keeps the boxes in the places of a list, which is increasing.
  void keep(const std::vector<int64_t>& places);

 private:
  std::vector<RotatedBox> boxes_;
  std::vector<double> x_, y_, hull_x_, hull_y_;  // centres, and half sides of the upright hulls
};

}  // namespace roialign
