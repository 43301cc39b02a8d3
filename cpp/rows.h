// RoIs as rows of numbers: which are valid, and which level of a pyramid each is on.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

namespace roialign {

/// Coordinates beyond this count as infinite, as in `_validate.py`.
constexpr double largest_coordinate = 1e100;

/// Whether a number is a coordinate: finite, and not NaN.
inline bool is_coordinate(double value) { return std::fabs(value) <= largest_coordinate; }

/// Whether a number is the index of one of so many images.
inline bool is_image(double value, int64_t images) {
  return value >= 0.0 && value < static_cast<double>(images) && value == std::floor(value);
}

/// RoIs in order.
struct Rows {
  int64_t numbers;           // that describe a box
  std::vector<double> rows;  // the image and the box of each
  std::vector<int64_t> levels;

  int64_t columns() const { return 1 + numbers; }
  int64_t count() const { return static_cast<int64_t>(levels.size()); }
};

/// The levels of a pyramid. A box is on the last level whose smallest area it has, as `_levels.py` describes.
struct Levels {
  std::vector<double> scales;
  std::vector<double> smallest_areas;  // of all levels but the first

  bool are_valid(size_t maps) const {
    return scales.size() == maps && smallest_areas.size() + 1 == maps &&
           std::ranges::adjacent_find(scales, std::less_equal()) == scales.end();
  }

  int64_t level_of(const double* box, bool is_rotated) const {
    const double width = is_rotated ? box[2] : box[2] - box[0], height = is_rotated ? box[3] : box[3] - box[1];
    const double area = std::max(width * height, 0.0);
    return std::ranges::upper_bound(smallest_areas, area) - smallest_areas.begin();
  }
};

}  // namespace roialign
