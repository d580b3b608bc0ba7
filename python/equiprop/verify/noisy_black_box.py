"""Statistical tests of EqProp on a device with noise: slopes of the cost along two directions, from repeats.

The first direction is that of EqProp itself, from measurements of its own; the second one that of the
gradient as random differences of the cost show it. Along both, EqProp predicts the slope of the mean cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiprop.verify.best_beta import BestBeta, recommended, repeated
from equiprop.verify.confidence import certain
from equiprop.verify.device import Measured
from equiprop.verify.device_causes import of_memory
from equiprop.verify.repeats import Variation
from equiprop.verify.significance import one_sided, survival, two_sided
from equiprop.verify.verdict import Row
from equiprop.verify.watch import tracked

_Floats = NDArray[np.float64]
#: Label of the row on what the measurements can tell.
POWER = "smallest change of EqProp that would be seen"
#: Points of the Gauss rule for the mean cost over [-beta, beta]: exact for a cost of degree 5 in beta.
_NODES = 3
#: Largest part of a slope that the extrapolation of differences may change.
_TRUNCATED = 0.05
#: Smallest and largest step that is chosen, and the standard error of a slope that it should give.
_STEPS, _ACCURACY = (1e-4, 0.02), 0.03
#: Part of a slope that the Gauss rule and the precision of a device may change.
_FLOOR = 1e-3
#: Step of the random differences, which give a direction only.
_RANDOM_STEP = 0.02
#: Largest number of repeats that is advised.
_MANY = 1e9
#: Part by which an advised number of repeats exceeds the estimated one.
_MARGIN = 1.3


@dataclass(frozen=True)
class Slope:
    """Slopes of the mean cost along a direction, from repeats.

    Attributes
    ----------
    name : str
        The direction, in words.
    step : float
        Step of the differences.
    predicted, measured : (repeats,)
        By EqProp, and by differences of the cost, extrapolated to an error of order step^6.
    truncation : (repeats,)
        The changes of the differences by the extrapolation.
    remainder : float
        The change by its last stage, which is larger than the error that remains.
    """

    name: str
    step: float
    predicted: _Floats
    measured: _Floats
    truncation: _Floats
    remainder: float

    @property
    def gap(self) -> tuple[float, float]:
        """Mean and standard error of the predicted less the measured slope."""
        return mean_of(self.predicted - self.measured)

    def rows(self, level: float) -> tuple[Row, Row]:
        """Return the row of the gap, and that of the truncation."""
        (gap, error), dof = self.gap, len(self.measured) - 1
        (slope, slope_error), reach = mean_of(self.measured), two_sided(level, dof)
        change, change_error = mean_of(self.truncation)
        limit = reach * error + self.remainder + _FLOOR * abs(slope)
        p = survival((gap / error) ** 2, 1, dof) if error else float(gap == 0)
        note = f"standard error {error:.2g}, p = {p:.2g}; measured {slope:.3g} +- {slope_error:.1g}"
        most = _TRUNCATED * abs(slope) + reach * math.hypot(change_error, _TRUNCATED * slope_error)
        return (
            Row(f"slope along {self.name}: EqProp less differences", gap, -limit, limit, note),
            Row(
                f"slope along {self.name}: change by extrapolation",
                abs(change),
                high=most,
                note=f"step {self.step:.2g}",
            ),
        )


def mean_of(values: _Floats) -> tuple[float, float]:
    """Return the mean of repeats, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))


@dataclass(frozen=True)
class Judged:
    """Rows and advice of a statistical check, with the slopes along the two directions."""

    rows: tuple[Row, ...]
    advice: tuple[str, ...]
    slopes: tuple[Slope, Slope]


