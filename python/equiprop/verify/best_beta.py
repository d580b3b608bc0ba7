"""The nudging factor between noise, which falls with beta, and bias, which rises, both measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.black_box import BlackBox
from equiprop.checks import check_type, of_normal_size, whole
from equiprop.costs import Cost, SquaredError
from equiprop.verify.device import MOST_REPEATS, Measured, bind
from equiprop.verify.timed import Timed
from equiprop.verify.watch import TimeUp, progress_lines, tracked

_Floats = NDArray[np.float64]
_WHERE = "best_beta"
#: Noise of this part of the gradient is that of rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class BestBeta:
    r"""The beta of centered Equilibrium Propagation with the smallest expected error of the gradient.

    The squared error is :math:`v / (m \beta^2) + c^2 \beta^4`, with the noise v, of which m gradients take
    the mean, and the bias :math:`c \beta^2`. It is smallest at :math:`\beta = (v / (2 m c^2))^{1/6}`.

    Attributes
    ----------
    beta : float
        The recommended beta; infinity if no bias was seen, and 0 if there is no noise.
    error : float
        Standard error of `beta`; NaN if beta is 0 or infinite.
    measured_at : float
        The beta of the measurements.
    noise, bias : float
        Length of the noise of one gradient, and of its bias, at `measured_at`.
    size : float
        Length of the mean gradient.
    repeats : int
        Number of gradients at each beta.
    left_out : str
        How many repeats the limit of time left out; empty if none.
    """

    beta: float
    error: float
    measured_at: float
    noise: float
    bias: float
    size: float
    repeats: int
    left_out: str = ""

    def __str__(self) -> str:
        part = f"noise {self.noise / self.size:.2g} and bias {self.bias / self.size:.2g} of the gradient"
        left_out = f"{self.left_out} " if self.left_out else ""
        text = f"{left_out}At beta = {self.measured_at:g}, one gradient has {part}."
        if self.beta == 0:
            return f"{text} There is no noise: the smaller beta, the better."
        if math.isinf(self.beta):
            return f"{text} The bias is not seen in the noise: use a larger beta, or more repeats."
        return f"{text} The error is smallest at beta = {self.beta:.2g}, standard error {self.error:.1g}."


def best_beta(
    box: BlackBox,
    x: Any,
    y: Any,
    *,
    beta: float = 0.1,
    cost: Cost = SquaredError(),  # noqa: B008
    repeats: int = 8,
    averages: int = 1,
    time_limit: float | None = None,
    progress: bool = False,
) -> BestBeta:
    """Recommend the beta of centered Equilibrium Propagation for a device with noise.

    The noise of gradients is estimated from repeats at beta and at 2 beta, and the bias from the difference
    of their means, less the noise of the means. The device relaxes 4 times for each repeat.

    Parameters
    ----------
    box : BlackBox
    x : (batch, inputs) array
    y : (batch, outputs) array, or (batch,) integer labels
    beta : float, positive
        The nudges are -2 beta, -beta, beta and 2 beta.
    cost : SquaredError or CrossEntropy
        The cost in the nudge of the device.
    repeats : int, at least 2
    averages : int
        Number of gradients whose noise averages out, as in the training steps that an optimizer averages.
    time_limit : float, positive, optional
        Seconds after which the repeats that are finished are evaluated.
    progress : bool
        If True, the finished repeats are shown on stderr.

    Returns
    -------
    BestBeta

    Raises
    ------
    TimeoutError
        If the time is up before two repeats are finished.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 8, 2], activation="tanh", seed=1)
    >>> device = eq.imperfect(net, noise=0.01)
    >>> best = eq.verify.best_beta(device, [[0.0, 1.0], [1.0, 0.0]], [0, 1], repeats=40)
    >>> bool(best.beta > 0.1)
    True
    """
    check_type(box, BlackBox, _WHERE, "box is a BlackBox")
    beta = of_normal_size(beta, _WHERE, "beta")
    repeats = whole(repeats, _WHERE, "repeats", 2, MOST_REPEATS)
    averages = whole(averages, _WHERE, "averages", 1)
    pairs, left_out = _in_time(bind(box, x, y, cost), beta, repeats, Timed(_WHERE, time_limit, progress))
    return recommended(pairs, beta, averages, left_out)


def _in_time(measured: Measured, beta: float, repeats: int, timed: Timed) -> tuple[list[_Floats], str]:
    """Return the gradients of `repeated` that a limit of time allows, and a sentence on those left out."""
    pairs: list[_Floats] = []
    try:
        with progress_lines(_WHERE, timed.progress), timed.clock.running():
            _repeat(measured, beta, repeats, pairs)
    except TimeUp:
        if timed.clock.limit is None:  # the limit of a check that this is a part of
            raise
        limit = f"The time limit of {timed.clock.limit:g} s"
        told = f"{limit} was reached after {len(pairs)} of {repeats} repeats"
        if len(pairs) < 2:
            raise TimeoutError(f"[{_WHERE}] {told}; two are needed. Raise time_limit.") from None
        return pairs, f"{told}."
    return pairs, ""


def repeated(measured: Measured, beta: float, repeats: int) -> list[_Floats]:
    """Return gradients of centered EqProp at beta and 2 beta, (2, parameters) for each repeat."""
    pairs: list[_Floats] = []
    _repeat(measured, beta, repeats, pairs)
    return pairs


def recommended(pairs: list[_Floats], beta: float, averages: int = 1, left_out: str = "") -> BestBeta:
    """Return the recommendation from repeated gradients at beta and 2 beta; see `best_beta`."""
    repeats = len(pairs)
    fine, coarse = np.swapaxes(pairs, 0, 1)
    # In a mean over repeats, the noise of a gradient at 2 beta has a quarter of the variance of one at beta.
    variances = [float(part.var(axis=0, ddof=1).sum()) for part in (fine, coarse)]
    noise = (variances[0] + 4 * variances[1]) / 2 * beta**2
    difference = coarse.mean(axis=0) - fine.mean(axis=0)
    floor = sum(variances) / repeats
    square = float(difference @ difference) - floor  # of 3 c beta^2
    bias = math.sqrt(max(square, 0.0)) / 3
    size = float(np.linalg.norm(fine.mean(axis=0))) or 1.0
    figures = (beta, math.sqrt(noise) / beta, bias, size, repeats, left_out)
    if math.sqrt(noise) / beta <= _ROUNDING * size:
        return BestBeta(0.0, math.nan, *figures)
    spread = math.sqrt(4 * floor * max(square, 0.0) + 2 * floor**2)  # of `square`, at most
    if square <= 2 * spread:
        return BestBeta(math.inf, math.nan, *figures)
    best = (noise / (2 * averages * (bias / beta**2) ** 2)) ** (1 / 6)
    relative = math.hypot(spread / square, math.sqrt(1 / (repeats - 1)))
    return BestBeta(best, best * relative / 6, *figures)


def _repeat(measured: Measured, beta: float, repeats: int, pairs: list[_Floats]) -> None:
    """Append the gradients of each repeat to `pairs`, so that those before an interrupt are kept."""
    for _ in tracked(range(repeats)):
        pairs.append(np.array([measured.centered(factor * beta) for factor in (1, 2)]))
