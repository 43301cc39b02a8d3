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

/// Whether the channels of an image are consecutive planes, with pixels in row-major order.
inline bool has_adjacent_planes(const View& view, ScalarType type) {
  const auto& [n, c, y, x] = view.stride;
  return x == size_of(type) && y == view.size[3] * x && c == view.size[2] * y;
}

/// Whether the pixels of a row are consecutive, with adjacent channels.
inline bool has_adjacent_pixels(const View& view, ScalarType type) {
  return has_adjacent_channels(view, type) && view.stride[3] == view.size[1] * size_of(type);
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

/// Channels are processed in equal blocks of at most `most`. If there are several, they are multiples of 16 groups.
struct ChannelBlocks {
  ChannelBlocks(int64_t channels, int64_t most, int64_t group = 1) : channels(channels) {
    const int64_t unit = 16 * group;
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
    return {address(view, n, channel), {view.stride[2], view.stride[3], false}};
  }

  static Operand tile(AlignedVector<A>& memory, int64_t rows, int64_t columns, int64_t channels) {
    memory.resize(std::max<int64_t>(rows * columns * channels, 1));  // never null
    return {reinterpret_cast<std::byte*>(memory.data()), dense_lattice<A>(columns, channels)};
  }

  /// A block of one image of a view: the given rows and columns, or all.
  Block block(const View& view, int64_t n, int64_t channel, int64_t channels,
              const std::span<const int64_t>* rows = nullptr, const std::span<const int64_t>* columns = nullptr) {
    const auto height = rows ? static_cast<int64_t>(rows->size()) : view.size[2];
    const auto width = columns ? static_cast<int64_t>(columns->size()) : view.size[3];
    // Consecutive rows are treated as one long row.
    const bool one_row = !rows && !columns && view.stride[2] == width * view.stride[3];
    fill_offsets(row_offset, one_row ? 1 : height, view.stride[2], rows);
    fill_offsets(column_offset, one_row ? height * width : width, view.stride[3], columns);
    return {address(view, n, channel),
            static_cast<int64_t>(row_offset.size()),
            static_cast<int64_t>(column_offset.size()),
            channels,
            row_offset.data(),
            column_offset.data(),
            view.stride[1]};
  }

  /// The same block of pixels as a dense tile.
  Operand gather(const View& view, int64_t n, int64_t channel, int64_t channels, AlignedVector<A>& memory,
                 const std::span<const int64_t>* rows = nullptr, const std::span<const int64_t>* columns = nullptr) {
    const int64_t height = rows ? static_cast<int64_t>(rows->size()) : view.size[2];
    const int64_t width = columns ? static_cast<int64_t>(columns->size()) : view.size[3];
    const Operand operand = tile(memory, height, width, channels);
    kernels.gather(block(view, n, channel, channels, rows, columns), memory.data());
    return operand;
  }

  /// All pixels, as a dense tile in memory that is large enough.
  Operand gather_into(A* memory, const View& view, int64_t n, int64_t channel, int64_t channels) {
    kernels.gather(block(view, n, channel, channels), memory);
    return {reinterpret_cast<std::byte*>(memory), dense_lattice<A>(view.size[3], channels)};
  }

  void scatter(const A* tile, const View& view, int64_t n, int64_t channel, int64_t channels) {
    kernels.scatter(tile, block(view, n, channel, channels));
  }

  /// The same, bypassing the caches, for consecutive planes.
  void stream_planes(const A* tile, const View& view, int64_t n, int64_t channel, int64_t channels) {
    View dense = view;
    dense.data = staging(channels * view.stride[1]);
    kernels.scatter(tile, block(dense, 0, 0, channels));
    kernels.stream(dense.data, address(view, n, channel), channels * view.stride[1]);
  }

  /// The same for a piece of a map. Bypasses the caches if the map is too large for them.
  void write_piece(const A* tile, const View& piece, const View& map, ScalarType type, int64_t n, int64_t channel,
                   int64_t channels) {
    const bool is_large = is_larger_than_caches(map, type);
    const bool has_long_runs =
        map.stride[3] == size_of(type) || (channels == map.size[1] && has_adjacent_pixels(map, type));
    if (is_large && has_long_runs) {
      kernels.scatter_streaming(tile, block(piece, n, channel, channels));
    } else {
      scatter(tile, piece, n, channel, channels);
    }
  }

  const Kernels<A>& kernels;
  AlignedVector<A> source_tile, gradient_tile, target_tile;

 private:
  std::byte* staging(int64_t bytes) {
    staged.resize(bytes);
    return staged.data();
  }

  static void fill_offsets(std::vector<int64_t>& offsets, int64_t count, int64_t step,
                           const std::span<const int64_t>* places) {
    offsets.resize(count);
    for (int64_t i = 0; i < count; ++i) offsets[i] = (places == nullptr ? i : (*places)[i]) * step;
  }

  std::vector<int64_t> row_offset, column_offset;
  AlignedVector<std::byte> staged;
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
