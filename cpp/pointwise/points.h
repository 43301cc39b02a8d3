// The points of the bins of one RoI, from the five steps of both axes.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "places.h"
#include "pointwise.h"
#include "steps/bilinear.h"
#include "steps/sample_points.h"

namespace roialign {

/// One coordinate of a point: its position on the RoI's own axis, and the pixels that it depends on along the map's
/// axis.
struct PointAxis {
  SamplePoint own;
  Neighbours pixels;
};

/// A pixel of an axis, and its weight in all points of a bin.
struct AxisTap {
  int64_t pixel;
  double weight;
};

/// The velocity of points: (dy, dx) of a point is this applied to (1, position along y, position along x).
struct Velocity {
  double y[3], x[3];

  double along_y(const SamplePoint& y_point, const SamplePoint& x_point) const {
    return y_point.moves ? y[0] + y[1] * y_point.position + y[2] * x_point.position : 0.0;
  }
  double along_x(const SamplePoint& y_point, const SamplePoint& x_point) const {
    return x_point.moves ? x[0] + x[1] * y_point.position + x[2] * x_point.position : 0.0;
  }
};

/// A rectangle of pixels.
struct PixelBox {
  PixelRange y, x;

  static PixelBox none() { return {PixelRange::none(), PixelRange::none()}; }
  static PixelBox everywhere() { return {{0, INT64_MAX - 1}, {0, INT64_MAX - 1}}; }
  bool is_empty() const { return y.length() == 0 || x.length() == 0; }
  int64_t pixels() const { return y.length() * x.length(); }
  PixelBox joined(const PixelBox& other) const { return {y.joined(other.y), x.joined(other.x)}; }
  bool meets(const PixelBox& other) const {
    return y.first <= other.y.last && other.y.first <= y.last && x.first <= other.x.last && other.x.first <= x.last;
  }
  bool contains(int64_t row, int64_t column) const {
    return y.first <= row && row <= y.last && x.first <= column && column <= x.last;
  }
  bool contains(const PixelBox& other) const {
    return y.first <= other.y.first && other.y.last <= y.last && x.first <= other.x.first && other.x.last <= x.last;
  }
};

/// One RoI, with its bins and their sampling.
class RoiPoints {
 public:
  RoiPoints(const PointwiseCall& call, const View& map, int64_t row, int64_t bins_y, int64_t bins_x);

  int64_t row() const { return row_; }
  int64_t bins() const { return bins_[0] * bins_[1]; }
  /// Whether each of the four pixels of a point, times its weight, is a separate sample.
  bool splits_corners() const { return call_.spec.reduction == Reduction::corner_max; }

  /// Whether the points of a bin are all pairs of a point along y and a point along x.
  bool samples_by_axis() const {
    return call_.spec.mapping != Mapping::rotated &&
           !(call_.spec.rule == PointRule::random && call_.spec.jitters_points);
  }
  /// These points: those on the map, and whether there are others. Valid until the next call.
  struct AxesOfBin {
    std::span<const PointAxis> y, x;
    bool has_others;
  };
  AxesOfBin axes_of(int64_t bin);
  /// The pixels that these points touch along each axis. The weight of a pixel in the bin is a product of two of them.
  struct TapsOfBin {
    std::span<const AxisTap> y, x;
  };
  TapsOfBin taps_of(int64_t bin);

  /// Calls visit(const PointAxis& y, const PointAxis& x) for the points of a bin that lie on the map, in row-major
  /// order on the RoI's own axes. Returns true if the bin also has points outside the map.
  template <class Visit>
  bool visit(int64_t bin, Visit&& visit);

  /// Whether the points of a bin are all pixels of a rectangle, and its part along an axis: of the bins with that
  /// index.
  bool takes_whole_pixels() const { return call_.spec.rule == PointRule::pixels; }
  PixelSpan whole_pixels(int axis, int64_t index) const {
    return integer_bin(along(axis).start, along(axis).length, bins_[axis], index, pixels_on(axis));
  }

  /// The pixels that the points of a bin, or of all bins, may touch, possibly with a few more.
  PixelBox pixels_of(int64_t bin) const;
  PixelBox pixels_of(int64_t first_bin, int64_t end_bin) const;
  PixelBox pixels() const;

  /// About how many points all bins have.
  double points() const;

  double mask(int64_t bin) const { return of_bin(call_.geometry.mask, bin, 1.0); }
  double mask_tangent(int64_t bin) const { return of_bin(call_.tangent->mask, bin, 0.0); }

  /// The velocity along the tangent of the call.
  Velocity velocity(int64_t bin) const;
  /// The velocity along one of the numbers that describe the box.
  Velocity velocity_along(int64_t column) const;
  /// The movement of a bin's points per unit of its offset (0: x, 1: y).
  double offset_factor(int coordinate) const {
    return call_.spec.gamma * (coordinate == 0 ? frame_.x : frame_.y).length;
  }

 private:
  /// The points of bins along one axis that lie on the map.
  struct AxisPoints {
    std::vector<PointAxis> points;
    std::vector<size_t> begin;
    std::vector<bool> has_others;
    std::vector<AxisTap> taps;
    std::vector<size_t> tap_begin;  // empty until the taps are wanted

