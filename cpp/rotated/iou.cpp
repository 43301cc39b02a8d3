#include <algorithm>
#include <array>

#include "rotated/overlap.h"

namespace roialign {
namespace {

/// The others of a row that one task compares: enough for a task to be worth a thread, and few enough to share a row.
constexpr int64_t task_width = 8192;
/// The boxes of one task of a paired call.
constexpr int64_t task_pairs = 256;

/// Fewer pairs are finished before a second thread starts.
constexpr int64_t shared_pairs = 1 << 12;

/// The threads of a call.
Team team_for(int64_t pairs, const Team& team) { return pairs < shared_pairs ? Team{1, nullptr} : team; }

/// Lists of the near boxes, one per thread.
using Lists = std::vector<std::vector<int64_t>>;

void for_pairs(int64_t count, const Team& team, const std::function<void(int64_t)>& body) {
  parallel_for(team, (count + task_pairs - 1) / task_pairs, [&](int64_t task, int) {
    const int64_t last = std::min((task + 1) * task_pairs, count);
    for (int64_t pair = task * task_pairs; pair < last; ++pair) body(pair);
  });
}

/// Adds the gradient of a pair in one of its boxes, times the gradient of the output.
void add_gradient(double grad_output, const std::array<double, 5>& of_pair, double* gradient) {
  for (int i = 0; i < 5; ++i) gradient[i] += grad_output * of_pair[i];
}

/// Adds the gradients in the first boxes, each the sum over the second boxes in their order. The gradient of the output
/// for box i and j is at grad_output[i * step + j * other_step].
template <class T>
void gradient_in_first(const RotatedBoxes& first, const RotatedBoxes& second, const T* grad_output, int64_t step,
                       int64_t other_step, double* gradient, const Team& team) {
  Lists lists(team.threads);
  parallel_for(team, first.size(), [&](int64_t row, int worker) {
    double* const target = gradient + 5 * row;
    std::fill_n(target, 5, 0.0);
    second.near(first, row, 0, second.size(), lists[worker]);
    for (const int64_t other : lists[worker]) {
      const auto weight = static_cast<double>(grad_output[row * step + other * other_step]);
      if (weight != 0.0) add_gradient(weight, overlap_gradient(first[row], second[other]).first, target);
    }
  });
}

}  // namespace

template <class T>
void rotated_iou(const BoxRows& boxes, const BoxRows& others, bool paired, T* out, const Team& given) {
  const RotatedBoxes first(boxes), second(others);
  const Team team = team_for(paired ? boxes.count : boxes.count * others.count, given);
  if (paired) {
    for_pairs(first.size(), team, [&](int64_t pair) {
      out[pair] = second.is_near(first, pair, pair) ? static_cast<T>(overlap(first[pair], second[pair])) : T{0};
    });
    return;
  }
  const int64_t tasks_per_row = (second.size() + task_width - 1) / task_width;
  Lists lists(team.threads);
  parallel_for(team, first.size() * tasks_per_row, [&](int64_t task, int worker) {
    const int64_t row = task / tasks_per_row, begin = task % tasks_per_row * task_width;
    const int64_t end = std::min(begin + task_width, second.size());
    T* const target = out + row * second.size();
    std::fill(target + begin, target + end, T{0});
    second.near(first, row, begin, end, lists[worker]);
    for (const int64_t other : lists[worker]) target[other] = static_cast<T>(overlap(first[row], second[other]));
  });
}

template <class T>
void rotated_iou_gradient(const BoxRows& boxes, const BoxRows& others, bool paired, const T* grad_output,
                          double* grad_boxes, double* grad_others, const Team& given) {
  const RotatedBoxes first(boxes), second(others);
  const Team team = team_for(paired ? boxes.count : boxes.count * others.count, given);
  if (paired) {
    for_pairs(first.size(), team, [&](int64_t pair) {
      std::fill_n(grad_boxes + 5 * pair, 5, 0.0);
      std::fill_n(grad_others + 5 * pair, 5, 0.0);
      const auto weight = static_cast<double>(grad_output[pair]);
      if (weight == 0.0 || !second.is_near(first, pair, pair)) return;
      const OverlapGradient gradient = overlap_gradient(first[pair], second[pair]);
      add_gradient(weight, gradient.first, grad_boxes + 5 * pair);
      add_gradient(weight, gradient.second, grad_others + 5 * pair);
    });
    return;
  }
  // Each pair is computed twice, so that every sum has an order of its own and needs no memory.
  gradient_in_first(first, second, grad_output, second.size(), 1, grad_boxes, team);
  gradient_in_first(second, first, grad_output, 1, second.size(), grad_others, team);
}

template void rotated_iou(const BoxRows&, const BoxRows&, bool, float*, const Team&);
template void rotated_iou(const BoxRows&, const BoxRows&, bool, double*, const Team&);
template void rotated_iou_gradient(const BoxRows&, const BoxRows&, bool, const float*, double*, double*, const Team&);
template void rotated_iou_gradient(const BoxRows&, const BoxRows&, bool, const double*, double*, double*, const Team&);

}  // namespace roialign
