#include "rotated/boxes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace roialign {

RotatedBoxes::RotatedBoxes(const BoxRows& rows) {
  boxes_.reserve(rows.count);
  for (auto* numbers : {&x_, &y_, &hull_x_, &hull_y_}) numbers->reserve(rows.count);
  for (int64_t row = 0; row < rows.count; ++row) {
    const double* const number = rows.data + 5 * row;
    const Direction along(std::cos(number[4]), std::sin(number[4]));
    const double wide = std::abs(along.cosine), high = std::abs(along.sine);
    boxes_.push_back({number[0], number[1], number[2], number[3], along});
    x_.push_back(number[0]);
    y_.push_back(number[1]);
    hull_x_.push_back(0.5 * (number[2] * wide + number[3] * high));
    hull_y_.push_back(0.5 * (number[2] * high + number[3] * wide));
  }
}

bool RotatedBoxes::is_near(const RotatedBoxes& set, int64_t box, int64_t index) const {
  return std::abs(x_[index] - set.x_[box]) < hull_x_[index] + set.hull_x_[box] &&
         std::abs(y_[index] - set.y_[box]) < hull_y_[index] + set.hull_y_[box];
}

void RotatedBoxes::near(const RotatedBoxes& set, int64_t box, int64_t first, int64_t last,
                        std::vector<int64_t>& found) const {
  constexpr int64_t width = 64;  // hits are counted in words of eight, so most of the pairs are skipped eight at a time
  const double x = set.x_[box], y = set.y_[box], hull_x = set.hull_x_[box], hull_y = set.hull_y_[box];
  unsigned char hits[width];
  found.clear();
  for (int64_t start = first; start < last; start += width) {
    const int64_t count = std::min(width, last - start);
    std::memset(hits, 0, sizeof(hits));
    for (int64_t i = 0; i < count; ++i) {
      const bool near_x = std::abs(x_[start + i] - x) < hull_x_[start + i] + hull_x;
      const bool near_y = std::abs(y_[start + i] - y) < hull_y_[start + i] + hull_y;
      hits[i] = near_x & near_y;
    }
    for (int64_t word = 0; word < width; word += 8) {
      uint64_t bytes;
      std::memcpy(&bytes, hits + word, 8);
      if (bytes == 0) continue;
      for (int64_t i = word; i < word + 8; ++i) {
        if (hits[i]) found.push_back(start + i);
      }
    }
  }
}

void RotatedBoxes::keep(const std::vector<int64_t>& places) {
  int64_t kept = 0;
  for (const int64_t place : places) {
    boxes_[kept] = boxes_[place];
    for (auto* numbers : {&x_, &y_, &hull_x_, &hull_y_}) (*numbers)[kept] = (*numbers)[place];
    ++kept;
  }
  boxes_.resize(kept);
  for (auto* numbers : {&x_, &y_, &hull_x_, &hull_y_}) numbers->resize(kept);
}

}  // namespace roialign
