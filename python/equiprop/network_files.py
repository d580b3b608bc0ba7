"""Descriptions, scalings and classes of networks, as files contain them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.checks import require
from equiprop.json_text import parse
from equiprop.labels import classes_of_outputs, shown
from equiprop.models import HopfieldNetwork
from equiprop.safetensors import write_safetensors
from equiprop.scaling import Scaling

#: Value of ``format`` in the metadata of the file of a network.
NETWORK_FORMAT = "equiprop.HopfieldNetwork.2"


def write_network(path: Path, net: HopfieldNetwork, where: str) -> None:
    """Write a network to a safetensors file; an old file is replaced by a complete one.

    Metadata: format, network, the fields that a reader must know, and the classes of the outputs, which the
    C++ library ignores. Tensors: the blocks, and those of the scaling.

    Raises
    ------
    TypeError
        If a class is neither a number nor text.
    ValueError
        If a parameter is not finite.
    OSError
        If the file cannot be written.
    """
    if net.classes is None:
        net.core_network.save(os.fsencode(path))
        return
    finite = bool(np.isfinite(net.parameters).all())
    require(finite, where, "Parameters are finite", "NaN or infinity")
    scaling, required = scaling_fields(net.scaling)
    own = {"format": NETWORK_FORMAT, "network": net.core_network.description()}
    classes = {"classes": _classes_text(net.classes, where)}
    write_safetensors(path, {**net.blocks, **scaling}, {**own, **classes, **required})


def _classes_text(classes: Array, where: str) -> str:
    """Return classes as JSON, with the type of their array; that of text has any length."""
    labels = classes.tolist()
    if not all(isinstance(label, int | float | str | np.integer) for label in labels):
        raise TypeError(
            f"[{where}] The classes of a saved network are numbers or text. Received {shown(classes)}. Use "
            "pickle.dump(network, file) to keep them, or set network.classes = None to save it without."
        )
    dtype = "U" if classes.dtype.kind == "U" else classes.dtype.str
    return json.dumps({"dtype": dtype, "labels": labels}, default=int)


def read_classes_text(text: str, outputs: int, path: Path) -> Array:
    """Return the classes of a file of a network.

    Raises
    ------
    ValueError
        If the text does not name one class for each output.
    """
    rule = "The classes of a file are one label for each output, and the type of their array"
    try:
        stored = parse(text)
        dtype, labels = np.dtype(stored["dtype"]), stored["labels"]
        require(dtype.kind in "biufOU" and dtype.itemsize <= 8, "load", rule, dtype)
        return classes_of_outputs(np.array(labels, dtype), outputs, "load")
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"[load] {rule}. Received {error!r} in '{path}'.") from error


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


def scaling_fields(scaling: Scaling | None) -> tuple[dict[str, Array], dict[str, str]]:
    """Return tensors and metadata of a scaling in a file, which a reader must know; or nothing for None."""
    if scaling is None:
        return {}, {}
    tensors = {"scaling.offset": scaling.offset, "scaling.factor": scaling.factor}
    return tensors, {"requires": json.dumps(["scaling"])}


def read_scaling(
    tensors: Mapping[str, Array], metadata: Mapping[str, str], number: float | None
) -> Scaling | None:
    """Return the scaling of a file, or None; `number` is that of a file of format 1.

    Raises
    ------
    ValueError
        If the numbers are no scaling, or the file requires a field that it lacks or that is not known.
    """
    offset, factor = (tensors.get(f"scaling.{name}") for name in ("offset", "factor"))
    required = parse(metadata.get("requires", "[]"))
    known = [] if offset is None else ["scaling"]
    rule = "The file has each field that it requires, and this version of equiprop knows it"
    fits = isinstance(required, list) and all(name in known for name in required)
    require(fits, "load", rule, required)
    if offset is None and factor is None:
        return None if number is None else Scaling.by(number)
    if offset is None or factor is None or offset.dtype != np.float64 or factor.dtype != np.float64:
        received = [None if numbers is None else numbers.dtype.name for numbers in (offset, factor)]
        raise ValueError(f"[load] A scaling has offset and factor of float64. Received {received}.")
    return Scaling(offset, factor)
