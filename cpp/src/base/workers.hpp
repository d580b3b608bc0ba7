#pragma once
/// Threads that live as long as the process and block until there is work for them.

#include <chrono>
#include <functional>

namespace equiprop {

/// Runs work(0) on the calling thread and work(1), ..., work(count) on workers at the same time. A share for which no
/// worker is idle, or whose worker has not started when work(0) ends, is not run: work(0) must do the remaining work.
/// Returns when all shares that started have ended, and calls `poll` every `period` while it waits. Neither function
/// may throw. Several threads may call this function at the same time; they share the workers, and none waits for a
/// worker of another.
void run_on_workers(int count, const std::function<void(int)>& work,
                    std::chrono::milliseconds period, const std::function<void()>& poll);

}  // namespace equiprop
