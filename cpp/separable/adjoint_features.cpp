#include "separable/workspace.h"

namespace roialign {
namespace {

/// Every piece of a gradient map, a tile of pixels and a block of channels, is computed by one thread. It adds the
/// contributions of the RoIs in the order of their rows and writes the piece once. The pieces do not depend on the
/// number of threads.
template <class A>
class AdjointFeatures {
 public:
  AdjointFeatures(const SeparableCall& call, const View& grad_output, std::span<const View> grads)
      : call_(call),
        grad_output_(grad_output),
        grads_(grads),
        has_adjacent_channels_(have_adjacent_channels(grads, call.scalar_type)),
        one_by_one_(!has_adjacent_channels_ && grad_output.size[1] < few_channels),
        blocks_(grad_output.size[1], (has_adjacent_channels_ ? block_bytes : planar_block_bytes) / int64_t{sizeof(A)}),
        workspaces_(make_workspaces<A>(call)) {
    const int64_t pixel_bytes = std::max<int64_t>(blocks_.size * int64_t{sizeof(A)}, 1);
    for (const View& map : grads) {
      shapes_.push_back(has_adjacent_channels_ ? TileShape::square(tile_bytes / pixel_bytes)
                                               : TileShape::wide(map, planar_tile_bytes / pixel_bytes));
    }
  }

  void run() {
    if (blocks_.count == 0) return;
    taps_.resize(call_.rois);
    constexpr int64_t rows_per_item = 16;
    parallel_for(call_.team, (call_.rois + rows_per_item - 1) / rows_per_item, [&](int64_t item, int worker) {
      const int64_t end = std::min(call_.rois, (item + 1) * rows_per_item);
      for (int64_t row = item * rows_per_item; row < end; ++row) {
        if (image_of(call_, row) < 0) continue;
        taps_[row] = taps_of(call_, grads_[call_.levels[row]], row, grad_output_.size[2], grad_output_.size[3],
                             workspaces_[worker].builder, workspaces_[worker].taps_memory);
      }
    });
    tiles_ = cut_hot_tiles(cut_into_tiles(grads_, shapes_, places()));
    parallel_for(call_.team, static_cast<int64_t>(tiles_.size()) * blocks_.count, [&](int64_t item, int worker) {
      add_up(workspaces_[worker], tiles_[item / blocks_.count], item % blocks_.count);
    });
  }

 private:
  /// The places of the taps of every RoI.
  std::vector<RoiPlace> places() const {
    std::vector<RoiPlace> places(call_.rois);
    for (int64_t row = 0; row < call_.rois; ++row) {
      RoiPlace& place = places[row];
      place = {call_.levels[row], image_of(call_, row), row, PixelRange::none(), PixelRange::none(), 0.0, 0.0};
      place.y.include(taps_[row].y.position);
      place.x.include(taps_[row].x.position);
    }
    return places;
  }

  /// A tile with at least this many RoIs would keep one thread busy for too long. It is divided into strips of its
  /// rows, unless blocks of channels already divide its work.
  std::vector<MapTile> cut_hot_tiles(std::vector<MapTile> tiles) const {
    constexpr int64_t strips = 4;
    const auto hot_rois = static_cast<size_t>(std::max<int64_t>(64, call_.rois / 8));
    if (blocks_.count > 1) return tiles;
    std::vector<MapTile> cut;
    cut.reserve(tiles.size());
    for (MapTile& tile : tiles) {
      if (tile.rows.size() < hot_rois) {
        cut.push_back(std::move(tile));
        continue;
      }
      const int64_t height = (tile.end_y - tile.first_y + strips - 1) / strips;
      for (int64_t y = tile.first_y; y < tile.end_y; y += height) {
        cut.push_back(tile);
        cut.back().first_y = y;
        cut.back().end_y = std::min(y + height, tile.end_y);
      }
    }
    return cut;
  }

  void add_up(Workspace<A>& work, const MapTile& tile, int64_t block) {
    const int64_t channel = blocks_.first(block), channels = blocks_.length(block);
    const int64_t height = tile.end_y - tile.first_y, width = tile.end_x - tile.first_x;
    const int tangents = static_cast<int>(call_.tangents.size());
    const int64_t at_once = one_by_one_ ? 1 : channels, plane = height * width * at_once;
    const Operand target =
        work.tile(work.target_tile, height * (channels / at_once), width, at_once, Values::accumulators);
    std::fill(work.target_tile.begin(), work.target_tile.end(), A(0));
    const bool in_place = has_adjacent_channels(grad_output_, call_.scalar_type);
    Contraction<A> contraction;
    for (const int64_t row : tile.rows) {
      Arena& arena = work.plans_memory;
      arena.clear();
      const Taps y = transpose_taps(taps_[row].y, tile.first_y, tile.end_y, 1 << tangents, arena);
      const Taps x = transpose_taps(taps_[row].x, tile.first_x, tile.end_x, 1 << tangents, arena);
      if (y.entries() == 0 || x.entries() == 0) continue;
      const Operand source = in_place || one_by_one_ ? work.in_place(grad_output_, row, channel)
                                                     : work.gather(grad_output_, row, channel, channels,
                                                                   work.gradient_tile, Values::accumulators);
      // For a few channels, not by the taps of the tile: tiles of other layouts have other taps.
      const bool two_passes = grad_output_.size[1] < few_channels
                                  ? few_channels_take_two_passes(taps_[row].y, taps_[row].x, true, grad_output_.size[1])
                                  : Contraction<A>::takes_two_passes(y, x);
      contraction.prepare(work.kernels, arena, y, x, tangents, source.lattice, target.lattice, at_once, two_passes);
      for (int64_t first = 0; first < channels; first += at_once) {
        contraction.execute(work.kernels, source.base + first * grad_output_.stride[1],
                            target.base + first * plane * int64_t{sizeof(A)}, at_once, Write::add, work.intermediate, 0,
                            y.rows());
      }
    }
    const View& map = grads_[tile.level];
    for (int64_t first = 0; first < channels; first += at_once) {
      work.write_piece({target.base + first * plane * int64_t{sizeof(A)}, target.lattice}, tile.of(grads_), map,
                       call_.scalar_type, tile.image, channel + first, at_once);
    }
  }

  static constexpr int64_t tile_bytes = 256 * 1024, block_bytes = 1024;
  // If channels are not adjacent, the lines of a tile are runs of its pixels, which should be long.
  static constexpr int64_t planar_tile_bytes = 768 * 1024, planar_block_bytes = 256;

  const SeparableCall& call_;
  const View& grad_output_;
  std::span<const View> grads_;
  bool has_adjacent_channels_, one_by_one_;  // a few channels that are planes
  ChannelBlocks blocks_;
  std::vector<TileShape> shapes_;  // of every map
  std::vector<RoiTaps> taps_;
  std::vector<MapTile> tiles_;
  std::vector<Workspace<A>> workspaces_;
};

}  // namespace

void adjoint_features(const SeparableCall& call, const View& grad_output, std::span<const View> grad_features) {
  with_accumulator(call.scalar_type, [&]<class A>() { AdjointFeatures<A>(call, grad_output, grad_features).run(); });
}

}  // namespace roialign
