"""Steps of an optimizer in centred coordinates, in which a change of a weight moves no unit from its rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array

#: Contiguous pieces of the parameter vector by name; they cover it without overlap.
Blocks = Mapping[str, slice]


@dataclass(frozen=True, eq=False)
class CentredCoupling:
    """A coupling with weights, the block Wi.

    Parameters
    ----------
    number : int
        The number i.
    source, target : int
        Positions of the layers.
    taps : array, shape (height, width), optional
        For a convolution, how often each tap of the kernel reads the source, per position of the target: 1
        without padding. None for a dense coupling.
    """

    number: int
    source: int
    target: int
    taps: Array | None = None


@dataclass(frozen=True, eq=False)
class Centre:
    r"""Signals m of all layers at rest, and steps in the coordinates that they define.

    A coupling w between layers a and b has the energy :math:`-u_a^T w u_b`. With the biases
    :math:`c_b = b_b + w^T m_a` and :math:`c_a = b_a + w m_b` it is :math:`-(u_a - m_a)^T w (u_b - m_b)` but
    for a constant, so a step of w at constant c leaves the drive of resting units as it is. The gradient is

    .. math:: \frac{dJ}{dw}\Big|_c = \frac{dJ}{dw} - m_a \frac{dJ}{db_b}^T - \frac{dJ}{db_a} m_b^T,
       \qquad \frac{dJ}{dc} = \frac{dJ}{db}

    (the centring of Boltzmann machines: Montavon & Mueller 2012; Cho et al. 2013). The input has no bias. A
    coupling within a layer, :math:`-u^T w u / 2` with a symmetric w and a zero diagonal, has
    :math:`c = b + w m`, and half of the sum of both terms is subtracted, without the diagonal; with separate
    feedback, w need not be symmetric, and the first term is subtracted. A layer of images has one bias for
    each channel, so c is the mean over its positions. Convolutions within a layer are not centred.

    Parameters
    ----------
    input : array, shape (inputs,)
        Mean of the input, in the order of its units.
    signals : tuple of float
        Signal of a resting unit in each further layer.
    positions : tuple of int
        Number of positions of each layer, the input included: 1 unless it is one of images.
    couplings : tuple of CentredCoupling
        The couplings with weights.
    """

    input: Array
    signals: tuple[float, ...]
    positions: tuple[int, ...]
    couplings: tuple[CentredCoupling, ...]

    def centred(self, gradient: Array, blocks: Blocks) -> Array:
        """Return the gradient (parameters,) in the coordinates w and c."""
        result = gradient.copy()
        for coupling in self.couplings:
            a, b = coupling.source, coupling.target
            to_target, to_source = self._weights(coupling, blocks)
            if coupling.taps is not None and a == b:
                continue
            change = self._drives(coupling, b, gradient, blocks) if b > 0 else None
            if a == b and change is not None:
                change = change if self._separate(blocks) else (change + change.T) / 2
                np.fill_diagonal(change, 0)
            if change is not None:
                result[to_target].reshape(change.shape)[...] -= change
            if a not in (0, b):
                change = self._drives(coupling, a, gradient, blocks)
                result[to_source].reshape(change.shape)[...] -= change
        return result

    def offsets(self, parameters: Array, blocks: Blocks) -> list[Array]:
        """Return c - b, the drive that resting neighbours give, of each layer but the input."""
        total = [np.zeros_like(parameters[blocks[f"b{k}"]]) for k in range(1, len(self.signals) + 1)]
        for coupling in self.couplings:
            a, b = coupling.source, coupling.target
            if coupling.taps is not None and a == b:
                continue
            to_target, to_source = self._weights(coupling, blocks)
            if b > 0:
                total[b - 1] += self._driven(coupling, b, parameters[to_target], blocks)
            if a not in (0, b):
                total[a - 1] += self._driven(coupling, a, parameters[to_source], blocks)
        return total

    def settle(self, parameters: Array, before: list[Array], blocks: Blocks) -> None:
        """Move the biases after a step, so that it was one of w and c; `before` are the earlier offsets."""
        for k, (old, new) in enumerate(zip(before, self.offsets(parameters, blocks), strict=True), start=1):
            parameters[blocks[f"b{k}"]] += old - new

    def _driven(self, coupling: CentredCoupling, layer: int, weights: Array, blocks: Blocks) -> Array:
        """Return the mean drive (channels,) of a layer by the other one at rest, by these weights."""
        a, b = coupling.source, coupling.target
        channels = self._channels(layer, blocks)
        if coupling.taps is None:
            w = weights.reshape(self._units(a, blocks), self._units(b, blocks))
            if a == b:
                w = w - np.diag(np.diagonal(w))
                w = w if self._separate(blocks) else (w + w.T) / 2
            drive = self._rest(a, blocks) @ w if layer == b else w @ self._rest(b, blocks)
            return np.asarray(drive.reshape(-1, channels).mean(axis=0), dtype=weights.dtype)
        factor, index = self._taps(coupling, layer), self._read(coupling, weights.size, blocks)
        sums = (weights.reshape(*index.shape, -1) * factor).sum(axis=2)
        if layer == b:
            return np.asarray((sums * self._mean(a, blocks)[index]).sum(axis=1), dtype=weights.dtype)
        drive = np.zeros(channels, weights.dtype)
        np.add.at(drive, index, sums * self._mean(b, blocks)[:, None])
        return drive

    def _drives(self, coupling: CentredCoupling, layer: int, gradient: Array, blocks: Blocks) -> Array:
        """Return the derivative of <dJ/db, mean drive> by the weights; see `_driven` for the drive."""
        a, b = coupling.source, coupling.target
        of_bias = gradient[blocks[f"b{layer}"]]
        if coupling.taps is None:
            positions = self.positions[layer]
            of_units = np.tile(of_bias / positions, positions)
            if layer == b:
                return np.outer(self._rest(a, blocks), of_units)
            return np.outer(of_units, self._rest(b, blocks))
        block = blocks[f"W{coupling.number}"]
        factor, index = self._taps(coupling, layer), self._read(coupling, block.stop - block.start, blocks)
        if layer == b:
            sums = of_bias[:, None] * self._mean(a, blocks)[index]
        else:
            sums = self._mean(b, blocks)[:, None] * of_bias[index]
        return np.asarray(sums[:, :, None] * factor, dtype=gradient.dtype)

    def _weights(self, coupling: CentredCoupling, blocks: Blocks) -> tuple[slice, slice]:
        """Return the weights to the target, and those to the source."""
        forward = blocks[f"W{coupling.number}"]
        return forward, blocks.get(f"B{coupling.number}", forward)

    def _taps(self, coupling: CentredCoupling, layer: int) -> Array:
        """Return how often each tap reaches a position of a layer, as a vector."""
        assert coupling.taps is not None
        read = self.positions[coupling.target] / self.positions[layer]
        return np.asarray(coupling.taps.reshape(-1) * read, dtype=self.input.dtype)

    def _read(self, coupling: CentredCoupling, size: int, blocks: Blocks) -> NDArray[np.intp]:
        """Return the channel of the source that entry (output channel, input channel) of a kernel reads."""
        assert coupling.taps is not None
        outputs = self._channels(coupling.target, blocks)
        inputs = size // (outputs * coupling.taps.size)
        groups = self._channels(coupling.source, blocks) // inputs
        return np.arange(outputs)[:, None] // (outputs // groups) * inputs + np.arange(inputs)

    def _separate(self, blocks: Blocks) -> bool:
        """Return True if feedback is separate."""
        return any(name.startswith("B") for name in blocks)

    def _channels(self, layer: int, blocks: Blocks) -> int:
        if layer == 0:
            return len(self.input) // self.positions[0]
        bias = blocks[f"b{layer}"]
        return int(bias.stop - bias.start)

    def _units(self, layer: int, blocks: Blocks) -> int:
        return self._channels(layer, blocks) * self.positions[layer]

    def _rest(self, layer: int, blocks: Blocks) -> Array:
        """Return the signals of the units of a layer at rest."""
        if layer == 0:
            return self.input
        return np.full(self._units(layer, blocks), self.signals[layer - 1], dtype=self.input.dtype)

    def _mean(self, layer: int, blocks: Blocks) -> Array:
        """Return the mean signals of the channels of a layer at rest."""
        rest = self._rest(layer, blocks).reshape(-1, self._channels(layer, blocks))
        return np.asarray(rest.mean(axis=0), dtype=self.input.dtype)
