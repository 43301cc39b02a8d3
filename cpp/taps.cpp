#include "taps.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace roialign {
namespace {

constexpr int derivative_count[] = {1, 3, 6};

Border border_of(Rule rule) {
  switch (rule) {
    case Rule::grid:
    case Rule::random:
    case Rule::exact:
      return Border::replicate;
    case Rule::prroi:
      return Border::zero;
    case Rule::crop:
      return Border::reject;
    case Rule::nearest:
      return Border::nearest;
  }
  return Border::replicate;  // unreachable: every rule has a case
}

}  // namespace

/// Collects the entries of one axis, one bin after another. What only derivatives need is not computed for order 0.
template <int order>
class TapBuilder::Bins {
 public:
  Bins(const AxisSampling& axis, TapBuilder& builder) : axis_(axis), border_(border_of(axis.rule)), builder_(builder) {}

  void add_bin(int64_t bin) {
    first_entry_ = entries();
    sample_points(axis_, bin, [this](const SamplePoint& point) { add_point(point); });
    const bool integrates = axis_.rule == Rule::exact || axis_.rule == Rule::prroi;
    if (integrates && order > 0) add_singular_part(bin);
  }

 private:
  using Values = std::array<double, most_tap_values>;

  int64_t entries() const { return static_cast<int64_t>(builder_.pixel_.size()); }

  void add_point(const SamplePoint& point) {
    const Neighbours pixels = bilinear(point.x, point.cell, axis_.size, border_);
    if (!pixels.inside) return;
    const double slope = point.share * pixels.slope;
    add(pixels.below, {point.share * pixels.weight_below, -slope, -slope * point.position});
    if (pixels.slope != 0.0) add(pixels.above, {point.share * pixels.weight_above, slope, slope * point.position});
  }

  // The mean over a bin is the integral over u in [0, 1] of w(start + position(u) * length). At a jump of w, the first
  // derivative is a Dirac delta and the second is the derivative of that delta. At a kink, the second is a delta. A
  // delta at x contributes 1 / |bin length|. An integer at the upper end of the bin counts and one at its lower end
  // does not, which gives the derivative from the right.
  void add_singular_part(int64_t bin) {
    const auto [start, length] = axis_.roi;
    const double bin_length = bin_grid(start, length, axis_.bins, bin).length;
    if (bin_length == 0.0 || (border_ == Border::zero && length < 0.0)) return;
    const Interval ends = bin_ends(length, axis_.bins, bin);
    const CellRange cells = cells_between(axis_.size, start + ends.low, start + ends.high);
    for (int64_t integer = cells.first; integer <= cells.end; ++integer) {
      const bool jumps = border_ == Border::replicate && (integer == -1 || integer == axis_.size);
      if (order < 2 && !jumps) continue;
      const double distance = static_cast<double>(integer) - start;
      if (!(distance > ends.low && distance <= ends.high)) continue;
      const double density = 1.0 / std::abs(bin_length);
      const double position = distance / length;
      if (jumps) {
        const double jump = (integer == -1 ? 1.0 : -1.0) * density;
        add(integer == -1 ? 0 : axis_.size - 1,
            {0.0, jump, jump * position, 0.0, -jump / length, -2.0 * jump * position / length});
      }
      if (order == 2) {
        add_kink(integer, integer, density, position);
        add_kink(integer, integer - 1, -density, position);
      }
    }
  }

  /// Adds the slopes of one cell beside an integer as deltas of the second derivative.
  void add_kink(int64_t integer, int64_t cell, double density, double position) {
    if (cell < -1 || cell >= axis_.size) return;
    const Neighbours pixels = bilinear(static_cast<double>(integer), cell, axis_.size, border_);
    const double delta = density * pixels.slope;
    if (delta == 0.0) return;
    const Values above = {0.0, 0.0, 0.0, delta, delta * position, delta * position * position};
    Values below = above;
    for (double& value : below) value = -value;
    add(pixels.below, below);
    add(pixels.above, above);
  }

  void add(int64_t pixel, const Values& values) {
    if (pixel < 0 || pixel >= axis_.size) return;  // the zero padding
    // With weight 0, a pixel is no part of the value, even if it is not finite. It may still be part of a derivative.
    if (order == 0 && values[0] == 0.0) return;
    if (entries() == first_entry_ || builder_.pixel_.back() < pixel) {
      builder_.pixel_.push_back(pixel);
      for (int kind = 0; kind < derivative_count[order]; ++kind) builder_.value_[kind].push_back(0.0 + values[kind]);
      return;
    }
    const int64_t entry = entry_of(pixel);
    for (int kind = 0; kind < derivative_count[order]; ++kind) builder_.value_[kind][entry] += values[kind];
  }

