"""Simulated imperfections of devices: noise of measurements, quantised parameters, and mismatch.

They are options to study: how much of each a learning rule tolerates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array
from equiprop.black_box import BlackBox
from equiprop.checks import check_choice, check_type, real, require, whole
from equiprop.costs import Cost, SquaredError
from equiprop.energies import OwnModel
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.results import Status
from equiprop.solvers import FREE_SOLVER_RULE, FreeSolver, start_of, training_solver

_Floats = NDArray[np.float64]
_WHERE = "imperfect"
#: Largest number of bits of a parameter that is rounded: float64 has a mantissa of 53.
_MOST_BITS = 52
#: Largest noise and mismatch.
_LARGEST = 100
#: Tolerance and largest number of iterations of the default solver of a device without noise.
_PRECISE, _MOST_ITERATIONS = 1e-10, 20_000


@dataclass(repr=False, eq=False, kw_only=True)
class ImperfectDevice(BlackBox):
    """A device with simulated imperfections, which `imperfect` returns.

    Attributes
    ----------
    parameters : (parameters,) array of float64
        The parameters of the trainer, in full precision.
    factors : (parameters,) array
        Factors of the device's parameters, which the trainer does not know.
    send : callable
        Function that returns the numbers that are written to the device for `parameters`, before the factors.
    """

    factors: _Floats
    send: Callable[[Array], _Floats]


@dataclass(frozen=True)
class _Flaws:
    """The checked options of `imperfect`."""

    noise: float
    bits: int | None
    rounding: str
    limits: tuple[float, float] | None
    mismatch: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("noise", "mismatch"):
            size = real(getattr(self, name), _WHERE, name)
            require(0 <= size <= _LARGEST, _WHERE, f"{name} is a number from 0 to {_LARGEST}", size)
        if self.bits is not None:
            whole(self.bits, _WHERE, "bits", 1, _MOST_BITS)
        check_choice(self.rounding, _WHERE, "rounding", "nearest", "stochastic")
        whole(self.seed, _WHERE, "seed", 0)
        if self.limits is not None:
            rule = "limits is a pair of numbers, the smaller one first"
            check_type(self.limits, tuple, _WHERE, rule)
            require(len(self.limits) == 2, _WHERE, rule, self.limits)
            low, high = (real(limit, _WHERE, "a limit") for limit in self.limits)
            require(-np.inf < low < high < np.inf, _WHERE, rule, self.limits)

    def written(self, parameters: Array, blocks: Mapping[str, slice], random: np.random.Generator) -> _Floats:
        """Return the numbers that are written to the device for parameters."""
        written = parameters.astype(np.float64)
        if self.limits is not None:
            written = np.clip(written, *self.limits)
        if self.bits is not None:
            for where in blocks.values():
                written[where] = self._rounded(written[where], self.bits, random)
        return written

    def _rounded(self, block: _Floats, bits: int, random: np.random.Generator) -> _Floats:
        """Return parameters at 2^bits levels of equal distances."""
        low, high = self.limits or (float(block.min(initial=np.inf)), float(block.max(initial=-np.inf)))
        step = (high - low) / (2**bits - 1)
        if not step > 0:
            return block
        up = random.random(len(block)) if self.rounding == "stochastic" else 0.5
        return np.asarray(low + step * np.floor((block - low) / step + up))


def imperfect(
    model: Model | BlackBox,
    *,
    noise: float = 0.0,
    bits: int | None = None,
    rounding: str = "nearest",
    limits: tuple[float, float] | None = None,
    mismatch: float = 0.0,
    seed: int = 0,
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
) -> ImperfectDevice:
    """Return a model or a black box as a device with noise, quantised parameters and mismatch.

    A `Trainer` of the device updates its `parameters` in full precision. After each update they are rounded,
    multiplied by factors that the trainer does not know, and written to the parameters of `model`.

    Parameters
    ----------
    model : HopfieldNetwork, Energy or BlackBox
        The device starts with a copy of its parameters. A HopfieldNetwork is copied, to double precision; the
        parameters of another model become those of the device at each relaxation.
    noise : float
        Standard deviation of the Gaussian noise of each measured state, relative to the range of the states
        (largest less smallest) of the relaxation.
    bits : int, optional
        Number of bits of a parameter on the device, which has 2^bits levels of equal distances; by default
        no rounding.
    rounding : {"nearest", "stochastic"}
        "stochastic" rounds up with the probability that makes the mean that of the parameter.
    limits : pair of floats, optional
        Smallest and largest level, to which parameters are cut; by default those of each block when written.
    mismatch : float
        Standard deviation of the logarithm of the fixed factors.
    seed : int
    cost : SquaredError or CrossEntropy
        Cost in the nudge; a black box has its own.
    solver : FreeSolver, optional
        Solver of the relaxations of a model; by default that of a `Trainer`, with a tolerance of 1e-10 if
        the device has no noise, because then `verify.black_box` finds the error of its solver.

    Examples
    --------
    >>> import equiprop as eq
    >>> device = eq.imperfect(eq.HopfieldNetwork([2, 8, 2], seed=1), noise=0.01, bits=6, mismatch=0.1)
    >>> data = eq.Dataset(np.array([[0.0, 1.0], [1.0, 0.0]] * 20), np.array([0, 1] * 20))
    >>> trainer = eq.Trainer(device, optimizer=eq.Adam(0.01), batch_size=10)
    >>> trainer.fit(data, epochs=20)[-1].train_error
    0.0
    """
    flaws = _Flaws(noise, bits, rounding, limits, mismatch, seed)
    if isinstance(model, BlackBox):
        return _device(model, model, flaws)
    rule = "model is a HopfieldNetwork, an Energy or a BlackBox"
    check_type(model, HopfieldNetwork | OwnModel, _WHERE, rule)
    require(model.conservative, _WHERE, "The dynamics of the model have an energy", model)
    if isinstance(model, HopfieldNetwork):
        model = model.astype("float64")
    solver = _default_solver(model, flaws) if solver is None else solver
    return _device(model, _Simulated(model, cost, solver), flaws)


def _default_solver(model: Model, flaws: _Flaws) -> FreeSolver:
    solver = training_solver(model)
    return solver if flaws.noise else replace(solver, tolerance=_PRECISE, max_iterations=_MOST_ITERATIONS)


def _device(model: Model | BlackBox, relaxing: BlackBox | _Simulated, flaws: _Flaws) -> ImperfectDevice:
    """Return a device that writes to the parameters of `model`, and measures states of `relaxing`."""
    random = np.random.default_rng(flaws.seed)
    factors = np.exp(flaws.mismatch * random.standard_normal(len(model.parameters)))

    def send(parameters: Array) -> _Floats:
        return flaws.written(parameters, model.block_slices, random)

    last = [
        np.full(len(factors), np.nan),
        factors,
    ]  # the parameters of the last writing, and what was written

    def write(parameters: Array) -> None:
        if not np.array_equal(parameters, last[0]):
            last[:] = parameters.copy(), send(parameters) * factors
        model.parameters[:] = last[1]

    def relax(x: Array, beta: float, y: Array) -> Array:
        states = np.asarray(relaxing.trajectory(x, beta, y)[-1:], dtype=np.float64)
        return states + flaws.noise * np.ptp(states) * random.standard_normal(states.shape)

    return ImperfectDevice(
        relax,
        relaxing.contrast,
        model.parameters.astype(np.float64),
        model.num_outputs,
        write,
        model.block_slices,
        getattr(model, "num_inputs", None),
        factors=factors,
        send=send,
    )


class _Simulated:
    """The relaxations of a model, nudged by a cost, as those of a device."""

    def __init__(self, model: Model, cost: Cost, solver: FreeSolver) -> None:
        self.model, self.cost, self.solver = model, cost, solver
        check_type(self.solver, FreeSolver, _WHERE, FREE_SOLVER_RULE)

    def trajectory(self, x: Array, beta: float, y: Array) -> Array:
        """Return the last state of a relaxation, (1, batch, units)."""
        model = self.model
        energy = model.clamp(model.as_input(x, _WHERE))
        if beta:
            energy = _core.f64.total_energy(energy, self.cost.bind(model, y, _WHERE), beta)
        state, report, *_ = model.core.relax(
            energy, self.solver.core, start_of(model, len(x)), False, False, len(x)
        )
        if report[0].max() == int(Status.DIVERGED):
            raise ValueError(
                f"[{_WHERE}] The relaxations of the model end. Received one that diverged at beta={beta:g}: "
                "use a solver with smaller steps, or smaller parameters."
            )
        return np.asarray(state)[None]

    def contrast(self, x: Array, state: Array) -> Array:
        """Return dE/dtheta of states (batch, units), summed over the batch."""
        model = self.model
        energy = model.clamp(model.as_input(x, _WHERE))
        return energy.parameter_gradient(np.ascontiguousarray(state, model.dtype))
