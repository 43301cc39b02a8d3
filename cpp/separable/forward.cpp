#include <mutex>

#include "separable/panel.h"

namespace roialign {
namespace {

template <class A>
class Forward {
 public:
  Forward(const SeparableCall& call, std::span<const View> maps, const View& out)
      : call_(call), maps_(maps), out_(out), workspaces_(make_workspaces<A>(call)) {
    const ScalarType type = call.scalar_type;
    // A few channels are read in place if the kernels find runs of adjacent pixels.
    const bool few = out.size[1] < few_channels;
    const auto have_runs = [&](const View& map) { return has_adjacent_pixels(map, type); };
    one_by_one_ = few && out.size[1] > 1 && have_rows(maps, type);
    maps_in_place_ =
        one_by_one_ || (few ? std::all_of(maps.begin(), maps.end(), have_runs) : have_adjacent_channels(maps, type));
    const bool has_tangents = !call.tangents.empty();
    has_fill_ = call.spec.fill != 0.0 && !has_tangents;
    // Tiles of half types are faster to transpose and to read. But parts of a derivative are added before rounding.
    values_ = has_fill_ || has_tangents ? Values::accumulators : Values::scalars;
    out_in_place_ = (one_by_one_ || has_adjacent_channels(out, type)) && !has_fill_ && are_in_memory<A>(values_, type);
    const bool is_large = is_larger_than_caches(out, type);
    if (out_in_place_ && !one_by_one_ && !has_tangents && is_large && has_whole_lines()) write_ = Write::stream;
    streams_planes_ = !out_in_place_ && is_large && has_adjacent_planes(out, type);
  }

  void run() {
    if (are_points()) return pool_points();
    // Overlapping RoIs share the transposition of a map whose channels are not adjacent. If there are few groups, their
    // channels are distributed over the threads too. Channels are independent, so the results have the same bits.
    const int64_t channels = std::max<int64_t>(out_.size[1], 1), threads = call_.team.threads;
    const int64_t most_shares = std::max<int64_t>(channels / least_channels, 1);
    const auto groups = group_by_place(call_, maps_, maps_in_place_ ? 0 : panel_pixels, most_shares);
    if (groups.empty()) return;
    const auto count = static_cast<int64_t>(groups.size());
    const int64_t wanted_shares = threads == 1 ? 1 : std::min((4 * threads + count - 1) / count, most_shares);
    const int64_t panels = (channels + panel_channels - 1) / panel_channels;
    const ChannelBlocks shares(out_.size[1], std::max<int64_t>(panels / wanted_shares, 1) * panel_channels,
                               panel_channels);
    // Threads that share a group also share its preparation, that of a whole panel. They start with different groups.
    const bool are_alike = !maps_in_place_ && shares.count > 1 && out_.size[1] % panel_channels == 0;
    std::vector<Preparation> shared(are_alike ? groups.size() : 0);
    parallel_for(call_.team, count * shares.count, [&](int64_t item, int worker) {
      const int64_t group = item % count, share = item / count;
      pool(workspaces_[worker], groups[group], are_alike ? &shared[group] : nullptr, shares.first(share),
           shares.length(share));
    });
  }

 private:
  /// The taps and contractions of the RoIs of a group, made by the first thread that needs them.
  struct Preparation {
    std::once_flag has_taps, has_contractions;
    Arena taps_memory, plans_memory;
    std::vector<RoiTaps> taps;
    std::vector<Contraction<A>> contractions;
  };

  /// Whether every RoI is one sample point of a few channels. There may be millions of them, and a point takes less
  /// time than its preparation.
  bool are_points() const {
    const SeparableSpec& spec = call_.spec;
    return spec.rule == Rule::grid && spec.sampling_ratio == std::array<int64_t, 2>{1, 1} && spec.fill == 0.0 &&
           out_.size[2] == 1 && out_.size[3] == 1 && out_.size[1] < few_channels && call_.tangents.empty() &&
           maps_.size() == 1;
  }

  /// The pixels of many points, each with up to four.
  struct Points {
    std::vector<int32_t> begin;
    std::vector<int64_t> source_offset, target_offset;
    std::vector<A> weight;
  };

