// The inner loops. Compiled once per instruction set, with ROIALIGN_NAMESPACE naming it; see kernels.h and simd.h.
#include "kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace roialign {
namespace ROIALIGN_NAMESPACE {

#include "simd.h"

namespace {

template <class T>
inline const T* at(const std::byte* base, int64_t offset) {
  return reinterpret_cast<const T*>(base + offset);
}
template <class T>
inline T* at(std::byte* base, int64_t offset) {
  return reinterpret_cast<T*>(base + offset);
}

// ---- contract -------------------------------------------------------------------------------------------------------

/// The number of vectors of sums that stay in registers over the taps of a bin: half of the registers.
constexpr int most_vectors = vector_bytes == 64 ? 16 : 8;

/// The taps of one bin, as ranges of the taps of both axes.
struct BinTaps {
  int32_t y_begin, y_end, x_begin, x_end;
};

/// More taps of an axis than this are summed in blocks of this size, because the rounding error grows with the length.
constexpr int32_t block_taps = 32;

/// Calls visit(BinTaps) for all taps of a bin at once, or in blocks.
template <bool in_blocks, class Visit>
inline void visit_taps(BinTaps taps, Visit&& visit) {
  if constexpr (!in_blocks) {
    visit(taps);
  } else {
    for (int32_t y = taps.y_begin; y < taps.y_end; y += block_taps) {
      const int32_t y_end = y + block_taps < taps.y_end ? y + block_taps : taps.y_end;
      for (int32_t x = taps.x_begin; x < taps.x_end; x += block_taps) {
        visit(BinTaps{y, y_end, x, x + block_taps < taps.x_end ? x + block_taps : taps.x_end});
      }
    }
  }
}

/// `vectors` vectors of channels of one bin, an even number, held in registers over all its taps.
/// Each bin is added to the target once, so that rounding errors do not grow with the number of taps.
template <Write write, bool in_blocks, int vectors, class Source, class Target, class A>
inline void contract_channels(const AxisPlan<A>& y, const AxisPlan<A>& x, BinTaps taps, const std::byte* source,
                              Target* target) {
  constexpr int lanes = vector_bytes / sizeof(A);
  using L = Lanes<A, lanes>;
  using V = typename L::V;
  V sum[vectors];
#pragma GCC unroll 16
  for (int v = 0; v < vectors; ++v) sum[v] = V{};
  visit_taps<in_blocks>(taps, [&](BinTaps block) __attribute__((always_inline)) {
    V part[vectors];
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) part[v] = V{};
    for (int32_t ty = block.y_begin; ty < block.y_end; ++ty) {
      const std::byte* line = source + y.source_offset[ty];
      const A weight_y = y.weight[ty];
      for (int32_t tx = block.x_begin; tx < block.x_end; ++tx) {
        const Source* pixel = at<Source>(line, x.source_offset[tx]);
        const A weight = weight_y * x.weight[tx];
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v += 2) {
          V first, second;
          L::template load_two<Source>(pixel + v * lanes, first, second);
          part[v] += weight * first;
          part[v + 1] += weight * second;
        }
      }
    }
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) sum[v] = in_blocks ? sum[v] + part[v] : part[v];
  });
#pragma GCC unroll 16
  for (int v = 0; v < vectors; v += 2) {
    if constexpr (write == Write::add) {
      V first, second;
      L::template load_two<Source>(target + v * lanes, first, second);
      sum[v] += first;
      sum[v + 1] += second;
    }
    L::template store_two<write == Write::stream, Source>(target + v * lanes, sum[v], sum[v + 1]);
  }
}

/// The same for one vector or one channel: the remainder at the end of a pixel.
template <Write write, bool in_blocks, class Unit, class Source, class Target, class A>
inline void contract_unit(const AxisPlan<A>& y, const AxisPlan<A>& x, BinTaps taps, const std::byte* source,
                          Target* target) {
  typename Unit::V sum{};
  visit_taps<in_blocks>(taps, [&](BinTaps block) __attribute__((always_inline)) {
    typename Unit::V part{};
    for (int32_t ty = block.y_begin; ty < block.y_end; ++ty) {
      const std::byte* line = source + y.source_offset[ty];
      const A weight_y = y.weight[ty];
      for (int32_t tx = block.x_begin; tx < block.x_end; ++tx) {
        part = multiply_add(weight_y * x.weight[tx], Unit::load(at<Source>(line, x.source_offset[tx])), part);
      }
    }
    sum = in_blocks ? sum + part : part;
  });
  if constexpr (write == Write::add) sum += Unit::load(target);
  Unit::store(target, sum);
}

