// The core as the page calls it. JavaScript writes a Request and a map into memory, calls `run`, and reads the results.
//
// An exception would abort the module, so everything is checked before the core is called.
#include <emscripten/emscripten.h>

#include <vector>

#include "pointwise.h"
#include "pointwise/points.h"
#include "request.h"
#include "separable.h"
#include "separable/geometry.h"
#include "taps.h"

namespace roialign::playground {
namespace {

/// The results, in the order of RESULTS in page/core.js.
enum Result { pooled, grad_box, grad_features, taps_y, taps_x, bins_y, bins_x, points, result_count };

Request request;
std::vector<double> map;
std::vector<double> results[result_count];

View view_of(std::vector<double>& values, int64_t channels, int64_t height, int64_t width) {
  constexpr int64_t item = sizeof(double);
  return {reinterpret_cast<std::byte*>(values.data()),
          {1, channels, height, width},
          {channels * height * width * item, height * width * item, width * item, item}};
}

int64_t whole(double value) { return static_cast<int64_t>(value); }
int64_t channels() { return whole(request.channels); }
int64_t height() { return whole(request.height); }
int64_t width() { return whole(request.width); }
int64_t rows() { return whole(request.bins_y); }
int64_t columns() { return whole(request.bins_x); }

/// The maps and the gradients of the result that both families need.
struct Arrays {
  std::vector<double> weights;
  View features, out, grad_output, grad_features_view;

