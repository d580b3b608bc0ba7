"""The table that `print` shows of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equiprop.couplings import Coupling, Dense, Identity, is_lateral
from equiprop.layers import Layer

#: The header of a table, and its rows.
Table = tuple[list[str], list[list[str]]]
_LAYERS = ["layer", "shape", "units", "biases", "colour"]
_BLOCKS = ["block", "coupling", "from", "to", "weights"]


def network_table(
    layers: Sequence[Layer],
    couplings: Sequence[Coupling],
    shapes: Mapping[str, tuple[int, ...]],
    colors: Sequence[Sequence[int]],
) -> str:
    """Return the two tables of `network_rows` as text.

    Parameters
    ----------
    layers, couplings, shapes, colors
        See `network_rows`.
    """
    tables = network_rows(layers, couplings, shapes, colors)
    return "\n\n".join("\n".join(_aligned([header, *rows])) for header, rows in tables)


def network_rows(
    layers: Sequence[Layer],
    couplings: Sequence[Coupling],
    shapes: Mapping[str, tuple[int, ...]],
    colors: Sequence[Sequence[int]],
) -> tuple[Table, Table]:
    """Return layers with their shapes, biases and colours, and couplings with the shapes of their weights.

    Layers of one colour are not coupled to each other, so one block update relaxes all of them. An identity
    coupling has no block and no weights.

    Parameters
    ----------
    layers, couplings : sequence
        Those of the network.
    shapes : mapping
        Shape of each block of parameters.
    colors : sequence of sequences
        The free layers of each colour, counted from 0.
    """
    color_of = {layer: color for color, members in enumerate(colors) for layer in members}
    rows = []
    for k, layer in enumerate(layers):
        own = [str(layer.shape[0]), str(color_of[k - 1])] if k else ["", ""]
        rows.append([layer.name, layer.size, str(layer.units), *own])
    blocks = []
    for i, coupling in enumerate(couplings, start=1):
        ends = [layers[coupling.source].name, layers[coupling.target].name]
        name = f"W{i}" if f"W{i}" in shapes else ""
        blocks.append([name, coupling_text(coupling), *ends, "x".join(map(str, shapes.get(name, ())))])
        if f"B{i}" in shapes:
            size = "x".join(map(str, shapes[f"B{i}"]))
            blocks.append([f"B{i}", "feedback of it", *reversed(ends), size])
    return (_LAYERS, rows), (_BLOCKS, blocks)


def is_plain(layers: Sequence[Layer], couplings: Sequence[Coupling], colors: Sequence[Sequence[int]]) -> bool:
    """Return True for a chain of dense layers, of which `repr` says all."""
    dense = all(isinstance(c, Dense) and not is_lateral(c) for c in couplings)
    return dense and not any(layer.is_image for layer in layers) and len(colors) <= 2


def coupling_text(coupling: Coupling) -> str:
    """Return the kind of a coupling, and the numbers of its geometry that are not the defaults."""
    if isinstance(coupling, Dense):
        return "dense"
    if isinstance(coupling, Identity):
        return f"identity, gain {coupling.gain:g}"
    defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "mean_pool": 1}
    options = {name: value for name, value in vars(coupling).items() if name not in ("source", "target")}
    shown = [f"{name} {value}" for name, value in options.items() if value != defaults.get(name)]
    return f"{type(coupling).__name__}, {', '.join(shown)}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, columns to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
