// Pairs of rotated boxes: tiny, huge, thin, empty, equal, touching and far apart.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "hostile.h"
#include "rotated.h"

namespace roialign {
namespace {

std::vector<double> hostile_boxes(std::mt19937_64& random, int64_t count) {
  std::vector<double> rows(5 * count);
  for (int64_t row = 0; row < count; ++row) {
    double* const box = rows.data() + 5 * row;
    if (row > 0 && random() % 4 == 0) {  // an earlier one, perhaps moved or turned
      std::copy_n(rows.data() + 5 * (random() % row), 5, box);
      if (random() % 2) box[random() % 5] += static_cast<double>(random() % 3) - 1.0;
    } else {
      for (int i = 0; i < 4; ++i) box[i] = hostile_coordinate(random, 40);
      box[4] = random() % 2 ? std::acos(0.0) * static_cast<double>(random() % 9) : hostile_coordinate(random, 6);
    }
    for (int i = 2; i < 4; ++i) box[i] = std::abs(box[i]);
  }
  return rows;
}

template <class T>
bool run(std::mt19937_64& random, const BoxRows& boxes, const BoxRows& others, bool paired) {
  std::vector<T> out(paired ? boxes.count : boxes.count * others.count), weights(out.size());
  for (T& weight : weights) weight = static_cast<T>(std::uniform_real_distribution<double>(-1.0, 1.0)(random));
  std::vector<double> grad_boxes(5 * boxes.count), grad_others(5 * others.count);
  rotated_iou(boxes, others, paired, out.data(), Team{});
  rotated_iou_gradient(boxes, others, paired, weights.data(), grad_boxes.data(), grad_others.data(), Team{});
  return std::all_of(out.begin(), out.end(), [](T value) { return value >= 0 && value <= 1; });
}

}  // namespace

bool run_rotated(uint64_t seed) {
  std::mt19937_64 random(seed);
  const bool paired = random() % 2;
  const auto count = static_cast<int64_t>(random() % 200);
  const int64_t other_count = paired ? count : static_cast<int64_t>(random() % 90);
  const std::vector<double> first = hostile_boxes(random, count), second = hostile_boxes(random, other_count);
  const BoxRows boxes{first.data(), count}, others{second.data(), other_count};
  bool good = random() % 2 ? run<double>(random, boxes, others, paired) : run<float>(random, boxes, others, paired);
  std::vector<double> scores(count);
  std::vector<int64_t> groups(count);
  for (double& score : scores) score = static_cast<double>(random() % 9);
  for (int64_t& group : groups) group = static_cast<int64_t>(random() % 3) - 1;
  const double threshold = static_cast<double>(random() % 11) / 10.0;
  for (const int64_t box : rotated_nms(boxes, scores.data(), groups.data(), threshold, Team{})) {
    good = good && box >= 0 && box < count;
  }
  if (!good) std::fprintf(stderr, "seed %llu: an overlap is not from 0 to 1\n", static_cast<unsigned long long>(seed));
  return good;
}

}  // namespace roialign
