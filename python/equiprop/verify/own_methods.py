"""Methods of a model that a user wrote: the shapes of their values, and the arrays that they change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array
from equiprop.energies import Energy, OwnModel, VectorField
from equiprop.model_interface import Model
from equiprop.verify.directions import original
from equiprop.verify.model_parts import kept_parameters, parameter_name, unit_name

_Floats = NDArray[np.float64]

#: Dimensions of the value of each method, those of lowest order first.
_OF_ENERGY = {
    "gradient": "batch, units",
    "energy": "batch",
    "parameter_gradient": "parameters",
    "hessian_vector_product": "batch, units",
    "mixed_derivative_product": "parameters",
}
_OF_FIELD = {
    "velocity": "batch, units",
    "jacobian_vector_product": "batch, units",
    "vector_jacobian_product": "batch, units",
    "parameter_vector_product": "parameters",
}
#: Relative change of the parameters with which methods are called again; absolute below a magnitude of 1.
_CHANGE = 1e-3
#: The name of the parameters among the arrays that a method changes.
PARAMETERS = "self.parameters"


def own_methods(model: OwnModel) -> dict[str, str]:
    """Return the dimensions of the value of each method that the model defines itself, by name."""
    base, known = (Energy, _OF_ENERGY) if isinstance(model, Energy) else (VectorField, _OF_FIELD)
    return {
        name: dims for name, dims in known.items() if getattr(type(model), name) is not getattr(base, name)
    }


@contextmanager
def named_shapes(model: Model, x: Array) -> Iterator[None]:
    """Raise a ValueError in the block again as one that names the method whose value has a wrong shape.

    The core names the derivative that it asked for, and other methods may have computed it.
    """
    try:
        yield
    except ValueError as error:
        text = _of_shape(model, x)
        if not text:
            raise
        raise ValueError(text) from error


def _of_shape(model: Model, x: Array) -> str:
    """Return an error on the first method of a user's model whose value has a wrong shape, or ""."""
    own = original(model)
    if not isinstance(own, OwnModel):
        return ""
    sizes = {"batch": len(x), "units": own.num_units, "parameters": len(own.parameters)}
    with kept_parameters(own):
        for name, dims in own_methods(own).items():
            value = _called(own, name, _arguments(name, x.copy(), own.initial_state(len(x))))
            shape = tuple(sizes[dim] for dim in dims.split(", "))
            if value is not None and np.shape(value) != shape:
                summed = "(parameters,), summed over the batch" if dims == "parameters" else ""
                expected = summed or (f"({dims},)" if len(shape) == 1 else f"({dims})")
                return (
                    f"[{name}] {name} of {type(own).__name__} returns an array of shape {expected}: here "
                    f"{shape}. Received {np.shape(value)}."
                )
    return ""


def changed_arrays(model: Model, x: Array, state: Array) -> dict[str, tuple[str, ...]]:
    """Return the names of the arrays that each method of a user's model changes: self.parameters, x, s, v.

    Each method is called with the present parameters, and with others, because a method that projects the
    parameters on a constraint does not change those that fulfil it.
    """
    own = original(model)
    if not isinstance(own, OwnModel):
        return {}
    found = {name: _changed(own, name, _arguments(name, x, state)) for name in own_methods(own)}
    return {name: names for name, names in found.items() if names}


def _changed(model: OwnModel, name: str, given: Mapping[str, Array]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    moves = np.random.default_rng(0).uniform(-_CHANGE, _CHANGE, len(model.parameters))
    for step in (0.0, moves):
        with kept_parameters(model):
            model.parameters += step * np.maximum(1.0, np.abs(model.parameters))
            before, passed = model.parameters.copy(), {key: array.copy() for key, array in given.items()}
            _called(model, name, passed)
            pairs = {PARAMETERS: (before, model.parameters)}
            pairs |= {key: (given[key], passed[key]) for key in given}
            names |= {k: None for k, pair in pairs.items() if not np.array_equal(*pair, equal_nan=True)}
    return tuple(names)


def _arguments(name: str, x: Array, state: Array) -> dict[str, Array]:
    arguments = {"x": x, "s": np.ascontiguousarray(state)}
    return arguments | {"v": np.ones_like(state)} if name.endswith("_product") else arguments


def _called(model: OwnModel, name: str, arguments: Mapping[str, Array]) -> Any:
    """Return the value of a method; None if the method raises an exception."""
    try:
        with np.errstate(all="ignore"):
            return getattr(model, name)(*arguments.values())
    except Exception:  # a user's method may refuse a state
        return None


def not_finite(model: Model, name: str, value: _Floats) -> str:
    """Return where a value of a method is not finite, in a sentence; "" if all its numbers are finite."""
    bad = np.flatnonzero(~np.isfinite(value))
    if not len(bad):
        return ""
    at = int(bad[0])
    if name == "energy":
        where = f"sample {at}"
    elif value.ndim == 1:
        where = parameter_name(model, at)
    else:
        where = f"{unit_name(model, at % model.num_units)} of sample {at // model.num_units}"
    return (
        f"{name} is not finite: for {where} the value is {value.flat[at]}, at a state whose "
        "numbers are finite. A logarithm or a root of a negative number, a division by zero, or an overflow "
        "gives such a value."
    )
