"""Models whose derivatives by parameters are checked along random directions of these."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array
from equiprop.complex_steps import parameter_slopes, returned
from equiprop.energies import Energy, OwnModel, VectorField
from equiprop.model_interface import Model

#: Largest number of parameters that are all checked if the model does not compute their derivatives.
MOST = 300
#: Number of directions of a model; each block has at least one.
_DIRECTIONS, _SEED = 6, 0


class Along(OwnModel):
    r"""A model with parameters phi along random directions d_j of the parameters: theta + sum_j phi_j d_j.

    The theorems hold for any parameters, so a derivative by phi_j is that by theta along d_j, and an error in
    any parameter changes it. One evaluation gives the derivative by phi_j, where a model without a
    `parameter_gradient` takes one for each entry of theta. Each direction changes one block, so that a block
    with an error is named. Its entries are uniform in [0.5, 1] with random signs, over the root of the
    block's size.

    Parameters
    ----------
    inner : Energy or VectorField
        The model; its parameters are never changed.
    """

    def __init__(self, inner: OwnModel) -> None:
        inner._sizes()  # refuses parameters that are not finite
        self.inner: OwnModel = inner
        self.each: int = max(1, _DIRECTIONS // len(inner.block_slices))
        random = np.random.default_rng(_SEED)
        self.directions: list[tuple[slice, NDArray[np.float32]]] = [
            (at, _direction(at.stop - at.start, random))
            for at in inner.block_slices.values()
            for _ in range(self.each)
        ]
        self._moved: tuple[bytes, OwnModel] = (b"", inner)
        self.accepts_complex: bool = inner.accepts_complex  # type: ignore[misc]  # pyright: ignore[reportIncompatibleVariableOverride]
        super().__init__(inner.num_units, inner.num_outputs, np.zeros(len(self.directions)), inner.num_inputs)

    @property
    def note(self) -> str:
        """The choice of the directions in words."""
        return (
            f"{self.each} for each block, seed {_SEED}: the model does not compute the derivatives by its "
            f"{len(self.inner.parameters)} parameters"
        )

    @property
    def block_slices(self) -> dict[str, slice]:
        """Slice of the directions of each block."""
        names = self.inner.block_slices
        return {name: slice(k * self.each, (k + 1) * self.each) for k, name in enumerate(names)}

    @property
    def layer_slices(self) -> dict[str, slice]:
        """Slice of a state for each layer."""
        return self.inner.layer_slices

    @property
    def holomorphic(self) -> bool:
        """True if complex beta can be used."""
        return self.inner.holomorphic

    @property
    def now(self) -> Any:
        """The model with the present parameters."""
        if not self.parameters.any():
            return self.inner
        key = self.parameters.tobytes()
        if self._moved[0] != key:
            moved = copy.copy(self.inner)
            moved.parameters = self.inner.parameters.copy()
            for size, (at, direction) in zip(self.parameters, self.directions, strict=True):
                if size:
                    moved.parameters[at] += size * direction
            self._moved = key, moved
        return self._moved[1]

    def as_input(self, x: Any, where: str) -> Array:
        """Return x as a checked array (batch, inputs)."""
        return self.inner.as_input(x, where)

    def initial_state(self, batch: int) -> Array:
        """Return the initial state of a free phase, (batch, units)."""
        return self.inner.initial_state(batch)

    def _slopes_by_parameters(self, function: Callable[[Any, Array], Array], s: Array) -> Array:
        """Return d function(model, s) / dphi by one complex step for each direction."""
        self._check_accepts_complex()
        directions = ((at, direction.astype(np.float64)) for at, direction in self.directions)
        return parameter_slopes(self.now, function, s, directions)

    def along(self, slopes: Array) -> Array:
        """Return derivatives by phi from those by theta."""
        return np.array([slopes[at] @ direction for at, direction in self.directions])

    def __repr__(self) -> str:
        count = len(self.directions)
        return f"{self.inner!r} along {count} random directions of the parameters (seed {_SEED})"


class EnergyAlong(Along, Energy):
    """An energy along random directions of its parameters."""

    def energy(self, x: Array, s: Array) -> Array:
        """Return E of each sample, (batch,)."""
        return returned(self.now.energy(x, s), "energy")

    def gradient(self, x: Array, s: Array) -> Array:
        """Return dE/ds, (batch, units)."""
        return returned(self.now.gradient(x, s), "gradient")

    def hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return the product (d2E/ds2) v, (batch, units)."""
        return np.asarray(self.now.hessian_vector_product(x, s, v))

    def mixed_derivative_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return <v, d2E/dphi ds> summed over the batch, (directions,)."""
        if type(self.inner).mixed_derivative_product is not Energy.mixed_derivative_product:
            return self.along(self.now.mixed_derivative_product(x, s, v))
        return super().mixed_derivative_product(x, s, v)


class FieldAlong(Along, VectorField):
    """A vector field along random directions of its parameters."""

    def velocity(self, x: Array, s: Array) -> Array:
        """Return ds/dt, (batch, units)."""
        return returned(self.now.velocity(x, s), "velocity")

    def jacobian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return the product (dmu/ds) v, (batch, units)."""
        return np.asarray(self.now.jacobian_vector_product(x, s, v))

    def vector_jacobian_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return the product (dmu/ds)^T v, (batch, units)."""
        return np.asarray(self.now.vector_jacobian_product(x, s, v))


def along_directions(model: Model) -> Model:
    """Return a model that is too large for one evaluation for each parameter along random directions."""
    own: Any = model
    if not by_complex_steps(own) or len(own.parameters) <= MOST:
        return model
    reduced: Any = EnergyAlong(own) if isinstance(own, Energy) else FieldAlong(own)
    return reduced  # type: ignore[no-any-return]


def by_complex_steps(model: Any) -> TypeGuard[OwnModel]:
    """Return True for a model whose derivatives by parameters take an evaluation for each of them."""
    if isinstance(model, Energy):
        return type(model).parameter_gradient is Energy.parameter_gradient
    known = VectorField.parameter_vector_product
    return isinstance(model, VectorField) and type(model).parameter_vector_product is known


def original(model: Any) -> Any:
    """Return the model that a user passed."""
    return model.inner if isinstance(model, Along) else model


def _direction(size: int, random: np.random.Generator) -> NDArray[np.float32]:
    signs = random.integers(0, 2, size, dtype=np.int8) * np.float32(2) - np.float32(1)
    sizes = random.random(size, dtype=np.float32) / 2 + np.float32(0.5)
    direction = signs * sizes / np.float32(np.sqrt(max(size, 1)))
    return direction.astype(np.float32, copy=False)
