"""Solvers of free and nudged phases, and the free phase."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.arrays import Array, as_states
from equiprop.checks import check_flag, check_type, real, require, whole
from equiprop.couplings import Coupling, MaxPooled, SoftPooled, is_lateral
from equiprop.model_interface import Model, check_model
from equiprop.models import HopfieldNetwork
from equiprop.overlap import reading
from equiprop.results import FixedPoint, Status, advise

_SMALLEST, _LARGEST = math.nextafter(0, 1), sys.float_info.max
#: Rule, smallest and largest value of options, which are those of the core.
_RANGES = {
    "tolerance": ("The tolerance is a finite number, 0 for a fixed number of steps", 0, _LARGEST),
    "anderson": ("anderson is 0 (off) to 20", 0, 20),
    "damping": ("The damping is in [0, 1)", 0, math.nextafter(1, 0)),
    "step_size": ("The step size is a positive number", _SMALLEST, _LARGEST),
    "restart": ("The dimension of the Krylov space is at least 1", 1, 2**63 - 1),
}


@dataclass(frozen=True, kw_only=True)
class Solver:
    """Options of every iterative solver.

    Parameters
    ----------
    tolerance : float, optional
        A sample stops when its residual is at most `tolerance`. With 0, every sample takes exactly
        `max_iterations` steps. None stands for eps^(2/3) of the dtype: 2e-5 in float32, 4e-11 in float64.
    max_iterations : int
        Largest number of steps.

    Raises
    ------
    TypeError, ValueError
        If an option is not a number, or out of range.
    """

    tolerance: float | None = None
    max_iterations: int = _core.BlockUpdate().max_iterations

    def __post_init__(self) -> None:
        self._numbers()

    def _numbers(self) -> dict[str, float | None]:
        """Return the options by name; raise TypeError or ValueError if one is no number or out of range."""
        where, numbers = type(self).__name__, {}
        for option in fields(self):
            value = getattr(self, option.name)
            if option.type == "int":
                value = whole(value, where, option.name, 0)
            elif value is not None or option.type == "float":
                value = real(value, where, option.name)
            if value is not None and option.name in _RANGES:
                rule, low, high = _RANGES[option.name]
                require(low <= value <= high, where, rule, value)
            numbers[option.name] = value
        return numbers

    @cached_property
    def core(self) -> Any:
        """The options as an object of the C++ core."""
        options = getattr(_core, type(self).__name__)()
        for name, value in self._numbers().items():
            setattr(options, name, value)
        return options

    def more_steps(self, model: Model) -> str:
        """Return advice to raise `max_iterations`, and on the precision if the tolerance is near rounding."""
        text = f"Raise max_iterations ({self.max_iterations})."
        limit = 4 * float(np.finfo(model.dtype).eps)
        if self.tolerance is None or self.tolerance >= limit:
            return text
        precise = "use a network in float64" if model.dtype == np.float32 else "use tolerance=None"
        return (
            f"{text} Rounding errors of {model.dtype} can exceed the tolerance {self.tolerance:g}: {precise}."
        )

    def __getstate__(self) -> dict[str, Any]:
        # The cached `core` cannot be pickled.
        return {option.name: getattr(self, option.name) for option in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Relaxation(Solver):
    r"""Options of the solvers of free and nudged phases, which repeat a step s <- g(s).

    With Anderson acceleration (Anderson 1965; type II of Walker & Ni 2011) a step starts at

    .. math:: s' = g(s) - \sum_i c_i \Delta g_i, \quad
              c = \arg\min \|f - \sum_i c_i \Delta f_i\|_2, \quad f = g(s) - s,

    where the differences are those of the last `anderson` steps of a sample.

    Parameters
    ----------
    anderson : int
        Number of earlier steps that the acceleration uses, 0 (no acceleration) to 20; each takes the memory
        of two states. A step that is longer than the previous one is rejected and counted in `fallbacks`.
    """

    anderson: int = _core.BlockUpdate().anderson

    def cure(
        self,
        failure: Status,
        model: Model,
        *,
        change: str | None = None,
        otherwise: str = "scale weights and inputs down, because no stable fixed point can be reached",
    ) -> str:
        """Return advice for a phase of this solver that failed on `model`.

        Parameters
        ----------
        failure : Status
            MAX_ITERATIONS or DIVERGED.
        model : Model
        change : str, optional
            Change of the solver that helps if the states grow or oscillate; by default that for a free phase.
        otherwise : str
            Advice for the case that no solver converges.
        """
        change = self.change(descends(model)) if change is None else change
        unstable = f"{change}; if the states still grow, {otherwise}." if change else f"{otherwise}."
        if failure == Status.DIVERGED:
            return unstable[0].upper() + unstable[1:]
        return f"{self.more_steps(model)} If the residual still does not fall, {unstable}"

    def change(self, block_update: bool) -> str:
        """Return the change of this solver that helps if the states grow or oscillate; "" if there is none.

        Parameters
        ----------
        block_update : bool
            True if `BlockUpdate` converges on the model whenever a stable fixed point exists.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class BlockUpdate(Relaxation):
    """Block-coordinate minimisation: s_k <- argmin of E over s_k for one group of layers at a time.

    Layers that are not coupled to each other form a group; in a chain, the even and the odd layers. There is
    no step size, and E never increases; the exceptions are soft pooling, and maxima whose target has signals
    below 0 (docs/images.md). The minimum is exact with ``potential="legendre"`` and for clipping
    activations (Scellier et al. 2023). Under the quadratic potential a smooth unit takes one step of Newton's
    method with cubic regularisation instead: it minimises the Taylor polynomial of second order of its energy
    plus max |p rho'''| |ds|^3 / 6, p its drive, which is never below the energy (Nesterov & Polyak 2006).
    Layers with couplings within take a damped step (docs/notation.md, "Updates of units that pull on each
    other").

    Parameters
    ----------
    tolerance, max_iterations, anderson
        See `Solver` and `Relaxation`.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], dtype="float64")
    >>> eq.free_phase(net, [[0.5, 1.0]], solver=eq.BlockUpdate(tolerance=1e-12)).converged
    True
    """

    def change(self, block_update: bool) -> str:
        """Return the change of this solver that helps if the states grow or oscillate."""
        return "" if block_update else "use Euler() with a small step_size"


