"""Steps of an optimizer in centred coordinates, in which a change of a weight moves no unit from its rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from equiprop.arrays import Array

#: Contiguous pieces of the parameter vector by name; they cover it without overlap.
Blocks = Mapping[str, slice]


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
    feedback, w need not be symmetric, and the first term is subtracted.

    Parameters
    ----------
    input : array, shape (inputs,)
        Mean of the input.
    signals : tuple of float
        Signal of a resting unit in each further layer.
    couplings : tuple of (int, int, int)
        Number i, source and target of each coupling with weights, those of the block Wi.
    """

    input: Array
    signals: tuple[float, ...]
    couplings: tuple[tuple[int, int, int], ...]

    def centred(self, gradient: Array, blocks: Blocks) -> Array:
        """Return the gradient (parameters,) in the coordinates w and c."""
        result = gradient.copy()
        for forward, backward, a, b in self._weights(blocks):
            shape = (len(self._rest(a, blocks)), len(self._rest(b, blocks)))
            change = np.outer(self._rest(a, blocks), gradient[blocks[f"b{b}"]])
            if a == b:
                change = change if self._separate(blocks) else (change + change.T) / 2
                np.fill_diagonal(change, 0)
            result[forward].reshape(shape)[...] -= change
            if a not in (0, b):
                w = result[backward].reshape(shape)
                w -= np.outer(gradient[blocks[f"b{a}"]], self._rest(b, blocks))
        return result

    def offsets(self, parameters: Array, blocks: Blocks) -> list[Array]:
        """Return c - b, the drive that resting neighbours give, of each layer but the input."""
        total = [np.zeros_like(parameters[blocks[f"b{k}"]]) for k in range(1, len(self.signals) + 1)]
        for forward, backward, a, b in self._weights(blocks):
            rest_a, rest_b = self._rest(a, blocks), self._rest(b, blocks)
            shape = (len(rest_a), len(rest_b))
            w = parameters[forward].reshape(shape)
            if a == b:
                w = w - np.diag(np.diagonal(w))
                w = w if self._separate(blocks) else (w + w.T) / 2
            total[b - 1] += rest_a @ w
            if a not in (0, b):
                total[a - 1] += parameters[backward].reshape(shape) @ rest_b
        return total

    def settle(self, parameters: Array, before: list[Array], blocks: Blocks) -> None:
        """Move the biases after a step, so that it was one of w and c; `before` are the earlier offsets."""
        for k, (old, new) in enumerate(zip(before, self.offsets(parameters, blocks), strict=True), start=1):
            parameters[blocks[f"b{k}"]] += old - new

    def _weights(self, blocks: Blocks) -> list[tuple[slice, slice, int, int]]:
        """Return, for each coupling, the weights to its target, those to its source, source and target."""
        return [(blocks[f"W{i}"], blocks.get(f"B{i}", blocks[f"W{i}"]), a, b) for i, a, b in self.couplings]

    def _separate(self, blocks: Blocks) -> bool:
        """Return True if feedback is separate."""
        return any(name.startswith("B") for name in blocks)

    def _rest(self, layer: int, blocks: Blocks) -> Array:
        """Return the signals of a layer at rest."""
        if layer == 0:
            return self.input
        bias = blocks[f"b{layer}"]
        return np.full(bias.stop - bias.start, self.signals[layer - 1], dtype=self.input.dtype)
