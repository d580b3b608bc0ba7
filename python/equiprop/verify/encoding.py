"""Conversion of problems and settings of checks to JSON and back, without loss of any bit of a number."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypedDict, cast, get_args

import numpy as np

from equiprop.arrays import Array
from equiprop.costs import CrossEntropy, LayerCosts, SquaredError
from equiprop.linear_solvers import LinearSolver
from equiprop.models import HopfieldNetwork
from equiprop.network_files import describe, rebuild
from equiprop.nudging import Nudging
from equiprop.solvers import FreeSolver
from equiprop.verify.problem import Problem, prepare
from equiprop.verify.verdict import JSON

_COSTS = (SquaredError, CrossEntropy, LayerCosts)
#: Dataclasses that are stored by their name and their fields.
_STORED: Mapping[str, Any] = {
    kind.__name__: kind for kind in (Nudging, *_COSTS, *get_args(FreeSolver), *get_args(LinearSolver))
}


class ArrayRecord(TypedDict):
    """An array in a JSON file."""

    type: str
    dtype: str
    shape: list[int]
    data: str


class ProblemRecord(TypedDict):
    """A `Problem` in a JSON file; `model` and `parameters` are None unless it is a HopfieldNetwork."""

    model: JSON
    parameters: ArrayRecord | None
    parameters_sha256: str
    x: ArrayRecord
    y: ArrayRecord
    cost: JSON
    solver: JSON


def encode(value: Any) -> JSON:
    """Return a setting of a check as JSON: a number, text, list, array, nudging, cost or solver."""
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, np.ndarray):
        return cast(JSON, encode_array(value))
    if isinstance(value, list | tuple):
        return [encode(entry) for entry in value]
    if type(value) is dict:
        return {"type": "mapping", "entries": [[key, encode(entry)] for key, entry in value.items()]}
    if isinstance(value, complex):
        return {"type": "complex", "real": encode(value.real), "imag": encode(value.imag)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"type": "float", "value": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    name = type(value).__name__
    if _STORED.get(name) is not type(value):  # a class that the user defined, which `decode` refuses
        return {"type": f"{type(value).__module__}.{type(value).__qualname__}"}
    return {"type": name, **{f.name: encode(getattr(value, f.name)) for f in fields(value)}}


def decode(stored: Any) -> Any:
    """Return the setting that `encode` stored.

    Raises
    ------
    ValueError
        If the setting is an object of a class that the user defined.
    """
    if isinstance(stored, list):
        return [decode(entry) for entry in stored]
    if not isinstance(stored, dict):
        return stored
    content = {key: entry for key, entry in stored.items() if key != "type"}
    name = str(stored["type"])
    if name == "array":
        return decode_array(stored)
    if name == "mapping":
        return {key: decode(entry) for key, entry in stored["entries"]}
    if name == "float":
        return float(content["value"])
    if name == "complex":
        return complex(decode(content["real"]), decode(content["imag"]))
    if name not in _STORED:
        raise ValueError(
            "[replay] Costs, nudgings and solvers of the library can be replayed; a user's own class or "
            f"function cannot, because a certificate does not contain its code. Received {name!r}."
        )
    return _STORED[name](**{key: _as_tuple(decode(entry)) for key, entry in content.items()})


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(entry) for entry in value) if isinstance(value, list) else value


def encode_array(array: Array) -> ArrayRecord:
    """Return an array as JSON, with its bytes in little-endian order in base64."""
    array = np.ascontiguousarray(array)
    array = array.astype(array.dtype.newbyteorder("<"))
    return {
        "type": "array",
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "data": base64.b64encode(array.tobytes()).decode("ascii"),
    }


def decode_array(stored: Mapping[str, Any]) -> Array:
    """Return the array that `encode_array` stored."""
    dtype = np.dtype(stored["dtype"])
    if dtype.kind not in "biuf":
        raise TypeError("numbers")
    array = np.frombuffer(base64.b64decode(stored["data"]), dtype).reshape(stored["shape"])
    return array.astype(dtype.newbyteorder("="))


def encode_problem(problem: Problem) -> ProblemRecord:
    """Return model, samples, cost and solver as JSON.

    For a model that the user wrote, only the SHA-256 of its parameters is stored.
    """
    parameters = np.ascontiguousarray(problem.model.parameters)
    own = not isinstance(problem.model, HopfieldNetwork)
    return {
        "model": None if own else describe(problem.model),  # type: ignore[arg-type]
        "parameters": None if own else encode_array(parameters),
        "parameters_sha256": hashlib.sha256(parameters.tobytes()).hexdigest(),
        "x": encode_array(problem.x),
        "y": encode_array(np.asarray(problem.y)),
        "cost": encode(problem.cost),
        "solver": encode(problem.solver),
    }


def decode_problem(stored: Mapping[str, Any] | None, name: str) -> Problem:
    """Return the problem that `encode_problem` stored, with a new free phase.

    Parameters
    ----------
    stored : mapping, optional
        Result of `encode_problem`; None for a black box.
    name : str
        Name of the model, for errors.

    Raises
    ------
    ValueError
        If the user wrote the model, the cost or the solver.
    """
    if stored is None or stored["model"] is None:
        raise ValueError(
            "[replay] A HopfieldNetwork can be replayed; a user's own model cannot, because a certificate "
            f"does not contain its code. Received a certificate of {name}."
        )
    parameters = decode_array(stored["parameters"])
    net = rebuild(stored["model"], parameters.size)
    net.parameters[:] = parameters
    cost, solver = decode(stored["cost"]), decode(stored["solver"])
    if not (isinstance(cost, _COSTS) and isinstance(solver, FreeSolver)):
        raise TypeError("a cost and a solver")
    x, y = decode_array(stored["x"]), decode_array(stored["y"])
    return prepare("replay", net, x, y, cost, solver)
