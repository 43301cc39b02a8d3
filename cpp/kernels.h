// The inner loops, as one table of functions per instruction set. Only these are compiled more than once.
//
// A pixel is a vector of channels in memory. All loops address pixels by byte offsets, so maps, outputs and scratch
// tiles of any layout are treated alike. Use plain structs only: nothing here may become code that two instruction sets
// would share.
#pragma once

#include <cstddef>
#include <cstdint>

namespace roialign {

enum class ScalarType : int { float64 = 0, float32, float16, bfloat16 };
constexpr int scalar_type_count = 4;

/// One axis of a contraction: output row i is the sum over begin[i] <= t < begin[i + 1] of weight[t] times source t.
template <class Accumulator>
struct AxisPlan {
  int64_t rows;
  const int32_t* begin;
  const int64_t* source_offset;  // bytes, per tap
  const Accumulator* weight;     // per tap
  const int64_t* target_offset;  // bytes, per row

  AxisPlan rows_between(int64_t first, int64_t end) const {
    return {end - first, begin + first, source_offset, weight, target_offset + first};
  }
  AxisPlan row(int64_t i) const { return rows_between(i, i + 1); }
};

/// Which functions of the boxes' derivatives `dots` sums: result[pair_result[p]] += wy[p] * wx[p] * (gradient . pixel).
template <class Accumulator>
struct DotPlan {
  AxisPlan<Accumulator> y, x;  // the weights are unused, since each pair has its own
  int64_t pairs;
  const double* const* y_weight;  // [pair][tap]
  const double* const* x_weight;
  const int* result;  // [pair]
};

/// A block of pixels in memory: `rows` lines of `columns` pixels, each of `channels` values.
struct Block {
  std::byte* base;
  int64_t rows, columns, channels;
  const int64_t* row_offset;     // bytes, per row
  const int64_t* column_offset;  // bytes, per column
  int64_t channel_stride;        // bytes
};

/// How a contraction writes its target.
enum class Write {
  replace,
  add,     // the target has accumulators
  stream,  // replace, bypassing the caches, for results too large for them; pixels are aligned to 64 bytes
};

/// The type of an operand: the scalar type, or the accumulator type. If a kernel exists for both, they are its indices.
enum class Values : int { scalars = 0, accumulators = 1 };
constexpr int index(Values values) { return static_cast<int>(values); }

/// The kernels for one scalar type. `Accumulator` is float64 for float64 and float32 for all others.
template <class Accumulator>
struct Kernels {
  int64_t value_bytes;  // of the scalar type

  int64_t bytes_of(Values values) const {
    return values == Values::accumulators ? int64_t{sizeof(Accumulator)} : value_bytes;
  }

  /// target(i, j) = or += the sum over taps of y and x of wy * wx * source(ty, tx), for `length` channels.
  using Contract = void (*)(const AxisPlan<Accumulator>& y, const AxisPlan<Accumulator>& x, const std::byte* source,
                            std::byte* target, int64_t length, Write write);
  Contract contract[2][2];  // [source][target]

  /// The sums of DotPlan over all bins (i, j), with the gradient's pixel at target_offset and the map's at
  /// source_offset.
  using Dots = void (*)(const DotPlan<Accumulator>& plan, const std::byte* source, const std::byte* gradient,
                        int64_t length, double* result);
  Dots dots[2];

  /// Copies a block into a dense tile [rows][columns][channels].
  void (*gather[2])(const Block& block, std::byte* tile);
  /// Writes such a tile into a block.
  using Scatter = void (*)(const std::byte* tile, const Block& block);
  Scatter scatter[2];
  /// The same for accumulators, bypassing the caches for whole cache lines of consecutive pixels.
  Scatter scatter_streaming;
  /// Copies `bytes` of memory, bypassing the caches.
  void (*stream)(const std::byte* from, std::byte* to, int64_t bytes);
};

enum class InstructionSet : int { baseline = 0, avx2, avx512, avx512_bf16 };
constexpr int instruction_set_count = 4;
const char* name_of(InstructionSet isa);

/// The instruction set in use: the best that the CPU supports, or the one that ROIALIGN_ISA names. Throws
/// std::invalid_argument if that is unknown, not built, or not supported by the CPU.
InstructionSet instruction_set();
bool is_built(InstructionSet isa);
bool is_supported(InstructionSet isa);

const Kernels<float>& kernels_float(ScalarType type);
const Kernels<double>& kernels_double();

}  // namespace roialign
