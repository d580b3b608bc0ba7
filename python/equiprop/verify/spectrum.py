"""Eigenvalues, stable steps and symmetry of a Hessian, computed from products with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array
from equiprop.checks import real, require

_Floats = NDArray[np.float64]

#: Largest number of units for which the dense Hessian is computed; above it, random vectors are used.
DENSE = 512
#: Larger eigenvalues are those of a jump, or of a function that is not finite: no step fits them.
LARGEST = 1e12


@dataclass(frozen=True)
class Spectrum:
    """Ritz values of D H of each sample, which are estimates of its extreme eigenvalues.

    Attributes
    ----------
    values : tuple of (dimensions,) complex arrays
        Ritz values, one array for each sample.
    """

    values: tuple[NDArray[np.complex128], ...]

    @property
    def smallest(self) -> float:
        """The smallest real part; the fixed point is stable if it is positive."""
        return float(np.min([v.real.min(initial=np.inf) for v in self.values], initial=np.inf))

    @property
    def largest(self) -> float:
        """The largest modulus."""
        return float(np.max([np.abs(v).max(initial=0.0) for v in self.values], initial=0.0))

    @property
    def largest_stable_step(self) -> float:
        """The largest h for which |1 - h l| <= 1 for every eigenvalue l: min 2 Re l / |l|^2."""
        with np.errstate(all="ignore"):  # an eigenvalue that is 0, or not finite
            steps = [np.where(v == 0, np.inf, 2 * v.real / np.abs(v) ** 2) for v in self.values]
        smallest = np.min([step.min(initial=np.inf) for step in steps], initial=np.inf)
        return float(smallest) if smallest > 0 else 0.0

    def rate(self, step: float) -> float:
        """Return max |1 - step l| over the eigenvalues l, by which a step multiplies an error."""
        step = real(step, "Spectrum.rate", "step")
        require(np.isfinite(step), "Spectrum.rate", "step is finite", step)
        return float(max((np.abs(1 - step * v).max(initial=0.0) for v in self.values), default=0.0))


def ritz_values(energy: _core.Energy, state: Array, diagonal: Array, dimensions: int = 60) -> Spectrum:
    """Return the Ritz values of D H of every sample, by the Arnoldi iteration.

    Parameters
    ----------
    energy : core energy
    state : (batch, units)
    diagonal : (batch, units)
        The diagonal of D; 0 for units that are excluded.
    dimensions : int
        Largest dimension of the Krylov space. If it is the number of units, Ritz values are eigenvalues.
    """
    active = np.asarray(diagonal != 0)
    size = min(dimensions, int(active.sum(axis=1).max(initial=0)))
    v = np.where(active, np.random.default_rng(0).standard_normal(state.shape), 0.0)
    basis = [_normalised(v)[0]]
    hessenberg = np.zeros((len(state), size + 1, size))
    alive = np.linalg.norm(v, axis=1) > 0
    lengths = np.zeros(len(state), dtype=int)
    for k in range(size):
        w = diagonal * energy.hessian_vector_product(state, np.ascontiguousarray(basis[k]))
        scale = np.linalg.norm(w, axis=1)
        for _ in range(2):  # a second orthogonalisation removes the rounding errors of the first
            for i, b in enumerate(basis):
                overlap = (b * w).sum(axis=1)
                hessenberg[:, i, k] += overlap
                w = w - overlap[:, None] * b
        nxt, norm = _normalised(w)
        hessenberg[:, k + 1, k] = norm
        lengths[alive] = k + 1
        alive = alive & (norm > 1e-12 * scale)
        basis.append(np.where(alive[:, None], nxt, 0.0))
        if not alive.any():
            break
    return Spectrum(tuple(_eigenvalues(h[:m, :m]) for h, m in zip(hessenberg, lengths, strict=True)))


def _eigenvalues(matrix: _Floats) -> NDArray[np.complex128]:
    """Return the eigenvalues of a matrix; NaN if an entry is not finite."""
    if not np.isfinite(matrix).all():
        return np.full(len(matrix), np.nan, dtype=np.complex128)
    return np.linalg.eigvals(matrix).astype(np.complex128)


def _normalised(v: _Floats) -> tuple[_Floats, _Floats]:
    norm = np.linalg.norm(v, axis=1)
    return v / np.where(norm > 0, norm, 1.0)[:, None], norm


def stable_step(energy: _core.Energy, state: Array, diagonal: Array | float = 1.0) -> float:
    """Return a stable step for s <- s - step D H s: 0.3, or 1 / (largest eigenvalue of D H) if that is less.

    It is 0.3 for an eigenvalue above 1e12 or NaN, for which no step would move a state. The eigenvalue is
    computed by 100 power iterations, which take the memory of two states; the Arnoldi iteration takes that of
    one state for each step.
    """
    v, largest = np.ones_like(state), 1.0
    for _ in range(100):
        v = diagonal * energy.hessian_vector_product(state, v / (np.linalg.norm(v) or 1.0))
        largest = float(np.linalg.norm(v))
    return min(0.3, 1 / max(largest, 1.0)) if largest <= LARGEST else 0.3


def dense_hessian(energy: _core.Energy, state: Array) -> _Floats:
    """Return the Hessian of every sample, (batch, units, units), from one product for each column."""
    columns = []
    for unit in range(state.shape[1]):
        direction = np.zeros_like(state)
        direction[:, unit] = 1
        columns.append(energy.hessian_vector_product(state, direction))
    return np.stack(columns, axis=2)


@dataclass(frozen=True)
class Symmetry:
    """The symmetry of a Hessian.

    Attributes
    ----------
    asymmetry : float
        |H - H^T| / |H| in the Frobenius norm; 0 for the gradient of an energy.
    blocks : dict of (str, str) to float
        Contribution of each pair of layers to the asymmetry.
    factors : (units,) or None
        Factors such that H with column i divided by factors[i] is symmetric, if there are any.
    exact : bool
        True if all entries of H were computed, False if the figures are estimates from random vectors.
    """

    asymmetry: float
    blocks: dict[tuple[str, str], float]
    factors: _Floats | None
    exact: bool

    @property
    def score(self) -> float:
        """|S| / (|S| + |A|) with the symmetric part S and the antisymmetric part A; 1 if H is symmetric."""
        antisymmetric = self.asymmetry / 2
        symmetric = float(np.sqrt(max(0.0, 1 - antisymmetric**2)))
        return symmetric / (symmetric + antisymmetric)


def symmetry(energy: _core.Energy, state: Array, layers: Mapping[str, slice]) -> Symmetry:
    """Measure the symmetry of the Hessian at `state`, also for each pair of layers.

    Up to 512 units, the dense Hessians of the first four samples are used; above, random vectors.
    """
    if state.shape[1] <= DENSE:
        hessian = dense_hessian(energy, state)[:4]
        skew = hessian - hessian.transpose(0, 2, 1)
        whole = float(np.linalg.norm(hessian)) or 1.0
        blocks = {
            (a, b): float(np.linalg.norm(skew[:, layers[a], layers[b]])) / whole
            for a, b in combinations_with_replacement(layers, 2)
        }
        return Symmetry(float(np.linalg.norm(skew)) / whole, blocks, _factors(hessian[0]), True)
    return _probed(energy, state, layers)


def skewness(energy: _core.Energy, state: Array) -> float:
    """Return max |<u, H v> - <v, H u>| / (|u| |H v|) over the samples for random u and v; 0 if symmetric."""
    u, v = np.random.default_rng(0).standard_normal((2, *state.shape))
    hu, hv = energy.hessian_vector_product(state, u), energy.hessian_vector_product(state, v)
    gap = np.abs((u * hv).sum(axis=1) - (v * hu).sum(axis=1))
    return float((gap / (np.linalg.norm(u, axis=1) * np.linalg.norm(hv, axis=1) + 1e-300)).max())


def _probed(energy: _core.Energy, state: Array, layers: Mapping[str, slice], pairs: int = 24) -> Symmetry:
    """Estimate the asymmetry for each pair of layers from E (u^T M v)^2 = |M|^2 for standard normal u, v."""
    random = np.random.default_rng(0)
    skew, whole = dict.fromkeys(combinations_with_replacement(layers, 2), 0.0), 0.0
    for _ in range(pairs):
        noise = random.standard_normal(state.shape)
        parts = {name: _only(noise, where) for name, where in layers.items()}
        images = {name: energy.hessian_vector_product(state, part) for name, part in parts.items()}
        other = random.standard_normal(state.shape)
        mirrors = {
            name: energy.hessian_vector_product(state, _only(other, where)) for name, where in layers.items()
        }
        for a, b in skew:
            forward = (other * images[b])[:, layers[a]].sum(axis=1)
            backward = (noise * mirrors[a])[:, layers[b]].sum(axis=1)
            skew[a, b] += float(((forward - backward) ** 2).sum())
            whole += float((forward**2).sum()) * (1 if a == b else 2)
    total = sum(v * (1 if a == b else 2) for (a, b), v in skew.items())
    scale = whole or 1.0
    blocks = {pair: float(np.sqrt(v / scale)) for pair, v in skew.items()}
    return Symmetry(float(np.sqrt(total / scale)), blocks, None, False)


def _only(values: _Floats, where: slice) -> _Floats:
    part = np.zeros_like(values)
    part[:, where] = values[:, where]
    return part


def _factors(hessian: _Floats) -> _Floats | None:
    """Return f > 0 with H_ij / f_j = H_ji / f_i for all i and j, or None if there is none but constants."""
    largest = np.abs(hessian).max(initial=0.0)
    i, j = np.nonzero(np.triu(np.abs(hessian) > 1e-9 * largest, 1))
    pairs = (hessian[i, j] * hessian[j, i]) > 0
    i, j = i[pairs], j[pairs]
    if not len(i):
        return None
    equations = np.zeros((len(i), len(hessian)))
    equations[np.arange(len(i)), j] = 1
    equations[np.arange(len(i)), i] = -1
    logarithms = np.linalg.lstsq(equations, np.log(hessian[i, j] / hessian[j, i]), rcond=None)[0]
    factors = np.asarray(np.exp(logarithms - logarithms.max()))
    balanced = hessian / factors
    error = np.abs(balanced - balanced.T).max() / largest
    return factors if error < 1e-8 and factors.min() < 1 - 1e-6 else None
