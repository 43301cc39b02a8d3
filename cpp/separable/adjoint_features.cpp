#include "separable/workspace.h"

namespace roialign {
namespace {

/// Every piece of a gradient map, a tile of pixels and a block of channels, has one owner, which adds up what the RoIs
/// give it in the order of their rows and writes it once. The pieces do not depend on the number of threads.
template <class A>
class AdjointFeatures {
 public:
  AdjointFeatures(const SeparableCall& call, const View& grad_output, std::span<const View> grads)
      : call_(call),
        grad_output_(grad_output),
        grads_(grads),
        blocks_(grad_output.size[1],
                tile_bytes / (least_side(call, grads) * least_side(call, grads) * int64_t{sizeof(A)})),
        workspaces_(make_workspaces<A>(call)) {
    while (2 * side_ * 2 * side_ * blocks_.size * int64_t{sizeof(A)} <= tile_bytes && side_ < 256) side_ *= 2;
  }

  void run() {
    if (blocks_.count == 0) return;
    taps_.resize(call_.rois);
    constexpr int64_t rows_per_item = 16;
    parallel_for(call_.team, (call_.rois + rows_per_item - 1) / rows_per_item, [&](int64_t item, int) {
      const int64_t end = std::min(call_.rois, (item + 1) * rows_per_item);
      for (int64_t row = item * rows_per_item; row < end; ++row) {
        if (image_of(call_, row) < 0) continue;
        taps_[row].build(call_, grads_[call_.levels[row]], row, grad_output_.size[2], grad_output_.size[3]);
      }
    });
    list_tiles();
    parallel_for(call_.team, static_cast<int64_t>(tiles_.size()) * blocks_.count, [&](int64_t item, int worker) {
      add_up(workspaces_[worker], tiles_[item / blocks_.count], item % blocks_.count);
    });
  }

 private:
  struct Tile {
    int64_t level, image, first_y, end_y, first_x, end_x;
    std::vector<int64_t> rows;  // of the RoIs that touch it, ascending
  };

  void list_tiles() {
    std::vector<int64_t> first_of_level;
    for (size_t level = 0; level < grads_.size(); ++level) {
      const auto& size = grads_[level].size;
      first_of_level.push_back(static_cast<int64_t>(tiles_.size()));
      for (int64_t image = 0; image < size[0]; ++image) {
        for (int64_t y = 0; y < size[2]; y += side_) {
          for (int64_t x = 0; x < size[3]; x += side_) {
            tiles_.push_back({static_cast<int64_t>(level),
                              image,
                              y,
                              std::min(y + side_, size[2]),
                              x,
                              std::min(x + side_, size[3]),
                              {}});
          }
        }
      }
    }
    for (int64_t row = 0; row < call_.rois; ++row) {
      const auto& ys = taps_[row].y.position;
      const auto& xs = taps_[row].x.position;
      if (ys.empty() || xs.empty()) continue;
      const auto& size = grads_[call_.levels[row]].size;
      const int64_t tiles_y = (size[2] + side_ - 1) / side_, tiles_x = (size[3] + side_ - 1) / side_;
      const int64_t first = first_of_level[call_.levels[row]] + image_of(call_, row) * tiles_y * tiles_x;
      for (int64_t ty = ys.front() / side_; ty <= ys.back() / side_; ++ty) {
        for (int64_t tx = xs.front() / side_; tx <= xs.back() / side_; ++tx) {
          tiles_[first + ty * tiles_x + tx].rows.push_back(row);
        }
      }
    }
  }

  void add_up(Workspace<A>& work, const Tile& tile, int64_t block) {
    const int64_t channel = blocks_.first(block), channels = blocks_.length(block);
    const int64_t height = tile.end_y - tile.first_y, width = tile.end_x - tile.first_x;
    const int tangents = static_cast<int>(call_.tangents.size());
    const Operand target = work.tile(work.target_tile, height, width, channels);
    std::fill(work.target_tile.begin(), work.target_tile.end(), A(0));
    const bool in_place = has_adjacent_channels(grad_output_, call_.scalar_type);
    work.grow(1);
    RoiTaps& transposed = work.taps[0];
    for (const int64_t row : tile.rows) {
      transpose_taps(taps_[row].y, tile.first_y, tile.end_y, 1 << tangents, transposed.y);
      transpose_taps(taps_[row].x, tile.first_x, tile.end_x, 1 << tangents, transposed.x);
      if (transposed.y.entries() == 0 || transposed.x.entries() == 0) continue;
      const Operand source = in_place ? work.in_place(grad_output_, row, channel)
                                      : work.gather(grad_output_, row, channel, channels, work.gradient_tile);
      work.contractions[0].prepare(transposed.y, transposed.x, tangents, source.lattice, target.lattice, channels);
      work.contractions[0].execute(work.kernels, source.base, target.base, channels, Write::add, work.intermediate);
    }
    View piece = grads_[tile.level];
    piece.data += tile.first_y * piece.stride[2] + tile.first_x * piece.stride[3];
    piece.size[2] = height;
    piece.size[3] = width;
    if (streams(grads_[tile.level])) {
      work.stream_rows(work.target_tile, piece, tile.image);
    } else {
      work.scatter(work.target_tile, piece, tile.image, channel, channels);
    }
  }

  bool streams(const View& grad) const {
    return blocks_.count == 1 && has_adjacent_pixels(grad, call_.scalar_type) &&
           is_larger_than_caches(grad, call_.scalar_type);
  }

  /// Where channels are apart, the lines of a tile are runs of its pixels, and want to be longer.
  static int64_t least_side(const SeparableCall& call, std::span<const View> grads) {
    const bool in_place = std::all_of(grads.begin(), grads.end(),
                                      [&](const View& map) { return has_adjacent_channels(map, call.scalar_type); });
    return in_place ? 16 : 32;
  }

  static constexpr int64_t tile_bytes = 256 * 1024;

  const SeparableCall& call_;
  const View& grad_output_;
  std::span<const View> grads_;
  ChannelBlocks blocks_;
  int64_t side_ = 1;
  std::vector<RoiTaps> taps_;
  std::vector<Tile> tiles_;
  std::vector<Workspace<A>> workspaces_;
};

}  // namespace

void adjoint_features(const SeparableCall& call, const View& grad_output, std::span<const View> grad_features) {
  with_accumulator(call.scalar_type, [&]<class A>() { AdjointFeatures<A>(call, grad_output, grad_features).run(); });
}

}  // namespace roialign
