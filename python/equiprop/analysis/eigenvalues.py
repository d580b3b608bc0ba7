"""All eigenvalues of the Jacobian of the dynamics at a fixed point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import check_choice, check_type, enough_memory, require
from equiprop.gradients import clamp_again
from equiprop.results import FixedPoint
from equiprop.verify.model_parts import in_double
from equiprop.verify.spectrum import DENSE, dense_hessian


@dataclass(frozen=True)
class Eigenvalues:
    """Eigenvalues of a Jacobian at the state of each sample.

    Attributes
    ----------
    values : tuple of (free units,) complex arrays
        Eigenvalues of each sample, by descending real part.
    of : {"flow", "map"}
        The Jacobian: A = dmu/ds of the flow ds/dt = mu, or dT/ds of the fixed-point map.
    """

    values: tuple[NDArray[np.complex128], ...]
    of: str

    @property
    def stable(self) -> bool:
        """True if every real part is negative (flow), or every modulus is below 1 (map)."""
        everything = np.concatenate(self.values)
        inside = everything.real < 0 if self.of == "flow" else np.abs(everything) < 1
        return bool(inside.all())


def eigenvalues(free: FixedPoint, of: str = "flow") -> Eigenvalues:
    r"""Return all eigenvalues of the Jacobian at the states of a free phase, on the free units.

    .. math:: A = d\mu/ds = -H, \qquad dT/ds = I - D H

    mu is the velocity -dE/ds, or that of a vector field, H = d2E/ds2, T the fixed-point map, and D its
    mobility. Units that a bound holds are left out. The time of computation grows with the third power of the
    number of units; `equiprop.verify.diagnose` estimates the extreme eigenvalues of larger networks.

    Parameters
    ----------
    free : FixedPoint
        Result of `free_phase` with the present parameters of its model, of at most 512 units.
    of : {"flow", "map"}
        The Jacobian.

    Returns
    -------
    Eigenvalues

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, the model is larger, or its parameters changed.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], activation="tanh", dtype="float64")
    >>> found = eq.analysis.eigenvalues(eq.free_phase(net, [[0.5, 1.0]]))
    >>> found.stable, found.values[0].shape
    (True, (6,))
    """
    where = "eigenvalues"
    check_type(free, FixedPoint, where, "free is a result of free_phase")
    check_choice(of, where, "of", "flow", "map")
    units = free.state.shape[1]
    require(
        units <= DENSE, where, f"The model has at most {DENSE} units, of which the Jacobian is dense", units
    )
    require(bool(np.isfinite(free.state).all()), where, "The states are finite", "a phase that diverged")
    clamp_again(where, free.model, free)
    energy = in_double(free.model, where).clamp(np.ascontiguousarray(free.x, np.float64))
    state = np.array(free.state, np.float64, order="C")
    memory = 24 * len(state) * units**2
    with enough_memory(memory, where, f"{len(state)} Jacobians", cure="Pass fewer samples"):
        hessian, mobility = dense_hessian(energy, state), energy.mobility(state)
        jacobians = -hessian if of == "flow" else np.eye(units) - mobility[:, :, None] * hessian
    found = (_sorted(a[np.ix_(d != 0, d != 0)]) for a, d in zip(jacobians, mobility, strict=True))
    return Eigenvalues(tuple(found), of)


def _sorted(jacobian: NDArray[np.float64]) -> NDArray[np.complex128]:
    values = np.linalg.eigvals(jacobian).astype(np.complex128)
    return values[np.argsort(-values.real, kind="stable")]
