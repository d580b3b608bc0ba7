#pragma once
/// Threads that live as long as the process and sleep until somebody has work for them.

#include <chrono>
#include <functional>

namespace equiprop {

/// Runs work(0) on the calling thread and meanwhile work(1), ..., work(count) on workers, each as far
/// as one is idle and begins before work(0) has ended: whatever the others leave undone, work(0) must
/// do. Returns when all that began have ended, and calls `poll` every `period` while it waits for
/// them. Neither function may throw. Several threads may call at the same time; they share the
/// workers, and none waits for another's.
void run_on_workers(int count, const std::function<void(int)>& work,
                    std::chrono::milliseconds period, const std::function<void()>& poll);

}  // namespace equiprop