template <Write write, bool in_blocks, class Source, class Target, class A>
void contract_bins(const AxisPlan<A>& y, const AxisPlan<A>& x, const std::byte* source, std::byte* target,
                   int64_t length) {
  constexpr int64_t lanes = vector_bytes / sizeof(A);
  constexpr int vectors_at_once = in_blocks ? most_vectors / 2 : most_vectors;
  for (int64_t i = 0; i < y.rows; ++i) {
    for (int64_t j = 0; j < x.rows; ++j) {
      const BinTaps taps{y.begin[i], y.begin[i + 1], x.begin[j], x.begin[j + 1]};
      Target* const pixel = at<Target>(target, y.target_offset[i] + x.target_offset[j]);
      int64_t c = 0;
      const auto step = [&]<int vectors>() {
        contract_channels<write, in_blocks, vectors, Source>(y, x, taps, source + c * int64_t{sizeof(Source)},
                                                             pixel + c);
        c += vectors * lanes;
      };
      const auto rest = [&]<class Unit>() {
        contract_unit<write, in_blocks, Unit, Source>(y, x, taps, source + c * int64_t{sizeof(Source)}, pixel + c);
        c += int64_t{sizeof(typename Unit::V) / sizeof(A)};
      };
      while (c + vectors_at_once * lanes <= length) step.template operator()<vectors_at_once>();
      if constexpr (vectors_at_once > 8) {
        if (c + 8 * lanes <= length) step.template operator()<8>();
      }
      if constexpr (vectors_at_once > 4) {
        if (c + 4 * lanes <= length) step.template operator()<4>();
      }
      if (c + 2 * lanes <= length) step.template operator()<2>();
      if (c + lanes <= length) rest.template operator()<Lanes<A, lanes>>();
      if constexpr (lanes > 8) {
        if (c + 8 <= length) rest.template operator()<Lanes<A, 8>>();
      }
      if constexpr (lanes > 4) {
        if (c + 4 <= length) rest.template operator()<Lanes<A, 4>>();
      }
      while (c < length) rest.template operator()<OneLane<A>>();
    }
  }
}

/// The same for one channel.
template <Write write, class Source, class Target, class A>
void contract_values(const AxisPlan<A>& y, const AxisPlan<A>& x, const std::byte* source, std::byte* target) {
  // Copy these values, because the stores below could alias them.
  const int32_t* const begin = x.begin;
  const int64_t* const offset = x.source_offset;
  const A* const weight = x.weight;
  const int64_t* const place = x.target_offset;
  const int64_t columns = x.rows;
  for (int64_t i = 0; i < y.rows; ++i) {
    std::byte* const row = target + y.target_offset[i];
    const int32_t first = y.begin[i], end = y.begin[i + 1];
    const auto write_sum = [&](int64_t j, A sum) __attribute__((always_inline)) {
      auto* const to = at<Target>(row, place[j]);
      if constexpr (write == Write::add) sum += load_one(to);
      store_one(to, sum);
    };
    if (end - first == 1) {  // as in the second of two passes, which takes 1.4 times as long without this loop
      const std::byte* const line = source + y.source_offset[first];
      const A weight_y = y.weight[first];
      for (int64_t j = 0; j < columns; ++j) {
        A sum = A(0);
        for (int32_t t = begin[j]; t < begin[j + 1]; ++t) {
          sum = multiply_add(weight_y * weight[t], A(load_one(at<Source>(line, offset[t]))), sum);
        }
        write_sum(j, sum);
      }
      continue;
    }
    for (int64_t j = 0; j < columns; ++j) {
      A sum = A(0);
      for (int32_t ty = first; ty < end; ++ty) {
        const std::byte* const line = source + y.source_offset[ty];
        const A weight_y = y.weight[ty];
        for (int32_t t = begin[j]; t < begin[j + 1]; ++t) {
          sum = multiply_add(weight_y * weight[t], A(load_one(at<Source>(line, offset[t]))), sum);
        }
      }
      write_sum(j, sum);
    }
  }
}

template <class A>
bool has_long_rows(const AxisPlan<A>& axis) {
  int32_t longest = 0;
  for (int64_t i = 0; i < axis.rows; ++i) {
    const int32_t taps = axis.begin[i + 1] - axis.begin[i];
    longest = taps > longest ? taps : longest;
  }
  return longest > block_taps;
}

template <Write write, class Source, class Target, class A>
void contract_writing(const AxisPlan<A>& y, const AxisPlan<A>& x, const std::byte* source, std::byte* target,
                      int64_t length) {
  if (has_long_rows(y) || has_long_rows(x)) {
    contract_bins<write, true, Source, Target>(y, x, source, target, length);
  } else if (length == 1) {
    contract_values<write, Source, Target>(y, x, source, target);
  } else {
    contract_bins<write, false, Source, Target>(y, x, source, target, length);
  }
}

