#include <algorithm>
#include <numeric>

#include "rotated/overlap.h"

namespace roialign {
namespace {

/// Boxes that are decided together: the best of those that are left. The others are then compared with the kept ones.
constexpr int64_t block = 64;
/// The boxes that one task compares with the kept ones of a block.
constexpr int64_t task_boxes = 512;

class Suppression {
 public:
  /// `rows` are the boxes of one group, best score first.
  Suppression(const BoxRows& rows, double threshold, const Team& team)
      : boxes_(rows), threshold_(threshold), team_(team), lists_(team.threads) {}

  /// Calls keep(place) for the places of the boxes that are kept, in order.
  template <class Keep>
  void run(const Keep& keep) {
    std::vector<int64_t> place(boxes_.size());
    std::iota(place.begin(), place.end(), 0);
    while (boxes_.size() > 0) {
      suppressed_.assign(boxes_.size(), 0);
      const int64_t head = std::min(block, boxes_.size());
      kept_.clear();
      for (int64_t box = 0; box < head; ++box) {
        if (suppressed_[box]) continue;
        kept_.push_back(box);
        keep(place[box]);
        suppress(box, box + 1, head, lists_[0]);
      }
      const int64_t tasks = (boxes_.size() - head + task_boxes - 1) / task_boxes;
      parallel_for(team_, tasks, [&](int64_t task, int worker) {
        const int64_t first = head + task * task_boxes, last = std::min(first + task_boxes, boxes_.size());
        for (const int64_t box : kept_) suppress(box, first, last, lists_[worker]);
      });
      drop_decided(head, place);
    }
  }

 private:
  void suppress(int64_t box, int64_t first, int64_t last, std::vector<int64_t>& near) {
    boxes_.near(boxes_, box, first, last, near);
    for (const int64_t other : near) {
      if (!suppressed_[other] && exceeds(boxes_[box], boxes_[other])) suppressed_[other] = 1;
    }
  }

  bool exceeds(const RotatedBox& one, const RotatedBox& other) const {
    // The overlap is at most the ratio of the areas, up to rounding.
    const double smaller = std::min(one.area(), other.area()), larger = std::max(one.area(), other.area());
    return smaller * (1.0 + 1e-12) >= threshold_ * larger && overlap(one, other) > threshold_;
  }

  void drop_decided(int64_t head, std::vector<int64_t>& place) {
    left_.clear();
    for (int64_t box = head; box < boxes_.size(); ++box) {
      if (!suppressed_[box]) left_.push_back(box);
    }
    boxes_.keep(left_);
    for (size_t i = 0; i < left_.size(); ++i) place[i] = place[left_[i]];
  }

  RotatedBoxes boxes_;
  const double threshold_;
  const Team& team_;
  std::vector<unsigned char> suppressed_;
  std::vector<int64_t> kept_, left_;
  std::vector<std::vector<int64_t>> lists_;  // of near boxes, one per thread
};

}  // namespace

std::vector<int64_t> rotated_nms(const BoxRows& boxes, const double* scores, const int64_t* groups, double threshold,
                                 const Team& team) {
  std::vector<int64_t> order(boxes.count);
  std::iota(order.begin(), order.end(), 0);
  const auto is_better = [scores](int64_t one, int64_t other) {
    return scores[one] != scores[other] ? scores[one] > scores[other] : one < other;
  };
  std::sort(order.begin(), order.end(), [&](int64_t one, int64_t other) {
    return groups[one] != groups[other] ? groups[one] < groups[other] : is_better(one, other);
  });
  std::vector<int64_t> kept;
  std::vector<double> rows;
  for (auto first = order.begin(); first != order.end();) {
    const auto last = std::find_if(first, order.end(), [&](int64_t box) { return groups[box] != groups[*first]; });
    rows.clear();
    for (auto box = first; box != last; ++box) {
      rows.insert(rows.end(), boxes.data + 5 * *box, boxes.data + 5 * (*box + 1));
    }
    Suppression suppression({rows.data(), last - first}, threshold, team);
    suppression.run([&](int64_t place) { kept.push_back(first[place]); });
    first = last;
  }
  std::sort(kept.begin(), kept.end(), is_better);
  return kept;
}

}  // namespace roialign
