#pragma once
/// Threads that live as long as the process and block until there is work for them.

#include <chrono>
#include <functional>

namespace equiprop {

/// Runs work(0) on the calling thread and work(1), ..., work(count) on workers at the same time, but only those for
/// which a worker is idle and begins before work(0) has ended: work(0) must do the rest. Returns when all that began
/// have ended, and calls `poll` every `period` while it waits for them. Neither function may throw. Several threads may
/// call at the same time; they share the workers, and none waits for another's.
void run_on_workers(int count, const std::function<void(int)>& work,
                    std::chrono::milliseconds period, const std::function<void()>& poll);

}  // namespace equiprop
