/// Parallel loops: every task runs exactly once in all cases, and the ranges depend only on the size.

#include <atomic>
#include <cfenv>
#include <chrono>
#include <ctime>
#include <mutex>
#include <set>
#include <thread>

#include "support.hpp"

#ifndef _WIN32
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#endif

namespace equiprop::tests {
namespace {

/// Restores the number of threads at the end of a test.
struct Threads {
  explicit Threads(int count) { set_num_threads(count); }
  ~Threads() { set_num_threads(0); }
};

const std::vector<int> thread_counts = {1, 2, 5};

TEST(ParallelFor, RunsEveryTaskOnce) {
  for (const int count : thread_counts)
    for (const Index tasks : {0, 1, 2, 3, 17, 1000}) {
      const Threads threads(count);
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
      parallel_for(tasks, [&](Index task) { ++runs[static_cast<std::size_t>(task)]; });
      for (const auto& n : runs) EXPECT_EQ(n, 1);
    }
}

/// Returns the result of `ask` on each of `count` threads, in the order of their tasks. Every thread keeps its task
/// until all threads have one.
template <class Ask>
auto answers_of_threads(int count, const Ask& ask) {
  std::vector<decltype(ask())> answers(static_cast<std::size_t>(count));
  std::atomic<int> arrived{0};
  parallel_for(count, [&](Index task) {
    answers[static_cast<std::size_t>(task)] = ask();
    ++arrived;
    while (arrived < count) std::this_thread::yield();  // would hang on fewer threads
  });
  return answers;
}

std::vector<std::thread::id> threads_meeting(int count) {
  return answers_of_threads(count, std::this_thread::get_id);
}

TEST(ParallelFor, ThreadsComeAndGoWithTheNumberAllowed) {
  for (const int count : {2, 6, 1, 3, 9, 2}) {
    const Threads threads(count);
    const auto ids = threads_meeting(count);
    EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), count);
  }
}

TEST(ParallelFor, GivesTheSameTasksToTheSameThreads) {
  const Threads threads(4);
  const auto first = threads_meeting(4);
  EXPECT_EQ(first[0], std::this_thread::get_id());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(threads_meeting(4), first);
}

TEST(ParallelFor, AThreadHeldUpDoesNotHoldUpItsOtherTasks) {
  for (const Index held : {0, 5, 9}) {
    const Threads threads(2);
    std::atomic<int> others{0};
    parallel_for(10, [&](Index task) {
      if (task != held) ++others;
      while (task == held && others < 9) std::this_thread::yield();  // would hang without help
    });
    EXPECT_EQ(others, 9);
  }
}

/// Returns the sum of squares below 100, computed by many small calls.
long sum_of_squares() {
  std::atomic<long> sum{0};
  parallel_for(100, [&](Index task) { sum += task * task; });
  return sum;
}

TEST(ParallelFor, CallersOnSeveralThreadsEachGetTheirAnswer) {
  const Threads threads(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int k = 0; k < 500; ++k) wrong += sum_of_squares() != 328350;
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ParallelFor, ACallerDoesNotWaitForTheTasksOfAnother) {
  const Threads threads(2);
  std::atomic<int> held{0};
  std::atomic<bool> release{false};
  std::thread other([&] {
    parallel_for(2, [&](Index) {
      ++held;
      while (!release) std::this_thread::yield();
    });
  });
  while (held < 2) std::this_thread::yield();
  EXPECT_EQ(sum_of_squares(), 328350) << "would hang";
  release = true;
  other.join();
}

TEST(ParallelFor, TinyCallsCostLittle) {
  const Threads threads(2);
  const auto start = std::chrono::steady_clock::now();
  std::atomic<int> runs{0};
  for (int i = 0; i < 20000; ++i) parallel_for(2, [&](Index) { ++runs; });
  EXPECT_EQ(runs, 40000);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(ParallelFor, RoundingIsTheCallersOnEveryThread) {
  const Threads threads(2);
  threads_meeting(2);  // starts the worker while the rounding mode is to nearest
  for (const int mode : {FE_UPWARD, FE_TONEAREST}) {
    std::fesetround(mode);
    const auto modes = answers_of_threads(2, [] { return std::fegetround(); });
    std::fesetround(FE_TONEAREST);
    EXPECT_EQ(modes, (std::vector<int>{mode, mode}));
  }
}

#ifndef _WIN32
TEST(ParallelFor, WorkersLeaveSignalsToTheProgram) {
  const Threads threads(2);
  const auto blocked = answers_of_threads(2, [] {
    sigset_t signals;
    pthread_sigmask(SIG_SETMASK, nullptr, &signals);
    return signals;
  });
  EXPECT_EQ(sigismember(&blocked[0], SIGINT), 0) << "the caller's own";
  EXPECT_EQ(sigismember(&blocked[1], SIGINT), 1);
  EXPECT_EQ(sigismember(&blocked[1], SIGSEGV), 0) << "a fault is the thread's own";
}

TEST(ParallelFor, IdleWorkersSleep) {
  const Threads threads(4);
  threads_meeting(4);
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 20) << "processor time";
}

