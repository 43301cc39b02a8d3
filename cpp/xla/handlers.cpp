#include "handlers.h"

#include <cfenv>
#include <exception>
#include <new>
#include <stdexcept>

#include "pointwise.h"
#include "regions.h"
#include "separable.h"

namespace roialign::xla {
namespace {

/// XLA makes its threads round small numbers to zero. Threads of ours do not, so that results would depend on who
/// computes them.
class UsualFloats {
 public:
  UsualFloats() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~UsualFloats() { std::fesetenv(&before_); }
  UsualFloats(const UsualFloats&) = delete;

 private:
  std::fenv_t before_;
};

std::array<int64_t, 2> sampling_ratio_of(const Frame& frame) {
  return {frame.integer("sampling_ratio_y"), frame.integer("sampling_ratio_x")};
}

template <class Spec>
Spec spec_of(const Frame& frame, const Operands& operands);

template <>
SeparableSpec spec_of<SeparableSpec>(const Frame& frame, const Operands& operands) {
  return {static_cast<Rule>(frame.integer("rule")),
          sampling_ratio_of(frame),
          frame.number("offset"),
          frame.number("minimum_length"),
          frame.flag("normalised_boxes"),
          frame.number("fill"),
          operands.seed_or(static_cast<uint64_t>(frame.integer("seed")))};
}

template <>
PointwiseSpec spec_of<PointwiseSpec>(const Frame& frame, const Operands& operands) {
  return {static_cast<Mapping>(frame.integer("mapping")),
          static_cast<PointRule>(frame.integer("rule")),
          static_cast<Reduction>(frame.integer("reduction")),
          static_cast<Channels>(frame.integer("channels")),
          sampling_ratio_of(frame),
          frame.number("offset"),
          frame.number("minimum_length"),
          operands.seed_or(static_cast<uint64_t>(frame.integer("seed"))),
          frame.flag("jitters_points"),
          frame.flag("clockwise"),
          frame.integer("orientations"),
          frame.number("gamma"),
          static_cast<double>(frame.integer("extra_pixels")),
          frame.integer("unused_border")};
}

/// A call of either family, with the memory that it refers to.
template <class Spec>
class Operation;

template <>
class Operation<SeparableSpec> {
 public:
  Operation(const SeparableSpec& spec, ScalarType type, const Regions& regions) {
    for (const Table& tangent : regions.tangents) tangents_.push_back(tangent.boxes.data());
    call_ = {spec, type, regions.scales, regions.count, regions.rows.data(), regions.levels.data(), tangents_, Team{}};
  }
  Operation(const Operation&) = delete;

  void forward(std::span<const View> features, std::span<const View>, const View& out) const {
    roialign::forward(call_, features, out);
  }
  void adjoint_features(const View& grad_output, std::span<const View>, std::span<const View> grad_features) const {
    roialign::adjoint_features(call_, grad_output, grad_features);
  }
  void adjoint_geometry(const View& grad_output, std::span<const View> features, std::span<const View>,
                        Table& gradient) const {
    adjoint_boxes(call_, grad_output, features, gradient.boxes.data());
  }

 private:
  std::vector<const double*> tangents_;
  SeparableCall call_;
};

template <>
class Operation<PointwiseSpec> {
 public:
  Operation(const PointwiseSpec& spec, ScalarType type, const Regions& regions) {
    if (!regions.tangents.empty()) tangent_ = regions.tangents[0].geometry(regions.columns);
    call_ = {spec,
             type,
             regions.scales,
             regions.count,
             regions.columns.numbers,
             regions.images.data(),
             regions.levels.data(),
             regions.table.geometry(regions.columns),
             regions.tangents.empty() ? nullptr : &tangent_,
             Team{}};
  }
  Operation(const Operation&) = delete;

  void forward(std::span<const View> features, std::span<const View> deciding, const View& out) const {
    roialign::forward(call_, features, deciding, out);
  }
  void adjoint_features(const View& grad_output, std::span<const View> deciding,
                        std::span<const View> grad_features) const {
    roialign::adjoint_features(call_, grad_output, deciding, grad_features);
  }
  void adjoint_geometry(const View& grad_output, std::span<const View> features, std::span<const View> deciding,
                        Table& gradient) const {
    roialign::adjoint_geometry(call_, grad_output, features, deciding,
                               {gradient.boxes.data(), call_.geometry.offset ? gradient.offset.data() : nullptr,
                                call_.geometry.mask ? gradient.mask.data() : nullptr});
  }

