// The contraction out = Wy . F . Wx^T of one RoI, and its transpose, which is the same contraction with transposed
// taps. The taps are converted to plans that the kernels execute, directly or in two passes.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "aligned_vector.h"
#include "arena.h"
#include "kernels.h"
#include "taps.h"

namespace roialign {

/// The layout of an operand: pixel (row, column) is at base + row * row_step + column * column_step, channels adjacent.
struct Lattice {
  int64_t row_step;
  int64_t column_step;
  Values values;
  bool is_compact = false;        // a source with only the pixels that the taps touch, numbered by their columns
  int64_t ring_rows = INT64_MAX;  // row y is stored at row y modulo this
  bool is_list = false;           // a source with only the entries that were asked for, in their order

  /// The offset of pixel `number`, for rows of so many columns.
  int64_t place_of(int64_t number, int64_t columns) const {
    return number / columns * row_step + number % columns * column_step;
  }
};

/// A dense tile [rows][columns][channels].
template <class A>
Lattice dense_lattice(const Kernels<A>& kernels, int64_t columns, int64_t channels, Values values) {
  const int64_t pixel = channels * kernels.bytes_of(values);
  return {columns * pixel, pixel, values, true};
}

/// The plan of one axis that applies the taps with their values of the given kind. A compact target numbers its rows as
/// the taps do. The pixels of the source are stored modulo `ring`, and begin with `first`.
template <class A>
AxisPlan<A> plan_taps(Arena& arena, const Taps& taps, int kind, int64_t source_step, bool compact_source,
                      int64_t target_step, bool compact_target, int64_t ring = INT64_MAX, int64_t first = 0) {
  const int64_t entries = taps.entries(), rows = taps.rows();
  const std::span<int64_t> source_offset = arena.take<int64_t>(entries), target_offset = arena.take<int64_t>(rows);
  const std::span<A> weight = arena.take<A>(entries);
  for (int64_t t = 0; t < entries; ++t) {
    const int64_t pixel = compact_source ? taps.column[t] : taps.pixel[t] - first;
    source_offset[t] = (pixel < ring ? pixel : pixel % ring) * source_step;
    weight[t] = static_cast<A>(taps.value[kind][t]);
  }
  for (int64_t i = 0; i < rows; ++i) target_offset[i] = (compact_target ? i : taps.row_place[i]) * target_step;
  return {rows, arena.copy(taps.row_begin).data(), source_offset.data(), weight.data(), target_offset.data()};
}

/// The plan of one axis that copies `rows` rows from place source[i] to place target[i]. If either is empty, the place
/// is i.
template <class A>
AxisPlan<A> plan_copies(Arena& arena, int64_t rows, std::span<const int64_t> source, int64_t source_step,
                        std::span<const int64_t> target, int64_t target_step) {
  const std::span<int32_t> begin = arena.take<int32_t>(rows + 1);
  const std::span<int64_t> source_offset = arena.take<int64_t>(rows), target_offset = arena.take<int64_t>(rows);
  const std::span<A> weight = arena.take<A>(rows);
  for (int64_t i = 0; i < rows; ++i) {
    begin[i] = static_cast<int32_t>(i);
    source_offset[i] = (source.empty() ? i : source[i]) * source_step;
    target_offset[i] = (target.empty() ? i : target[i]) * target_step;
    weight[i] = A(1);
  }
  begin[rows] = static_cast<int32_t>(rows);
  return {rows, begin.data(), source_offset.data(), weight.data(), target_offset.data()};
}

/// Fewer channels than this do not fill a vector. Adjacent pixels do.
constexpr int64_t few_channels = 16;

/// Whether two passes are faster for a few channels, with the taps or their transposes. The first pass then treats
/// adjacent columns as channels of one pixel. The estimates are in cycles. They depend on nothing but the taps and the
/// number of channels, so that results have the same bits for every layout of the memory.
inline bool few_channels_take_two_passes(const Taps& y, const Taps& x, bool are_transposed, int64_t channels) {
  if (channels >= few_channels) return false;
  const auto pixels = [](const Taps& axis) { return static_cast<int64_t>(axis.position.size()); };
  const int64_t rows_y = are_transposed ? pixels(y) : y.rows(), rows_x = are_transposed ? pixels(x) : x.rows();
  const int64_t columns = are_transposed ? x.rows() : pixels(x);
  const int64_t parts = channels / 8 + channels % 8 / 4 + channels % 4;
  const int64_t run = columns * channels / 8 + 16;
  const int64_t through_x = parts * (2 * x.entries() + 8 * rows_x);
  const int64_t direct = parts * (2 * y.entries() * x.entries() + 6 * y.entries() * rows_x + 8 * rows_y * rows_x);
  return y.entries() * run + rows_y * through_x < direct;
}

/// The contraction of a RoI, prepared once and executed for each block of channels.
template <class A>
class Contraction {
 public:
  /// target = the sum over the subsets s of `tangents` of Wy[s] . source . Wx[rest]^T, for up to `channels` channels.
  /// If the result is added to the target, because of tangents or in `execute`, the target must be an accumulator. The
  /// plans are in the arena.
  void prepare(const Kernels<A>& kernels, Arena& arena, const Taps& y, const Taps& x, int tangents,
               const Lattice& source, const Lattice& target, int64_t channels, bool two_passes) {
    const int subsets = 1 << tangents;
    two_passes_ = two_passes;
    const int64_t value_bytes = kernels.bytes_of(source.values);
    const int64_t touched = static_cast<int64_t>(x.position.size());
    const int64_t first_column = touched == 0 || source.is_compact ? 0 : x.position.front();
    const int64_t span = touched == 0 || source.is_compact ? touched : x.position.back() - first_column + 1;
    in_runs_ = two_passes_ && channels < few_channels && source.column_step == channels * value_bytes &&
               span <= most_span * touched;
    const int64_t columns = in_runs_ ? span : touched;
    source_ = source;
    target_ = target;
    intermediate_size_ = two_passes_ ? columns * channels : 0;
    const std::span<Step> steps = arena.take<Step>(subsets);
    steps_ = steps;
    const Lattice between = dense_lattice(kernels, columns, channels, Values::accumulators);
    for (int subset = 0; subset < subsets; ++subset) {
      const int rest = subsets - 1 - subset;
      Step& step = steps[subset];
      step = Step{};
      if (!two_passes_) {
        step.y = plan_taps<A>(arena, y, subset, source.row_step, source.is_compact, target.row_step, false,
                              source.ring_rows);
        step.x = plan_taps<A>(arena, x, rest, source.column_step, source.is_compact, target.column_step, false);
        continue;
      }
      // For each row of the target: first along y, for every column, then along x.
      if (in_runs_) {
        const std::array<int64_t, 1> start = {first_column};
        step.y = plan_taps<A>(arena, y, subset, source.row_step, source.is_compact, 0, true, source.ring_rows);
        step.through_x = plan_copies<A>(arena, 1, start, source.column_step, {}, 0);
        step.through_y = plan_copies<A>(arena, y.rows(), {}, 0, y.row_place, target.row_step);
        step.x = plan_taps<A>(arena, x, rest, between.column_step, source.is_compact, target.column_step, false,
                              INT64_MAX, first_column);
        continue;
      }
      const auto from_columns = source.is_compact ? std::span<const int64_t>{} : x.position;
      step.y = plan_taps<A>(arena, y, subset, source.row_step, source.is_compact, 0, true, source.ring_rows);
      step.through_x = plan_copies<A>(arena, columns, from_columns, source.column_step, {}, between.column_step);
      step.through_y = plan_copies<A>(arena, y.rows(), {}, 0, y.row_place, target.row_step);
      step.x = plan_taps<A>(arena, x, rest, between.column_step, true, target.column_step, false);
    }
  }

