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

/// Collects the entries of one axis, one bin after another.
class Builder {
 public:
  Builder(const AxisSampling& axis, int order, Taps& taps)
      : axis_(axis), border_(border_of(axis.rule)), order_(order), taps_(taps) {}

  void add_bin(int64_t bin) {
    first_entry_ = taps_.entries();
    sample_points(axis_, bin, [this](const SamplePoint& point) { add_point(point); });
    const bool integrates = axis_.rule == Rule::exact || axis_.rule == Rule::prroi;
    if (integrates && order_ > 0) add_singular_part(bin);
  }

 private:
  using Values = std::array<double, 6>;

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
      if (order_ < 2 && !jumps) continue;
      const double distance = static_cast<double>(integer) - start;
      if (!(distance > ends.low && distance <= ends.high)) continue;
      const double density = 1.0 / std::abs(bin_length);
      const double position = distance / length;
      if (jumps) {
        const double jump = (integer == -1 ? 1.0 : -1.0) * density;
        add(integer == -1 ? 0 : axis_.size - 1,
            {0.0, jump, jump * position, 0.0, -jump / length, -2.0 * jump * position / length});
      }
      if (order_ == 2) {
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
    const int64_t entry = entry_of(pixel);
    for (int kind = 0; kind < derivative_count[order_]; ++kind) taps_.value[kind][entry] += values[kind];
  }

  /// The entry of a pixel in this bin. Points are ascending, so it is nearly always one of the last two.
  int64_t entry_of(int64_t pixel) {
    auto& pixels = taps_.pixel;
    int64_t entry = taps_.entries();
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
    for (int kind = 0; kind < derivative_count[order_]; ++kind) {
      taps_.value[kind].insert(taps_.value[kind].begin() + entry, 0.0);
    }
    return entry;
  }

  const AxisSampling& axis_;
  Border border_;
  int order_;
  Taps& taps_;
  int64_t first_entry_ = 0;
};

/// Lists the pixels that any bin touches, and the index of each entry's pixel in that list.
void number_columns(Taps& taps) {
  taps.position.clear();
  taps.column.resize(taps.pixel.size());
  if (taps.pixel.empty()) return;
  const auto [lowest, highest] = std::minmax_element(taps.pixel.begin(), taps.pixel.end());
  const int64_t first = *lowest, span = *highest - first + 1;
  if (span <= 4 * taps.entries()) {
    // If pixels are dense, mark them in a table over the span, then count the marks. The table is converted in place.
    taps.position.assign(span, 0);
    for (const int64_t pixel : taps.pixel) taps.position[pixel - first] = 1;
    int64_t count = 0;
    for (int64_t& mark : taps.position) mark = mark != 0 ? count++ : -1;
    for (size_t entry = 0; entry < taps.pixel.size(); ++entry) {
      taps.column[entry] = static_cast<int32_t>(taps.position[taps.pixel[entry] - first]);
    }
    for (int64_t offset = 0; offset < span; ++offset) {
      if (taps.position[offset] >= 0) taps.position[taps.position[offset]] = first + offset;
    }
    taps.position.resize(count);
    return;
  }
  taps.position = taps.pixel;
  std::sort(taps.position.begin(), taps.position.end());
  taps.position.erase(std::unique(taps.position.begin(), taps.position.end()), taps.position.end());
  for (size_t entry = 0; entry < taps.pixel.size(); ++entry) {
    const auto place = std::lower_bound(taps.position.begin(), taps.position.end(), taps.pixel[entry]);
    taps.column[entry] = static_cast<int32_t>(place - taps.position.begin());
  }
}

}  // namespace

