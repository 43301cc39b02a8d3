// The inner loops of maxima and of channels that are not adjacent. Compiled once per instruction set, with
// ROIALIGN_NAMESPACE naming it; see kernels.cpp.
#include "pointwise_kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace roialign {
namespace ROIALIGN_NAMESPACE {

#include "simd.h"

namespace {

template <class A, int lanes, class T>
inline Vector<A, lanes> load_lanes(const T* from) {
  if constexpr (lanes == 1) {
    return Vector<A, lanes>{load_one(from)};
  } else {
    return Lanes<A, lanes>::load(from);
  }
}

template <class A, int lanes, class T>
inline void store_lanes(T* to, Vector<A, lanes> v) {
  if constexpr (lanes == 1) {
    store_one(to, v[0]);
  } else {
    Lanes<A, lanes>::store(to, v);
  }
}

#include "maxima.h"

/// With at most this many points per bin, every vector of channels is compared with each of them. With more, each
/// channel looks up its own winner.
template <class A>
constexpr int32_t few_points = 2 * vector_bytes / sizeof(A);

/// Calls visit.operator()<lanes, vectors>(channel) for all channels: up to `most` vectors at a time, then one by one.
template <class A, int most, class Visit>
inline void visit_channels(int64_t length, Visit&& visit) {
  constexpr int lanes = vector_bytes / sizeof(A);
  int64_t c = 0;
  for (; c + most * lanes <= length; c += most * lanes) visit.template operator()<lanes, most>(c);
  if constexpr (most > 1) {
    for (; c + lanes <= length; c += lanes) visit.template operator()<lanes, 1>(c);
  }
  for (; c < length; ++c) visit.template operator()<1, 1>(c);
}

/// The values of the channels whose winner is `point`, and zero for the others.
template <class V>
inline V won_by(int32_t point, const int32_t* winner, V values) {
  Vector<int32_t, sizeof(V) / sizeof(values[0])> numbers;
  __builtin_memcpy(&numbers, winner, sizeof(numbers));
  const auto index = __builtin_convertvector(numbers, decltype(V{} < V{}));
  return index == point ? values : V{};
}

template <class A>
void add_to_winners(const PointPlan<A>& plan, const std::byte* gradients, std::byte* target, const int32_t* winner,
                    int64_t length) {
  // Copy these values, because the stores below could alias them.
  const int64_t* const offset = plan.source_offset;
  const A* const weight = plan.weight;
  for (int64_t bin = 0; bin < plan.bins; ++bin, winner += length) {
    const auto* gradient = reinterpret_cast<const A*>(gradients + plan.target_offset[bin]);
    const auto* next = reinterpret_cast<const A*>(gradients + plan.target_offset[bin + (bin + 1 < plan.bins)]);
    const int32_t first = plan.point_begin[bin], points = plan.point_begin[bin + 1] - first;
    const int32_t* begin = plan.tap_begin + first;
    const auto pixel_of = [&](int32_t t) { return reinterpret_cast<A*>(target + offset[t]); };
    if (points > few_points<A>) {
      for (int64_t c = 0; c < length; ++c) {
        if (winner[c] < 0) continue;
        for (int32_t t = begin[winner[c]]; t < begin[winner[c] + 1]; ++t) pixel_of(t)[c] += weight[t] * gradient[c];
      }
      continue;
    }
    for (int32_t p = 0; p < points; ++p) {
      const int32_t first_tap = begin[p], end_tap = begin[p + 1];
      if (first_tap == end_tap) continue;
      visit_channels<A, 4>(length, [&]<int lanes, int vectors>(int64_t c) __attribute__((always_inline)) {
        Vector<A, lanes> won[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
          won[v] = won_by(p, winner + c + v * lanes, load_lanes<A, lanes>(gradient + c + v * lanes));
          __builtin_prefetch(next + c + v * lanes);
        }
        for (int32_t t = first_tap; t < end_tap; ++t) {
          A* const pixel = pixel_of(t) + c;
          const A factor = weight[t];
#pragma GCC unroll 4
          for (int v = 0; v < vectors; ++v) {
            const auto sum = load_lanes<A, lanes>(pixel + v * lanes) + factor * won[v];
            store_lanes<A, lanes>(pixel + v * lanes, sum);
          }
        }
      });
    }
  }
}

/// The same for bins of whole pixels.
template <class A>
void add_to_winning_pixels(const PixelBins<A>& bins, const KeptPixels& kept, const std::byte* gradients,
                           std::byte* target, const int32_t* winner, int64_t length) {
  for (int64_t bin = 0; bin < bins.bins; ++bin, winner += length) {
    const auto* gradient = reinterpret_cast<const A*>(gradients + bin * bins.bin_step);
    const int64_t first = bins.first_column[bin], columns = bins.end_column[bin] - first;
    if (bins.is_empty(bin)) continue;
    const auto pixel_of = [&](int64_t row, int64_t column) {
      return reinterpret_cast<A*>(target + row * bins.row_step + column * bins.column_step);
    };
    if ((bins.end_row - bins.first_row) * columns > few_points<A> || length < vector_bytes / int64_t{sizeof(A)}) {
      const double rows_per_pixel = 1.0 / static_cast<double>(columns);  // faster than a division for every channel
      for (int64_t c = 0; c < length; ++c) {
        const auto y = static_cast<int64_t>((static_cast<double>(winner[c]) + 0.5) * rows_per_pixel);
        const int64_t row = bins.first_row + y, column = first + winner[c] - y * columns;
        const bool is_kept =
            row >= kept.first_row && row < kept.end_row && column >= kept.first_column && column < kept.end_column;
        if (winner[c] >= 0 && is_kept) pixel_of(row, column)[c] += gradient[c];
      }
      continue;
    }
    const int64_t first_row = bins.first_row < kept.first_row ? kept.first_row : bins.first_row;
    const int64_t end_row = bins.end_row < kept.end_row ? bins.end_row : kept.end_row;
    const int64_t first_column = first < kept.first_column ? kept.first_column : first;
    const int64_t end_column = bins.end_column[bin] < kept.end_column ? bins.end_column[bin] : kept.end_column;
    for (int64_t row = first_row; row < end_row; ++row) {
      for (int64_t column = first_column; column < end_column; ++column) {
        const auto number = static_cast<int32_t>((row - bins.first_row) * columns + column - first);
        A* const pixel = pixel_of(row, column);
        visit_channels<A, 4>(length, [&]<int lanes, int vectors>(int64_t c) __attribute__((always_inline)) {
#pragma GCC unroll 4
          for (int v = 0; v < vectors; ++v) {
            A* const to = pixel + c + v * lanes;
            const auto won = won_by(number, winner + c + v * lanes, load_lanes<A, lanes>(gradient + c + v * lanes));
            store_lanes<A, lanes>(to, load_lanes<A, lanes>(to) + won);
          }
        });
      }
    }
  }
}

template <class A>
void winner_dots(const PointPlan<A>& plan, const std::byte* source, const std::byte* gradients, const int32_t* winner,
                 int64_t length, double* dots) {
  for (int64_t bin = 0; bin < plan.bins; ++bin, winner += length) {
    const auto* gradient = reinterpret_cast<const A*>(gradients + plan.target_offset[bin]);
    const int32_t first = plan.point_begin[bin], points = plan.point_begin[bin + 1] - first;
    const int32_t* begin = plan.tap_begin + first;
    const auto pixel_of = [&](int32_t t) { return reinterpret_cast<const A*>(source + plan.source_offset[t]); };
    for (int32_t t = begin[0]; t < begin[points]; ++t) dots[t] = 0.0;
    if (points > few_points<A>) {
      for (int64_t c = 0; c < length; ++c) {
        if (winner[c] < 0) continue;
        for (int32_t t = begin[winner[c]]; t < begin[winner[c] + 1]; ++t) {
          dots[t] += static_cast<double>(gradient[c]) * static_cast<double>(pixel_of(t)[c]);
        }
      }
      continue;
    }
    constexpr int lanes = vector_bytes / sizeof(A);
    for (int32_t p = 0; p < points; ++p) {
      // Four taps at a time, the maximum number of a point.
      for (int32_t t = begin[p]; t < begin[p + 1]; t += 4) {
        const int32_t taps = begin[p + 1] - t < 4 ? begin[p + 1] - t : 4;
        Vector<A, lanes> sum[4] = {};
        A rest[4] = {};
        visit_channels<A, 1>(length, [&]<int width, int>(int64_t c) __attribute__((always_inline)) {
          const auto won = won_by(p, winner + c, load_lanes<A, width>(gradient + c));
          for (int32_t i = 0; i < taps; ++i) {
            // Pixels that did not win may be infinite.
            const auto product = won * won_by(p, winner + c, load_lanes<A, width>(pixel_of(t + i) + c));
            if constexpr (width == 1) {
              rest[i] += product[0];
            } else {
              sum[i] += product;
            }
          }
        });
        for (int32_t i = 0; i < taps; ++i) {
          for (int lane = 0; lane < lanes; ++lane) dots[t + i] += static_cast<double>(sum[i][lane]);
          dots[t + i] += static_cast<double>(rest[i]);
        }
      }
    }
  }
}

/// `count` adjacent channels of one bin, whose sums are independent of each other.
template <int count, class T, class A>
inline void sum_apart(const AxisPlan<A>& plan, const std::byte* source, int64_t step, int32_t first, int32_t end,
                      A (&total)[count]) {
  constexpr int32_t block_taps = 32;  // the rounding error of a sum grows with its length
  for (int32_t begin = first; begin < end; begin += block_taps) {
    const int32_t block_end = end - begin < block_taps ? end : begin + block_taps;
    A sum[count] = {};
    for (int32_t t = begin; t < block_end; ++t) {
      const std::byte* const pixel = source + plan.source_offset[t];
      for (int i = 0; i < count; ++i) {
        sum[i] += plan.weight[t] * load_one(reinterpret_cast<const T*>(pixel + i * step));
      }
    }
    for (int i = 0; i < count; ++i) total[i] += sum[i];
  }
}

template <class T, class A>
void contract_apart(const AxisPlan<A>& plan, const std::byte* source, int64_t source_step, std::byte* target,
                    int64_t target_step, int64_t channels) {
  for (int64_t bin = 0; bin < plan.rows; ++bin) {
    int64_t c = 0;
    const auto step = [&]<int count>() __attribute__((always_inline)) {
      A total[count] = {};
      sum_apart<count, T>(plan, source + c * source_step, source_step, plan.begin[bin], plan.begin[bin + 1], total);
      std::byte* const to = target + plan.target_offset[bin] + c * target_step;
      for (int i = 0; i < count; ++i) store_one(reinterpret_cast<T*>(to + i * target_step), total[i]);
      c += count;
    };
    while (c + 4 <= channels) step.template operator()<4>();
    while (c < channels) step.template operator()<1>();
  }
}

template <class T, class A>
void spread_apart(const AxisPlan<A>& plan, const std::byte* gradient, int64_t gradient_step, std::byte* target,
                  int64_t target_step, int64_t channels) {
  for (int64_t bin = 0; bin < plan.rows; ++bin) {
    const std::byte* const from = gradient + plan.target_offset[bin];
    for (int64_t c = 0; c < channels; ++c) {
      const A value = load_one(reinterpret_cast<const T*>(from + c * gradient_step));
      for (int32_t t = plan.begin[bin]; t < plan.begin[bin + 1]; ++t) {
        *reinterpret_cast<A*>(target + plan.source_offset[t] + c * target_step) += plan.weight[t] * value;
      }
    }
  }
}

template <class T, class A>
constexpr PointKernels<A> table() {
  return {{{maximum<T, T, A>, maximum<T, A, A>}, {maximum<A, T, A>, maximum<A, A, A>}},
          {{maximum_of_pixels<T, T, A>, maximum_of_pixels<T, A, A>},
           {maximum_of_pixels<A, T, A>, maximum_of_pixels<A, A, A>}},
          add_to_winners<A>,
          add_to_winning_pixels<A>,
          winner_dots<A>,
          contract_apart<T, A>,
          spread_apart<T, A>};
}

}  // namespace

extern const PointKernels<double> float64_point_kernels;
extern const PointKernels<float> float32_point_kernels, float16_point_kernels, bfloat16_point_kernels;
const PointKernels<double> float64_point_kernels = table<double, double>();
const PointKernels<float> float32_point_kernels = table<float, float>();
const PointKernels<float> float16_point_kernels = table<Float16, float>();
const PointKernels<float> bfloat16_point_kernels = table<BFloat16, float>();

}  // namespace ROIALIGN_NAMESPACE
}  // namespace roialign
