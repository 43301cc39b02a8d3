#include "pointwise/points.h"

#include <algorithm>

namespace roialign {
namespace {

Frame map_frame(const PointwiseSpec& spec, const double* box, const AxisMapping& mapping) {
  switch (spec.mapping) {
    case Mapping::rotated:
      return map_rotated_boxes(box, mapping, spec.clockwise);
    case Mapping::rounded:
      return {map_boxes_rounded(box[1], box[3], mapping.scale, spec.extra_pixels),
              map_boxes_rounded(box[0], box[2], mapping.scale, spec.extra_pixels)};
    case Mapping::box:
    case Mapping::inclusive:
      break;
  }
  const double beyond = spec.mapping == Mapping::inclusive ? 1.0 : 0.0;
  return {map_boxes(box[1], box[3] + beyond, mapping), map_boxes(box[0], box[2] + beyond, mapping)};
}

Rule rule_of_strata(PointRule rule) {
  switch (rule) {
    case PointRule::random:
      return Rule::random;
    case PointRule::grid:
    case PointRule::lattice:  // these two have functions of their own
    case PointRule::pixels:
      break;
  }
  return Rule::grid;
}

}  // namespace

std::vector<RoiPlace> places_of(const PointwiseCall& call, std::span<const View> maps, int64_t bins_y, int64_t bins_x) {
  std::vector<RoiPlace> places(call.rois);
  for (int64_t row = 0; row < call.rois; ++row) {
    RoiPlace& place = places[row];
    place = {call.levels[row], call.images[row], row, PixelRange::none(), PixelRange::none(), 0.0, 0.0};
    if (place.image < 0) continue;
    const PixelBox box = RoiPoints(call, maps[place.level], row, bins_y, bins_x).pixels();
    if (box.is_empty()) continue;
    place.y = box.y;
    place.x = box.x;
    place.middle_y = 0.5 * static_cast<double>(box.y.first + box.y.last);
    place.start_x = static_cast<double>(box.x.first);
  }
  return places;
}

RoiPoints::RoiPoints(const PointwiseCall& call, const View& map, int64_t row, int64_t bins_y, int64_t bins_x)
    : call_(call),
      row_(row),
      size_{map.size[2], map.size[3]},
      bins_{bins_y, bins_x},
      box_(call.geometry.boxes + row * call.columns),
      mapping_{call.scales[call.levels[row]], call.spec.offset, call.spec.minimum_length},
      frame_(map_frame(call.spec, box_, mapping_)) {}

std::array<int64_t, 2> RoiPoints::list_axes(int64_t bin) {
  const std::array<int64_t, 2> index{bin / bins_[1], bin % bins_[1]};
  for (int axis = 0; axis < 2; ++axis) {
    AxisPoints& points = axis_[axis];
    if (call_.geometry.offset != nullptr) {
      points.clear();
      add_bin(points, axis, index[axis], shift(call_.geometry.offset, bin, axis));
    } else if (points.begin.empty()) {
      points.clear();
      points.points.reserve(2 * bins_[axis]);  // the usual number, so that the list seldom grows
      points.begin.reserve(bins_[axis] + 1);
      for (int64_t other = 0; other < bins_[axis]; ++other) add_bin(points, axis, other, 0.0);
    }
  }
  return call_.geometry.offset == nullptr ? index : std::array<int64_t, 2>{0, 0};
}

RoiPoints::AxesOfBin RoiPoints::axes_of(int64_t bin) {
  const auto [y, x] = list_axes(bin);
  return {axis_[0].of(y), axis_[1].of(x), axis_[0].has_others[y] || axis_[1].has_others[x]};
}

RoiPoints::TapsOfBin RoiPoints::taps_of(int64_t bin) {
  const auto [y, x] = list_axes(bin);
  return {axis_[0].taps_of(y), axis_[1].taps_of(x)};
}

/// Merges the pixels of all points of each bin.
void RoiPoints::AxisPoints::merge() {
  taps.clear();
  taps.reserve(2 * points.size());
  tap_begin.reserve(begin.size());
  tap_begin.assign(1, 0);
  for (size_t bin = 0; bin + 1 < begin.size(); ++bin) {
    // Points are ascending, so an existing entry of a pixel is one of the last two of the bin.
    const auto add = [&](int64_t pixel, double weight) {
      for (size_t back = 1; back <= 2 && back <= taps.size() - tap_begin.back(); ++back) {
        AxisTap& tap = taps[taps.size() - back];
        if (tap.pixel != pixel) continue;
        tap.weight += weight;
        return;
      }
      taps.push_back({pixel, weight});
    };
    for (const auto& [own, pixels] : of(static_cast<int64_t>(bin))) {
      add(pixels.below, own.share * pixels.weight_below);
      if (pixels.slope != 0.0) add(pixels.above, own.share * pixels.weight_above);
    }
    tap_begin.push_back(taps.size());
  }
}

double RoiPoints::points() const {
  double count = static_cast<double>(bins());
  for (int axis = 0; axis < 2; ++axis) {
    const double length = std::abs(bin_grid(along(axis).start, along(axis).length, bins_[axis], 0).length);
    const bool has_samples = call_.spec.rule == PointRule::grid || call_.spec.rule == PointRule::random;
    count *= has_samples ? sample_count(length, call_.spec.sampling_ratio[axis]) : length + 2.0;
  }
  return count;
}

void RoiPoints::add_bin(AxisPoints& part, int axis, int64_t index, double shift) const {
  const PointwiseSpec& spec = call_.spec;
  const MappedAxis cut = shift_axis(along(axis), shift);
  if (takes_whole_pixels()) {
    const PixelSpan span = whole_pixels(axis, index);
    const double share = aggregate_mean(static_cast<double>(span.end - span.first));
    for (int64_t pixel = span.first; pixel < span.end; ++pixel) {
      part.points.push_back(
          {{static_cast<double>(pixel), pixel, 0.0, share, false}, {pixel, pixel, 1.0, 0.0, 0.0, true}});
    }
    part.begin.push_back(part.points.size());
    part.has_others.push_back(false);
    return;
  }
  double seen = 0.0;
  const auto add = [&](SamplePoint point) {
    point.position += shift;
    const Neighbours pixels = bilinear(point.x, point.cell, size_[axis], Border::replicate);
    seen += 1.0;
    if (pixels.inside) part.points.push_back({point, pixels});
  };
  double count = 0.0;
  if (spec.rule == PointRule::lattice) {
    lattice(size_[axis], cut, bins_[axis], index, add);
    count = seen;
  } else {
    const Rule rule = rule_of_strata(spec.rule);
    const int64_t ratio = spec.sampling_ratio[axis];
    sample_points({rule, size_[axis], cut, bins_[axis], ratio, {spec.seed, axis, row_}}, index, add);
    count = sample_count(bin_grid(cut.start, cut.length, bins_[axis], index).length, ratio);
  }
  part.has_others.push_back(static_cast<double>(part.points.size() - part.begin.back()) < count);
  part.begin.push_back(part.points.size());
}

PixelBox RoiPoints::pixels_around(double low_y, double high_y, double low_x, double high_x) const {
  double low[2] = {std::min(low_y, high_y), std::min(low_x, high_x)};
  double high[2] = {std::max(low_y, high_y), std::max(low_x, high_x)};
  const bool is_turned = call_.spec.mapping == Mapping::rotated;
  if (is_turned) low[0] = low[1] = INFINITY, high[0] = high[1] = -INFINITY;
  for (int corner = 0; corner < 4 && is_turned; ++corner) {
    const Frame::Place place = frame_.place(corner & 1 ? high_y : low_y, corner & 2 ? high_x : low_x);
    low[0] = std::min(low[0], place.y);
    high[0] = std::max(high[0], place.y);
    low[1] = std::min(low[1], place.x);
    high[1] = std::max(high[1], place.x);
  }
  // The larger a coordinate is, the farther rounding may move a point beyond its bin.
  const double reach = std::max({std::abs(low_y), std::abs(high_y), std::abs(low_x), std::abs(high_x),
                                 std::abs(frame_.centre_y), std::abs(frame_.centre_x)});
  const double margin = 0x1p-20 + 0x1p-48 * reach;
  PixelRange range[2];
  for (int axis = 0; axis < 2; ++axis) {
    const auto last = static_cast<double>(size_[axis] - 1);
    if (high[axis] + margin < -1.0 || low[axis] - margin > last + 1.0) {
      range[axis] = PixelRange::none();
      continue;
    }
    range[axis] = {static_cast<int64_t>(std::clamp(std::floor(low[axis] - margin), 0.0, last)),
                   static_cast<int64_t>(std::clamp(std::floor(high[axis] + margin) + 1.0, 0.0, last))};
  }
  return {range[0], range[1]};
}

/// The pixels of the integer bins `first` to `end` of an axis.
PixelRange RoiPoints::whole_pixels_between(int axis, int64_t first, int64_t end) const {
  PixelRange range = PixelRange::none();
  for (int64_t index = first; index < end; ++index) {
    const PixelSpan span = whole_pixels(axis, index);
    if (span.first < span.end) range = range.joined({span.first, span.end - 1});
  }
  return range;
}

PixelBox RoiPoints::pixels_of(int64_t bin) const {
  const int64_t index[2] = {bin / bins_[1], bin % bins_[1]};
  if (takes_whole_pixels()) {
    return {whole_pixels_between(0, index[0], index[0] + 1), whole_pixels_between(1, index[1], index[1] + 1)};
  }
  Bin cut[2];
  for (int axis = 0; axis < 2; ++axis) {
    const MappedAxis shifted = shift_axis(along(axis), shift(call_.geometry.offset, bin, axis));
    cut[axis] = bin_grid(shifted.start, shifted.length, bins_[axis], index[axis]);
  }
  return pixels_around(cut[0].start, cut[0].start + cut[0].length, cut[1].start, cut[1].start + cut[1].length);
}

PixelBox RoiPoints::pixels_of(int64_t first_bin, int64_t end_bin) const {
  PixelBox box = PixelBox::none();
  for (int64_t bin = first_bin; bin < end_bin; ++bin) {
    const PixelBox part = pixels_of(bin);
    if (!part.is_empty()) box = box.joined(part);
  }
  return box;
}

PixelBox RoiPoints::pixels() const {
  if (takes_whole_pixels()) return {whole_pixels_between(0, 0, bins_[0]), whole_pixels_between(1, 0, bins_[1])};
  if (call_.geometry.offset == nullptr) {
    const MappedAxis &y = frame_.y, &x = frame_.x;
    return pixels_around(y.start, y.start + y.length, x.start, x.start + x.length);
  }
  return pixels_of(0, bins());
}

Frame RoiPoints::frame_tangent(const double* tangent) const {
  if (call_.spec.mapping == Mapping::rotated) {
    return map_rotated_boxes_tangent(box_, tangent, mapping_, call_.spec.clockwise);
  }
  const auto axis = [&](int low) {
    const AxisTangent along = map_boxes_tangent(box_[low], box_[low + 2], tangent[low], tangent[low + 2], mapping_);
    return MappedAxis{along.start, along.length};
  };
  return {axis(1), axis(0), 0.0};
}

/// The derivative of the point (y.start + position_y * y.length, ..) of the frame. It is linear in the positions.
Velocity RoiPoints::velocity_of(const Frame& tangent) const {
  Frame turning = frame_;
  turning.centre_y = turning.centre_x = 0.0;
  Frame turned = tangent;
  turned.centre_y = turned.centre_x = 0.0;
  const auto at = [&](double own_y, double own_x, double moved_y, double moved_x) {
    const Frame::Place carried = turning.place(moved_y, moved_x), rotated = turned.place(own_y, own_x);
    return Frame::Place{carried.y + rotated.y, carried.x + rotated.x};
  };
  const Frame::Place start = at(frame_.y.start, frame_.x.start, tangent.y.start, tangent.x.start);
  const Frame::Place per_y = at(frame_.y.length, 0.0, tangent.y.length, 0.0);
  const Frame::Place per_x = at(0.0, frame_.x.length, 0.0, tangent.x.length);
  return {{start.y + tangent.centre_y, per_y.y, per_x.y}, {start.x + tangent.centre_x, per_y.x, per_x.x}};
}

Velocity RoiPoints::velocity(int64_t bin) const {
  Velocity velocity = velocity_of(frame_tangent(call_.tangent->boxes + row_ * call_.columns));
  velocity.y[0] += shift(call_.tangent->offset, bin, 0) * frame_.y.length;
  velocity.x[0] += shift(call_.tangent->offset, bin, 1) * frame_.x.length;
  return velocity;
}

Velocity RoiPoints::velocity_along(int64_t column) const {
  double unit[5] = {};
  unit[column] = 1.0;
  return velocity_of(frame_tangent(unit));
}

/// The range of one of the RoI's own axes that the map and a margin of one pixel cover.
RoiPoints::OwnInterval RoiPoints::map_along(int own_axis) const {
  OwnInterval part{INFINITY, -INFINITY};
  for (int corner = 0; corner < 4; ++corner) {
    const double y = (corner & 1 ? static_cast<double>(size_[0]) : -1.0) - frame_.centre_y;
    const double x = (corner & 2 ? static_cast<double>(size_[1]) : -1.0) - frame_.centre_x;
    const double own = own_axis == 0 ? y * frame_.cosine + x * frame_.sine : x * frame_.cosine - y * frame_.sine;
    part = {std::min(part.low, own), std::max(part.high, own)};
  }
  return part;
}

/// The range of the RoI's own x axis in which a row of points, and the adjacent rows, may lie on the map:
/// -1 <= y = own_y * cosine - own_x * sine + centre_y <= height. This and the same for x bound own_x.
RoiPoints::OwnInterval RoiPoints::part_of_row_on_map(const OwnInterval& columns, const Bin& rows, double count,
                                                     int64_t sample) const {
  OwnInterval part = columns;
  const double step = rows.length / count;
  const double divisor[2] = {-frame_.sine, frame_.cosine}, factor[2] = {frame_.cosine, frame_.sine};
  const double centre[2] = {frame_.centre_y, frame_.centre_x};
  for (int axis = 0; axis < 2; ++axis) {
    if (divisor[axis] == 0.0) continue;
    double low = INFINITY, high = -INFINITY;
    for (int end = 0; end < 4; ++end) {
      const double edge = end & 1 ? static_cast<double>(size_[axis]) : -1.0;
      const double row = rows.start + (static_cast<double>(sample) + (end & 2 ? 2.0 : -1.0)) * step;
      const double own = (edge - centre[axis] - row * factor[axis]) / divisor[axis];
      low = std::min(low, own);
      high = std::max(high, own);
    }
    part = {std::max(part.low, low), std::min(part.high, high)};
  }
  return {part.low, std::max(part.low, part.high)};
}

}  // namespace roialign
