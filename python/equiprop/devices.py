"""Devices on which networks can be, and how products on them round their factors; see docs/gpu.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from equiprop.checks import check_choice, require

#: Functions of a network and a precision that put the network on a device, by the name of the device.
DEVICES: dict[str, Callable[[Any, str], Any]] = {}
#: Names of the precisions of products.
PRODUCT_PRECISIONS = ("exact", "tf32", "3xtf32", "bf16")


def checked_precision(device: str, wanted: str | None, present: str, dtype: np.dtype[Any], where: str) -> str:
    """Return the precision of products of a network on a device; raise ValueError if the two do not fit.

    Parameters
    ----------
    device : str
        Name of the device.
    wanted : str or None
        The chosen precision; None for "exact" on the CPU, and otherwise for the present one.
    present : str
        The precision that the network has now.
    dtype : dtype
        Type of the parameters.
    where : str
        Function, for errors.
    """
    check_choice(device, where, "device", "cpu", *DEVICES)
    if wanted is None:
        wanted = "exact" if device == "cpu" else present
    check_choice(wanted, where, "precision", *PRODUCT_PRECISIONS)
    possible = wanted == "exact" or (device != "cpu" and dtype == np.float32)
    require(possible, where, 'precision is "exact" on the CPU and for networks in float64', wanted)
    return wanted
