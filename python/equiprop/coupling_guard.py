"""A bound on the norm of couplings, for networks that no bounded unit keeps stable."""

from __future__ import annotations

import math

import numpy as np

from equiprop.activations import activation, is_unbounded
from equiprop.checks import real, require
from equiprop.couplings import Dense, Identity, driven_by_input, is_lateral, symmetrize
from equiprop.defaults import unit_of
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork

#: Default bound if the hidden layer is unbounded, in units of the slopes.
_LIMIT = 1.0


class CouplingGuard:
    """Scales each dense coupling between free layers back to a largest spectral norm.

    A fixed point of units that no bound holds is stable if the norm of the couplings, weighted by the slopes,
    sqrt(L_a L_b), is below 1. In deep networks a bound costs accuracy (docs/training.md), so it is a default
    only for one hidden layer of unbounded units.

    Parameters
    ----------
    model : Model
        The guard acts on a Hopfield network only.
    limit : float, positive, optional
        Largest norm in units of the slopes; infinity for no bound. By default 1 for one hidden layer of
        relu, softplus or linear units, less with couplings within a layer or identities, otherwise infinity.
    """

    def __init__(self, model: Model, limit: float | None) -> None:
        if limit is not None:
            limit = real(limit, "Trainer", "coupling_norm")
            require(limit > 0, "Trainer", "coupling_norm is positive", limit)
        self.model: Model = model
        self.limit: float = _default_limit(model) if limit is None else limit
        self._weights: dict[str, tuple[Dense, float]] = {}
        if math.isfinite(self.limit) and isinstance(model, HopfieldNetwork):
            slopes = [unit_of(activation(layer.activation), model.potential).slope for layer in model.layers]
            for i, coupling in enumerate(model.couplings, start=1):
                if isinstance(coupling, Dense) and not driven_by_input(coupling):
                    weight = math.sqrt(slopes[coupling.source] * slopes[coupling.target])
                    for name in (f"W{i}", f"B{i}"):
                        if name in model.block_slices:
                            self._weights[name] = coupling, weight

    @property
    def acts(self) -> bool:
        """True if there are couplings with a bound."""
        return bool(self._weights)

    def apply(self) -> None:
        """Scale the couplings that are too large, in place."""
        if not self.acts:
            return
        blocks = self.model.blocks
        for name, (coupling, weight) in self._weights.items():
            w = blocks[name]
            norm = weight * spectral_norm(self._acting(coupling, w))
            if self.limit < norm < math.inf:  # the next step refuses parameters that are not finite
                w *= w.dtype.type(self.limit / norm)

    def _acting(self, coupling: Dense, w: np.ndarray) -> np.ndarray:
        """Return the matrix that acts: within a layer, that without the diagonal, and symmetric with E."""
        if not is_lateral(coupling):
            return w
        acting = w.copy()
        if self.model.conservative:
            symmetrize(coupling, acting)
        else:
            np.fill_diagonal(acting, 0)
        return acting


def spectral_norm(w: np.ndarray) -> float:
    """Return the largest singular value of a matrix, from the eigenvalues of its smaller Gram matrix.

    The matrix is divided by the power of two above its largest entry, because squares may overflow. If that
    entry is not finite, it is returned.
    """
    largest = float(np.abs(w).max())
    if not math.isfinite(largest):
        return largest
    exponent = math.frexp(largest)[1]
    scaled = np.ldexp(w, -exponent)
    gram = scaled.T @ scaled if w.shape[0] > w.shape[1] else scaled @ scaled.T
    return math.ldexp(math.sqrt(max(float(np.linalg.eigvalsh(gram)[-1]), 0.0)), exponent)


def _default_limit(model: Model) -> float:
    if not isinstance(model, HopfieldNetwork) or len(model.layers) != 3:
        return math.inf
    unbounded = is_unbounded(activation(model.layers[1].activation))
    return norm_of_each(model, _LIMIT) if unbounded else math.inf


def norm_of_each(net: HopfieldNetwork, total: float) -> float:
    """Return the norm of each coupling at which all together have at most the norm `total`.

    It is a multiple of total / 100, and at least total / 100, which identities alone may exceed.
    """
    steps = (total * k / 100 for k in range(100, 0, -1))
    return next((norm for norm in steps if graph_norm(net, norm) <= total), total / 100)


def graph_norm(net: HopfieldNetwork, norm: float) -> float:
    """Return the largest norm of all couplings of free layers together if each with weights has this norm.

    Identities have the norm of their gain.
    """
    graph = np.zeros((len(net.layers) - 1,) * 2)
    for coupling in net.couplings:
        if not driven_by_input(coupling):
            own = abs(coupling.gain) if isinstance(coupling, Identity) else norm
            ends = {(coupling.source - 1, coupling.target - 1), (coupling.target - 1, coupling.source - 1)}
            for end in ends:
                graph[end] += own
    return round(float(np.linalg.norm(graph, 2)), 12)