@dataclass(frozen=True, kw_only=True)
class FixedPointIteration(Relaxation):
    """Fixed-point iteration s <- (1 - damping) T(s) + damping s of all units at once (Ernoult et al. 2019).

    T(s) = rho(drive) for ``potential="legendre"``, and T(s) = s - dE/ds for ``"quadratic"``, clipped to the
    bounds of the units.

    Parameters
    ----------
    damping : float
        In [0, 1).
    tolerance, max_iterations, anderson
        See `Solver` and `Relaxation`.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], activation="tanh", dtype="float64")
    >>> eq.free_phase(net, [[0.5, 1.0]], solver=eq.FixedPointIteration(damping=0.2)).converged
    True
    """

    damping: float = _core.FixedPointIteration().damping

    def change(self, block_update: bool) -> str:
        """Return the change of this solver that helps if the states grow or oscillate."""
        return _instead(block_update) + f"raise the damping ({self.damping:g})"


@dataclass(frozen=True, kw_only=True)
class Euler(Relaxation):
    """Gradient flow ds/dt = -dE/ds by explicit Euler steps, clipped to the bounds of the units.

    Parameters
    ----------
    step_size : float
        Step in units of time. The method is stable below 2 / (largest eigenvalue of the Hessian).
    tolerance, max_iterations, anderson
        See `Solver` and `Relaxation`.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], activation="tanh", potential="quadratic", dtype="float64")
    >>> eq.free_phase(net, [[0.5, 1.0]], solver=eq.Euler(step_size=0.3)).converged
    True
    """

    step_size: float = _core.Euler().step_size

    def change(self, block_update: bool) -> str:
        """Return the change of this solver that helps if the states grow or oscillate."""
        return _instead(block_update) + f"lower step_size ({self.step_size:g})"


def descends(model: Model) -> bool:
    """Return True if block updates exist and never raise the energy.

    With soft pooling, and with maxima whose target has signals below 0, the energy is not concave in the
    signals of the source, and they may raise it or cycle.
    """

    def bends(coupling: Coupling) -> bool:
        if isinstance(coupling, MaxPooled):
            return float(model.layers[coupling.target].activation.value(-1e6)) < 0  # type: ignore[attr-defined]
        return isinstance(coupling, SoftPooled)

    if not (model.has_block_update and model.conservative):
        return False
    return not any(bends(coupling) for coupling in getattr(model, "couplings", ()))


def _instead(block_update: bool) -> str:
    return "use BlockUpdate(), which has no step size, or " if block_update else ""


FreeSolver = BlockUpdate | FixedPointIteration | Euler
FREE_SOLVER_RULE = "A solver of phases is a BlockUpdate(), FixedPointIteration() or Euler()"


def default_solver(model: Model) -> FreeSolver:
    """Return the default solver of a phase: BlockUpdate if the model supports it, otherwise Euler."""
    return BlockUpdate() if model.has_block_update else Euler()


