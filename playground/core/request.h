// What the page asks of the core: one operator, one box, one map.
#pragma once

#include <cmath>
#include <cstddef>
#include <iterator>
#include <limits>

namespace roialign::playground {

/// All fields are doubles, so that JavaScript writes them as one array. Their order is that of FIELDS in page/core.js.
struct Request {
  double family;  // 0: separable, 1: pointwise
  double rule;    // a Rule or a PointRule, by family
  double mapping;
  double reduction;
  double sampling_ratio;
  double offset;
  double minimum_length;
  double normalised_boxes;
  double extra_pixels;
  double seed;
  double scale;
  double bins_y;
  double bins_x;
  double channels;
  double height;
  double width;
  double x1;
  double y1;
  double x2;
  double y2;
  double bin;  // the gradients are those of this bin, or of the mean over all bins if it is -1
};

/// The range of a field.
struct Limit {
  double low, high;
  bool whole;

  bool holds(double value) const { return value >= low && value <= high && (!whole || value == std::floor(value)); }
};

constexpr double infinity = std::numeric_limits<double>::infinity();

constexpr Limit limits[] = {
    {0, 1, true},             // family
    {0, 5, true},             // rule
    {0, 3, true},             // mapping
    {0, 1, true},             // reduction: mean or max
    {0, 16, true},            // sampling_ratio
    {-16, 16, false},         // offset
    {-infinity, 16, false},   // minimum_length
    {0, 1, true},             // normalised_boxes
    {0, 1, true},             // extra_pixels
    {0, 4294967295.0, true},  // seed
    {1e-6, 1e6, false},       // scale
    {1, 32, true},            // bins_y
    {1, 32, true},            // bins_x
    {1, 4, true},             // channels
    {1, 512, true},           // height
    {1, 512, true},           // width
    {-1e6, 1e6, false},       // x1
    {-1e6, 1e6, false},       // y1
    {-1e6, 1e6, false},       // x2
    {-1e6, 1e6, false},       // y2
    {-1, 1023, true},         // bin
};
constexpr int field_count = sizeof(Request) / sizeof(double);
static_assert(std::size(limits) == field_count);

/// 0 if all fields are in range and fit together. Otherwise, the number of the first field that is not, from 1.
int first_invalid(const Request& request);

}  // namespace roialign::playground
