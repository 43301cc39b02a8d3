// The pointwise family: the mean or maximum of the map interpolated at the points of every bin. For integer bins, the
// points are whole pixels. `reference/pointwise.py` is the specification.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "kernels.h"
#include "memory.h"
#include "parallel.h"

namespace roialign {

enum class Mapping { box, rotated, rounded, inclusive };
constexpr int mapping_count = static_cast<int>(Mapping::inclusive) + 1;
enum class PointRule { grid, random, lattice, pixels };
enum class Reduction { mean, max, corner_max };
enum class Channels { same, position, orientation };
constexpr int channels_count = static_cast<int>(Channels::orientation) + 1;

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

/// How many numbers describe a box.
inline int64_t numbers_of_box(const PointwiseSpec& spec) { return spec.mapping == Mapping::rotated ? 5 : 4; }

/// Whether the result of a bin is one of its samples, and not their mean.
inline bool takes_maximum(const PointwiseSpec& spec) {
  switch (spec.reduction) {
    case Reduction::mean:
      return false;
    case Reduction::max:
    case Reduction::corner_max:
      return true;
  }
  return false;  // unreachable: every reduction has a case
}

/// The geometry of the RoIs, or a tangent or gradient of it.
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
  int64_t columns;        // the number of values per box: 4 or 5
  const int64_t* images;  // [rois]; -1: none
  const int64_t* levels;  // [rois]
  Geometry geometry;
  const Geometry* tangent;  // null: the operator itself
  Team team;
};

// A maximum is linear in the features as long as the maxima are at the same points (the winners). All functions below
// therefore take two sets of maps: those that they are applied to, and those that determine the winners. A mean does
// not use the latter, which may be empty.

/// out[k] = f(features)[k], or its derivative along the tangent. It is zero for a RoI with image -1.
void forward(const PointwiseCall& call, std::span<const View> features, std::span<const View> deciding,
             const View& out);

/// The transpose of `forward` in the features, written to every element of `grad_features`. Throws for maps of so many
/// pixels that 32 bits cannot number those of a bin, if the points are whole pixels.
void adjoint_features(const PointwiseCall& call, const View& grad_output, std::span<const View> deciding,
                      std::span<const View> grad_features);

/// The gradient of <grad_output, f(features)> in the boxes and, if the call has them, in the offsets and masks.
/// Tangents are not supported, and masks only with a mean.
void adjoint_geometry(const PointwiseCall& call, const View& grad_output, std::span<const View> features,
                      std::span<const View> deciding, const GeometryGradient& gradient);

}  // namespace roialign
