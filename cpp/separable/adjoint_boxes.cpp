#include <array>

#include "separable/panel.h"

namespace roialign {
namespace {

/// The gradient of a RoI is a sum over its taps: the dot product of the gradient's pixel and the map's pixel, times the
/// derivative of the tap. One dot product is used for the derivatives in all coordinates.
template <class A>
class AdjointBoxes {
 public:
  AdjointBoxes(const SeparableCall& call, const View& grad_output, std::span<const View> maps)
      : call_(call),
        grad_output_(grad_output),
        maps_(maps),
        workspaces_(make_workspaces<A>(call)),
        in_place_(has_adjacent_channels(grad_output, call.scalar_type) &&
                  have_adjacent_channels(maps, call.scalar_type)),
        blocks_(grad_output.size[1], in_place_ ? in_place_channels : panel_channels),
        sums_(call.rois * blocks_.count) {}

  void run(double* grad_boxes) {
    const auto groups = group_by_place(call_, maps_, in_place_ ? 0 : panel_pixels, blocks_.count);
    parallel_for(call_.team, static_cast<int64_t>(groups.size()) * blocks_.count, [&](int64_t item, int worker) {
      const RoiGroup& group = groups[item / blocks_.count];
      if (group.image >= 0) sum_dots(workspaces_[worker], group, item % blocks_.count);
    });
    for (int64_t row = 0; row < call_.rois; ++row) to_box(row, grad_boxes + 4 * row);
  }

 private:
  static constexpr int most_pairs = 8;  // four coordinates, and at most one tangent on each axis
  using Sums = std::array<double, 4>;   // in (start, length) of y, then of x

  void sum_dots(Workspace<A>& work, const RoiGroup& group, int64_t block) {
    const View& map = maps_[group.level];
    work.taps_memory.clear();
    work.taps.clear();
    for (const int64_t row : group.rows) {
      const auto along = [&](int axis) {
        const RoiAxis roi(call_, map, row, axis, grad_output_.size[2 + axis]);
        const int order = static_cast<int>(call_.tangents.size()) + 1;
        const Taps taps = work.builder.build(roi.sampling(), order, work.taps_memory);
        apply_tangents_and_keep_derivatives(roi.tangents(), taps);
        return taps;
      };
      work.taps.push_back({along(0), along(1)});
    }
    const int64_t channel = blocks_.first(block), channels = blocks_.length(block);
    const int64_t bins = in_place_ ? 0 : grad_output_.size[2] * grad_output_.size[3];
    Panel<A> panel(work, work.taps, map, in_place_, group, channels, bins, Values::accumulators);
    panel.begin(channel, channels);
    const Operand tiles = work.tile(work.gradient_tile, panel.tiles(), bins, channels, Values::accumulators);
    std::vector<Dots> of_tile(panel.tiles());
    int64_t begun = 0;
    for (const RoiPiece& piece : panel.pieces()) {
      const std::byte* const source = panel.pixels_of(piece);
      const int64_t row = group.rows[piece.index];
      Dots& dots = of_tile[piece.tile];
      if (piece.first_bin == 0) {
        if (begun++ == 0) work.plans_memory.clear();
        if (in_place_) {
          dots.gradient = work.in_place(grad_output_, row, channel);
        } else {
          dots.gradient = {tiles.base + piece.tile * tiles.lattice.row_step,
                           dense_lattice(work.kernels, grad_output_.size[3], channels, Values::accumulators)};
          work.gather_into(dots.gradient, grad_output_, row, channel, channels);
        }
        dots.plan = plan_dots(work.plans_memory, work.taps[piece.index], panel.lattice(piece.index, channels),
                              dots.gradient.lattice);
      }
      DotPlan<A> plan = dots.plan;
      plan.y = plan.y.rows_between(piece.first_bin, piece.end_bin);
      work.kernels.dots[index(dots.gradient.lattice.values)](plan, source, dots.gradient.base, channels,
                                                             sums_[row * blocks_.count + block].data());
      if (piece.is_last) --begun;
    }
  }

  /// The dot products of a RoI, and the gradient, one of the two factors.
  struct Dots {
    DotPlan<A> plan;
    Operand gradient;
  };

  DotPlan<A> plan_dots(Arena& arena, const RoiTaps& taps, const Lattice& from, const Lattice& to) const {
    const bool compact = from.is_compact;
    const auto y = plan_taps<A>(arena, taps.y, 0, from.row_step, compact, to.row_step, false, from.ring_rows);
    const auto x = plan_taps<A>(arena, taps.x, 0, from.column_step, compact, to.column_step, false);
    const std::span<const double*> y_weight = arena.take<const double*>(most_pairs);
    const std::span<const double*> x_weight = arena.take<const double*>(most_pairs);
    const std::span<int> result = arena.take<int>(most_pairs);
    const int pairs = pair_weights(taps.y, taps.x, y_weight, x_weight, result);
    return {y, x, pairs, y_weight.data(), x_weight.data(), result.data()};
  }

  /// The products of weights along y and x that give the derivative in every coordinate, by the product rule.
  int pair_weights(const Taps& y, const Taps& x, std::span<const double*> y_weight, std::span<const double*> x_weight,
                   std::span<int> result) const {
    const int subsets = 1 << call_.tangents.size();
    int pairs = 0;
    for (int coordinate = 0; coordinate < 4; ++coordinate) {
      const int along_y = coordinate < 2 ? coordinate + 1 : 0, along_x = coordinate < 2 ? 0 : coordinate - 1;
      for (int subset = 0; subset < subsets; ++subset) {
        y_weight[pairs] = y.value[3 * subset + along_y].data();
        x_weight[pairs] = x.value[3 * (subsets - 1 - subset) + along_x].data();
        result[pairs++] = coordinate;
      }
    }
    return pairs;
  }

  /// Converts derivatives in (start, length) of both axes to derivatives in (x1, y1, x2, y2).
  void to_box(int64_t row, double* gradient) {
    std::fill_n(gradient, 4, 0.0);
    if (image_of(call_, row) < 0) return;
    Sums total{};
    for (int64_t block = 0; block < blocks_.count; ++block) {
      for (int i = 0; i < 4; ++i) total[i] += sums_[row * blocks_.count + block][i];
    }
    for (int axis = 0; axis < 2; ++axis) {
      const RoiAxis roi(call_, maps_[call_.levels[row]], row, axis, 1);
      const AxisTangent lower = roi.tangent(1.0, 0.0), upper = roi.tangent(0.0, 1.0);
      const double start = total[2 * axis], length = total[2 * axis + 1];
      gradient[roi.lower_column()] = start * lower.start + length * lower.length;
      gradient[roi.lower_column() + 2] = start * upper.start + length * upper.length;
    }
  }

  static constexpr int64_t in_place_channels = 256;
  static constexpr int64_t panel_channels = 64;
  static constexpr int64_t panel_pixels = 32768;

  const SeparableCall& call_;
  const View& grad_output_;
  std::span<const View> maps_;
  std::vector<Workspace<A>> workspaces_;
  bool in_place_;
  ChannelBlocks blocks_;
  std::vector<Sums> sums_;
};

}  // namespace

void adjoint_boxes(const SeparableCall& call, const View& grad_output, std::span<const View> features,
                   double* grad_boxes) {
  with_accumulator(call.scalar_type, [&]<class A>() { AdjointBoxes<A>(call, grad_output, features).run(grad_boxes); });
}

}  // namespace roialign