void build_taps(const AxisSampling& axis, int order, Taps& taps) {
  constexpr int64_t usual_entries_per_bin = 4;  // reserved, because growing step by step takes longer than the rest
  const auto usual_entries = static_cast<size_t>(usual_entries_per_bin * axis.bins);
  taps.pixel.clear();
  taps.pixel.reserve(usual_entries);
  taps.value.resize(std::max<size_t>(taps.value.size(), derivative_count[order]));
  for (auto& values : taps.value) values.clear();
  for (int kind = 0; kind < derivative_count[order]; ++kind) taps.value[kind].reserve(usual_entries);
  taps.row_begin.assign(axis.bins + 1, 0);
  taps.row_place.resize(axis.bins);
  std::iota(taps.row_place.begin(), taps.row_place.end(), int64_t{0});
  Builder builder(axis, order, taps);
  for (int64_t bin = 0; bin < axis.bins; ++bin) {
    builder.add_bin(bin);
    taps.row_begin[bin + 1] = static_cast<int32_t>(taps.entries());
  }
  number_columns(taps);
}

void apply_tangents(std::span<const AxisTangent> tangents, Taps& taps) {
  const size_t entries = taps.pixel.size();
  if (tangents.empty()) return;
  const AxisTangent u = tangents[0];
  if (tangents.size() == 1) {
    auto& along = taps.value[start_];
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

void apply_tangents_and_keep_derivatives(std::span<const AxisTangent> tangents, Taps& taps) {
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

void transpose_taps(const Taps& taps, int64_t first, int64_t end, int kinds, Taps& transposed) {
  const auto low = std::lower_bound(taps.position.begin(), taps.position.end(), first);
  const auto high = std::lower_bound(low, taps.position.end(), end);
  const auto first_column = static_cast<int32_t>(low - taps.position.begin());
  const auto rows = static_cast<int32_t>(high - low);
  transposed.row_place.resize(rows);
  for (int32_t row = 0; row < rows; ++row) transposed.row_place[row] = low[row] - first;

  // Count the entries of every row, then place them. Bins are ascending within a row because they are in the taps.
  auto& begin = transposed.row_begin;
  begin.assign(rows + 1, 0);
  const auto in_range = [&](int64_t t) {
    return static_cast<uint32_t>(taps.column[t] - first_column) < static_cast<uint32_t>(rows);
  };
  for (int64_t t = 0; t < taps.entries(); ++t) {
    if (in_range(t)) ++begin[taps.column[t] - first_column + 1];
  }
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  const auto entries = static_cast<size_t>(begin[rows]);
  transposed.pixel.resize(entries);
  transposed.column.resize(entries);
  transposed.value.resize(std::max<size_t>(transposed.value.size(), kinds));
  for (int kind = 0; kind < kinds; ++kind) transposed.value[kind].resize(entries);
  for (int64_t bin = 0; bin < taps.rows(); ++bin) {
    for (int32_t t = taps.row_begin[bin]; t < taps.row_begin[bin + 1]; ++t) {
      if (!in_range(t)) continue;
      const int32_t entry = begin[taps.column[t] - first_column]++;
      transposed.pixel[entry] = bin;
      transposed.column[entry] = static_cast<int32_t>(bin);
      for (int kind = 0; kind < kinds; ++kind) transposed.value[kind][entry] = taps.value[kind][t];
    }
  }
  // Placing has moved the start of every row to its end, which is the start of the next row.
  std::copy_backward(begin.begin(), begin.end() - 1, begin.end());
  begin[0] = 0;
  transposed.position.resize(taps.rows());
  std::iota(transposed.position.begin(), transposed.position.end(), int64_t{0});
}

void dense_taps(const AxisSampling& axis, int order_start, int order_length, double* matrix) {
  // The kinds of values by (order in start, order in length), as in TapDerivative.
  constexpr int kind[3][3] = {{value_, length_, length_length_}, {start_, start_length_, -1}, {start_start_, -1, -1}};
  Taps taps;
  build_taps(axis, order_start + order_length, taps);
  std::fill_n(matrix, axis.bins * axis.size, 0.0);
  for (int64_t bin = 0; bin < axis.bins; ++bin) {
    for (int32_t t = taps.row_begin[bin]; t < taps.row_begin[bin + 1]; ++t) {
      matrix[bin * axis.size + taps.pixel[t]] = taps.value[kind[order_start][order_length]][t];
    }
  }
}

}  // namespace roialign
