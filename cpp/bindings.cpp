// The Python module. The Python code has validated the arguments. Calls release the GIL.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bindings.h"
#include "kernels.h"
#include "parallel.h"
#include "separable.h"
#include "suspicions.h"
#include "taps.h"

namespace nb = nanobind;

namespace {

using roialign::Memory;
using roialign::View;
using roialign::view_of;
using roialign::views_of;

using Rows = nb::ndarray<const double, nb::numpy, nb::shape<-1, 5>, nb::c_contig, nb::device::cpu>;
using Levels = nb::ndarray<const int64_t, nb::numpy, nb::shape<-1>, nb::c_contig, nb::device::cpu>;
using Tangent = nb::ndarray<const double, nb::numpy, nb::shape<-1, 4>, nb::c_contig, nb::device::cpu>;
using Gradient = nb::ndarray<double, nb::numpy, nb::shape<-1, 4>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<double, nb::numpy, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

/// The arguments of a call, kept alive while it runs.
struct Call {
  std::vector<double> scales;
  std::vector<const double*> tangents;
  roialign::SeparableCall call;

  Call(const roialign::SeparableSpec& spec, roialign::ScalarType type, std::vector<double> given_scales,
       const Rows& rois, const Levels& levels, const std::vector<Tangent>& given_tangents, const roialign::Team* team)
      : scales(std::move(given_scales)) {
    for (const Tangent& tangent : given_tangents) tangents.push_back(tangent.data());
    call = {spec,        type,          scales,   static_cast<int64_t>(rois.shape(0)),
            rois.data(), levels.data(), tangents, team == nullptr ? roialign::Team{} : *team};
  }
};

/// Reports suspicious RoIs, as bits of `roialign::Suspicion`.
int64_t forward(const roialign::SeparableSpec& spec, roialign::ScalarType type, const std::vector<Memory>& features,
                const std::vector<double>& scales, const Rows& rois, const Levels& levels,
                const std::vector<Tangent>& tangents, const Memory& out, const roialign::Team* team) {
  const Call call(spec, type, scales, rois, levels, tangents, team);
  const std::vector<View> maps = views_of(features);
  const View target = view_of(out);
  const nb::gil_scoped_release release;
  roialign::forward(call.call, maps, target);
  return roialign::suspicions_of(call.call, maps);
}

void adjoint_features(const roialign::SeparableSpec& spec, roialign::ScalarType type, const Memory& grad_output,
                      const std::vector<double>& scales, const Rows& rois, const Levels& levels,
                      const std::vector<Tangent>& tangents, const std::vector<Memory>& grad_features,
                      const roialign::Team* team) {
  const Call call(spec, type, scales, rois, levels, tangents, team);
  const std::vector<View> maps = views_of(grad_features);
  const View gradient = view_of(grad_output);
  const nb::gil_scoped_release release;
  roialign::adjoint_features(call.call, gradient, maps);
}

void adjoint_boxes(const roialign::SeparableSpec& spec, roialign::ScalarType type, const Memory& grad_output,
                   const std::vector<Memory>& features, const std::vector<double>& scales, const Rows& rois,
                   const Levels& levels, const std::vector<Tangent>& tangents, const Gradient& grad_boxes,
                   const roialign::Team* team) {
  const Call call(spec, type, scales, rois, levels, tangents, team);
  const std::vector<View> maps = views_of(features);
  const View gradient = view_of(grad_output);
  const nb::gil_scoped_release release;
  roialign::adjoint_boxes(call.call, gradient, maps, grad_boxes.data());
}

void taps(roialign::Rule rule, double start, double length, int64_t sampling_ratio, uint64_t seed, int64_t axis,
          int64_t row, int order_start, int order_length, const Matrix& matrix) {
  const roialign::AxisSampling sampling{rule,
                                        static_cast<int64_t>(matrix.shape(1)),
                                        {start, length},
                                        static_cast<int64_t>(matrix.shape(0)),
                                        sampling_ratio,
                                        {seed, axis, row}};
  const nb::gil_scoped_release release;
  roialign::dense_taps(sampling, order_start, order_length, matrix.data());
}

template <class Predicate>
std::vector<std::string> instruction_sets(Predicate predicate) {
  std::vector<std::string> names;
  for (int index = 0; index < roialign::instruction_set_count; ++index) {
    const auto isa = static_cast<roialign::InstructionSet>(index);
    if (predicate(isa)) names.emplace_back(roialign::name_of(isa));
  }
  return names;
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "The compiled core: the families of operators on strided memory. Private; see roialign.numpy.cpu.";
  // A tensor that is alive when the interpreter ends, with its gradient, keeps objects of ours: torch frees it no more.
  nb::set_leak_warnings(false);
  roialign::expect_forks();

  nb::enum_<roialign::Rule>(m, "Rule")
      .value("grid", roialign::Rule::grid)
      .value("random", roialign::Rule::random)
      .value("exact", roialign::Rule::exact)
      .value("prroi", roialign::Rule::prroi)
      .value("crop", roialign::Rule::crop)
      .value("nearest", roialign::Rule::nearest);
  nb::enum_<roialign::ScalarType>(m, "ScalarType")
      .value("float64", roialign::ScalarType::float64)
      .value("float32", roialign::ScalarType::float32)
      .value("float16", roialign::ScalarType::float16)
      .value("bfloat16", roialign::ScalarType::bfloat16);
  nb::class_<roialign::SeparableSpec>(m, "SeparableSpec")
      .def(
          "__init__",
          [](roialign::SeparableSpec* self, roialign::Rule rule, std::array<int64_t, 2> sampling_ratio, double offset,
             double minimum_length, bool normalised_boxes, double fill, uint64_t seed) {
            new (self)
                roialign::SeparableSpec{rule, sampling_ratio, offset, minimum_length, normalised_boxes, fill, seed};
          },
          nb::arg("rule"), nb::arg("sampling_ratio"), nb::arg("offset"), nb::arg("minimum_length"),
          nb::arg("normalised_boxes"), nb::arg("fill"), nb::arg("seed"));

  nb::class_<roialign::Team>(m, "Team").def(
      "__init__",
      [](roialign::Team* self, int threads, uintptr_t openmp) {
        new (self) roialign::Team{threads, reinterpret_cast<roialign::OpenMpParallel>(openmp)};
      },
      nb::arg("threads"), nb::arg("openmp"));

  m.def("forward", &forward, nb::arg("spec"), nb::arg("scalar_type"), nb::arg("features"), nb::arg("scales"),
        nb::arg("rois"), nb::arg("levels"), nb::arg("tangents"), nb::arg("out"), nb::arg("team") = nb::none());
  m.def("adjoint_features", &adjoint_features, nb::arg("spec"), nb::arg("scalar_type"), nb::arg("grad_output"),
        nb::arg("scales"), nb::arg("rois"), nb::arg("levels"), nb::arg("tangents"), nb::arg("grad_features"),
        nb::arg("team") = nb::none());
  m.def("adjoint_boxes", &adjoint_boxes, nb::arg("spec"), nb::arg("scalar_type"), nb::arg("grad_output"),
        nb::arg("features"), nb::arg("scales"), nb::arg("rois"), nb::arg("levels"), nb::arg("tangents"),
        nb::arg("grad_boxes"), nb::arg("team") = nb::none());
  m.def("taps", &taps, nb::arg("rule"), nb::arg("start"), nb::arg("length"), nb::arg("sampling_ratio"), nb::arg("seed"),
        nb::arg("axis"), nb::arg("row"), nb::arg("order_start"), nb::arg("order_length"), nb::arg("matrix"));

  roialign::bind_plain(m);
  roialign::bind_remembered(m);
  roialign::bind_pointwise(m);
  roialign::bind_rotated(m);
  roialign::bind_xla(m);

  m.def("get_num_threads", &roialign::get_num_threads);
  m.def("set_num_threads", &roialign::set_num_threads, nb::arg("count"));
  m.def("last_worker_count", &roialign::last_worker_count);
  m.def("isa", [] { return std::string(roialign::name_of(roialign::instruction_set())); });
  m.def("isa_built", [] { return instruction_sets(roialign::is_built); });
  m.def("isa_supported", [] { return instruction_sets(roialign::is_supported); });
  m.def("compiler", [] {
#if defined(__clang__)
    return std::string("Clang ") + __clang_version__;
#else
    return std::string("GCC ") + __VERSION__;
#endif
  });
}
