#include "equiprop/base/parallel.hpp"

#include <atomic>
#include <cfenv>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/workers.hpp"
#include "equiprop/base/error.hpp"
#include "equiprop/base/interrupt.hpp"

namespace equiprop {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto poll_period = std::chrono::milliseconds(20);

std::atomic<int> requested_threads{0};
std::atomic<int> fallback_threads{0};  // no static local: its guard could be locked during a fork
std::atomic<bool (*)()> interrupt_check{nullptr};

/// The remaining tasks of one thread's share; a thread takes the first of them.
struct alignas(64) Share {  // one cache line each
  std::atomic<Index> next{0};
  Index end = 0;
};

/// One parallel_for in progress. Each thread owns an equal range of neighbouring tasks, the same range if the call is
/// repeated. A thread that has finished its range takes tasks of other threads, which may be slow or may not have
/// started, so the call waits only for tasks in progress. It takes them from the front, like the owner: a share is then
/// a single atomic counter, and tasks are large enough that the lost locality does not matter.
class Job {
 public:
  Job(Index tasks, int threads, const std::function<void(Index)>& run)
      : run_(run), shares_(static_cast<std::size_t>(threads)) {
    Index begin = 0, k = 0;
    for (auto& share : shares_) {
      share.next = begin;
      share.end = begin = tasks * ++k / threads;
    }
    std::fegetenv(&environment_);
  }

  /// Runs tasks of all shares, beginning with the thread's own.
  void work(int own) {
    const auto shares = static_cast<int>(shares_.size());
    for (int k = 0; k < shares; ++k) finish(shares_[static_cast<std::size_t>((own + k) % shares)]);
  }
  void stop_with(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    stop_ = true;
  }
  bool stopped() const { return stop_; }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }
  /// Sets the floating-point environment (rounding mode, subnormal numbers) of the calling thread to that of the
  /// caller.
  void adopt_environment() const { std::fesetenv(&environment_); }

 private:
  void finish(Share& share) {
    for (Index task; !stop_ && (task = share.next++) < share.end;) {
      try {
        run_(task);
      } catch (...) {
        stop_with(std::current_exception());
      }
    }
  }

  const std::function<void(Index)>& run_;
  std::vector<Share> shares_;
  std::fenv_t environment_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::exception_ptr error_;
};

thread_local Job* current_job = nullptr;
thread_local bool is_worker = false;
thread_local Clock::time_point next_poll{};

int default_threads() {
  const char* text = std::getenv("EQUIPROP_NUM_THREADS");
  if (text != nullptr && *text != '\0') {  // an empty variable counts as one that is not set
    char* end = nullptr;
    const long count = std::strtol(text, &end, 10);
    require(end != text && *end == '\0' && count >= 1 && count <= 4096, "EQUIPROP_NUM_THREADS",
            "The number of threads is a whole number from 1 to 4096.", "'", text, "'");
    return static_cast<int>(count);
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/// Marks this thread as being inside a job.
struct Inside {
  explicit Inside(Job& job) { current_job = &job; }
  ~Inside() { current_job = nullptr; }
};

void work_as_helper(Job& job, int share) {
  const Inside inside(job);
  is_worker = true;
  job.adopt_environment();
  job.work(share);
}

/// Polls for interrupts while the caller waits, also when it has no task left.
void poll_while_waiting(Job& job) {
  try {
    if (!job.stopped()) poll_interrupt();
  } catch (...) {
    job.stop_with(std::current_exception());
  }
}

void run_on_threads(Job& job, int threads) {
  const Inside inside(job);
  const auto work = [&job](int share) {
    share == 0 ? job.work(share) : work_as_helper(job, share);
  };
  run_on_workers(threads - 1, work, poll_period, [&job] { poll_while_waiting(job); });
}

}  // namespace

void set_num_threads(int count) {
  require(count >= 0 && count <= 4096, "set_num_threads",
          "The number of threads is 1 to 4096, or 0 for the default.", count);
  requested_threads = count;
}

int num_threads() {
  if (const int count = requested_threads) return count;
  if (fallback_threads == 0) fallback_threads = default_threads();
  return fallback_threads;
}

void parallel_for(Index tasks, const std::function<void(Index)>& run) {
  const int threads = static_cast<int>(std::min<Index>(tasks, num_threads()));
  if (threads <= 1 || current_job != nullptr) {
    for (Index task = 0; task < tasks; ++task) run(task);
    return;
  }
  Job job(tasks, threads, run);
  run_on_threads(job, threads);
  job.rethrow();
}

void set_interrupt_check(bool (*check)()) {
  interrupt_check = check;
}

void poll_interrupt() {
  if (current_job != nullptr && current_job->stopped()) throw Interrupted();
  if (is_worker) return;
  const auto now = Clock::now();
  if (now < next_poll) return;
  next_poll = now + poll_period;
  if (const auto check = interrupt_check.load(); check != nullptr && check()) throw Interrupted();
}

}  // namespace equiprop
