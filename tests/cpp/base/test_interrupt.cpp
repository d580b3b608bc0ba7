/// The interrupt check: when it is called, and on which thread.

#include <atomic>
#include <chrono>
#include <thread>

#include "support.hpp"

namespace equiprop::tests {
namespace {

using namespace std::chrono_literals;

std::atomic<int> asked{0};
std::atomic<bool> answer{false};
std::atomic<std::thread::id> asked_on;

bool check() {
  ++asked;
  asked_on = std::this_thread::get_id();
  return answer;
}

struct Checked {
  Checked() {
    asked = 0;
    answer = false;
    std::this_thread::sleep_for(25ms);  // so that the next poll calls the check
    set_interrupt_check(check);
  }
  ~Checked() {
    set_interrupt_check(nullptr);
    set_num_threads(0);
  }
};

TEST(PollInterrupt, ThrowsWhenTheProgramSaysStop) {
  const Checked checked;
  EXPECT_NO_THROW(poll_interrupt());
  EXPECT_EQ(asked, 1);
  answer = true;
  std::this_thread::sleep_for(25ms);
  EXPECT_THROW(poll_interrupt(), Interrupted);
  set_interrupt_check(nullptr);
  std::this_thread::sleep_for(25ms);
  EXPECT_NO_THROW(poll_interrupt()) << "a removed check still asks";
}

TEST(PollInterrupt, AsksAtMostEvery20Milliseconds) {
  const Checked checked;
  const auto start = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() < start + 100ms) poll_interrupt();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_GE(asked, 2);
  EXPECT_LE(asked, 1 + elapsed / 20ms);
}

TEST(PollInterrupt, IsAnsweredByTheThreadThatEntered) {
  for (const int threads : {1, 2}) {
    const Checked checked;
    set_num_threads(threads);
    parallel_for(2, [](Index) {
      const auto start = std::chrono::steady_clock::now();
      while (std::chrono::steady_clock::now() < start + 50ms) poll_interrupt();
    });
    EXPECT_GE(asked, 1);
    EXPECT_EQ(asked_on, std::this_thread::get_id());
  }
}

/// The caller has no task left while its helper works, and still polls the check.
TEST(PollInterrupt, StopsHelpersWhileTheCallerWaits) {
  const Checked checked;
  set_num_threads(2);
  const auto caller = std::this_thread::get_id();
  std::atomic<bool> helper_started{false};
  const auto run = [&] {
    parallel_for(2, [&](Index) {
      if (std::this_thread::get_id() == caller) {
        while (!helper_started) std::this_thread::yield();
        return;
      }
      helper_started = true;
      answer = true;
      for (;;) poll_interrupt();
    });
  };
  EXPECT_THROW(run(), Interrupted);
}

}  // namespace
}  // namespace equiprop::tests
