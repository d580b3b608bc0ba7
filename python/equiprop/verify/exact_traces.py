"""Comparison of recordings without noise with the flow of the model, and causes of a difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from equiprop.nudging import Nudging, centered, one_sided
from equiprop.verify.confidence import certain, explaining
from equiprop.verify.equivalence import equivalence
from equiprop.verify.evidence import Evidence, Factor
from equiprop.verify.problem import Problem
from equiprop.verify.recordings import HUGE, Recordings
from equiprop.verify.relation import described
from equiprop.verify.trace_causes import fitted_nudge, in_one_place, of_nudge
from equiprop.verify.verdict import Row
from equiprop.verify.watch import tracked

_Floats = NDArray[np.float64]
_Flow = Callable[[float, float], _Floats]
#: Part of a difference below which what is left of it counts as explained.
_LEFT = 1e-3
#: Largest number of steps by which a recording is tried to be late or early.
_SHIFTS = 5
#: Part of a difference from which a cause that does not explain all of it is named.
_MOST = 0.9


def judge_exact(
    problem: Problem, recordings: Recordings, flow: _Flow, step_size: float, tolerance: float
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Return rows and advice for recordings that a tolerance judges.

    States that were not recorded are not compared. For temporal derivatives they are those of the model.

    Parameters
    ----------
    flow : callable
        Function of beta and step size that returns the states of the model, (steps + 1, batch, units).
    """
    evidence = [_evidence(beta, path, flow(beta, step_size)) for beta, path in recordings.means.items()]
    rows, advice = _missing(evidence), []
    for part in tracked(evidence, lambda part: f"beta = {part.beta:g}"):
        own = _distances(part, tolerance)
        rows += own
        if not own[-1].passed:
            advice += _cause(problem, part, flow, step_size, tolerance)
    for size in sorted({abs(part.beta) for part in evidence}):
        pair = [part for part in evidence if abs(part.beta) == size]
        name = "" if len(evidence) == len(pair) else f"|beta| = {size:g}: "
        rows.append(_temporal_row(problem, pair, step_size, tolerance, name))
    return tuple(rows), tuple(advice)


def _missing(evidence: Sequence[Evidence]) -> list[Row]:
    """Return a row on the number of recorded numbers if some units were not recorded at all times."""
    units = [part.weights.any(axis=(0, 1)) for part in evidence]
    complete = sum(int(part.weights[:, :, seen].size) for part, seen in zip(evidence, units, strict=True))
    numbers = sum(part.number for part in evidence)
    return [Row("recorded numbers", numbers, note=f"of {complete}")] if numbers < complete else []


def _evidence(beta: float, path: _Floats, flow: _Floats) -> Evidence:
    """Return a recording in which states that were not recorded have the weight 0, and the others 1."""
    missing = np.isnan(path)
    return Evidence(beta, np.where(missing, flow, path), flow, (~missing).astype(np.float64))


def _distances(part: Evidence, tolerance: float) -> list[Row]:
    """Return the distances of a recording from the fixed point, at its start, and from the model's flow."""
    gap = np.abs(part.rest)
    name = f"beta = {part.beta:g}: distance"
    start = Row(f"{name} of state 0 from the fixed point", float(gap[0].max()), high=tolerance)
    whole = Row(f"{name} from the model's flow", float(gap.max()), high=tolerance)
    return [start, whole] if part.weights[0].any() else [whole]


def _temporal_row(
    problem: Problem, recorded: Sequence[Evidence], step_size: float, tolerance: float, name: str
) -> Row:
    """Compare temporal with error derivatives, within the bias of beta and the noise of the recording."""
    gap, bias = _temporal_error(problem, {part.beta: part.path for part in recorded}, step_size)
    noise = tolerance / (min(abs(part.beta) for part in recorded) * step_size)
    limit, note = 1.01 * bias + noise, f"bias of beta {bias:.1e}"
    return Row(f"{name}S~ = -D S-bar, largest difference", gap, high=limit, note=note)


def _temporal_error(
    problem: Problem, recorded: Mapping[float, _Floats], step_size: float
) -> tuple[float, float]:
    """Return max |S~ + D S-bar| / max |S-bar| of the recording, and that of the nudged flow of the model."""
    rule = _rule(recorded)
    weights = dict(rule.nodes(0))
    steps = len(next(iter(recorded.values()))) - 1
    own = equivalence(problem, steps=steps, step_size=step_size, nudging=rule)
    traced = own.traced
    part = np.ix_(np.arange(steps), traced.samples, traced.units)
    velocity = sum(weights[b] * np.diff(path, axis=0) for b, path in recorded.items()) / step_size
    error = own.error_derivatives.states[:-1] * problem.free_units[np.ix_(traced.samples, traced.units)]
    scale = float(np.abs(own.error_derivatives.states).max()) or 1.0
    gap = float(np.abs(np.asarray(velocity)[part] + error).max(initial=0.0)) / scale
    return gap, float(own.state_errors.max())


