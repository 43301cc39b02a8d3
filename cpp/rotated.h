// Intersection over union and non-maximum suppression of rotated boxes.
//
// A box is a row (centre x, centre y, width, height, angle), with the angle in radians from x towards y. All numbers
// are finite, and sizes are not negative. The results have the same bits for any number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel.h"

namespace roialign {

struct BoxRows {
  const double* data;  // [count, 5]
  int64_t count;
};

/// Writes the intersection over union of each pair into `out`: [boxes, others], or [boxes] if `paired`.
template <class T>
void rotated_iou(const BoxRows& boxes, const BoxRows& others, bool paired, T* out, const Team& team);

/// Writes the gradients of sum(grad_output * rotated_iou(boxes, others)) into `grad_boxes` and `grad_others`.
template <class T>
void rotated_iou_gradient(const BoxRows& boxes, const BoxRows& others, bool paired, const T* grad_output,
                          double* grad_boxes, double* grad_others, const Team& team);

/// The indices of the boxes that are kept, best score first. Boxes suppress boxes of the same group only.
std::vector<int64_t> rotated_nms(const BoxRows& boxes, const double* scores, const int64_t* groups, double threshold,
                                 const Team& team);

}  // namespace roialign
