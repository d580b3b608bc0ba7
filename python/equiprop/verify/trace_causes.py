"""Causes for which recordings with noise differ from the model, and data that would decide more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from equiprop.verify.confidence import most_probable
from equiprop.verify.evidence import Evidence, Factor
from equiprop.verify.noise import Noise, found
from equiprop.verify.problem import Problem
from equiprop.verify.recordings import Recordings
from equiprop.verify.significance import survival

_Floats = NDArray[np.float64]
#: Part by which an advised beta or number of repeats exceeds the estimated one.
_MARGIN = 1.3
#: Number of standard errors by which a factor of the response is distinct from 0; more for a factor so small
#: that noise which is not independent may explain it.
_DISTINCT, _SMALL = 3, (5, 0.5)


def other_noise(
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


@dataclass(frozen=True)
class Cause:
    """A cause of a deviation: the recording less its effect, the number of fitted numbers, and a sentence."""

    left: Evidence
    numbers: int
    sentence: str


def cause(
    problem: Problem,
    part: Evidence,
    flow: Callable[[float], _Floats],
    level: float,
    noise_dof: float,
    excess: float,
) -> list[str]:
    """Return advice on the cause that explains the deviation with the fewest numbers.

    The choice minimises the Bayesian information criterion, the remaining sum of squares over the noise plus
    the number of fitted numbers times the logarithm of the number of recorded ones (Schwarz 1978). The
    difference of two criteria is twice the logarithm of the odds of the causes, which gives the probability
    of the best. Then what remains is tested for more than noise. `excess` is the variance of the noise over
    the stated one; if it is more than 1, the advice may be empty.
    """
    price = math.log(part.number) * excess
    causes = list(_causes(problem, part, flow))
    criteria = np.array([cause.left.square + cause.numbers * price for cause in causes]) / excess
    best, probability = causes[criteria.argmin()], 1 / float(np.exp((criteria.min() - criteria) / 2).sum())
    gain = (part.square - best.left.square) / (excess * best.numbers)
    explains = survival(gain, best.numbers, noise_dof) <= level
    rest, numbers = (best.left, best.numbers) if explains else (part, 0)
    dof = max(part.number - numbers, 1)
    complete = survival(rest.square / (excess * dof), dof, noise_dof) > level
    name, nearest = f"beta = {part.beta:g}: ", f" The nearest is: {best.sentence}" if explains else ""
    if complete and explains:
        return [most_probable(name + best.sentence, probability)]
    return [] if complete and excess > 1 else [name + _remainder(problem, rest, nearest)]


def _causes(problem: Problem, part: Evidence, flow: Callable[[float], _Floats]) -> Iterator[Cause]:
    """Yield the causes that are known by their effect in time, or in one unit."""
    yield from in_one_place(problem, part)
    nudge = fitted_nudge(part, flow)
    if nudge is not None:
        factor, left = nudge
        yield Cause(left, 1, of_nudge(factor))
    for shift, word in ((1, "late"), (-1, "early")):
        moved = np.roll(part.flow, shift, axis=0)
        end = 0 if shift == 1 else -1
        moved[end] = part.flow[end]
        yield Cause(replace(part, flow=moved), 1, f"the recording is one step {word}.")
    offset = (
        "the recording has a constant distance from the model's flow: it does not start at the free fixed "
        "point, or the instrument has an offset."
    )
    drift = "the recording drifts away from the model's flow in proportion to time."
    for course, sentence in ((part.times**0, offset), (part.times, drift)):
        multiples, seen = part.fitted(course)
        if seen.any():
            yield Cause(replace(part, flow=part.flow + course * multiples), int(seen.sum()), sentence)


def in_one_place(problem: Problem, part: Evidence) -> Iterator[Cause]:
    """Yield the causes that one unit has another response, and that one recorded number is an outlier."""
    squares = part.weights * part.rest**2
    step, sample, unit = np.unravel_index(int(squares.argmax()), squares.shape)
    weights = part.weights.copy()
    weights[step, sample, unit] = 0
    yield Cause(
        replace(part, weights=weights),
        2,
        f"one number is an outlier: {_unit(problem, int(unit))} at step {step} of sample {sample} is "
        f"{part.path[step, sample, unit]:.3g} and should be {part.flow[step, sample, unit]:.3g}. If it was "
        "misread, replace it by NaN.",
    )
    information = (part.weights * part.response**2).sum(axis=(0, 1))
    agreement = (part.weights * part.response * part.rest).sum(axis=(0, 1))
    gains = np.divide(agreement, information, out=np.zeros_like(agreement), where=information > 0)
    best = int((gains * agreement).argmax())
    moved = part.flow.copy()
    moved[:, :, best] += gains[best] * part.response[:, :, best]
    sentence = (
        f"{_unit(problem, best)} has {1 + gains[best]:.3g} times its response in the model. Check the gain "
        "and the nudge of this unit."
    )
    yield Cause(replace(part, flow=moved), 2, sentence)


def _unit(problem: Problem, number: int) -> str:
    """Return the name of a unit: its number in its layer."""
    layers = problem.model.layer_slices.items()
    name, at = next((name, at) for name, at in layers if at.start <= number < at.stop)
    return f"unit {number - at.start} of {name}"


def _remainder(problem: Problem, part: Evidence, nearest: str) -> str:
    """Return sentences on a deviation that no single cause explains, and on the nearest one."""
    squares = part.weights * part.rest**2
    sizes: dict[str, float] = {}
    for name, at in problem.model.layer_slices.items():
        number = int(np.count_nonzero(part.weights[:, :, at]))
        sizes[name] = math.sqrt(float(squares[:, :, at].sum()) / max(number, 1))
    layer = max(sizes, key=lambda name: sizes[name])
    return (
        "no single one of a scaled nudge, a shift in time, an offset, a drift, and a fault of one unit or of "
        "one number explains the deviation."
        f"{nearest} The rest is largest in {layer}: {sizes[layer]:.3g} times the noise, root mean square. "
        f"Its correlation from one step to the next is {part.correlation:.2g}, and that of independent noise "
        "is near 0."
    )


def fitted_nudge(part: Evidence, flow: Callable[[float], _Floats]) -> tuple[Factor, Evidence] | None:
    """Return the multiple of beta with which the model follows the recording best, and what is left.

    The function takes Gauss-Newton steps; it returns None if the model does not respond.
    """
    factor, width, information = 0.0, 1e-3, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(5):
            here = replace(part, flow=flow(factor * part.beta))
            slope = (flow((factor + width) * part.beta) - here.flow) / width
            information = float((part.weights * slope**2).sum())
            factor += float((part.weights * slope * here.rest).sum()) / (information or math.nan)
            if not (math.isfinite(factor) and math.isfinite(information)):
                return None
        left = replace(part, flow=flow(factor * part.beta))
        if not math.isfinite(left.square):
            return None
    return Factor("", factor, 1.0, 1 / math.sqrt(information)), left


def of_nudge(nudge: Factor) -> str:
    """Return a sentence on the multiple of the model's nudge that fits a recording best."""
    value = f"the nudge of the model times {nudge.value:.3g}"
    if nudge.error:
        value += f", with a standard error of {nudge.error:.2g}"
    reach = max(_DISTINCT * nudge.error, min(_SMALL[0] * nudge.error, _SMALL[1]), 0.01)
    if abs(nudge.value) < reach:
        other = " A response of the opposite sign fits too." if nudge.value + 1 < reach else ""
        check = "Check that the nudge reaches the device."
        return f"the recording shows no response. It fits {value}.{other} {check}"
    if nudge.value < 0:
        return f"the response has the opposite sign. It fits {value}. Change the sign of the nudge."
    return f"the recording fits {value}: the cost or beta is scaled by this factor."


