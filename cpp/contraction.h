// The contraction out = Wy . F . Wx^T of one RoI, and its transpose, which is the same contraction with transposed
// taps. The taps are converted to plans that the kernels execute, directly or in two passes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "aligned_vector.h"
#include "kernels.h"
#include "taps.h"

namespace roialign {

/// The layout of an operand: pixel (row, column) is at base + row * row_step + column * column_step, channels adjacent.
struct Lattice {
  int64_t row_step;
  int64_t column_step;
  bool is_accumulator;            // otherwise of the scalar type
  bool is_compact = false;        // a source with only the pixels that the taps touch, numbered by their columns
  int64_t ring_rows = INT64_MAX;  // row y is stored at row y modulo this

  /// The offset of pixel `number`, for rows of so many columns.
  int64_t place_of(int64_t number, int64_t columns) const {
    return number / columns * row_step + number % columns * column_step;
  }
};

/// A dense tile [rows][columns][channels] of accumulators.
template <class A>
Lattice dense_lattice(int64_t columns, int64_t channels) {
  const int64_t pixel = channels * int64_t{sizeof(A)};
  return {columns * pixel, pixel, true, true};
}

/// One axis of a pass: an AxisPlan and its storage.
template <class A>
struct AxisPass {
  std::vector<int32_t> begin;
  std::vector<int64_t> source_offset, target_offset;
  std::vector<A> weight;

  AxisPlan<A> plan() const {
    return {static_cast<int64_t>(target_offset.size()), begin.data(), source_offset.data(), weight.data(),
            target_offset.data()};
  }

  /// Applies the taps with their values of the given kind. A compact target numbers its rows as the taps do. The pixels
  /// of the source are stored modulo `ring`.
  void set_taps(const Taps& taps, int kind, int64_t source_step, bool compact_source, int64_t target_step,
                bool compact_target, int64_t ring = INT64_MAX) {
    const int64_t entries = taps.entries(), rows = taps.rows();
    begin.assign(taps.row_begin.begin(), taps.row_begin.end());
    source_offset.resize(entries);
    weight.resize(entries);
    target_offset.resize(rows);
    for (int64_t t = 0; t < entries; ++t) {
      source_offset[t] = (compact_source ? taps.column[t] : taps.pixel[t] % ring) * source_step;
      weight[t] = static_cast<A>(taps.value[kind][t]);
    }
    for (int64_t i = 0; i < rows; ++i) target_offset[i] = (compact_target ? i : taps.row_place[i]) * target_step;
  }

  /// Copies `rows` rows from place source[i] to place target[i]. If either is null, the place is i.
  void set_identity(int64_t rows, const int64_t* source, int64_t source_step, const int64_t* target,
                    int64_t target_step) {
    begin.resize(rows + 1);
    source_offset.resize(rows);
    target_offset.resize(rows);
    weight.assign(rows, A(1));
    for (int64_t i = 0; i < rows; ++i) {
      begin[i] = static_cast<int32_t>(i);
      source_offset[i] = (source == nullptr ? i : source[i]) * source_step;
      target_offset[i] = (target == nullptr ? i : target[i]) * target_step;
    }
    begin[rows] = static_cast<int32_t>(rows);
  }
};

/// The contraction of a RoI, prepared once and executed for each block of channels.
template <class A>
class Contraction {
 public:
  /// target = the sum over the subsets s of `tangents` of Wy[s] . source . Wx[rest]^T, for up to `channels` channels.
  /// If the result is added to the target, because of tangents or in `execute`, the target must be an accumulator.
  void prepare(const Taps& y, const Taps& x, int tangents, const Lattice& source, const Lattice& target,
               int64_t channels) {
    const int subsets = 1 << tangents;
    const auto columns = static_cast<int64_t>(x.position.size());
    two_passes_ = takes_two_passes(y, x);
    source_ = source;
    target_ = target;
    intermediate_size_ = two_passes_ ? columns * channels : 0;
    count_ = subsets;
    if (static_cast<int>(steps_.size()) < subsets) steps_.resize(subsets);
    const Lattice between = dense_lattice<A>(columns, channels);
    for (int subset = 0; subset < subsets; ++subset) {
      const int rest = subsets - 1 - subset;
      Step& step = steps_[subset];
      if (!two_passes_) {
        step.y.set_taps(y, subset, source.row_step, source.is_compact, target.row_step, false, source.ring_rows);
        step.x.set_taps(x, rest, source.column_step, source.is_compact, target.column_step, false);
        continue;
      }
      // For each row of the target: first along y, for every column, then along x.
      step.y.set_taps(y, subset, source.row_step, source.is_compact, 0, true, source.ring_rows);
      step.through_x.set_identity(columns, source.is_compact ? nullptr : x.position.data(), source.column_step, nullptr,
                                  between.column_step);
      step.through_y.set_identity(y.rows(), nullptr, 0, y.row_place.data(), target.row_step);
      step.x.set_taps(x, rest, between.column_step, true, target.column_step, false);
    }
  }

  /// With tangents, the target is not streamed.
  void execute(const Kernels<A>& kernels, const std::byte* source, std::byte* target, int64_t channels, Write write,
               AlignedVector<A>& scratch) const {
    if (scratch.size() < intermediate_size_) scratch.resize(intermediate_size_);
    auto* const between = reinterpret_cast<std::byte*>(scratch.data());
    for (int index = 0; index < count_; ++index) {
      const Step& step = steps_[index];
      const Write last = index > 0 ? Write::add : write;
      const auto into_target = kernels.contract[source_.is_accumulator || two_passes_][target_.is_accumulator];
      if (!two_passes_) {
        into_target(step.y.plan(), step.x.plan(), source, target, channels, last);
        continue;
      }
      const auto into_between = kernels.contract[source_.is_accumulator][true];
      const AxisPlan<A> y = step.y.plan(), through_y = step.through_y.plan();
      for (int64_t row = 0; row < y.rows; ++row) {
        into_between(y.row(row), step.through_x.plan(), source, between, channels, Write::replace);
        into_target(through_y.row(row), step.x.plan(), between, target, channels, last);
      }
    }
  }

 private:
  struct Step {
    AxisPass<A> y, x, through_y, through_x;
  };

  /// The cost in multiply-adds per channel. Directly, every tap of a bin is one. Two passes also store and read the
  /// intermediate result, which has the columns of the source for every row of the target. Their loops are shorter and
  /// take half as long again. Large bins always take two passes, because the rounding error of a sum grows with its
  /// length.
  static bool takes_two_passes(const Taps& y, const Taps& x) {
    if (longest_row(y) * longest_row(x) > most_taps) return true;
    const auto columns = static_cast<int64_t>(x.position.size());
    return 3 * (y.entries() * columns + y.rows() * (x.entries() + columns)) < 2 * y.entries() * x.entries();
  }
  static int64_t longest_row(const Taps& taps) {
    int32_t longest = 0;
    for (int64_t i = 0; i < taps.rows(); ++i) longest = std::max(longest, taps.row_begin[i + 1] - taps.row_begin[i]);
    return longest;
  }

  static constexpr int64_t most_taps = 64;  // of a bin, in one pass

  std::vector<Step> steps_;
  int count_ = 0;
  bool two_passes_ = false;
  Lattice source_{}, target_{};
  size_t intermediate_size_ = 0;
};

}  // namespace roialign
