"""The graph of a network: its layers as boxes, and its couplings as arrows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from equiprop.activations import activation_name
from equiprop.checks import check_type
from equiprop.couplings import Coupling
from equiprop.models import HopfieldNetwork
from equiprop.network_table import coupling_text
from equiprop.plotting import style
from equiprop.plotting.figures import axes_of

#: Inches between two layers of a graph, and half the width and the height of a box in this unit.
_SPACING, _HALF_WIDTH, _HALF_HEIGHT = 2.0, 0.22, 0.12
#: Width of a character, and height of the texts of couplings above each other, in this unit.
_CHARACTER, _STOREY = 0.025, 0.3


def graph(net: HopfieldNetwork, axes: Any = None) -> Any:
    """Draw the layers of a network as boxes and its couplings as arrows; return the matplotlib axes.

    A box has the name, the shape and the activation of its layer; layers that one block update relaxes have
    one colour and one kind of edge. An arrow has the block of weights, the coupling and the shape of the
    weights. Couplings of free layers act in both directions; the input is clamped, and no coupling acts on
    it. Letters are smaller if the given axes are narrower than two inches for each layer.

    Parameters
    ----------
    net : HopfieldNetwork
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> axes = eq.plotting.graph(eq.networks.dense([784, 512, 10]))
    >>> print([text.get_text() for text in axes.texts if "W1" in text.get_text()][0])
    W1: dense
    784x512
    """
    check_type(net, HopfieldNetwork, "graph", "net is a HopfieldNetwork")
    count = len(net.layers)
    labels = [_label(net, i) for i in range(len(net.couplings))]
    rises = list(_rises(net.couplings, labels))
    height = max(rise + (0.5 if rise else 0.36) for rise in rises)
    width = _SPACING * (count - 0.4)
    axes = axes_of(axes, "graph", (width, _SPACING * (height + 0.2)))
    scale = min(1.0, round(style.width_of(axes) / width, 3))  # letters of small axes are smaller
    color_of = {layer: color for color, members in enumerate(net.core_network.colors) for layer in members}
    for k, layer in enumerate(net.layers):
        about = activation_name(layer.activation) if k else "clamped"
        text = f"{layer.name}\n{layer.size}\n{about}"
        frame = _frame(color_of[k - 1] if k else None)
        axes.text(k, 0, text, ha="center", va="center", fontsize=7 * scale, bbox=frame)
    for coupling, label, rise in zip(net.couplings, labels, rises, strict=True):
        _arrow(axes, coupling, label, rise, scale)
    axes.set(xlim=(-0.3, count - 0.7), ylim=(-0.2, height), aspect="equal")
    axes.set_axis_off()
    return axes


def _frame(group: int | None) -> dict[str, Any]:
    """Return the box of a layer of this group of layers, which are relaxed together; None is the input."""
    colour, edge = (
        (style.FAINT, "-") if group is None else (style.colour(group), style.line(group)["linestyle"])
    )
    return {"boxstyle": "round", "facecolor": f"{colour}4d", "edgecolor": style.INK, "linestyle": edge}


def _label(net: HopfieldNetwork, number: int) -> str:
    """Return the text of a coupling: its block, kind, geometry, and the shape of its weights."""
    weights = net.blocks.get(f"W{number + 1}")
    kind, *options = coupling_text(net.couplings[number]).split(", ")
    lines = [kind if weights is None else f"W{number + 1}: {kind}"]
    lines += [", ".join(options[k : k + 2]) for k in range(0, len(options), 2)]
    lines += [] if weights is None else ["x".join(map(str, weights.shape))]
    return "\n".join(lines)


def _rises(couplings: Sequence[Coupling], labels: Sequence[str]) -> Iterator[float]:
    """Yield how high the arrow of each coupling rises: over skipped layers, and over earlier texts."""
    taken: list[tuple[int, float, float]] = []  # storey, middle and width of each text
    for coupling, label in zip(couplings, labels, strict=True):
        distance = abs(coupling.target - coupling.source)
        storey = distance - 1 if distance else 1
        middle = (coupling.source + coupling.target) / 2
        width = _CHARACTER * max(map(len, label.splitlines()))
        while any(storey == s and abs(middle - m) < (width + w) / 2 for s, m, w in taken):
            storey += 1
        taken.append((storey, middle, width))
        yield _STOREY * storey


def _arrow(axes: Any, coupling: Coupling, label: str, rise: float, scale: float) -> None:
    """Draw the arrow of a coupling, with the clamped input at its tail, and its text in scaled letters."""
    source, target = coupling.source, coupling.target
    if target == 0:
        source, target = target, source
    side = _HALF_WIDTH if target >= source else -_HALF_WIDTH
    start, end, y = source + side, target - side, 0.0 if rise == 0 else _HALF_HEIGHT
    if rise:
        start, end = source + side / 2, target - side / 2
    style = {
        "arrowstyle": "->" if 0 in (source, target) else "<->",
        "connectionstyle": f"arc3,rad={-2 * rise / (end - start)}",
        "shrinkA": 0,
        "shrinkB": 0,
    }
    axes.annotate("", (end, y), (start, y), arrowprops=style)
    place = ((start + end) / 2, y + rise + 0.03)
    axes.text(*place, label, ha="center", va="bottom", fontsize=6 * scale, linespacing=1.1)
