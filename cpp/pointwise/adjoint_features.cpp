#include <numeric>
#include <stdexcept>
#include <string>

#include "pointwise/largest_pixels.h"
#include "pointwise/workspace.h"

namespace roialign {
namespace {

/// The entries of bins by pixel: a contraction from bins to the pixels of a tile.
template <class A>
class TransposedTaps {
 public:
  TransposedTaps(const Lattice& bins, int64_t bins_x, const Lattice& pixels)
      : bins_(bins), bins_x_(bins_x), pixels_(pixels) {}

  /// Sorts the entries by pixel, in the order of the bins.
  void set(const BinTaps& taps, const PixelBox& box) {
    const int64_t width = box.x.length();
    const auto number = [&](int64_t t) { return (taps.y[t] - box.y.first) * width + taps.x[t] - box.x.first; };
    count_.assign(box.y.length() * width + 1, 0);
    for (int64_t t = 0; t < taps.entries(); ++t) ++count_[number(t) + 1];
    begin_.assign(1, 0);
    target_offset_.clear();
    for (int64_t pixel = 0; pixel < box.y.length() * width; ++pixel) {
      const int32_t entries = count_[pixel + 1];
      count_[pixel + 1] = begin_.back() + entries;  // the start of the next pixel
      if (entries == 0) continue;
      begin_.push_back(count_[pixel + 1]);
      target_offset_.push_back((box.y.first + pixel / width) * pixels_.row_step +
                               (box.x.first + pixel % width) * pixels_.column_step);
    }
    source_offset_.resize(taps.entries());
    weight_of_.resize(taps.entries());
    for (int64_t b = 0; b < taps.bins(); ++b) {
      const int64_t bin = taps.first_bin + b;
      const int64_t place = bins_.place_of(bin, bins_x_);
      for (int32_t t = taps.begin[b]; t < taps.begin[b + 1]; ++t) {
        const int32_t entry = count_[number(t)]++;
        source_offset_[entry] = place;
        weight_of_[entry] = static_cast<A>(taps.value[weight_][t]);
      }
    }
  }

  AxisPlan<A> plan() const {
    return {static_cast<int64_t>(target_offset_.size()), begin_.data(), source_offset_.data(), weight_of_.data(),
            target_offset_.data()};
  }

 private:
  Lattice bins_;
  int64_t bins_x_;
  Lattice pixels_;
  std::vector<int32_t> count_, begin_;
  std::vector<int64_t> source_offset_, target_offset_;
  std::vector<A> weight_of_;
};

/// Every piece of a gradient map, a tile of pixels and a block of channels, is computed by one thread. It adds the
/// contributions of the RoIs in the order of their rows and writes the piece once. The pieces do not depend on the
/// number of threads.
template <class A>
class PointwiseAdjointFeatures {
 public:
  PointwiseAdjointFeatures(const PointwiseCall& call, const View& grad_output, std::span<const View> deciding,
                           std::span<const View> grads)
      : call_(call),
        grad_output_(grad_output),
        deciding_(deciding),
        grads_(grads),
        bins_(grad_output.size[2] * grad_output.size[3]),
        turns_channels_(call.spec.channels == Channels::orientation),
        parts_(call.spec.channels == Channels::position ? bins_ : 1),
        channels_(grad_output.size[1], std::max<int64_t>(tile_bytes / (16 * 16 * parts_ * int64_t{sizeof(A)}), 1),
                  channel_unit(call)),
        largest_pixels_(call, deciding, grad_output.size[2], grad_output.size[3]),
        workspaces_(make_workspaces<PointWorkspace<A>, A>(call.scalar_type, call.team)) {
    const int64_t pixel_bytes = std::max<int64_t>(channels_.size * parts_ * int64_t{sizeof(A)}, 1);
    shapes_.assign(grads.size(), TileShape::square(tile_bytes / pixel_bytes));
  }

