"""Descriptions of networks as dictionaries for JSON, as model files contain them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from equiprop import _core
from equiprop.models import HopfieldNetwork


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
