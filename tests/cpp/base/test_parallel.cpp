/// Threads: every task runs once, whatever happens, and the pieces depend on the size alone.

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// Restores the number of threads however a test ends.
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

TEST(ParallelFor, UsesTheThreadsItMay) {
  const Threads threads(2);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  std::atomic<int> waiting{0};
  parallel_for(2, [&](Index) {
    ++waiting;
    while (waiting < 2) std::this_thread::yield();  // would hang on one thread
    const std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(seen.size(), 2);
}

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
