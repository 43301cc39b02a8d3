// Vector extensions of the compiler (GCC, Clang), as wide as the instruction set of this translation unit.
//
// Included only by kernels.cpp, inside the namespace of one instruction set. Neither file may use templates of the
// standard library: the linker keeps one copy of each, which could contain instructions that the CPU does not support.
#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <class T, int lanes>
struct VectorOf {
  typedef T type __attribute__((vector_size(lanes * sizeof(T))));
};
template <class T, int lanes>
using Vector = typename VectorOf<T, lanes>::type;

/// Half types in memory.
struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

template <class To, class From>
inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

// The conversions below are written once for an unsigned integer type that may be uint32_t or a vector of them;
// F is the float type of the same shape. Rounding is to nearest, ties to even; NaN stays NaN.

template <class F, class U>
inline F widen_bfloat16(U bits) {
  return bit_cast<F>(bits << 16);
}

/// The result is in the upper half of the bits.
template <class U, class F>
inline U round_to_bfloat16(F value) {
  const U bits = bit_cast<U>(value);
  const U rounded = bits + (0x7fffU + ((bits >> 16) & 1U));
  return value != value ? bits | 0x400000U : rounded;
}

template <class U, class F>
inline U narrow_bfloat16(F value) {
  return round_to_bfloat16<U>(value) >> 16;
}

template <class F, class U>
inline F widen_float16(U bits) {
  const U magnitude = (bits & 0x7fffU) << 13;
  const U exponent = magnitude & 0x0f800000U;
  const U normal = magnitude + (112U << 23);
  const U special = normal + (112U << 23);  // infinity and NaN
  // A subnormal becomes a normal number by subtracting the hidden bit that it does not have.
  const F smallest = bit_cast<F>(exponent * 0U + (113U << 23));
  const U subnormal = bit_cast<U>(bit_cast<F>(normal + (1U << 23)) - smallest);
  const U widened = exponent == 0x0f800000U ? special : (exponent == 0U ? subnormal : normal);
  return bit_cast<F>(widened | ((bits & 0x8000U) << 16));
}

template <class U, class F>
inline U narrow_float16(F value) {
  const U bits = bit_cast<U>(value);
  const U sign = (bits >> 16) & 0x8000U;
  const U magnitude = bits & 0x7fffffffU;
  // Adding this makes the FPU shift and round the bits of a subnormal result into place.
  const U subnormal_magic = magnitude * 0U + (126U << 23);
  const U subnormal = bit_cast<U>(bit_cast<F>(magnitude) + bit_cast<F>(subnormal_magic)) - subnormal_magic;
  const U normal = (magnitude - (112U << 23) + (0xfffU + ((magnitude >> 13) & 1U))) >> 13;
  const U infinite = magnitude * 0U + 0x7c00U;
  const U nan = magnitude * 0U + 0x7e00U;
  const U finite = magnitude < (113U << 23) ? subnormal : normal;
  const U large = magnitude > 0x7f800000U ? nan : infinite;
  return (magnitude >= (143U << 23) ? large : finite) | sign;
}

/// sum + factor * value, rounded once if the CPU can. As an expression in a loop, a compiler may vectorise the products
/// and round them before it adds them, so that a single value would have other bits than a vector.
template <class V, class A>
inline V multiply_add(A factor, V value, V sum) {
  return sum + factor * value;
}
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__FP_FAST_FMA)
inline float multiply_add(float factor, float value, float sum) { return __builtin_fmaf(factor, value, sum); }
inline double multiply_add(double factor, double value, double sum) { return __builtin_fma(factor, value, sum); }
#endif

template <int... index>
struct Indices {};
template <int count, int... index>
struct MakeIndices : MakeIndices<count - 1, count - 1, index...> {};
template <int... index>
struct MakeIndices<0, index...> {
  using type = Indices<index...>;
};
template <int count>
using UpTo = typename MakeIndices<count>::type;

template <int parity, class V, int... i>
inline V take_every_other(V low, V high, Indices<i...>) {
  return __builtin_shufflevector(low, high, (2 * i + parity)...);
}
/// Interleaves the values of a and b, starting at index `first`.
template <int first, class V, int... i>
inline V alternate(V a, V b, Indices<i...>) {
  return __builtin_shufflevector(a, b, (i % 2 * int{sizeof...(i)} + first + i / 2)...);
}

/// Puts the two halves of a vector in turns.
template <class V, int... i>
inline V alternate_halves(V both, Indices<i...>) {
  return __builtin_shufflevector(both, both, (i % 2 * int{sizeof...(i) / 2} + i / 2)...);
}

