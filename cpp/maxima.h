// The maxima of bins: the kernels `maximum` and `maximum_of_pixels`. Included only by pointwise_kernels.cpp, inside the
// namespace of one instruction set (see simd.h).

/// A sum of pixels times weights is never -0. So that a pixel has the same bits by itself, it is added to 0.
template <class V>
inline V plus_zero(V value) {
  return V{} + value;
}

/// One point of a bin.
template <int lanes, int vectors, class Source, class A>
inline void sample_channels(const PointPlan<A>& plan, int32_t point, const std::byte* source,
                            Vector<A, lanes> (&sample)[vectors]) {
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) sample[v] = Vector<A, lanes>{};
  for (int32_t t = plan.tap_begin[point]; t < plan.tap_begin[point + 1]; ++t) {
    const auto* pixel = reinterpret_cast<const Source*>(source + plan.source_offset[t]);
    const A weight = plan.weight[t];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) sample[v] += weight * load_lanes<A, lanes>(pixel + v * lanes);
  }
}

/// The points of one bin of a PointPlan.
template <class Source, class A>
struct PlannedPoints {
  const PointPlan<A>& plan;
  int64_t bin;

  bool is_empty() const { return plan.point_begin[bin] == plan.point_begin[bin + 1]; }
  bool has_zero() const { return plan.has_zero[bin]; }

  /// Calls visit(number of the point in the bin, its value in `vectors` vectors of channels from `source` on).
  template <int lanes, int vectors, class Visit>
  void visit(const std::byte* source, Visit&& visit) const {
    const int32_t first = plan.point_begin[bin], end = plan.point_begin[bin + 1];
    for (int32_t p = first; p < end; ++p) {
      Vector<A, lanes> sample[vectors];
      sample_channels<lanes, vectors, Source>(plan, p, source, sample);
      visit(p - first, sample);
    }
  }
};

/// The whole pixels of one of PixelBins.
template <class Source, class A>
struct PixelPoints {
  const PixelBins<A>& bins;
  int64_t bin;

  bool is_empty() const { return bins.is_empty(bin); }
  bool has_zero() const { return false; }

  template <int lanes, int vectors, class Visit>
  void visit(const std::byte* source, Visit&& visit) const {
    int64_t number = 0;
    for (int64_t y = bins.first_row; y < bins.end_row; ++y) {
      for (int64_t x = bins.first_column[bin]; x < bins.end_column[bin]; ++x, ++number) {
        const auto* pixel = reinterpret_cast<const Source*>(source + y * bins.row_step + x * bins.column_step);
        Vector<A, lanes> sample[vectors];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) sample[v] = plus_zero(load_lanes<A, lanes>(pixel + v * lanes));
        visit(static_cast<int32_t>(number), sample);
      }
    }
  }
};

/// The maxima of points without NaN, if the winners are not needed. Returns false if one may be NaN, which makes their
/// sum NaN. The bin must have points.
template <class A, int lanes, int vectors, class Points, class Target>
inline bool maximum_of_numbers(const Points& points, const std::byte* source, Target* target) {
  using V = Vector<A, lanes>;
  V best[vectors], sum[vectors];
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) {
    best[v] = V{} + (points.has_zero() ? A(0) : static_cast<A>(-__builtin_huge_val()));
    sum[v] = V{};
  }
  points.template visit<lanes, vectors>(source, [&](int32_t, const V(&sample)[vectors]) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      best[v] = larger_of(sample[v], best[v]);
      sum[v] += sample[v];
    }
  });
  V all = V{};
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) {
    store_lanes<A, lanes>(target + v * lanes, best[v]);
    all += sum[v];
  }
  const auto total = sum_of_lanes(all);
  return total == total;
}

