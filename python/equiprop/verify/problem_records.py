"""Problems in JSON files: a model with its parameters, samples, cost and solver."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypedDict, TypeVar, cast

import numpy as np

from equiprop.arrays import Array
from equiprop.costs import Cost
from equiprop.energies import OwnModel
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.network_files import describe, rebuild
from equiprop.solvers import FreeSolver
from equiprop.verify.directions import original
from equiprop.verify.encoding import (
    COSTS,
    ArrayRecord,
    decode,
    decode_array,
    encode,
    encode_array,
    encode_attributes,
)
from equiprop.verify.problem import Problem, prepare
from equiprop.verify.verdict import JSON

T = TypeVar("T")


class ProblemRecord(TypedDict):
    """A `Problem` in a JSON file; `model` is a description of a network, or an object that a user wrote."""

    model: dict[str, JSON]
    parameters: ArrayRecord
    parameters_sha256: str
    x: ArrayRecord
    y: ArrayRecord
    cost: JSON
    solver: JSON


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Raise every error of damaged content as a ValueError that names the part of the file."""
    try:
        yield
    except (
        LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError, MemoryError
    ) as error:  # fmt: skip
        text = str(error)
        if text.startswith("[replay]"):
            raise
        reason = f"no entry {text}" if isinstance(error, KeyError) else text or type(error).__name__
        raise ValueError(
            f"[replay] A certificate contains models, samples and settings that fit each other. "
            f"Received {where}: {reason}."
        ) from error


class _Inputs(NamedTuple):
    """The inputs of the checks."""

    model: Model
    x: Array
    y: Any
    cost: Cost
    solver: FreeSolver


def encode_problem(problem: Problem) -> ProblemRecord:
    """Return model, samples, cost and solver as JSON.

    A model that the user wrote is stored by the import path and the source hash of its class, and by its
    attributes; arrays that are views of its parameters stay views.
    """
    return _encode(_Inputs(original(problem.model), problem.x, problem.y, problem.cost, problem.solver))


def _encode(inputs: _Inputs) -> ProblemRecord:
    parameters = np.ascontiguousarray(inputs.model.parameters)
    return {
        "model": _encode_model(inputs.model),
        "parameters": encode_array(parameters),
        "parameters_sha256": hashlib.sha256(parameters.tobytes()).hexdigest(),
        "x": encode_array(inputs.x),
        "y": encode_array(np.asarray(inputs.y)),
        "cost": encode(inputs.cost),
        "solver": encode(inputs.solver),
    }


def _encode_model(model: Model) -> dict[str, JSON]:
    if isinstance(model, HopfieldNetwork):
        return describe(model)
    apart = {"parameters", *getattr(model, "_DERIVED", ())}
    attributes = {name: value for name, value in vars(model).items() if name not in apart}
    shared = model.parameters if model.parameters.flags.c_contiguous else None
    return cast("dict[str, JSON]", encode_attributes(model, attributes, shared))


def encoded_again(stored: Mapping[str, Any], name: str) -> ProblemRecord:
    """Return the record of a problem after it was decoded; it is equal unless the content was damaged.

    The computations of a check may change attributes of a model, such as counters and caches. This record is
    of the model before them.
    """
    return _encode(_decode(stored, name))


def decode_problem(stored: Mapping[str, Any], name: str) -> Problem:
    """Return the problem that `encode_problem` stored, with a new free phase.

    Parameters
    ----------
    stored : mapping
        Result of `encode_problem`.
    name : str
        Name of the model, for errors.

    Raises
    ------
    ValueError
        If the content is damaged, or a class of the user cannot be found or has changed.
    """
    inputs = _decode(stored, name)
    with reading(f"{name}, problem"):
        return prepare("replay", *inputs)


def _decode(stored: Mapping[str, Any], name: str) -> _Inputs:
    def part(key: str, read: Callable[[Any], T]) -> T:
        with reading(f"{name}, problem, {key}"):
            return read(stored[key])

    parameters = part("parameters", decode_array)
    model = part("model", lambda entry: _decode_model(entry, parameters))
    x, y = part("x", decode_array), part("y", decode_array)
    return _Inputs(model, x, y, part("cost", _cost), part("solver", _solver))


def _decode_model(stored: Mapping[str, Any], parameters: Any) -> Model:
    if stored.get("type") != "object":
        net = rebuild(stored, parameters.size)
        net.parameters[:] = parameters
        return net
    model = decode(stored, parameters)
    if not isinstance(model, OwnModel):
        raise TypeError(f"{type(model).__name__} is neither a HopfieldNetwork, an Energy nor a VectorField")
    model.parameters = parameters
    return cast(Model, model)


def _cost(stored: Any) -> Cost:
    cost = decode(stored)
    if not isinstance(cost, COSTS) and not hasattr(cost, "bind"):
        raise TypeError(f"{type(cost).__name__} is not a cost")
    return cast(Cost, cost)


def _solver(stored: Any) -> FreeSolver:
    solver = decode(stored)
    if not isinstance(solver, FreeSolver):
        raise TypeError(f"{type(solver).__name__} is not a solver")
    return solver
