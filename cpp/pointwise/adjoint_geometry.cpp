#include "pointwise/workspace.h"

namespace roialign {
namespace {

/// One number per TapKind: the weight, and the derivatives in y and x times (1, position along y, position along x).
using Sums = std::array<double, tap_kinds>;

/// The gradient of a bin is a sum over its entries: the dot product of the gradient's pixel and the map's pixel, times
/// the derivative of the entry's weight. One dot product is used for all numbers that describe the RoI.
template <class A>
class PointwiseAdjointGeometry {
 public:
  PointwiseAdjointGeometry(const PointwiseCall& call, const View& grad_output, std::span<const View> maps,
                           std::span<const View> deciding)
      : call_(call),
        grad_output_(grad_output),
        maps_(maps),
        deciding_(other_deciding(deciding, maps)),
        bins_(grad_output.size[2] * grad_output.size[3]),
        by_position_(call.spec.channels == Channels::position),
        turns_channels_(call.spec.channels == Channels::orientation),
        finds_maximum_(takes_maximum(call.spec)),
        in_place_(are_in_place()),
        blocks_(grad_output.size[1], in_place_ ? in_place_channels : panel_channels, channel_unit(call)),
        sums_kept_(call.geometry.offset != nullptr || call.geometry.mask != nullptr ? bins_ : 1),
        sums_(call.rois * blocks_.count * sums_kept_),
        turning_(call.rois * blocks_.count),
        workspaces_(make_workspaces<PointWorkspace<A>, A>(call.scalar_type, call.team)) {}

  void run(const GeometryGradient& gradient) {
    const auto places = places_of(call_, maps_, grad_output_.size[2], grad_output_.size[3]);
    const auto groups = group_by_place(places, maps_, in_place_ || by_position_ ? 0 : panel_pixels, 0);
    parallel_for(call_.team, static_cast<int64_t>(groups.size()) * blocks_.count, [&](int64_t item, int worker) {
      const RoiGroup& group = groups[item / blocks_.count];
      if (group.image >= 0 && group.y.length() > 0) sum_group(workspaces_[worker], group, item % blocks_.count);
    });
    for (int64_t row = 0; row < call_.rois; ++row) to_geometry(row, gradient);
  }

 private:
  bool are_in_place() const {
    const ScalarType type = call_.scalar_type;
    // The gradient of a maximum is read as single values, as accumulators.
    const Values values = finds_maximum_ ? Values::accumulators : Values::scalars;
    return !by_position_ && !turns_channels_ && are_in_memory<A>(values, type) &&
           has_adjacent_channels(grad_output_, type) && have_adjacent_channels(maps_, type);
  }

  struct Block {
    int64_t row, image, channel, channels;
    Sums* sums;  // for every bin, or for all bins together
    double* turning;
  };

  void sum_group(PointWorkspace<A>& work, const RoiGroup& group, int64_t number) {
    const View& map = maps_[group.level];
    const int64_t channel = blocks_.first(number), channels = blocks_.length(number);
    work.taps.resize(std::max<size_t>(work.taps.size(), 1));
    work.points.resize(std::max<size_t>(work.points.size(), 1));
    PixelSource source, deciding;
    std::vector<RoiPoints> rois;
    for (const int64_t row : group.rows) rois.emplace_back(call_, map, row, grad_output_.size[2], grad_output_.size[3]);
    const bool are_few = are_few_entries(entries_of(rois), rectangle_size(group));
    if (!by_position_)
      source = work.read(map, in_place_, are_few, group, channel, channels, work.source_tile, Values::accumulators);
    if (finds_maximum_)
      deciding = work.read_deciding(deciding_, call_.scalar_type, are_few, group, channel, channels, source);
    for (RoiPoints& roi : rois) {
      const int64_t row = roi.row();
      const int64_t place = row * blocks_.count + number;
      const Block block{row, group.image, channel, channels, sums_.data() + place * sums_kept_, &turning_[place]};
      const Operand gradient =
          in_place_ ? work.in_place(grad_output_, row, channel)
                    : work.gather(grad_output_, row, channel, channels, work.gradient_tile, Values::accumulators);
      if (finds_maximum_) {
        sum_winners(work, roi, block, source, deciding, gradient);
      } else {
        sum_means(work, roi, block, map, source, gradient);
      }
    }
  }

