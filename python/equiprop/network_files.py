"""Descriptions and scalings of networks, as files contain them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.checks import require
from equiprop.models import HopfieldNetwork
from equiprop.scaling import Scaling


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
    required = json.loads(metadata.get("requires", "[]"))
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