    std::span<const PointAxis> of(int64_t index) const {
      return {points.data() + begin[index], points.data() + begin[index + 1]};
    }
    void clear() {
      points.clear();
      begin.assign(1, 0);
      has_others.clear();
      tap_begin.clear();
    }
    std::span<const AxisTap> taps_of(int64_t index) {
      if (tap_begin.empty()) merge();
      return {taps.data() + tap_begin[index], taps.data() + tap_begin[index + 1]};
    }
    void merge();
  };

  double of_bin(const double* values, int64_t bin, double otherwise) const {
    return values == nullptr ? otherwise : values[row_ * bins() + bin];
  }
  double shift(const double* offset, int64_t bin, int axis) const {
    return offset == nullptr ? 0.0 : call_.spec.gamma * offset[(2 * row_ + 1 - axis) * bins() + bin];
  }
  const MappedAxis& along(int axis) const { return axis == 0 ? frame_.y : frame_.x; }
  int64_t pixels_on(int axis) const { return size_[axis] - (takes_whole_pixels() ? call_.spec.unused_border : 0); }

  Velocity velocity_of(const Frame& tangent) const;
  Frame frame_tangent(const double* box_tangent) const;
  /// Lists the points of a bin along both axes, and returns its place in the lists.
  std::array<int64_t, 2> list_axes(int64_t bin);
  void add_bin(AxisPoints& part, int axis, int64_t index, double shift) const;
  PixelRange whole_pixels_between(int axis, int64_t first, int64_t end) const;
  PixelBox pixels_around(double low_y, double high_y, double low_x, double high_x) const;
  template <class Visit>
  bool visit_strata(int64_t bin, Visit&& visit) const;
  struct OwnInterval {
    double low, high;
  };
  OwnInterval map_along(int own_axis) const;
  OwnInterval part_of_row_on_map(const OwnInterval& columns, const Bin& rows, double count, int64_t sample) const;

  const PointwiseCall& call_;
  int64_t row_;
  int64_t size_[2], bins_[2];
  const double* box_;
  AxisMapping mapping_;
  Frame frame_;
  AxisPoints axis_[2];  // of every bin or, if bins have offsets, of the last bin visited
};

template <class Visit>
bool RoiPoints::visit(int64_t bin, Visit&& visit) {
  if (!samples_by_axis()) return visit_strata(bin, visit);
  const AxesOfBin axes = axes_of(bin);
  for (const PointAxis& y : axes.y) {
    for (const PointAxis& x : axes.x) visit(y, x);
  }
  return axes.has_others;
}

template <class Visit>
bool RoiPoints::visit_strata(int64_t bin, Visit&& visit) const {
  const int64_t index[2] = {bin / bins_[1], bin % bins_[1]};
  Bin grid[2];
  double count[2], share[2], shift[2];
  for (int axis = 0; axis < 2; ++axis) {
    shift[axis] = this->shift(call_.geometry.offset, bin, axis);
    const MappedAxis cut = shift_axis(along(axis), shift[axis]);
    grid[axis] = bin_grid(cut.start, cut.length, bins_[axis], index[axis]);
    count[axis] = sample_count(grid[axis].length, call_.spec.sampling_ratio[axis]);
    share[axis] = aggregate_mean(count[axis]);
  }
  const bool random = call_.spec.rule == PointRule::random;
  const auto point = [&](int axis, int64_t sample, double within) {
    SamplePoint own = stratum(grid[axis], bins_[axis], index[axis], count[axis], share[axis], sample, within);
    own.position += shift[axis];
    return own;
  };
  double visited = 0.0;
  const OwnInterval map_rows = map_along(0), map_columns = map_along(1);
  const CellRange rows = samples_touching(map_rows.low, map_rows.high, grid[0], count[0]);
  for (int64_t iy = rows.first; iy < rows.end; ++iy) {
    const OwnInterval part = part_of_row_on_map(map_columns, grid[0], count[0], iy);
    const CellRange columns = samples_touching(part.low, part.high, grid[1], count[1]);
    for (int64_t ix = columns.first; ix < columns.end; ++ix) {
      double within[2] = {0.5, 0.5};
      if (random) {
        const auto sample = static_cast<int64_t>(static_cast<uint64_t>(iy) * static_cast<uint64_t>(count[1]) +
                                                 static_cast<uint64_t>(ix));
        for (int axis = 0; axis < 2; ++axis) {
          within[axis] = Generator{call_.spec.seed, axis, row_}.uniform(sample, bin);
        }
      }
      PointAxis y{point(0, iy, within[0]), {}}, x{point(1, ix, within[1]), {}};
      const Frame::Place place = frame_.place(y.own.x, x.own.x);
      y.pixels = bilinear(place.y, cell_of(place.y), size_[0], Border::replicate);
      x.pixels = bilinear(place.x, cell_of(place.x), size_[1], Border::replicate);
      if (!y.pixels.inside || !x.pixels.inside) continue;
      visited += 1.0;
      visit(y, x);
    }
  }
  return visited < count[0] * count[1];
}

/// The place of every RoI. A RoI without an image, or outside its map, has no pixels.
std::vector<RoiPlace> places_of(const PointwiseCall& call, std::span<const View> maps, int64_t bins_y, int64_t bins_x);

}  // namespace roialign