  void sum_means(PointWorkspace<A>& work, RoiPoints& roi, const Block& block, const View& map, PixelSource source,
                 Operand gradient) {
    if (turns_channels_) {
      sum_turning(work, roi, block, source);
      gradient = mixed(work, block, 0);
    }
    BinTaps& taps = work.taps[0];
    for (int64_t first = 0; first < bins_; first = taps.first_bin + taps.bins()) {
      const int64_t end = by_position_ ? first + 1 : bins_;
      work.merger.merge(roi, first, end, TapValues::all_slopes, false, PixelBox::everywhere(), taps);
      const View own = by_position_ ? channels_of_bin(map, first, bins_) : map;
      if (by_position_) {
        const PixelBox pixels = roi.pixels_of(first);
        const bool are_few = are_few_entries(static_cast<double>(taps.entries()), static_cast<double>(pixels.pixels()));
        source = work.read(own, false, are_few, {0, block.image, pixels.y, pixels.x, 0, {}}, block.channel,
                           block.channels, work.source_tile, Values::accumulators);
      }
      sum_dots(work, taps, source, gradient, tap_kinds, block);
    }
  }

  /// Adds the dot products of the bins in `taps`, times the first `kinds` of their values.
  void sum_dots(PointWorkspace<A>& work, const BinTaps& taps, const PixelSource& from, const Operand& gradient,
                int kinds, const Block& block) {
    const Operand source = work.operand_for(from, taps.y, taps.x);
    static constexpr double one[1] = {1.0};
    static constexpr int results[tap_kinds] = {0, 1, 2, 3, 4, 5, 6};
    const double *weight_y[tap_kinds], *weight_x[tap_kinds];
    for (int kind = 0; kind < kinds; ++kind) {
      weight_y[kind] = one;
      weight_x[kind] = taps.value[kind].data();
    }
    work.pass.set(taps.y, taps.x, taps.value[weight_], source.lattice, taps.first_bin, taps.bins(),
                  [&](int64_t bin) { return place_of(gradient.lattice, bin); });
    const auto kernel = work.kernels.dots[index(gradient.lattice.values)];
    const AxisPlan<A> plan = work.pass.plan(taps.begin);
    for (int64_t b = 0; b < taps.bins(); ++b) {
      double* sums = block.sums[sums_kept_ > 1 ? taps.first_bin + b : 0].data();
      kernel({single_row<A>(), plan.row(b), kinds, weight_y, weight_x, results}, source.base, gradient.base,
             block.channels, sums);
    }
  }

  /// The derivative from the rotation of the channels of a rotation-invariant RoI with its angle.
  void sum_turning(PointWorkspace<A>& work, RoiPoints& roi, const Block& block, const PixelSource& source) {
    const Operand gradient = mixed(work, block, 1);
    BinTaps& taps = work.taps[0];
    Sums total{};
    Block all = block;
    for (int64_t first = 0; first < bins_; first = taps.first_bin + taps.bins()) {
      work.merger.merge(roi, first, bins_, TapValues::still, false, PixelBox::everywhere(), taps);
      std::vector<Sums> sums(sums_kept_);
      all.sums = sums.data();
      sum_dots(work, taps, source, gradient, 1, all);
      for (const Sums& part : sums) total[weight_] += part[weight_];
    }
    *block.turning = total[weight_];
  }

  Operand mixed(PointWorkspace<A>& work, const Block& block, int derivative) const {
    const Operand target =
        work.tile(work.mixed_tile, grad_output_.size[2], grad_output_.size[3], block.channels, Values::accumulators);
    std::fill(work.mixed_tile.begin(), work.mixed_tile.end(), A(0));
    Orientation(call_, block.row)
        .mix(work.gradient_tile, work.mixed_tile, bins_, block.channels, derivative, true, 1.0);
    return target;
  }

