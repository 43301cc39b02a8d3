// What the core needs from its surroundings, for WebAssembly: loops in one thread, and the kernels of float64. It takes
// the place of cpp/parallel.cpp and cpp/dispatch.cpp.
#include "kernels.h"
#include "parallel.h"
#include "pointwise_kernels.h"

namespace roialign {

namespace baseline {
extern const Kernels<double> float64_kernels;
extern const PointKernels<double> float64_point_kernels;
}  // namespace baseline

int get_num_threads() { return 1; }

void parallel_for(const Team&, int64_t count, const std::function<void(int64_t index, int worker)>& body) {
  for (int64_t index = 0; index < count; ++index) body(index, 0);
}

const Kernels<double>& kernels_double() { return baseline::float64_kernels; }
const PointKernels<double>& point_kernels_double() { return baseline::float64_point_kernels; }

// The page calls the core with float64 only, so the kernels of other types are left out.
const Kernels<float>& kernels_float(ScalarType) { __builtin_trap(); }
const PointKernels<float>& point_kernels_float(ScalarType) { __builtin_trap(); }

}  // namespace roialign
