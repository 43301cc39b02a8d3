#include "pointwise/workspace.h"

namespace roialign {
namespace {

template <class A>
class PointwiseForward {
 public:
  PointwiseForward(const PointwiseCall& call, std::span<const View> maps, std::span<const View> deciding,
                   const View& out)
      : call_(call),
        maps_(maps),
        deciding_(other_deciding(deciding, maps)),
        out_(out),
        bins_(out.size[2] * out.size[3]),
        follows_(takes_maximum(call.spec) && (call.tangent != nullptr || !deciding_.empty())),
        workspaces_(make_workspaces<PointWorkspace<A>, A>(call.scalar_type, call.team)) {
    const ScalarType type = call.scalar_type;
    by_position_ = call.spec.channels == Channels::position;
    turns_channels_ = call.spec.channels == Channels::orientation;
    // Tiles of half types are faster to transpose, but not where pixels are read many times, for maxima.
    values_ = takes_maximum(call.spec) || turns_channels_ ? Values::accumulators : Values::scalars;
    takes_largest_pixels_ = takes_maximum(call.spec) && !follows_ && call.spec.rule == PointRule::pixels;
    one_by_one_ = takes_largest_pixels_ && out.size[1] > 1 && out.size[1] <= most_run_channels && have_rows(maps, type);
    maps_in_place_ = one_by_one_ || (!by_position_ && (!follows_ || are_in_memory<A>(values_, type)) &&
                                     have_adjacent_channels(maps, type));
    out_in_place_ = one_by_one_ || by_position_ || (!turns_channels_ && !follows_ && has_adjacent_channels(out, type));
  }

  void run() {
    const int64_t most_pixels = maps_in_place_ || by_position_ ? 0 : panel_pixels;
    const auto groups = group_by_place(places_of(call_, maps_, out_.size[2], out_.size[3]), maps_, most_pixels, 0);
    // If there are few groups, their channels are distributed over the threads too. Channels are independent, so the
    // results have the same bits.
    const bool few = static_cast<int64_t>(groups.size()) < 8 * call_.team.threads && call_.team.threads > 1;
    const ChannelBlocks shares(out_.size[1], few ? 64 : std::max<int64_t>(out_.size[1], 1), channel_unit(call_));
    parallel_for(call_.team, static_cast<int64_t>(groups.size()) * shares.count, [&](int64_t item, int worker) {
      const int64_t share = item % shares.count;
      pool(workspaces_[worker], groups[item / shares.count], shares.first(share), shares.length(share));
    });
  }

 private:
  void pool(PointWorkspace<A>& work, const RoiGroup& group, int64_t first_channel, int64_t channel_count) {
    if (group.image < 0 || group.y.length() == 0) {
      work.write_zeros(out_, group.rows, first_channel, channel_count);
      return;
    }
    const View& map = maps_[group.level];
    std::vector<RoiPoints> rois;
    for (const int64_t row : group.rows) rois.emplace_back(call_, map, row, out_.size[2], out_.size[3]);
    if (work.taps.size() < rois.size()) work.taps.resize(rois.size());
    if (work.points.size() < rois.size()) work.points.resize(rois.size());
    std::vector<bool> is_prepared(rois.size(), false);
    const double entries = entries_of(rois), rectangle = rectangle_size(group);
    const bool are_few = !takes_largest_pixels_ && are_few_entries(entries, rectangle);
    // The rectangle of a large RoI is not shared. Its planes are faster to read than to transpose.
    const bool one_by_one = one_by_one_ || (takes_largest_pixels_ && !maps_in_place_ && rectangle > panel_pixels &&
                                            have_rows({&map, 1}, call_.scalar_type));
    const bool in_place = maps_in_place_ || one_by_one, out_in_place = out_in_place_ || one_by_one;
    const auto blocks =
        one_by_one ? ChannelBlocks::one_by_one(channel_count)
                   : ChannelBlocks(channel_count, most_channels(are_few ? entries : rectangle), channel_unit(call_));
    for (int64_t b = 0; b < blocks.count; ++b) {
      const int64_t channel = first_channel + blocks.first(b), channels = blocks.length(b);
      PixelSource source;
      if (!by_position_)
        source = work.read(map, in_place, are_few, group, channel, channels, work.source_tile, values_);
      PixelSource deciding;
      if (follows_)
        deciding = work.read_deciding(deciding_, call_.scalar_type, are_few, group, channel, channels, source);
      for (size_t index = 0; index < rois.size(); ++index) {
        const int64_t row = group.rows[index];
        Operand target = out_in_place ? work.in_place(out_, row, channel)
                                      : work.tile(work.target_tile, out_.size[2], out_.size[3], channels, values_);
        const Block block{row, group.image, channel, channels};
        if (by_position_) {
          pool_by_position(work, rois[index], map, block);
        } else if (follows_) {
          follow(work, rois[index], work.points[index], block, source, deciding);
        } else if (takes_largest_pixels_) {
          take_largest_pixels(work, rois[index], source.part, target, channels);
        } else if (takes_maximum(call_.spec)) {
          is_prepared[index] =
              maximum(work, rois[index], work.points[index], is_prepared[index], source, target, channels);
        } else {
          is_prepared[index] = mean(work, rois[index], work.taps[index], is_prepared[index], TapValues::weight, source,
                                    target, channels);
        }
        if (turns_channels_) {
          target = turned(work, rois[index], work.taps[index], block, source, target);
          is_prepared[index] = is_prepared[index] && call_.tangent == nullptr;
        }
        if (!out_in_place) work.scatter(target, out_, row, channel, channels);
      }
    }
  }

