"""Devices in files: what a file tells of a device, whose functions no file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equiprop.black_box import BlackBox
from equiprop.checks import require


def describe_box(box: BlackBox) -> dict[str, Any]:
    """Return what a file tells of a device, whose functions no file holds, as a dictionary for JSON."""
    slices = {name: [at.start, at.stop] for name, at in box.block_slices.items()}
    return {"black_box": {"num_outputs": box.num_outputs, "blocks": slices}}


def check_box(box: Any, description: Mapping[str, Any], where: str) -> None:
    """Raise an error unless `box` is a device like the one that the file describes."""
    rule = (
        "The file holds the Trainer of a BlackBox, whose functions no file holds. Pass the device as the "
        "argument model"
    )
    if not isinstance(box, BlackBox):
        raise TypeError(f"[{where}] {rule}. Received {type(box).__name__}.")
    expected, own = description["black_box"], describe_box(box)["black_box"]
    rule = f"The device has the outputs and the blocks of parameters of the file, {expected}"
    require(own == expected, where, rule, own)
