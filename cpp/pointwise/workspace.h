// The buffers of one thread for pooling RoIs from the points of their bins.
#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

#include "memory.h"
#include "places.h"
#include "pointwise/bin_taps.h"
#include "pointwise_kernels.h"

namespace roialign {

inline size_t taps_within(std::span<const AxisTap> taps, const PixelRange& range) {
  return static_cast<size_t>(std::count_if(taps.begin(), taps.end(), [&](const AxisTap& tap) {
    return range.first <= tap.pixel && tap.pixel <= range.last;
  }));
}

/// A row of bins as one axis of a contraction: entries of any pixels, while the other axis has a single entry.
template <class A>
struct BinPass {
  std::vector<int32_t> begin;  // only of products
  std::vector<int64_t> source_offset, target_offset;
  std::vector<A> weight;

  /// These entries of `source`, and bins written as `place_of(bin)` says.
  template <class PlaceOf>
  void set(const std::vector<int32_t>& y, const std::vector<int32_t>& x, const std::vector<double>& weights,
           const Lattice& source, int64_t first_bin, int64_t bins, PlaceOf&& place_of) {
    source_offset.resize(y.size());
    weight.resize(y.size());
    for (size_t t = 0; t < y.size(); ++t) {
      const int64_t place = static_cast<int64_t>(t) * source.column_step;
      source_offset[t] = source.is_list ? place : y[t] * source.row_step + x[t] * source.column_step;
      weight[t] = static_cast<A>(weights[t]);
    }
    target_offset.resize(bins);
    for (int64_t bin = 0; bin < bins; ++bin) target_offset[bin] = place_of(first_bin + bin);
  }

  /// The bins that TapMerger would prepare, if their taps are products of both axes. Bin b reads its own channels,
  /// b * channel_step bytes after those of bin 0.
  template <class PlaceOf>
  void set_products(RoiPoints& roi, int64_t first, int64_t end, const PixelBox& clip, const Lattice& source,
                    int64_t channel_step, PlaceOf&& place_of) {
    begin.assign(1, 0);
    target_offset.clear();
    size_t count = 0;
    for (int64_t bin = first; bin < end && (bin == first || count < most_entries); ++bin) {
      const auto [y, x] = roi.taps_of(bin);
      const double factor = roi.mask(bin);
      const size_t most = count + taps_within(y, clip.y) * taps_within(x, clip.x) + 1;  // one is written and not kept
      if (weight.size() < most) {
        source_offset.resize(most + count);
        weight.resize(most + count);
      }
      for (const AxisTap& row : y) {
        if (row.pixel < clip.y.first || row.pixel > clip.y.last) continue;
        const int64_t line = row.pixel * source.row_step + bin * channel_step;
        for (const AxisTap& column : x) {
          const double product = factor * row.weight * column.weight;
          source_offset[count] = line + column.pixel * source.column_step;
          weight[count] = static_cast<A>(product);
          count += product != 0.0 && clip.contains(row.pixel, column.pixel);
        }
      }
      begin.push_back(static_cast<int32_t>(count));
      target_offset.push_back(place_of(bin));
    }
  }

  /// If every bin has its own channels: those of its entries, with channels so many bytes apart.
  void shift_channels(const BinTaps& taps, int64_t step) {
    for (int64_t b = 0; b < taps.bins(); ++b) {
      for (int32_t t = taps.begin[b]; t < taps.begin[b + 1]; ++t) source_offset[t] += (taps.first_bin + b) * step;
    }
  }

  AxisPlan<A> plan(const std::vector<int32_t>& begin) const {
    return {static_cast<int64_t>(target_offset.size()), begin.data(), source_offset.data(), weight.data(),
            target_offset.data()};
  }
};

/// The points of bins, with the places of taps and bins given by the pass.
template <class A>
PointPlan<A> plan_of(const BinPoints& points, const BinPass<A>& pass) {
  return {points.bins(),
          points.point_begin.data(),
          points.has_zero.data(),
          points.tap_begin.data(),
          pass.source_offset.data(),
          pass.weight.data(),
          pass.target_offset.data()};
}

/// The other axis: one row with one entry of weight 1.
template <class A>
AxisPlan<A> single_row() {
  static constexpr int32_t begin[2] = {0, 1};
  static constexpr int64_t nowhere[1] = {0};
  static constexpr A one[1] = {A(1)};
  return {1, begin, nowhere, one, nowhere};
}

/// The maps that determine the winners, or none if these are the maps themselves.
inline std::span<const View> other_deciding(std::span<const View> deciding, std::span<const View> maps) {
  const auto same = [](const View& map, const View& other) {
    return map.data == other.data && map.size == other.size && map.stride == other.stride;
  };
  const bool are_same = std::equal(maps.begin(), maps.end(), deciding.begin(), deciding.end(), same);
  return are_same ? std::span<const View>{} : deciding;
}

inline int64_t image_of(const PointwiseCall& call, int64_t row) { return call.images[row]; }

/// The channels of a map that one bin reads, if every bin has its own.
inline View channels_of_bin(const View& map, int64_t bin, int64_t bins) {
  View part = map;
  part.data += bin * map.stride[1];
  part.size[1] /= bins;
  part.stride[1] *= bins;
  return part;
}

/// Blocks of channels are multiples of this: orientations belong together.
inline int64_t channel_unit(const PointwiseCall& call) {
  return 16 * (call.spec.channels == Channels::orientation ? call.spec.orientations : 1);
}

/// The rotation of the pooled channels of a rotation-invariant RoI: channel o of a group of O is
/// first * pooled[o - steps] + second * pooled[o - steps + 1], with indices modulo O.
struct Orientation {
  int64_t orientations, steps;
  double between;  // the fraction of the way from one orientation to the next
  double per_angle;

