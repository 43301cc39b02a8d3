// Pairs of rotated boxes in the Python module.
#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "rotated.h"

namespace nb = nanobind;

namespace roialign {
namespace {

using Boxes = nb::ndarray<const double, nb::numpy, nb::shape<-1, 5>, nb::c_contig, nb::device::cpu>;
using Gradient = nb::ndarray<double, nb::numpy, nb::shape<-1, 5>, nb::c_contig, nb::device::cpu>;
using Scores = nb::ndarray<const double, nb::numpy, nb::shape<-1>, nb::c_contig, nb::device::cpu>;
using Groups = nb::ndarray<const int64_t, nb::numpy, nb::shape<-1>, nb::c_contig, nb::device::cpu>;
/// [boxes, others], or [boxes] of a paired call.
template <class T>
using PerPair = nb::ndarray<T, nb::numpy, nb::c_contig, nb::device::cpu>;

BoxRows rows_of(const Boxes& boxes) { return {boxes.data(), static_cast<int64_t>(boxes.shape(0))}; }

Team team_of(const Team* team) { return team == nullptr ? Team{} : *team; }

template <class T>
void iou(const Boxes& boxes, const Boxes& others, bool paired, const PerPair<T>& out, const Team* team) {
  const BoxRows first = rows_of(boxes), second = rows_of(others);
  T* const target = out.data();
  const nb::gil_scoped_release release;
  rotated_iou(first, second, paired, target, team_of(team));
}

template <class T>
void iou_gradient(const Boxes& boxes, const Boxes& others, bool paired, const PerPair<const T>& grad_output,
                  const Gradient& grad_boxes, const Gradient& grad_others, const Team* team) {
  const BoxRows first = rows_of(boxes), second = rows_of(others);
  const T* const weights = grad_output.data();
  double* const targets[] = {grad_boxes.data(), grad_others.data()};
  const nb::gil_scoped_release release;
  rotated_iou_gradient(first, second, paired, weights, targets[0], targets[1], team_of(team));
}

std::vector<int64_t> nms(const Boxes& boxes, const Scores& scores, const Groups& groups, double threshold,
                         const Team* team) {
  const nb::gil_scoped_release release;
  return rotated_nms(rows_of(boxes), scores.data(), groups.data(), threshold, team_of(team));
}

template <class T>
void bind_iou(nb::module_& m) {
  m.def("rotated_iou", &iou<T>, nb::arg("boxes"), nb::arg("others"), nb::arg("paired"), nb::arg("out"),
        nb::arg("team") = nb::none());
  m.def("rotated_iou_gradient", &iou_gradient<T>, nb::arg("boxes"), nb::arg("others"), nb::arg("paired"),
        nb::arg("grad_output"), nb::arg("grad_boxes"), nb::arg("grad_others"), nb::arg("team") = nb::none());
}

}  // namespace

void bind_rotated(nb::module_& m) {
  bind_iou<double>(m);
  bind_iou<float>(m);
  m.def("rotated_nms", &nms, nb::arg("boxes"), nb::arg("scores"), nb::arg("groups"), nb::arg("threshold"),
        nb::arg("team") = nb::none());
}

}  // namespace roialign
