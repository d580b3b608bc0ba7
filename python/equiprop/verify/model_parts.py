"""Functions of a model for several checks: copies in double precision, names, distances from kinks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.activations import activation
from equiprop.energies import OwnModel
from equiprop.model_interface import Model, check_model
from equiprop.models import HopfieldNetwork
from equiprop.verify.directions import Along, original


def in_double(model: Model, where: str = "verify") -> Model:
    """Return the model, or a copy on the CPU in double precision if it is another network."""
    if not isinstance(model, HopfieldNetwork):
        check_model(model, where)
        return model
    model = model.to("cpu")
    return model if model.dtype == np.float64 else model.astype("float64")


@contextmanager
def kept_parameters(model: Model | OwnModel) -> Iterator[None]:
    """Restore the parameters at the end of the block, which methods of the model may change or replace."""
    own = original(model)
    array = own.parameters
    once = own is model  # without directions, both are one array, of which one copy is sufficient
    with kept_values(array), nullcontext() if once else kept_values(model.parameters):
        try:
            yield
        finally:
            if own.parameters is not array and "parameters" in vars(own):
                own.parameters = array


@contextmanager
def kept_values(values: NDArray[np.float64]) -> Iterator[None]:
    """Restore an array at the end of the block, also where an interrupt hit code that restores a value."""
    before = values.copy()
    try:
        yield
    finally:
        if values.flags.writeable and not np.array_equal(values, before, equal_nan=True):
            values[:] = before


def unit_name(model: Model, index: int) -> str:
    """Return the name of a unit, such as hidden1[3]."""
    layer, at = _position(model.layer_slices, index)
    return f"{layer}[{at}]"


def parameter_name(model: Model, index: int) -> str:
    """Return the name of a parameter, such as W1[2, 3], or that of a random direction of parameters."""
    if isinstance(model, Along):
        return f"random direction {index % model.each} of {_position(model.block_slices, index)[0]}"
    block, at = _position(model.block_slices, index)
    position = np.unravel_index(at, model.blocks[block].shape) if block in model.blocks else (at,)
    return f"{block}[{', '.join(str(i) for i in position)}]"


def _position(slices: Mapping[str, slice], index: int) -> tuple[str, int]:
    name = next((name for name, at in slices.items() if at.start <= index < at.stop), None)
    return ("", index) if name is None else (name, index - slices[name].start)


def kink_margins(model: Model, energy: _core.Energy, state: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of each unit, before clipping, from its nearest bound, (batch, units).

    The distance is infinite for units without a bound.
    """
    margins = np.full(state.shape, np.inf)
    if not isinstance(model, HopfieldNetwork):
        return margins
    gradient = energy.gradient(state)
    for layer, where in zip(model.layers[1:], model.layer_slices.values(), strict=True):
        rho = activation(layer.activation)
        if rho.kind != "clip":
            continue
        legendre = model.potential == "legendre"
        divisor = 1.0 if legendre else rho.gain
        with np.errstate(invalid="ignore"):  # a state that diverged
            unclipped = state[:, where] - (rho.gain if legendre else 1.0) * gradient[:, where]
        for bound in (rho.lower / divisor, rho.upper / divisor):
            margins[:, where] = np.minimum(margins[:, where], np.abs(unclipped - bound))
    return margins
