"""The claim on simulators and devices that are known only by their relaxations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import check_type, real, whole
from equiprop.costs import Cost, SquaredError
from equiprop.verify.device import BlackBox, Compared, Measured, bind
from equiprop.verify.device_causes import advice_on
from equiprop.verify.reference import spread
from equiprop.verify.verdict import Row, Verdict

_Floats = NDArray[np.float64]
#: Smallest derivative that counts as an effect.
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, kw_only=True)
class BlackBoxReport(Verdict):
    """EqProp of a black box compared with finite differences.

    Attributes
    ----------
    estimate, differences : (chosen,)
        Centered EqProp, and finite differences of its surrogate, for the chosen parameters.
    """

    claim: ClassVar[str] = "black-box"
    statement: ClassVar[str] = (
        "EqProp between -beta and beta is the gradient of the mean of C(s^beta) over that interval, as "
        "finite differences of the device itself measure it (Scellier et al. 2023)."
    )

    estimate: _Floats = field(repr=False)
    differences: _Floats = field(repr=False)


def black_box(
    box: BlackBox,
    x: Any,
    y: Any,
    *,
    beta: float = 0.1,
    step: float = 1e-3,
    cost: Cost = SquaredError(),  # noqa: B008
    tolerance: float = 1e-5,
    max_differences: int = 16,
) -> BlackBoxReport:
    """Check EqProp on a device of which only relaxations and contrasts are known.

    Centered EqProp at a finite beta is the exact gradient of the mean of C(s^b) over b in [-beta, beta]. The
    function computes the mean with eight Gauss-Legendre points, and its gradient by five-point differences in
    each parameter. The bias of beta is shown without a limit. Source: Scellier et al. (2023).

    Parameters
    ----------
    box : BlackBox
    x : (batch, inputs) array
    y : (batch, outputs) array, or (batch,) integer labels
    beta, step : float, positive
        Nudging factor, and step of the differences in units of the parameters.
    cost : SquaredError or CrossEntropy
        The cost in the nudge of the device.
    tolerance : float
        Limit of the errors, relative to the largest entry of the gradient; for a real device, its noise.
    max_differences : int
        Largest number of parameters for which differences are computed; they are spread over all.

    Returns
    -------
    BlackBoxReport

    Raises
    ------
    TypeError, ValueError
        If an argument or a result of the device has a wrong type or shape, or is not finite.

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
    tolerance = real(tolerance, "black_box", "tolerance")
    beta, step, most = _checked(beta, step, max_differences)
    settings = {"beta": beta, "step": step, "tolerance": tolerance, "max_differences": max_differences}
    return _compare(bind(box, x, y, cost), spread(len(box.parameters), most), beta, step, tolerance, settings)


def _compare(
    measured: Measured,
    chosen: NDArray[np.int64],
    beta: float,
    step: float,
    tolerance: float,
    settings: Mapping[str, Any],
) -> BlackBoxReport:
    estimate, differences, objective = measured.derivatives(beta, chosen, step)
    rows = _rows(measured, estimate, differences, objective, beta, tolerance)
    compared = Compared(chosen, estimate, differences, rows, beta, step, tolerance)
    return BlackBoxReport(
        settings=settings,
        rows=rows,
        advice=advice_on(measured, compared),
        estimate=estimate,
        differences=differences,
    )


def _checked(beta: float, step: float, max_differences: int) -> tuple[float, float, int]:
    beta, step = real(beta, "black_box", "beta"), real(step, "black_box", "step")
    most = whole(max_differences, "black_box", "max_differences", 1)
    if not (0 < beta < np.inf and 0 < step < np.inf):
        raise ValueError(f"[black_box] beta and step are positive numbers. Received {beta} and {step}.")
    return beta, step, most


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
