/// Takes one step of a small network and prints a checksum of all results. It is equal for every division of launches,
/// order of threads, compiler, instruction set and sanitizer, and on a GPU.
///
///   checksum [cluster tile threads [order [steps]]]
///
/// With `steps`, each phase takes so many steps, which is short enough for a thread per CUDA thread.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "run.hpp"
#ifdef EQUIPROP_EMULATION
#include "emulation.hpp"
#endif

namespace {

using namespace equiprop::cuda;

/// Numbers in [0, 1) that do not depend on the platform.
class Numbers {
 public:
  float next() {
    seed_ = seed_ * 1664525U + 1013904223U;
    return static_cast<float>(seed_ >> 8) / static_cast<float>(1U << 24);
  }

 private:
  std::uint32_t seed_ = 12345;
};

/// A graph with a skip, smooth and clipped layers, wide and narrow ones.
NetworkFields network() {
  NetworkFields fields;
  const auto layer = [&](int units, Rho rho) {
    fields.layers.push_back({units, rho, rho == Rho::logistic ? 4.0 : 1.0, 0.5, 0, 1});
  };
  layer(20, Rho::clip);
  layer(70, Rho::clip);
  layer(45, Rho::logistic);
  layer(90, Rho::clip);
  layer(3, Rho::clip);
  const int pairs[][2] = {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {1, 3}};
  for (const auto& [source, target] : pairs) {
    fields.couplings.push_back({source, target, fields.parameters, fields.parameters});
    fields.parameters += std::ptrdiff_t{fields.layers[static_cast<std::size_t>(source)].units} *
                         fields.layers[static_cast<std::size_t>(target)].units;
  }
  for (std::size_t k = 1; k < fields.layers.size(); ++k) {
    fields.biases.push_back(fields.parameters);
    fields.parameters += fields.layers[k].units;
  }
  fields.blocks = {{0, 3}, {1}, {2}};
  return fields;
}

class Checksum {
 public:
  template <class T>
  void add(const std::vector<T>& values) {
    for (const T& value : values) {
      unsigned char bytes[sizeof(T)];
      std::memcpy(bytes, &value, sizeof(T));
      for (const unsigned char byte : bytes) hash_ = (hash_ ^ byte) * 1099511628211U;  // FNV-1a
    }
  }
  unsigned long long value() const { return hash_; }

 private:
  std::uint64_t hash_ = 14695981039346656037U;
};

/// Adds the results of a run of two steps on samples that are on the device.
void add_run(Engine<float>& engine, const std::vector<float>& x, const std::vector<float>& y,
             std::vector<float>& theta, int steps, Checksum& checksum) {
  constexpr std::size_t held = 5, taken = 3;
  engine.hold({held, x.data(), y.data(), nullptr, nullptr});
  RunFields fields;
  fields.free = fields.second = {Method::block_update, 0, 0, steps > 0 ? steps : 12};
  fields.accuracy = {3e-4, 0.02, 0.25, 0.05};
  fields.clip = 0.8;
  fields.memory = 0.95;
  StepFields step;
  step.first = 0;
  step.samples = taken;
  step.betas = {-0.25, 0.25};
  step.shares = {-2, 2};
  step.update = {.adam = true, .rates = {{0, 0.01}}, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
  step.update.correction1 = 0.1;
  step.update.correction2 = 0.001;
  std::vector<StepFields> both{step, step};
  both[1].first = 2;
  const std::vector<int> rows{4, 0, 3, 1, 2};
  RunState state;
  state.mean_norm = NAN;
  std::vector<float> mean(theta), square(theta);
  const auto records = engine.run(fields, both, rows, state,
                                  {theta.data(), mean.data(), square.data(), nullptr, nullptr});
  checksum.add(records);
  checksum.add(theta);
  checksum.add(square);
}

unsigned long long step(const Cut& cut, int steps) {
  constexpr std::size_t batch = 5, inputs = 20, outputs = 3;
  const NetworkFields fields = network();
  Numbers numbers;
  std::vector<float> theta(static_cast<std::size_t>(fields.parameters)), gradient(theta);
  std::vector<float> x(batch * inputs), y(batch * outputs), state(batch * 208);
  for (float& v : theta) v = 0.3F * (numbers.next() - 0.5F);
  for (float& v : x) v = numbers.next();
  for (std::size_t j = 0; j < batch; ++j) y[j * outputs + j % outputs] = 1;

  Engine<float> engine(fields, batch, cut);
  engine.upload(theta.data());
  engine.clamp(x.data(), batch);
  Checksum checksum;
  const double betas[] = {-0.25, 0.25}, weights[] = {-0.4, 0.4};
  for (const double logit_scale : {0.0, 2.0}) {
    engine.set_targets({logit_scale}, y.data());
    const double tolerance = steps > 0 ? 0 : 1e-4;
    for (const SolverFields& solver :
         {SolverFields{Method::block_update, 0, tolerance, steps > 0 ? steps : 60},
          SolverFields{Method::fixed_point, 0.2, 0, steps > 0 ? steps : 9}}) {
      checksum.add(engine.relax_free(solver, 0).iterations);
      checksum.add(engine.relax(solver, betas, 0, 2).iterations);
      engine.read(0, state.data());
      checksum.add(state);
      engine.contrast(2, weights);
      engine.read_gradient(gradient.data());
      checksum.add(gradient);
    }
    checksum.add(engine.solve(steps > 0 ? 0 : 1e-6, steps > 0 ? steps : 100, 0, 1).iterations);
    engine.mixed(0, 1, -0.2);
    engine.update({.adam = false, .rates = {{0, 0.1}}, .momentum = 0.9});
    engine.download(theta.data());
    checksum.add(theta);
    engine.clamp(x.data(), batch);
  }
  add_run(engine, x, y, theta, steps, checksum);
  return checksum.value();
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int i, int otherwise) {
    return argc > i ? std::atoi(argv[i]) : otherwise;
  };
#ifdef EQUIPROP_EMULATION
  equiprop::device_tests::Emulation emulation;
  emulation.set_order(static_cast<equiprop::device_tests::Emulation::Order>(number(4, 0)), 1);
#endif
  try {
    std::printf("%016llx\n", step({number(1, 2), number(2, 4), number(3, 64)}, number(5, 0)));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