  /// The entry of a pixel in this bin. Points are ascending, so it is nearly always one of the last two.
  int64_t entry_of(int64_t pixel) {
    auto& pixels = builder_.pixel_;
    int64_t entry = entries();
    for (int step = 0; step < 3 && entry > first_entry_; ++step) {
      if (pixels[entry - 1] == pixel) return entry - 1;
      if (pixels[entry - 1] < pixel) break;
      --entry;
    }
    if (entry > first_entry_ && pixels[entry - 1] >= pixel) {
      const auto place = std::lower_bound(pixels.begin() + first_entry_, pixels.begin() + entry, pixel);
      entry = place - pixels.begin();
      if (*place == pixel) return entry;
    }
    pixels.insert(pixels.begin() + entry, pixel);
    for (int kind = 0; kind < derivative_count[order]; ++kind) {
      auto& values = builder_.value_[kind];
      values.insert(values.begin() + entry, 0.0);
    }
    return entry;
  }

  const AxisSampling& axis_;
  Border border_;
  TapBuilder& builder_;
  int64_t first_entry_ = 0;
};

/// Lists the pixels that any bin touches, and the index of each entry's pixel in that list.
void TapBuilder::number_columns() {
  position_.clear();
  column_.resize(pixel_.size());
  if (number_ascending_columns()) return;
  position_ = pixel_;
  std::sort(position_.begin(), position_.end());
  position_.erase(std::unique(position_.begin(), position_.end()), position_.end());
  for (size_t entry = 0; entry < pixel_.size(); ++entry) {
    const auto place = std::lower_bound(position_.begin(), position_.end(), pixel_[entry]);
    column_[entry] = static_cast<int32_t>(place - position_.begin());
  }
}

/// The same if pixels ascend but for a few that adjacent bins share, as they do unless a box is inverted. Returns false
/// if they do not.
bool TapBuilder::number_ascending_columns() {
  constexpr size_t most_shared = 8;
  for (size_t entry = 0; entry < pixel_.size(); ++entry) {
    const int64_t pixel = pixel_[entry];
    if (position_.empty() || pixel > position_.back()) position_.push_back(pixel);
    const size_t count = position_.size();
    size_t place = count - 1;
    while (position_[place] > pixel && place > 0 && count - place <= most_shared) --place;
    if (position_[place] != pixel) return false;
    column_[entry] = static_cast<int32_t>(place);
  }
  return true;
}

Taps TapBuilder::build(const AxisSampling& axis, int order, Arena& arena) {
  constexpr int64_t usual_entries_per_bin = 4;  // reserved, because growing step by step takes longer than the rest
  const int kinds = derivative_count[order];
  const auto begin = [&](auto& entries) {
    entries.clear();
    entries.reserve(usual_entries_per_bin * axis.bins);
  };
  begin(pixel_);
  for (int kind = 0; kind < kinds; ++kind) begin(value_[kind]);
  row_begin_.assign(axis.bins + 1, 0);
  const auto add_bins = [&](auto&& bins) {
    for (int64_t bin = 0; bin < axis.bins; ++bin) {
      bins.add_bin(bin);
      row_begin_[bin + 1] = static_cast<int32_t>(pixel_.size());
    }
  };
  if (order == 0) add_bins(Bins<0>(axis, *this));
  if (order == 1) add_bins(Bins<1>(axis, *this));
  if (order == 2) add_bins(Bins<2>(axis, *this));
  number_columns();
  const std::span<int64_t> row_place = arena.take<int64_t>(axis.bins);
  std::iota(row_place.begin(), row_place.end(), int64_t{0});
  Taps taps{arena.copy<int32_t>(row_begin_), row_place, arena.copy<int64_t>(pixel_), arena.copy<int32_t>(column_),
            arena.copy<int64_t>(position_),  {}};
  for (int kind = 0; kind < kinds; ++kind) taps.value[kind] = arena.copy<double>(value_[kind]);
  return taps;
}

