#include "equiprop/second_phase/host_batch.hpp"

#include "equiprop/base/parallel.hpp"

namespace equiprop {
namespace {

/// The linear system of a network with two blocks, A = (D_a^-1 F; F^T D_o^-1), reduced to the block o of the outputs.
/// Block a is eliminated exactly (Reid 1972), so conjugate gradients need half as many products for the same residual.
/// dC/ds is 0 outside the outputs, and the iteration keeps all vectors 0 outside block o.
template <class S>
class EliminatedBlock {
 public:
  EliminatedBlock(const BlockUpdates<S>& blocks, const ConstStateRef<S>& s_star,
                  const State<S>& mobility)
      : blocks_(blocks), s_star_(s_star), mobility_(mobility), kept_(blocks.output_block()) {}

  /// Returns the blocks of an energy if one of them can be eliminated, otherwise nullptr.
  static const BlockUpdates<S>* of(const AnyEnergy<S>& energy) {
    const BlockUpdates<S>* blocks = energy.block_updates();
    const bool two = blocks != nullptr && energy.conservative() && blocks->num_blocks() == 2;
    return two && blocks->has_block_hessian() ? blocks : nullptr;
  }

  /// Stores (D_o^-1 - F^T D_a F) v in out.
  void multiply(const ConstStateRef<S>& v, StateRef<S> out) {
    whole_.resize(v.rows(), v.cols());
    complete(v, whole_);
    blocks_.block_hessian_product(kept_, s_star_, whole_, out);
  }
  /// Stores x with the eliminated units of a solution, x_a = -D_a F x_o, in `whole`, which may be x.
  void complete(const ConstStateRef<S>& x, StateRef<S> whole) {
    product_.resize(x.rows(), x.cols());
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

/// Computes lambda = A^-1 dC/ds for the samples of `energy`.
template <class S>
Report solve_samples(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                     const ConstStateRef<S>& s_star, const LinearSolver& linear_solver,
                     StateRef<S> lambda) {
  State<S> mobility(s_star.rows(), s_star.cols()), force(s_star.rows(), s_star.cols());
  energy.mobility(s_star, {}, mobility);
  cost_gradient<S>(cost, s_star, force);
  const BlockUpdates<S>* blocks = EliminatedBlock<S>::of(energy);
  if (blocks != nullptr && std::holds_alternative<ConjugateGradient>(linear_solver)) {
    EliminatedBlock<S> eliminated(*blocks, s_star, mobility);
    const LinearOperator<S> kept = [&](const ConstStateRef<S>& v, StateRef<S> out) {
      eliminated.multiply(v, out);
    };
    const Report report = solve<S>(linear_solver, LinearSystem<S>{kept, mobility, force}, lambda);
    eliminated.complete(lambda, lambda);
    return report;
  }
  const LinearOperator<S> hessian = [&](const ConstStateRef<S>& v, StateRef<S> out) {
    energy.transposed_hessian_vector_product(s_star, v, out);
  };
  return solve<S>(linear_solver, LinearSystem<S>{hessian, mobility, force}, lambda);
}

}  // namespace

template <Scalar S>
HostBatch<S>::HostBatch(AnyEnergy<S> energy, AnyCost<S> cost)
    : energy_(std::move(energy)), cost_(std::move(cost)) {
  require(cost_.num_outputs() == energy_.num_outputs(), "second_phase",
          "Targets have one row for each output unit.", cost_.num_outputs(), " rows for ",
          energy_.num_outputs(), " outputs");
}

/// Returns the memory of a slot, in the shape of a state.
template <Scalar S>
State<S>& HostBatch<S>::room(Slot slot) {
  if (states_.size() <= slot) states_.resize(slot + 1);
  State<S>& state = states_[slot];
  if (state.rows() != energy_.num_units() || state.cols() != samples())
    state = take_state<S>(energy_.num_units(), samples());
  return state;
}

template <Scalar S>
void HostBatch<S>::write(Slot slot, const ConstStateRef<S>& s) {
  require(s.rows() == energy_.num_units() && s.cols() > 0, "second_phase",
          "The state is (units, batch) with at least one sample.", s.rows(), " x ", s.cols());
  require(s.cols() == samples(), "second_phase", "Each sample has one target.", samples(),
          " targets for ", s.cols(), " samples");
  room(slot) = s;
}

/// Returns the relaxation that fills a slot; reuses the last one if solver and beta are the same.
template <Scalar S>
Relaxation<S>& HostBatch<S>::phase(Slot to, const Solver& solver, bool nudged, S beta) {
  if (phases_.size() <= to) phases_.resize(to + 1);
  if (phases_[to] == nullptr) phases_[to] = std::make_unique<Phase>();
  Phase& kept = *phases_[to];
  if (kept.relaxation && kept.nudged == nudged && kept.beta == beta && kept.solver == solver)
    return *kept.relaxation;
  kept.beta = beta;
  kept.solver = solver;
  kept.nudged = nudged;
  if (nudged)
    kept.relaxation.emplace(TotalEnergy<S>(energy_, cost_, beta), solver);
  else
    kept.relaxation.emplace(energy_, solver);
  return *kept.relaxation;
}

template <Scalar S>
const Report& HostBatch<S>::relax_free(const Solver& solver, const Start<S>& start, Slot to) {
  return phase(to, solver, false, S(0)).run(room(to), {}, start);
}

template <Scalar S>
const Report& HostBatch<S>::relax(const Solver& solver, S beta, Slot from, Slot to) {
  Relaxation<S>& relaxation = phase(to, solver, true, beta);
  State<S>& state = room(to);
  const auto start = [&](Index begin, StateRef<S> s) {
    s = states_[from].middleCols(begin, s.cols());
  };
  return relaxation.run(state, {}, std::cref(start));
}

template <Scalar S>
const Report& HostBatch<S>::solve(const LinearSolver& solver, Slot at,
                                  Slot lambda) requires std::floating_point<S> {
  require(energy_.conservative() || !std::holds_alternative<ConjugateGradient>(solver),
          "recurrent_backpropagation",
          "ConjugateGradient needs a symmetric Hessian. Use GMRES for a vector field.",
          "a model without an energy");
  room(lambda);
  const ConstStateRef<S> s_star(states_[at]);
  StateRef<S> solution(states_[lambda]);
  report_.restart(samples());
  const auto solve_piece = [&](Index begin, Index count) {
    const bool whole = count == samples();
    const AnyEnergy<S> energy = whole ? energy_ : energy_.samples(begin, count);
    if constexpr (std::floating_point<S>)  // clang 14 instantiates this for other scalars too
      report_.place(begin, solve_samples<S>(energy, cost_.samples(begin, count),
                                            s_star.middleCols(begin, count), solver,
                                            solution.middleCols(begin, count)));
  };
  // A piece runs until its slowest sample stops, so pieces are small; the kernels lose little speed on few samples.
  if (energy_.divisible())
    for_each_chunk(samples(), energy_.separable() ? Index{24} : chunk_columns, solve_piece);
  else
    solve_piece(0, samples());
  return report_;
}

template <Scalar S>
void HostBatch<S>::displacement(Slot to, Slot first, Slot from, std::span<const S> weights) {
  State<S>& sum = room(to);
  sum.setZero();
  for (std::size_t k = 0; k < weights.size(); ++k)
    sum += weights[k] * (states_[first + k] - states_[from]);
}

/// Calls give(sink). If that returns false, sums the derivative first, checks that it is finite, and hands it over as
/// numbers.
template <Scalar S>
template <class Give>
bool HostBatch<S>::deliver(ParameterSink<S>& sink, const Give& give) {
  if (give(sink)) return true;
  sums_.setZero(energy_.num_parameters());
  AddTo<S> sum(sums_);
  give(sum);
  if (!all_parts_finite<S>(sums_)) return false;
  sink.numbers(0, sums_);
  return true;
}

template <Scalar S>
bool HostBatch<S>::contrast(Slot first, std::span<const S> weights, ParameterSink<S>& sink) {
  const std::span<const State<S>> states(states_.data() + first, weights.size());
  return deliver(sink, [&](ParameterSink<S>& to) { return energy_.contrast(states, weights, to); });
}

template <Scalar S>
bool HostBatch<S>::mixed(Slot at, Slot v, S weight, ParameterSink<S>& sink) {
  return deliver(sink, [&](ParameterSink<S>& to) {
    return energy_.mixed_derivative(states_[at], states_[v], weight, to);
  });
}

/// Marks each sample whose own term is not finite as diverged; add_share(energy of the sample, sample, sum) adds the
/// term.
template <Scalar S>
template <class AddShare>
void HostBatch<S>::mark_shares(Report& report, const AddShare& add_share) const {
  if (!energy_.divisible()) return;
  Parameters<S> share(energy_.num_parameters());
  for (Index j = 0; j < samples(); ++j) {
    share.setZero();
    add_share(energy_.samples(j, 1), j, ParametersRef<S>(share));
    if (!all_parts_finite<S>(share)) report.status(j) = Status::diverged;
  }
}

template <Scalar S>
void HostBatch<S>::mark_contrast(Slot first, std::span<const S> weights, Report& report) const {
  mark_shares(report, [&](const AnyEnergy<S>& sample, Index j, ParametersRef<S> share) {
    for (std::size_t k = 0; k < weights.size(); ++k)
      sample.parameter_gradient(states_[first + k].middleCols(j, 1), weights[k], share);
  });
}

template <Scalar S>
void HostBatch<S>::mark_mixed(Slot at, Slot v, S weight, Report& report) const {
  mark_shares(report, [&](const AnyEnergy<S>& sample, Index j, ParametersRef<S> share) {
    sample.mixed_derivative_product(states_[at].middleCols(j, 1), states_[v].middleCols(j, 1),
                                    weight, share);
  });
}

template <Scalar S>
void HostBatch<S>::input_contrast(Slot first, std::span<const S> weights, StateRef<S> out) const {
  for (std::size_t k = 0; k < weights.size(); ++k)
    energy_.input_gradient(states_[first + k], weights[k], out);
}

template <Scalar S>
void HostBatch<S>::mixed_input(Slot at, Slot v, S weight, StateRef<S> out) const {
  energy_.mixed_input_product(states_[at], states_[v], weight, out);
}

template <Scalar S>
S HostBatch<S>::objective(Slot slot) const {
  PerSample<S> values(samples());
  cost_.value(states_[slot].bottomRows(cost_.num_outputs()), values);
  return S(values.sum() / S(static_cast<RealOf<S>>(samples())));
}

template class HostBatch<float>;
template class HostBatch<double>;
template class HostBatch<Complex>;
template class HostBatch<Dual<double>>;

}  // namespace equiprop