#if defined(__AVX512BF16__)
/// The instructions that round to bfloat16 take a subnormal for zero. Everything else they round as we do.
inline bool have_subnormals(__m512 a, __m512 b) {
  constexpr int subnormal = 0x20;
  return _kortestz_mask16_u8(_mm512_fpclass_ps_mask(a, subnormal), _mm512_fpclass_ps_mask(b, subnormal)) == 0;
}
#endif

template <class T>
inline constexpr bool is_bfloat16 = false;
template <>
inline constexpr bool is_bfloat16<BFloat16> = true;

/// Stores to an aligned address, bypassing the caches if the CPU supports it.
template <int bytes>
inline void stream_bytes(void* to, const void* from) {
#if defined(__AVX512F__)
  if constexpr (bytes == 64) return _mm512_stream_si512(static_cast<__m512i*>(to), _mm512_loadu_si512(from));
#endif
#if defined(__AVX2__)
  if constexpr (bytes == 32) {
    return _mm256_stream_si256(static_cast<__m256i*>(to), _mm256_loadu_si256(static_cast<const __m256i*>(from)));
  }
#endif
#if defined(__SSE2__)
  if constexpr (bytes == 16) {
    return _mm_stream_si128(static_cast<__m128i*>(to), _mm_loadu_si128(static_cast<const __m128i*>(from)));
  }
#endif
  __builtin_memcpy(to, from, bytes);
}

// Loading and storing `lanes` accumulators from and to memory of any scalar type, aligned or not.

template <class A, int lanes>
struct Lanes {
  using V = Vector<A, lanes>;

  template <class T>
  static V raw(const T* from) {
    V v;
    __builtin_memcpy(&v, from, sizeof(V));
    return v;
  }
  static V load(const A* from) { return raw(from); }
  static void store(A* to, V v) { __builtin_memcpy(to, &v, sizeof(V)); }

  /// Stores to an aligned address, bypassing the caches.
  template <class T>
  static void stream(T* to, V v) {
    T narrowed[lanes];
    store(narrowed, v);
    stream_bytes<lanes * sizeof(T)>(to, narrowed);
  }

  using Half = Vector<uint16_t, lanes>;
  using Word = Vector<uint32_t, lanes>;
  static Word words(const void* from) {
    Half half;
    __builtin_memcpy(&half, from, sizeof(half));
    return __builtin_convertvector(half, Word);
  }
  static void halves(void* to, Word word) {
    const Half half = __builtin_convertvector(word, Half);
    __builtin_memcpy(to, &half, sizeof(half));
  }
  static V load(const BFloat16* from) { return widen_bfloat16<V>(words(from)); }
  static void store(BFloat16* to, V v) {
#if defined(__AVX512BF16__)
    if constexpr (lanes == 16) {
      const __m512 values = bit_cast<__m512>(v);
      if (__builtin_expect(!have_subnormals(values, values), 1)) {
        const __m256bh rounded = _mm512_cvtneps_pbh(values);
        __builtin_memcpy(to, &rounded, sizeof(rounded));
        return;
      }
    }
#endif
    halves(to, narrow_bfloat16<Word>(v));
  }

  // Two vectors at once. `Order` is the type of most of the memory that they come from. bfloat16 is cheapest to split
  // into the values at even and at odd indices, so the two vectors then have this order.

  template <class Order, class T>
  static void load_two(const T* from, V& first, V& second) {
    first = load(from);
    second = load(from + lanes);
    if constexpr (is_bfloat16<Order>) {
      const V low = first, high = second;
      first = take_every_other<0>(low, high, UpTo<lanes>{});
      second = take_every_other<1>(low, high, UpTo<lanes>{});
    }
  }
  template <class Order>
  static void load_two(const BFloat16* from, V& even, V& odd) {
    static_assert(is_bfloat16<Order>);
    const Word both = bit_cast<Word>(raw(from));
    even = bit_cast<V>(both << 16);
    odd = bit_cast<V>(both & 0xffff0000U);
  }

  /// bfloat16 of the values at even and at odd indices, in turns.
  static Word narrow_two(V even, V odd) {
#if defined(__AVX512BF16__)
    if constexpr (lanes == 16) {
      const __m512 first = bit_cast<__m512>(even), second = bit_cast<__m512>(odd);
      if (__builtin_expect(!have_subnormals(first, second), 1)) {
        const auto rounded = bit_cast<Vector<uint16_t, 2 * lanes>>(_mm512_cvtne2ps_pbh(second, first));
        return bit_cast<Word>(alternate_halves(rounded, UpTo<2 * lanes>{}));
      }
    }
#endif
    return (round_to_bfloat16<Word>(even) >> 16) | (round_to_bfloat16<Word>(odd) & 0xffff0000U);
  }

