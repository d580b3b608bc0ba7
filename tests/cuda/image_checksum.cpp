/// Takes a step of a small network of images and prints a checksum of all results. It is equal for every size of tiles and
/// order of threads.
///
///   image_checksum [tile [order]]

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "emulation.hpp"
#include "engine.hpp"

namespace {

using namespace equiprop::cuda;

constexpr std::size_t batch = 3;

/// A maximum, a strided convolution with padding, and dense weights to and from images.
NetworkFields network() {
  NetworkFields fields;
  const auto layer = [&](int channels, int size, Rho rho = Rho::clip) {
    const int units = channels * size * size;
    fields.layers.push_back({units, rho, 1, 0, 0, 1, size, size});
    if (fields.layers.size() == 1) return;
    fields.biases.push_back(fields.parameters);
    fields.parameters += channels;
  };
  layer(1, 6);
  layer(3, 6);
  layer(35, 3, Rho::tanh);
  layer(2, 2);
  layer(4, 1);
  const auto couple = [&](int source, int target, CouplingKind kind, WindowFields windows,
                          std::ptrdiff_t weights) {
    fields.couplings.push_back(
        {source, target, fields.parameters, fields.parameters, kind, windows});
    fields.parameters += weights;
  };
  couple(0, 1, CouplingKind::convolution, {{3, 3}, {1, 1}, {1, 1}, {1, 1}}, 3 * 9);
  couple(1, 2, CouplingKind::convolution, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, 1, 2}, 35 * 3 * 9);
  couple(2, 3, CouplingKind::convolution, {{3, 3}, {2, 2}, {1, 1}, {1, 1}}, 2 * 35 * 9);
  couple(2, 4, CouplingKind::dense, {}, 315 * 4);
  fields.blocks = {{0, 2, 3}, {1}};
  return fields;
}

class Checksum {
 public:
  template <class T>
  void add(const std::vector<T>& values) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
    for (std::size_t i = 0; i < values.size() * sizeof(T); ++i)
      hash_ = (hash_ ^ bytes[i]) * 1099511628211U;  // FNV-1a
  }
  unsigned long long value() const { return hash_; }

 private:
  std::uint64_t hash_ = 14695981039346656037U;
};

unsigned long long step(const Cut& cut) {
  const NetworkFields fields = network();
  std::mt19937 random(1);
  const auto numbers = [&](std::size_t count, float size) {
    std::vector<float> drawn(count);
    for (float& v : drawn) v = size * (static_cast<float>(random() >> 8) / 16777216.0F - 0.4F);
    return drawn;
  };
  const auto theta = numbers(static_cast<std::size_t>(fields.parameters), 0.5F);
  const auto x = numbers(batch * 36, 1), y = numbers(batch * 4, 1);
  std::vector<float> gradient(theta.size()), state(batch * 435);

  Engine<float> engine(fields, batch, cut);
  engine.upload(theta.data());
  engine.clamp(x.data(), batch);
  Checksum checksum;
  const double betas[] = {-0.25, 0.25}, weights[] = {-0.4, 0.4};
  for (const double logit_scale : {0.0, 2.0}) {
    engine.set_targets({logit_scale}, y.data());
    for (const SolverFields& solver : {SolverFields{Method::block_update, 0, 1e-2, 9},
                                       SolverFields{Method::fixed_point, 0.2, 0, 3}}) {
      checksum.add(engine.relax_free(solver, 0).iterations);
      checksum.add(engine.relax(solver, betas, 0, 2).iterations);
      engine.read(0, state.data());
      checksum.add(state);
      engine.contrast(2, weights);
      engine.read_gradient(gradient.data());
      checksum.add(gradient);
    }
    checksum.add(engine.solve(0, 4, 0, 1).iterations);
    engine.mixed(0, 1, -0.2);
    engine.read_gradient(gradient.data());
    checksum.add(gradient);
  }
  return checksum.value();
}

}  // namespace

int main(int argc, char** argv) {
  equiprop::device_tests::Emulation emulation;
  const int tile = argc > 1 ? std::atoi(argv[1]) : 1, order = argc > 2 ? std::atoi(argv[2]) : 0;
  emulation.set_order(static_cast<equiprop::device_tests::Emulation::Order>(order), 1);
  try {
    std::printf("%016llx\n", step({.tile = tile}));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
