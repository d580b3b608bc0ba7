"""Saving and loading networks as safetensors files, with the structure of the network in the metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equiprop import _core
from equiprop.models import HopfieldNetwork


def save(net: HopfieldNetwork, path: str | os.PathLike[str]) -> Path:
    """Write a network to a safetensors file; an existing file is replaced only when the new one is complete.

    Equal networks give equal bytes.

    Parameters
    ----------
    net : HopfieldNetwork
    path : path-like
        File to create or replace.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    TypeError
        If `net` is not a HopfieldNetwork.
    ValueError
        If a parameter is not finite. An existing file is not changed.
    OSError
        If the file cannot be written. An existing file is not changed.

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
    """Read a network from a file that `save`, or ``equiprop::save`` of the C++ library, wrote.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    HopfieldNetwork

    Raises
    ------
    ValueError
        If the file is not a saved network, is damaged, or has arrays that do not fit the network.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import equiprop as eq, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> eq.load(eq.save(eq.HopfieldNetwork([2, 3, 1]), path))
    HopfieldNetwork(2-3-1, hard_sigmoid, linear, legendre, float32)
    """
    return HopfieldNetwork.from_core(_core.load(os.fsencode(Path(path))))


def describe(net: HopfieldNetwork) -> dict[str, Any]:
    """Return the structure of a network, everything but its parameters, as a dictionary for JSON."""
    return dict(json.loads(net._network.description()))


def rebuild(description: Mapping[str, Any], num_parameters: int) -> HopfieldNetwork:
    """Return a network with the structure that `describe` returned and with all parameters zero.

    Raises
    ------
    ValueError
        If the description is not valid, or its network does not have `num_parameters` parameters. The check
        comes before the allocation.
    """
    return HopfieldNetwork.from_core(_core.network_of(json.dumps(description), num_parameters))