template <class Source, class Target, class A>
void contract(const AxisPlan<A>& y, const AxisPlan<A>& x, const std::byte* source, std::byte* target, int64_t length,
              Write write) {
  if (write == Write::stream) {
    contract_writing<Write::stream, Source, Target>(y, x, source, target, length);
    order_streams();
    return;
  }
  if constexpr (sizeof(Target) == sizeof(A)) {
    if (write == Write::add) return contract_writing<Write::add, Source, Target>(y, x, source, target, length);
  }
  contract_writing<Write::replace, Source, Target>(y, x, source, target, length);
}

// ---- dots -----------------------------------------------------------------------------------------------------------

/// The dot products of one gradient pixel with `taps` pixels of a line of the map.
template <int taps, class T, class A>
inline void dot_pixels(const T* gradient, const std::byte* line, const int64_t* offset, int64_t length, A* dot) {
  constexpr int64_t lanes = vector_bytes / sizeof(A);
  using L = Lanes<A, lanes>;
  using V = typename L::V;
  V sum[taps];
#pragma GCC unroll 4
  for (int t = 0; t < taps; ++t) sum[t] = V{};
  int64_t c = 0;
  for (; c + lanes <= length; c += lanes) {
    const V g = L::load(gradient + c);
#pragma GCC unroll 4
    for (int t = 0; t < taps; ++t) sum[t] += g * L::load(at<T>(line, offset[t]) + c);
  }
#pragma GCC unroll 4
  for (int t = 0; t < taps; ++t) dot[t] = sum_of_lanes(sum[t]);
  for (; c < length; ++c) {
    const A g = load_one(gradient + c);
    for (int t = 0; t < taps; ++t) dot[t] += g * load_one(at<T>(line, offset[t]) + c);
  }
}

template <class T, class A>
void dots(const DotPlan<A>& plan, const std::byte* source, const std::byte* gradient, int64_t length, double* result) {
  const AxisPlan<A>& y = plan.y;
  const AxisPlan<A>& x = plan.x;
  for (int64_t i = 0; i < y.rows; ++i) {
    for (int64_t j = 0; j < x.rows; ++j) {
      const T* const pixel = at<T>(gradient, y.target_offset[i] + x.target_offset[j]);
      for (int32_t ty = y.begin[i]; ty < y.begin[i + 1]; ++ty) {
        const std::byte* line = source + y.source_offset[ty];
        int32_t tx = x.begin[j];
        const auto step = [&]<int taps>() {
          A dot[taps];
          dot_pixels<taps>(pixel, line, x.source_offset + tx, length, dot);
          for (int64_t p = 0; p < plan.pairs; ++p) {
            double along_x = 0;
            for (int t = 0; t < taps; ++t) along_x += plan.x_weight[p][tx + t] * static_cast<double>(dot[t]);
            result[plan.result[p]] += plan.y_weight[p][ty] * along_x;
          }
          tx += taps;
        };
        while (tx + 4 <= x.begin[j + 1]) step.template operator()<4>();
        while (tx < x.begin[j + 1]) step.template operator()<1>();
      }
    }
  }
}

#include "copies.h"

/// What is copied unchanged.
template <class T>
struct BitsOf {
  using type = T;
};
template <>
struct BitsOf<Float16> {
  using type = uint16_t;
};
template <>
struct BitsOf<BFloat16> {
  using type = uint16_t;
};
template <class T>
using Bits = typename BitsOf<T>::type;

template <class T, class A>
constexpr Kernels<A> table() {
  return {sizeof(T),
          {{contract<T, T, A>, contract<T, A, A>}, {contract<A, T, A>, contract<A, A, A>}},
          {dots<T, A>, dots<A, A>},
          {gather<Bits<T>, Bits<T>>, gather<T, A>},
          {scatter<Bits<T>, Bits<T>, false>, scatter<T, A, false>},
          scatter<T, A, true>,
          stream};
}

}  // namespace

extern const Kernels<double> float64_kernels;
extern const Kernels<float> float32_kernels, float16_kernels, bfloat16_kernels;
#if !defined(__AVX512BF16__)  // which makes no difference to the other types
const Kernels<double> float64_kernels = table<double, double>();
const Kernels<float> float32_kernels = table<float, float>();
const Kernels<float> float16_kernels = table<Float16, float>();
#endif
const Kernels<float> bfloat16_kernels = table<BFloat16, float>();

}  // namespace ROIALIGN_NAMESPACE
}  // namespace roialign