  template <bool streams, class Order, class T>
  static void store_two(T* to, V first, V second) {
    if constexpr (is_bfloat16<Order> && is_bfloat16<T>) {
      const Word both = narrow_two(first, second);
      if constexpr (streams) return stream_bytes<sizeof(V)>(to, &both);
      __builtin_memcpy(to, &both, sizeof(V));
      return;
    } else if constexpr (is_bfloat16<Order>) {
      const V even = first, odd = second;
      first = alternate<0>(even, odd, UpTo<lanes>{});
      second = alternate<lanes / 2>(even, odd, UpTo<lanes>{});
    }
    if constexpr (streams) {
      stream(to, first);
      stream(to + lanes, second);
    } else {
      store(to, first);
      store(to + lanes, second);
    }
  }

#if defined(__F16C__)
  static V load(const Float16* from) {
    if constexpr (lanes == 4) {
      uint64_t half;
      __builtin_memcpy(&half, from, sizeof(half));
      return bit_cast<V>(_mm_cvtph_ps(_mm_cvtsi64_si128(static_cast<int64_t>(half))));
    } else if constexpr (lanes == 8) {
      return bit_cast<V>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
    } else {
#if defined(__AVX512F__)
      return bit_cast<V>(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
#endif
    }
  }
  static void store(Float16* to, V v) {
    constexpr int to_nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    if constexpr (lanes == 4) {
      const __m128i half = _mm_cvtps_ph(bit_cast<__m128>(v), to_nearest);
      __builtin_memcpy(to, &half, sizeof(uint64_t));
    } else if constexpr (lanes == 8) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(bit_cast<__m256>(v), to_nearest));
    } else {
#if defined(__AVX512F__)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(bit_cast<__m512>(v), to_nearest));
#endif
    }
  }
#else
  static V load(const Float16* from) { return widen_float16<V>(words(from)); }
  static void store(Float16* to, V v) { halves(to, narrow_float16<Word>(v)); }
#endif
};

/// `value` if it is larger than `best`, otherwise `best`, also if either is NaN. It is one instruction on x86.
template <class V>
inline V larger_of(V value, V best) {
  using Element [[maybe_unused]] = __typeof__(value[0] + value[0]);
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64 && sizeof(Element) == 4) return bit_cast<V>(_mm512_max_ps(value, best));
  if constexpr (sizeof(V) == 64 && sizeof(Element) == 8) return bit_cast<V>(_mm512_max_pd(value, best));
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(V) == 32 && sizeof(Element) == 4) return bit_cast<V>(_mm256_max_ps(value, best));
  if constexpr (sizeof(V) == 32 && sizeof(Element) == 8) return bit_cast<V>(_mm256_max_pd(value, best));
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(V) == 16 && sizeof(Element) == 4) return bit_cast<V>(_mm_max_ps(value, best));
  if constexpr (sizeof(V) == 16 && sizeof(Element) == 8) return bit_cast<V>(_mm_max_pd(value, best));
#endif
  return value > best ? value : best;
}

/// Makes streamed stores visible to other threads before any later store.
inline void order_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// One value at a time, for the remainder at the end of a vector.

template <class A>
inline A load_one(const A* from) {
  return *from;
}
inline float load_one(const BFloat16* from) { return widen_bfloat16<float>(uint32_t{from->bits}); }
inline float load_one(const Float16* from) { return widen_float16<float>(uint32_t{from->bits}); }
template <class A>
inline void store_one(A* to, A value) {
  *to = value;
}
inline void store_one(BFloat16* to, float value) { to->bits = static_cast<uint16_t>(narrow_bfloat16<uint32_t>(value)); }
inline void store_one(Float16* to, float value) { to->bits = static_cast<uint16_t>(narrow_float16<uint32_t>(value)); }

/// Like `Lanes`, for one value.
template <class A>
struct OneLane {
  using V = A;
  template <class T>
  static V load(const T* from) {
    return load_one(from);
  }
  template <class T>
  static void store(T* to, V value) {
    store_one(to, value);
  }
};

template <class V>
inline auto sum_of_lanes(V v) {
  constexpr int lanes = sizeof(V) / sizeof(v[0]);
  if constexpr (lanes == 1) {
    return v[0];
  } else {
    using Half = Vector<__typeof__(v[0] + v[0]), lanes / 2>;
    Half low, high;
    __builtin_memcpy(&low, &v, sizeof(low));
    __builtin_memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof(low), sizeof(high));
    return sum_of_lanes(Half(low + high));
  }
}