  /// The channels of a block: as many as possible, because taps are prepared for every block, and long loops are
  /// faster. But the pixels that are copied should stay in the cache.
  int64_t most_channels(double pixels) const {
    if (maps_in_place_ || by_position_) return in_place_channels;
    const double bytes = std::max(pixels, 1.0) * static_cast<double>(workspaces_[0].kernels.bytes_of(values_));
    return std::max(least_panel_channels, static_cast<int64_t>(std::min(panel_bytes / bytes, most_panel_channels)));
  }

  struct Block {
    int64_t row, image, channel, channels;
  };

  int64_t place_of(const Lattice& target, int64_t bin) const { return target.place_of(bin, out_.size[3]); }

  /// Computes all bins of a RoI. Returns true if `taps` has all of them, so that they need not be computed again.
  bool mean(PointWorkspace<A>& work, RoiPoints& roi, BinTaps& taps, bool is_prepared, TapValues values,
            const PixelSource& source, const Operand& target, int64_t channels) {
    for (int64_t first = 0; first < bins_; first = taps.first_bin + taps.bins()) {
      if (!is_prepared)
        work.merger.merge(roi, first, bins_, values, call_.tangent != nullptr, PixelBox::everywhere(), taps);
      contract(work, taps, source, target, channels);
    }
    return taps.bins() == bins_;
  }

  void contract(PointWorkspace<A>& work, const BinTaps& taps, const PixelSource& from, const Operand& target,
                int64_t channels) const {
    const Operand source = work.operand_for(from, taps.y, taps.x);
    work.pass.set(taps.y, taps.x, taps.value[weight_], source.lattice, taps.first_bin, taps.bins(),
                  [&](int64_t bin) { return place_of(target.lattice, bin); });
    const auto kernel = work.kernels.contract[index(source.lattice.values)][index(target.lattice.values)];
    kernel(single_row<A>(), work.pass.plan(taps.begin), source.base, target.base, channels, Write::replace);
  }

  bool maximum(PointWorkspace<A>& work, RoiPoints& roi, BinPoints& points, bool is_prepared, const PixelSource& source,
               const Operand& target, int64_t channels) const {
    for (int64_t first = 0; first < bins_; first = points.first_bin + points.bins()) {
      if (!is_prepared) points.list(roi, first, bins_, TapValues::still, false);
      work.maximum(points, source, call_.scalar_type, target, nullptr, channels,
                   [&](int64_t bin) { return place_of(target.lattice, bin); });
    }
    return points.bins() == bins_;
  }

  void take_largest_pixels(PointWorkspace<A>& work, const RoiPoints& roi, const Operand& source, const Operand& target,
                           int64_t channels) const {
    PixelBins<A> bins = work.pixel_bins(roi, out_.size[3], source.lattice, channels);
    bins.bin_step = target.lattice.column_step;
    const auto& kernels = point_kernels<A>(call_.scalar_type).maximum_of_pixels;
    for (int64_t y = 0; y < out_.size[2]; ++y) {
      const PixelSpan rows = roi.whole_pixels(0, y);
      bins.first_row = rows.first;
      bins.end_row = rows.end;
      kernels[index(source.lattice.values)][index(target.lattice.values)](
          bins, source.base, target.base + y * target.lattice.row_step, nullptr, channels);
    }
  }

