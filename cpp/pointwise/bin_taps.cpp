#include "pointwise/bin_taps.h"

namespace roialign {
namespace {

/// Calls visit(row, column, weight along y, weight along x, slope along y, slope along x) for the pixels of a point.
template <class Visit>
void each_pixel(const PointAxis& y, const PointAxis& x, Visit&& visit) {
  const auto side = [](const Neighbours& pixels, bool above) {
    struct Side {
      int64_t pixel;
      double weight, slope;
    };
    return above ? Side{pixels.above, pixels.weight_above, pixels.slope}
                 : Side{pixels.below, pixels.weight_below, -pixels.slope};
  };
  const int sides_y = y.pixels.slope == 0.0 ? 1 : 2, sides_x = x.pixels.slope == 0.0 ? 1 : 2;
  for (int side_y = 0; side_y < sides_y; ++side_y) {
    const auto row = side(y.pixels, side_y == 1);
    for (int side_x = 0; side_x < sides_x; ++side_x) {
      const auto column = side(x.pixels, side_x == 1);
      visit(row.pixel, column.pixel, row.weight, column.weight, row.slope, column.slope);
    }
  }
}

}  // namespace

void BinTaps::clear(int64_t first) {
  first_bin = first;
  begin.assign(1, 0);
  y.clear();
  x.clear();
  for (auto& values : value) values.clear();
}

void TapMerger::merge(RoiPoints& roi, int64_t first, int64_t end, TapValues values, bool has_tangent,
                      const PixelBox& clip, BinTaps& taps) {
  taps.clear(first);
  kinds_ = values == TapValues::all_slopes ? tap_kinds : 1;
  for (int64_t bin = first; bin < end && (bin == first || taps.entries() < most_entries); ++bin) {
    start_bin();
    const BinWeights weights(roi, bin, values, has_tangent);
    if (kinds_ == 1 && !weights.moves() && roi.samples_by_axis()) {
      multiply_axes(roi.taps_of(bin), weights.mask(), clip, taps);
      taps.begin.push_back(static_cast<int32_t>(taps.entries()));
      continue;
    }
    const auto add = [&](const PointAxis& y, const PointAxis& x) {
      const double share = y.own.share * x.own.share;
      each_pixel(y, x,
                 [&](int64_t row, int64_t column, double weight_y, double weight_x, double slope_y, double slope_x) {
                   const double weight = share * weights.of(y.own, x.own, weight_y, weight_x, slope_y, slope_x);
                   if ((kinds_ == 1 && weight == 0.0) || !clip.contains(row, column)) return;
                   const int32_t entry = entry_of(row, column, taps);
                   taps.value[weight_][entry] += weight;
                   if (kinds_ == 1) return;
                   const double positions[3] = {1.0, y.own.position, x.own.position};
                   for (int i = 0; i < 3; ++i) {
                     if (y.own.moves) taps.value[slope_y_ + i][entry] += share * slope_y * weight_x * positions[i];
                     if (x.own.moves) taps.value[slope_x_ + i][entry] += share * weight_y * slope_x * positions[i];
                   }
                 });
    };
    roi.visit(bin, add);
    taps.begin.push_back(static_cast<int32_t>(taps.entries()));
  }
}

/// The entries of a bin whose points are pairs: the products of the entries of both axes.
void TapMerger::multiply_axes(const RoiPoints::TapsOfBin& axes, double factor, const PixelBox& clip, BinTaps& taps) {
  for (const AxisTap& row : axes.y) {
    for (const AxisTap& column : axes.x) {
      const double weight = factor * row.weight * column.weight;
      if (weight == 0.0 || !clip.contains(row.pixel, column.pixel)) continue;
      taps.y.push_back(static_cast<int32_t>(row.pixel));
      taps.x.push_back(static_cast<int32_t>(column.pixel));
      taps.value[weight_].push_back(weight);
    }
  }
}

void TapMerger::start_bin() {
  if (++bin_ != 0) return;
  for (Slot& slot : slots_) slot.bin = 0;  // the numbers of bins have wrapped around: start again
  bin_ = 1;
}

TapMerger::Slot& TapMerger::find(int64_t key) {
  const size_t mask = slots_.size() - 1;
  size_t place = (static_cast<uint64_t>(key) * 0x9E3779B97F4A7C15ULL) >> 32 & mask;
  while (slots_[place].bin == bin_ && slots_[place].key != key) place = (place + 1) & mask;
  return slots_[place];
}

int32_t TapMerger::entry_of(int64_t row, int64_t column, BinTaps& taps) {
  const int64_t key = row << 32 | column;
  Slot* slot = &find(key);
  if (slot->bin == bin_) return slot->entry;
  if (2 * (taps.entries() - taps.begin.back()) >= static_cast<int64_t>(slots_.size())) {
    grow(taps);
    slot = &find(key);
  }
  *slot = {key, static_cast<int32_t>(taps.entries()), bin_};
  taps.y.push_back(static_cast<int32_t>(row));
  taps.x.push_back(static_cast<int32_t>(column));
  for (int kind = 0; kind < kinds_; ++kind) taps.value[kind].push_back(0.0);
  return slot->entry;
}

void TapMerger::grow(const BinTaps& taps) {
  slots_.assign(2 * slots_.size(), Slot{0, 0, 0});
  for (auto entry = static_cast<int64_t>(taps.begin.back()); entry < taps.entries(); ++entry) {
    const int64_t key = static_cast<int64_t>(taps.y[entry]) << 32 | taps.x[entry];
    find(key) = {key, static_cast<int32_t>(entry), bin_};
  }
}

void BinPoints::list(RoiPoints& roi, int64_t first, int64_t end, TapValues values, bool has_tangent) {
  const bool with_slopes = values == TapValues::all_slopes, splits_corners = roi.splits_corners();
  first_bin = first;
  point_begin.assign(1, 0);
  tap_begin.assign(1, 0);
  has_zero.clear();
  for (auto* values : {&weight, &slope_y, &slope_x}) values->clear();
  for (auto* pixels : {&y, &x}) pixels->clear();
  for (auto* points : {&own_y, &own_x}) points->clear();
  for (int64_t bin = first; bin < end && (bin == first || entries() < most_entries); ++bin) {
    const BinWeights weights(roi, bin, values, has_tangent);
    const auto end_point = [&](const PointAxis& along_y, const PointAxis& along_x) {
      tap_begin.push_back(static_cast<int32_t>(entries()));
      if (!with_slopes) return;
      own_y.push_back(along_y.own);
      own_x.push_back(along_x.own);
    };
    bool has_fewer_corners = false;
    const bool others = roi.visit(bin, [&](const PointAxis& along_y, const PointAxis& along_x) {
      each_pixel(along_y, along_x,
                 [&](int64_t row, int64_t column, double weight_y, double weight_x, double steep_y, double steep_x) {
                   const double total = weights.of(along_y.own, along_x.own, weight_y, weight_x, steep_y, steep_x);
                   if (with_slopes || total != 0.0) {
                     y.push_back(static_cast<int32_t>(row));
                     x.push_back(static_cast<int32_t>(column));
                     weight.push_back(total);
                   }
                   if (with_slopes) {
                     slope_y.push_back(along_y.own.moves ? steep_y * weight_x : 0.0);
                     slope_x.push_back(along_x.own.moves ? weight_y * steep_x : 0.0);
                   }
                   if (splits_corners) end_point(along_y, along_x);
                 });
      if (!splits_corners) end_point(along_y, along_x);
      has_fewer_corners |= along_y.pixels.slope == 0.0 || along_x.pixels.slope == 0.0;
    });
    has_zero.push_back(others || (splits_corners && has_fewer_corners));
    point_begin.push_back(static_cast<int32_t>(tap_begin.size()) - 1);
  }
}

}  // namespace roialign
