/// A long relaxation stops soon after a request, and the network can be used afterwards.

#include <atomic>
#include <chrono>
#include <thread>

#include "support.hpp"

namespace equiprop::tests {
namespace {

using Clock = std::chrono::steady_clock;
std::atomic<Clock::time_point> deadline;

bool too_late() {
  return Clock::now() >= deadline.load();
}

/// Restores the settings at the end of a test.
struct Settings {
  ~Settings() {
    set_interrupt_check(nullptr);
    set_num_threads(0);
  }
};

/// Returns the milliseconds between the request and the exception of `relax`.
double reaction_time(const AnyEnergy<double>& energy, State<double> s) {
  deadline = Clock::now() + std::chrono::milliseconds(60);
  set_interrupt_check(too_late);
  EXPECT_THROW(relax<double>(energy, Euler{{0.0, 1000000000}, 0.1}, s), Interrupted);
  set_interrupt_check(nullptr);
  return std::chrono::duration<double, std::milli>(Clock::now() - deadline.load()).count();
}

TEST(Interrupt, StopsALongRelaxationOnAnyNumberOfThreads) {
  const Settings restore;
  const Case& c = zoo()[1];
  const auto network = make_network(c);
  Random random(1);
  for (const Index batch : {1, 200}) {  // one task, and more tasks than threads
    const State<double> x = random_state(random, network.topology().num_inputs(), batch);
    const AnyEnergy<double> energy = network.clamp(x);
    State<double> expected = network.initial_state(batch), after = expected;
    relax<double>(energy, BlockUpdate{}, expected);
    const Parameters<double> theta = network.parameters();
    for (const int threads : {1, 2}) {
      set_num_threads(threads);
      const double late = reaction_time(energy, network.initial_state(batch));
      EXPECT_GE(late, 0);
      EXPECT_LT(late, 100) << "milliseconds on " << threads << " threads";
      after = network.initial_state(batch);
      relax<double>(energy, BlockUpdate{}, after);
      expect_identical(after, expected, "the same relaxation after the interrupt");
      expect_identical(network.parameters(), theta, "parameters");
    }
  }
}

TEST(Interrupt, StopsASolveOfTheSideNetwork) {
  const Settings restore;
  const LinearOperator<double> identity = [](const ConstStateRef<double>& v, StateRef<double> out) {
    out = v;
  };
  const State<double> ones = State<double>::Ones(3, 1);
  State<double> x(3, 1);
  deadline = Clock::now() + std::chrono::milliseconds(30);
  set_interrupt_check(too_late);
  const LinearSystem<double> system{identity, ones, ones};
  EXPECT_THROW(solve<double>(Richardson{{0.0, 1000000000}, 0.1}, system, x), Interrupted);
}

}  // namespace
}  // namespace equiprop::tests