  Orientation(const PointwiseCall& call, int64_t row);

  /// The weights of that sum: of the operator (0) or of its derivative in the angle (1).
  std::array<double, 2> weights(int derivative) const {
    return derivative == 0 ? std::array{1.0 - between, between} : std::array{-per_angle, per_angle};
  }

  /// target[bin][channel] += factor * the sum above or, transposed, from the channels of the result to the pooled ones.
  template <class A>
  void mix(const AlignedVector<A>& source, AlignedVector<A>& target, int64_t bins, int64_t channels, int derivative,
           bool transposed, double factor) const {
    const auto both = weights(derivative);
    const A first = static_cast<A>(factor * both[0]), second = static_cast<A>(factor * both[1]);
    const int64_t turn = transposed ? orientations - steps : steps;  // in 1 .. O, or 0 .. O - 1
    const int64_t next = transposed ? orientations - 1 : 1;
    for (int64_t o = 0; o < orientations; ++o) {
      const int64_t here = (o - turn + orientations) % orientations, beyond = (here + next) % orientations;
      for (int64_t group = 0; group < bins * channels; group += orientations) {
        target[group + o] += first * source[group + here] + second * source[group + beyond];
      }
    }
  }
};

/// About how many entries the bins of RoIs have: four for a point.
inline double entries_of(std::span<const RoiPoints> rois) {
  double points = 0.0;
  for (const RoiPoints& roi : rois) points += roi.points();
  return 4.0 * points;
}

inline double rectangle_size(const RoiGroup& group) {
  return static_cast<double>(group.y.length()) * static_cast<double>(group.x.length());
}

/// Whether copying so many entries of a planar map is faster than transposing all pixels around them.
inline bool are_few_entries(double entries, double pixels) {
  constexpr double copying_takes = 3.0;  // as long for a pixel as transposing many
  return copying_takes * entries < pixels;
}

/// The pixels of a block of channels: of a part of a map or, if these are many more than are needed, only those of the
/// entries that are asked for.
struct PixelSource {
  Operand part;
  const View* map = nullptr;  // if entries are copied one by one
  int64_t image = 0, channel = 0, channels = 0;
  Values values = Values::accumulators;
};

/// A tile of a rectangle, with its pixels numbered as in the map.
inline Operand placed(Operand tile, const PixelBox& box) {
  tile.lattice.is_compact = false;
  tile.base -= box.y.first * tile.lattice.row_step + box.x.first * tile.lattice.column_step;
  return tile;
}

template <class A>
struct PointWorkspace : Tiles<A> {
  using Tiles<A>::Tiles;

  /// What a group of RoIs reads of a map, for a block of channels: in place or, if channels are not adjacent, a copy of
  /// the group's rectangle or of few entries.
  PixelSource read(const View& map, bool is_in_place, bool has_few_entries, const RoiGroup& group, int64_t channel,
                   int64_t channels, AlignedVector<A>& memory, Values values) {
    if (is_in_place) return {this->in_place(map, group.image, channel)};
    if (has_few_entries) return {Operand{}, &map, group.image, channel, channels, values};
    return {panel(map, group.image, {group.y, group.x}, channel, channels, memory, values)};
  }

  /// The same of the map that determines the winners: `source`, unless there are other deciding maps.
  PixelSource read_deciding(std::span<const View> others, ScalarType type, bool has_few_entries, const RoiGroup& group,
                            int64_t channel, int64_t channels, const PixelSource& source) {
    if (others.empty()) return source;
    const View& map = others[group.level];
    return read(map, has_adjacent_channels(map, type), has_few_entries, group, channel, channels, deciding_tile,
                Values::accumulators);
  }

