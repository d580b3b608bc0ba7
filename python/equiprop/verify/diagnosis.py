"""Diagnosis of a free phase: spectrum, symmetry and kinks at its end, and advice if it did not converge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array
from equiprop.checks import check_type
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.results import FixedPoint, Status, explanation
from equiprop.solvers import BlockUpdate, Euler, FixedPointIteration, FreeSolver, relaxed
from equiprop.verify.cause_sentences import Cause, sentences
from equiprop.verify.causes import find_causes
from equiprop.verify.confidence import certain
from equiprop.verify.model_parts import in_double, kink_margins, unit_name
from equiprop.verify.reversal import of_sign
from equiprop.verify.spectrum import LARGEST, Spectrum, Symmetry, ritz_values, symmetry

#: For a unit that is this close to a bound, rounding decides whether it is held or free.
KINK = 1e-9
#: Largest number of steps of a solver that the diagnosis tries.
_PATIENCE = 20_000


@dataclass(frozen=True)
class Diagnosis:
    """Figures and advice on the end of a free phase.

    Attributes
    ----------
    free : FixedPoint
        The free phase.
    spectrum : Spectrum
        Spectrum of the Hessian H on the free units.
    map_spectrum : Spectrum
        Spectrum of D H; one step of the fixed-point map multiplies an error by I - D H.
    symmetry : Symmetry
        Symmetry of the Hessian.
    on_a_kink : tuple of str
        Units within 1e-9 of a bound, such as "sample 0: hidden1[3]".
    failed : (samples,)
        Samples that did not converge.
    advice : tuple of str
        Sentences on causes and cures; empty if there is no problem.
    """

    free: FixedPoint
    spectrum: Spectrum
    map_spectrum: Spectrum
    symmetry: Symmetry
    on_a_kink: tuple[str, ...]
    failed: NDArray[np.int64]
    advice: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            str(self.free),
            f"eigenvalues of the Hessian: {self.spectrum.smallest:.4g} to {self.spectrum.largest:.4g}; "
            f"largest stable Euler step {self.spectrum.largest_stable_step:.4g}; "
            f"one step of the fixed-point map multiplies an error by {self.map_spectrum.rate(1.0):.4g}",
            f"symmetry score {self.symmetry.score:.10g} (1 for the gradient of an energy)"
            + ("" if self.symmetry.exact else ", estimated"),
            f"units on a kink: {', '.join(self.on_a_kink) or 'none'}",
        ]
        if len(self.failed):
            shown = ", ".join(f"{j} (residual {self.free.residual[j]:.1e})" for j in self.failed[:8])
            lines.append(f"samples that did not converge: {shown}{' ...' if len(self.failed) > 8 else ''}")
        return "\n".join([*lines, *(f"-> {sentence}" for sentence in self.advice)])


def diagnose(free: FixedPoint) -> Diagnosis:
    """Examine the end of a free phase: spectrum, stable steps, symmetry, kinks and failed samples.

    All figures are computed from products with the Hessian, at the final state of each sample, or at the
    initial state if the residual increased. If samples failed, other solvers are tried on them.

    Parameters
    ----------
    free : FixedPoint

    Returns
    -------
    Diagnosis

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], activation="tanh", potential="quadratic", dtype="float64")
    >>> free = eq.free_phase(net, [[0.5, 1.0]], solver=eq.Euler(step_size=0.3))
    >>> d = eq.verify.diagnose(free)
    >>> d.advice, d.spectrum.smallest > 0, d.symmetry.score > 0.999999
    ((), True, True)
    """
    check_type(free, FixedPoint, "diagnose", "`free` is a result of free_phase")
    model = in_double(free.model)
    x = np.ascontiguousarray(free.x, dtype=np.float64)
    failed = (free.status > Status.FIXED_STEPS).any()
    return diagnosis(free, find_causes(model, x, np.asarray(free.state, dtype=np.float64)) if failed else ())


def diagnosis(free: FixedPoint, causes: Sequence[Cause]) -> Diagnosis:
    """Return the diagnosis of a free phase whose model has these causes of wrong figures."""
    check_type(free, FixedPoint, "diagnose", "`free` is a result of free_phase")
    with np.errstate(all="ignore"):  # at states that diverged, the functions of a user overflow
        return _diagnosis(free, causes)


def _diagnosis(free: FixedPoint, causes: Sequence[Cause]) -> Diagnosis:
    model = in_double(free.model)
    energy = model.clamp(np.ascontiguousarray(free.x, dtype=np.float64))
    state = np.array(free.state, dtype=np.float64, order="C")  # a copy: some states are replaced
    start = model.initial_state(len(state))
    lost = (free.status == Status.DIVERGED) | (energy.residual(state) > energy.residual(start))
    state[lost] = start[lost]
    mobility = energy.mobility(state)
    spectrum = ritz_values(energy, state, (mobility != 0).astype(np.float64))
    by_map = ritz_values(energy, state, mobility)
    even = symmetry(energy, state, model.layer_slices)
    kinks = _kinks(model, energy, state)
    failed = np.flatnonzero(free.status > Status.FIXED_STEPS)
    worst = float(np.nanmax(free.residual[failed], initial=0.0))
    limited = any(cause.explains(worst) for cause in causes)
    advice = (
        *([] if limited else _of_failures(free, failed, model, start, lost, spectrum, by_map)),
        *([] if lost.any() or len(failed) else of_stability(spectrum)),
        *of_symmetry(model, even),
        *_of_kinks(kinks),
    )
    advice = sentences(causes, advice)
    return Diagnosis(free, spectrum, by_map, even, kinks, failed, advice)


def _of_failures(
    free: FixedPoint,
    failed: NDArray[np.int64],
    model: Model,
    start: Array,
    lost: NDArray[np.bool_],
    spectrum: Spectrum,
    by_map: Spectrum,
) -> list[str]:
    if not len(failed):
        return []
    fault = "" if isinstance(model, HopfieldNetwork) else _of_functions(free, model, start, spectrum)
    if fault:
        return [fault]
    sentence = _of_step_size(free, spectrum, by_map)
    # With negative curvature at the initial state, the Hessian there does not predict the relaxation.
    known = spectrum.smallest > 0 or not lost.any()
    if sentence and (known or _trial(free, model, lost, start, _gentle(spectrum)).converged):
        return [sentence]
    rate = _rate(free, spectrum, by_map)
    if lost.any() or not 0 < rate < 1:
        restless = lost if lost.any() else free.status > Status.FIXED_STEPS
        return [_by_trial(free, model, restless, start, spectrum)]
    return [_of_too_few_steps(free, failed, rate)]


def _of_step_size(free: FixedPoint, spectrum: Spectrum, by_map: Spectrum) -> str:
    """Return advice if the step size or the damping is not stable, otherwise ""."""
    solver = free.solver
    if isinstance(solver, Euler):
        # Not largest_stable_step, which is 0 at a state with negative curvature.
        stable = 2 / max(spectrum.largest, 1e-300)
        if solver.step_size > stable:
            return (
                f"The step size {solver.step_size:g} is not stable: the limit here is {stable:.3g} = "
                f"2 / (largest eigenvalue). Use step_size={0.5 * stable:.2g}."
            )
    elif isinstance(solver, FixedPointIteration):
        rate, stable = by_map.rate(1 - solver.damping), by_map.largest_stable_step
        if rate > 1 and stable > 0:
            has_block_update = free.model.has_block_update and free.model.conservative
            block_update = "BlockUpdate() or " if has_block_update else ""
            return (
                f"Each step of the fixed-point map multiplies errors by {rate:.3g}: raise the damping above "
                f"{max(0.0, 1 - stable):.2g}, or use {block_update}Euler(step_size={0.5 * stable:.2g})."
            )
    return ""


def _of_functions(free: FixedPoint, model: Model, start: Array, spectrum: Spectrum) -> str:
    """Return a sentence on functions of a user's model for which no solver relaxes, or ""."""
    if spectrum.largest <= LARGEST:
        diverged = free.status == Status.DIVERGED
        step_size = _gentle(spectrum).step_size
        return of_sign(model, np.asarray(free.x)[diverged], start[diverged], step_size)
    size = f"{spectrum.largest:.1g}" if np.isfinite(spectrum.largest) else "not finite"
    return (
        f"The largest eigenvalue of the Hessian is {size}, so no step size can be chosen: the gradient jumps "
        "at the state (abs, sign), is not finite, or does not accept complex states, from which the Hessian "
        "is computed."
    )


