#include "workers.hpp"

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

/// A thread that sleeps takes 30 to 60 us to wake up, and of a training step two threads share many parts with up to 100
/// us of one thread's work between them. Whoever waits longer than that sleeps.
constexpr auto patience = std::chrono::microseconds(200);

template <class Condition>
bool soon(const Condition& condition) {
  const auto end = Clock::now() + patience;
  while (!condition()) {
    if (Clock::now() >= end) return false;
    std::this_thread::yield();  // whoever is waited for may need this very processor
  }
  return true;
}

/// One thread. Its states are passed round by whom it is lent to (idle -> called, and back to idle if
/// it has not begun) and by itself (called -> working -> idle).
class Worker {
 public:
  void call(const std::function<void(int)>& work, int share) {
    work_ = &work;
    share_ = share;
    become(State::called);
  }
  /// A worker that has not begun need not be waited for: its processor may be busy for long.
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
      if (!state_.compare_exchange_strong(expected, State::working)) continue;  // called off
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
  /// Either the worker waits or the one it is lent to, never both.
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

/// A thread started while this lives takes no signals: those of a process are for the threads its
/// program knows of. Faults and the ticks of a profiler belong to the thread they happen on.
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

/// All workers. Neither it nor they are ever destroyed: at exit they sleep, holding nothing, and end
/// with the process. To join them there would be to wait for computations of detached threads.
class Pool {
 public:
  /// Idle workers, the same ones first so that they find their data in their caches; `count` at most.
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

  Pool* older = nullptr;  ///< of the process this one was forked from

 private:
  void grow(std::size_t size) {
    workers_.reserve(size);
    [[maybe_unused]] const SignalsBlocked blocked;  // on Windows an empty object
    while (workers_.size() < size) {
      auto worker = std::make_unique<Worker>();
      try {
        std::thread(&Worker::live, worker.get()).detach();
      } catch (const std::system_error&) {
        return;  // the system has no thread to spare: go on with those there are
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
/// A forked child has the memory of its parent's workers, locked mutexes among it, but not their
/// threads. It never touches that again, and starts workers of its own when it needs some.
void leave_pool_to_parent() {
  static Pool* left = nullptr;  // kept in sight of leak checkers
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