def training_solver(model: Model) -> FreeSolver:
    """Return the default solver of a `Trainer`, with a tolerance of 1e-4.

    Block updates if the model supports them, otherwise Euler. Anderson acceleration saves time with more
    than one hidden layer, or with couplings within a layer; a CUDA device does not have it. In deep networks
    the response to a nudge is 1e-3 to 5e-3 at the first layer, which a tolerance of 5e-3 cannot resolve
    (docs/performance.md). A training step on the CPU relaxes samples further until the estimated error of
    their gradient is at most 5 %, and counts those that do not get there (docs/notation.md, "Error of a
    gradient").
    """
    if model.has_block_update:
        within = isinstance(model, HopfieldNetwork) and any(is_lateral(c) for c in model.couplings)
        deep = within or len(model.layer_slices) > 2
        anderson = 1 if deep and getattr(model, "device", "cpu") == "cpu" else 0
        return BlockUpdate(tolerance=1e-4, max_iterations=500, anderson=anderson)
    return default_solver(model)


def start_of(model: Model, samples: int) -> Array:
    """Return the initial state of a free phase: (samples, units), or (1, units) for a Hopfield network.

    The core starts every sample from the same state if there is only one.
    """
    same = getattr(type(model), "initial_state", None) is HopfieldNetwork.initial_state
    return model.initial_state(1 if same else samples)


def _as_initial(value: Any, model: Model, samples: int) -> Array:
    """Return the initial state that a caller passed as a checked array (samples, units)."""
    start = as_states(value, model.num_units, model.dtype, "free_phase", "initial")
    if len(start) != samples:
        raise ValueError(
            "[free_phase] `initial` has one state for each sample of `x`. "
            f"Received {len(start)} for {samples} samples."
        )
    return start


def free_phase(
    model: Model,
    x: Any,
    *,
    solver: FreeSolver | None = None,
    initial: Any = None,
    trace: bool = False,
    record: bool = False,
    on_failure: str = "warn",
) -> FixedPoint:
    """Relax `model` with input x to a fixed point s*, where dE/ds = 0; its output units are the prediction.

    Parameters
    ----------
    model : HopfieldNetwork, Energy or VectorField
    x : (batch, inputs) array
    solver : BlockUpdate, FixedPointIteration or Euler, optional
        By default BlockUpdate if the model supports it, otherwise Euler.
    initial : (batch, units) array, optional
        Initial state; by default ``model.initial_state``.
    trace : bool
        Record the residual at every iteration.
    record : bool
        Record the state at every iteration, for `backpropagation_through_time`.
    on_failure : {"warn", "raise", "ignore"}
        Action if some samples do not converge.

    Returns
    -------
    FixedPoint

    Raises
    ------
    ValueError, TypeError
        If an argument has a wrong type, shape or dtype, or numbers that are not finite.
    ConvergenceError
        If some samples do not converge, with ``on_failure="raise"``.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], dtype="float64")
    >>> free = eq.free_phase(net, [[0.5, 1.0]])
    >>> free.converged, free.state.shape
    (True, (1, 6))
    """
    check_model(model, "free_phase")
    check_flag(trace, "free_phase", "trace")
    check_flag(record, "free_phase", "record")
    solver = default_solver(model) if solver is None else solver
    x = model.as_input(x, "free_phase")
    free = relaxed(model, x, solver, initial=initial, trace=trace, record=record)
    free.report_failure("free_phase", on_failure)
    return free


def relaxed(
    model: Model,
    x: Array,
    solver: FreeSolver,
    *,
    initial: Any = None,
    trace: bool = False,
    record: bool = False,
) -> FixedPoint:
    """Return the free phase of an input that the model's `as_input` has converted; see `free_phase`."""
    check_type(solver, FreeSolver, "free_phase", FREE_SOLVER_RULE)
    with reading(model, "free_phase"):
        return _relaxed(model, x, solver, initial, trace, record)


def _relaxed(
    model: Model, x: Array, solver: FreeSolver, initial: Any, trace: bool, record: bool
) -> FixedPoint:
    start = start_of(model, len(x)) if initial is None else _as_initial(initial, model, len(x))
    energy = model.clamp(x)
    state, outcome, history, states = model.core.relax(energy, solver.core, start, trace, record, len(x))
    cures = advise(outcome[0], lambda failure: solver.cure(failure, model))
    fingerprint = energy.residual(state)
    return FixedPoint(*outcome, state, x, model, solver, fingerprint, history, states, advice=cures)
