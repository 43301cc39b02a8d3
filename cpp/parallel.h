// Threads: a pool of our own. Work is cut the same way for every thread count, so the answers are the same bits.
#pragma once

#include <cstdint>
#include <functional>

namespace roialign {

/// OMP_NUM_THREADS where that is a positive number, else the CPUs that this process may run on; or what was set.
int get_num_threads();
void set_num_threads(int count);

/// How many workers took part in the last `parallel_for` of the calling thread.
int last_worker_count();

/// Calls body(index, worker) for every index in [0, count), from up to `get_num_threads()` threads at once, and returns
/// when all are done. `worker` < get_num_threads() at the time of the call tells the threads apart. An exception in a
/// body is thrown here, once the others have stopped.
///
/// Safe from several threads (one that finds the pool in use works alone) and after fork (the child starts a new pool).
void parallel_for(int64_t count, const std::function<void(int64_t index, int worker)>& body);

}  // namespace roialign