/// `vectors` vectors of channels (one channel if `lanes` is 1) of one bin. The current maxima stay in registers.
template <class A, bool wins, int lanes, int vectors, class Points, class Target>
inline void maximum_channels(const Points& points, const std::byte* source, Target* target, int32_t* winner) {
  using V = Vector<A, lanes>;
  using Index = decltype(V{} < V{});
  const bool is_empty = points.is_empty();
  if constexpr (!wins && lanes > 1) {
    if (!is_empty && maximum_of_numbers<A, lanes, vectors>(points, source, target)) return;
  }
  V best[vectors];
  Index index[vectors];
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) {
    best[v] = V{} + (is_empty ? A(0) : static_cast<A>(-__builtin_huge_val()));
    index[v] = Index{} - is_empty;
  }
  points.template visit<lanes, vectors>(source,
                                        [&](int32_t number, const V(&sample)[vectors]) __attribute__((always_inline)) {
#pragma GCC unroll 8
                                          for (int v = 0; v < vectors; ++v) {
                                            // The negated comparison accepts a NaN, and nothing after it. A first point
                                            // of -inf equals the initial value.
                                            const Index larger = ~(sample[v] <= best[v]) & (best[v] == best[v]);
                                            best[v] = larger ? sample[v] : best[v];
                                            if constexpr (wins) index[v] = larger ? Index{} + number : index[v];
                                          }
                                        });
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) {
    if (points.has_zero()) {
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

/// All channels of one bin.
template <class A, bool wins, class Source, class Target, class Points>
inline void maximum_of_bin(const Points& points, const std::byte* source, Target* target, int32_t* winner,
                           int64_t length) {
  constexpr int lanes = vector_bytes / sizeof(A);
  int64_t c = 0;
  const auto step = [&]<int width, int vectors>() {
    maximum_channels<A, wins, width, vectors>(points, source + c * int64_t{sizeof(Source)}, target + c,
                                              winner + (wins ? c : 0));
    c += vectors * width;
  };
  constexpr int most = vector_bytes == 64 ? 8 : 4;  // the samples and the maxima use half of the registers
  while (c + most * lanes <= length) step.template operator()<lanes, most>();
  if (most > 4 && c + 4 * lanes <= length) step.template operator()<lanes, 4>();
  if (c + 2 * lanes <= length) step.template operator()<lanes, 2>();
  // The last vector overlaps the previous one. If the channels do not fill a vector, vectors are narrower.
  const auto finish = [&]<int width>() {
    while (c < length) {
      if (c + width > length) c = length - width;
      step.template operator()<width, 1>();
    }
  };
  if (length >= lanes) return finish.template operator()<lanes>();
  if constexpr (lanes > 8) {
    if (length >= 8) return finish.template operator()<8>();
  }
  if constexpr (lanes > 4) {
    if (length >= 4) return finish.template operator()<4>();
  }
  finish.template operator()<1>();
}

/// Calls function.template operator()<wins>(), where `wins` is whether there is a winner to be written.
template <class Function>
inline void with_winner(const int32_t* winner, Function&& function) {
  if (winner != nullptr) return function.template operator()<true>();
  function.template operator()<false>();
}

template <class Source, class Target, class A>
void maximum(const PointPlan<A>& plan, const std::byte* source, std::byte* target, int32_t* winner, int64_t length) {
  with_winner(winner, [&]<bool wins>() {
    for (int64_t bin = 0; bin < plan.bins; ++bin) {
      auto* const pixel = reinterpret_cast<Target*>(target + plan.target_offset[bin]);
      maximum_of_bin<A, wins, Source>(PlannedPoints<Source, A>{plan, bin}, source, pixel,
                                      winner + (wins ? bin * length : 0), length);
    }
  });
}

/// The maximum of one channel of a bin from those of its columns. NaN is larger than all numbers.
template <class A>
inline A maximum_of_row(const A* values, int64_t columns, int64_t length) {
  A best = static_cast<A>(-__builtin_huge_val()), sum = A(0);
  for (int64_t x = 0; x < columns; ++x) {  // without branches, which no CPU can predict
    const A value = values[x * length];
    best = value > best ? value : best;
    sum += value;
  }
  if (sum == sum) return best;
  for (int64_t x = 0; x < columns; ++x) {
    const A value = values[x * length];
    if (value != value) return value;
  }
  return best;
}

/// The first pixel of the bin, in row-major order, that has the maximum.
template <class A>
inline int32_t winner_of_row(const A* values, const int32_t* rows, A best, int64_t columns, int64_t length) {
  int32_t winner = INT32_MAX;
  for (int64_t x = 0; x < columns; ++x) {
    const A value = values[x * length];
    const auto number = static_cast<int32_t>(rows[x * length] * columns + x);
    const bool has_maximum = best == best ? value == best : value != value;
    winner = has_maximum && number < winner ? number : winner;
  }
  return winner;
}

/// Few channels, in rows of adjacent pixels, do not fill a vector. So the values of a row are treated as channels:
/// first their maxima over the rows of a bin are computed, and then those over its columns.
template <bool wins, class Source, class Target, class A>
void maximum_of_runs(const PixelBins<A>& bins, const std::byte* source, std::byte* target, int32_t* winner,
                     int64_t length) {
  int64_t first = 0, end = 0;
  for (int64_t bin = 0; bin < bins.bins; ++bin) {
    if (bins.is_empty(bin)) continue;
    first = end == 0 || bins.first_column[bin] < first ? bins.first_column[bin] : first;
    end = bins.end_column[bin] > end ? bins.end_column[bin] : end;
  }
  // A bin of one column whose channels are the values of the run: its points are the rows.
  const int64_t column[2] = {first, first + 1};
  PixelBins<A> rows = bins;
  rows.first_column = column;
  rows.end_column = column + 1;
  maximum_of_bin<A, wins, Source>(PixelPoints<Source, A>{rows, 0}, source, bins.column_best, bins.column_row,
                                  (end - first) * length);
  for (int64_t bin = 0; bin < bins.bins; ++bin) {
    const bool is_empty = bins.is_empty(bin);
    const int64_t columns = is_empty ? 0 : bins.end_column[bin] - bins.first_column[bin];
    auto* const to = reinterpret_cast<Target*>(target + bin * bins.bin_step);
    for (int64_t c = 0; c < length; ++c) {
      const int64_t place = (bins.first_column[bin] - first) * length + c;
      const A best = is_empty ? A(0) : maximum_of_row(bins.column_best + place, columns, length);
      if (best == best) {
        store_one(to + c, best);
      } else {  // of several NaN the first, as with more channels
        maximum_channels<A, false, 1, 1>(PixelPoints<Source, A>{bins, bin}, source + c * int64_t{sizeof(Source)},
                                         to + c, nullptr);
      }
      if constexpr (wins) {
        winner[bin * length + c] =
            is_empty ? -1 : winner_of_row(bins.column_best + place, bins.column_row + place, best, columns, length);
      }
    }
  }
}

template <class Source, class Target, class A>
void maximum_of_pixels(const PixelBins<A>& bins, const std::byte* source, std::byte* target, int32_t* winner,
                       int64_t length) {
  const bool in_runs = length <= most_run_channels && bins.column_step == length * int64_t{sizeof(Source)};
  with_winner(winner, [&]<bool wins>() {
    if (in_runs) return maximum_of_runs<wins, Source, Target>(bins, source, target, winner, length);
    for (int64_t bin = 0; bin < bins.bins; ++bin) {
      auto* const pixel = reinterpret_cast<Target*>(target + bin * bins.bin_step);
      maximum_of_bin<A, wins, Source>(PixelPoints<Source, A>{bins, bin}, source, pixel,
                                      winner + (wins ? bin * length : 0), length);
    }
  });
}
