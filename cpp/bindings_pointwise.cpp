// The pointwise family in the Python module.
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "bindings.h"
#include "pointwise.h"
#include "suspicions.h"

namespace nb = nanobind;

namespace roialign {
namespace {

using Boxes = nb::ndarray<const double, nb::numpy, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Numbers = nb::ndarray<const int64_t, nb::numpy, nb::shape<-1>, nb::c_contig, nb::device::cpu>;
using PerBin = std::optional<nb::ndarray<const double, nb::numpy, nb::c_contig, nb::device::cpu>>;
using BoxesGradient = nb::ndarray<double, nb::numpy, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using PerBinGradient = std::optional<nb::ndarray<double, nb::numpy, nb::c_contig, nb::device::cpu>>;
/// (boxes, offset, mask)
using GivenGeometry = std::tuple<Boxes, PerBin, PerBin>;
using GivenGradient = std::tuple<BoxesGradient, PerBinGradient, PerBinGradient>;

template <class Array>
auto data_of(const std::optional<Array>& array) -> decltype(array->data()) {
  return array ? array->data() : nullptr;
}

template <class Given>
auto geometry_of(const Given& given) {
  const auto& [boxes, offset, mask] = given;
  return GeometryOf<std::remove_pointer_t<decltype(boxes.data())>>{boxes.data(), data_of(offset), data_of(mask)};
}

/// The arguments of a call, kept alive while it runs.
struct Call {
  std::vector<double> scales;
  Geometry tangent;
  PointwiseCall call;