  void run() {
    if (channels_.count == 0) return;
    places_ = places_of(call_, grads_, grad_output_.size[2], grad_output_.size[3]);
    if (takes_maximum(call_.spec) && call_.spec.rule == PointRule::pixels && call_.tangent == nullptr) {
      largest_pixels_.find_all_of_large_rois(places_, shapes_, channels_, workspaces_);
    }
    const auto tiles = cut_into_tiles(grads_, shapes_, places_);
    parallel_for(call_.team, static_cast<int64_t>(tiles.size()) * channels_.count, [&](int64_t item, int worker) {
      add_up(workspaces_[worker], tiles[item / channels_.count], item % channels_.count);
    });
  }

 private:
  void add_up(PointWorkspace<A>& work, const MapTile& tile, int64_t block) {
    const int64_t channel = channels_.first(block), channels = channels_.length(block);
    const PixelBox box{{tile.first_y, tile.end_y - 1}, {tile.first_x, tile.end_x - 1}};
    const Operand own =
        work.tile(work.target_tile, box.y.length(), box.x.length(), channels * parts_, Values::accumulators);
    std::fill(work.target_tile.begin(), work.target_tile.end(), A(0));
    Piece piece{box, channel, channels, placed(own, box), PixelBox::none(), Operand{}};
    const std::vector<Run> runs = runs_of(tile, box);
    if (takes_maximum(call_.spec)) read_deciding(work, tile, runs, piece);
    for (size_t begin = 0, end = 0; begin < runs.size(); begin = end) {
      do ++end;
      while (end < runs.size() && runs[end].row == runs[begin].row);
      add_roi(work, std::span(runs).subspan(begin, end - begin), piece);
    }
    const View& map = grads_[tile.level];
    work.write_piece(own, tile.of(grads_), map, call_.scalar_type, tile.image, channel * parts_, channels * parts_);
  }

  struct Piece {
    PixelBox box;
    int64_t channel, channels;
    Operand target;
    PixelBox ready;  // the pixels that `deciding` has
    Operand deciding;
  };

  /// Consecutive bins of a RoI that meet a piece, and the pixels that they may touch.
  struct Run {
    int64_t row, first, end;
    PixelBox pixels;
  };

  std::vector<Run> runs_of(const MapTile& tile, const PixelBox& box) const {
    std::vector<Run> runs;
    for (const int64_t row : tile.rows) {
      const PixelBox all{places_[row].y, places_[row].x};
      if (bins_ > 0 && box.contains(all)) {
        runs.push_back({row, 0, bins_, all});
        continue;
      }
      const RoiPoints roi = points_of(row);
      for (int64_t bin = 0; bin < bins_; ++bin) {
        const PixelBox own = roi.pixels_of(bin);
        if (!own.meets(box)) continue;
        const bool continues = !runs.empty() && runs.back().row == row && runs.back().end == bin;
        if (!continues) runs.push_back({row, bin, bin, own});
        runs.back().end = bin + 1;
        runs.back().pixels = runs.back().pixels.joined(own);
      }
    }
    return runs;
  }

  RoiPoints points_of(int64_t row) const {
    return {call_, grads_[call_.levels[row]], row, grad_output_.size[2], grad_output_.size[3]};
  }

  /// Prepares the pixels that determine the winners: in place or, if channels are not adjacent, a copy for many bins.
  void read_deciding(PointWorkspace<A>& work, const MapTile& tile, std::span<const Run> runs, Piece& piece) const {
    const View& map = deciding_[tile.level];
    if (has_adjacent_channels(map, call_.scalar_type)) {
      piece.ready = PixelBox::everywhere();
      piece.deciding = work.in_place(map, tile.image, piece.channel);
    } else {
      piece.ready = shared_pixels(runs, piece.box);
      piece.deciding = work.panel(map, tile.image, piece.ready, piece.channel, piece.channels, work.deciding_tile,
                                  Values::accumulators);
    }
  }

