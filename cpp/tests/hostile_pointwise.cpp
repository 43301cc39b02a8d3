// Hostile input for the pointwise family; see hostile_input.cpp.
#include <cstdio>
#include <vector>

#include "hostile.h"
#include "pointwise.h"
#include "suspicions.h"

namespace roialign {
namespace {

/// The arguments of one call, all in memory of the exact size.
struct Scene {
  std::mt19937_64 random;
  PointwiseSpec spec{};
  ScalarType type{};
  int64_t images = 1, channels = 1, rois = 0, bins_y = 1, bins_x = 1, columns = 4;
  std::vector<Array> maps, others, grads;
  std::vector<View> map_views, other_views, grad_views;
  std::vector<double> boxes, offset, mask, scales;
  std::vector<int64_t> image_of_roi, levels;
  bool has_offset = false, has_mask = false, plain = true;
  bool wide = false;  // maps of several tiles, which many RoIs touch

  explicit Scene(uint64_t seed) : random(seed) {
    type = static_cast<ScalarType>(pick(0, 3));
    draw_spec();
    wide = seed % 7 == 6 && spec.channels == Channels::same;
    draw_maps();
    draw_rois();
  }

  int64_t pick(int64_t low, int64_t high) { return low + static_cast<int64_t>(random() % (high - low + 1)); }
  double uniform() { return std::uniform_real_distribution<double>(-1.0, 1.0)(random); }
  Array::Layout layout() { return static_cast<Array::Layout>(pick(0, 2)); }

  void draw_spec() {
    spec.mapping = static_cast<Mapping>(pick(0, mapping_count - 1));
    const bool integer = spec.mapping == Mapping::rounded || spec.mapping == Mapping::inclusive;
    constexpr PointRule rules[] = {PointRule::grid, PointRule::random, PointRule::lattice};
    spec.rule = integer ? PointRule::pixels : rules[pick(0, spec.mapping == Mapping::rotated ? 1 : 2)];
    spec.reduction = spec.rule == PointRule::lattice || pick(0, 2) == 0 ? Reduction::max : Reduction::mean;
    if (spec.reduction == Reduction::max && spec.rule == PointRule::grid && pick(0, 1) == 0) {
      spec.reduction = Reduction::corner_max;
    }
    if (spec.reduction == Reduction::mean) spec.channels = static_cast<Channels>(pick(0, channels_count - 1));
    if (spec.channels == Channels::orientation && spec.mapping != Mapping::rotated) spec.channels = Channels::same;
    spec.sampling_ratio = {pick(0, 3), pick(0, 5) == 0 ? 70 : pick(0, 3)};
    spec.offset = random() % 2 ? 0.5 : 0.0;
    spec.minimum_length = random() % 2 ? 1.0 : -INFINITY;
    spec.seed = random();
    spec.jitters_points = spec.mapping == Mapping::rotated;
    spec.clockwise = random() % 2;
    spec.orientations = spec.channels == Channels::orientation ? pick(1, 5) : 1;
    spec.extra_pixels = static_cast<double>(pick(0, 1));
    spec.unused_border = pick(0, 1);
    columns = spec.mapping == Mapping::rotated ? 5 : 4;
    has_offset = spec.mapping == Mapping::box && spec.reduction == Reduction::mean && random() % 2;
    has_mask = spec.reduction == Reduction::mean && random() % 2;
    spec.gamma = has_offset ? 0.3 : 0.0;
    if (has_offset) spec.jitters_points = random() % 2;
  }

