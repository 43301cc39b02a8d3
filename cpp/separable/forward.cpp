#include "separable/panel.h"

namespace roialign {
namespace {

template <class A>
class Forward {
 public:
  Forward(const SeparableCall& call, std::span<const View> maps, const View& out)
      : call_(call), maps_(maps), out_(out), workspaces_(make_workspaces<A>(call)) {
    maps_in_place_ = std::all_of(maps.begin(), maps.end(),
                                 [&](const View& map) { return has_adjacent_channels(map, call.scalar_type); });
    const bool halves = size_of(call.scalar_type) < int64_t{sizeof(A)};
    out_in_place_ =
        has_adjacent_channels(out, call.scalar_type) && call.spec.fill == 0.0 && !(halves && !call.tangents.empty());
    const bool is_large = is_larger_than_caches(out, call.scalar_type);
    if (out_in_place_ && is_large && has_whole_lines()) write_ = Write::stream;
    streams_planes_ = !out_in_place_ && is_large && has_adjacent_planes(out, call.scalar_type);
  }

  void run() {
    // RoIs that overlap share the work of transposing a map whose channels are apart. Where there are few groups, their
    // channels are shared out among the threads too: channels do not mix, so neither do their bits.
    const int64_t channels = std::max<int64_t>(out_.size[1], 1), threads = call_.team.threads;
    const int64_t most_shares = std::max<int64_t>(channels / least_channels, 1);
    const auto groups = group_by_place(call_, maps_, maps_in_place_ ? 0 : panel_pixels, most_shares);
    const auto count = std::max<int64_t>(static_cast<int64_t>(groups.size()), 1);
    const int64_t wanted_shares = threads == 1 ? 1 : std::min((4 * threads + count - 1) / count, most_shares);
    const ChannelBlocks shares(out_.size[1], (channels + wanted_shares - 1) / wanted_shares);
    parallel_for(call_.team, static_cast<int64_t>(groups.size()) * shares.count, [&](int64_t item, int worker) {
      const int64_t share = item % shares.count;
      pool(workspaces_[worker], groups[item / shares.count], shares.first(share), shares.length(share));
    });
  }

 private:
  /// Streaming pays where whole cache lines are written at once.
  bool has_whole_lines() const {
    const auto is_whole_lines = [](int64_t bytes) { return bytes % 64 == 0; };
    return is_whole_lines(reinterpret_cast<intptr_t>(out_.data)) && is_whole_lines(out_.stride[0]) &&
           is_whole_lines(out_.stride[2]) && is_whole_lines(out_.stride[3]);
  }

  void pool(Workspace<A>& work, const RoiGroup& group, int64_t first_channel, int64_t channel_count) {
    if (group.image < 0) {
      work.target_tile.assign(out_.size[2] * out_.size[3] * channel_count, A(0));
      work.scatter(work.target_tile, out_, group.rows[0], first_channel, channel_count);
      return;
    }
    work.grow(group.rows.size());
    for (size_t index = 0; index < group.rows.size(); ++index) {
      work.taps[index].build(call_, maps_[group.level], group.rows[index], out_.size[2], out_.size[3]);
    }
    Panel<A> panel(work, maps_[group.level], maps_in_place_, group);
    const ChannelBlocks blocks(channel_count, maps_in_place_ ? in_place_channels : panel_channels);
    int64_t prepared_channels = 0;
    for (int64_t b = 0; b < blocks.count; ++b) {
      const int64_t channel = first_channel + blocks.first(b), channels = blocks.length(b);
      const Lattice source = panel.lattice(channels);
      panel.begin(channel, channels);
      for (const size_t index : panel.order()) {
        const int64_t row = group.rows[index];
        const Operand target = out_in_place_ ? work.in_place(out_, row, channel)
                                             : work.tile(work.target_tile, out_.size[2], out_.size[3], channels);
        Contraction<A>& contraction = work.contractions[index];
        if (channels != prepared_channels) {
          contraction.prepare(work.taps[index].y, work.taps[index].x, static_cast<int>(call_.tangents.size()), source,
                              target.lattice, channels);
        }
        contraction.execute(work.kernels, panel.pixels_of(index), target.base, channels, write_, work.intermediate);
        if (out_in_place_) continue;
        fill_unreached(work, work.taps[index], channels);
        if (streams_planes_) {
          work.stream_planes(work.target_tile, out_, row, channel, channels);
        } else {
          work.scatter(work.target_tile, out_, row, channel, channels);
        }
      }
      prepared_channels = channels;
    }
  }

  /// Gives the bins that no point of the map reaches the value that the operator has beyond it.
  void fill_unreached(Workspace<A>& work, const RoiTaps& taps, int64_t channels) {
    if (call_.spec.fill == 0.0 || !call_.tangents.empty()) return;
    const auto empty = [](const Taps& axis, int64_t bin) { return axis.row_begin[bin] == axis.row_begin[bin + 1]; };
    const int64_t bins_y = out_.size[2], bins_x = out_.size[3];
    for (int64_t bin = 0; bin < bins_y * bins_x; ++bin) {
      if (!empty(taps.y, bin / bins_x) && !empty(taps.x, bin % bins_x)) continue;
      std::fill_n(work.target_tile.begin() + bin * channels, channels, static_cast<A>(call_.spec.fill));
    }
  }

  static constexpr int64_t in_place_channels = 256;
  static constexpr int64_t least_channels = 64;  // of a share
  static constexpr int64_t panel_channels = 64;
  static constexpr int64_t panel_pixels = 32768;

  const SeparableCall& call_;
  std::span<const View> maps_;
  const View& out_;
  bool maps_in_place_, out_in_place_, streams_planes_;
  Write write_ = Write::replace;
  std::vector<Workspace<A>> workspaces_;
};

}  // namespace

void forward(const SeparableCall& call, std::span<const View> features, const View& out) {
  with_accumulator(call.scalar_type, [&]<class A>() { Forward<A>(call, features, out).run(); });
}

}  // namespace roialign
