// Queries the CPU directly. `__builtin_cpu_supports` needs a part of the compiler's run-time library that some linkers
// omit, such as zig's. It would then report no support at all, and the slowest kernels would be used silently.
#include "cpu.h"

#include <cstdint>

#if defined(ROIALIGN_X86_64)
#include <cpuid.h>
#endif

namespace roialign {

#if defined(ROIALIGN_X86_64)
namespace {

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

/// All zeros if the CPU does not support the leaf.
Registers cpuid(unsigned leaf, unsigned part = 0) {
  Registers found;
  if (__get_cpuid_count(leaf, part, &found.eax, &found.ebx, &found.ecx, &found.edx) == 0) return {};
  return found;
}

constexpr bool has_bits(uint64_t value, uint64_t bits) { return (value & bits) == bits; }

/// Whether the system saves and restores the given registers (bits of XCR0).
bool system_keeps(uint64_t registers) {
  constexpr unsigned osxsave = 1U << 27;
  if (!has_bits(cpuid(1).ecx, osxsave)) return false;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return has_bits((uint64_t{high} << 32) | low, registers);
}

}  // namespace

bool cpu_has_avx2() {
  constexpr unsigned fma = 1U << 12, avx = 1U << 28, f16c = 1U << 29, avx2 = 1U << 5;
  constexpr uint64_t xmm_and_ymm = 0x6;
  return has_bits(cpuid(1).ecx, fma | avx | f16c) && has_bits(cpuid(7).ebx, avx2) && system_keeps(xmm_and_ymm);
}

bool cpu_has_avx512() {
  constexpr unsigned foundation = 1U << 16, double_words = 1U << 17, bytes = 1U << 30, vector_lengths = 1U << 31;
  constexpr uint64_t up_to_zmm = 0xe6;
  return cpu_has_avx2() && has_bits(cpuid(7).ebx, foundation | double_words | bytes | vector_lengths) &&
         system_keeps(up_to_zmm);
}

bool cpu_has_avx512_bf16() {
  constexpr unsigned bfloat16 = 1U << 5;
  const bool has_part = cpuid(7).eax >= 1;
  return cpu_has_avx512() && has_part && has_bits(cpuid(7, 1).eax, bfloat16);
}
#else
bool cpu_has_avx2() { return false; }
bool cpu_has_avx512() { return false; }
bool cpu_has_avx512_bf16() { return false; }
#endif

}  // namespace roialign