  /// Computes the values at the winners of other maps, or the derivatives of the values at the winners.
  void follow(PointWorkspace<A>& work, RoiPoints& roi, BinPoints& points, const Block& block, const PixelSource& from,
              const PixelSource& deciding) const {
    std::fill(work.target_tile.begin(), work.target_tile.end(), A(0));
    for (int64_t first = 0; first < bins_; first = points.first_bin + points.bins()) {
      points.list(roi, first, bins_, TapValues::still, false);
      const int32_t* winner = work.winners(points, deciding, call_.scalar_type, block.channels);
      points.list(roi, first, first + points.bins(), TapValues::weight, call_.tangent != nullptr);
      const Operand source = work.operand_for(from, points.y, points.x);
      work.pass.set(points.y, points.x, points.weight, source.lattice, first, 0, [](int64_t bin) { return bin; });
      for (int64_t b = 0; b < points.bins(); ++b, winner += block.channels) {
        A* const target = work.target_tile.data() + (first + b) * block.channels;
        for (int64_t c = 0; c < block.channels; ++c) {
          if (winner[c] < 0) continue;
          const int32_t point = points.point_begin[b] + winner[c];
          for (int32_t t = points.tap_begin[point]; t < points.tap_begin[point + 1]; ++t) {
            const std::byte* const pixel = source.base + work.pass.source_offset[t];
            target[c] += work.pass.weight[t] * reinterpret_cast<const A*>(pixel)[c];
          }
        }
      }
    }
  }

  /// Computes every bin from its own channels, which are as many channels apart as there are bins.
  void pool_by_position(PointWorkspace<A>& work, RoiPoints& roi, const View& map, const Block& block) {
    const Lattice pixels{map.stride[2], map.stride[3], Values::scalars};
    const Lattice bins{out_.stride[2], out_.stride[3], Values::scalars};
    for (int64_t first = 0; first < bins_;) {
      const AxisPlan<A> plan = work.plan_apart(roi, first, bins_, call_.tangent != nullptr, PixelBox::everywhere(),
                                               pixels, map.stride[1], [&](int64_t bin) { return place_of(bins, bin); });
      point_kernels<A>(call_.scalar_type)
          .contract_apart(plan, address(map, block.image, block.channel * bins_), bins_ * map.stride[1],
                          address(out_, block.row, block.channel), out_.stride[1], block.channels);
      first += plan.rows;
    }
  }

  /// The pooled channels in `target`, rotated.
  Operand turned(PointWorkspace<A>& work, RoiPoints& roi, BinTaps& taps, const Block& block, const PixelSource& source,
                 const Operand& target) {
    const Orientation orientation(call_, block.row);
    const Operand mixed = work.tile(work.mixed_tile, out_.size[2], out_.size[3], block.channels, Values::accumulators);
    std::fill(work.mixed_tile.begin(), work.mixed_tile.end(), A(0));
    orientation.mix(work.target_tile, work.mixed_tile, bins_, block.channels, 0, false, 1.0);
    if (call_.tangent != nullptr) {
      const double turning = call_.tangent->boxes[block.row * call_.columns + 4];
      mean(work, roi, taps, false, TapValues::still, source, target, block.channels);
      orientation.mix(work.target_tile, work.mixed_tile, bins_, block.channels, 1, false, turning);
    }
    return mixed;
  }

  static constexpr int64_t in_place_channels = 512;
  static constexpr int64_t least_panel_channels = 32;
  static constexpr double most_panel_channels = in_place_channels, panel_bytes = 1024.0 * 1024.0;
  static constexpr int64_t panel_pixels = 16384;

  const PointwiseCall& call_;
  std::span<const View> maps_, deciding_;
  const View& out_;
  int64_t bins_;
  bool follows_;
  bool by_position_, turns_channels_, maps_in_place_, out_in_place_;
  Values values_;  // of tiles
  bool takes_largest_pixels_;
  bool one_by_one_;  // a few channels that are planes
  std::vector<PointWorkspace<A>> workspaces_;
};

}  // namespace

void forward(const PointwiseCall& call, std::span<const View> features, std::span<const View> deciding,
             const View& out) {
  with_accumulator(call.scalar_type, [&]<class A>() { PointwiseForward<A>(call, features, deciding, out).run(); });
}

}  // namespace roialign