#if !defined(__SANITIZE_THREAD__)  // the sanitizer allows no threads in a forked child
/// Returns the exit status of a child process that computes on two threads.
int status_of_child() {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // ends a child that hangs
    const bool right = threads_meeting(2).size() == 2 && sum_of_squares() == 328350;
    _exit(right ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

TEST(ParallelFor, AForkedChildHasWorkersOfItsOwn) {
  const Threads threads(2);
  threads_meeting(2);
  EXPECT_EQ(status_of_child(), 0);
  EXPECT_EQ(sum_of_squares(), 328350) << "in the parent";
}

TEST(ParallelFor, AChildMayBeForkedWhileAnotherThreadComputes) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "gcc 12's AddressSanitizer does not release its allocator's lock in the child";
#endif
  const Threads threads(2);
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) sum_of_squares();
  });
  for (int i = 0; i < 50; ++i) EXPECT_EQ(status_of_child(), 0);
  stop = true;
  other.join();
}
#endif
#endif

TEST(ParallelFor, RethrowsTheFirstExceptionAfterTheTasksEnded) {
  for (const int count : thread_counts) {
    const Threads threads(count);
    std::atomic<int> inside{0};
    const auto run = [&] {
      parallel_for(50, [&](Index task) {
        ++inside;
        std::this_thread::yield();
        --inside;
        if (task == 3) throw std::runtime_error("task 3");
      });
    };
    EXPECT_THROW(run(), std::runtime_error);
    EXPECT_EQ(inside, 0) << "a task was still running";
    std::atomic<int> runs{0};
    parallel_for(20, [&](Index) { ++runs; });
    EXPECT_EQ(runs, 20) << "after an exception all is as before";
  }
}

TEST(ParallelFor, NestedCallsRunInOrderInsideTheirTask) {
  for (const int count : thread_counts) {
    const Threads threads(count);
    std::atomic<int> runs{0};
    parallel_for(6, [&](Index) {
      std::vector<Index> order;
      const auto caller = std::this_thread::get_id();
      parallel_for(5, [&](Index inner) {
        order.push_back(inner);
        runs += std::this_thread::get_id() == caller || count == 1;
      });
      EXPECT_EQ(order, (std::vector<Index>{0, 1, 2, 3, 4}));
    });
    EXPECT_EQ(runs, 30);
  }
}

std::vector<std::pair<Index, Index>> chunks_of(Index size, Index chunk) {
  std::mutex mutex;
  std::vector<std::pair<Index, Index>> chunks;
  for_each_chunk(size, chunk, [&](Index begin, Index count) {
    const std::lock_guard lock(mutex);
    chunks.emplace_back(begin, count);
  });
  std::sort(chunks.begin(), chunks.end());
  return chunks;
}

TEST(ForEachChunk, CoversTheRangeOnceInNearlyEqualPieces) {
  for (const Index chunk : {1, 7, 64})
    for (Index size = 0; size < 400; size += 1 + size / 13) {
      Index next = 0, least = chunk, most = 0;
      for (const auto& [begin, count] : chunks_of(size, chunk)) {
        EXPECT_EQ(begin, next);
        next += count;
        least = std::min(least, count);
        most = std::max(most, count);
      }
      EXPECT_EQ(next, size);
      EXPECT_LE(most, chunk);
      EXPECT_LE(most, least + 1);
    }
}

TEST(ForEachChunk, NeverMakesSmallPiecesOfALargeBatch) {
  for (Index size = chunk_columns; size < 1000; ++size)
    for (const auto& [begin, count] : chunks_of(size, chunk_columns)) EXPECT_GE(count, 32) << size;
}

TEST(ForEachChunk, PiecesDoNotDependOnTheThreads) {
  for (const Index size : {1, 63, 64, 65, 130, 999}) {
    std::vector<std::pair<Index, Index>> expected;
    for (const int count : thread_counts) {
      const Threads threads(count);
      const auto chunks = chunks_of(size, chunk_columns);
      if (count == 1) expected = chunks;
      EXPECT_EQ(chunks, expected);
    }
  }
}

TEST(NumThreads, IsWhatWasSetOrADefault) {
  const Threads threads(3);
  EXPECT_EQ(num_threads(), 3);
  set_num_threads(0);
  EXPECT_GE(num_threads(), 1);
  EXPECT_THROW(set_num_threads(-1), InvalidArgument);
  EXPECT_THROW(set_num_threads(5000), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
