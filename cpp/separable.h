// The separable family: for every RoI and channel, out = Wy . F . Wx^T. Three functions are sufficient for forward,
// backward, double backward and forward mode. `reference/separable.py` is their specification.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "kernels.h"
#include "memory.h"
#include "parallel.h"
#include "steps/sample_points.h"

namespace roialign {

struct SeparableSpec {
  Rule rule;
  std::array<int64_t, 2> sampling_ratio;  // along y, x
  double offset;
  double minimum_length;
  bool normalised_boxes;
  double fill;
  uint64_t seed;
};

/// How many numbers describe a box.
inline int64_t numbers_of_box(const SeparableSpec&) { return 4; }

/// The arguments of every call: the operator, its RoIs, and the box tangents of the derivative.
struct SeparableCall {
  SeparableSpec spec;
  ScalarType scalar_type;
  std::span<const double> scales;           // per level
  int64_t rois;                             // rows
  const double* roi_rows;                   // [rois, 5]: image (-1: none), x1, y1, x2, y2
  const int64_t* levels;                    // [rois]
  std::span<const double* const> tangents;  // each [rois, 4]
  Team team;
};

/// out[k] = D_tangents f(features)[k]. It is zero for a RoI with image -1.
void forward(const SeparableCall& call, std::span<const View> features, const View& out);

/// The transpose of `forward` in the features, written (not added) to every element of `grad_features`.
void adjoint_features(const SeparableCall& call, const View& grad_output, std::span<const View> grad_features);

/// The gradient of <grad_output, D_tangents f(features)> in the boxes, [rois, 4]. At most one tangent.
void adjoint_boxes(const SeparableCall& call, const View& grad_output, std::span<const View> features,
                   double* grad_boxes);

}  // namespace roialign
