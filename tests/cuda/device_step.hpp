#pragma once
/// A training step on a device, with all its results.

#include <cstring>

#include "equiprop/cuda/device_batch.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"
#include "networks.hpp"

namespace equiprop::device_tests {

inline BlockUpdate stopping() {
  BlockUpdate solver;
  solver.tolerance = 1e-4;
  solver.max_iterations = 40;
  return solver;
}

/// The results of one training step: states, statuses, gradients, and parameters after the step.
struct Step {
  State<float> free, nudged, lambda;
  PerSample<Status> status;
  Parameters<float> contrast, mixed, theta;
};

inline bool same_bits(const auto& a, const auto& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(a(0))) == 0;
}
inline bool same_bits(const Step& a, const Step& b) {
  return same_bits(a.free, b.free) && same_bits(a.nudged, b.nudged) &&
         same_bits(a.lambda, b.lambda) && same_bits(a.status, b.status) &&
         same_bits(a.contrast, b.contrast) && same_bits(a.mixed, b.mixed) &&
         same_bits(a.theta, b.theta);
}

inline Step step_of(const Case<float>& of, const cuda::Division& division,
                    const Data<float>& data) {
  cuda::DeviceBatch<float> batch(of.network, data.x.cols(), division);
  batch.clamp(data.x, data.y, of.logit_scale);
  Step step;
  step.status = batch.relax_free(stopping(), free_slot).status;
  const Index units = of.network.topology().state().size();
  for (State<float>* s : {&step.free, &step.nudged, &step.lambda})
    *s = State<float>::Zero(units, data.x.cols());
  batch.read(free_slot, step.free);
  const Index size = of.network.parameters().size();
  step.contrast = step.mixed = Parameters<float>::Zero(size);
  AddTo<float> contrast(step.contrast), mixed(step.mixed);
  Report report;
  std::vector<float> weights;
  equilibrium_propagation(batch, centered<float>(0.25F), stopping(), contrast, report, weights);
  batch.read(nudged_slot, step.nudged);
  if (batch.conservative()) recurrent_backpropagation(batch, ConjugateGradient{}, mixed, report);
  if (batch.conservative()) batch.read(adjoint_slot, step.lambda);
  batch.descend({{0, 0.1F}}, 0.9F, 0.0F);
  step.theta.resize(size);
  batch.download(step.theta);
  return step;
}

}  // namespace equiprop::device_tests
