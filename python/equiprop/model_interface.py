"""The interface of models."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.scaling import Scaling


def check_model(model: Any, where: str) -> None:
    """Raise TypeError unless `model` is an object that has the methods of a model."""
    methods = ("as_input", "clamp", "initial_state", "block_views")
    if isinstance(model, type) or not all(callable(getattr(model, name, None)) for name in methods):
        rule = "model is a HopfieldNetwork, an Energy or a VectorField"
        raise TypeError(f"[{where}] {rule}. Received {reprlib.repr(model)}.")


class Model(Protocol):
    """Interface of a model, which free and second phases use; see `HopfieldNetwork` for the members."""

    @property
    def num_units(self) -> int: ...  # noqa: D102
    @property
    def num_outputs(self) -> int: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    @property
    def core(self) -> _core.Precision: ...  # noqa: D102
    @property
    def parameters(self) -> Array: ...  # noqa: D102
    @property
    def blocks(self) -> Mapping[str, Array]: ...  # noqa: D102
    @property
    def block_slices(self) -> Mapping[str, slice]: ...  # noqa: D102
    @property
    def layer_slices(self) -> Mapping[str, slice]: ...  # noqa: D102
    @property
    def scaling(self) -> Scaling | None: ...  # noqa: D102
    @scaling.setter
    def scaling(self, scaling: Scaling | None) -> None: ...
    @property
    def classes(self) -> Array | None: ...  # noqa: D102
    @classes.setter
    def classes(self, classes: Array | None) -> None: ...
    @property
    def conservative(self) -> bool: ...  # noqa: D102
    @property
    def holomorphic(self) -> bool: ...  # noqa: D102
    @property
    def has_block_update(self) -> bool: ...  # noqa: D102
    def block_views(self, flat: Array) -> dict[str, Array]: ...  # noqa: D102
    def as_input(self, x: Any, where: str) -> Array: ...  # noqa: D102
    def initial_state(self, batch: int) -> Array: ...  # noqa: D102
    def clamp(self, x: Array) -> _core.Energy: ...  # noqa: D102
    def clamp_dual(self, x: Array) -> _core.DualEnergy: ...  # noqa: D102
    def clamp_complex(self, x: Array) -> _core.Energy: ...  # noqa: D102
