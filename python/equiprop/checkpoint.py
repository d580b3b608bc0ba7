"""Saving and loading networks: one safetensors file, the network's structure in its metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equiprop import _core
from equiprop.models import HopfieldNetwork


def save(net: HopfieldNetwork, path: str | os.PathLike[str]) -> Path:
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
    ValueError
        If a parameter is not finite: what was saved before stays.
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
    net._network.save(os.fsencode(Path(path)))
    return Path(path)


def load(path: str | os.PathLike[str]) -> HopfieldNetwork:
    """Read a network that `save` wrote, or the function of the same name in C++.

    Raises
    ------
    ValueError
        If the file is not one, is damaged, or its arrays do not fit its network.
    OSError
        If it cannot be read.
    """
    return HopfieldNetwork.from_core(_core.load(os.fsencode(Path(path))))


def describe(net: HopfieldNetwork) -> dict[str, Any]:
    """Return everything about a network but its parameters, as JSON takes it."""
    return dict(json.loads(net._network.description()))


def rebuild(description: Mapping[str, Any], num_parameters: int) -> HopfieldNetwork:
    """Return the network that `describe` described, its parameters zero.

    Raises
    ------
    ValueError
        If there is none, or it has not that many parameters; before anything of that size is allocated.
    """
    return HopfieldNetwork.from_core(_core.network_of(json.dumps(description), num_parameters))
