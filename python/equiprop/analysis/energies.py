"""The energy along a relaxation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import check_type, require
from equiprop.gradients import clamp_again
from equiprop.results import FixedPoint
from equiprop.verify.model_parts import in_double


def energies(free: FixedPoint) -> NDArray[np.float64]:
    r"""Return the energy of every sample at every iteration of a recorded free phase.

    .. math:: E(x, s_t, \theta), \quad t = 0, \dots, T

    Parameters
    ----------
    free : FixedPoint
        The result of ``free_phase(..., record=True)`` with the present parameters of its model, which has an
        energy.

    Returns
    -------
    (iterations + 1, batch) array
        A sample that stopped before the last iteration keeps its last energy.

    Raises
    ------
    TypeError, ValueError
        If `free` is not such a recording, the model is a vector field, or its parameters changed.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], dtype="float64")
    >>> free = eq.free_phase(net, [[0.5, 1.0]], record=True)
    >>> values = eq.analysis.energies(free)
    >>> bool((values[1:] <= values[:-1] + 1e-15).all())
    True
    """
    where = "energies"
    check_type(free, FixedPoint, where, "free is a result of free_phase(..., record=True)")
    require(
        free.trajectory is not None, where, "free is a result of free_phase(..., record=True)", "no states"
    )
    require(free.model.conservative, where, "The model has an energy", "a vector field")
    clamp_again(where, free.model, free)
    energy = in_double(free.model, where).clamp(np.ascontiguousarray(free.x, np.float64))
    states = np.asarray(free.trajectory, np.float64)
    return np.array([energy.energy(np.ascontiguousarray(state)) for state in states])
