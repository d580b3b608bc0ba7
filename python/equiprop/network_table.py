"""The table that `print` shows of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from equiprop.couplings import Dense

if TYPE_CHECKING:
    from equiprop.models import HopfieldNetwork


def network_table(net: HopfieldNetwork) -> str:
    """Return layers with their shapes, parameters and colours, and couplings with their weights.

    Layers of one colour are not coupled to each other, so one block update relaxes all of them.
    """
    colors = {layer: color for color, layers in enumerate(net.core_network.colors) for layer in layers}
    layers = [["layer", "shape", "units", "biases", "colour"]]
    for k, layer in enumerate(net.layers):
        own = [str(layer.shape[0]), str(colors[k - 1])] if k else ["", ""]
        layers.append([layer.name, layer.size, str(layer.units), *own])
    couplings = [["block", "coupling", "from", "to", "weights"]]
    for i, coupling in enumerate(net.couplings, start=1):
        ends = [net.layers[coupling.source].name, net.layers[coupling.target].name]
        shape = "x".join(map(str, net.blocks[f"W{i}"].shape))
        couplings.append([f"W{i}", _options(coupling), *ends, shape])
    total = f"{net.num_parameters} parameters; block updates in {len(net.core_network.colors)} colours"
    return "\n".join([repr(net), "", *_aligned(layers), "", *_aligned(couplings), "", total])


def _options(coupling: object) -> str:
    """Return the kind of a coupling, and the numbers of its geometry that are not the defaults."""
    if isinstance(coupling, Dense):
        return "dense"
    defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "mean_pool": 1}
    options = {name: value for name, value in vars(coupling).items() if name not in ("source", "target")}
    shown = [f"{name} {value}" for name, value in options.items() if value != defaults.get(name)]
    return f"{type(coupling).__name__}, {', '.join(shown)}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, columns to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
