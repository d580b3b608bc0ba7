"""Devices in certificates: what is needed to measure them again, and the comparison of both measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any, cast

import numpy as np

from equiprop.arrays import Array
from equiprop.black_box import BlackBox
from equiprop.verify.black_box import BlackBoxReport, black_box
from equiprop.verify.device import Measured
from equiprop.verify.encoding import decode, decode_array, encode, encode_array
from equiprop.verify.own_code import find, reference
from equiprop.verify.recorded import RecordedReport, rebuilt
from equiprop.verify.verdict import JSON, Verdict

#: Name of the entry of a device among the settings of its claim.
DEVICE = "device"
_FUNCTIONS = ("relax", "contrast", "parameters_changed")


@dataclass(frozen=True)
class Again:
    """A claim on a device, in a replay.

    Attributes
    ----------
    report : Verdict
        The result of new measurements, if their bits can be compared; otherwise that of the file.
    how : str
        "bits", "statistics", or the reason why the device was not measured again.
    differences : tuple of str
        Sentences on differences that the noise of both measurements does not explain.
    """

    report: Verdict
    how: str
    differences: tuple[str, ...] = ()


def encode_device(report: Verdict) -> dict[str, JSON]:
    """Return the device of a claim for the settings in a file; nothing for a claim on a model.

    A function is stored by its import path and the SHA-256 of its source file, a method with the attributes
    of its object. Without `parameters_changed`, a function reads the array of its module that the parameters
    are.
    """
    if not isinstance(report, BlackBoxReport) or report.measured is None:
        return {}
    measured, box = report.measured, report.measured.box
    functions = {name: _encode_function(getattr(box, name), box.parameters) for name in _FUNCTIONS}
    record = {
        **functions,
        "parameters": encode_array(box.parameters),
        "read_from": _module_array(box),
        "num_outputs": box.num_outputs,
        "blocks": {name: [at.start, at.stop] for name, at in box.block_slices.items()},
        "x": encode_array(measured.x),
        "y": encode_array(measured.y),
        "cost": encode(measured.given),
    }
    return {DEVICE: cast(JSON, record)}


def _encode_function(function: Any, parameters: Array) -> JSON:
    if isinstance(function, MethodType):
        return {"of": encode(function.__self__, parameters), "method": function.__name__}
    return encode(function)


def _module_array(box: BlackBox) -> JSON:
    """Return the import path of the array in the module of `relax` that is the parameters, or None."""
    if not isinstance(box.relax, FunctionType):
        return None
    names = [name for name, value in box.relax.__globals__.items() if value is box.parameters]
    if not names:
        return None
    return {**cast(dict[str, JSON], reference(box.relax)), "name": f"{box.relax.__module__}:{names[0]}"}


def checked_again(claim: Mapping[str, Any]) -> Again:
    """Measure the device of a claim in a file again, if its functions can be imported, and compare.

    If two relaxations with equal arguments are equal, all figures are compared bit for bit. Otherwise the
    verdicts are compared, and the slopes: they differ if their difference is larger than the limits of both
    measurements, joined as independent errors, allow.

    Raises
    ------
    ValueError
        If the source of a function differs from that which was certified.
    """
    old = rebuilt(claim)
    record = claim["settings"].get(DEVICE)
    reason = _unmeasurable(record)
    if reason:
        return Again(old, reason)
    box = _box(record)
    x, y, cost = decode_array(record["x"]), decode_array(record["y"]), decode(record["cost"])
    new = black_box(box, x, y, cost=cost, **old.settings)
    assert new.measured is not None
    if _repeats(new.measured, float(old.settings["beta"])):
        return Again(new, "bits")
    return Again(old, "statistics", tuple(_disagreements(old, new)))


def _unmeasurable(record: Any) -> str:
    """Return the reason why a device cannot be measured again, or nothing."""
    if record is None:
        return "the file does not describe it"
    for name in _FUNCTIONS:
        stored = record[name]
        kind = stored.get("type", "method") if isinstance(stored, dict) else "none"
        path = stored["code"]["name"] if kind == "function" else ""
        if kind == "unknown" or "<" in path or _holds_unknown(stored):
            return f"{name} is not a function or a method of a module"
    free = record["parameters_changed"] is None and record["read_from"] is None
    if free and record["relax"].get("type") == "function":
        return "relax reads its parameters from no array of its module, and parameters_changed is not given"
    return ""


def _holds_unknown(stored: Any) -> bool:
    if isinstance(stored, list):
        return any(map(_holds_unknown, stored))
    if not isinstance(stored, dict):
        return False
    return stored.get("type") == "unknown" or any(map(_holds_unknown, stored.values()))


def _box(record: Mapping[str, Any]) -> BlackBox:
    parameters = decode_array(record["parameters"])
    if record["read_from"] is not None:
        read = find(record["read_from"])
        if not isinstance(read, np.ndarray) or read.shape != parameters.shape:
            raise TypeError(f"{record['read_from']['name']} is not an array of shape {parameters.shape}")
        read[:] = parameters
        parameters = read
    owners: list[tuple[Any, Any]] = []
    functions = [_decode_function(record[name], parameters, owners) for name in _FUNCTIONS]
    blocks = {name: slice(*ends) for name, ends in record["blocks"].items()}
    return BlackBox(functions[0], functions[1], parameters, record["num_outputs"], functions[2], blocks)


def _decode_function(stored: Any, parameters: Array, owners: list[tuple[Any, Any]]) -> Any:
    """Return a function; methods of equal objects become those of one object."""
    if not isinstance(stored, dict) or "method" not in stored:
        return decode(stored, parameters)
    owner = next((found for known, found in owners if known == stored["of"]), None)
    if owner is None:
        owner = decode(stored["of"], parameters)
        owners.append((stored["of"], owner))
    return getattr(owner, stored["method"])


def _repeats(measured: Measured, beta: float) -> bool:
    """Return True if two relaxations with equal arguments are equal, free and nudged."""
    return all(np.array_equal(measured.trajectory(b), measured.trajectory(b)) for b in (0.0, beta))


def _disagreements(old: RecordedReport, new: BlackBoxReport) -> Sequence[str]:
    """Return sentences on figures of two measurements with noise that differ by more than it explains."""
    found = []
    if old.outcome != new.outcome:
        found.append(f"black-box was {old.outcome}, is {new.outcome}")
    for before, after in zip(old.rows, new.rows, strict=True):
        if None in (before.low, before.high, after.low, after.high):
            continue
        limit = math.hypot(float(before.high or 0), float(after.high or 0))
        if not abs(before.value - after.value) <= limit:
            found.append(
                f"black-box, {before.label}, was {before.value:.3g}, is {after.value:.3g}; the noise of both "
                f"explains a difference of {limit:.2g}"
            )
    return found
