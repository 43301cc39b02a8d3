// The instruction sets that the CPU and the operating system support.
#pragma once

namespace roialign {

/// AVX2, FMA and F16C, and an operating system that saves their registers.
bool cpu_has_avx2();
/// AVX-512 F, BW, DQ and VL, and everything that AVX2 requires.
bool cpu_has_avx512();
/// The instructions that round to bfloat16, and everything that AVX-512 requires.
bool cpu_has_avx512_bf16();

}  // namespace roialign
