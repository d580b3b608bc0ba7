"""Weights of a coupling as images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from equiprop.arrays import Array
from equiprop.checks import check_type, require, several, whole
from equiprop.layers import Layer
from equiprop.models import HopfieldNetwork


def filters(net: HopfieldNetwork, block: str = "W1", shape: Any = None) -> Array:
    """Return the weights of a block as one image for each unit, or channel, that they drive.

    Parameters
    ----------
    net : HopfieldNetwork
    block : str
        Name of a block of weights, such as "W1", of dense or convolutional couplings.
    shape : (height, width), optional
        Shape of the source layer of dense weights. By default that of its image, or a square.

    Returns
    -------
    (filters, channels, height, width) array
        A copy: the weights of a convolution; or the weights from the source layer to each target unit.

    Raises
    ------
    TypeError, ValueError
        If there is no such block, or its source layer has another number of units.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.analysis.filters(eq.networks.dense([64, 20, 10])).shape
    (20, 1, 8, 8)
    >>> eq.analysis.filters(eq.networks.convolutional28(), "W2").shape
    (64, 32, 5, 5)
    """
    where = "filters"
    check_type(net, HopfieldNetwork, where, "net is a HopfieldNetwork")
    names = [name for name in net.blocks if name[0] in "WB"]
    if not isinstance(block, str) or block not in names:
        raise ValueError(f"[{where}] block is one of {', '.join(names)}. Received {block!r}.")
    weights = net.blocks[block]
    if weights.ndim == 4:
        require(shape is None, where, "shape is an option of dense weights", shape)
        return weights.copy()
    channels, height, width = _image(net.layers[_source(net, block)], len(weights), shape, where)
    images = weights.reshape(height, width, channels, weights.shape[1])
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1))


def _source(net: HopfieldNetwork, block: str) -> int:
    """Return the position of the layer whose units are the rows of dense weights; the input is a source."""
    coupling = net.couplings[int(block[1:]) - 1]
    return coupling.target if coupling.target == 0 else coupling.source


def _image(layer: Layer, units: int, shape: Any, where: str) -> tuple[int, int, int]:
    """Return channels, height and width of a layer."""
    if shape is not None:
        sides = several(shape, where, "shape", lambda value, at, name: whole(value, at, name, 1))
        fits = len(sides) == 2 and math.prod(sides) == units
        require(fits, where, f"shape is (height, width) of the {units} units of the source", shape)
        return 1, sides[0], sides[1]
    if layer.is_image:
        channels, height, width = layer.shape
        return channels, height, width
    side = math.isqrt(units)
    rule = "Without shape=(height, width) the number of units of the source is a square"
    require(side**2 == units, where, rule, units)
    return 1, side, side
