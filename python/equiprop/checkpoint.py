"""Saving and loading networks: one safetensors file, the network's structure in its metadata."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from equiprop.activations import Activation, activation
from equiprop.models import Dense, HopfieldNetwork, Layer
from equiprop.safetensors import read_safetensors, write_safetensors

_FORMAT = "equiprop.HopfieldNetwork.1"


def save(net: HopfieldNetwork, path: str | PathLike[str]) -> Path:
    """Write a network to `path`, atomically: the old file stays until the new one is whole.

    Equal networks give equal bytes.

    Parameters
    ----------
    net : HopfieldNetwork
    path : path-like

    Returns
    -------
    Path

    Raises
    ------
    TypeError
        For a model that is not a HopfieldNetwork.
    OSError
        If the file cannot be written; nothing is lost.

    Examples
    --------
    >>> import equiprop as eq, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> net = eq.HopfieldNetwork([2, 3, 1])
    >>> bool((eq.load(eq.save(net, path)).parameters == net.parameters).all())
    True
    """
    if not isinstance(net, HopfieldNetwork):
        raise TypeError(f"[save] A HopfieldNetwork can be saved. Received {type(net).__name__}.")
    metadata = {"format": _FORMAT, "network": json.dumps(describe(net), sort_keys=True)}
    write_safetensors(path, net.blocks, metadata)
    return Path(path)


def load(path: str | PathLike[str]) -> HopfieldNetwork:
    """Read a network that `save` wrote.

    Raises
    ------
    ValueError
        If the file is not one, is damaged, or its arrays do not fit its network.
    """
    try:
        tensors, metadata = read_safetensors(path)
    except OSError as error:
        raise type(error)(f"[load] The file of a saved network can be read. Received {error}.") from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(
            f"[load] The file holds a network saved by equiprop ({_FORMAT}). "
            f"Received format {metadata.get('format')!r} in '{path}'."
        )
    expected, dtype = expected_blocks(metadata.get("network", ""), path)
    found = {name: array.shape for name, array in tensors.items()}
    if found != expected or any(array.dtype.name != dtype for array in tensors.values()):
        raise ValueError(
            f"[load] The arrays of a saved network fit its layers. Expected {expected} of {dtype}. "
            f"Received {found} in '{path}'."
        )
    try:
        net = rebuild(json.loads(metadata["network"]))
    except (ValueError, TypeError, KeyError) as error:
        raise _not_a_network(metadata["network"], path) from error
    for name, block in net.blocks.items():
        block[...] = tensors[name]
    if not np.isfinite(net.parameters).all():
        raise ValueError(f"[load] Parameters are finite. Received NaN or infinity in '{path}'.")
    return net


def describe(net: HopfieldNetwork) -> dict[str, Any]:
    """Return everything about a network but its parameters, as JSON takes it."""
    return {
        "dtype": net.dtype.name,
        "potential": net.potential,
        "feedback": net.feedback,
        "layers": [
            {"name": layer.name, "units": layer.units, "activation": _activation_fields(layer)}
            for layer in net.layers
        ],
        "couplings": [[c.source, c.target] for c in net.couplings],
    }


def _activation_fields(layer: Layer) -> list[Any]:
    rho = activation(layer.activation)
    bounds = [None if abs(bound) == float("inf") else bound for bound in (rho.lower, rho.upper)]
    return [rho.kind, rho.gain, rho.shift, *bounds]


def expected_blocks(text: str, path: str | PathLike[str]) -> tuple[dict[str, tuple[int, ...]], str]:
    """Return the shapes a description implies, before anything of that size is allocated."""
    try:
        network = json.loads(text)
        units = [int(layer["units"]) for layer in network["layers"]]
        shapes: dict[str, tuple[int, ...]] = {
            f"W{e}": (units[source], units[target])
            for e, (source, target) in enumerate(network["couplings"], start=1)
        }
        if network.get("feedback") == "separate":
            shapes |= {
                f"B{name[1:]}": shape for name, shape in shapes.items() if not _from_input(network, name)
            }
        shapes |= {f"b{k}": (n,) for k, n in enumerate(units[1:], start=1)}
        return shapes, str(network["dtype"])
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError, RecursionError) as error:
        raise _not_a_network(text, path) from error


def _from_input(network: dict[str, Any], weights: str) -> bool:
    return 0 in network["couplings"][int(weights[1:]) - 1]


def _not_a_network(text: str, path: str | PathLike[str]) -> ValueError:
    return ValueError(f"[load] The metadata describes a network. Received {text[:80]!r} in '{path}'.")


def rebuild(network: dict[str, Any]) -> HopfieldNetwork:
    """Return the network that `describe` described, with parameters yet to be filled in."""
    infinity = float("inf")
    layers = []
    for layer in network["layers"]:
        kind, gain, shift, lower, upper = layer["activation"]
        lower, upper = -infinity if lower is None else lower, infinity if upper is None else upper
        layers.append(Layer(layer["units"], Activation(kind, gain, shift, lower, upper), layer["name"]))
    couplings = [Dense(source, target) for source, target in network["couplings"]]
    return HopfieldNetwork(
        layers=layers,
        couplings=couplings,
        potential=network["potential"],
        feedback=network.get("feedback", "tied"),
        dtype=network["dtype"],
    )
