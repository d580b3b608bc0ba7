"""The claim on simulators and devices that are known only by their relaxations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop.black_box import BlackBox
from equiprop.checks import check_type, real, require, whole
from equiprop.costs import Cost, SquaredError
from equiprop.verify.device import MOST_REPEATS, Compared, Measured, bind
from equiprop.verify.device_causes import advice_on
from equiprop.verify.model_parts import kept_values
from equiprop.verify.noisy_black_box import POWER, judge_device
from equiprop.verify.reference import spread
from equiprop.verify.timed import Timed, Work
from equiprop.verify.verdict import Row, Verdict

_Floats = NDArray[np.float64]
#: Smallest derivative that counts as an effect.
_TINY = float(np.finfo(np.float64).tiny)
#: Fields of a report whose check did not end.
_UNKNOWN = MappingProxyType({"estimate": np.zeros(0), "differences": np.zeros(0)})
#: Default step of differences without repeats.
_STEP = 1e-3


@dataclass(frozen=True, kw_only=True)
class BlackBoxReport(Verdict):
    """EqProp of a black box compared with finite differences.

    Attributes
    ----------
    estimate, differences : (chosen,)
        Centered EqProp, and finite differences of its surrogate, for the chosen parameters; with `repeats`,
        along the direction of EqProp and along that of random differences.
    measured : Measured, optional
        The device with the samples.
    """

    claim: ClassVar[str] = "black-box"
    statement: ClassVar[str] = (
        "EqProp between -beta and beta is the gradient of the mean of C(s^beta) over that interval, as "
        "finite differences of the device itself measure it (Scellier et al. 2023)."
    )

    estimate: _Floats = field(repr=False)
    differences: _Floats = field(repr=False)
    measured: Measured | None = field(repr=False, default=None)

    @property
    def inconclusive(self) -> bool:
        """True if noise explains every deviation, but would also hide a device that does not respond."""
        return [row.label for row in self.rows if not row.passed] == [POWER]


def black_box(
    box: BlackBox,
    x: Any,
    y: Any,
    *,
    beta: float = 0.1,
    step: float | None = None,
    cost: Cost = SquaredError(),  # noqa: B008
    tolerance: float = 1e-5,
    max_differences: int = 16,
    repeats: int | None = None,
    significance: float = 0.01,
    time_limit: float | None = None,
    progress: bool = False,
) -> BlackBoxReport:
    """Check EqProp on a device of which only relaxations and contrasts are known.

    Centered EqProp at a finite beta is the exact gradient of the mean of C(s^b) over b in [-beta, beta]. The
    function computes the mean with eight Gauss-Legendre points, and its gradient by five-point differences in
    each parameter. With `repeats`, it tests the slopes of the cost along two directions statistically, for
    devices with noise (docs/recordings.md). Source: Scellier et al. (2023).

    Parameters
    ----------
    box : BlackBox
    x : (batch, inputs) array
    y : (batch, outputs) array, or (batch,) integer labels
    beta : float, positive
    step : float, positive, optional
        Step of the differences in units of the parameters; by default 1e-3. With `repeats`, root mean square
        of the changes of all parameters, by default that at which noise gives a slope to 3 %.
    cost : SquaredError or CrossEntropy, in the nudge of the device
    tolerance : float, without `repeats` the limit of the errors over the largest entry of the gradient
    max_differences : int
        Largest number of parameters, or of random directions, for differences.
    repeats : int, at least 3, optional
        Number of measurements of each kind, for standard errors.
    significance : float
        With `repeats`, largest probability that noise makes a right device fail, or a dead one pass.
    time_limit, progress : see `equivalence`

    Examples
    --------
    >>> import equiprop as eq
    >>> def relax(x, beta, y):  # E = theta s^2 / 2 - x s, C = (s - y)^2 / 2
    ...     return np.stack([np.zeros_like(x), (x + beta * y) / (theta + beta)])
    >>> theta = np.array([2.0])
    >>> box = eq.verify.BlackBox(relax, lambda x, s: (s**2 / 2).sum(axis=0), theta, num_outputs=1)
    >>> eq.verify.black_box(box, [[1.0]], np.array([[1.0]]), tolerance=1e-3).rows[0].passed
    True
    """
    check_type(box, BlackBox, "black_box", "box is a BlackBox")
    timed = Timed("black_box", time_limit, progress)
    tolerance = real(tolerance, "black_box", "tolerance")
    beta, most = _checked(beta, step, max_differences)
    measured, noisy = bind(box, x, y, cost), {} if repeats is None else _noisy(repeats, significance)
    settings = {"beta": beta, "step": step, "tolerance": tolerance, "max_differences": max_differences}
    given = {"settings": settings | noisy, "measured": measured}
    check = _work(measured, settings, most, noisy)
    return timed.verdict(BlackBoxReport, kept_values(box.parameters), given, check, _UNKNOWN)


def _work(measured: Measured, settings: Mapping[str, Any], most: int, noisy: Mapping[str, Any]) -> Work:
    """Return the check of a device, with noise if `noisy` has settings."""
    beta, step, tolerance = (settings[name] for name in ("beta", "step", "tolerance"))
    if noisy:
        return lambda rows: _judge(measured, beta, step, most, noisy, rows)
    fixed, chosen = _STEP if step is None else step, spread(len(measured.box.parameters), most)
    return lambda rows: _compare(measured, chosen, beta, fixed, tolerance, rows)


def _noisy(repeats: Any, significance: Any) -> dict[str, Any]:
    """Return the checked settings of a device with noise."""
    repeats = whole(repeats, "black_box", "repeats", 3, MOST_REPEATS)
    significance = real(significance, "black_box", "significance")
    require(0 < significance < 0.5, "black_box", "significance is between 0 and 0.5", significance)
    return {"repeats": repeats, "significance": significance}


def _judge(
    measured: Measured,
    beta: float,
    step: float | None,
    directions: int,
    noisy: Mapping[str, Any],
    rows: list[Row],
) -> dict[str, Any]:
    """Append the rows on a device with noise, and return the other fields of the report."""
    judged = judge_device(measured, beta, step, noisy["repeats"], noisy["significance"], directions)
    rows += judged.rows
    return {
        "advice": judged.advice,
        "estimate": np.array([slope.predicted.mean() for slope in judged.slopes]),
        "differences": np.array([slope.measured.mean() for slope in judged.slopes]),
    }


def _compare(
    measured: Measured,
    chosen: NDArray[np.int64],
    beta: float,
    step: float,
    tolerance: float,
    rows: list[Row],
) -> dict[str, Any]:
    """Append the rows on a device without noise, and return the other fields of the report."""
    estimate, differences, objective = measured.derivatives(beta, chosen, step)
    rows += _rows(measured, estimate, differences, objective, beta, tolerance)
    compared = Compared(chosen, estimate, differences, tuple(rows), beta, step, tolerance)
    return {
        "advice": advice_on(measured, compared),
        "estimate": estimate,
        "differences": differences,
    }


def _checked(beta: float, step: float | None, max_differences: int) -> tuple[float, int]:
    beta, size = real(beta, "black_box", "beta"), 1.0 if step is None else real(step, "black_box", "step")
    most = whole(max_differences, "black_box", "max_differences", 1)
    if not (0 < beta < np.inf and 0 < size < np.inf):
        raise ValueError(f"[black_box] beta and step are positive numbers. Received {beta} and {step}.")
    return beta, most


def _rows(
    measured: Measured,
    estimate: _Floats,
    differences: _Floats,
    objective: _Floats,
    beta: float,
    tolerance: float,
) -> tuple[Row, ...]:
    scale = float(np.abs(differences).max(initial=0.0)) or 1.0
    error, bias = (float(np.abs(estimate - d).max(initial=0.0)) / scale for d in (differences, objective))
    above, free, below = (measured.cost(b) for b in (-beta, 0.0, beta))
    return (
        Row("EqProp = differences of its surrogate", error, high=tolerance),
        Row("EqProp against differences of J (bias of beta)", bias),
        Row("last change of the state, over its whole change", measured.unrest(beta), high=tolerance * beta),
        Row("cost at -beta less cost at 0", above - free, low=0.0),
        Row("cost at 0 less cost at beta", free - below, low=0.0),
        Row("largest |dJ/dtheta|", float(np.abs(objective).max(initial=0.0)), low=_TINY),
    )
