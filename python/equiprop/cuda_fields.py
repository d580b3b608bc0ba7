"""Options of phases as plain data for the kernels of a device, and what the kernels do not support."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.cuda_arrays import DeviceArray

#: Slots of the states of a batch; see Slot in equiprop/second_phase/batch.hpp.
FREE_SLOT, NUDGED_SLOT = 0, 2
#: Name, damping or step size, tolerance and largest number of steps.
SolverFields = tuple[str, float, float | None, int]


def solver_fields(solver: Any) -> SolverFields:
    """Return a solver of phases as plain data; raise ValueError if the kernels do not support it."""
    name = type(solver).__name__
    if solver.anderson:
        raise ValueError(f"[cuda] Solvers on a device have anderson=0. Received anderson={solver.anderson}.")
    number = {"FixedPointIteration": "damping", "Euler": "step_size"}.get(name)
    return name, getattr(solver, number) if number else 0.0, solver.tolerance, solver.max_iterations


def nudged_fields(phases: _core.NudgedPhases) -> tuple[list[tuple[float, float]], SolverFields]:
    """Return nodes and solver of nudged phases; raise ValueError if the kernels do not support them."""
    if phases.kind is not _core.NudgingKind.FINITE:
        raise ValueError(
            "[cuda] Nudging on a device is one_sided(beta), centered(beta) or random_sign(beta). Received "
            f"{phases.kind.name.lower()}; train net.to('cpu') with it."
        )
    if phases.symmetrize:
        refuse_symmetrize()
    return [(beta.real, weight.real) for beta, weight in phases.nodes], solver_fields(phases.solver)


def side_fields(solver: Any) -> tuple[float | None, int]:
    """Return tolerance and steps of a linear solver; raise ValueError if the kernels do not support it."""
    if not isinstance(solver, _core.ConjugateGradient):
        raise ValueError(
            "[cuda] The linear solver on a device is ConjugateGradient(). Received "
            f"{type(solver).__name__}(); net.to('cpu') has it."
        )
    return solver.tolerance, solver.max_iterations


def refuse_layer_costs() -> None:
    """Raise ValueError: the kernels nudge the outputs only."""
    raise ValueError(
        "[cuda] The cost on a device is that of the outputs. Received LayerCosts; net.to('cpu') has it."
    )


def refuse_symmetrize() -> None:
    """Raise ValueError: the kernels do not support the antisymmetric term."""
    raise ValueError("[cuda] symmetrize=True needs the CPU: net.to('cpu'). Received a network on a device.")


class DeviceCost(NamedTuple):
    """A cost with its targets (batch, outputs), and the core's cost on the CPU, which has the weights."""

    logit_scale: float
    targets: Array
    host: _core.Cost

    def weighted(self, weights: Array) -> DeviceCost:
        """Return the cost with other weights of the samples."""
        return self._replace(host=self.host.weighted(weights))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.host, name)


def relax_free(batch: Any, solver: SolverFields, start: Array | None) -> Any:
    """Relax a free phase from rest, or from states `start` (batch, units), and return its report."""
    if start is None:
        return batch.relax_free(solver)
    batch.write(NUDGED_SLOT, np.ascontiguousarray(start))
    return batch.relax_free(solver, NUDGED_SLOT)


def clamp(batch: Any, x: Any, y: Array, logit_scale: float = 0.0) -> None:
    """Start a mini-batch with inputs x in the memory of the host or of the device, and targets y."""
    if isinstance(x, DeviceArray):
        batch.clamp_there(x.address, y, logit_scale)
    else:
        batch.clamp(x, y, logit_scale)
