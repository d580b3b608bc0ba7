#pragma once
/// Parallel loops over fixed ranges: the number of threads does not change any bit of a result.

#include <functional>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"

namespace equiprop {

/// Sets the number of threads for later calls. 0 restores the default: EQUIPROP_NUM_THREADS if it is not empty, otherwise the
/// number of processors. Throws InvalidArgument unless count is 0 to 4096.
EQUIPROP_EXPORT void set_num_threads(int count);
/// Returns the number of threads that a call may use.
EQUIPROP_EXPORT int num_threads();

/// Calls run(0), ..., run(tasks - 1), on several threads if more than one is allowed. A call from inside a task runs
/// its tasks in order on the calling thread. The first exception is rethrown after every running task has ended.
/// Several threads may call this function at the same time. A child process that is forked inside a task must not
/// return from that task.
EQUIPROP_EXPORT void parallel_for(Index tasks, const std::function<void(Index)>& run);

/// Calls run(0), ..., run(tasks - 1) for any callable. It is passed by reference, so that std::function allocates no
/// memory.
template <class Run>
void parallel_for(Index tasks, const Run& run) {
  parallel_for(tasks, std::function<void(Index)>(std::cref(run)));
}

/// Columns per task. With fewer than 32 samples per product, the overhead exceeds the gain of another thread.
inline constexpr Index chunk_columns = 64;

/// Splits [0, size) into ceil(size / chunk) nearly equal ranges, which do not depend on the number of threads, and
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
