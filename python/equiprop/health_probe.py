"""Figures of a network on a few samples: units that are held or silent, outputs, and stability margins."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.activations import activation
from equiprop.arrays import Array
from equiprop.defaults import unit_of
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.results import FixedPoint, Status
from equiprop.solvers import FreeSolver, free_phase

#: Largest number of samples that are examined.
PROBED = 100
#: A unit is held if its slope is below this part of the largest one: at a bound it is 0.
_FLAT = 0.01
#: A unit is silent if its state differs by less than this between samples.
_SILENT = 1e-3
#: Number of products with the Hessian from which stability margins are estimated.
_LANCZOS = 12

#: Number of samples whose stability margin is estimated during training.
MARGINS = 20

_Floats = NDArray[np.float64]


class LayerFigures(NamedTuple):
    """Figures of a layer on the samples of a `Probe`.

    Attributes
    ----------
    name : str
    units : int
    held : float
        Share of the states whose unit is held by a bound, or whose slope is below 1 % of the largest one.
    silent : float
        Share of the units whose states differ by less than 1e-3 between all samples.
    """

    name: str
    units: int
    held: float
    silent: float


class Probe(NamedTuple):
    """Figures of a network at the fixed points of a few samples.

    Attributes
    ----------
    free : FixedPoint
        The free phase.
    features : float
        Largest root mean square of an input over the samples; 0 if all samples are equal.
    layers : tuple of LayerFigures
    outputs : float
        Standard deviation of the outputs over the samples, relative to that of their targets, both as root
        mean squares over the outputs; NaN if the targets are equal.
    margins : (samples,) array
        Stability margins of samples that converged, in ascending order, see `stability_margins`; empty if
        they were not asked for, or the model has no energy.
    """

    free: FixedPoint
    features: float
    layers: tuple[LayerFigures, ...]
    outputs: float
    margins: _Floats

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.free.state)

    @property
    def unconverged(self) -> int:
        """Number of samples whose free phase did not converge."""
        return int((self.free.status > Status.FIXED_STEPS).sum())


def probe(model: Model, solver: FreeSolver, x: Array, y: Array, *, margins: int) -> Probe:
    """Relax samples, and measure layers and outputs there.

    Parameters
    ----------
    model : Model
    solver : FreeSolver
    x : (samples, inputs) array
    y : (samples,) class codes, or (samples, outputs) targets
    margins : int
        Number of samples, at equal distances, whose stability margin is estimated.
    """
    with np.errstate(all="ignore"):  # the states may be infinite
        return _probe(model, free_phase(model, x, solver=solver, on_failure="ignore"), y, margins)


def _probe(model: Model, free: FixedPoint, y: Array, margins: int) -> Probe:
    mobility = model.clamp(free.x).mobility(free.state)
    held, silent = _held(model, free.state, mobility), np.ptp(free.state, axis=0) < _SILENT
    layers = tuple(
        LayerFigures(
            name, where.stop - where.start, float(held[:, where].mean()), float(silent[where].mean())
        )
        for name, where in model.layer_slices.items()
    )
    targets = np.eye(model.num_outputs)[y] if y.ndim == 1 else y
    spread = _spread(targets)
    chosen = np.flatnonzero(free.status <= Status.FIXED_STEPS) if model.conservative else np.zeros(0, np.intp)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(margins, len(chosen))).astype(np.intp)]
    return Probe(
        free,
        _size(free.x),
        layers,
        _spread(free.outputs) / spread if spread else math.nan,
        stability_margins(model.clamp(free.x[chosen]), free.state[chosen], mobility[chosen])
        if len(chosen)
        else np.zeros(0),
    )


def _size(x: Array) -> float:
    if (x == x[0]).all():
        return 0.0
    return float(np.sqrt(np.square(x, dtype=np.float64).mean(axis=0).max()))


def _held(model: Model, state: Array, mobility: Array) -> NDArray[np.bool_]:
    """Return whether each unit is held: its mobility is 0, or the slope of its activation almost."""
    held = np.asarray(mobility == 0)
    if not isinstance(model, HopfieldNetwork):
        return held
    for layer, where in zip(model.layers[1:], model.layer_slices.values(), strict=True):
        rho = activation(layer.activation)
        if rho.kind == "clip":
            continue
        legendre = model.potential == "legendre"
        slope = mobility[:, where] if legendre else rho.derivative(state[:, where])
        held[:, where] = slope < _FLAT * unit_of(rho, "legendre").slope
    return held


def _spread(values: Array) -> float:
    """Return the standard deviation over samples, as root mean square over units."""
    return float(np.sqrt(values.var(axis=0, dtype=np.float64).mean()))


def stability_margins(energy: _core.Energy, state: Array, mobility: Array) -> _Floats:
    r"""Return estimates of the stability margins of fixed points, in ascending order.

    .. math:: 1 - \lambda_{\max}(D^{1/2} M D^{1/2}) = \lambda_{\min}(D^{1/2} H D^{1/2})

    on the units that no bound holds, with the Hessian H = D^-1 - M and the mobility D. A fixed point is
    stable if its margin is positive, and a small force on it is amplified by at most 1 / margin. Estimates of
    the Lanczos iteration are too large, in deep networks up to twice as large.

    Parameters
    ----------
    energy : core energy
    state, mobility : (samples, units) arrays
    """
    root = np.sqrt(mobility, dtype=state.dtype)
    start = np.random.default_rng(0).standard_normal(state.shape).astype(state.dtype)
    v, norm = _normalised(start * (root > 0))
    last, tridiagonal = np.zeros_like(v), np.zeros((len(v), _LANCZOS, _LANCZOS))
    for k in range(_LANCZOS):
        tridiagonal[:, k, k - 1] = norm[:, 0] if k else 0.0
        w = root * energy.hessian_vector_product(state, root * v) - norm * last
        alpha = np.einsum("ij,ij->i", v, w)[:, None]
        # A sample whose Krylov space has ended repeats its first number; one without free units has 1.
        tridiagonal[:, k, k] = np.where(v.any(axis=1), alpha[:, 0], tridiagonal[:, 0, 0] if k else 1.0)
        last, (v, norm) = v, _normalised(w - alpha * v)
    finite = np.isfinite(tridiagonal).all(axis=(1, 2))
    return np.sort(np.linalg.eigvalsh(tridiagonal[finite])[:, 0]).astype(np.float64)


def _normalised(v: Array) -> tuple[Array, Array]:
    """Return v (samples, units) with rows of length 1 or 0, and the lengths (samples, 1)."""
    norm = np.sqrt(np.einsum("ij,ij->i", v, v))[:, None]
    return v / np.where(norm > 0, norm, 1), norm
