#include "equiprop/solver/relax.hpp"

namespace equiprop {
namespace {

/// The Stepper of a solver on an energy.
template <class S, class Chosen>
class SolverStepper final : public Stepper<S> {
 public:
  SolverStepper(AnyEnergy<S> energy, const Chosen& solver)
      : energy_(std::move(energy)), solver_(solver) {}

  void step(StateRef<S> s, PerSample<RealOf<S>>* change) override {
    if constexpr (std::same_as<Chosen, BlockUpdate>) {
      solver_.template sweep<S>(energy_, s, change);
    } else {
      resize_to(image_, s.rows(), s.cols());
      solver_.template step<S>(energy_, s, image_);
      accept<S>(image_, s, change);
    }
  }
  void residual(const ConstStateRef<S>& s, bool stepped, PerSample<double>& out) override {
    const bool swept = stepped && std::same_as<Chosen, BlockUpdate>;
    residual_.measure(energy_, s, out, swept ? energy_.num_blocks() - 1 : -1);
  }
  void project(StateRef<S> s) const override { energy_.project(s); }
  std::vector<Rows> carried() const override {
    if (std::same_as<Chosen, BlockUpdate> && energy_.num_blocks() > 0)
      return energy_.block_updates()->carried(0);
    return {};
  }
  bool separable() const override { return energy_.separable(); }
  std::unique_ptr<Stepper<S>> select(Samples which) const override {
    return std::make_unique<SolverStepper>(energy_.select(which), solver_);
  }

