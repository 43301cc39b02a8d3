// Access to memory of any layout in the form that the kernels need: tiles are gathered from it and scattered to it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "aligned_vector.h"
#include "contraction.h"
#include "kernels.h"
#include "parallel.h"
#include "pointwise_kernels.h"

namespace roialign {

/// Four axes in memory, seen as [N, C, H, W] whatever their order: strides in bytes, of any sign.
struct View {
  std::byte* data;
  std::array<int64_t, 4> size;
  std::array<int64_t, 4> stride;
};

inline int64_t size_of(ScalarType type) {
  constexpr int64_t sizes[scalar_type_count] = {8, 4, 2, 2};
  return sizes[static_cast<int>(type)];
}

/// Whether channels are adjacent, so that the kernels can work on the memory in place.
inline bool has_adjacent_channels(const View& view, ScalarType type) {
  return view.size[1] == 1 || view.stride[1] == size_of(type);
}

inline bool have_adjacent_channels(std::span<const View> views, ScalarType type) {
  return std::all_of(views.begin(), views.end(), [&](const View& view) { return has_adjacent_channels(view, type); });
}

/// Whether the channels of an image are consecutive planes, with pixels in row-major order.
inline bool has_adjacent_planes(const View& view, ScalarType type) {
  const auto& [n, c, y, x] = view.stride;
  return x == size_of(type) && y == view.size[3] * x && c == view.size[2] * y;
}

/// Whether the pixels of a row are consecutive, with adjacent channels.
inline bool has_adjacent_pixels(const View& view, ScalarType type) {
  return has_adjacent_channels(view, type) && view.stride[3] == view.size[1] * size_of(type);
}

/// Whether the pixels of every row are consecutive, in each channel.
inline bool have_rows(std::span<const View> views, ScalarType type) {
  return std::all_of(views.begin(), views.end(), [&](const View& view) { return view.stride[3] == size_of(type); });
}

/// Whether memory is larger than the caches. It will not be in them when it is read, so writing it should neither read
/// it into the caches nor evict other data.
inline bool is_larger_than_caches(const View& view, ScalarType type) {
  const auto& [n, c, h, w] = view.size;
  return n * c * h * w * size_of(type) > (int64_t{16} << 20);
}

inline std::byte* address(const View& view, int64_t n, int64_t channel) {
  return view.data + n * view.stride[0] + channel * view.stride[1];
}

/// Whether the kernels find values of this kind in memory of the scalar type.
template <class A>
bool are_in_memory(Values values, ScalarType type) {
  return values == Values::scalars || size_of(type) == int64_t{sizeof(A)};
}

/// Channels are processed in equal blocks of about `most`. If there are several, they are multiples of `unit`.
struct ChannelBlocks {
  ChannelBlocks(int64_t channels, int64_t most, int64_t unit = 16) : channels(channels) {
    const int64_t wanted = std::max<int64_t>((channels + most - 1) / most, 1);
    size = wanted == 1 ? channels : ((channels + wanted - 1) / wanted + unit - 1) / unit * unit;
    count = channels == 0 ? 0 : (channels + size - 1) / size;
  }
  static ChannelBlocks one_by_one(int64_t channels) {
    ChannelBlocks blocks(channels, std::max<int64_t>(channels, 1));
    blocks.size = 1;
    blocks.count = channels;
    return blocks;
  }
  int64_t first(int64_t block) const { return block * size; }
  int64_t length(int64_t block) const { return std::min(size, channels - block * size); }

  int64_t channels, size, count;
};

/// An operand of a contraction: its address and its layout.
struct Operand {
  std::byte* base;
  Lattice lattice;
};

/// Gathering and scattering, with the buffers of one thread, which keep their memory.
template <class A>
struct Tiles {
  explicit Tiles(const Kernels<A>& kernels) : kernels(kernels) {}

  /// An operand in a view with adjacent channels.
  static Operand in_place(const View& view, int64_t n, int64_t channel) {
    return {address(view, n, channel), {view.stride[2], view.stride[3], Values::scalars}};
  }

  /// A dense tile [rows][columns][channels] in a buffer.
  Operand tile(AlignedVector<A>& memory, int64_t rows, int64_t columns, int64_t channels, Values values) const {
    const Lattice lattice = dense_lattice(kernels, columns, channels, values);
    constexpr int64_t size = sizeof(A);
    memory.resize(std::max<int64_t>((rows * lattice.row_step + size - 1) / size, 1));  // never null
    return {reinterpret_cast<std::byte*>(memory.data()), lattice};
  }

  /// All pixels of a block of channels of one image of a view. Consecutive rows are treated as one long row.
  Block block(const View& view, int64_t n, int64_t channel, int64_t channels) {
    const int64_t height = view.size[2], width = view.size[3];
    const bool one_row = view.stride[2] == width * view.stride[3];
    fill_offsets(row_offset_, one_row ? 1 : height, view.stride[2]);
    fill_offsets(column_offset_, one_row ? height * width : width, view.stride[3]);
    return block_of_offsets(view, n, channel, channels);
  }

  /// Copies such a block into a dense tile of its size.
  void gather_into(const Operand& tile, const View& view, int64_t n, int64_t channel, int64_t channels) {
    kernels.gather[index(tile.lattice.values)](block(view, n, channel, channels), tile.base);
  }