def _by_trial(
    free: FixedPoint, model: Model, restless: NDArray[np.bool_], start: Array, spectrum: Spectrum
) -> str:
    """Return advice for samples that did not approach a fixed point: the first solver that converges."""
    count = restless.sum()
    solvers: list[FreeSolver] = [_gentle(spectrum), _gentle(spectrum, 0.2)]
    if model.has_block_update:
        solvers.insert(0, BlockUpdate(max_iterations=_PATIENCE))
    for solver in solvers:
        trial = _trial(free, model, restless, start, solver)
        if trial.converged:
            step = f"step_size={solver.step_size:.2g}, " if isinstance(solver, Euler) else ""
            name, enough = type(solver).__name__, f"max_iterations={trial.iterations.max()}"
            known = isinstance(solver, BlockUpdate) and isinstance(free.solver, BlockUpdate)
            cure = f"use {enough}" if known else f"use {name}({step}{enough})"
            return f"{count} samples did not approach a fixed point: {cure}, or more steps."
    return (
        f"{count} samples did not approach a fixed point, and no solver that was tried converges: "
        "scale the weights down."
    )


def _gentle(spectrum: Spectrum, fraction: float = 1.0) -> Euler:
    """Return Euler with `fraction` of half the largest stable step."""
    return Euler(step_size=fraction / max(spectrum.largest, 1e-300), max_iterations=_PATIENCE)


