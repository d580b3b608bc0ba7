"""Layers of a Hopfield network, and the checks of these arguments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from equiprop import _core
from equiprop.activations import Activation, activation
from equiprop.checks import check_type, whole
from equiprop.couplings import Coupling, Dense, Shape


@dataclass(frozen=True, init=False, repr=False)
class Layer:
    """One layer of a network.

    Parameters
    ----------
    units : int or (int, int, int)
        Number of units, at least 1, or the shape (channels, height, width) of an image.
    activation : str or Activation
        Activation function; not used for the input layer, whose units are clamped.
    name : str
        Name of the layer; if it is empty, "input", "hidden1", ..., "output".

    Attributes
    ----------
    units : int
        Number of units.
    shape : tuple of int
        Channels, height and width; (units, 1, 1) for a number of units. The units of an image are stored with
        the channels last, and have one bias for each channel.

    Examples
    --------
    >>> import equiprop as eq
    >>> layers = [eq.Layer(4), eq.Layer(6, "tanh"), eq.Layer(3, "linear")]
    >>> eq.HopfieldNetwork(layers=layers, couplings=[eq.Dense(0, 1), eq.Dense(1, 2)])
    HopfieldNetwork(4-6-3, linear, tanh, legendre, float32)
    >>> eq.Layer((32, 12, 12)).units
    4608
    """

    units: int
    activation: str | Activation
    name: str
    shape: Shape

    def __init__(
        self,
        units: int | Sequence[int],
        activation: str | Activation = "hard_sigmoid",
        name: str = "",
    ) -> None:
        shape = _shape(units)
        for field, value in {
            "units": shape[0] * shape[1] * shape[2],
            "activation": activation,
            "name": name,
            "shape": shape,
        }.items():
            object.__setattr__(self, field, value)

    @property
    def is_image(self) -> bool:
        """True if the layer has more than one position."""
        return self.shape[1] * self.shape[2] > 1

    @property
    def size(self) -> str:
        """The number of units, or the shape of an image, as text."""
        return "x".join(map(str, self.shape)) if self.is_image else str(self.units)

    def __repr__(self) -> str:
        size = self.shape if self.is_image else self.units
        return f"Layer(units={size}, activation={self.activation!r}, name={self.name!r})"


def _shape(units: Any) -> Shape:
    """Return the shape of a layer from a number of units or from three numbers."""
    if isinstance(units, Sequence) and not isinstance(units, str | bytes):
        if len(units) != 3:
            raise ValueError(
                "[Layer] `units` is a number, or a shape (channels, height, width). "
                f"Received {tuple(units)!r}."
            )
        channels, height, width = (_size(number) for number in units)
        return channels, height, width
    return _size(units), 1, 1


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
        Layer(layer.shape, activation(layer.activation), layer.name or name(k))
        for k, layer in enumerate(layers)
    ]


def graph_of(
    sizes: Sequence[int] | None,
    activation: str | Activation | Sequence[str | Activation] | None,
    output_activation: str | Activation | None,
    layers: Iterable[Layer] | None,
    couplings: Iterable[Coupling] | None,
) -> tuple[list[Layer], list[Coupling]]:
    """Return layers and couplings of a chain with the given sizes, or those of a graph as lists."""
    if (sizes is None) == (layers is None) or (layers is None) != (couplings is None):
        raise ValueError(
            "[HopfieldNetwork] Give either `sizes` of a chain, or `layers` and `couplings` of a graph. "
            f"Received sizes={sizes}, layers={layers}, couplings={couplings}."
        )
    if sizes is not None:
        chain = chain_layers(
            sizes,
            "hard_sigmoid" if activation is None else activation,
            "linear" if output_activation is None else output_activation,
        )
        return chain, [Dense(k, k + 1) for k in range(len(chain) - 1)]
    check_type(layers, Iterable, "HopfieldNetwork", "`layers` lists the layers of a graph")
    check_type(couplings, Iterable, "HopfieldNetwork", "`couplings` lists the couplings of a graph")
    if activation is not None or output_activation is not None:
        raise ValueError(
            "[HopfieldNetwork] `activation` and `output_activation` are those of a chain of `sizes`; "
            "in a graph, each Layer has its own. "
            f"Received activation={activation!r}, output_activation={output_activation!r} with `layers`."
        )
    assert layers is not None
    assert couplings is not None
    return list(layers), list(couplings)


def slices_of(blocks: Iterable[tuple[str, int, Sequence[int]]]) -> dict[str, slice]:
    """Return the slice of each block (name, offset, shape) in a flat array."""
    return {name: slice(offset, offset + math.prod(shape)) for name, offset, shape in blocks}


def count_parameters(layers: Sequence[Layer], couplings: Sequence[Coupling], separate: bool) -> int:
    """Return the number of parameters of a network; couplings to layers that do not exist count nothing."""
    count = sum(layer.shape[0] for layer in layers[1:])
    for coupling in couplings:
        pair = coupling.source, coupling.target
        if max(pair) < len(layers):
            weights = coupling.num_weights(layers[pair[0]].shape, layers[pair[1]].shape)
            count += weights * (2 if separate and 0 not in pair and pair[0] != pair[1] else 1)
    return count


def core_layer(layer: Layer) -> _core.Layer:
    """Return a layer of `named_layers` as an object of the core."""
    return _core.Layer(layer.name, layer.shape, activation(layer.activation).core)


def _size(units: Any) -> int:
    if isinstance(units, bool):
        raise TypeError(f"[HopfieldNetwork] The size of a layer is a whole number. Received {units}.")
    return whole(units, "HopfieldNetwork", "The size of a layer", 1)
