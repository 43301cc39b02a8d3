// The inner loop of maxima. Compiled once per instruction set, with ROIALIGN_NAMESPACE naming it; see kernels.cpp.
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

/// `vectors` vectors of channels, or one channel where `lanes` is 1, of one bin: the best so far stays in registers.
template <bool wins, int lanes, int vectors, class Source, class Target, class A>
inline void maximum_channels(const PointPlan<A>& plan, int64_t bin, const std::byte* source, Target* target,
                             int32_t* winner) {
  using V = Vector<A, lanes>;
  using Index = decltype(V{} < V{});
  const int32_t first = plan.point_begin[bin], end = plan.point_begin[bin + 1];
  V best[vectors];
  Index index[vectors];
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) {
    best[v] = V{};
    index[v] = Index{} - (first == end);
  }
  for (int32_t p = first; p < end; ++p) {
    V sample[vectors];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) sample[v] = V{};
    for (int32_t t = plan.tap_begin[p]; t < plan.tap_begin[p + 1]; ++t) {
      const auto* pixel = reinterpret_cast<const Source*>(source + plan.source_offset[t]);
      const A weight = plan.weight[t];
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) sample[v] += weight * load_lanes<A, lanes>(pixel + v * lanes);
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      // Not <=: a NaN is taken; and nothing after it.
      const Index larger = (~(sample[v] <= best[v]) & (best[v] == best[v])) | (Index{} - (p == first));
      best[v] = larger ? sample[v] : best[v];
      if constexpr (wins) index[v] = larger ? Index{} + (p - first) : index[v];
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) {
    if (plan.has_zero[bin]) {
      const Index below = best[v] < V{};
      best[v] = below ? V{} : best[v];
      if constexpr (wins) index[v] = below ? Index{} - 1 : index[v];
    }
    store_lanes<A, lanes>(target + v * lanes, best[v]);
    if constexpr (wins) {
      const auto numbers = __builtin_convertvector(index[v], Vector<int32_t, lanes>);
      __builtin_memcpy(winner + v * lanes, &numbers, sizeof(numbers));
    }
  }
}

template <bool wins, class Source, class Target, class A>
void maximum_bins(const PointPlan<A>& plan, const std::byte* source, std::byte* target, int32_t* winner,
                  int64_t length) {
  constexpr int lanes = vector_bytes / sizeof(A);
  for (int64_t bin = 0; bin < plan.bins; ++bin) {
    auto* const pixel = reinterpret_cast<Target*>(target + plan.target_offset[bin]);
    int64_t c = 0;
    const auto step = [&]<int width, int vectors>() {
      maximum_channels<wins, width, vectors, Source>(plan, bin, source + c * int64_t{sizeof(Source)}, pixel + c,
                                                     winner + (wins ? bin * length + c : 0));
      c += vectors * width;
    };
    while (c + 4 * lanes <= length) step.template operator()<lanes, 4>();
    if (c + 2 * lanes <= length) step.template operator()<lanes, 2>();
    if (c + lanes <= length) step.template operator()<lanes, 1>();
    while (c < length) step.template operator()<1, 1>();
  }
}

template <class Source, class Target, class A>
void maximum(const PointPlan<A>& plan, const std::byte* source, std::byte* target, int32_t* winner, int64_t length) {
  if (winner != nullptr) return maximum_bins<true, Source, Target>(plan, source, target, winner, length);
  maximum_bins<false, Source, Target>(plan, source, target, winner, length);
}

template <class T, class A>
constexpr PointKernels<A> table() {
  return {{{maximum<T, T, A>, maximum<T, A, A>}, {maximum<A, T, A>, maximum<A, A, A>}}};
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
