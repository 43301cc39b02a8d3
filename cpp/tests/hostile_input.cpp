// Runs the core on hostile input in memory of the exact size, under AddressSanitizer and UBSan (`make sanitize`).
//
// Every rule, scalar type, layout and derivative; maps down to one pixel, boxes up to 1e100 px, inverted, empty, off
// the map, rows without an image; from several threads. The results must be finite if the input is.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "hostile.h"
#include "parallel.h"
#include "separable.h"
#include "suspicions.h"

namespace {

using namespace roialign;

bool run_one(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto pick = [&random](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % (high - low + 1));
  };
  const auto rule = static_cast<Rule>(seed % rule_count);
  const auto type = static_cast<ScalarType>(pick(0, 3));
  const auto layout = [&] { return static_cast<Array::Layout>(pick(0, 2)); };
  constexpr int64_t channel_counts[] = {0, 1, 2, 3, 8, 15, 16, 17, 33, 64, 257};
  // Sometimes the maps are so wide, and have so many RoIs, that tall RoIs are cut into pieces.
  const bool wide = seed % 7 == 6;
  const int64_t images = pick(1, 2), channels = wide ? 64 : channel_counts[pick(0, 10)];
  const int64_t rois = wide ? pick(20, 40) : pick(0, 9);
  const int64_t bins_y = pick(1, 8), bins_x = pick(1, 8);
  std::vector<Array> maps, grads;
  std::vector<View> map_views, grad_views;
  for (int64_t level = wide ? 1 : pick(1, 3); level > 0; --level) {
    const std::array<int64_t, 4> size = {images, channels, wide ? pick(40, 80) : pick(1, 40),
                                         wide ? pick(100, 200) : pick(1, 40)};
    maps.emplace_back(type, size, layout()).fill(random);
    grads.emplace_back(type, size, layout());
    map_views.push_back(maps.back().view);
    grad_views.push_back(grads.back().view);
  }
  Array out(type, {rois, channels, bins_y, bins_x}, layout()),
      grad_output(type, {rois, channels, bins_y, bins_x}, layout());
  grad_output.fill(random);

  std::vector<double> rows(5 * rois), scales(maps.size(), 0.5), grad_boxes(4 * rois);
  std::vector<int64_t> levels(rois);
  std::vector<std::vector<double>> tangent_rows(2, std::vector<double>(4 * rois));
  bool plain = true;  // no coordinate so extreme that a derivative may overflow
  for (int64_t row = 0; row < rois; ++row) {
    rows[5 * row] = static_cast<double>(pick(-1, images - 1));
    levels[row] = pick(0, static_cast<int64_t>(maps.size()) - 1);
    for (int i = 1; i < 5; ++i) {
      rows[5 * row + i] =
          hostile_coordinate(random, wide ? 150 : 40) / ((rule == Rule::crop || rule == Rule::nearest) ? 40.0 : 1.0);
      plain = plain && (rows[5 * row + i] == 0.0 || std::abs(rows[5 * row + i]) > 1e-6) &&
              std::abs(rows[5 * row + i]) < 1e6;
    }
    plain = plain && std::abs(rows[5 * row + 3] - rows[5 * row + 1]) > 1e-3 &&
            std::abs(rows[5 * row + 4] - rows[5 * row + 2]) > 1e-3;
    for (auto& tangent : tangent_rows) {
      for (int i = 0; i < 4; ++i) tangent[4 * row + i] = std::uniform_real_distribution<double>(-1.0, 1.0)(random);
    }
  }
  const SeparableSpec spec{rule,
                           {pick(0, 3), pick(0, 2) == 0 ? 1000 : pick(0, 3)},
                           random() % 2 ? 0.5 : 0.0,
                           random() % 2 ? 1.0 : -INFINITY,
                           (rule == Rule::crop || rule == Rule::nearest),
                           (rule == Rule::crop || rule == Rule::nearest) ? 1.5 : 0.0,
                           random()};
  bool finite = true;
  for (size_t order = 0; order <= 2; ++order) {
    std::vector<const double*> tangents;
    for (size_t i = 0; i < order; ++i) tangents.push_back(tangent_rows[i].data());
    const SeparableCall call{spec, type, scales, rois, rows.data(), levels.data(), tangents, Team{}};
    forward(call, map_views, out.view);
    suspicions_of(call, map_views);
    if (order == 0 || (plain && type < ScalarType::float16)) finite = finite && out.is_finite();
    adjoint_features(call, grad_output.view, grad_views);
    if (order == 0 && type < ScalarType::float16) {
      finite = std::all_of(grads.begin(), grads.end(), [](const Array& grad) { return grad.is_finite(); }) && finite;
    }
    if (order < 2) adjoint_boxes(call, grad_output.view, map_views, grad_boxes.data());
  }
  if (!finite) std::fprintf(stderr, "seed %llu: an output is not finite\n", static_cast<unsigned long long>(seed));
  return finite;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--instruction-sets") == 0) {
    for (int isa = 0; isa < instruction_set_count; ++isa) {
      if (is_supported(static_cast<InstructionSet>(isa))) std::puts(name_of(static_cast<InstructionSet>(isa)));
    }
    return 0;
  }
  const uint64_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 2000;
  set_num_threads(3);
  std::vector<std::thread> threads;
  std::atomic<bool> good{true};
  for (uint64_t caller = 0; caller < 2; ++caller) {  // two callers compete for the pool
    threads.emplace_back([&good, caller, count] {
      for (uint64_t seed = caller; seed < count; seed += 2) {
        if (!run_one(seed) || !run_pointwise(seed) || !run_rotated(seed)) good = false;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::printf("%s: %llu hostile calls, %s\n", name_of(instruction_set()), static_cast<unsigned long long>(count),
              good ? "all well" : "FAILED");
  return good ? 0 : 1;
}
