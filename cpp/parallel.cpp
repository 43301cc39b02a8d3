#include "parallel.h"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace roialign {
namespace {

using Body = std::function<void(int64_t, int)>;

/// One parallel loop. Threads take indices one by one, in order.
class Loop {
 public:
  Loop(int64_t count, const Body& body) : count_(count), body_(body) {}

  void work(int worker) {
    bool took_part = false;
    for (;;) {
      const int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
      if (index >= count_) break;
      took_part = true;
      try {
        body_(index, worker);
      } catch (...) {
        const std::lock_guard lock(error_mutex_);
        if (!error_) error_ = std::current_exception();
        next_.store(count_, std::memory_order_relaxed);
      }
    }
    if (took_part) workers_.fetch_add(1, std::memory_order_relaxed);
  }

  int workers() const { return workers_.load(std::memory_order_relaxed); }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  const int64_t count_;
  const Body& body_;
  std::atomic<int64_t> next_{0};
  std::atomic<int> workers_{0};
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

/// Threads that sleep until they get a loop. The pool is never destroyed: its threads end with the process.
class Pool {
 public:
  /// Returns false, without doing anything, if another thread is using the pool.
  bool run(Loop& loop, int threads) {
    const std::unique_lock lock(in_use_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    while (static_cast<int>(workers_.size()) < threads - 1 && add_worker());
    const int others = std::min(static_cast<int>(workers_.size()), threads - 1);
    running_.store(others, std::memory_order_relaxed);
    for (int index = 0; index < others; ++index) workers_[index]->hand(&loop);
    loop.work(0);
    for (int left = running_.load(std::memory_order_acquire); left != 0;
         left = running_.load(std::memory_order_acquire)) {
      running_.wait(left, std::memory_order_acquire);
    }
    return true;
  }

 private:
  struct Worker {
    std::atomic<Loop*> loop{nullptr};

    void hand(Loop* given) {
      loop.store(given, std::memory_order_release);
      loop.notify_one();
    }
  };

  /// Returns false if the system gives no thread, for example in a container that limits them. Fewer do the work then.
  bool add_worker() {
    auto worker = std::make_unique<Worker>();
    workers_.reserve(workers_.size() + 1);
    try {
      std::thread(&Pool::serve, this, worker.get(), static_cast<int>(workers_.size()) + 1).detach();
    } catch (const std::system_error&) {
      return false;
    }
    workers_.push_back(std::move(worker));
    return true;
  }

  void serve(Worker* self, int number) {
    for (;;) {
      self->loop.wait(nullptr, std::memory_order_acquire);
      Loop* const loop = self->loop.load(std::memory_order_acquire);
      loop->work(number);
      // Before the count, because the next loop may be handed out after it.
      self->loop.store(nullptr, std::memory_order_relaxed);
      if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
    }
  }

  std::mutex in_use_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<int> running_{0};
};

std::atomic<Pool*> pool{nullptr};
std::atomic<int> num_threads{0};
thread_local int workers_of_last_loop = 0;

std::atomic<bool> is_forked{false};

Pool& the_pool() {
  Pool* current = pool.load(std::memory_order_acquire);
  if (current != nullptr) return *current;
  auto made = std::make_unique<Pool>();
  if (pool.compare_exchange_strong(current, made.get(), std::memory_order_acq_rel)) return *made.release();
  return *current;
}

/// One region of an OpenMP runtime. Its threads number themselves in order of arrival.
void run_on(OpenMpParallel openmp, Loop& loop, int threads) {
  struct Region {
    Loop& loop;
    std::atomic<int> arrived{0};
  } region{loop};
  const auto take_part = [](void* data) {
    auto* const given = static_cast<Region*>(data);
    given->loop.work(given->arrived.fetch_add(1, std::memory_order_relaxed));
  };
  openmp(take_part, &region, static_cast<unsigned>(threads), 0);
}

int default_num_threads() {
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const long count = std::strtol(text, nullptr, 10);  // a list "4,2" gives its first number
    if (count > 0) return static_cast<int>(std::min(count, 1024L));
  }
#if defined(__linux__)
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0) return std::max(CPU_COUNT(&cpus), 1);
#endif
  return std::max(static_cast<int>(std::thread::hardware_concurrency()), 1);
}

}  // namespace

int get_num_threads() {
  int count = num_threads.load(std::memory_order_relaxed);
  if (count == 0) {
    count = default_num_threads();
    num_threads.store(count, std::memory_order_relaxed);
  }
  return count;
}

void set_num_threads(int count) { num_threads.store(count, std::memory_order_relaxed); }

void expect_forks() {
#if defined(__unix__) || defined(__APPLE__)
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    pool.store(nullptr, std::memory_order_release);
    is_forked.store(true, std::memory_order_relaxed);
  });
  (void)registered;
#endif
}

int last_worker_count() { return workers_of_last_loop; }

void parallel_for(const Team& team, int64_t count, const Body& body) {
  const int threads = static_cast<int>(std::min<int64_t>(team.threads, count));
  Loop loop(count, body);
  if (threads <= 1) {
    loop.work(0);
  } else if (team.openmp != nullptr && !is_forked.load(std::memory_order_relaxed)) {
    run_on(team.openmp, loop, threads);
  } else if (!the_pool().run(loop, threads)) {
    loop.work(0);
  }
  workers_of_last_loop = loop.workers();
  loop.rethrow();
}

}  // namespace roialign
