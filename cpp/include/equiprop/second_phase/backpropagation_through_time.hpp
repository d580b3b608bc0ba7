#pragma once
/// Backpropagation through time: the gradient of the cost after a fixed number of steps, by a reverse sweep through the
/// recorded relaxation. Both second phases are compared with it.

#include <functional>
#include <vector>

#include "equiprop/base/export.hpp"
#include "equiprop/second_phase/gradient.hpp"
#include "equiprop/solver/relax.hpp"

namespace equiprop {

/// Function that is called at step t = 0, 1, ... of the sweep with dL/ds_{T-t}, (units, batch), and with dL/dtheta of
/// the last t steps, (parameters,), averaged over the batch.
template <class S>
using SweepObserver =
    std::function<void(Index t, const State<S>& adjoint, const Parameters<S>& parameters)>;

/// Returns dL/dtheta of L = J(s_T), where s_0, ..., s_T (units, batch) are the states of `solver`, Euler or
/// FixedPointIteration without acceleration, and s_0 does not depend on theta (Ernoult et al. 2019). With a the adjoint
/// of s_{t+1}, an Euler step s_{t+1} = project(s_t - eps dE/ds) replaces a by
/// both with a = 0 on clipped units. A step of T replaces a by (dT/ds)^T a and adds -<D a, d2E/dtheta ds>.
/// -<D a, d2E/dtheta ds>.
template <class S>
EQUIPROP_EXPORT Gradient<S> backpropagation_through_time(
    const AnyEnergy<S>& energy, const AnyCost<S>& cost, const std::vector<State<S>>& trajectory,
    const Solver& solver, Wanted wanted = Wanted::everything, const SweepObserver<S>& observe = {});

}  // namespace equiprop