  /// The pixels of all bins of a tile but those that reach farther than the adjacent tiles. None if these bins have
  /// fewer pixels one by one.
  PixelBox shared_pixels(std::span<const Run> runs, const PixelBox& box) const {
    const int64_t height = box.y.length(), width = box.x.length();
    const PixelBox around{{box.y.first - height, box.y.last + height}, {box.x.first - width, box.x.last + width}};
    PixelBox shared = PixelBox::none();
    int64_t pixels_apart = 0;
    for (const Run& run : runs) {
      if (!around.contains(run.pixels) || largest_pixels_.has(run.row)) continue;
      shared = shared.joined(run.pixels);
      pixels_apart += run.pixels.pixels();
    }
    return shared.pixels() <= pixels_apart ? shared : PixelBox::none();
  }

  void add_roi(PointWorkspace<A>& work, std::span<const Run> runs, const Piece& piece) {
    const int64_t row = runs.front().row;
    RoiPoints roi = points_of(row);
    Operand source{};  // for a mean with rotated channels, the mixed gradient
    if (parts_ == 1) source = gradient_of(work, runs, piece);
    if (parts_ == 1 && turns_channels_) source = mixed(work, row, 0, piece);
    for (const Run& run : runs) {
      if (takes_maximum(call_.spec) && roi.takes_whole_pixels()) {
        if (call_.tangent == nullptr) add_largest_pixels(work, roi, run, source, piece);
        continue;  // whole pixels do not move with the RoI
      }
      for (int64_t first = run.first; first < run.end;) {
        first = parts_ > 1                  ? add_apart(work, roi, row, first, run.end, piece)
                : takes_maximum(call_.spec) ? add_winners(work, roi, first, run, source, piece)
                                            : add_means(work, roi, row, first, run.end, source, piece);
      }
    }
  }

  /// The gradient of the result of a RoI: in place if the kernels can read it directly, else the rows of these bins.
  Operand gradient_of(PointWorkspace<A>& work, std::span<const Run> runs, const Piece& piece) const {
    const int64_t row = runs.front().row;
    // The gradient of a maximum is read as single values, as accumulators.
    const Values values = takes_maximum(call_.spec) ? Values::accumulators : Values::scalars;
    if (has_adjacent_channels(grad_output_, call_.scalar_type) && !turns_channels_ &&
        are_in_memory<A>(values, call_.scalar_type)) {
      return work.in_place(grad_output_, row, piece.channel);
    }
    const int64_t bins_y = grad_output_.size[2], bins_x = grad_output_.size[3];
    PixelBox bins{{0, bins_y - 1}, {0, bins_x - 1}};
    if (!turns_channels_) bins.y = {runs.front().first / bins_x, (runs.back().end - 1) / bins_x};
    return work.panel(grad_output_, row, bins, piece.channel, piece.channels, work.gradient_tile, Values::accumulators);
  }

  /// Processes bins from `first` on, and returns the first of the next bins.
  int64_t add_means(PointWorkspace<A>& work, RoiPoints& roi, int64_t row, int64_t first, int64_t last,
                    const Operand& source, const Piece& piece) {
    work.taps.resize(std::max<size_t>(work.taps.size(), 1));
    BinTaps& taps = work.taps[0];
    work.merger.merge(roi, first, last, TapValues::weight, call_.tangent != nullptr, piece.box, taps);
    const int64_t end = taps.first_bin + taps.bins();
    contract(work, taps, source, piece);
    if (!turns_channels_ || call_.tangent == nullptr) return end;
    const double turning = call_.tangent->boxes[row * call_.columns + 4];
    const Operand of_turning = mixed(work, row, 1, piece);
    for (int64_t next = first; next < end; next = taps.first_bin + taps.bins()) {
      work.merger.merge(roi, next, end, TapValues::still, false, piece.box, taps);
      for (double& weight : taps.value[weight_]) weight *= turning;
      contract(work, taps, of_turning, piece);
    }
    mixed(work, row, 0, piece);  // `source` again, which is in the same memory
    return end;
  }

