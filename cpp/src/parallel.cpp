#include "equiprop/base/parallel.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "equiprop/base/error.hpp"
#include "equiprop/base/interrupt.hpp"

namespace equiprop {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto poll_period = std::chrono::milliseconds(20);

std::atomic<int> requested_threads{0};
std::atomic<bool (*)()> interrupt_check{nullptr};

/// One parallel_for in progress; its tasks are handed out by a counter.
struct Job {
  explicit Job(Index tasks_, const std::function<void(Index)>& run_) : tasks(tasks_), run(run_) {}

  void work() {
    for (Index task; !stop && (task = next++) < tasks;) {
      try {
        run(task);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        stop = true;
      }
    }
  }

  const Index tasks;
  const std::function<void(Index)>& run;
  std::atomic<Index> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::exception_ptr error;
};

thread_local Job* current_job = nullptr;
thread_local bool is_worker = false;
thread_local Clock::time_point next_poll{};

int default_threads() {
  if (const char* text = std::getenv("EQUIPROP_NUM_THREADS")) {
    char* end = nullptr;
    const long count = std::strtol(text, &end, 10);
    require(end != text && *end == '\0' && count >= 1 && count <= 4096, "EQUIPROP_NUM_THREADS",
            "The number of threads is a whole number from 1 to 4096.", "'", text, "'");
    return static_cast<int>(count);
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/// Helpers of one job, joined when it ends. The caller keeps polling meanwhile, so an interrupt is
/// seen even when its own share of the work is done.
class Helpers {
 public:
  Helpers(Job& job, int count) {
    threads_.reserve(static_cast<std::size_t>(count));
    try {
      for (int i = 0; i < count; ++i) {
        add_running(1);
        threads_.emplace_back([this, &job] { help(job); });
      }
    } catch (const std::system_error&) {
      add_running(-1);  // the system has no thread to spare: those that started share the work
    }
  }
  ~Helpers() {
    for (auto& thread : threads_) thread.join();
  }
  bool wait_for(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    return done_.wait_for(lock, time, [this] { return running_ == 0; });
  }

 private:
  void help(Job& job) {
    current_job = &job;
    is_worker = true;
    job.work();
    add_running(-1);
  }
  void add_running(int change) {
    const std::lock_guard lock(mutex_);
    running_ += change;
    done_.notify_one();
  }

  int running_ = 0;
  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<std::thread> threads_;
};

void run_on_threads(Job& job, int count) {
  current_job = &job;
  {
    Helpers helpers(job, count - 1);
    job.work();
    while (!helpers.wait_for(poll_period)) {
      try {
        if (!job.stop) poll_interrupt();
      } catch (...) {
        const std::lock_guard lock(job.mutex);
        if (!job.error) job.error = std::current_exception();
        job.stop = true;
      }
    }
  }
  current_job = nullptr;
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace

void set_num_threads(int count) {
  require(count >= 0 && count <= 4096, "set_num_threads",
          "The number of threads is 1 to 4096, or 0 for the default.", count);
  requested_threads = count;
}

int num_threads() {
  static const int fallback = default_threads();
  const int count = requested_threads;
  return count > 0 ? count : fallback;
}

void parallel_for(Index tasks, const std::function<void(Index)>& run) {
  const int threads = static_cast<int>(std::min<Index>(tasks, num_threads()));
  if (threads <= 1 || current_job != nullptr) {
    for (Index task = 0; task < tasks; ++task) run(task);
    return;
  }
  Job job(tasks, run);
  run_on_threads(job, threads);
}

void set_interrupt_check(bool (*check)()) {
  interrupt_check = check;
}

void poll_interrupt() {
  if (current_job != nullptr && current_job->stop) throw Interrupted();
  if (is_worker) return;
  const auto now = Clock::now();
  if (now < next_poll) return;
  next_poll = now + poll_period;
  if (const auto check = interrupt_check.load(); check != nullptr && check()) throw Interrupted();
}

}  // namespace equiprop
