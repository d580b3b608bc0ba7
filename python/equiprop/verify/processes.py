"""The two processes of the theorem, error derivatives and temporal derivatives, which the core computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.checks import enough_memory
from equiprop.nudging import Nudging
from equiprop.verify.problem import Problem
from equiprop.verify.watch import tracked

#: Largest memory in bytes for all steps of all units and parameters; above it, only _TRACES of them are kept.
_EVERYTHING = 2**26
_TRACES = 24
#: Measured memory of one run of both processes, in arrays (samples, units) of doubles.
_STATES_PER_RUN = 40

_Floats = NDArray[np.float64]
Kind = Literal["states", "parameters"]


@dataclass(frozen=True)
class Process:
    """One of the two processes at steps 0 to `steps`, for the traced units, samples and parameters.

    Attributes
    ----------
    states : (steps + 1, samples, units)
        S-bar or S-tilde.
    parameters : (steps + 1, parameters)
        Theta-bar or Theta-tilde, averaged over the batch.
    """

    states: _Floats
    parameters: _Floats


@dataclass(frozen=True)
class Traced:
    """Indices of the samples, units and parameters in a `Process`: all, or some to limit the memory."""

    samples: NDArray[np.int64]
    units: NDArray[np.int64]
    parameters: NDArray[np.int64]


@dataclass(frozen=True)
class Gaps:
    """Differences of the two processes in one group: a layer or a block of parameters.

    Attributes
    ----------
    errors : (steps + 1,)
        Largest difference at each step, relative to the largest entry of the reference over all steps.
    relation : (float, float, float)
        <v, r>, <r, r> and <v, v> of values v and references r, summed over all steps.
    """

    errors: _Floats
    relation: tuple[float, float, float]


@dataclass(frozen=True)
class Processes:
    """Both processes, and their differences for each layer and each block of parameters."""

    error_derivatives: Process
    temporal_derivatives: Process
    traced: Traced
    layers: Mapping[str, Gaps]
    blocks: Mapping[str, Gaps]


@dataclass(frozen=True)
class _Part:
    """The comparison of some samples of the batch, and the fraction of the batch that they are."""

    comparison: _core._Comparison
    share: float


def run_processes(
    problem: Problem, steps: int, step_size: float, integrator: str, nudging: Nudging, symmetrize: bool
) -> Processes:
    """Run both processes from the fixed point, for a limited number of samples at a time.

    Parameters
    ----------
    problem : Problem
    steps : int
        Number of steps.
    step_size : float
        Step in units of time.
    integrator : {"euler", "runge-kutta"}
    nudging : Nudging
        Nudging with real beta, or the exact limit.
    symmetrize : bool
        Add the antisymmetric term to the nudged dynamics.
    """
    traced = _traced(problem, steps)
    request = _core.verification.Request()
    request.steps, request.step_size = steps, step_size
    request.runge_kutta = integrator == "runge-kutta"
    request.layer_ends = [where.stop for where in problem.model.layer_slices.values()]
    request.block_ends = [where.stop for where in problem.model.block_slices.values()]
    request.units, request.parameters = traced.units.tolist(), traced.parameters.tolist()
    size = 16 * (steps + 1) * (len(traced.samples) * len(traced.units) + len(traced.parameters))
    with enough_memory(size, "verify", f"the traces of {steps} steps", cure="Choose fewer steps"):
        parts = _run(problem, request, traced, nudging, symmetrize)
    shape = (steps + 1, len(traced.samples), len(traced.units))
    return Processes(
        Process(_states(parts, "error_states", shape), _averaged(parts, "error_parameters")),
        Process(_states(parts, "temporal_states", shape), _averaged(parts, "temporal_parameters")),
        traced,
        _joined(parts, "states", problem.model.layer_slices),
        _joined(parts, "parameters", problem.model.block_slices),
    )


def _run(
    problem: Problem, request: _core._Request, traced: Traced, nudging: Nudging, symmetrize: bool
) -> list[_Part]:
    model, (batch, _), size = problem.model, problem.state.shape, _samples_per_run(problem)
    y, parts = np.asarray(problem.y), []
    pieces = [slice(begin, min(begin + size, batch)) for begin in range(0, batch, size)]
    for some in tracked(pieces, lambda some: f"samples {some.start} to {some.stop - 1}"):
        state, x = problem.state[some], problem.x[some]
        request.samples = [int(j) - some.start for j in traced.samples if some.start <= j < some.stop]
        energy, bound = model.clamp(x), problem.bind(y[some])
        if nudging.exact:
            dual = model.clamp_dual(x)
            dual = dual.symmetrized(state) if symmetrize else dual
            comparison = _core.verification.compare_limit(energy, bound, dual, state, request)
        else:
            nudged = energy.symmetrized(state) if symmetrize else energy
            nodes = nudging.nodes(0)
            comparison = _core.verification.compare(energy, bound, nudged, state, nodes, request)
        parts.append(_Part(comparison, (some.stop - some.start) / batch))
    return parts


def _samples_per_run(problem: Problem) -> int:
    """Return the number of samples of a run; it may take six states of the batch and a parameter vector."""
    batch, units = problem.state.shape
    room = 6 * batch * units + len(problem.model.parameters)
    return int(max(1, min(batch, room // (_STATES_PER_RUN * units))))


def _traced(problem: Problem, steps: int) -> Traced:
    batch, units = problem.state.shape
    parameters = len(problem.model.parameters)
    if 16 * (steps + 1) * (batch * units + parameters) <= _EVERYTHING:
        return Traced(np.arange(batch), np.arange(units), np.arange(parameters))
    outputs = np.arange(units - min(problem.model.num_outputs, _TRACES // 2), units)
    spread = np.linspace(0, units - 1, _TRACES - len(outputs)).astype(np.int64)
    chosen = np.linspace(0, parameters - 1, min(_TRACES, parameters)).astype(np.int64)
    return Traced(np.arange(1), np.unique(np.concatenate([spread, outputs])), np.unique(chosen))


def _joined(parts: Sequence[_Part], kind: Kind, slices: Mapping[str, slice]) -> dict[str, Gaps]:
    """Return the differences of all parts for each group; one group of zeros if there is no group."""
    groups = [part.comparison[kind] for part in parts]
    scale = max(float(group["size"].max(initial=0.0)) for group in groups) or 1.0
    with np.errstate(invalid="ignore"):  # infinite processes have differences of NaN
        differences = np.max([group["difference"] for group in groups], axis=0) / scale
    if not slices:
        return {"": Gaps(np.zeros(len(differences)), (0.0, 0.0, 0.0))}
    return {
        name: Gaps(
            differences[:, g],
            (
                sum(float(group["product"][g]) for group in groups),
                sum(float(group["power"][g]) for group in groups),
                sum(float(group["value_power"][g]) for group in groups),
            ),
        )
        for g, name in enumerate(slices)
    }


def _states(
    parts: Sequence[_Part], name: Literal["error_states", "temporal_states"], shape: tuple[int, int, int]
) -> _Floats:
    return np.concatenate([part.comparison[name] for part in parts], axis=1).reshape(shape)


def _averaged(parts: Sequence[_Part], name: Literal["error_parameters", "temporal_parameters"]) -> _Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(sum(part.share * part.comparison[name] for part in parts))