  /// What `pass` reads for these entries, until it asks for others.
  Operand operand_for(const PixelSource& source, std::span<const int32_t> y, std::span<const int32_t> x) {
    if (source.map == nullptr) return source.part;
    return this->gather_each(*source.map, source.image, source.channel, source.channels, y, x, entries_tile,
                             source.values);
  }

  /// A copy of a rectangle.
  Operand panel(const View& map, int64_t image, const PixelBox& box, int64_t channel, int64_t channels,
                AlignedVector<A>& memory, Values values) {
    if (box.is_empty()) return this->tile(memory, 0, 0, channels, values);
    View rectangle = map;
    rectangle.data += box.y.first * map.stride[2] + box.x.first * map.stride[3];
    rectangle.size[2] = box.y.length();
    rectangle.size[3] = box.x.length();
    return placed(this->gather(rectangle, image, channel, channels, memory, values), box);
  }

  /// The maxima of bins, written as `place_of(bin)` says.
  template <class PlaceOf>
  void maximum(const BinPoints& points, const PixelSource& from, ScalarType type, const Operand& target,
               int32_t* winner, int64_t channels, PlaceOf&& place_of) {
    const Operand source = operand_for(from, points.y, points.x);
    pass.set(points.y, points.x, points.weight, source.lattice, points.first_bin, points.bins(), place_of);
    const auto kernel = point_kernels<A>(type).maximum[index(source.lattice.values)][index(target.lattice.values)];
    kernel(plan_of(points, pass), source.base, target.base, winner, channels);
  }

  /// The points that have the maximum of each bin and channel (the winners): [bins][channels] indices of points within
  /// the bin, or -1 for a point outside the map. They are computed again wherever they are needed. Storing them for all
  /// bins would take as much memory as the result, and loading them would take longer than computing them again.
  const int32_t* winners(const BinPoints& points, const PixelSource& deciding, ScalarType type, int64_t channels) {
    winner.resize(std::max<int64_t>(points.bins() * channels, 1));
    const Operand values = this->tile(maximum_tile, points.bins(), 1, channels, Values::accumulators);
    maximum(points, deciding, type, values, winner.data(), channels,
            [&](int64_t bin) { return (bin - points.first_bin) * values.lattice.row_step; });
    return winner.data();
  }

  /// The bins from `first` on, as many as are prepared together, if every bin has its own channels, so many bytes
  /// apart.
  template <class PlaceOf>
  AxisPlan<A> plan_apart(RoiPoints& roi, int64_t first, int64_t end, bool has_tangent, const PixelBox& clip,
                         const Lattice& pixels, int64_t channel_step, PlaceOf&& place_of) {
    if (!has_tangent && roi.samples_by_axis()) {
      pass.set_products(roi, first, end, clip, pixels, channel_step, place_of);
      return pass.plan(pass.begin);
    }
    taps.resize(std::max<size_t>(taps.size(), 1));
    BinTaps& merged = taps[0];
    merger.merge(roi, first, end, TapValues::weight, has_tangent, clip, merged);
    pass.set(merged.y, merged.x, merged.value[weight_], pixels, first, merged.bins(), place_of);
    pass.shift_channels(merged, channel_step);
    return pass.plan(merged.begin);
  }

  /// The bins of a RoI of whole pixels, for a row of bins that the caller sets, from a source of so many channels.
  PixelBins<A> pixel_bins(const RoiPoints& roi, int64_t bins_x, const Lattice& source, int64_t channels) {
    first_column.resize(bins_x);
    end_column.resize(bins_x);
    PixelRange all = PixelRange::none();
    for (int64_t x = 0; x < bins_x; ++x) {
      const PixelSpan span = roi.whole_pixels(1, x);
      first_column[x] = span.first;
      end_column[x] = span.end;
      if (span.first < span.end) all = all.joined({span.first, span.end - 1});
    }
    const int64_t values = channels <= most_run_channels ? std::max<int64_t>(all.length() * channels, 1) : 1;
    column_best.resize(values);
    column_row.resize(values);
    return {.bins = bins_x,
            .first_row = 0,
            .end_row = 0,
            .first_column = first_column.data(),
            .end_column = end_column.data(),
            .row_step = source.row_step,
            .column_step = source.column_step,
            .bin_step = 0,
            .column_best = column_best.data(),
            .column_row = column_row.data()};
  }

  TapMerger merger;
  std::vector<BinTaps> taps;      // of every RoI of a group
  std::vector<BinPoints> points;  // the same for maxima
  BinPass<A> pass;
  AlignedVector<A> mixed_tile, deciding_tile, maximum_tile, entries_tile;
  AlignedVector<int32_t> winner;

 private:
  std::vector<int64_t> first_column, end_column;
  AlignedVector<A> column_best;
  AlignedVector<int32_t> column_row;
};

}  // namespace roialign
