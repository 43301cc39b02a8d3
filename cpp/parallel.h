// Threads: a pool of our own, or the OpenMP runtime of whoever calls. Work is cut the same way for every thread count,
// so the answers are the same bits.
#pragma once

#include <cstdint>
#include <functional>

namespace roialign {

/// OMP_NUM_THREADS where that is a positive number, else the CPUs that this process may run on; or what was set.
int get_num_threads();
void set_num_threads(int count);

/// How many workers took part in the last `parallel_for` of the calling thread.
int last_worker_count();

/// GOMP_parallel of an OpenMP runtime (GNU's, LLVM's and Intel's have it): calls function(data) from `threads` threads.
using OpenMpParallel = void (*)(void (*function)(void*), void* data, unsigned threads, unsigned flags);

/// The threads of one call. Their number is read once: it may be set anew while the call runs.
struct Team {
  int threads = get_num_threads();
  OpenMpParallel openmp = nullptr;  // null: our own pool
};

/// Calls body(index, worker) for every index in [0, count), from up to `team.threads` threads at once, and returns
/// when all are done. `worker` < team.threads tells the threads apart. An exception in a body is thrown here, once the
/// others have stopped.
///
/// Safe from several threads (one that finds the pool in use works alone) and after fork (the child starts a new pool,
/// and leaves alone an OpenMP runtime whose threads stayed with its parent).
void parallel_for(const Team& team, int64_t count, const std::function<void(int64_t index, int worker)>& body);

}  // namespace roialign
