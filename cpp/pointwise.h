// The pointwise family: points in every bin, the map interpolated at each, and their mean or maximum. Integer bins are
// bins whose points are whole pixels. `reference/pointwise.py` is the specification.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "kernels.h"
#include "memory.h"
#include "parallel.h"

namespace roialign {

enum class Mapping { box, rotated, rounded, inclusive };
enum class PointRule { grid, random, lattice, pixels };
enum class Reduction { mean, max, corner_max };
enum class Channels { same, position, orientation };

struct PointwiseSpec {
  Mapping mapping;
  PointRule rule;
  Reduction reduction;
  Channels channels;
  std::array<int64_t, 2> sampling_ratio;  // along y, x
  double offset;
  double minimum_length;
  uint64_t seed;
  bool jitters_points;
  bool clockwise;
  int64_t orientations;
  double gamma;
  double extra_pixels;
  int64_t unused_border;
};

/// Whether a bin is one of its samples, and not the mean of them.
inline bool takes_maximum(const PointwiseSpec& spec) { return spec.reduction != Reduction::mean; }

/// Where the RoIs are; or a direction in which they move, or the gradient in all that.
template <class Number>
struct GeometryOf {
  Number* boxes;   // [rois, columns]
  Number* offset;  // [rois, 2, bins_y, bins_x], x first; null: none
  Number* mask;    // [rois, bins_y, bins_x]; null: ones
};
using Geometry = GeometryOf<const double>;
using GeometryGradient = GeometryOf<double>;

struct PointwiseCall {
  PointwiseSpec spec;
  ScalarType scalar_type;
  std::span<const double> scales;  // per level
  int64_t rois;
  int64_t columns;        // numbers that describe a box: 4 or 5
  const int64_t* images;  // [rois]; -1: none
  const int64_t* levels;  // [rois]
  Geometry geometry;
  const Geometry* tangent;  // null: the operator itself
  Team team;
};

// A maximum is linear in the features as long as the same points win, so all below takes two sets of maps: those that
// it is applied to, and those at which it is decided who wins. A mean does not read the latter, which may be none.

/// out[k] = f(features)[k], or its derivative along the tangent; zero for a RoI of image -1.
void forward(const PointwiseCall& call, std::span<const View> features, std::span<const View> deciding,
             const View& out);

/// The transpose of `forward` in the features, written to every element of `grad_features`.
void adjoint_features(const PointwiseCall& call, const View& grad_output, std::span<const View> deciding,
                      std::span<const View> grad_features);

/// The gradient of <grad_output, f(features)> in the boxes and, where the call has them, the offsets and masks. Takes
/// no tangent; a mask only with a mean.
void adjoint_geometry(const PointwiseCall& call, const View& grad_output, std::span<const View> features,
                      std::span<const View> deciding, const GeometryGradient& gradient);

}  // namespace roialign
