"""Contrasts dE/dtheta of devices whose couplings are pairs of nodes, from measured node signals.

Nodes are numbered through inputs and units: node k is input k for k < inputs, and unit k - inputs otherwise.
Node -1 is the reference, which has no column of its own: ground (0 V) for resistors, and the constant signal
1, which makes a bias, for products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array, as_array
from equiprop.checks import require

_Contrast = Callable[[Array, Array], Array]


def resistors(pairs: Any) -> _Contrast:
    r"""Return the contrast of resistors with conductances g_k between nodes (a_k, b_k).

    .. math:: dE/dg_k = \tfrac12 \sum_{batch} (v_{a_k} - v_{b_k})^2

    with the co-content E of the network, in A V (Kendall et al. 2020). Inputs are voltage sources.

    Parameters
    ----------
    pairs : (couplings, 2) array of int
        Node numbers; -1 is ground.

    Returns
    -------
    callable
        Function of x (batch, inputs) and s (batch, units) in volts, for `BlackBox`.

    Examples
    --------
    >>> import equiprop as eq
    >>> contrast = eq.contrasts.resistors([(0, 1), (1, -1)])  # source to node, node to ground
    >>> contrast(np.array([[3.0]]), np.array([[1.0]])).tolist()
    [2.0, 0.5]
    """
    ends = _checked(pairs)

    def contrast(x: Array, s: Array) -> Array:
        products = _products(x, s, 0.0, ends)
        own = products[ends[:, 0], ends[:, 0]] + products[ends[:, 1], ends[:, 1]]
        return np.asarray(own / 2 - products[ends[:, 0], ends[:, 1]])

    return contrast


def products(pairs: Any) -> _Contrast:
    r"""Return the contrast of couplings with the energy -theta_k n_a n_b, such as those of Hopfield networks.

    .. math:: dE/d\theta_k = -\sum_{batch} n_{a_k} n_{b_k}

    Parameters
    ----------
    pairs : (couplings, 2) array of int
        Node numbers; -1 is the constant 1, for a bias.

    Returns
    -------
    callable
        Function of x (batch, inputs) and the signals of the units (batch, units), for `BlackBox`.

    Examples
    --------
    >>> import equiprop as eq
    >>> contrast = eq.contrasts.products([(0, 1), (1, -1)])
    >>> contrast(np.array([[3.0]]), np.array([[2.0]])).tolist()
    [-6.0, -2.0]
    """
    ends = _checked(pairs)
    return lambda x, s: -_products(x, s, 1.0, ends)[ends[:, 0], ends[:, 1]]


def _checked(pairs: Any) -> NDArray[np.int64]:
    ends = as_array(pairs, "contrasts", "pairs")
    fits = ends.ndim == 2 and ends.shape[1] == 2 and ends.dtype.kind in "iu" and ends.min(initial=-1) >= -1
    require(fits, "contrasts", "pairs is an array (couplings, 2) of node numbers, at least -1", ends.shape)
    return ends.astype(np.int64)


def _products(x: Array, s: Array, reference: float, ends: NDArray[np.int64]) -> Array:
    """Return the sums over the batch of products of signals, (nodes + 1, nodes + 1); the last is node -1."""
    nodes = np.concatenate([x, s, np.full((len(x), 1), reference)], axis=1)
    most = int(ends.max(initial=-1))
    rule = "pairs name nodes of the inputs and units"
    require(most < nodes.shape[1] - 1, "contrasts", rule, f"node {most} of {nodes.shape[1] - 1}")
    return np.asarray(nodes.T @ nodes)