 private:
  Geometry tangent_;
  PointwiseCall call_;
};

/// What the three gradients have in common: computes with the operation and the buffers of a call.
template <class Spec, class Compute>
void run(const Frame& frame, const Buffer& values, const Buffer& map, Compute compute) {
  prefer_huge_pages(frame.results());
  const Operands operands(frame);
  const Spec spec = spec_of<Spec>(frame, operands);
  const Regions regions(frame, operands, numbers_of_box(spec), map.sizes[0]);
  compute(Operation<Spec>(spec, scalar_type_of(values), regions), regions, operands, frame.flag("channels_last"));
}

template <class Spec>
void forward(const Frame& frame) {
  const Buffer &out = *frame.results()[0], &map = *frame.arguments()[0];
  run<Spec>(frame, out, map, [&](const auto& operation, const Regions&, const Operands& operands, bool channels_last) {
    operation.forward(views_of(operands.features, channels_last), views_of(operands.deciding, channels_last),
                      view_of(out, channels_last));
  });
}

template <class Spec>
void adjoint_features(const Frame& frame) {
  const Buffer &gradient = *frame.arguments()[0], &map = *frame.results()[0];
  run<Spec>(frame, gradient, map,
            [&](const auto& operation, const Regions&, const Operands& operands, bool channels_last) {
              operation.adjoint_features(view_of(gradient, channels_last), views_of(operands.deciding, channels_last),
                                         views_of(frame.results(), channels_last));
            });
}

template <class Spec>
void adjoint_boxes(const Frame& frame) {
  const Buffer& map = *frame.arguments()[0];
  run<Spec>(frame, map, map,
            [&](const auto& operation, const Regions& regions, const Operands& operands, bool channels_last) {
              Table gradient = regions.table.like();
              operation.adjoint_geometry(view_of(*operands.grad_output, channels_last),
                                         views_of(operands.features, channels_last),
                                         views_of(operands.deciding, channels_last), gradient);
              write_rows(gradient, regions.count, regions.columns, *frame.results()[0]);
            });
}

Error* error_of(const CallFrame& frame, ErrorCode code, const char* message) {
  ErrorArguments arguments{sizeof(ErrorArguments), nullptr, message, code};
  return frame.api->create_error(&arguments);
}

/// XLA asks every function for its version when the function is registered.
bool tells_version(const CallFrame& frame) {
  const Extension* extension = frame.extensions;
  if (extension == nullptr || extension->type != Extension::metadata) return false;
  Metadata& metadata = *reinterpret_cast<const MetadataExtension*>(extension)->metadata;
  metadata.version = {sizeof(Version), nullptr, major_version, minor_version};
  metadata.traits = 0;
  return true;
}

template <void compute(const Frame&)>
Error* handle(CallFrame* frame) {
  if (tells_version(*frame)) return nullptr;
  try {
    const UsualFloats floats;
    compute(Frame(*frame));
    return nullptr;
  } catch (const std::invalid_argument& error) {
    return error_of(*frame, ErrorCode::invalid_argument, error.what());
  } catch (const std::bad_alloc&) {
    return error_of(*frame, ErrorCode::resource_exhausted, "roialign: out of memory");
  } catch (const std::exception& error) {
    return error_of(*frame, ErrorCode::internal, error.what());
  }
}

constexpr NamedHandler all[] = {
    {"separable_forward", handle<forward<SeparableSpec>>},
    {"separable_adjoint_features", handle<adjoint_features<SeparableSpec>>},
    {"separable_adjoint_boxes", handle<adjoint_boxes<SeparableSpec>>},
    {"pointwise_forward", handle<forward<PointwiseSpec>>},
    {"pointwise_adjoint_features", handle<adjoint_features<PointwiseSpec>>},
    {"pointwise_adjoint_boxes", handle<adjoint_boxes<PointwiseSpec>>},
};

}  // namespace

std::span<const NamedHandler> handlers() { return all; }

}  // namespace roialign::xla
