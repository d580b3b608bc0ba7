"""Activation functions: the named ones, and general ones with parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import as_array
from equiprop.checks import check_type, real

_INFINITY = float("inf")


@dataclass(frozen=True)
class Activation:
    r"""An activation function rho with its first and second derivatives.

    Parameters
    ----------
    kind : {"tanh", "logistic", "softplus", "clip"}
        tanh(x), 1 / (1 + exp(-gain (x - shift))), log(1 + exp(gain x)) / gain, or clip(gain x, lower, upper).
    gain, shift, lower, upper : float
        Parameters of these formulas, dimensionless. A kind ignores those that its formula does not contain.

    Raises
    ------
    TypeError, ValueError
        If `kind` is unknown, or a parameter is not a number or out of range.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.activation("sigmoid").value([0.0])
    array([0.5])
    >>> eq.activation("hard_sigmoid").holomorphic
    False
    """

    kind: str
    gain: float = 1.0
    shift: float = 0.0
    lower: float = -_INFINITY
    upper: float = _INFINITY

    def __post_init__(self) -> None:
        check_type(self.kind, str, "Activation", "kind is a name")
        for name in ("gain", "shift", "lower", "upper"):
            object.__setattr__(self, name, real(getattr(self, name), "Activation", name))
        _ = self.core  # the core checks the ranges

    @property
    def core(self) -> _core.Tanh | _core.Logistic | _core.Softplus | _core.Clip:
        """The activation of the C++ core with this kind and these parameters."""
        return _core.activation_of(self.kind, self.gain, self.shift, self.lower, self.upper)

    def _evaluate(self, x: Any, column: int) -> NDArray[np.float64]:
        points = as_array(x, "Activation", "x").astype(np.float64)
        table, _ = _core.activation(self.core, points.ravel())
        values: NDArray[np.float64] = table[column].reshape(points.shape)
        return values

    def value(self, x: Any) -> NDArray[np.float64]:
        """Return rho(x), of the shape of x."""
        return self._evaluate(x, 0)

    def derivative(self, x: Any) -> NDArray[np.float64]:
        """Return rho'(x), of the shape of x; 0 at the bounds of a clip and outside of them."""
        return self._evaluate(x, 1)

    def second_derivative(self, x: Any) -> NDArray[np.float64]:
        """Return rho''(x), of the shape of x."""
        return self._evaluate(x, 2)

    @property
    def holomorphic(self) -> bool:
        """True if rho is complex-differentiable, which `holomorphic` nudging requires."""
        return bool(_core.activation(self.core, np.zeros(1))[1])


#: The named activations of the literature.
ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "tanh": Activation("tanh"),
        "sigmoid": Activation("logistic"),
        "steep_sigmoid": Activation("logistic", gain=4.0, shift=0.5),
        "softplus": Activation("softplus"),
        "hard_sigmoid": Activation("clip", lower=0.0, upper=1.0),
        "half_hard_sigmoid": Activation("clip", gain=0.5, lower=0.0, upper=1.0),
        "relu": Activation("clip", lower=0.0),
        "linear": Activation("clip"),
    }
)


def activation(name: str | Activation) -> Activation:
    """Return the activation with a name, a key of `ACTIVATIONS`; an `Activation` is returned unchanged.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.activation("half_hard_sigmoid").value([1.0, 3.0])
    array([0.5, 1. ])
    """
    if isinstance(name, Activation):
        return name
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"[activation] An activation is one of {', '.join(ACTIVATIONS)}. Received {name!r}.")
    return ACTIVATIONS[name]


def activation_name(value: str | Activation) -> str:
    """Return the key of an activation in `ACTIVATIONS`, or its parameters if it has none."""
    for name, known in ACTIVATIONS.items():
        if activation(value) == known:
            return name
    return str(value)


def is_unbounded(rho: Activation) -> bool:
    """Return True if no bound limits a unit on at least one side: relu, softplus and linear units."""
    return rho.kind == "softplus" or (rho.kind == "clip" and not math.isfinite(rho.upper - rho.lower))