void apply_tangents(std::span<const AxisTangent> tangents, const Taps& taps) {
  const size_t entries = taps.pixel.size();
  if (tangents.empty()) return;
  const AxisTangent u = tangents[0];
  if (tangents.size() == 1) {
    const std::span<double> along = taps.value[start_];
    for (size_t t = 0; t < entries; ++t) along[t] = u.start * along[t] + u.length * taps.value[length_][t];
    return;
  }
  const AxisTangent v = tangents[1];
  for (size_t t = 0; t < entries; ++t) {
    const double start = taps.value[start_][t], length = taps.value[length_][t];
    taps.value[0b11][t] = u.start * v.start * taps.value[start_start_][t] +
                          (u.start * v.length + u.length * v.start) * taps.value[start_length_][t] +
                          u.length * v.length * taps.value[length_length_][t];
    taps.value[0b01][t] = u.start * start + u.length * length;
    taps.value[0b10][t] = v.start * start + v.length * length;
  }
}

void apply_tangents_and_keep_derivatives(std::span<const AxisTangent> tangents, const Taps& taps) {
  if (tangents.empty()) return;
  const AxisTangent v = tangents[0];
  for (size_t t = 0; t < taps.pixel.size(); ++t) {
    const double start_start = taps.value[start_start_][t], start_length = taps.value[start_length_][t];
    const double length_length = taps.value[length_length_][t];
    taps.value[3][t] = v.start * taps.value[start_][t] + v.length * taps.value[length_][t];
    taps.value[4][t] = v.start * start_start + v.length * start_length;
    taps.value[5][t] = v.start * start_length + v.length * length_length;
  }
}

Taps transpose_taps(const Taps& taps, int64_t first, int64_t end, int kinds, Arena& arena) {
  const auto low = std::lower_bound(taps.position.begin(), taps.position.end(), first);
  const auto high = std::lower_bound(low, taps.position.end(), end);
  const auto first_column = static_cast<int32_t>(low - taps.position.begin());
  const auto rows = static_cast<int32_t>(high - low);
  const std::span<int64_t> row_place = arena.take<int64_t>(rows), position = arena.take<int64_t>(taps.rows());
  for (int32_t row = 0; row < rows; ++row) row_place[row] = low[row] - first;
  std::iota(position.begin(), position.end(), int64_t{0});

  // Count the entries of every row, then place them. Bins are ascending within a row because they are in the taps.
  const std::span<int32_t> begin = arena.take<int32_t>(rows + 1);
  std::fill(begin.begin(), begin.end(), 0);
  const auto in_range = [&](int64_t t) {
    return static_cast<uint32_t>(taps.column[t] - first_column) < static_cast<uint32_t>(rows);
  };
  for (int64_t t = 0; t < taps.entries(); ++t) {
    if (in_range(t)) ++begin[taps.column[t] - first_column + 1];
  }
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  const int64_t entries = begin[rows];
  const std::span<int64_t> pixel = arena.take<int64_t>(entries);
  const std::span<int32_t> column = arena.take<int32_t>(entries);
  Taps transposed{begin, row_place, pixel, column, position, {}};
  for (int kind = 0; kind < kinds; ++kind) transposed.value[kind] = arena.take<double>(entries);
  for (int64_t bin = 0; bin < taps.rows(); ++bin) {
    for (int32_t t = taps.row_begin[bin]; t < taps.row_begin[bin + 1]; ++t) {
      if (!in_range(t)) continue;
      const int32_t entry = begin[taps.column[t] - first_column]++;
      pixel[entry] = bin;
      column[entry] = static_cast<int32_t>(bin);
      for (int kind = 0; kind < kinds; ++kind) transposed.value[kind][entry] = taps.value[kind][t];
    }
  }
  // Placing has moved the start of every row to its end, which is the start of the next row.
  std::copy_backward(begin.begin(), begin.end() - 1, begin.end());
  begin[0] = 0;
  return transposed;
}

void dense_taps(const AxisSampling& axis, int order_start, int order_length, double* matrix) {
  // The kinds of values by (order in start, order in length), as in TapDerivative.
  constexpr int kind[3][3] = {{value_, length_, length_length_}, {start_, start_length_, -1}, {start_start_, -1, -1}};
  Arena arena;
  const Taps taps = TapBuilder().build(axis, order_start + order_length, arena);
  std::fill_n(matrix, axis.bins * axis.size, 0.0);
  for (int64_t bin = 0; bin < axis.bins; ++bin) {
    for (int32_t t = taps.row_begin[bin]; t < taps.row_begin[bin + 1]; ++t) {
      matrix[bin * axis.size + taps.pixel[t]] = taps.value[kind[order_start][order_length]][t];
    }
  }
}

}  // namespace roialign