  void pool_points() {
    constexpr int64_t most_at_once = 1024;
    const View& map = maps_[0];
    std::vector<Points> points(call_.team.threads);
    parallel_for(call_.team, (call_.rois + most_at_once - 1) / most_at_once, [&](int64_t item, int worker) {
      Points& some = points[worker];
      some.begin.assign(1, 0);
      for (auto* offsets : {&some.source_offset, &some.target_offset}) offsets->clear();
      some.weight.clear();
      const int64_t first = item * most_at_once, end = std::min(first + most_at_once, call_.rois);
      for (int64_t row = first; row < end; ++row) {
        if (const int64_t image = image_of(call_, row); image >= 0) add_pixels(row, map, image * map.stride[0], some);
        some.begin.push_back(static_cast<int32_t>(some.weight.size()));
        some.target_offset.push_back(row * out_.stride[0]);
      }
      const AxisPlan<A> plan{end - first, some.begin.data(), some.source_offset.data(), some.weight.data(),
                             some.target_offset.data()};
      point_kernels<A>(call_.scalar_type)
          .contract_apart(plan, map.data, map.stride[1], out_.data, out_.stride[1], out_.size[1]);
    });
  }

  /// Lists the pixels of one point.
  void add_pixels(int64_t row, const View& map, int64_t image_offset, Points& points) const {
    Neighbours axes[2];
    for (int axis = 0; axis < 2; ++axis) {
      const AxisSampling sampling = RoiAxis(call_, map, row, axis, 1).sampling();
      sample_points(sampling, 0, [&](const SamplePoint& point) {
        axes[axis] = bilinear(point.x, point.cell, sampling.size, Border::replicate);
      });
      if (!axes[axis].inside) return;
    }
    const auto add = [&](int64_t y, double weight_y, int64_t x, double weight_x) {
      const double weight = weight_y * weight_x;
      if (weight == 0.0) return;
      points.source_offset.push_back(image_offset + y * map.stride[2] + x * map.stride[3]);
      points.weight.push_back(static_cast<A>(weight));
    };
    const auto& [y, x] = axes;
    add(y.below, y.weight_below, x.below, x.weight_below);
    add(y.below, y.weight_below, x.above, x.weight_above);
    add(y.above, y.weight_above, x.below, x.weight_below);
    add(y.above, y.weight_above, x.above, x.weight_above);
  }

  /// Streaming is faster if whole cache lines are written at once.
  bool has_whole_lines() const {
    const auto is_whole_lines = [](int64_t bytes) { return bytes % 64 == 0; };
    return is_whole_lines(reinterpret_cast<intptr_t>(out_.data)) && is_whole_lines(out_.stride[0]) &&
           is_whole_lines(out_.stride[2]) && is_whole_lines(out_.stride[3]);
  }

  void pool(Workspace<A>& work, const RoiGroup& group, Preparation* shared, int64_t first_channel,
            int64_t channel_count) {
    if (group.image < 0) {
      work.write_zeros(out_, group.rows, first_channel, channel_count);
      return;
    }
    auto& taps = shared == nullptr ? work.taps : shared->taps;
    auto& contractions = shared == nullptr ? work.contractions : shared->contractions;
    const auto build = [&] {
      build_all(group, work.builder, shared == nullptr ? work.taps_memory : shared->taps_memory, taps);
    };
    shared == nullptr ? build() : std::call_once(shared->has_taps, build);
    const auto blocks = one_by_one_ ? ChannelBlocks::one_by_one(channel_count)
                                    : ChannelBlocks(channel_count, maps_in_place_ ? in_place_channels : panel_channels,
                                                    std::max(least_unit, cache_line / size_of(call_.scalar_type)));
    const int64_t bins = out_in_place_ ? 0 : out_.size[2] * out_.size[3];
    Panel<A> panel(work, taps, maps_[group.level], maps_in_place_, group, blocks.size, bins, values_);
    int64_t prepared_channels = 0;
    for (int64_t b = 0; b < blocks.count; ++b) {
      const int64_t channel = first_channel + blocks.first(b), channels = blocks.length(b);
      if (channels != prepared_channels) {
        const auto prepare = [&] {
          prepare_all(work.kernels, taps, panel, channels, shared == nullptr ? work.plans_memory : shared->plans_memory,
                      contractions);
        };
        shared == nullptr ? prepare() : std::call_once(shared->has_contractions, prepare);
        prepared_channels = channels;
      }
      panel.begin(channel, channels);
      const Operand tiles = work.tile(work.target_tile, panel.tiles(), bins, channels, values_);
      for (const RoiPiece& piece : panel.pieces()) {
        const std::byte* const source = panel.pixels_of(piece);
        const Operand tile{tiles.base + piece.tile * tiles.lattice.row_step, tiles.lattice};
        const int64_t row = group.rows[piece.index];
        std::byte* const target = out_in_place_ ? work.in_place(out_, row, channel).base : tile.base;
        contractions[piece.index].execute(work.kernels, source, target, channels, write_, work.intermediate,
                                          piece.first_bin, piece.end_bin);
        if (!out_in_place_ && piece.is_last) write_tile(work, row, taps[piece.index], tile, channel, channels);
      }
    }
  }