def judge_device(
    measured: Measured, beta: float, step: float | None, repeats: int, significance: float, directions: int
) -> Judged:
    """Test EqProp of a device against differences of its cost, with standard errors from repeats.

    Each of the four tests has the level `significance` / 4, so that noise alone fails any of them with at
    most the probability `significance` (Bonferroni). The tests are those of Student (1908) for the mean of
    repeats, which assume that the noise is independent from one relaxation to the next.
    """
    level = significance / 4
    own = _scaled(np.mean(_estimates(measured, beta, repeats), axis=0))
    other = _scaled(_random_gradient(measured, step or _RANDOM_STEP, directions))
    estimates = _estimates(measured, beta, repeats)
    free = np.array([measured.cost(0.0) for _ in range(repeats)])
    noise = float(free.std(ddof=1))
    first, second = (
        _slope(name, direction, measured, beta, step, estimates, noise)
        for name, direction in (("EqProp", own), ("random differences", other))
    )
    best = recommended(repeated(measured, beta, repeats), beta)
    seen = _seen(first, level, significance)
    rows = (
        Row("relaxations of each kind", repeats, note=f"noise of one cost {noise:.2g}"),
        Row("directions that are tested", 2, note=_of_directions(len(own))),
        *first.rows(level),
        *second.rows(level),
        *_costs(measured, beta, free, one_sided(level, repeats - 1)),
        Row("bias of beta, over the gradient", best.bias / best.size),
        Row("best beta", best.beta, note=str(best)),
        Row(POWER, seen, high=1.0, note=f"with probability {1 - significance:.4g}; dead 1, flipped 2"),
    )
    if all(row.passed for row in rows):
        return Judged(rows, (), (first, second))
    memory = _memory(measured, beta, repeats, level)
    advice = [memory] if memory else _advice(rows, (first, second), seen, best)
    return Judged(rows, tuple(advice), (first, second))


def _of_directions(parameters: int) -> str:
    """Return the note on what two slopes do not show."""
    return f"of {parameters} parameters; an error of a few, which changes both slopes little, is not seen"


def _estimates(measured: Measured, beta: float, repeats: int) -> _Floats:
    """Return gradients of centered EqProp, (repeats, parameters)."""
    return np.array([measured.centered(beta) for _ in tracked(range(repeats))])


def _scaled(direction: _Floats) -> _Floats:
    """Return a direction with the root mean square 1; that of equal entries for 0."""
    size = math.sqrt(float(np.mean(direction**2)))
    return direction / size if size > 0 else np.ones_like(direction)


def _random_gradient(measured: Measured, step: float, directions: int) -> _Floats:
    """Return an estimate of the gradient from central differences along random signs (Spall 1992)."""
    theta, random = measured.box.parameters, np.random.default_rng(0)
    total = np.zeros(len(theta))
    for _ in tracked(range(directions)):
        signs = random.choice([-1.0, 1.0], len(theta))
        above, below = (_at(theta, k * step * signs, lambda: measured.cost(0.0)) for k in (1, -1))
        total += (above - below) * signs
    return total


def _at(theta: _Floats, change: _Floats, function: Callable[[], float]) -> float:
    """Return the value of a function after a change of all parameters, which are then restored."""
    kept = theta.copy()
    try:
        theta[:] = kept + change
        return function()
    finally:
        theta[:] = kept


def _slope(
    name: str,
    direction: _Floats,
    measured: Measured,
    beta: float,
    step: float | None,
    estimates: _Floats,
    noise: float,
) -> Slope:
    """Return the slopes along a direction that EqProp predicts and that differences of the cost show.

    Without a given step, it is the one at which the noise of a cost gives the slope to 3 %.
    """
    theta, predicted = measured.box.parameters, estimates @ direction
    if step is None:
        wanted = _ACCURACY * math.sqrt(len(estimates)) * abs(float(predicted.mean()))
        step = float(np.clip(noise / wanted if wanted else math.inf, *_STEPS))

    def difference(size: float) -> float:
        above, below = (
            _at(theta, sign * size * direction, lambda: measured.mean_cost(beta, _NODES)) for sign in (1, -1)
        )
        return (above - below) / (2 * size)

    fine, middle, coarse = (
        np.array([difference(k * step) for _ in tracked(predicted.tolist())]) for k in (1, 2, 4)
    )
    better, worse = (4 * fine - middle) / 3, (4 * middle - coarse) / 3
    last = (better - worse) / 15
    return Slope(name, step, predicted, better + last, better + last - fine, abs(float(last.mean())))


def _costs(measured: Measured, beta: float, free: _Floats, reach: float) -> tuple[Row, Row]:
    """Return rows on whether the nudge lowers the cost, as far as the noise allows."""
    above, below = (np.array([measured.cost(b) for _ in free]) for b in (-beta, beta))

    def row(label: str, change: _Floats) -> Row:
        mean, error = mean_of(change)
        return Row(label, mean, low=-reach * error, note=f"standard error {error:.2g}")

    return (
        row("cost at -beta less cost at 0", above - free),
        row("cost at 0 less cost at beta", free - below),
    )


def _seen(slope: Slope, level: float, significance: float) -> float:
    """Return the relative change of EqProp along its direction that fails a test with 1 - significance."""
    predicted, own = mean_of(slope.predicted)
    error, dof = max(slope.gap[1], own), len(slope.measured) - 1
    reach = (two_sided(level, dof) + one_sided(significance, dof)) * error
    return reach / abs(predicted) if predicted else math.inf


