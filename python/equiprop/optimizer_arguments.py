"""Checks of the arguments of optimizers: rates and decays of blocks, gradients, and the cover of blocks."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equiprop.array_arguments import check_slices
from equiprop.centring import Blocks
from equiprop.checks import real, require

#: One learning rate for all parameters, or one for each block by name.
Rate = float | Mapping[str, float]
#: One weight decay for all parameters, or one for each block that decays.
Decay = float | Mapping[str, float]
_Array = NDArray[Any]


class Piece(NamedTuple):
    """Neighbouring parameters that have one learning rate, times the schedule's factor, and one decay."""

    begin: int
    size: int
    rate: float
    decay: float


def check_range(where: str, name: str, value: float, bound: float = math.inf) -> None:
    """Raise TypeError if a value is not a number, and ValueError if it does not lie in [0, bound)."""
    require(0 <= real(value, where, name) < bound, where, f"{name} lies in [0, {bound})", value)


def check_rates(where: str, learning_rate: Rate) -> None:
    """Raise TypeError or ValueError if a rate is not a number, is negative or not finite."""
    for rate in learning_rate.values() if isinstance(learning_rate, Mapping) else (learning_rate,):
        check_range(where, "learning_rate", rate)


def check_decay(where: str, weight_decay: Decay) -> None:
    """Raise TypeError or ValueError if a decay is not a number, is negative or not finite."""
    for decay in weight_decay.values() if isinstance(weight_decay, Mapping) else (weight_decay,):
        check_range(where, "weight_decay", decay)


def checked_pieces(
    where: str, learning_rate: Rate | str, weight_decay: Decay, blocks: Blocks, factor: float
) -> list[Piece]:
    """Return the pieces of the parameters: all of them, or each block if a rate or a decay is a mapping."""
    if isinstance(learning_rate, str):
        rule = "learning_rate is a number, or a mapping from block name to number; only a Trainer sets 'auto'"
        raise ValueError(f"[{where}] {rule}. Received {learning_rate!r}.")
    check_range(where, "factor", factor)
    if not isinstance(learning_rate, Mapping) and not isinstance(weight_decay, Mapping):
        size = max((block.stop for block in blocks.values()), default=0)
        return [Piece(0, size, float(learning_rate * factor), weight_decay)]
    rates, decays = _rates(where, learning_rate, blocks), _decays(where, weight_decay, blocks)
    return [
        Piece(block.start, block.stop - block.start, float(rates[name] * factor), decays[name])
        for name, block in blocks.items()
    ]


def _rates(where: str, learning_rate: Rate, blocks: Blocks) -> Mapping[str, float]:
    """Return the rate of each block."""
    if not isinstance(learning_rate, Mapping):
        return dict.fromkeys(blocks, learning_rate)
    missing, unknown = sorted(blocks.keys() - learning_rate), sorted(learning_rate.keys() - blocks)
    rule = "A learning_rate mapping names every block and no other"
    require(not missing and not unknown, where, rule, f"missing {missing}, unknown {unknown}")
    return learning_rate


def _decays(where: str, weight_decay: Decay, blocks: Blocks) -> Mapping[str, float]:
    """Return the decay of each block, 0 if a mapping does not name it."""
    if not isinstance(weight_decay, Mapping):
        return dict.fromkeys(blocks, weight_decay)
    unknown, rule = sorted(weight_decay.keys() - blocks), "A weight_decay mapping names blocks"
    require(not unknown, where, f"{rule}, here {', '.join(blocks)}", f"unknown {unknown}")
    check_decay(where, weight_decay)
    return {name: float(weight_decay.get(name, 0.0)) for name in blocks}


def check_gradient(where: str, theta: _Array, gradient: _Array) -> None:
    """Raise TypeError or ValueError if a gradient does not match the parameters, or is not finite."""
    for name, value in (("parameters", theta), ("gradient", gradient)):
        is_array = isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)
        if not is_array:
            raise TypeError(
                f"[{where}] {name} is a NumPy array without a mask. Received {reprlib.repr(value)}."
            )
    given = f"{theta.dtype} {theta.shape}, {gradient.dtype} {gradient.shape}"
    if theta.dtype not in (np.float32, np.float64) or gradient.dtype != theta.dtype:
        raise TypeError(f"[{where}] parameters and gradient are both float32 or float64. Received {given}.")
    same = theta.ndim == 1 and gradient.shape == theta.shape
    require(same, where, "parameters and gradient are vectors of one length", given)
    # min and max return NaN or infinity if there is one, and need no temporary array as isfinite does.
    with np.errstate(invalid="ignore"):
        low, high = float(gradient.min(initial=0)), float(gradient.max(initial=0))
    finite = math.isfinite(low) and math.isfinite(high)
    require(finite, where, "gradient is finite", f"values from {low} to {high}; lower the learning rate")


def check_cover(where: str, blocks: Blocks, size: int) -> None:
    """Raise TypeError or ValueError unless blocks are slices that cover 0 .. size without gap or overlap."""
    check_slices(blocks, where, "blocks")
    bounded = [block for block in blocks.values() if block.step in (None, 1) and block.start is not None]
    pieces = sorted((block.start, block.stop) for block in bounded if block.stop is not None)
    starts, stops = [piece[0] for piece in pieces], [piece[1] for piece in pieces]
    covers = len(pieces) == len(blocks) and [*starts, size] == [0, *stops] and stops == sorted(stops)
    require(covers, where, f"blocks cover 0 .. {size} without gap or overlap", blocks)