  /// The same if every bin has its own channels.
  int64_t add_apart(PointWorkspace<A>& work, RoiPoints& roi, int64_t row, int64_t first, int64_t last,
                    const Piece& piece) {
    const Lattice bins{grad_output_.stride[2], grad_output_.stride[3], Values::scalars};
    const AxisPlan<A> plan =
        work.plan_apart(roi, first, last, call_.tangent != nullptr, piece.box, piece.target.lattice, sizeof(A),
                        [&](int64_t bin) { return bins.place_of(bin, grad_output_.size[3]); });
    point_kernels<A>(call_.scalar_type)
        .spread_apart(plan, address(grad_output_, row, piece.channel), grad_output_.stride[1], piece.target.base,
                      parts_ * int64_t{sizeof(A)}, piece.channels);
    return first + plan.rows;
  }

  /// The gradient of the pooled channels before their rotation, or of the rotation.
  Operand mixed(PointWorkspace<A>& work, int64_t row, int derivative, const Piece& piece) const {
    const Operand mixed =
        work.tile(work.mixed_tile, grad_output_.size[2], grad_output_.size[3], piece.channels, Values::accumulators);
    std::fill(work.mixed_tile.begin(), work.mixed_tile.end(), A(0));
    Orientation(call_, row).mix(work.gradient_tile, work.mixed_tile, bins_, piece.channels, derivative, true, 1.0);
    return mixed;
  }

  void contract(PointWorkspace<A>& work, const BinTaps& taps, const Operand& source, const Piece& piece) {
    if (taps.entries() == 0) return;
    PixelBox touched{PixelRange::none(), PixelRange::none()};
    for (int64_t t = 0; t < taps.entries(); ++t) {
      touched.y = touched.y.joined({taps.y[t], taps.y[t]});
      touched.x = touched.x.joined({taps.x[t], taps.x[t]});
    }
    TransposedTaps<A> transposed(source.lattice, grad_output_.size[3], piece.target.lattice);
    transposed.set(taps, touched);
    work.kernels.contract[index(source.lattice.values)][index(Values::accumulators)](
        single_row<A>(), transposed.plan(), source.base, piece.target.base, piece.channels, Write::add);
  }

  /// Adds the gradient of every channel to the pixels of its winner.
  int64_t add_winners(PointWorkspace<A>& work, RoiPoints& roi, int64_t first, const Run& run, const Operand& source,
                      const Piece& piece) const {
    work.points.resize(std::max<size_t>(work.points.size(), 1));
    BinPoints& points = work.points[0];
    points.list(roi, first, run.end, TapValues::still, false);
    const PixelBox own = piece.ready.contains(run.pixels) ? run.pixels : roi.pixels_of(first, first + points.bins());
    const bool are_few = are_few_entries(static_cast<double>(points.entries()), static_cast<double>(own.pixels()));
    const PixelSource deciding = deciding_of(work, run, own, are_few, piece);
    const int32_t* winner = work.winners(points, deciding, call_.scalar_type, piece.channels);
    if (call_.tangent != nullptr) points.list(roi, first, first + points.bins(), TapValues::weight, true);
    keep_inside(points, piece, work.pass);
    work.pass.target_offset.resize(points.bins());
    for (int64_t b = 0; b < points.bins(); ++b) {
      work.pass.target_offset[b] = source.lattice.place_of(first + b, grad_output_.size[3]);
    }
    point_kernels<A>(call_.scalar_type)
        .add_to_winners(plan_of(points, work.pass), source.base, piece.target.base, winner, piece.channels);
    return first + points.bins();
  }