def _rule(recorded: Mapping[float, _Floats]) -> Nudging:
    beta = max(recorded, key=abs) if len(recorded) == 1 else max(recorded)
    return one_sided(beta) if len(recorded) == 1 else centered(beta)


def _cause(problem: Problem, part: Evidence, flow: _Flow, step_size: float, tolerance: float) -> list[str]:
    """Return advice that names the simplest difference between the recording and the flow of the model."""
    name = f"beta = {part.beta:g}: "
    largest = float(np.abs(part.path).max())
    if not largest < HUGE:
        return [certain(f"{name}the recording has states up to {largest:.3g}: it diverged.")]
    near = max(tolerance, _LEFT * float(np.abs(part.rest).max()))
    nudge, explained = _nudged(part, lambda beta: flow(beta, step_size))
    if explained is not None and np.abs(explained.rest * part.weights).max() <= near:
        return [certain(name + nudge)]
    late = _late(part, near)
    if late:
        steps = "one step" if abs(late) == 1 else f"{abs(late)} steps"
        shift = f"{steps} {'late' if late > 0 else 'early'}"
        return [
            certain(
                f"{name}the recording is {shift}: its state n is state n{-late:+d} of the flow. This shift "
                "gives the theorem a relative error of the order of the step size."
            )
        ]
    if np.abs(part.rest[0]).max() > tolerance:
        return [certain(f"{name}the recording does not start at the free fixed point.")]
    factor = _step_factor(part, lambda h: flow(part.beta, h * step_size), near)
    if factor is not None:
        text = f"the step size differs: that of the recording is {factor:.3g} times the given one."
        return [certain(name + text)]
    for cause in in_one_place(problem, part):
        if np.abs(cause.left.rest * cause.left.weights).max() <= near:
            return [certain(name + cause.sentence)]
    if explained is not None and explained.square <= (1 - _MOST) * part.square:
        return [explaining(name + nudge, 1 - explained.square / part.square)]
    return _of_layers(problem, part, tolerance)


def _nudged(part: Evidence, flow: Callable[[float], _Floats]) -> tuple[str, Evidence | None]:
    """Return a sentence on the multiple of beta that fits best, and what it leaves."""
    found = fitted_nudge(part, flow)
    if found is None:
        return "", None
    factor = Factor("", round(found[0].value, 6), 1.0, 0.0)
    return of_nudge(factor), found[1]


def _late(part: Evidence, near: float) -> int:
    """Return the number of steps by which the recording is late, negative if it is early, or 0."""
    for shift in range(1, min(_SHIFTS, len(part.flow) // 2) + 1):
        for sign, ours, theirs in (
            (1, slice(shift, None), slice(None, -shift)),
            (-1, slice(None, -shift), slice(shift, None)),
        ):
            weights = part.weights[ours]
            gap = (part.path[ours] - part.flow[theirs]) * weights
            if weights.any() and np.abs(gap).max() <= near:
                return sign * shift
    return 0


def _step_factor(part: Evidence, flow: Callable[[float], _Floats], near: float) -> float | None:
    """Return the factor of the step size with which the flow of the model is the recording, if there is one.

    The first step is proportional to the step size.
    """
    step, own = part.path[1] - part.flow[0], part.response[1]
    seen = part.weights[1]
    factor = float((seen * step * own).sum() / ((seen * own**2).sum() or 1.0))
    if factor <= 0:
        return None
    gap = (part.path - flow(factor)) * part.weights
    return factor if np.abs(gap).max() <= near else None


def _of_layers(problem: Problem, part: Evidence, tolerance: float) -> list[str]:
    """Return a sentence on the response of each layer that is not that of the model."""
    sentences = []
    for name, at in problem.model.layer_slices.items():
        seen = part.weights[:, :, at]
        a, b = (part.path - part.flow[0])[:, :, at] * seen, part.response[:, :, at] * seen
        if np.abs(a - b).max() > tolerance:
            products = float((a * b).sum()), float((b * b).sum()), float((a * a).sum())
            sentences.append(described(f"beta = {part.beta:g}: the response of {name}", *products))
    return sentences
