"""How fast the bias of a finite nudging vanishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.costs import Cost, SquaredError
from equiprop.models import Model
from equiprop.nudging import centered, one_sided
from equiprop.verify.equivalence import equivalence


@dataclass(frozen=True)
class OrdersReport:
    """How the error of a nudging falls with beta.

    Attributes
    ----------
    betas : (betas,)
    errors : dict of (betas,)
        Largest relative difference from Recurrent Backpropagation over all steps, by nudging.
    slopes : dict of float
        Fitted orders d log(error) / d log(beta): 1 for one-sided, 2 for centered.
    """

    betas: NDArray[np.float64]
    errors: dict[str, NDArray[np.float64]]
    slopes: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether the slopes are 1 and 2 within 0.1."""
        expected = {"one_sided": 1.0, "centered": 2.0}
        return all(abs(self.slopes[name] - order) <= 0.1 for name, order in expected.items())

    def __str__(self) -> str:
        rows = [f"{'beta':>8}  one-sided   centered"]
        rows += [
            f"{beta:8.0e}  {one:9.1e}  {two:9.1e}"
            for beta, one, two in zip(self.betas, *self.errors.values(), strict=True)
        ]
        rows.append(f"{'order':>8}  {self.slopes['one_sided']:9.2f}  {self.slopes['centered']:9.2f}")
        return "\n".join(rows)


def orders(
    model: Model,
    x: Any,
    y: Any,
    *,
    betas: Sequence[float] = (1e-1, 1e-2, 1e-3, 1e-4),
    steps: int = 200,
    step_size: float | None = None,
    cost: Cost = SquaredError(),  # noqa: B008
) -> OrdersReport:
    """Fit the order in beta of one-sided and centered Equilibrium Propagation.

    Parameters
    ----------
    model, x, y, steps, step_size, cost
        As in `equivalence`.
    betas : sequence of float
        At least two different nudging factors.

    Returns
    -------
    OrdersReport

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
    >>> eq.verify.orders(net, [[0.1, 0.5, 0.9, 0.3]], [2]).passed
    True
    """
    if len(set(betas)) < 2 or not all(beta > 0 for beta in betas):
        raise ValueError(
            f"[orders] A slope needs at least two different, positive betas. Received {list(betas)}."
        )
    errors = {
        rule.__name__: np.array(
            [
                equivalence(
                    model, x, y, steps=steps, step_size=step_size, cost=cost, nudging=rule(beta)
                ).max_relative_error
                for beta in betas
            ]
        )
        for rule in (one_sided, centered)
    }
    slopes = {name: float(np.polyfit(np.log(betas), np.log(e), 1)[0]) for name, e in errors.items()}
    return OrdersReport(np.array(betas, dtype=np.float64), errors, slopes)
