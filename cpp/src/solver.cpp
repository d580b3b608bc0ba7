#include "equiprop/solver/relax.hpp"

namespace equiprop {
namespace {

/// A solver at work on an energy, as a Stepper.
template <class S, class Chosen>
class Relaxation {
 public:
  Relaxation(AnyEnergy<S> energy, const Chosen& solver)
      : energy_(std::move(energy)), solver_(&solver) {}

  void step(StateRef<S> s, PerSample<RealOf<S>>* change) {
    if constexpr (std::same_as<Chosen, BlockUpdate>) {
      solver_->template sweep<S>(energy_, s, change);
    } else {
      image_.resize(s.rows(), s.cols());
      solver_->template step<S>(energy_, s, image_);
      accept<S>(image_, s, change);
    }
  }
  void residual(const ConstStateRef<S>& s, PerSample<double>& out) {
    equiprop::residual<S>(energy_, s, image_, out);
  }
  void project(StateRef<S> s) const { energy_.project(s); }
  bool separable() const { return energy_.separable(); }
  bool fell_back(Index) const { return false; }
  Relaxation select(Samples which) const { return {energy_.select(which), *solver_}; }

 private:
  AnyEnergy<S> energy_;
  const Chosen* solver_;
  State<S> image_;
};

template <class S, class Chosen, class P>
Report repeat(const Chosen& solver, P stepper, StateRef<S> s, const Observer<S>& observe) {
  return Iteration<S, P>(solver, solver.rate(), PerSample<double>::Ones(s.cols()),
                         std::move(stepper))
      .run(s, observe);
}

template <class S>
Report relax_samples(const AnyEnergy<S>& energy, const Solver& solver, StateRef<S> s,
                     const Observer<S>& observe) {
  energy.project(s);
  return std::visit(
      [&](const auto& chosen) {
        using Chosen = std::decay_t<decltype(chosen)>;
        chosen.check();
        const Relaxation<S, Chosen> plain(energy, chosen);
        if (chosen.anderson == 0) return repeat<S>(chosen, plain, s, observe);
        return repeat<S>(chosen, Anderson<S, Relaxation<S, Chosen>>(plain, chosen.anderson), s,
                         observe);
      },
      solver);
}

/// Samples that one thread relaxes together. Where they are separable each thread has its share of them, up to what
/// its cache holds of their states beside the weights; elsewhere pieces are the same for any number of threads.
Index samples_per_task(bool separable, Index batch) {
  constexpr Index fewest = 12, most = 64;
  const Index share = (batch + num_threads() - 1) / num_threads();
  return separable ? std::clamp(share, fewest, most) : chunk_columns;
}

}  // namespace

template <class S>
Report relax(const AnyEnergy<S>& energy, const Solver& solver, StateRef<S> s,
             const Observer<S>& observe) {
  require(s.rows() == energy.num_units(), "relax", "The state has one row for each free unit.",
          s.rows(), " rows for ", energy.num_units(), " units");
  if (observe || !energy.divisible()) return relax_samples<S>(energy, solver, s, observe);
  Report report(s.cols());
  for_each_chunk(s.cols(), samples_per_task(energy.separable(), s.cols()),
                 [&](Index begin, Index count) {
                   report.place(begin, relax_samples<S>(energy.samples(begin, count), solver,
                                                        s.middleCols(begin, count), {}));
                 });
  return report;
}

template Report relax(const AnyEnergy<float>&, const Solver&, StateRef<float>,
                      const Observer<float>&);
template Report relax(const AnyEnergy<double>&, const Solver&, StateRef<double>,
                      const Observer<double>&);
template Report relax(const AnyEnergy<Complex>&, const Solver&, StateRef<Complex>,
                      const Observer<Complex>&);
template Report relax(const AnyEnergy<Dual<double>>&, const Solver&, StateRef<Dual<double>>,
                      const Observer<Dual<double>>&);

}  // namespace equiprop
