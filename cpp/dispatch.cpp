// Chooses the instruction set at run time.
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "cpu.h"
#include "kernels.h"
#include "pointwise_kernels.h"

namespace roialign {

#define ROIALIGN_DECLARE(isa)                                                                            \
  namespace isa {                                                                                        \
  extern const Kernels<double> float64_kernels;                                                          \
  extern const Kernels<float> float32_kernels, float16_kernels, bfloat16_kernels;                        \
  extern const PointKernels<double> float64_point_kernels;                                               \
  extern const PointKernels<float> float32_point_kernels, float16_point_kernels, bfloat16_point_kernels; \
  }
ROIALIGN_DECLARE(baseline)
#if defined(ROIALIGN_X86_64)
ROIALIGN_DECLARE(avx2)
ROIALIGN_DECLARE(avx512)
ROIALIGN_DECLARE(avx512_bf16)
#endif
#undef ROIALIGN_DECLARE

namespace {

struct Tables {
  const Kernels<double>* of_double;
  const Kernels<float>* of_float[scalar_type_count];  // float64 is not among them
  const PointKernels<double>* points_of_double;
  const PointKernels<float>* points_of_float[scalar_type_count];
};

// `bfloat16` has the separable kernels of that type.
#define ROIALIGN_TABLES(isa, bfloat16)                                                                           \
  {                                                                                                              \
    &isa::float64_kernels, {nullptr, &isa::float32_kernels, &isa::float16_kernels, &bfloat16::bfloat16_kernels}, \
        &isa::float64_point_kernels, {                                                                           \
      nullptr, &isa::float32_point_kernels, &isa::float16_point_kernels, &isa::bfloat16_point_kernels            \
    }                                                                                                            \
  }
constexpr Tables tables[instruction_set_count] = {
    ROIALIGN_TABLES(baseline, baseline),
#if defined(ROIALIGN_X86_64)
    ROIALIGN_TABLES(avx2, avx2),
    ROIALIGN_TABLES(avx512, avx512),
    ROIALIGN_TABLES(avx512, avx512_bf16),
#endif
};
#undef ROIALIGN_TABLES

InstructionSet choose() {
  InstructionSet best = InstructionSet::baseline;
  std::string known;
  const char* forced = std::getenv("ROIALIGN_ISA");
  for (int index = 0; index < instruction_set_count; ++index) {
    const auto isa = static_cast<InstructionSet>(index);
    if (!is_supported(isa)) continue;
    if (forced != nullptr && std::string(forced) == name_of(isa)) return isa;
    best = isa;
    known += std::string(known.empty() ? "" : ", ") + name_of(isa);
  }
  if (forced != nullptr && forced[0] != '\0') {
    throw std::invalid_argument("ROIALIGN_ISA: expected one of " + known + " on this machine, got '" + forced + "'");
  }
  return best;
}

}  // namespace

const char* name_of(InstructionSet isa) {
  constexpr const char* names[instruction_set_count] = {"baseline", "avx2", "avx512", "avx512_bf16"};
  return names[static_cast<int>(isa)];
}

bool is_built(InstructionSet isa) { return tables[static_cast<int>(isa)].of_double != nullptr; }

bool is_supported(InstructionSet isa) {
  if (!is_built(isa)) return false;
  if (isa == InstructionSet::avx2) return cpu_has_avx2();
  if (isa == InstructionSet::avx512) return cpu_has_avx512();
  if (isa == InstructionSet::avx512_bf16) return cpu_has_avx512_bf16();
  return true;
}

InstructionSet instruction_set() {
  static const InstructionSet chosen = choose();
  return chosen;
}

namespace {

const Tables& chosen() { return tables[static_cast<int>(instruction_set())]; }

}  // namespace

const Kernels<float>& kernels_float(ScalarType type) { return *chosen().of_float[static_cast<int>(type)]; }
const Kernels<double>& kernels_double() { return *chosen().of_double; }
const PointKernels<float>& point_kernels_float(ScalarType type) {
  return *chosen().points_of_float[static_cast<int>(type)];
}
const PointKernels<double>& point_kernels_double() { return *chosen().points_of_double; }

}  // namespace roialign
