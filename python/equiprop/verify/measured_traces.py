"""Statistical tests of recordings with noise against the flow of the model, and their power."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import require
from equiprop.verify.equivalence import equivalence
from equiprop.verify.noise import Noise, found
from equiprop.verify.problem import Problem
from equiprop.verify.recordings import Recordings
from equiprop.verify.significance import limit, one_sided, survival, two_sided
from equiprop.verify.verdict import Row

_Floats = NDArray[np.float64]
#: Label of the row on what the recordings can tell.
POWER = "smallest change of the response that would be seen"
#: Part by which an advised beta or number of repeats exceeds the estimated one.
_MARGIN = 1.3


@dataclass(frozen=True)
class Factor:
    """A normal figure with its expected value and its standard error."""

    label: str
    value: float
    expected: float
    error: float

    def row(self, level: float, noise_dof: float) -> Row:
        """Return the figure with the limits that it leaves with probability `level` by noise alone."""
        reach = two_sided(level, noise_dof) * self.error
        p = survival(((self.value - self.expected) / self.error) ** 2, 1, noise_dof)
        note = f"standard error {self.error:.2g}, p = {p:.2g}"
        return Row(self.label, self.value, self.expected - reach, self.expected + reach, note)


@dataclass(frozen=True)
class Square:
    """A sum of squares of deviations over their variances, shown as a root mean square."""

    label: str
    sum: float
    dof: int

    def row(self, level: float, noise_dof: float) -> Row:
        """Return the root mean square with the limit that it exceeds with probability `level`."""
        mean = self.sum / self.dof
        spread = 2 * self.dof + 4 * max(self.sum - self.dof, 0.0) + 2 * self.sum**2 / noise_dof
        error = math.sqrt(spread) / (2 * math.sqrt(self.sum * self.dof)) if self.sum else 0.0
        p = survival(mean, self.dof, noise_dof)
        note = f"standard error {error:.2g}, p = {p:.2g}, {self.dof} degrees of freedom"
        return Row(self.label, math.sqrt(mean), high=math.sqrt(limit(level, self.dof, noise_dof)), note=note)


@dataclass(frozen=True)
class Evidence:
    """The recordings at one beta, and the states of the model.

    Attributes
    ----------
    beta : float
    path, flow : (steps + 1, batch, units)
        Mean recorded states (0 if not recorded), and states of the model.
    weights : (steps + 1, batch, units)
        One over the variances of `path`; 0 for states that were not recorded.
    """

    beta: float
    path: _Floats
    flow: _Floats
    weights: _Floats

    @cached_property
    def rest(self) -> _Floats:
        """Recorded states less those of the model; 0 if not recorded."""
        rest: _Floats = np.where(self.weights > 0, self.path - self.flow, 0.0)
        return rest

    @cached_property
    def response(self) -> _Floats:
        """The states of the model less its fixed point."""
        response: _Floats = self.flow - self.flow[0]
        return response

    @property
    def information(self) -> float:
        """One over the variance of the measured factor of the response."""
        return float((self.weights * self.response**2).sum())

    @property
    def agreement(self) -> float:
        """`information` times the difference of the factor from 1."""
        return float((self.weights * self.response * self.rest).sum())

    @property
    def square(self) -> float:
        """The sum of squares of the whole deviation, in variances."""
        return float((self.weights * self.rest**2).sum())

    def explained(self, shape: _Floats) -> tuple[float, int]:
        """Return the sum of squares that multiples of a course in time explain, and their number.

        Every unit has a multiple of its own of `shape`, (steps + 1, 1, 1).
        """
        information = (self.weights * shape**2).sum(axis=0)
        seen = information > 0
        projections = (self.weights * shape * self.rest).sum(axis=0)[seen]
        return float((projections**2 / information[seen]).sum()), int(seen.sum())

    @property
    def number(self) -> int:
        """The number of recorded numbers."""
        return int(np.count_nonzero(self.weights))

    @property
    def times(self) -> _Floats:
        """The numbers of the steps, (steps + 1, 1, 1)."""
        return np.arange(len(self.flow), dtype=np.float64)[:, None, None]


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
    tests += [[_response("all betas", evidence)]] if len(evidence) > 1 else []
    level = significance / sum(map(len, tests))
    groups = [[test.row(level, noise.dof) for test in group] for group in tests]
    seen = _seen(evidence, level, significance, noise.dof)
    power = Row(POWER, seen, high=1.0, note=f"with probability {1 - significance:.4g}; dead 1, flipped 2")
    rows = (*_data(recordings, noise), *(row for group in groups for row in group), power)
    if all(row.passed for row in rows):
        return rows, ()
    other, excess = _other_noise(noise, recordings, {part.beta: part.flow for part in evidence})
    advice = [*other]
    for part, group in zip(evidence, groups, strict=False):
        if not all(row.passed for row in group):
            advice.append(_causes(problem, part, flow, level, excess))
    if not power.passed:
        advice.append(_more_data(evidence, recordings, flow, seen))
    return rows, tuple(advice)


def _evidence(beta: float, recordings: Recordings, flow: _Floats, noise: Noise) -> Evidence:
    require(recordings.finite, "traces", "Recorded states with noise are finite, or NaN", "infinity")
    some = bool(recordings.counts[beta][1:].any())
    require(some, "traces", "Some states after state 0 are recorded", f"only NaN for beta = {beta:g}")
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


def _factors(part: Evidence, velocity: Callable[[Evidence], Factor]) -> list[Factor]:
    """Return the factors of response and velocity, without those on which the recordings say nothing."""
    factors = (_response(f"beta = {part.beta:g}", [part]), velocity(part))
    return [factor for factor in factors if math.isfinite(factor.error)]


def _response(name: str, evidence: Sequence[Evidence]) -> Factor:
    """Return the factor that the recorded response has to that of the model, by weighted least squares."""
    information = math.fsum(part.information for part in evidence)
    factor = 1 + sum(part.agreement for part in evidence) / information if information else math.nan
    error = 1 / math.sqrt(information) if information else math.inf
    return Factor(f"{name}: response over that of the model", factor, 1.0, error)


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
    squares = (
        Square(f"{name}: state 0 from the fixed point, in noises", start, int((part.weights[0] > 0).sum())),
        Square(f"{name}: drift from the model's flow, in noises", *part.explained(part.times)),
        Square(f"{name}: distance from the model's flow, in noises", part.square, part.number),
    )
    return [square for square in squares if square.dof]


def _seen(evidence: Sequence[Evidence], level: float, significance: float, noise_dof: float) -> float:
    """Return the change of the response that fails its test with probability 1 - significance."""
    information = sum(part.information for part in evidence)
    if not information:
        return math.inf
    return (two_sided(level, noise_dof) + one_sided(significance, noise_dof)) / math.sqrt(information)


def _other_noise(
    noise: Noise, recordings: Recordings, flow: Mapping[float, _Floats]
) -> tuple[list[str], float]:
    """Return a sentence if a stated noise is not that of the recordings, and their variance over it, >= 1."""
    measured = found(recordings, flow) if math.isinf(noise.dof) else None
    if measured is None or abs(measured.typical - noise.typical) < 5 * measured.error:
        return [], 1.0
    sentence = (
        f"The noise of the recordings is {measured.typical:.3g} with a standard error of "
        f"{measured.error:.1g} ({measured.source}), and not {noise.typical:.3g} as stated."
    )
    return [sentence], max(1.0, (measured.typical / noise.typical) ** 2)


def _causes(
    problem: Problem,
    part: Evidence,
    flow: Callable[[float], _Floats],
    level: float,
    excess: float,
) -> str:
    """Return a sentence on the cause that explains the deviation with the fewest numbers.

    The choice minimises the Bayesian information criterion, the remaining sum of squares over the noise plus
    the number of fitted numbers times the logarithm of the number of recorded ones (Schwarz 1978). A cause
    has to explain more than noise does with the probability `level`.
    """
    price = math.log(part.number) * excess
    cause = min(_explanations(part, flow), key=lambda cause: cause.left + cause.numbers * price)
    gain = (part.square - cause.left) / excess
    significant = survival(gain / cause.numbers, cause.numbers, math.inf) <= level
    return f"beta = {part.beta:g}: {cause.sentence if significant else _largest(problem, part)}"


@dataclass(frozen=True)
class _Cause:
    """A cause: the sum of squares that it leaves, the number of fitted numbers, and its sentence."""

    left: float
    numbers: int
    sentence: str


def _explanations(part: Evidence, flow: Callable[[float], _Floats]) -> Iterator[_Cause]:
    nudge = _fitted_nudge(part, flow)
    if nudge is not None:
        factor, left = nudge
        yield _Cause(left, 1, _scaled(factor))
    for shift, word in ((1, "late"), (-1, "early")):
        moved = np.roll(part.flow, shift, axis=0)
        end = 0 if shift == 1 else -1
        moved[end] = part.flow[end]
        yield _Cause(replace(part, flow=moved).square, 1, f"the recording is one step {word}.")
    offset = (
        "the recording has a constant distance from the model's flow: it does not start at the free fixed "
        "point, or the instrument has an offset."
    )
    drift = "the recording drifts away from the model's flow in proportion to time."
    for course, sentence in ((part.times**0, offset), (part.times, drift)):
        gain, numbers = part.explained(course)
        if numbers:
            yield _Cause(part.square - gain, numbers, sentence)


def _fitted_nudge(part: Evidence, flow: Callable[[float], _Floats]) -> tuple[Factor, float] | None:
    """Return the multiple of beta with which the model follows the recording best, and its sum of squares.

    The function takes Gauss-Newton steps; it returns None if the model does not respond.
    """
    factor, width = 0.0, 1e-3
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(5):
            here = replace(part, flow=flow(factor * part.beta))
            slope = (flow((factor + width) * part.beta) - here.flow) / width
            information = float((part.weights * slope**2).sum())
            factor += float((part.weights * slope * here.rest).sum()) / (information or math.nan)
            if not (math.isfinite(factor) and math.isfinite(information)):
                return None
        left = replace(part, flow=flow(factor * part.beta)).square
    if not math.isfinite(left):
        return None
    return Factor("", factor, 1.0, 1 / math.sqrt(information)), left


def _scaled(nudge: Factor) -> str:
    value = f"the nudge of the model times {nudge.value:.3g}, with a standard error of {nudge.error:.2g}"
    if abs(nudge.value) < max(5 * nudge.error, 0.01):
        return f"the recording shows no response. It fits {value}. Check that the nudge reaches the device."
    if nudge.value < 0:
        return f"the response has the opposite sign. It fits {value}. Change the sign of the nudge."
    return f"the recording fits {value}: the cost or beta is scaled by this factor."


def _largest(problem: Problem, part: Evidence) -> str:
    """Return a sentence on a deviation of another form, with the layer in which it is largest."""
    squares = part.weights * part.rest**2
    sizes: dict[str, float] = {}
    for name, at in problem.model.layer_slices.items():
        number = int(np.count_nonzero(part.weights[:, :, at]))
        sizes[name] = math.sqrt(float(squares[:, :, at].sum()) / max(number, 1))
    layer = max(sizes, key=lambda name: sizes[name])
    return (
        "neither a scaled nudge nor a shift in time, an offset or a drift explains the deviation. Its root "
        f"mean square is largest in {layer}: {sizes[layer]:.3g} times the noise."
    )


def _more_data(
    evidence: Sequence[Evidence], recordings: Recordings, flow: Callable[[float], _Floats], seen: float
) -> str:
    """Return the sentence on the repeats or the beta that would tell a dead device from a true one."""
    if math.isinf(seen):
        return (
            "The model does not respond to the nudge at these samples, so no recording of them tells a "
            "device that responds from one that does not. Choose targets that differ from the outputs."
        )
    present = max(int(counts.max()) for counts in recordings.counts.values())
    repeats = math.ceil(_MARGIN * present * seen**2)
    strongest = max(abs(beta) for beta in recordings.means)
    factor = _stronger(evidence, flow, seen)
    beta = "" if factor is None else f", or use beta = {factor * strongest:.2g} in place of {strongest:g}"
    device = "a dead device" if seen <= 2 else "a dead device or a nudge of the wrong sign"
    return (
        f"The recordings do not tell the model from {device}: a change of the response would be seen from "
        f"{seen:.3g} times the response on. Record {repeats} repeats in place of {present}{beta}."
    )


def _stronger(evidence: Sequence[Evidence], flow: Callable[[float], _Floats], seen: float) -> float | None:
    """Return a factor of every beta with which the model's response would be sufficient, if one is found."""
    needed = _MARGIN * seen**2 * math.fsum(part.information for part in evidence)
    factor = math.sqrt(_MARGIN) * seen
    for _ in range(6):
        parts = [replace(part, flow=flow(factor * part.beta)) for part in evidence]
        with np.errstate(over="ignore", invalid="ignore"):
            information = math.fsum(part.information for part in parts)
        if needed <= information < math.inf:
            return factor
        factor *= 1.2
    return None