  Arrays() : weights(channels() * rows() * columns(), 0.0) {
    const int64_t all = rows() * columns(), selected = whole(request.bin);
    const double weight = 1.0 / static_cast<double>(channels() * (selected < 0 ? all : 1));
    for (size_t i = 0; i < weights.size(); ++i) {
      if (selected < 0 || static_cast<int64_t>(i) % all == selected) weights[i] = weight;
    }
    results[pooled].resize(weights.size());
    results[grad_features].resize(map.size());
    results[grad_box].resize(4);
    features = view_of(map, channels(), height(), width());
    out = view_of(results[pooled], channels(), rows(), columns());
    grad_output = view_of(weights, channels(), rows(), columns());
    grad_features_view = view_of(results[grad_features], channels(), height(), width());
  }
};

void add_point(int64_t bin, double y, double x, double share) {
  for (const double number : {static_cast<double>(bin), y, x, share}) results[points].push_back(number);
}

/// The two ends of every bin of one axis.
template <class EndsOf>
void list_bins(Result result, int64_t count, EndsOf&& ends_of) {
  for (int64_t bin = 0; bin < count; ++bin) {
    const Interval ends = ends_of(bin);
    results[result].push_back(ends.low);
    results[result].push_back(ends.high);
  }
}

/// The bins of `crop` and `nearest` are points.
Interval ends_of_separable(const AxisSampling& axis, int64_t bin) {
  if (axis.rule == Rule::crop || axis.rule == Rule::nearest) {
    Interval ends{};
    sample_points(axis, bin, [&](const SamplePoint& point) { ends = {point.x, point.x}; });
    return ends;
  }
  const Bin cut = bin_grid(axis.roi.start, axis.roi.length, axis.bins, bin);
  return {cut.start, cut.start + cut.length};
}

std::vector<SamplePoint> points_on_map(const AxisSampling& axis, int64_t bin) {
  std::vector<SamplePoint> found;
  sample_points(axis, bin, [&](const SamplePoint& point) {
    if (point.x >= -1.0 && point.x <= static_cast<double>(axis.size)) found.push_back(point);
  });
  return found;
}

void list_axis(const AxisSampling& axis, Result taps, Result bins) {
  results[taps].resize(axis.bins * axis.size);
  dense_taps(axis, 0, 0, results[taps].data());
  list_bins(bins, axis.bins, [&](int64_t bin) { return ends_of_separable(axis, bin); });
}

void run_separable() {
  const auto ratio = whole(request.sampling_ratio);
  const SeparableSpec spec{static_cast<Rule>(whole(request.rule)),
                           {ratio, ratio},
                           request.offset,
                           request.minimum_length,
                           request.normalised_boxes != 0.0,
                           0.0,
                           static_cast<uint64_t>(request.seed)};
  const double scales[1] = {request.scale}, roi[5] = {0.0, request.x1, request.y1, request.x2, request.y2};
  const int64_t levels[1] = {0};
  const SeparableCall call{spec, ScalarType::float64, scales, 1, roi, levels, {}, Team{}};
  const Arrays arrays;
  const View maps[1] = {arrays.features}, gradients[1] = {arrays.grad_features_view};
  forward(call, maps, arrays.out);
  adjoint_boxes(call, arrays.grad_output, maps, results[grad_box].data());
  adjoint_features(call, arrays.grad_output, gradients);

  const RoiAxis roi_y(call, maps[0], 0, 0, rows()), roi_x(call, maps[0], 0, 1, columns());
  list_axis(roi_y.sampling(), taps_y, bins_y);
  list_axis(roi_x.sampling(), taps_x, bins_x);
  for (int64_t bin = 0; bin < rows() * columns(); ++bin) {
    const auto along_x = points_on_map(roi_x.sampling(), bin % columns());
    for (const SamplePoint& y : points_on_map(roi_y.sampling(), bin / columns())) {
      for (const SamplePoint& x : along_x) add_point(bin, y.x, x.x, y.share * x.share);
    }
  }
}

/// The bins of one axis of a pointwise operator. A pixel extends half a pixel on either side of its centre.
void list_pointwise_bins(const PointwiseSpec& spec, double lower, double upper, int64_t count, int64_t size,
                         Result result) {
  if (spec.rule == PointRule::pixels) {
    const MappedAxis roi = map_boxes_rounded(lower, upper, request.scale, spec.extra_pixels);
    list_bins(result, count, [&](int64_t bin) {
      const PixelSpan span = integer_bin(roi.start, roi.length, count, bin, size);
      return Interval{static_cast<double>(span.first) - 0.5, static_cast<double>(span.end) - 0.5};
    });
    return;
  }
  const MappedAxis roi = map_boxes(lower, upper, {request.scale, spec.offset, spec.minimum_length});
  list_bins(result, count, [&](int64_t bin) {
    const Bin cut = bin_grid(roi.start, roi.length, count, bin);
    return Interval{cut.start, cut.start + cut.length};
  });
}

void run_pointwise() {
  const auto ratio = whole(request.sampling_ratio);
  PointwiseSpec spec{};
  spec.mapping = static_cast<Mapping>(whole(request.mapping));
  spec.rule = static_cast<PointRule>(whole(request.rule));
  spec.reduction = static_cast<Reduction>(whole(request.reduction));
  spec.sampling_ratio = {ratio, ratio};
  spec.offset = request.offset;
  spec.minimum_length = request.minimum_length;
  spec.seed = static_cast<uint64_t>(request.seed);
  spec.orientations = 1;
  spec.extra_pixels = request.extra_pixels;
  const double scales[1] = {request.scale}, box[4] = {request.x1, request.y1, request.x2, request.y2};
  const int64_t images[1] = {0}, levels[1] = {0};
  const PointwiseCall call{spec,   ScalarType::float64,     scales,  1,     4, images,
                           levels, {box, nullptr, nullptr}, nullptr, Team{}};
  const Arrays arrays;
  const View maps[1] = {arrays.features}, gradients[1] = {arrays.grad_features_view};
  forward(call, maps, maps, arrays.out);
  adjoint_geometry(call, arrays.grad_output, maps, maps, {results[grad_box].data(), nullptr, nullptr});
  adjoint_features(call, arrays.grad_output, maps, gradients);

  list_pointwise_bins(spec, request.y1, request.y2, rows(), height(), bins_y);
  list_pointwise_bins(spec, request.x1, request.x2, columns(), width(), bins_x);
  RoiPoints roi(call, maps[0], 0, rows(), columns());
  for (int64_t bin = 0; bin < rows() * columns(); ++bin) {
    roi.visit(bin, [&](const PointAxis& y, const PointAxis& x) { add_point(bin, y.own.x, x.own.x, 0.0); });
  }
}

}  // namespace

int first_invalid(const Request& request) {
  const auto* values = reinterpret_cast<const double*>(&request);
  for (int field = 0; field < field_count; ++field) {
    if (!limits[field].holds(values[field])) return field + 1;
  }
  const auto number_of = [&](const double& field) { return static_cast<int>(&field - values) + 1; };
  if (request.bin >= request.bins_y * request.bins_x) return number_of(request.bin);
  if (request.family == 0) return 0;
  // The pointwise operators of the page: a box with points, or a rounded box with whole pixels.
  const auto mapping = static_cast<Mapping>(whole(request.mapping));
  const bool is_rounded = mapping == Mapping::rounded;
  if (!is_rounded && mapping != Mapping::box) return number_of(request.mapping);
  if (request.rule > static_cast<double>(PointRule::pixels)) return number_of(request.rule);
  const auto rule = static_cast<PointRule>(whole(request.rule));
  if ((rule == PointRule::pixels) != is_rounded) return number_of(request.rule);
  const bool is_mean = request.reduction == static_cast<double>(Reduction::mean);
  return rule == PointRule::lattice && is_mean ? number_of(request.reduction) : 0;
}

extern "C" {

/// Where to write the request.
EMSCRIPTEN_KEEPALIVE Request* request_address() { return &request; }

/// Where to write the map, [channels, height, width], whose sizes are those of the request. Null if they are invalid.
EMSCRIPTEN_KEEPALIVE double* map_address() {
  if (first_invalid(request) != 0) return nullptr;
  map.resize(channels() * height() * width());
  return map.data();
}

/// Computes all results. Returns 0, or the number of the field that is invalid, from 1.
EMSCRIPTEN_KEEPALIVE int run() {
  if (const int invalid = first_invalid(request)) return invalid;
  map.resize(channels() * height() * width());
  for (auto& result : results) result.clear();
  request.family == 0 ? run_separable() : run_pointwise();
  return 0;
}

EMSCRIPTEN_KEEPALIVE const double* result_address(int result) { return results[result].data(); }
EMSCRIPTEN_KEEPALIVE int result_length(int result) { return static_cast<int>(results[result].size()); }

}  // extern "C"

}  // namespace roialign::playground
