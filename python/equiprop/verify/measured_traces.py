"""Statistical tests of recordings with noise against the flow of the model, and their power."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import require
from equiprop.verify.equivalence import equivalence
from equiprop.verify.evidence import Evidence, Factor, Square, response
from equiprop.verify.noise import Noise
from equiprop.verify.problem import Problem
from equiprop.verify.recordings import HUGE, Recordings
from equiprop.verify.significance import one_sided, two_sided
from equiprop.verify.trace_causes import cause, more_data, other_noise
from equiprop.verify.verdict import Row

_Floats = NDArray[np.float64]
#: Label of the row on what the recordings can tell.
POWER = "smallest change of the response that would be seen"


def judge(
    problem: Problem,
    recordings: Recordings,
    flow: Callable[[float], _Floats],
    noise: Noise,
    step_size: float,
    significance: float,
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Test recordings with noise; return the rows and the advice of the report.

    Every test has the level `significance` over the number of tests, so that noise alone fails any of them
    with at most the probability `significance` (Bonferroni).

    Parameters
    ----------
    flow : callable
        Function of beta that returns the states of the model, (steps + 1, batch, units).
    """
    evidence = [_evidence(beta, recordings, flow(beta), noise) for beta in recordings.means]
    velocity = _velocity(problem, recordings.steps, step_size)
    tests: list[list[Factor | Square]] = [[*_factors(part, velocity), *_squares(part)] for part in evidence]
    if len(evidence) > 1:
        tests.append([response("all betas", evidence)])
    level = significance / sum(map(len, tests))
    groups = [[test.row(level, noise.dof) for test in group] for group in tests]
    for part, group in zip(evidence, groups, strict=False):
        group += [*_best_beta(part, velocity(part), noise), _correlation(part)]
    powers = [_power(part, level, significance, noise.dof, len(evidence)) for part in evidence]
    rows = (*_data(recordings, noise), *(row for group in groups for row in group), *powers)
    other, excess = other_noise(noise, recordings, {part.beta: part.flow for part in evidence})
    advice = list(other)
    for part, group, power in zip(evidence, groups, powers, strict=False):
        if not all(row.passed for row in group):
            advice += cause(problem, part, flow, level, noise.dof, excess)
        if not power.passed:
            advice.append(more_data(part, recordings, flow, power.value))
    return rows, tuple(advice)


def _evidence(beta: float, recordings: Recordings, flow: _Floats, noise: Noise) -> Evidence:
    rule = f"Recorded states with noise are below {HUGE:g}, or NaN"
    require(recordings.finite, "traces", rule, f"{recordings.largest:.3g}")
    weights = recordings.counts[beta] / np.square(noise.size)
    return Evidence(beta, np.nan_to_num(recordings.means[beta]), flow, weights)


def _data(recordings: Recordings, noise: Noise) -> tuple[Row, Row]:
    """Return rows on the amount of data and on the noise."""
    numbers = sum(int(counts.sum()) for counts in recordings.counts.values())
    complete = sum(path.size for path in recordings.repeats.values())
    error = f"standard error {noise.error:.2g}, " if noise.error else ""
    return (
        Row("recorded numbers", numbers, note=f"of {complete}"),
        Row("noise", noise.typical, note=f"{error}{noise.source}"),
    )


def _correlation(part: Evidence) -> Row:
    note = f"standard error {part.correlation_error:.2g} for independent noise"
    return Row(
        f"beta = {part.beta:g}: correlation of the deviation between steps", part.correlation, note=note
    )


def _best_beta(part: Evidence, velocity: Factor, noise: Noise) -> list[Row]:
    """Return a row with the beta at which noise and bias of S~ are equal, so that their squares sum least.

    The standard error of S~ falls as 1 / beta; the bias of one recording, which the flow of the model has
    too, grows as beta. There is no row without a bias.
    """
    bias = abs(velocity.expected - 1)
    if not (math.isfinite(velocity.error) and bias > 0):
        return []
    best = part.beta * math.sqrt(velocity.error / bias)
    error = abs(best) * noise.error / noise.typical / 2
    here = f"at beta = {part.beta:g} noise {velocity.error:.2g} and bias {bias:.2g}"
    note = f"standard error {error:.2g}; {here}"
    return [Row(f"beta = {part.beta:g}: best beta between noise and bias of S~", best, note=note)]


def _factors(part: Evidence, velocity: Callable[[Evidence], Factor]) -> list[Factor]:
    """Return the factors of response and velocity, without those on which the recordings say nothing."""
    factors = (response(f"beta = {part.beta:g}", [part]), velocity(part))
    return [factor for factor in factors if math.isfinite(factor.error)]


def _velocity(problem: Problem, steps: int, step_size: float) -> Callable[[Evidence], Factor]:
    """Return a function that gives the factor of the measured S~ to -D S-bar, with its value in the flow."""
    own = equivalence(problem, steps=steps, step_size=step_size)
    chosen = np.ix_(np.arange(steps + 1), own.traced.samples, own.traced.units)
    free = problem.free_units[np.ix_(own.traced.samples, own.traced.units)]
    theory = -own.error_derivatives.states[:-1] * free

    def factor(part: Evidence) -> Factor:
        weights = part.weights[chosen]
        direction = np.where((weights[1:] > 0) & (weights[:-1] > 0), theory, 0.0)
        power = float((direction**2).sum()) * part.beta * step_size
        label = f"beta = {part.beta:g}: S~ over -D S-bar"
        if power == 0:
            return Factor(label, math.nan, 1.0, math.inf)
        none = np.zeros_like(direction[:1])
        slopes = -np.diff(np.concatenate([none, direction, none]), axis=0) / power
        expected = float((slopes * part.flow[chosen]).sum())
        variances = np.divide(slopes**2, weights, out=np.zeros_like(slopes), where=weights > 0)
        deviation = float((slopes * part.rest[chosen]).sum())
        return Factor(label, expected + deviation, expected, math.sqrt(float(variances.sum())))

    return factor


def _squares(part: Evidence) -> list[Square]:
    """Return the sums of squares at one beta, without those for which no states were recorded."""
    name = f"beta = {part.beta:g}"
    start = float((part.weights[0] * part.rest[0] ** 2).sum())
    slopes, seen = part.fitted(part.times)
    drift = float((part.weights * (part.times * slopes) ** 2).sum())
    squares = (
        Square(f"{name}: state 0 from the fixed point, in noises", start, int((part.weights[0] > 0).sum())),
        Square(f"{name}: drift from the model's flow, in noises", drift, int(seen.sum())),
        Square(f"{name}: distance from the model's flow, in noises", part.square, part.number),
    )
    return [square for square in squares if square.dof]


def _power(part: Evidence, level: float, significance: float, noise_dof: float, betas: int) -> Row:
    """Return a row on the change of the response that fails its test with probability 1 - significance."""
    reach = two_sided(level, noise_dof) + one_sided(significance, noise_dof)
    seen = reach / math.sqrt(part.information) if part.information else math.inf
    name = POWER if betas == 1 else f"beta = {part.beta:g}: {POWER}"
    return Row(name, seen, high=1.0, note=f"with probability {1 - significance:.4g}; dead 1, flipped 2")
