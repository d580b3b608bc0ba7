"""Energies written in Python."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from equiprop import _core
from equiprop.arrays import Array, as_array, as_states


@dataclass
class Energy(ABC):
    r"""An energy written in Python: the same solvers, second phases and checks apply to it.

    Subclass it, give `energy`, `gradient` and `parameter_gradient` as NumPy code, and pass the object
    wherever a network is expected. If the methods accept complex arrays (no ``abs``, ``maximum`` or
    comparisons of s), the two second derivatives and the exact beta -> 0 limit come for free, to
    machine precision, by complex steps; otherwise override `hessian_vector_product` and
    `mixed_derivative_product`.

    Parameters
    ----------
    num_units, num_outputs : int
        Length of a state; how many of its last entries the cost acts on.
    parameters : (parameters,) array of float64
        theta, flat; the methods read it, optimizers write to it.
    """

    num_units: int
    num_outputs: int
    parameters: Array = field(default_factory=lambda: np.zeros(0))

    dtype = np.dtype(np.float64)
    core: ClassVar[_core.Precision] = _core.f64
    has_block_update = False

    @abstractmethod
    def energy(self, x: Array, s: Array) -> Array:
        """Return E of each sample, (batch,), for x (batch, inputs) and s (batch, units)."""

    @abstractmethod
    def gradient(self, x: Array, s: Array) -> Array:
        """Return dE/ds, (batch, units)."""

    @abstractmethod
    def parameter_gradient(self, x: Array, s: Array) -> Array:
        """Return dE/dtheta summed over the batch, (parameters,)."""

    def hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return d2E/ds2 . v, (batch, units); here Im gradient(s + i h v) / h."""
        return _complex_step(self.gradient, x, s, v)

    def mixed_derivative_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return <v, d2E/dtheta ds> summed over the batch, (parameters,); here by a complex step."""
        return _complex_step(self.parameter_gradient, x, s, v)

    @property
    def blocks(self) -> dict[str, Array]:
        """All parameters as one block."""
        return {"theta": self.parameters}

    @property
    def block_slices(self) -> dict[str, slice]:
        """Where each block lies in `parameters`."""
        return {"theta": slice(0, len(self.parameters))}

    def block_views(self, flat: Array) -> dict[str, Array]:
        """Return named views of an array laid out like `parameters`."""
        return {"theta": flat}

    def as_input(self, x: Any, where: str) -> Array:
        """Return x as a checked array (batch, inputs)."""
        array = np.atleast_2d(as_array(x, where, "x"))
        return as_states(array, array.shape[1], self.dtype, where, "x")

    def initial_state(self, batch: int) -> Array:
        """Return the state (batch, units) a free phase starts from: zero."""
        return np.zeros((batch, self.num_units))

    def clamp(self, x: Array) -> _core.Energy:
        """Return the core's view of this energy with x fixed."""
        return _core.f64.python_energy(self, x, self.num_units, self.num_outputs, len(self.parameters))

    def clamp_dual(self, x: Array) -> _core.DualEnergy:
        """Return the same on dual numbers; the methods then see complex arrays."""
        return _core.dual.python_energy(self, x, self.num_units, self.num_outputs, len(self.parameters))


def _complex_step(function: Any, x: Array, s: Array, v: Array) -> Array:
    """Return the derivative of function(x, s) along v, to machine precision.

    It is linear in v, so v is scaled to 1: a diverging side network must not leave the step's range.
    """
    h, scale = 1e-100, float(np.abs(v).max(initial=0.0)) or 1.0
    value = function(x, s + 1j * h * (v / scale))
    if not np.iscomplexobj(value):
        raise TypeError(
            "[Energy] Second derivatives by complex step need methods that accept complex states. Received "
            f"a real array from {getattr(function, '__name__', function)}: override the second derivative."
        )
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(value.imag / h * scale)