def more_data(part: Evidence, recordings: Recordings, flow: Callable[[float], _Floats], seen: float) -> str:
    """Return the sentence on the repeats or the beta that would tell a dead device from a true one."""
    name = f"beta = {part.beta:g}: "
    if math.isinf(seen):
        return (
            f"{name}The model does not respond to the nudge at these samples, so no recording of them tells "
            "a device that responds from one that does not. Choose targets that differ from the outputs."
        )
    present = int(recordings.counts[part.beta].max())
    repeats = math.ceil(_MARGIN * present * seen**2)
    larger = _stronger(part, flow, seen)
    beta = "" if larger is None else f", or use beta = {larger:.3g} in place of {part.beta:g}"
    device = "a dead device" if seen <= 2 else "a dead device or a nudge of the wrong sign"
    return (
        f"{name}The recordings do not tell the model from {device}: a change of the response would be seen "
        f"from {seen:.3g} times the response on. Record {repeats} repeats in place of {present}{beta}."
    )


def _stronger(part: Evidence, flow: Callable[[float], _Floats], seen: float) -> float | None:
    """Return a beta at which the model's response would be sufficient, if one is found."""
    needed = _MARGIN * seen**2 * part.information
    beta = math.sqrt(_MARGIN) * seen * part.beta
    for _ in range(6):
        with np.errstate(over="ignore", invalid="ignore"):
            information = replace(part, flow=flow(beta)).information
        if needed <= information < math.inf:
            return beta
        beta *= 1.2
    return None
