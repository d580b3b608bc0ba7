/// Prints what one training step of a chain of dense layers takes, as the emulated device counts it, in JSON.
///
///   counts BATCH LAYER...
///
/// Launches are those of a step of centered Equilibrium Propagation; kernels are not run, so that large batches take no time.
/// `barriers` has those of one sweep of the free and of the nudged phase, from runs of one sample with few sweeps.

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "emulation.hpp"
#include "engine.hpp"

namespace {

using namespace equiprop::cuda;
using equiprop::device_tests::Emulation;

NetworkFields chain(const std::vector<int>& sizes) {
  NetworkFields fields;
  for (const int units : sizes) fields.layers.push_back({units, Rho::clip, 1, 0, 0, 1});
  fields.blocks.resize(2);
  for (int k = 1; k < static_cast<int>(sizes.size()); ++k) {
    fields.couplings.push_back({k - 1, k, fields.parameters, fields.parameters});
    fields.parameters +=
        std::ptrdiff_t{sizes[static_cast<std::size_t>(k - 1)]} * sizes[static_cast<std::size_t>(k)];
    fields.blocks[static_cast<std::size_t>((k + 1) % 2)].push_back(k - 1);
  }
  for (std::size_t k = 1; k < sizes.size(); ++k) {
    fields.biases.push_back(fields.parameters);
    fields.parameters += sizes[k];
  }
  return fields;
}

/// An engine with data of one value.
struct Batch {
  Batch(const NetworkFields& fields, std::size_t samples)
      : engine(fields, samples),
        theta(static_cast<std::size_t>(fields.parameters), 0.01F),
        x(samples * static_cast<std::size_t>(fields.layers.front().units), 0.5F),
        y(samples * static_cast<std::size_t>(fields.layers.back().units), 0.5F) {
    engine.upload(theta.data());
  }
  Engine<float> engine;
  std::vector<float> theta, x, y;
};

constexpr double betas[] = {-0.25, 0.25}, weights[] = {-2, 2};

void print_launches(Emulation& emulation, const NetworkFields& fields, std::size_t samples) {
  Batch batch(fields, samples);
  emulation.record(false);
  const char* separator = "";
  const auto print = [&](const char* name) {
    for (const Emulation::Launch& launch : emulation.launches()) {
      std::printf(
          "%s\n  {\"part\": \"%s\", \"blocks\": %ld, \"cluster\": %ld, \"threads\": %ld, "
          "\"shared\": %ld}",
          separator, name, launch.blocks, launch.cluster, launch.threads, launch.shared);
      separator = ",";
    }
  };
  std::printf("\"launches\": [");
  batch.engine.clamp(batch.x.data(), samples);
  batch.engine.set_targets({}, batch.y.data());
  print("drive");
  batch.engine.relax_free({.limit = 1}, 0);
  print("free");
  batch.engine.relax({.limit = 1}, betas, 0, 2);
  print("nudged");
  batch.engine.contrast(2, weights);
  print("gradient");
  batch.engine.update({.rates = {{0, 0.1}}});
  print("update");
  std::printf("]");
}

long barriers(Emulation& emulation, const NetworkFields& fields, bool nudged, int steps) {
  Batch batch(fields, 1);
  batch.engine.clamp(batch.x.data(), 1);
  batch.engine.set_targets({}, batch.y.data());
  batch.engine.relax_free({.limit = 1}, 0);
  emulation.record();
  if (nudged)
    batch.engine.relax({.limit = steps}, betas, 0, 2);
  else
    batch.engine.relax_free({.limit = steps}, 0);
  const Emulation::Launch launch = emulation.launches()[0];
  return launch.barriers / (launch.blocks / launch.cluster);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<int> sizes;
  for (int i = 2; i < argc; ++i) sizes.push_back(std::atoi(argv[i]));
  const NetworkFields fields = chain(sizes);
  Emulation emulation;
  std::printf("{\"barriers\": {");
  for (const bool nudged : {false, true}) {
    const long one = barriers(emulation, fields, nudged, 1);
    std::printf("\"%s\": %ld%s", nudged ? "nudged" : "free",
                barriers(emulation, fields, nudged, 2) - one, nudged ? "},\n" : ", ");
  }
  print_launches(emulation, fields, static_cast<std::size_t>(std::atoi(argv[1])));
  std::printf("}\n");
}