def _memory(measured: Measured, beta: float, repeats: int, level: float) -> str:
    """Return a sentence on a relaxation that differs if it follows one at another beta, or ""."""
    gaps = []
    for _ in tracked(range(repeats)):
        measured.trajectory(-beta)
        after_other, after_equal = (measured.trajectory(beta)[-1].ravel() for _ in range(2))
        gaps.append(after_other - after_equal)
    means, errors = np.mean(gaps, axis=0), np.std(gaps, axis=0, ddof=1) / math.sqrt(repeats)
    most = int(np.argmax(np.abs(means) / np.maximum(errors, np.finfo(np.float64).tiny)))
    size, error = abs(float(means[most])), float(errors[most])
    p = survival((size / error) ** 2, 1, repeats - 1) if error else float(size == 0)
    if p * len(means) > level:
        return ""
    evidence = f"relaxations at beta end {size:.1e} apart, with a standard error of {error:.1g}"
    return certain(of_memory(Variation("memory", size, size), evidence))


def _advice(rows: Sequence[Row], slopes: Sequence[Slope], seen: float, best: BestBeta) -> list[str]:
    """Return sentences on why the check failed."""
    (first, second), found = slopes, []
    failed = [row.label for row in rows if not row.passed]
    gaps = [f"slope along {slope.name}: EqProp less differences" in failed for slope in slopes]
    coarse = [slope for slope in slopes if f"slope along {slope.name}: change by extrapolation" in failed]
    if seen > 1 and gaps[1]:
        found.append(_missing(second, seen))
    elif coarse:
        found.append(f"The differences depend on their step. Use a step below {coarse[0].step:.2g}.")
    elif gaps[0]:
        found.append(_scale(first))
    elif gaps[1]:
        found.append(_missing(second, seen))
    if any(label.startswith("cost at") for label in failed):
        found.append(
            "Nudging does not lower the cost: the nudge has the wrong sign, or another target than y."
        )
    if seen > 1 and not found:
        found.append(_more(first, seen, best))
    return found


def _scale(slope: Slope) -> str:
    """Return a sentence on EqProp whose slope along its own direction is not the measured one."""
    (predicted, own), (measured, error) = mean_of(slope.predicted), mean_of(slope.measured)
    if abs(measured) < 3 * error:
        return (
            f"EqProp predicts a slope of {predicted:.3g} along its own direction, and the cost has none "
            f"there ({measured:.1g} +- {error:.1g}): EqProp is not a gradient of this cost. Check that the "
            "parameters reach the device, and the contrast."
        )
    factor = predicted / measured
    spread = abs(factor) * math.hypot(own / predicted, error / measured)
    text = (
        f"EqProp is {factor:.3g} times the slope of the cost along its direction, with a standard error of "
    )
    if factor < 0:
        return f"{text}{spread:.1g}. Change the sign of the nudge, or of the contrast."
    return (
        f"{text}{spread:.1g}: the device is nudged by a multiple of the given cost or beta, or EqProp of "
        "some parameters is wrong."
    )


def _missing(slope: Slope, seen: float) -> str:
    """Return a sentence on a slope that differences show and EqProp does not predict."""
    (predicted, own), (measured, error) = mean_of(slope.predicted), mean_of(slope.measured)
    text = (
        f"Along random differences the cost has a slope of {measured:.3g} +- {error:.1g}, and EqProp "
        f"predicts {predicted:.2g} +- {own:.1g}: "
    )
    if seen > 1:
        return text + "EqProp shows no response. Check that the nudge reaches the device."
    return text + "EqProp misses a part of the gradient. Check the contrast of each kind of parameters."


def _more(slope: Slope, seen: float, best: BestBeta) -> str:
    """Return a sentence on what would tell EqProp of the model from that of a dead device."""
    repeats = math.ceil(min(_MARGIN * len(slope.measured) * seen**2, _MANY))
    of_device = float(slope.predicted.std()) > float(slope.measured.std())
    noisy, larger = ("EqProp", "beta") if of_device else ("the differences", "step")
    if of_device and 0 < best.beta < math.inf:
        larger = f"beta, up to {best.beta:.2g}"
    return (
        "The measurements do not tell EqProp of this device from that of a dead one: a change would be "
        f"seen from {seen:.3g} times EqProp on. Most of the noise is that of {noisy}. Use about {repeats} "
        f"repeats in place of {len(slope.measured)}, or a larger {larger}."
    )