  void build_all(const RoiGroup& group, TapBuilder& builder, Arena& arena, std::vector<RoiTaps>& taps) const {
    arena.clear();
    taps.clear();
    for (const int64_t row : group.rows) {
      taps.push_back(taps_of(call_, maps_[group.level], row, out_.size[2], out_.size[3], builder, arena));
    }
  }

  void prepare_all(const Kernels<A>& kernels, std::span<const RoiTaps> taps, const Panel<A>& panel, int64_t channels,
                   Arena& arena, std::vector<Contraction<A>>& contractions) const {
    arena.clear();
    contractions.resize(taps.size());
    const Lattice target = out_in_place_ ? Workspace<A>::in_place(out_, 0, 0).lattice
                                         : dense_lattice(kernels, out_.size[3], channels, values_);
    const int tangents = static_cast<int>(call_.tangents.size());
    for (size_t index = 0; index < taps.size(); ++index) {
      const auto& [y, x] = taps[index];
      const bool two_passes =
          Contraction<A>::takes_two_passes(y, x) || few_channels_take_two_passes(y, x, false, out_.size[1]);
      contractions[index].prepare(kernels, arena, y, x, tangents, panel.lattice(index, channels), target, channels,
                                  two_passes);
    }
  }

  /// Writes a block of channels of one RoI to the output.
  void write_tile(Workspace<A>& work, int64_t row, const RoiTaps& taps, const Operand& tile, int64_t channel,
                  int64_t channels) {
    if (has_fill_) fill_unreached(reinterpret_cast<A*>(tile.base), taps, channels);
    if (streams_planes_) {
      work.stream_planes(tile, out_, row, channel, channels);
    } else {
      work.scatter(tile, out_, row, channel, channels);
    }
  }

  /// Writes the fill value to bins without a point on the map.
  void fill_unreached(A* tile, const RoiTaps& taps, int64_t channels) const {
    const auto empty = [](const Taps& axis, int64_t bin) { return axis.row_begin[bin] == axis.row_begin[bin + 1]; };
    const int64_t bins_y = out_.size[2], bins_x = out_.size[3];
    for (int64_t bin = 0; bin < bins_y * bins_x; ++bin) {
      if (!empty(taps.y, bin / bins_x) && !empty(taps.x, bin % bins_x)) continue;
      std::fill_n(tile + bin * channels, channels, static_cast<A>(call_.spec.fill));
    }
  }

  static constexpr int64_t in_place_channels = 256;
  // Blocks begin with a cache line, because a result may be streamed.
  static constexpr int64_t cache_line = 64, least_unit = 16;
  static constexpr int64_t least_channels = 64;  // of a share
  static constexpr int64_t panel_channels = 64;
  static constexpr int64_t panel_pixels = 32768;

  const SeparableCall& call_;
  std::span<const View> maps_;
  const View& out_;
  bool maps_in_place_, out_in_place_, streams_planes_, has_fill_;
  bool one_by_one_;  // a few channels that are planes
  Values values_;    // of tiles
  Write write_ = Write::replace;
  std::vector<Workspace<A>> workspaces_;
};

}  // namespace

void forward(const SeparableCall& call, std::span<const View> features, const View& out) {
  with_accumulator(call.scalar_type, [&]<class A>() { Forward<A>(call, features, out).run(); });
}

}  // namespace roialign
