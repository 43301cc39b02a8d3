// What the CPU and its system can run.
#pragma once

namespace roialign {

/// AVX2, FMA and F16C, and a system that keeps their registers.
bool cpu_has_avx2();
/// The foundation of AVX-512 with its byte, double word and vector length extensions, and all that AVX2 stands for.
bool cpu_has_avx512();

}  // namespace roialign
