#pragma once
/// Solvers, learning rates and reports as plain data for an engine.

#include "engine.hpp"
#include "equiprop/base/update.hpp"
#include "equiprop/second_phase/batch.hpp"

namespace equiprop::cuda {

/// Returns a solver as plain data. Throws InvalidArgument if the kernels do not support it.
template <class T>
SolverFields fields_of(const Solver& solver) {
  return std::visit(
      [](const auto& chosen) {
        using Chosen = std::decay_t<decltype(chosen)>;
        chosen.check();
        require(chosen.anderson == 0, "cuda", "The kernels relax without acceleration: anderson=0.",
                chosen.anderson);
        SolverFields fields;
        if constexpr (std::same_as<Chosen, FixedPointIteration>) {
          fields.method = Method::fixed_point;
          fields.number = chosen.damping;
        } else if constexpr (std::same_as<Chosen, Euler>) {
          fields.method = Method::euler;
          fields.number = chosen.step_size;
        }
        fields.tolerance = chosen.template tolerance_for<T>();
        fields.limit = static_cast<int>(chosen.max_iterations);
        return fields;
      },
      solver);
}

/// Returns the report of samples [begin, begin + count) of an outcome.
inline Report report_of(const Outcome& outcome, Index begin, Index count) {
  Report report(count);
  for (Index j = 0; j < count; ++j) {
    const auto at = static_cast<std::size_t>(begin + j);
    report.status(j) = static_cast<Status>(outcome.status[at]);
    report.iterations(j) = outcome.iterations[at];
    report.residual(j) = outcome.residual[at];
    report.error(j) = outcome.error[at];
  }
  return report;
}

/// Returns learning rates as plain data.
template <class T>
std::vector<RateFields> fields_of(const BlockRates<T>& rates) {
  std::vector<RateFields> fields;
  for (const auto& [begin, rate] : rates) fields.push_back({begin, static_cast<double>(rate)});
  return fields;
}

/// Returns a step of SGD as plain data.
template <class T>
UpdateFields momentum_fields(const BlockRates<T>& rates, T momentum, T decay) {
  UpdateFields fields{.rates = fields_of(rates)};
  fields.momentum = static_cast<double>(momentum);
  fields.decay = static_cast<double>(decay);
  return fields;
}
/// Returns a step of Adam as plain data; its rate is that of each block in `rates`.
template <class T>
UpdateFields adam_fields(const BlockRates<T>& rates, const AdamStep<T>& adam) {
  UpdateFields fields{.adam = true, .rates = fields_of(rates)};
  fields.decay = static_cast<double>(adam.decay);
  fields.beta1 = static_cast<double>(adam.beta1);
  fields.beta2 = static_cast<double>(adam.beta2);
  fields.epsilon = static_cast<double>(adam.epsilon);
  fields.correction1 = static_cast<double>(adam.correction1);
  fields.correction2 = static_cast<double>(adam.correction2);
  return fields;
}

}  // namespace equiprop::cuda
