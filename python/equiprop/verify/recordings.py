"""Recorded relaxations of a simulator or a device, repeated and with missing states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import as_array
from equiprop.checks import check_type, real, require
from equiprop.verify.problem import Problem

_Floats = NDArray[np.float64]
#: States from which a recording diverged.
HUGE = 1e100


@dataclass(frozen=True)
class Recordings:
    """Nudged relaxations by beta.

    Attributes
    ----------
    repeats : mapping of float to (repeats, steps + 1, batch, units)
        Recorded states, with the same number of steps for every beta; NaN for states that were not recorded.
    first : int
        Number of the first unit that was recorded: 0, or that of the first output.
    """

    repeats: Mapping[float, _Floats]
    first: int = 0

    @property
    def outputs_only(self) -> bool:
        """True if only the outputs were recorded."""
        return self.first > 0

    @property
    def given(self) -> Mapping[float, _Floats]:
        """The recorded states without the units that were not recorded, by beta."""
        return {beta: path[..., self.first :] for beta, path in self.repeats.items()}

    @property
    def steps(self) -> int:
        """The number of steps."""
        return int(next(iter(self.repeats.values())).shape[1]) - 1

    @property
    def finite(self) -> bool:
        """True if no state is infinite, or so large that its square might overflow."""
        return self.largest < HUGE

    @cached_property
    def largest(self) -> float:
        """The largest absolute value of a recorded state."""
        return max(float(np.nanmax(np.abs(path), initial=0.0)) for path in self.repeats.values())

    @cached_property
    def counts(self) -> Mapping[float, NDArray[np.int64]]:
        """The number of repeats that recorded each state, (steps + 1, batch, units) by beta."""
        return {beta: (~np.isnan(path)).sum(axis=0) for beta, path in self.repeats.items()}

    @cached_property
    def means(self) -> Mapping[float, _Floats]:
        """The means over the repeats that recorded a state, NaN if none did, (steps + 1, batch, units)."""
        with np.errstate(invalid="ignore"):
            return {beta: np.nansum(path, axis=0) / self.counts[beta] for beta, path in self.repeats.items()}


def read(problem: Problem, trajectories: Mapping[float, Any]) -> Recordings:
    """Return checked trajectories (steps + 1, batch, units) or (repeats, steps + 1, batch, units) by beta.

    All get the number of steps of the longest one: states after the end of a recording are NaN, as are the
    other units if all recordings have the outputs only.

    Raises
    ------
    TypeError, ValueError
        If a trajectory has another shape or no number after state 0, or if a beta is 0 or not finite.
    """
    check_type(trajectories, Mapping, "traces", "trajectories is a mapping of beta to recorded states")
    paths = {
        real(beta, "traces", "a beta"): as_array(path, "traces", "a trajectory")
        for beta, path in trajectories.items()
    }
    betas = sorted(paths)
    if not betas or 0.0 in paths or not np.isfinite(betas).all():
        raise ValueError(
            f"[traces] Trajectories are given at one beta or more, each finite and not 0. Received {betas}."
        )
    units, outputs = problem.state.shape[1], problem.model.num_outputs
    partial = outputs < units and all(path.shape[-1:] == (outputs,) for path in paths.values())
    width = outputs if partial else units
    checked = {beta: _checked(path, (len(problem.state), width)) for beta, path in paths.items()}
    for beta, path in checked.items():
        some = not np.isnan(path[:, 1:]).all()
        require(some, "traces", "Some states after state 0 are recorded", f"only NaN for beta = {beta:g}")
    states, first = max(path.shape[1] for path in checked.values()), units - width
    return Recordings({beta: _padded(path, states, first) for beta, path in checked.items()}, first)


def _padded(path: _Floats, states: int, first: int) -> _Floats:
    """Return a recording with NaN for the states after its end, and for the units before the first one."""
    absent = [(0, 0), (0, states - path.shape[1]), (0, 0), (first, 0)]
    return np.pad(path, absent, constant_values=np.nan)


def _checked(path: NDArray[Any], shape: tuple[int, int]) -> _Floats:
    """Return a trajectory as (repeats, steps + 1, batch, units); raise ValueError for another shape."""
    repeated = path[None] if path.ndim == 3 else path
    if repeated.ndim != 4 or repeated.shape[2:] != shape or repeated.shape[1] < 2 or len(repeated) == 0:
        raise ValueError(
            f"[traces] A trajectory has shape (steps + 1, {', '.join(map(str, shape))}), with at least one "
            f"step, and one more dimension before these if it was repeated. Received shape {path.shape}."
        )
    return repeated.astype(np.float64)