  /// The same in a tile of its own.
  Operand gather(const View& view, int64_t n, int64_t channel, int64_t channels, AlignedVector<A>& memory,
                 Values values) {
    const Operand operand = tile(memory, view.size[2], view.size[3], channels, values);
    gather_into(operand, view, n, channel, channels);
    return operand;
  }

  /// The same for some rows and columns.
  Operand gather(const View& view, int64_t n, int64_t channel, int64_t channels, std::span<const int64_t> rows,
                 std::span<const int64_t> columns, AlignedVector<A>& memory, Values values) {
    const auto height = static_cast<int64_t>(rows.size()), width = static_cast<int64_t>(columns.size());
    const Operand operand = tile(memory, height, width, channels, values);
    fill_offsets(row_offset_, rows, view.stride[2]);
    fill_offsets(column_offset_, columns, view.stride[3]);
    kernels.gather[index(values)](block_of_offsets(view, n, channel, channels), operand.base);
    return operand;
  }

  /// The same for any pixels, as one row in their order.
  Operand gather_each(const View& view, int64_t n, int64_t channel, int64_t channels, std::span<const int32_t> y,
                      std::span<const int32_t> x, AlignedVector<A>& memory, Values values) {
    const auto count = static_cast<int64_t>(y.size());
    Operand operand = tile(memory, 1, count, channels, values);
    operand.lattice.is_list = true;
    row_offset_.assign(1, 0);
    column_offset_.resize(count);
    for (int64_t i = 0; i < count; ++i) column_offset_[i] = y[i] * view.stride[2] + x[i] * view.stride[3];
    kernels.gather[index(values)](block_of_offsets(view, n, channel, channels), operand.base);
    return operand;
  }

  /// Writes a dense tile to all pixels of a block of channels.
  void scatter(const Operand& tile, const View& view, int64_t n, int64_t channel, int64_t channels) {
    kernels.scatter[index(tile.lattice.values)](tile.base, block(view, n, channel, channels));
  }

  /// Writes zeros to a block of channels of all pixels of some images.
  void write_zeros(const View& view, std::span<const int64_t> images, int64_t channel, int64_t channels) {
    const Operand zeros = tile(target_tile, view.size[2], view.size[3], channels, Values::accumulators);
    std::fill(target_tile.begin(), target_tile.end(), A(0));
    for (const int64_t n : images) scatter(zeros, view, n, channel, channels);
  }

  /// The same as `scatter`, bypassing the caches, for consecutive planes.
  void stream_planes(const Operand& tile, const View& view, int64_t n, int64_t channel, int64_t channels) {
    View dense = view;
    staged_.resize(channels * view.stride[1]);
    dense.data = staged_.data();
    scatter(tile, dense, 0, 0, channels);
    kernels.stream(dense.data, address(view, n, channel), channels * view.stride[1]);
  }

  /// The same as `scatter` for accumulators and a piece of a map. Bypasses the caches if the map is too large for them.
  void write_piece(const Operand& tile, const View& piece, const View& map, ScalarType type, int64_t n, int64_t channel,
                   int64_t channels) {
    const bool is_large = is_larger_than_caches(map, type);
    const bool has_long_runs =
        map.stride[3] == size_of(type) || (channels == map.size[1] && has_adjacent_pixels(map, type));
    if (is_large && has_long_runs) {
      kernels.scatter_streaming(tile.base, block(piece, n, channel, channels));
    } else {
      scatter(tile, piece, n, channel, channels);
    }
  }

  const Kernels<A>& kernels;
  AlignedVector<A> source_tile, gradient_tile, target_tile;

 private:
  Block block_of_offsets(const View& view, int64_t n, int64_t channel, int64_t channels) const {
    return {address(view, n, channel),
            static_cast<int64_t>(row_offset_.size()),
            static_cast<int64_t>(column_offset_.size()),
            channels,
            row_offset_.data(),
            column_offset_.data(),
            view.stride[1]};
  }

  static void fill_offsets(std::vector<int64_t>& offsets, int64_t count, int64_t step) {
    offsets.resize(count);
    for (int64_t i = 0; i < count; ++i) offsets[i] = i * step;
  }
  static void fill_offsets(std::vector<int64_t>& offsets, std::span<const int64_t> places, int64_t step) {
    offsets.resize(places.size());
    for (size_t i = 0; i < places.size(); ++i) offsets[i] = places[i] * step;
  }

  std::vector<int64_t> row_offset_, column_offset_;
  AlignedVector<std::byte> staged_;
};

/// One workspace per thread of a team.
template <class Workspace, class A>
std::vector<Workspace> make_workspaces(ScalarType type, const Team& team) {
  std::vector<Workspace> workspaces;
  workspaces.reserve(team.threads);
  for (int worker = 0; worker < team.threads; ++worker) {
    if constexpr (std::is_same_v<A, double>) {
      workspaces.emplace_back(kernels_double());
    } else {
      workspaces.emplace_back(kernels_float(type));
    }
  }
  return workspaces;
}

template <class A>
const PointKernels<A>& point_kernels(ScalarType type) {
  if constexpr (std::is_same_v<A, double>) {
    return point_kernels_double();
  } else {
    return point_kernels_float(type);
  }
}

/// Calls function.template operator()<A>() with the accumulator of a scalar type.
template <class Function>
void with_accumulator(ScalarType type, Function&& function) {
  if (type == ScalarType::float64) {
    function.template operator()<double>();
  } else {
    function.template operator()<float>();
  }
}

}  // namespace roialign
