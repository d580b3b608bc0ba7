/// The free list keeps the memory of large states for states of equal size, up to a limit.

#include <thread>

#include "support.hpp"

namespace equiprop::tests {
namespace {

constexpr Index many = fewest_spare_bytes / static_cast<Index>(sizeof(double));

/// Returns the address of the memory of a state of this size after the state was returned to the free list.
const double* address_of_kept(Index rows, Index columns) {
  State<double> state = take_state<double>(rows, columns);
  EXPECT_EQ(state.rows(), rows);
  EXPECT_EQ(state.cols(), columns);
  state.setConstant(1);
  const double* numbers = state.data();
  keep_state<double>(std::move(state));
  return numbers;
}

TEST(SpareStates, TheNextOfTheSizeHasTheMemory) {
  const double* kept = address_of_kept(many, 3);
  const State<double> other = take_state<double>(many, 4);
  EXPECT_NE(other.data(), kept);
  const State<double> same_size = take_state<double>(3, many);
  EXPECT_EQ(same_size.data(), kept);
  const State<double> another = take_state<double>(3, many);
  EXPECT_NE(another.data(), kept);
}

TEST(SpareStates, SharedOnesAreKeptWhenTheLastPointerGoes) {
  std::shared_ptr<State<float>> first = shared_state<float>(2 * many, 5), second = first;
  const float* numbers = first->data();
  first.reset();
  EXPECT_NE(take_state<float>(2 * many, 5).data(), numbers);
  second.reset();
  EXPECT_EQ(take_state<float>(2 * many, 5).data(), numbers);
}

TEST(SpareStates, SeveralAreKept) {
  const double* numbers;
  {
    KeptStates<double> states(2);
    states[1] = take_state<double>(many, 6);
    numbers = states[1].data();
  }
  EXPECT_EQ(take_state<double>(many, 6).data(), numbers);
}

TEST(SpareStates, EmptyAndSmallOnesAreOnlyFreed) {
  for (const Index size : {Index{0}, Index{1}, many - 1}) {
    keep_state<double>(take_state<double>(size, 1));
    EXPECT_EQ(take_state<double>(size, 1).size(), size);
  }
}

TEST(SpareStates, TheOldestGoesWhereALimitIsReached) {
  constexpr Index quarter = most_spare_bytes / 4 / static_cast<Index>(sizeof(Complex));
  std::vector<const Complex*> numbers;
  for (Index k = 0; k < 5; ++k) {
    State<Complex> state = take_state<Complex>(quarter - k, 1);
    numbers.push_back(state.data());
    keep_state<Complex>(std::move(state));
  }
  for (Index k = 4; k > 0; --k)  // malloc may reuse the memory of the oldest, which is freed
    EXPECT_EQ(take_state<Complex>(quarter - k, 1).data(), numbers[static_cast<std::size_t>(k)]);
}

TEST(SpareStates, AnyThreadMayTakeAndKeep) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([thread] {
      for (int trial = 0; trial < 200; ++trial) {
        State<double> state = take_state<double>(many, 7);
        state.setConstant(thread);
        EXPECT_TRUE((state.array() == thread).all());
        keep_state<double>(std::move(state));
      }
    });
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace equiprop::tests
