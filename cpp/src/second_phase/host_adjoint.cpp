#include <algorithm>
#include <optional>

#include "accuracy.hpp"
#include "equiprop/base/parallel.hpp"
#include "equiprop/second_phase/host_batch.hpp"

/// The side network of Recurrent Backpropagation, and the error of the gradient by it.

namespace equiprop {
namespace {

/// The linear system of a network with two blocks, A = (D_a^-1 F; F^T D_o^-1), reduced to the block o in which the cost
/// acts. Block a is eliminated exactly (Reid 1972), so conjugate gradients need half as many products for the same
/// residual. dC/ds is 0 outside block o, and the iteration keeps all vectors 0 outside it.
template <class S>
class EliminatedBlock {
 public:
  EliminatedBlock(const BlockUpdates<S>& blocks, Index kept, const ConstStateRef<S>& s_star,
                  const State<S>& mobility)
      : blocks_(blocks), s_star_(s_star), mobility_(mobility), kept_(kept) {}

  /// Returns the block in which the cost acts if the other one can be eliminated, otherwise nothing.
  static std::optional<Index> kept(const AnyEnergy<S>& energy, const AnyCost<S>& cost) {
    const BlockUpdates<S>* blocks = energy.block_updates();
    if (blocks == nullptr || !energy.conservative() || blocks->num_blocks() != 2) return {};
    if (!blocks->has_block_hessian()) return {};
    const Index first = energy.num_units() - cost.num_rows();
    for (const Index block : {Index{0}, Index{1}}) {
      const auto is_held = [&](const CostedLayer& layer) {
        return blocks->holds(block, first + layer.rows.begin);
      };
      const auto layers = cost.layers();
      if (std::all_of(layers.begin(), layers.end(), is_held)) return block;
    }
    return {};
  }

  /// Stores (D_o^-1 - F^T D_a F) v in out.
  void multiply(const ConstStateRef<S>& v, StateRef<S> out) {
    resize_to(whole_, v.rows(), v.cols());
    complete(v, whole_);
    blocks_.block_hessian_product(kept_, s_star_, whole_, out);
  }
  /// Stores x with the eliminated units of a solution, x_a = -D_a F x_o, in `whole`, which may be x.
  void complete(const ConstStateRef<S>& x, StateRef<S> whole) {
    resize_to(product_, x.rows(), x.cols());
    blocks_.block_hessian_product(1 - kept_, s_star_, x, product_);
    whole.array() = x.array() - mobility_.array() * product_.array();
  }