 private:
  AnyEnergy<S> energy_;
  Chosen solver_;
  State<S> image_;
  Residual<S> residual_;
};

/// Returns the iteration that relaxes all samples of an energy on one thread.
template <class S>
Iteration<S> iteration_of(const AnyEnergy<S>& energy, const Solver& solver, Index batch) {
  return std::visit(
      [&](const auto& chosen) {
        using Chosen = std::decay_t<decltype(chosen)>;
        std::unique_ptr<Stepper<S>> stepper =
            std::make_unique<SolverStepper<S, Chosen>>(energy, chosen);
        if (chosen.anderson > 0)
          stepper = std::make_unique<Anderson<S>>(std::move(stepper), chosen.anderson);
        return Iteration<S>(chosen, chosen.rate(), PerSample<double>::Ones(batch),
                            std::move(stepper));
      },
      solver);
}

/// Returns the number of samples that one thread relaxes together. Separable samples are divided evenly among the
/// threads, up to as many as fit into a core's cache together with the weights; others are divided in a way that does
/// not depend on the number of threads.
Index samples_per_task(bool separable, Index batch) {
  constexpr Index fewest = 12, most = 128;
  const Index share = (batch + num_threads() - 1) / num_threads();
  return separable ? std::clamp(share, fewest, most) : chunk_columns;
}

}  // namespace

template <class S>
Relaxation<S>::Relaxation(AnyEnergy<S> energy, const Solver& solver)
    : energy_(std::move(energy)), solver_(solver) {
  std::visit([](const auto& chosen) { chosen.check(); }, solver_);
}

template <class S>
const Report& Relaxation<S>::run(StateRef<S> s, const Observer<S>& observe, const Start<S>& start,
                                 const PerSample<double>& limits) {
  require(s.rows() == energy_.num_units(), "relax", "The state has one row for each free unit.",
          s.rows(), " rows for ", energy_.num_units(), " units");
  const Index size = s.cols();
  const auto relax_piece = [&](const AnyEnergy<S>& piece, Iteration<S>& iteration, Index begin,
                               StateRef<S> states) -> const Report& {
    const auto start_piece = [&](StateRef<S> at) {
      if (start)
        start(begin, at);
      else if (at.data() != states.data())
        at = states;
      piece.project(at);
    };
    if (limits.size() == 0 || limits.size() == states.cols())
      return iteration.run(states, observe, std::cref(start_piece), limits);
    return iteration.run(states, observe, std::cref(start_piece),
                         limits.segment(begin, states.cols()));
  };
  divided_ = !observe && energy_.divisible() &&
             (size == 0 || size > samples_per_task(energy_.separable(), size));
  if (!divided_) {
    // A copy has scratch memory of its own: other threads may relax the same energy.
    if (size != size_) {
      const AnyEnergy<S> own = energy_.divisible() ? energy_.samples(0, size) : energy_;
      whole_ = iteration_of<S>(own, solver_, size);
      size_ = size;
      which_.reserve(static_cast<std::size_t>(size));
    }
    return report_ = relax_piece(energy_, *whole_, 0, s);
  }
  report_.restart(size);
  in_pieces(s, relax_piece);
  return report_;
}

template <class S>
const Report& Relaxation<S>::resume(StateRef<S> s, const PerSample<double>& limits) {
  which_.clear();
  for (Index j = 0; j < s.cols(); ++j)
    if (limits(j) < report_.residual(j)) which_.push_back(j);
  if (which_.empty()) return report_;
  const bool most = 3 * which_.size() > 2 * static_cast<std::size_t>(s.cols());
  if (!divided_ && (most || !energy_.separable()))
    return report_ = whole_->resume(s, report_, limits);
  if (energy_.separable())
    resume_some(s, limits);
  else
    in_pieces(s,
              [&](const AnyEnergy<S>&, Iteration<S>& iteration, Index begin,
                  StateRef<S> states) -> const Report& {
                const Index count = states.cols();
                return iteration.resume(states, report_.part(begin, count),
                                        limits.segment(begin, count));
              });
  return report_;
}

/// Relaxes only the samples which_ further: nothing of the others is computed or copied.
template <class S>
void Relaxation<S>::resume_some(StateRef<S>& s, const PerSample<double>& limits) {
  const auto count = static_cast<Index>(which_.size());
  for_each_chunk(count, samples_per_task(true, count), [&](Index begin, Index size) {
    const Samples which(which_.data() + begin, static_cast<std::size_t>(size));
    State<S> states = columns_of<S>(s, which);
    PerSample<double> wanted(size);
    for (Index i = 0; i < size; ++i) wanted(i) = limits(which[static_cast<std::size_t>(i)]);
    Iteration<S> iteration = iteration_of<S>(energy_.select(which), solver_, size);
    report_.place(which, iteration.resume(states, report_.part(which), wanted));
    for (Index i = 0; i < size; ++i) s.col(which[static_cast<std::size_t>(i)]) = states.col(i);
  });
}

/// Calls relax_piece(energy, iteration, begin, states) for pieces of the batch on all threads, and stores the reports
/// that it returns in report_.
template <class S>
template <class Relax>
void Relaxation<S>::in_pieces(StateRef<S>& s, const Relax& relax_piece) {
  const Index size = s.cols();
  for_each_chunk(size, samples_per_task(energy_.separable(), size), [&](Index begin, Index count) {
    const AnyEnergy<S> piece = energy_.samples(begin, count);
    Iteration<S> iteration = iteration_of<S>(piece, solver_, count);
    report_.place(begin, relax_piece(piece, iteration, begin, s.middleCols(begin, count)));
  });
}

template <class S>
Report relax(const AnyEnergy<S>& energy, const Solver& solver, StateRef<S> s,
             const Observer<S>& observe, const Start<S>& start) {
  return Relaxation<S>(energy, solver).run(s, observe, start);
}

template class Relaxation<float>;
template class Relaxation<double>;
template class Relaxation<Complex>;
template class Relaxation<Dual<double>>;
template Report relax(const AnyEnergy<float>&, const Solver&, StateRef<float>,
                      const Observer<float>&, const Start<float>&);
template Report relax(const AnyEnergy<double>&, const Solver&, StateRef<double>,
                      const Observer<double>&, const Start<double>&);
template Report relax(const AnyEnergy<Complex>&, const Solver&, StateRef<Complex>,
                      const Observer<Complex>&, const Start<Complex>&);
template Report relax(const AnyEnergy<Dual<double>>&, const Solver&, StateRef<Dual<double>>,
                      const Observer<Dual<double>>&, const Start<Dual<double>>&);

}  // namespace equiprop
