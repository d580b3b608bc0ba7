#pragma once
/// Runs of training steps on a device for Python: settings and steps as tuples, metrics as rows of an array.

#include <pybind11/stl.h>

#include <array>
#include <cstring>

#include "arrays.hpp"
#include "equiprop/cuda/device_batch.hpp"

namespace equiprop::bindings {

/// clip, memory, growth, least, judged: see cuda::RunSettings.
using LimitFields = std::tuple<double, double, double, double, Index>;
/// steps, mean_norm, clipped, start, recent: see cuda::RunState.
using StateFields = std::tuple<int, double, double, double, double>;
/// first, samples, start, nodes, rates, corrections, mean_weight, averaging, averaging_weight: see cuda::RunStep.
template <class T>
using StepTuple = std::tuple<std::optional<Index>, Index, std::optional<Slot>,
                             std::vector<std::pair<double, double>>,
                             std::vector<std::pair<Index, T>>, std::array<T, 2>, double, int, T>;

/// Returns the steps of a run; `rule_of` converts nodes, and `rates_of` learning rates.
template <class T, class RuleOf, class RatesOf>
std::vector<cuda::RunStep<T>> steps_of(const std::vector<StepTuple<T>>& given,
                                       const RuleOf& rule_of, const RatesOf& rates_of) {
  std::vector<cuda::RunStep<T>> steps;
  for (const auto& [first, samples, start, nodes, rates, corrections, mean_weight, averaging,
                    averaging_weight] : given) {
    require(averaging >= 0 && averaging <= 2, "cuda", "Averaging is 0, 1 or 2.", averaging);
    cuda::RunStep<T> step{first, samples, start, rule_of(nodes), rates_of(rates)};
    step.correction1 = corrections[0];
    step.correction2 = corrections[1];
    step.mean_weight = mean_weight;
    step.averaging = static_cast<cuda::Averaging>(averaging);
    step.averaging_weight = averaging_weight;
    steps.push_back(std::move(step));
  }
  return steps;
}

/// Returns settings with the optimiser's numbers, 2 of SGD (momentum, decay) or 4 of Adam (beta1, beta2, epsilon, decay),
/// and limits.
template <class T>
cuda::RunSettings<T> settings_of(const std::vector<T>& optimizer, const LimitFields& limits) {
  require(optimizer.size() == 2 || optimizer.size() == 4, "cuda",
          "An optimizer has the numbers of SGD or of Adam.", optimizer.size());
  cuda::RunSettings<T> settings;
  settings.adam = optimizer.size() == 4;
  settings.decay = optimizer.back();
  if (settings.adam) {
    settings.beta1 = optimizer[0];
    settings.beta2 = optimizer[1];
    settings.epsilon = optimizer[2];
  } else {
    settings.momentum = optimizer[0];
  }
  std::tie(settings.clip, settings.memory, settings.growth, settings.least, settings.judged) =
      limits;
  return settings;
}

/// Returns one row of numbers for each step, in the order of cuda::StepRecord.
inline Array<double> rows_of(const std::vector<cuda::StepRecord>& records) {
  constexpr Index columns = sizeof(cuda::StepRecord) / sizeof(double);
  Array<double> rows({static_cast<Index>(records.size()), columns});
  std::memcpy(rows.mutable_data(), records.data(), records.size() * sizeof(cuda::StepRecord));
  return rows;
}

}  // namespace equiprop::bindings