  /// For the rows of y in [first, end). With tangents, the target is not streamed.
  void execute(const Kernels<A>& kernels, const std::byte* source, std::byte* target, int64_t channels, Write write,
               AlignedVector<A>& scratch, int64_t first, int64_t end) const {
    if (static_cast<int64_t>(scratch.size()) < intermediate_size_) scratch.resize(intermediate_size_);
    auto* const between = reinterpret_cast<std::byte*>(scratch.data());
    for (const Step& step : steps_) {
      const Write last = &step == steps_.data() ? write : Write::add;
      const Values last_source = two_passes_ ? Values::accumulators : source_.values;
      const auto into_target = kernels.contract[index(last_source)][index(target_.values)];
      if (!two_passes_) {
        into_target(step.y.rows_between(first, end), step.x, source, target, channels, last);
        continue;
      }
      const auto into_between = kernels.contract[index(source_.values)][index(Values::accumulators)];
      for (int64_t row = first; row < end; ++row) {
        into_between(step.y.row(row), step.through_x, source, between, in_runs_ ? intermediate_size_ : channels,
                     Write::replace);
        into_target(step.through_y.row(row), step.x, between, target, channels, last);
      }
    }
  }

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

 private:
  struct Step {
    AxisPlan<A> y, x, through_y, through_x;  // the last two only with two passes
  };

  static constexpr int64_t most_taps = 64;  // of a bin, in one pass
  static constexpr int64_t most_span = 8;   // columns of a run for each that is touched

  std::span<const Step> steps_;
  bool two_passes_ = false, in_runs_ = false;
  Lattice source_{}, target_{};
  int64_t intermediate_size_ = 0;
};

}  // namespace roialign