  void draw_maps() {
    constexpr int64_t channel_counts[] = {0, 1, 2, 3, 8, 15, 16, 17, 33, 67};
    images = wide ? 1 : pick(1, 2);
    bins_y = pick(1, 5);
    bins_x = pick(1, 5);
    channels = wide ? 64 : channel_counts[pick(0, 9)] * spec.orientations;
    const int64_t read = spec.channels == Channels::position ? channels * bins_y * bins_x : channels;
    const Array::Layout first = layout(), second = layout(), third = layout();
    for (int64_t level = wide ? 1 : pick(1, 3); level > 0; --level) {
      const std::array<int64_t, 4> size = {images, read, wide ? pick(40, 80) : pick(1, 30),
                                           wide ? pick(40, 120) : pick(1, 30)};
      maps.emplace_back(type, size, first).fill(random);
      others.emplace_back(type, size, second).fill(random);
      grads.emplace_back(type, size, third);
      map_views.push_back(maps.back().view);
      other_views.push_back(others.back().view);
      grad_views.push_back(grads.back().view);
      scales.push_back(0.5);
    }
  }

  void draw_rois() {
    rois = wide ? pick(10, 20) : pick(0, 6);
    for (int64_t row = 0; row < rois; ++row) {
      image_of_roi.push_back(pick(-1, images - 1));
      levels.push_back(pick(0, static_cast<int64_t>(maps.size()) - 1));
      for (int64_t i = 0; i < columns; ++i) {
        boxes.push_back(hostile_coordinate(random, wide ? 200 : 40));
        plain = plain && std::abs(boxes.back()) < 1e6 && (boxes.back() == 0.0 || std::abs(boxes.back()) > 1e-6);
      }
      for (int64_t bin = 0; bin < bins_y * bins_x; ++bin) {
        offset.push_back(random() % 4 ? uniform() : hostile_coordinate(random, 40));
        offset.push_back(uniform());
        mask.push_back(uniform());
        plain = plain && std::abs(offset[offset.size() - 2]) < 1e3;
      }
    }
  }

  Geometry geometry() const {
    return {boxes.data(), has_offset ? offset.data() : nullptr, has_mask ? mask.data() : nullptr};
  }
};

}  // namespace

bool run_pointwise(uint64_t seed) {
  Scene scene(seed);
  const std::array<int64_t, 4> size = {scene.rois, scene.channels, scene.bins_y, scene.bins_x};
  Array out(scene.type, size, scene.layout()), grad_output(scene.type, size, scene.layout());
  grad_output.fill(scene.random);
  std::vector<double> moved(scene.boxes.size()), shifted(scene.offset.size()), weighed(scene.mask.size());
  for (auto* numbers : {&moved, &shifted, &weighed}) {
    for (double& number : *numbers) number = scene.uniform();
  }
  const Geometry tangent{moved.data(), scene.has_offset ? shifted.data() : nullptr,
                         scene.has_mask ? weighed.data() : nullptr};
  std::vector<double> grad_boxes(scene.boxes.size()), grad_offset(scene.offset.size()), grad_mask(scene.mask.size());
  const GeometryGradient gradient{grad_boxes.data(), scene.has_offset ? grad_offset.data() : nullptr,
                                  scene.has_mask ? grad_mask.data() : nullptr};
  bool finite = true;
  for (int order = 0; order <= 1; ++order) {
    const PointwiseCall call{scene.spec,
                             scene.type,
                             scene.scales,
                             scene.rois,
                             scene.columns,
                             scene.image_of_roi.data(),
                             scene.levels.data(),
                             scene.geometry(),
                             order == 0 ? nullptr : &tangent,
                             Team{}};
    const auto& deciding = scene.random() % 2 ? scene.map_views : scene.other_views;
    forward(call, scene.map_views, deciding, out.view);
    suspicions_of(call, scene.map_views);
    if (order == 0 || (scene.plain && scene.type < ScalarType::float16)) finite = finite && out.is_finite();
    adjoint_features(call, grad_output.view, deciding, scene.grad_views);
    if (order == 0 && scene.type < ScalarType::float16) {
      finite =
          std::all_of(scene.grads.begin(), scene.grads.end(), [](const Array& grad) { return grad.is_finite(); }) &&
          finite;
    }
    if (order == 0) adjoint_geometry(call, grad_output.view, scene.map_views, deciding, gradient);
  }
  if (!finite) std::fprintf(stderr, "seed %llu: a pointwise output is not finite\n", (unsigned long long)seed);
  return finite;
}

}  // namespace roialign