def _trial(
    free: FixedPoint, model: Model, samples: NDArray[np.bool_], start: Array, solver: FreeSolver
) -> FixedPoint:
    x = np.ascontiguousarray(np.asarray(free.x)[samples], dtype=model.dtype)
    return relaxed(model, x, solver, initial=start[samples])


def _rate(free: FixedPoint, spectrum: Spectrum, by_map: Spectrum) -> float:
    """Return the factor by which a step of the solver multiplies a small residual."""
    solver = free.solver
    if isinstance(solver, Euler):
        return spectrum.rate(solver.step_size)
    if isinstance(solver, FixedPointIteration):
        return by_map.rate(1 - solver.damping)
    return by_map.rate(1.0) ** 2  # a sweep of an even and an odd block squares the rate of the map


def _of_too_few_steps(free: FixedPoint, failed: NDArray[np.int64], rate: float) -> str:
    worst, tolerance = float(np.nanmax(free.residual[failed], initial=0.0)), free.solver.tolerance
    tolerance = float(np.finfo(free.state.dtype).eps) ** (2 / 3) if tolerance is None else tolerance
    text = (
        f"Too few free steps: after {int(free.iterations.max())} steps the largest residual is {worst:.1e}, "
        f"and the tolerance is {tolerance:.1e}; a gradient with nudging factor beta then has an error of "
        f"about {worst:.1e} / beta."
    )
    if worst > tolerance > 0:
        more = int(np.ceil(np.log(tolerance / worst) / np.log(rate)))
        text += (
            f" A step without acceleration multiplies the residual by {rate:.4g}, so about {more} more steps "
            "are needed: raise max_iterations."
        )
    return text


def of_stability(spectrum: Spectrum) -> list[str]:
    """Return advice if the fixed point is not stable."""
    if spectrum.smallest > 0:
        return []
    return [
        f"The Hessian has an eigenvalue with real part {spectrum.smallest:.3g}, so the fixed point is not "
        "stable. Scale the weights down, or relax from another state."
    ]


def of_symmetry(model: Model, even: Symmetry) -> list[str]:
    """Return advice if the Jacobian is not symmetric: the layers, and a possible cause."""
    threshold = 1e-10 if even.exact else 1e-7
    if even.asymmetry <= threshold:
        return []
    if even.factors is not None:
        return [
            certain(
                "The dynamics are not the gradient of an energy, but the Jacobian is symmetric after each "
                f"column is divided by a factor, from {even.factors.min():.3g} to 1: a diagonal factor is "
                "missing or in the wrong place, such as rho'(s_i) in ds_i/dt = rho'(s_i) (sum_j W_ij "
                "rho(s_j) + b_i) - s_i."
            )
        ]
    worst = max(even.blocks, key=lambda pair: even.blocks[pair])
    where = f"between {worst[0]} and {worst[1]}" if worst[0] != worst[1] else f"within {worst[0]}"
    cure = (
        "Tie the weights (W_ij = W_ji)"
        if model.conservative
        else "Use symmetrize=True, which makes EqProp exact, or tie the weights"
    )
    return [
        certain(
            f"The Jacobian is not symmetric: |H - H^T| / |H| = {even.asymmetry:.1e}, most of it {where} "
            f"({even.blocks[worst]:.1e}). The couplings there are asymmetric, and EqProp has an error of "
            f"first order in the asymmetry. {cure}."
        )
    ]


def _of_kinks(kinks: tuple[str, ...]) -> list[str]:
    if not kinks:
        return []
    return [
        f"Units on a kink of their activation: {', '.join(kinks[:4])}{' ...' if len(kinks) > 4 else ''}. The "
        "derivatives there differ from the left and from the right: change the biases slightly, or use a "
        "smooth activation."
    ]


def _kinks(model: Model, energy: _core.Energy, state: NDArray[np.float64]) -> tuple[str, ...]:
    margins = kink_margins(model, energy, state)
    return tuple(f"sample {j}: {unit_name(model, i)}" for j, i in np.argwhere(margins <= KINK))


@explanation.register
def _(free: FixedPoint) -> str:
    return str(diagnose(free))
