// Threads, from our own pool or from the OpenMP runtime of the caller. The work is divided in the same way for every
// number of threads, so the results have the same bits.
#pragma once

#include <cstdint>
#include <functional>

namespace roialign {

/// The number that was set. By default, OMP_NUM_THREADS if it is positive, else the number of available CPUs.
int get_num_threads();
void set_num_threads(int count);

/// To be called before the process may fork. A forked child has none of its parent's threads, so it starts a new pool
/// and does not use an OpenMP runtime, also if only other libraries have used that in the parent.
void expect_forks();

/// The number of workers in the last `parallel_for` of the calling thread.
int last_worker_count();

/// GOMP_parallel of an OpenMP runtime (GNU, LLVM and Intel have it). Calls function(data) from `threads` threads.
using OpenMpParallel = void (*)(void (*function)(void*), void* data, unsigned threads, unsigned flags);

/// The threads of one call. Their number is read once, because it may be changed while the call runs.
struct Team {
  int threads = get_num_threads();
  OpenMpParallel openmp = nullptr;  // null: our own pool
};

/// Calls body(index, worker) for every index in [0, count), from up to `team.threads` threads at once, and returns when
/// all are done. `worker` < team.threads identifies the thread. An exception in a body is rethrown here, after the
/// other threads have stopped.
///
/// It may be called from several threads: if the pool is in use, the caller works alone. It is also safe after fork:
/// see `expect_forks`.
void parallel_for(const Team& team, int64_t count, const std::function<void(int64_t index, int worker)>& body);

}  // namespace roialign
