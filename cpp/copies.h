// Copies between memory of any layout and dense tiles, with conversion and transposition: the kernels `gather`,
// `scatter` and `stream`. Included only by kernels.cpp, inside the namespace of one instruction set (see simd.h).

// Transposition of a block of `lanes` rows, loaded in pieces with as many columns as the block has: whole vectors or,
// for short lines, 16 bytes, which need only shuffles within 16 bytes.

/// Interleaves the values of a and b within each group of `within` values: their first halves or, with `offset`, their
/// second halves.
template <int offset, int within, class V, int... i>
inline V interleave(V a, V b, Indices<i...>) {
  constexpr int lanes = sizeof...(i);
  return __builtin_shufflevector(a, b, ((i % 2) * lanes + i / within * within + offset + i % within / 2)...);
}

template <class V, int... i>
inline auto concatenate(V a, V b, Indices<i...>) {
  return __builtin_shufflevector(a, b, i...);
}

/// Concatenates pieces of `within` values of the rows 0, within, 2 * within, ..
template <class A, int lanes, int within, class T>
inline Vector<A, lanes> load_pieces(const T* from, int64_t row_stride) {
  if constexpr (lanes == within) {
    return Lanes<A, lanes>::load(from);
  } else {
    const auto low = load_pieces<A, lanes / 2, within>(from, row_stride);
    const auto high = load_pieces<A, lanes / 2, within>(from + lanes / 2 * row_stride, row_stride);
    return concatenate(low, high, UpTo<lanes>{});
  }
}

/// rows[column][row] = source[row][column] for `lanes` rows and `within` columns.
template <class A, int lanes, int within, class Source>
inline void load_transposed(const Source* source, int64_t source_stride, Vector<A, lanes> (&rows)[within]) {
#pragma GCC unroll 16
  for (int k = 0; k < within; ++k) {
    rows[k] = load_pieces<A, lanes, within>(source + k * source_stride, source_stride);
  }
#pragma GCC unroll 8
  for (int pass = 1; pass < within; pass *= 2) {  // perfect shuffles
    Vector<A, lanes> shuffled[within];
#pragma GCC unroll 8
    for (int pair = 0; pair < within / 2; ++pair) {
      shuffled[2 * pair] = interleave<0, within>(rows[pair], rows[pair + within / 2], UpTo<lanes>{});
      shuffled[2 * pair + 1] = interleave<within / 2, within>(rows[pair], rows[pair + within / 2], UpTo<lanes>{});
    }
#pragma GCC unroll 16
    for (int k = 0; k < within; ++k) rows[k] = shuffled[k];
  }
}

/// target[column][row] = source[row][column] for `lanes` rows and `within` columns; strides in elements.
template <class A, int lanes, int within, class Source, class Target>
inline void transpose_block(const Source* source, int64_t source_stride, Target* target, int64_t target_stride) {
  Vector<A, lanes> rows[within];
  load_transposed<A, lanes, within>(source, source_stride, rows);
#pragma GCC unroll 16
  for (int k = 0; k < within; ++k) Lanes<A, lanes>::store(target + k * target_stride, rows[k]);
}

/// The same for as many rows as fill a cache line of the target. A line is written past the caches if it is one in
/// memory too.
template <int lanes, int within, class A>
inline void transpose_lines(const A* source, int64_t source_stride, A* target, int64_t target_stride) {
  constexpr int vectors = 64 / int{lanes * sizeof(A)};
  Vector<A, lanes> rows[vectors][within];
#pragma GCC unroll 4
  for (int i = 0; i < vectors; ++i) {
    load_transposed<A, lanes, within>(source + i * lanes * source_stride, source_stride, rows[i]);
  }
#pragma GCC unroll 16
  for (int k = 0; k < within; ++k) {
    A* const line = target + k * target_stride;
    const bool is_aligned = reinterpret_cast<uintptr_t>(line) % 64 == 0;
#pragma GCC unroll 4
    for (int i = 0; i < vectors; ++i) {
      if (is_aligned) {
        Lanes<A, lanes>::stream(line + i * lanes, rows[i][k]);
      } else {
        Lanes<A, lanes>::store(line + i * lanes, rows[i][k]);
      }
    }
  }
}

/// How far ahead a map is requested from memory when it is gathered: CPUs do not predict the lines of 16 planes.
constexpr int64_t prefetched_bytes = 256;

/// The first index of every block of `size` in 0 .. count - 1. The last block overlaps the previous one, so that there
/// is no remainder. There is at least one block.
template <int64_t size, class Function>
inline void for_each_block(int64_t count, Function&& function) {
  for (int64_t first = 0; first < count; first += size) function(first + size <= count ? first : count - size);
}