  /// Adds the gradient of every channel times the derivatives of its winner.
  void sum_winners(PointWorkspace<A>& work, RoiPoints& roi, const Block& block, const PixelSource& from,
                   const PixelSource& deciding, const Operand& gradient) {
    BinPoints& points = work.points[0];
    std::vector<double> dots;
    for (int64_t first = 0; first < bins_; first = points.first_bin + points.bins()) {
      points.list(roi, first, bins_, TapValues::still, false);
      const int32_t* winner = work.winners(points, deciding, call_.scalar_type, block.channels);
      points.list(roi, first, first + points.bins(), TapValues::all_slopes, false);
      const Operand source = work.operand_for(from, points.y, points.x);
      work.pass.set(points.y, points.x, points.weight, source.lattice, first, points.bins(),
                    [&](int64_t bin) { return place_of(gradient.lattice, bin); });
      dots.resize(points.entries());
      point_kernels<A>(call_.scalar_type)
          .winner_dots(plan_of(points, work.pass), source.base, gradient.base, winner, block.channels, dots.data());
      for (int64_t b = 0; b < points.bins(); ++b) {
        Sums& sums = block.sums[sums_kept_ > 1 ? first + b : 0];
        for (int32_t point = points.point_begin[b]; point < points.point_begin[b + 1]; ++point) {
          double slope_y = 0.0, slope_x = 0.0;
          for (int32_t t = points.tap_begin[point]; t < points.tap_begin[point + 1]; ++t) {
            slope_y += points.slope_y[t] * dots[t];
            slope_x += points.slope_x[t] * dots[t];
          }
          const double positions[3] = {1.0, points.own_y[point].position, points.own_x[point].position};
          for (int i = 0; i < 3; ++i) {
            sums[slope_y_ + i] += slope_y * positions[i];
            sums[slope_x_ + i] += slope_x * positions[i];
          }
        }
      }
    }
  }

  int64_t place_of(const Lattice& lattice, int64_t bin) const { return lattice.place_of(bin, grad_output_.size[3]); }

  /// Converts sums over entries to the gradient of the numbers that describe the RoI and its bins.
  void to_geometry(int64_t row, const GeometryGradient& gradient) const {
    double* boxes = gradient.boxes + row * call_.columns;
    std::fill_n(boxes, call_.columns, 0.0);
    const bool exists = call_.images[row] >= 0;
    const RoiPoints roi(call_, maps_[call_.levels[row]], row, grad_output_.size[2], grad_output_.size[3]);
    std::array<double, tap_kinds> total{};
    for (int64_t bin = 0; bin < sums_kept_; ++bin) {
      Sums sums{};
      for (int64_t block = 0; block < blocks_.count; ++block) {
        const Sums& part = sums_[(row * blocks_.count + block) * sums_kept_ + bin];
        for (int kind = 0; kind < tap_kinds; ++kind) sums[kind] += part[kind];
      }
      const double mask = exists && call_.geometry.mask != nullptr ? roi.mask(bin) : 1.0;
      for (int kind = 0; kind < tap_kinds; ++kind) total[kind] += mask * sums[kind];
      if (gradient.mask != nullptr) gradient.mask[row * bins_ + bin] = sums[weight_];
      for (int i = 0; gradient.offset != nullptr && i < 2; ++i) {
        const double slope = mask * sums[i == 0 ? slope_x_ : slope_y_];
        gradient.offset[(2 * row + i) * bins_ + bin] = exists ? slope * roi.offset_factor(i) : 0.0;
      }
    }
    if (!exists) return;
    for (int64_t column = 0; column < call_.columns; ++column) {
      const Velocity velocity = roi.velocity_along(column);
      for (int i = 0; i < 3; ++i)
        boxes[column] += total[slope_y_ + i] * velocity.y[i] + total[slope_x_ + i] * velocity.x[i];
    }
    for (int64_t block = 0; turns_channels_ && block < blocks_.count; ++block) {
      boxes[4] += turning_[row * blocks_.count + block];
    }
  }

  static constexpr int64_t in_place_channels = 256;
  static constexpr int64_t panel_channels = 64;
  static constexpr int64_t panel_pixels = 4096;

  const PointwiseCall& call_;
  const View& grad_output_;
  std::span<const View> maps_, deciding_;
  int64_t bins_;
  bool by_position_, turns_channels_, finds_maximum_, in_place_;
  ChannelBlocks blocks_;
  int64_t sums_kept_;
  std::vector<Sums> sums_;
  std::vector<double> turning_;  // the part of the angle's gradient that comes from rotating channels
  std::vector<PointWorkspace<A>> workspaces_;
};

}  // namespace

void adjoint_geometry(const PointwiseCall& call, const View& grad_output, std::span<const View> features,
                      std::span<const View> deciding, const GeometryGradient& gradient) {
  with_accumulator(call.scalar_type, [&]<class A>() {
    PointwiseAdjointGeometry<A>(call, grad_output, features, deciding).run(gradient);
  });
}

}  // namespace roialign
