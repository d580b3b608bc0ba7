#include "base/workers.hpp"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#ifndef _WIN32
#include <pthread.h>

#include <csignal>
#endif

namespace equiprop {
namespace {

using Clock = std::chrono::steady_clock;

/// Idle workers spin for this long before they block on a condition variable; that is longer than the serial sections
/// between the parallel parts of a training step, up to 100 us. A blocked thread takes 30 to 60 us to wake up.
constexpr auto patience = std::chrono::microseconds(200);

template <class Condition>
bool soon(const Condition& condition) {
  const auto end = Clock::now() + patience;
  while (!condition()) {
    if (Clock::now() >= end) return false;
    std::this_thread::yield();  // the awaited thread may need this processor
  }
  return true;
}

/// One thread. The caller that borrows the worker changes its state from idle to called, and back to idle if the worker
/// has not started; the worker changes it from called to working to idle.
class Worker {
 public:
  void call(const std::function<void(int)>& work, int share) {
    work_ = &work;
    share_ = share;
    become(State::called);
  }
  /// Cancels the call if the worker has not started, because its processor may be busy for a long time.
  void call_off() {
    State expected = State::called;
    state_.compare_exchange_strong(expected, State::idle);
  }
  bool idle_by(Clock::time_point time) {
    const auto idle = [this] { return state_ == State::idle; };
    if (soon(idle)) return true;
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, time, idle);
  }
  [[noreturn]] void live() {
    for (;;) {
      wait_for_call();
      State expected = State::called;
      if (!state_.compare_exchange_strong(expected, State::working))
        continue;  // the call was cancelled
      (*work_)(share_);
      become(State::idle);
    }
  }

  bool lent = false;  ///< guarded by the pool

 private:
  enum class State { idle, called, working };

  void wait_for_call() {
    const auto called = [this] { return state_ == State::called; };
    if (soon(called)) return;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, called);
  }
  /// Changes the state and wakes the thread that waits for it: either the worker or the caller that borrowed it.
  void become(State state) {
    {
      const std::lock_guard lock(mutex_);
      state_ = state;
    }
    changed_.notify_one();
  }

  const std::function<void(int)>* work_ = nullptr;
  int share_ = 0;
  std::atomic<State> state_{State::idle};
  std::mutex mutex_;
  std::condition_variable changed_;
};

/// Blocks signals in threads that are started while this object exists, so that signals to the process are delivered to
/// threads of the program. Faults and profiler ticks are not blocked: they belong to the thread that causes them.
class SignalsBlocked {
#ifndef _WIN32
 public:
  SignalsBlocked() {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int own : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGPROF, SIGSEGV, SIGTRAP})
      sigdelset(&blocked, own);
    pthread_sigmask(SIG_SETMASK, &blocked, &kept_);
  }
  ~SignalsBlocked() {
    pthread_sigmask(SIG_SETMASK, &kept_, nullptr);
  }

 private:
  sigset_t kept_;
#endif
};

/// The pool of all workers. Neither the pool nor its workers are ever destroyed: at exit they are blocked, hold no
/// lock, and end with the process. Joining them would wait for computations of detached threads.
class Pool {
 public:
  /// Returns at most `count` idle workers, in a fixed order, so that the data of the last call are still in the caches
  /// of their processors.
  std::vector<Worker*> lend(int count) {
    const auto wanted = static_cast<std::size_t>(count);
    std::vector<Worker*> crew;
    crew.reserve(wanted);
    const std::lock_guard lock(mutex_);
    grow(wanted);
    for (const auto& worker : workers_) {
      if (crew.size() == wanted) break;
      if (worker->lent) continue;
      worker->lent = true;
      crew.push_back(worker.get());
    }
    return crew;
  }
  void take_back(const std::vector<Worker*>& crew) {
    const std::lock_guard lock(mutex_);
    for (Worker* worker : crew) worker->lent = false;
  }

  Pool* older = nullptr;  ///< pool of the parent process

 private:
  void grow(std::size_t size) {
    workers_.reserve(size);
    [[maybe_unused]] const SignalsBlocked blocked;  // on Windows an empty object
    while (workers_.size() < size) {
      auto worker = std::make_unique<Worker>();
      try {
        std::thread(&Worker::live, worker.get()).detach();
      } catch (const std::system_error&) {
        return;  // the system refuses another thread: go on with the existing ones
      }
      workers_.push_back(std::move(worker));
    }
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

std::atomic<Pool*> current_pool{nullptr};

Pool& pool() {
  Pool* found = current_pool;
  if (found == nullptr) {
    auto fresh = std::make_unique<Pool>();
    if (current_pool.compare_exchange_strong(found, fresh.get())) found = fresh.release();
  }
  return *found;
}

#ifndef _WIN32
/// Gives a forked child a new pool. The child has the memory of its parent's workers, which may include locked mutexes,
/// but not their threads; it never uses that memory again.
void leave_pool_to_parent() {
  static Pool* left = nullptr;  // reachable, so that leak checkers report nothing
  if (Pool* parents = current_pool.exchange(nullptr)) {
    parents->older = left;
    left = parents;
  }
}
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, &leave_pool_to_parent);
#endif

}  // namespace

void run_on_workers(int count, const std::function<void(int)>& work,
                    std::chrono::milliseconds period, const std::function<void()>& poll) {
  Pool& lender = pool();
  const std::vector<Worker*> crew = lender.lend(count);
  int share = 0;
  for (Worker* worker : crew) worker->call(work, ++share);
  work(0);
  for (Worker* worker : crew) worker->call_off();
  auto next_poll = Clock::now() + period;
  for (Worker* worker : crew)
    while (!worker->idle_by(next_poll)) {
      poll();
      next_poll = Clock::now() + period;
    }
  lender.take_back(crew);
}

}  // namespace equiprop
