#include "equiprop/solver/relax.hpp"

namespace equiprop {
namespace {

template <class S>
Report relax_samples(const AnyEnergy<S>& energy, const Solver& solver, StateRef<S> s,
                     const Observer<S>& observe) {
  State<S> image;
  const auto confirm = [&](const ConstStateRef<S>& at, PerSample<double>& out) {
    residual<S>(energy, at, image, out);
  };
  const PerSample<double> scale = PerSample<double>::Ones(s.cols());
  return std::visit(
      [&](const auto& chosen) {
        chosen.check();
        const auto step = [&](const ConstStateRef<S>& at, State<S>& next) {
          chosen.step(energy, at, next);
        };
        return iterate<S>(chosen, chosen.rate(), scale, step, confirm, s, observe);
      },
      solver);
}

}  // namespace

template <class S>
Report relax(const AnyEnergy<S>& energy, const Solver& solver, StateRef<S> s,
             const Observer<S>& observe) {
  require(s.rows() == energy.num_units(), "relax", "The state has one row for each free unit.",
          s.rows(), " rows for ", energy.num_units(), " units");
  energy.project(s);
  if (observe || !energy.divisible()) return relax_samples<S>(energy, solver, s, observe);
  Report report(s.cols());
  for_each_chunk(s.cols(), energy.samples_per_task(), [&](Index begin, Index count) {
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