  /// The same for bins of whole pixels, a row of bins at a time.
  void add_largest_pixels(PointWorkspace<A>& work, const RoiPoints& roi, const Run& run, const Operand& gradient,
                          const Piece& piece) const {
    const bool are_found = largest_pixels_.has(run.row);
    Operand deciding{};
    if (!are_found) deciding = deciding_of(work, run, run.pixels, false, piece).part;
    const auto& kernels = point_kernels<A>(call_.scalar_type);
    const KeptPixels kept{piece.box.y.first, piece.box.y.last + 1, piece.box.x.first, piece.box.x.last + 1};
    const int64_t bins_x = grad_output_.size[3];
    const PixelBins<A> columns = work.pixel_bins(roi, bins_x, deciding.lattice, piece.channels);
    for (int64_t first = run.first, end = 0; first < run.end; first = end) {
      end = std::min((first / bins_x + 1) * bins_x, run.end);
      PixelBins<A> bins = part_of_row(roi, columns, bins_x, first, end);
      const int32_t* const winners = are_found ? largest_pixels_.of(run.row, piece.channel, piece.channels, first)
                                               : largest_pixels_.find(work, bins, deciding, piece.channels);
      bins.row_step = piece.target.lattice.row_step;
      bins.column_step = piece.target.lattice.column_step;
      bins.bin_step = gradient.lattice.column_step;
      kernels.add_to_winning_pixels(bins, kept, gradient.base + gradient.lattice.place_of(first, bins_x),
                                    piece.target.base, winners, piece.channels);
    }
  }

  /// The pixels `own` that determine the winners of bins of a run, or few entries of them.
  PixelSource deciding_of(PointWorkspace<A>& work, const Run& run, const PixelBox& own, bool are_few,
                          const Piece& piece) const {
    if (piece.ready.contains(run.pixels)) return {piece.deciding};
    const RoiGroup alone{call_.levels[run.row], call_.images[run.row], own.y, own.x, own.pixels(), {run.row}};
    return work.read(deciding_[alone.level], false, are_few, alone, piece.channel, piece.channels, work.source_tile,
                     Values::accumulators);
  }

  /// The taps within the piece and their places in it. `tap_begin` has the start of the taps of each point.
  static void keep_inside(BinPoints& points, const Piece& piece, BinPass<A>& kept) {
    const Lattice& to = piece.target.lattice;
    kept.source_offset.clear();
    kept.weight.clear();
    int32_t t = 0;
    for (size_t point = 0; point + 1 < points.tap_begin.size(); ++point) {
      const int32_t end = points.tap_begin[point + 1];
      for (; t < end; ++t) {
        if (!piece.box.contains(points.y[t], points.x[t])) continue;
        kept.source_offset.push_back(points.y[t] * to.row_step + points.x[t] * to.column_step);
        kept.weight.push_back(static_cast<A>(points.weight[t]));
      }
      points.tap_begin[point + 1] = static_cast<int32_t>(kept.weight.size());
    }
  }

  static constexpr int64_t tile_bytes = 512 * 1024;

  const PointwiseCall& call_;
  const View& grad_output_;
  std::span<const View> deciding_, grads_;
  int64_t bins_;
  bool turns_channels_;
  int64_t parts_;  // the channels of the map per channel of the result
  ChannelBlocks channels_;
  std::vector<TileShape> shapes_;  // of every map
  std::vector<RoiPlace> places_;   // of every RoI
  LargestPixels<A> largest_pixels_;
  std::vector<PointWorkspace<A>> workspaces_;
};

/// Throws if a bin may have more pixels than 32 bits can number.
void check_numbered_pixels(const PointwiseSpec& spec, std::span<const View> maps) {
  for (const View& map : maps) {
    const int64_t height = map.size[2], width = map.size[3];
    if (spec.rule != PointRule::pixels || width == 0 || height <= INT32_MAX / width) continue;
    throw std::invalid_argument("features: expected maps of at most 2147483647 pixels, got " + std::to_string(height) +
                                " x " + std::to_string(width));
  }
}

}  // namespace

void adjoint_features(const PointwiseCall& call, const View& grad_output, std::span<const View> deciding,
                      std::span<const View> grad_features) {
  check_numbered_pixels(call.spec, grad_features);
  with_accumulator(call.scalar_type,
                   [&]<class A>() { PointwiseAdjointFeatures<A>(call, grad_output, deciding, grad_features).run(); });
}

}  // namespace roialign