  Call(const PointwiseSpec& spec, ScalarType type, std::vector<double> given_scales, const Numbers& images,
       const Numbers& levels, const GivenGeometry& geometry, const std::optional<GivenGeometry>& given_tangent,
       const Team* team)
      : scales(std::move(given_scales)) {
    if (given_tangent) tangent = geometry_of(*given_tangent);
    const Boxes& boxes = std::get<0>(geometry);
    call = {spec,
            type,
            scales,
            static_cast<int64_t>(boxes.shape(0)),
            static_cast<int64_t>(boxes.shape(1)),
            images.data(),
            levels.data(),
            geometry_of(geometry),
            given_tangent ? &tangent : nullptr,
            team == nullptr ? Team{} : *team};
  }
};

/// Reports suspicious RoIs, as bits of `Suspicion`.
int64_t pointwise_forward(const PointwiseSpec& spec, ScalarType type, const std::vector<Memory>& features,
                          const std::vector<double>& scales, const Numbers& images, const GivenGeometry& geometry,
                          const Numbers& levels, const Memory& out, const std::optional<GivenGeometry>& tangent,
                          const std::vector<Memory>& deciding, const Team* team) {
  const Call call(spec, type, scales, images, levels, geometry, tangent, team);
  const std::vector<View> maps = views_of(features);
  const std::vector<View> decisive = views_of(deciding);
  const View target = view_of(out);
  const nb::gil_scoped_release release;
  forward(call.call, maps, decisive, target);
  return suspicions_of(call.call, maps);
}

void pointwise_adjoint_features(const PointwiseSpec& spec, ScalarType type, const Memory& grad_output,
                                const std::vector<Memory>& deciding, const std::vector<double>& scales,
                                const Numbers& images, const GivenGeometry& geometry, const Numbers& levels,
                                const std::vector<Memory>& grad_features, const std::optional<GivenGeometry>& tangent,
                                const Team* team) {
  const Call call(spec, type, scales, images, levels, geometry, tangent, team);
  const std::vector<View> decisive = views_of(deciding), gradients = views_of(grad_features);
  const View gradient = view_of(grad_output);
  const nb::gil_scoped_release release;
  adjoint_features(call.call, gradient, decisive, gradients);
}

void pointwise_adjoint_geometry(const PointwiseSpec& spec, ScalarType type, const Memory& grad_output,
                                const std::vector<Memory>& features, const std::vector<double>& scales,
                                const Numbers& images, const GivenGeometry& geometry, const Numbers& levels,
                                const GivenGradient& grad_geometry, const std::vector<Memory>& deciding,
                                const Team* team) {
  const Call call(spec, type, scales, images, levels, geometry, std::nullopt, team);
  const std::vector<View> maps = views_of(features), decisive = views_of(deciding);
  const View gradient = view_of(grad_output);
  const GeometryGradient target = geometry_of(grad_geometry);
  const nb::gil_scoped_release release;
  adjoint_geometry(call.call, gradient, maps, decisive, target);
}

void bind_spec(nb::module_& m) {
  nb::enum_<Mapping>(m, "Mapping")
      .value("box", Mapping::box)
      .value("rotated", Mapping::rotated)
      .value("rounded", Mapping::rounded)
      .value("inclusive", Mapping::inclusive);
  nb::enum_<PointRule>(m, "PointRule")
      .value("grid", PointRule::grid)
      .value("random", PointRule::random)
      .value("lattice", PointRule::lattice)
      .value("pixels", PointRule::pixels);
  nb::enum_<Reduction>(m, "Reduction")
      .value("mean", Reduction::mean)
      .value("max", Reduction::max)
      .value("corner_max", Reduction::corner_max);
  nb::enum_<Channels>(m, "Channels")
      .value("same", Channels::same)
      .value("position", Channels::position)
      .value("orientation", Channels::orientation);
  nb::class_<PointwiseSpec>(m, "PointwiseSpec")
      .def(
          "__init__",
          [](PointwiseSpec* self, Mapping mapping, PointRule rule, Reduction reduction, Channels channels,
             std::array<int64_t, 2> sampling_ratio, double offset, double minimum_length, uint64_t seed,
             bool jitters_points, bool clockwise, int64_t orientations, double gamma, double extra_pixels,
             int64_t unused_border) {
            new (self) PointwiseSpec{mapping,      rule,           reduction,    channels,       sampling_ratio,
                                     offset,       minimum_length, seed,         jitters_points, clockwise,
                                     orientations, gamma,          extra_pixels, unused_border};
          },
          nb::arg("mapping"), nb::arg("rule"), nb::arg("reduction"), nb::arg("channels"), nb::arg("sampling_ratio"),
          nb::arg("offset"), nb::arg("minimum_length"), nb::arg("seed"), nb::arg("jitters_points"),
          nb::arg("clockwise"), nb::arg("orientations"), nb::arg("gamma"), nb::arg("extra_pixels"),
          nb::arg("unused_border"));
}

}  // namespace

void bind_pointwise(nb::module_& m) {
  bind_spec(m);
  m.def("pointwise_forward", &pointwise_forward, nb::arg("spec"), nb::arg("scalar_type"), nb::arg("features"),
        nb::arg("scales"), nb::arg("images"), nb::arg("geometry"), nb::arg("levels"), nb::arg("out"),
        nb::arg("tangent") = nb::none(), nb::arg("deciding") = nb::list(), nb::arg("team") = nb::none());
  m.def("pointwise_adjoint_features", &pointwise_adjoint_features, nb::arg("spec"), nb::arg("scalar_type"),
        nb::arg("grad_output"), nb::arg("deciding"), nb::arg("scales"), nb::arg("images"), nb::arg("geometry"),
        nb::arg("levels"), nb::arg("grad_features"), nb::arg("tangent") = nb::none(), nb::arg("team") = nb::none());
  m.def("pointwise_adjoint_geometry", &pointwise_adjoint_geometry, nb::arg("spec"), nb::arg("scalar_type"),
        nb::arg("grad_output"), nb::arg("features"), nb::arg("scales"), nb::arg("images"), nb::arg("geometry"),
        nb::arg("levels"), nb::arg("grad_geometry"), nb::arg("deciding"), nb::arg("team") = nb::none());
}

}  // namespace roialign