/// target[column][row] = source[row][column] in blocks of `lanes` rows and `width` columns, with strides in elements.
template <class A, int lanes, int width, bool prefetches, class Source, class Target>
void transpose_in_blocks(const Source* source, int64_t source_stride, Target* target, int64_t target_stride,
                         int64_t rows, int64_t columns) {
  for_each_block<lanes>(rows, [&](int64_t row) {
    for_each_block<width>(columns, [&](int64_t column) {
      const Source* const from = source + row * source_stride + column;
      if constexpr (prefetches) {
        constexpr int64_t ahead = prefetched_bytes / int64_t{sizeof(Source)};
#pragma GCC unroll 16
        for (int k = 0; k < lanes; ++k) __builtin_prefetch(from + k * source_stride + ahead);
      }
      transpose_block<A, lanes, width>(from, source_stride, target + column * target_stride + row, target_stride);
    });
  });
}

/// target[column][row] = source[row][column], both with contiguous columns; strides in elements.
template <class A, bool prefetches, class Source, class Target>
void transpose(const Source* source, int64_t source_stride, Target* target, int64_t target_stride, int64_t rows,
               int64_t columns) {
  // Blocks of whole vectors need shuffles of any two vectors, which only AVX-512 has, and not for values of 2 bytes.
  constexpr int lanes = vector_bytes / sizeof(A), narrow = 16 / sizeof(A);
  constexpr int wide = vector_bytes == 64 && sizeof(A) > 2 ? lanes : narrow;
  if (rows >= lanes && columns >= wide) {
    transpose_in_blocks<A, lanes, wide, prefetches>(source, source_stride, target, target_stride, rows, columns);
  } else if (rows >= lanes && columns >= narrow) {
    transpose_in_blocks<A, lanes, narrow, prefetches>(source, source_stride, target, target_stride, rows, columns);
  } else if (rows >= narrow && columns >= narrow) {
    transpose_in_blocks<A, narrow, narrow, prefetches>(source, source_stride, target, target_stride, rows, columns);
  } else {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        store_one(target + column * target_stride + row,
                  static_cast<A>(load_one(source + row * source_stride + column)));
      }
    }
  }
}

/// The same for at least one line of rows and `width` columns, bypassing the caches. A few columns at a time are
/// written in runs of lines.
template <int width, class A>
void transpose_in_lines(const A* source, int64_t source_stride, A* target, int64_t target_stride, int64_t rows,
                        int64_t columns) {
  for_each_block<width>(columns, [&](int64_t column) {
    for_each_block<64 / sizeof(A)>(rows, [&](int64_t row) {
      transpose_lines<vector_bytes / sizeof(A), width>(source + row * source_stride + column, source_stride,
                                                       target + column * target_stride + row, target_stride);
    });
  });
}

/// The same as `transpose`, bypassing the caches where whole cache lines of the target are filled. Half types do not:
/// they are slower so.
template <class A, class Target>
void transpose_streaming(const A* source, int64_t source_stride, Target* target, int64_t target_stride, int64_t rows,
                         int64_t columns) {
  if constexpr (sizeof(Target) == sizeof(A)) {
    constexpr int line = 64 / sizeof(A), narrow = 16 / sizeof(A), wide = vector_bytes == 64 ? line : narrow;
    if (rows >= line && columns >= wide) {
      return transpose_in_lines<wide>(source, source_stride, target, target_stride, rows, columns);
    }
    if (rows >= line && columns >= narrow) {
      return transpose_in_lines<narrow>(source, source_stride, target, target_stride, rows, columns);
    }
  }
  transpose<A, false>(source, source_stride, target, target_stride, rows, columns);
}

template <class A, class Source, class Target>
inline void convert(const Source* source, Target* target, int64_t count) {
  constexpr int64_t lanes = vector_bytes / sizeof(A);
  using L = Lanes<A, lanes>;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) L::store(target + i, L::load(source + i));
  for (; i < count; ++i) store_one(target + i, static_cast<A>(load_one(source + i)));
}

/// Copies `bytes` of memory, bypassing the caches. The caller orders the stores.
inline void stream_run(const std::byte* from, std::byte* to, int64_t bytes) {
  const int64_t misaligned = static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) % vector_bytes);
  const int64_t head = misaligned == 0 ? 0 : vector_bytes - misaligned;
  int64_t done = head < bytes ? head : bytes;
  __builtin_memcpy(to, from, static_cast<size_t>(done));
  for (; done + vector_bytes <= bytes; done += vector_bytes) stream_bytes<vector_bytes>(to + done, from + done);
  __builtin_memcpy(to + done, from + done, static_cast<size_t>(bytes - done));
}

