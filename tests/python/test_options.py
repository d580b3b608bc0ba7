"""Options of solvers, optimizers and other classes are refused where they are made."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.augmentation import Augmentation

#: Values that are no number of any option.
NO_NUMBERS: list[Any] = ["0", 1j, True, False, [1], math.nan]


def network() -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork([2, 3, 2], seed=1)


def states(x: Any, beta: float, y: Any) -> Any:
    return np.zeros((len(x), 2))


def box(**options: Any) -> eq.BlackBox:
    arguments = {"relax": states, "contrast": states, "parameters": {"a": np.ones(2)}, "num_outputs": 2}
    return eq.BlackBox(**{**arguments, **options})


def coupling(kind: Any) -> Callable[..., Any]:
    images = {} if kind in (eq.Dense, eq.Identity) else {"kernel": 3}
    return lambda **options: kind(**{"source": 0, "target": 1, **images, **options})


#: Classes and functions that make options, with the names of their numbers that may also be other things.
MADE: Mapping[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "BlockUpdate": (eq.BlockUpdate, ("tolerance", "max_iterations", "anderson")),
    "FixedPointIteration": (eq.FixedPointIteration, ("tolerance", "max_iterations", "anderson", "damping")),
    "Euler": (eq.Euler, ("tolerance", "max_iterations", "anderson", "step_size")),
    "ConjugateGradient": (eq.ConjugateGradient, ("tolerance", "max_iterations")),
    "Richardson": (eq.Richardson, ("tolerance", "max_iterations", "step_size")),
    "Neumann": (eq.Neumann, ("tolerance", "max_iterations")),
    "GMRES": (eq.GMRES, ("tolerance", "max_iterations", "restart")),
    "SGD": (eq.SGD, ("learning_rate", "momentum", "weight_decay")),
    "Adam": (eq.Adam, ("learning_rate", "beta1", "beta2", "epsilon", "weight_decay")),
    "SGD of blocks": (
        lambda **options: eq.SGD(**{name: {"weights": value} for name, value in options.items()}),
        ("learning_rate", "weight_decay"),
    ),
    "Activation": (lambda **o: eq.Activation("clip", **o), ("gain", "shift", "lower", "upper")),
    "Augmentation": (lambda **o: Augmentation((4, 4), **o), ("padding",)),
    "Checkpoint": (lambda **o: eq.Checkpoint("a.safetensors", **o), ("steps", "seconds")),
    "CrossEntropy": (eq.CrossEntropy, ("logit_scale",)),
    "LayerCosts": (lambda scale: eq.LayerCosts({1: eq.SquaredError()}, scales={1: scale}), ("scale",)),
    "Dense": (coupling(eq.Dense), ("source", "target")),
    "Identity": (coupling(eq.Identity), ("source", "target", "gain")),
    "Convolution": (coupling(eq.Convolution), ("source", "target", "kernel", "groups", "mean_pool")),
    "MaxPooled": (coupling(eq.MaxPooled), ("source", "target", "kernel", "groups", "pool")),
    "SoftPooled": (coupling(eq.SoftPooled), ("source", "target", "kernel", "groups", "pool", "sharpness")),
    "Layer": (eq.Layer, ("units",)),
    "HopfieldNetwork": (lambda **o: eq.HopfieldNetwork([2, 3, 2], **o), ("seed", "gain")),
    "sizes": (lambda size: eq.HopfieldNetwork([2, size, 2]), ("size",)),
    "BlackBox": (box, ("num_outputs", "num_inputs")),
    "imperfect": (lambda **o: eq.imperfect(network(), **o), ("noise", "bits", "mismatch", "seed")),
    "Trainer": (
        lambda **o: eq.Trainer(network(), **o),
        ("batch_size", "seed", "clip", "coupling_norm", "averaging", "shards"),
    ),
    "CSVLogger": (lambda **o: eq.callbacks.CSVLogger("a.csv", **o), ("steps",)),
    "JSONLinesLogger": (lambda **o: eq.callbacks.JSONLinesLogger("a.jsonl", **o), ("steps",)),
    "one_sided": (eq.one_sided, ("beta",)),
    "centered": (eq.centered, ("beta",)),
    "random_sign": (lambda beta=0.5, seed=0: eq.random_sign(beta, seed), ("beta", "seed")),
    "holomorphic": (lambda radius=0.5, points=4: eq.holomorphic(radius, points), ("radius", "points")),
}
#: Options that allow infinity, -1 or None.
INFINITE = {
    ("Activation", "upper"),
    ("Checkpoint", "seconds"),
    ("Trainer", "clip"),
    ("Trainer", "coupling_norm"),
}
NEGATIVE = {("Activation", "shift"), ("Activation", "lower"), ("Activation", "upper"), ("Identity", "gain")}
NEGATIVE |= {("one_sided", "beta"), ("centered", "beta"), ("random_sign", "beta")}
NONE = {(name, "tolerance") for name in ("BlockUpdate", "FixedPointIteration", "Euler", "ConjugateGradient")}
NONE |= {("Richardson", "tolerance"), ("Neumann", "tolerance"), ("GMRES", "tolerance")}
NONE |= {("Checkpoint", "steps"), ("CrossEntropy", "logit_scale"), ("HopfieldNetwork", "gain")}
NONE |= {("imperfect", "bits"), ("CSVLogger", "steps"), ("JSONLinesLogger", "steps")}
NONE |= {("Trainer", "coupling_norm"), ("Trainer", "averaging"), ("Trainer", "shards")}
#: Public classes that are results, warnings, data, or interfaces of the user's own models.
NO_OPTIONS = {"Epoch", "FixedPoint", "Gradient", "Dataset", "Energy", "VectorField", "ImperfectDevice"}
CASES = [(name, option) for name, (_, options) in MADE.items() for option in options]


def outcome(make: Callable[..., Any], option: str, value: Any) -> str:
    """Say what becomes of a value: made, refused with a sentence, or another error."""
    try:
        make(**{option: value})
    except (TypeError, ValueError) as error:
        sentence = re.match(r"(?s)^\[[\w. ]+\] .+ Received .+", str(error))
        return "refused" if sentence else f"{type(error).__name__}: {error}"
    return "made"


def numbers_of(kind: type) -> set[str]:
    """Names of the arguments that are declared as numbers."""
    try:
        arguments = inspect.signature(kind).parameters
    except ValueError:  # of an exception
        return set()
    declared = {name: str(argument.annotation) for name, argument in arguments.items()}
    words = r"^(int|float|Pair|Rate|Decay)\b"
    return {name for name, text in declared.items() if re.match(words, text)}


def test_every_public_class_with_numbers_is_tried() -> None:
    kinds = [getattr(eq, name) for name in dir(eq) if not name.startswith("_")]
    found = {(kind.__name__, name) for kind in kinds if isinstance(kind, type) for name in numbers_of(kind)}
    found = {(name, option) for name, option in found if name not in NO_OPTIONS}
    assert len(found) > 40
    pairs = {"stride", "padding", "dilation"}  # of one kind with the kernel
    assert sorted(found - set(CASES) - {(n, o) for n, o in found if o in pairs}) == []


@pytest.mark.parametrize(("name", "option"), CASES)
def test_bad_options_are_refused_where_they_are_made(name: str, option: str) -> None:
    make, allowed = MADE[name][0], {math.inf: INFINITE, -1: NEGATIVE, None: NONE}
    for value in NO_NUMBERS:
        assert outcome(make, option, value) == "refused", repr(value)
    for other, options in allowed.items():
        expected = "made" if (name, option) in options else "refused"
        assert outcome(make, option, other) == expected, repr(other)
