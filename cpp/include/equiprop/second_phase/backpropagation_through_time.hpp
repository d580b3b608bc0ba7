#pragma once
/// Backpropagation through time: the gradient of the cost after a fixed number of steps, by a reverse sweep
/// through the recorded relaxation. The reference that both second phases are compared with.

#include <functional>
#include <vector>

#include "equiprop/second_phase/gradient.hpp"
#include "equiprop/solver/relax.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// Sees step t = 0, 1, ... of the sweep: dL/ds_{T-t}, (units, batch), and dL/dtheta of the last t steps,
/// the latter averaged over the batch.
template <class S>
using SweepObserver =
    std::function<void(Index t, const State<S>& adjoint, const Parameters<S>& parameters)>;

/// dL/dtheta of L = C(s_T), where s_0, ..., s_T (units, batch) are the states of `solver`, Euler or
/// FixedPointIteration, and s_0 does not depend on theta (Ernoult et al. 2019). With
/// a the adjoint of s_{t+1}, a step s_{t+1} = project(s_t - eps dE/ds) of Euler turns a into
///   a - eps H(s_t)^T a,  and adds  -eps <a, d2E/dtheta ds(s_t)>  to dL/dtheta,
/// both with the a of clipped units set to 0; a step of T turns it into (dT/ds)^T a and adds
/// -<D a, d2E/dtheta ds>.
template <class S>
Gradient<S> backpropagation_through_time(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                         const std::vector<State<S>>& trajectory,
                                         const Solver& solver, Wanted wanted = Wanted::everything,
                                         const SweepObserver<S>& observe = {});

}  // namespace equiprop