/// The same as `convert`, bypassing the caches.
template <class T, class A>
inline void convert_streaming(const A* source, T* target, int64_t count) {
  if constexpr (sizeof(T) == sizeof(A)) {
    return stream_run(reinterpret_cast<const std::byte*>(source), reinterpret_cast<std::byte*>(target),
                      count * int64_t{sizeof(T)});
  }
  constexpr int64_t piece = 1024;
  alignas(64) T narrowed[piece];
  for (int64_t i = 0; i < count; i += piece) {
    const int64_t length = count - i < piece ? count - i : piece;
    convert<A>(source + i, narrowed, length);
    stream_run(reinterpret_cast<const std::byte*>(narrowed), reinterpret_cast<std::byte*>(target + i),
               length * int64_t{sizeof(T)});
  }
}

/// Whether the values of a pixel are adjacent, so that they have the order of a tile.
template <class T>
inline bool has_adjacent_values(const Block& block) {
  return block.channels == 1 || block.channel_stride == int64_t{sizeof(T)};
}

/// The end of the run of columns, from `first` on, whose pixels are adjacent: all their values, or those of a channel.
template <class T>
inline int64_t run_end(const Block& block, int64_t first) {
  const int64_t step = (has_adjacent_values<T>(block) ? block.channels : 1) * int64_t{sizeof(T)};
  int64_t end = first + 1;
  while (end < block.columns && block.column_offset[end] - block.column_offset[end - 1] == step) ++end;
  return end;
}

/// Single pixels. If they are of planes, a few planes at a time, because every one is in other pages of memory.
template <class T, class A>
void gather_pixels(const Block& block, A* tile) {
  constexpr int64_t planes = 16;
  for (int64_t c = 0; c < block.channels; c += planes) {
    const int64_t channels = block.channels - c < planes ? block.channels - c : planes;
    const std::byte* const base = block.base + c * block.channel_stride;
    A* pixel = tile + c;
    for (int64_t row = 0; row < block.rows; ++row) {
      for (int64_t column = 0; column < block.columns; ++column, pixel += block.channels) {
        const std::byte* from = base + block.row_offset[row] + block.column_offset[column];
        for (int64_t k = 0; k < channels; ++k, from += block.channel_stride) {
          pixel[k] = static_cast<A>(load_one(at<T>(from, 0)));
        }
      }
    }
  }
}

/// Whether pixels lie apart, or in runs that are too short for vectors.
template <class T>
inline bool has_short_runs(const Block& block) {
  int64_t runs = 0;
  for (int64_t first = 0; first < block.columns; first = run_end<T>(block, first)) ++runs;
  return runs * 4 > block.columns;
}

template <class T, class A>
void gather(const Block& block, std::byte* to_tile) {
  A* const tile = at<A>(to_tile, 0);
  const bool is_narrow = !has_adjacent_values<T>(block) || block.channels < vector_bytes / int64_t{sizeof(A)};
  if (is_narrow && has_short_runs<T>(block)) return gather_pixels<T>(block, tile);
  for (int64_t row = 0; row < block.rows; ++row) {
    const std::byte* line = block.base + block.row_offset[row];
    A* const tile_line = tile + row * block.columns * block.channels;
    for (int64_t first = 0, end = 0; first < block.columns; first = end) {
      end = run_end<T>(block, first);
      const T* const from = at<T>(line, block.column_offset[first]);
      A* const to = tile_line + first * block.channels;
      if (has_adjacent_values<T>(block)) {
        convert<A>(from, to, (end - first) * block.channels);
      } else {
        transpose<A, true>(from, block.channel_stride / int64_t{sizeof(T)}, to, block.channels, block.channels,
                           end - first);
      }
    }
  }
}

template <class T, class A, bool streams>
void scatter(const std::byte* from_tile, const Block& block) {
  const A* const tile = at<A>(from_tile, 0);
  for (int64_t row = 0; row < block.rows; ++row) {
    std::byte* line = block.base + block.row_offset[row];
    const A* const tile_line = tile + row * block.columns * block.channels;
    for (int64_t first = 0, end = 0; first < block.columns; first = end) {
      end = run_end<T>(block, first);
      const A* const from = tile_line + first * block.channels;
      T* const to = at<T>(line, block.column_offset[first]);
      const int64_t columns = end - first, stride = block.channel_stride / int64_t{sizeof(T)};
      if (has_adjacent_values<T>(block)) {
        if constexpr (streams) {
          convert_streaming(from, to, columns * block.channels);
        } else {
          convert<A>(from, to, columns * block.channels);
        }
      } else if constexpr (streams) {
        transpose_streaming<A>(from, block.channels, to, stride, columns, block.channels);
      } else {
        transpose<A, false>(from, block.channels, to, stride, columns, block.channels);
      }
    }
  }
  if constexpr (streams) order_streams();
}

void stream(const std::byte* from, std::byte* to, int64_t bytes) {
  stream_run(from, to, bytes);
  order_streams();
}