 private:
  const BlockUpdates<S>& blocks_;
  const ConstStateRef<S>& s_star_;
  const State<S>& mobility_;
  Index kept_;
  State<S> whole_, product_;
};

/// The force |D dC/ds| of each sample, and whether a bound holds one of its units, so that others may be near a kink.
struct Pushed {
  PerSample<double> force;
  PerSample<bool> held;
};

/// Computes lambda = A^-1 dC/ds for the samples of `energy`.
template <class S>
Report solve_samples(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                     const ConstStateRef<S>& s_star, const LinearSolver& linear_solver,
                     StateRef<S> lambda, Pushed& pushed) {
  State<S> mobility(s_star.rows(), s_star.cols()), force(s_star.rows(), s_star.cols());
  energy.mobility(s_star, {}, mobility);
  cost_gradient<S>(cost, s_star, force);
  pushed.held = (mobility.array() == S(0)).colwise().any().transpose();
  const std::optional<Index> kept = EliminatedBlock<S>::kept(energy, cost);
  if (kept && std::holds_alternative<ConjugateGradient>(linear_solver)) {
    EliminatedBlock<S> eliminated(*energy.block_updates(), *kept, s_star, mobility);
    const LinearOperator<S> reduced = [&](const ConstStateRef<S>& v, StateRef<S> out) {
      eliminated.multiply(v, out);
    };
    const LinearSystem<S> system{reduced, mobility, force};
    pushed.force = system.scale();
    const Report report = solve<S>(linear_solver, system, lambda);
    eliminated.complete(lambda, lambda);
    return report;
  }
  const LinearOperator<S> hessian = [&](const ConstStateRef<S>& v, StateRef<S> out) {
    energy.transposed_hessian_vector_product(s_star, v, out);
  };
  const LinearSystem<S> system{hessian, mobility, force};
  pushed.force = system.scale();
  return solve<S>(linear_solver, system, lambda);
}

}  // namespace

/// Solves the side network of all samples.
template <Scalar S>
void HostBatch<S>::solve_all(const LinearSolver& solver, Slot at, Slot lambda) {
  const ConstStateRef<S> s_star(states_[at]);
  StateRef<S> solution(states_[lambda]);
  report_.restart(samples());
  resize_to(force_, samples());
  resize_to(held_, samples());
  const auto solve_piece = [&](Index begin, Index count) {
    const bool whole = count == samples();
    const AnyEnergy<S> energy = whole ? energy_ : energy_.samples(begin, count);
    Pushed pushed;
    if constexpr (std::floating_point<S>) {  // clang 14 instantiates this for other scalars too
      report_.place(begin, solve_samples<S>(energy, cost_.samples(begin, count),
                                            s_star.middleCols(begin, count), solver,
                                            solution.middleCols(begin, count), pushed));
      force_.segment(begin, count) = pushed.force;
      held_.segment(begin, count) = pushed.held;
    }
  };
  // A piece runs until its slowest sample stops, so pieces are small; the kernels lose little speed on few samples.
  if (energy_.divisible())
    for_each_chunk(samples(), energy_.separable() ? Index{24} : chunk_columns, solve_piece);
  else
    solve_piece(0, samples());
}

/// Solves the side network of some samples again.
template <Scalar S>
void HostBatch<S>::solve_some(const LinearSolver& solver, Samples which, Slot at, Slot lambda) {
  if (!energy_.separable()) return solve_all(solver, at, lambda);
  if constexpr (std::floating_point<S>) {
    const State<S> s_star = columns_of<S>(states_[at], which);
    State<S> solution(s_star.rows(), s_star.cols());
    Pushed pushed;
    const Report report = solve_samples<S>(energy_.select(which), cost_.select(which), s_star,
                                           solver, solution, pushed);
    for (Index i = 0; i < solution.cols(); ++i) {
      const Index j = which[static_cast<std::size_t>(i)];
      states_[lambda].col(j) = solution.col(i);
      force_(j) = pushed.force(i);
      held_(j) = pushed.held(i);
      report_.place(j, report.part(i, 1));
    }
  }
}

/// Stores in sensitivity_ what one unit of error of the free state adds to the relative error of a sample's term: dC/ds
/// changes by as much as the units of the cost, and the curvature changes the response in proportion to its gain.
template <Scalar S>
void HostBatch<S>::take_sensitivity(Slot at, Slot lambda) {
  take_pull(at);
  resize_to(size_, samples());
  resize_to(sensitivity_, samples());
  const double cautious = relaxed(at) ? accuracy::caution(phases_[at]->solver) : 1;
  for (Index j = 0; j < samples(); ++j) {
    size_(j) = largest_in<S>(states_[at], j);
    const double least = accuracy::negligible * size_(j);
    const double force = std::max(largest_in<S>(pull_, j), least);
    const double gain = largest_in<S>(states_[lambda], j) / force;
    const double bend = held_(j) ? accuracy::kink_bend : accuracy::smooth_bend;
    sensitivity_(j) = cautious * (1 / force + bend * gain);
  }
}

/// Stores the estimated relative error of each sample in the report: the residual of the side network, plus the error of
/// the free state times its sensitivity. The latter error is the residual times |lambda| / |D dC/ds|, or times the
/// amplification that the free phase observed if that is larger.
template <Scalar S>
void HostBatch<S>::estimate_adjoint(const Report& free, Slot at, Slot lambda) {
  take_sensitivity(at, lambda);
  resize_to(response_, samples());
  resize_to(weight_, samples());
  for (Index j = 0; j < samples(); ++j) {
    const double response = largest_in<S>(states_[lambda], j);
    const double gain = force_(j) > 0 ? response / force_(j) : 0;
    const double of_state = free.residual(j) * std::max(accuracy::amplification(free, j), gain);
    const double part = of_state * sensitivity_(j);
    report_.error(j) = force_(j) > 0 ? report_.residual(j) + part : 0;
    free_part_(j) = report_.error(j) > 0 ? part / report_.error(j) : 0;
    response_(j) = response;
    const double force = largest_in<S>(pull_, j);
    weight_(j) = response * std::max(1.0, accuracy::negligible * size_(j) / force);
  }
  judge(report_);
}

/// Relaxes the free phase further in the samples whose estimate is too large because of the free state, and returns
/// these samples.
template <Scalar S>
std::vector<Index> HostBatch<S>::tighten_free(const Report& free, Slot at) {
  std::vector<Index> moved;
  forget_requests();
  for (Index j = 0; j < samples(); ++j) {
    if (!accuracy::exceeds(report_, j, accuracy::refined) || free.status(j) != Status::converged)
      continue;
    const double wanted = accuracy::aim * most_gradient_error / (report_.error(j) * free_part_(j));
    if (request(free, j, wanted, size_(j))) moved.push_back(j);
  }
  if (!moved.empty()) phases_[at]->relaxation->resume(states_[at], limits_);
  return moved;
}

/// Marks samples whose lambda has <lambda, A lambda> = <lambda, dC/ds> < 0: A is not positive definite there.
template <Scalar S>
void HostBatch<S>::mark_indefinite(Slot at, Slot lambda) {
  if (!energy_.conservative()) return;
  take_pull(at);
  const PerSample<S> curvature = inner<S>(states_[lambda].bottomRows(pull_.rows()), pull_);
  for (Index j = 0; j < samples(); ++j)
    if (accuracy::at_rest(report_.status(j)) && curvature(j) < 0)
      report_.status(j) = Status::indefinite;
}

template <Scalar S>
const Report& HostBatch<S>::solve(const LinearSolver& solver, Slot at,
                                  Slot lambda) requires std::floating_point<S> {
  require(energy_.conservative() || !std::holds_alternative<ConjugateGradient>(solver),
          "recurrent_backpropagation",
          "ConjugateGradient needs a symmetric Hessian. Use GMRES for a vector field.",
          "a model without an energy");
  room(lambda);
  solve_all(solver, at, lambda);
  Report measured;
  if (!relaxed(at)) {
    measured.restart(samples());
    Residual<S>().measure(energy_, states_[at], measured.residual);
    measured.error = measured.residual;
  }
  const Report& free = relaxed(at) ? report(at) : measured;
  resize_to(free_part_, samples());
  estimate_adjoint(free, at, lambda);
  for (int round = 0;
       relaxed(at) && !acceptable(report_, accuracy::refined) && round < accuracy::most_rounds;
       ++round) {
    const std::vector<Index> moved = tighten_free(free, at);
    if (moved.empty()) break;
    solve_some(solver, moved, at, lambda);
    estimate_adjoint(free, at, lambda);
  }
  if (!acceptable(report_, 1)) accuracy::mark_inaccurate(report_);
  mark_indefinite(at, lambda);
  return report_;
}

#define INSTANTIATE(S)                                                              \
  template void HostBatch<S>::solve_all(const LinearSolver&, Slot, Slot);           \
  template void HostBatch<S>::solve_some(const LinearSolver&, Samples, Slot, Slot); \
  template void HostBatch<S>::take_sensitivity(Slot, Slot);                         \
  template void HostBatch<S>::estimate_adjoint(const Report&, Slot, Slot);          \
  template std::vector<Index> HostBatch<S>::tighten_free(const Report&, Slot);      \
  template void HostBatch<S>::mark_indefinite(Slot, Slot);                          \
  template const Report& HostBatch<S>::solve(const LinearSolver&, Slot, Slot);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace equiprop
