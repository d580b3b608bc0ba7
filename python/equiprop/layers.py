"""Layers and couplings of a Hopfield network, and the checks of these arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from equiprop import _core
from equiprop.activations import Activation, activation
from equiprop.checks import check_type, whole


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Parameters
    ----------
    units : int
        Number of units, at least 1.
    activation : str or Activation
        Activation function; not used for the input layer, whose units are clamped.
    name : str
        Name of the layer; if it is empty, "input", "hidden1", ..., "output".

    Examples
    --------
    >>> import equiprop as eq
    >>> layers = [eq.Layer(4), eq.Layer(6, "tanh"), eq.Layer(3, "linear")]
    >>> eq.HopfieldNetwork(layers=layers, couplings=[eq.Dense(0, 1), eq.Dense(1, 2)])
    HopfieldNetwork(4-6-3, linear, tanh, legendre, float32)
    """

    units: int
    activation: str | Activation = "hard_sigmoid"
    name: str = ""


@dataclass(frozen=True)
class Dense:
    """All-to-all weights W between two different layers, which add -<u_source, W u_target> to the energy.

    Parameters
    ----------
    source, target : int
        Positions of the layers; 0 is the input.
    """

    source: int
    target: int


def chain_layers(
    sizes: Sequence[int],
    hidden: str | Activation | Sequence[str | Activation],
    output: str | Activation,
) -> list[Layer]:
    """Return the layers of a chain with the given sizes; the first one is the input."""
    check_type(sizes, Iterable, "HopfieldNetwork", "`sizes` lists the units of every layer")
    sizes = list(sizes)
    if len(sizes) < 2:
        raise ValueError(
            f"[HopfieldNetwork] `sizes` contains the sizes of at least two layers. Received {sizes}."
        )
    count = len(sizes) - 2
    each = [hidden] * count if isinstance(hidden, str) or not isinstance(hidden, Iterable) else list(hidden)
    if len(each) != count:
        raise ValueError(
            f"[HopfieldNetwork] `activation` is one for all, or one for each of the {count} hidden layers. "
            f"Received {len(each)}."
        )
    return [Layer(units, act) for units, act in zip(sizes, ["linear", *each, output], strict=True)]


def named_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Return checked copies of the layers, each with a name."""

    def name(k: int) -> str:
        return "input" if k == 0 else "output" if k == len(layers) - 1 else f"hidden{k}"

    for layer in layers:
        check_type(layer, Layer, "HopfieldNetwork", "`layers` lists objects Layer(units, ...)")
        check_type(layer.name, str, "HopfieldNetwork", "The name of a layer is text")
    return [
        Layer(_size(layer.units), activation(layer.activation), layer.name or name(k))
        for k, layer in enumerate(layers)
    ]


def coupling_pairs(couplings: Sequence[Dense]) -> list[tuple[int, int]]:
    """Return the positions (source, target) of each coupling as ints."""
    for coupling in couplings:
        check_type(coupling, Dense, "HopfieldNetwork", "`couplings` lists objects Dense(source, target)")
    return [(_position(coupling.source), _position(coupling.target)) for coupling in couplings]


def count_parameters(layers: Sequence[Layer], couplings: Sequence[tuple[int, int]], separate: bool) -> int:
    """Return the number of parameters of a network; couplings to layers that do not exist count nothing."""
    units = [layer.units for layer in layers]
    count = sum(units[1:])
    for pair in couplings:
        if max(pair) < len(units):
            count += units[pair[0]] * units[pair[1]] * (2 if separate and 0 not in pair else 1)
    return count


def _position(layer: Any) -> int:
    return whole(layer, "HopfieldNetwork", "The position of a layer", 0)


def core_layer(layer: Layer) -> _core.Layer:
    """Return a layer of `named_layers` as an object of the core."""
    return _core.Layer(layer.name, layer.units, activation(layer.activation).core)


def _size(units: Any) -> int:
    if isinstance(units, bool):
        raise TypeError(f"[HopfieldNetwork] The size of a layer is a whole number. Received {units}.")
    return whole(units, "HopfieldNetwork", "The size of a layer", 1)
