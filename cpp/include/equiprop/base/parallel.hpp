#pragma once
/// Threads share a batch in fixed pieces: how many threads there are never changes a bit.

#include <functional>

#include "equiprop/base/arrays.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// Threads used by later calls; 0 restores the default: EQUIPROP_NUM_THREADS if it is set, else the
/// number of processors.
void set_num_threads(int count);
int num_threads();

/// Calls run(0), ..., run(tasks - 1), on several threads when that is allowed. Calls made from
/// inside a task run in order. The first exception is rethrown after every task has ended. Several
/// threads may call at the same time. A child forked inside a task must not return from it.
void parallel_for(Index tasks, const std::function<void(Index)>& run);

/// The same for any function. It is referred to, not copied, so that no closure goes to the heap.
template <class Run>
void parallel_for(Index tasks, const Run& run) {
  parallel_for(tasks, std::function<void(Index)>(std::cref(run)));
}

/// Columns per task. Fewer than 32 samples per product cost more than a thread gains.
inline constexpr Index chunk_columns = 64;

/// Splits [0, size) into ceil(size / chunk) nearly equal ranges, a function of `size` alone, and
/// calls run(begin, count) for each.
template <class Run>
void for_each_chunk(Index size, Index chunk, const Run& run) {
  const Index tasks = (size + chunk - 1) / chunk;
  parallel_for(tasks, [&](Index task) {
    const Index begin = size * task / tasks;
    run(begin, size * (task + 1) / tasks - begin);
  });
}

}  // namespace equiprop
