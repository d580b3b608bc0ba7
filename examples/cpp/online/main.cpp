/// Learns from a stream, one sample at a time, in a fixed amount of memory: online [inputs hidden outputs samples]
///
/// All memory is allocated for the first sample; later samples allocate nothing, as on a device with a fixed memory
/// budget.

#include <cstdio>
#include <cstdlib>
#include <equiprop/equiprop.hpp>

#include "memory.hpp"

namespace eq = equiprop;
using eq::Index;

namespace {

/// A source of labelled samples: each class has a pattern of zeros and ones, of which a random quarter is flipped.
class Stream {
 public:
  explicit Stream(Index classes) : classes_(classes) {}

  /// Fills x (inputs, 1) with the next sample and returns its class.
  Index next(eq::State<float>& x) {
    const auto label = noise_.below(static_cast<std::uint64_t>(classes_));
    eq::Random pattern(1, label);
    for (float& v : x.reshaped()) {
      const bool one = pattern.uniform() < 0.5, wrong = noise_.uniform() < 0.25;
      v = one != wrong ? 1.0f : 0.0f;
    }
    return static_cast<Index>(label);
  }

 private:
  Index classes_;
  eq::Random noise_{2};
};

eq::HopfieldNetwork<float> make_network(Index inputs, Index hidden, Index outputs) {
  eq::HopfieldNetwork<float> network({{"x", inputs}, {"h", hidden}, {"y", outputs}}, eq::chain(3));
  network.initialize(0);
  return network;
}

const eq::Solver solver = eq::BlockUpdate{{.tolerance = 5e-3}};

/// A network with all data that it needs to learn.
class Learner {
 public:
  Learner(Index inputs, Index hidden, Index outputs)
      : network_(make_network(inputs, hidden, outputs)),
        x_(eq::State<float>::Zero(inputs, 1)),
        y_(eq::State<float>::Zero(outputs, 1)),
        state_(network_.initial_state(1)),
        clamped_(network_.clamp(x_)),
        cost_(y_),
        free_phase_(clamped_, solver),
        second_phase_(clamped_, cost_, eq::centered<float>(0.25), solver, /*refine=*/false),
        descent_(network_.parameters(), velocity_, {{.begin = 0, .rate = 0.02f}}, /*momentum=*/0,
                 /*decay=*/0) {}

  /// Predicts the class of the next sample, then learns it. Returns true if the prediction was wrong.
  bool learn_from(Stream& stream) {
    const Index label = stream.next(x_);
    y_.setZero();
    y_(label) = 1;
    clamped_.reclamp(x_);  // updates both phases too, because they share its memory
    cost_.retarget(y_);
    network_.rest(state_);
    free_phase_.run(state_);
    Index predicted = 0;
    state_.col(0).tail(y_.rows()).maxCoeff(&predicted);
    second_phase_.give(state_, descent_);
    return predicted != label;
  }

 private:
  eq::HopfieldNetwork<float> network_;
  eq::State<float> x_, y_, state_;
  eq::Parameters<float> velocity_;  // empty: no momentum
  eq::ClampedHopfield<float> clamped_;
  eq::SquaredError<float> cost_;
  eq::Relaxation<float> free_phase_;
  eq::EquilibriumPropagation<float> second_phase_;
  eq::DescendSGD<float> descent_;
};

/// Returns argument i, which must be a positive number, or `otherwise` if it is missing.
Index argument(int argc, char** argv, int i, Index otherwise) {
  if (i >= argc) return otherwise;
  const Index number = std::atol(argv[i]);
  eq::require(number > 0, "online", "Usage: online [inputs hidden outputs samples], each positive.",
              "'", argv[i], "'");
  return number;
}

}  // namespace

int main(int argc, char** argv) try {
  const Index inputs = argument(argc, argv, 1, 64), hidden = argument(argc, argv, 2, 48),
              outputs = argument(argc, argv, 3, 10), samples = argument(argc, argv, 4, 4000);
  constexpr Index window = 500;

  eq::set_num_threads(1);
  Stream stream(outputs);
  Learner learner(inputs, hidden, outputs);
  Index wrong = learner.learn_from(stream) ? 1 : 0;
  const long at_start = memory.allocations;

  for (Index n = 2; n <= samples; ++n) {
    wrong += learner.learn_from(stream) ? 1 : 0;
    if (n % window != 0) continue;
    std::printf("samples %td to %td: error %.1f %%\n", n - window + 1, n,
                100 * static_cast<double>(wrong) / static_cast<double>(window));
    wrong = 0;
  }
  std::printf("allocations after start-up: %ld\n", memory.allocations - at_start);
  std::printf("peak memory: %zu bytes: arrays %zu, objects %zu; lanes %td\n", memory.peak,
              memory.arrays, memory.objects, eq::kernels<float>().lanes);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
