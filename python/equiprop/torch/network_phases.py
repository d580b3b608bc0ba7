"""Both phases of a layer that contains a network of the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import RLock
from typing import Any

import numpy as np
import torch

from equiprop.arrays import Array
from equiprop.checks import check_type, require
from equiprop.implicit import States, vector_products
from equiprop.linear_solvers import GMRES, ConjugateGradient
from equiprop.models import HopfieldNetwork
from equiprop.nudging import centered
from equiprop.overlap import updating
from equiprop.results import Outcome, Status, judged_together
from equiprop.second_phase import EquilibriumPropagation, RecurrentBackpropagation, SecondPhase
from equiprop.solvers import FREE_SOLVER_RULE, FreeSolver, default_solver, relaxed
from equiprop.torch.ops import FreeTensors, register

WHERE = "FixedPointLayer"
#: Part of the samples of a batch that may have inaccurate gradients without a warning.
_FEW = 0.05


def with_defaults(phase: SecondPhase | None, conservative: bool) -> SecondPhase:
    """Return a second phase, by default RBP; an EqProp without a nudging gets centered(0.1)."""
    if phase is None:
        return RecurrentBackpropagation(ConjugateGradient() if conservative else GMRES())
    if isinstance(phase, EquilibriumPropagation) and phase.nudging is None:
        return replace(phase, nudging=centered(0.1))
    return phase


class NetworkPhases:
    """The free phase of a network, and its second phase for any gradient g of the outputs.

    The second phase is that of `equiprop.implicit.vector_products`: beta of a nudging is relative to |g|_max.

    Parameters
    ----------
    network : HopfieldNetwork
        A network on the CPU that nothing else uses; its parameters are replaced in each phase.
    second_phase : SecondPhase, optional
    solver : FreeSolver, optional
    on_failure : {"warn", "raise", "ignore"}

    Attributes
    ----------
    last, last_backward : Outcome or None
        Results of the last free phase and of the last second phase.
    steps : int
        Number of second phases, which selects the signs of `random_sign`.
    lock : lock
        Held by the thread that uses the network; others wait.
    """

    network: HopfieldNetwork
    on_failure: str
    solver: FreeSolver
    second_phase: SecondPhase
    steps: int
    num_units: int
    num_outputs: int
    key: int

    def __init__(
        self,
        network: HopfieldNetwork,
        second_phase: SecondPhase | None,
        solver: FreeSolver | None,
        on_failure: str,
    ) -> None:
        self.network, self.on_failure = network, on_failure
        self.solver = default_solver(network) if solver is None else solver
        check_type(self.solver, FreeSolver, WHERE, FREE_SOLVER_RULE)
        self.second_phase = self.checked(second_phase)
        self.last: Outcome | None = None
        self.last_backward: Outcome | None = None
        self.steps = 0
        self.num_units, self.num_outputs = network.num_units, network.num_outputs
        self.lock: Any = RLock()
        self.key = register(self)

    def checked(self, phase: SecondPhase | None) -> SecondPhase:
        """Return a second phase with its defaults; raise TypeError for anything else."""
        phase = with_defaults(phase, self.network.conservative)
        if isinstance(phase, type) or not callable(getattr(phase, "gradient", None)):
            rule = "A second phase is an EquilibriumPropagation() or a RecurrentBackpropagation()"
            raise TypeError(f"[{WHERE}] {rule}. Received {phase!r}.")
        return phase

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("key", "lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, lock=RLock())
        self.key = register(self)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.network.input_shape

    def __call__(self, x: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the state of the free phase through the operator of PyTorch."""
        state: torch.Tensor = torch.ops.equiprop.fixed_point(x, list(parameters), self.key)[0]
        return state

    def in_precision(self, dtype: torch.dtype) -> None:
        """Compute in float32 or float64 from now on; the layer refuses other precisions when it is called."""
        name = str(dtype).removeprefix("torch.")
        if name in ("float32", "float64") and name != self.network.dtype.name:
            self.network = self.network.astype(name)

    def load(self, parameters: Sequence[torch.Tensor]) -> None:
        """Copy tensors, in the order of the network's blocks, into the network."""
        with updating(self.network, WHERE):
            for (name, block), tensor in zip(self.network.blocks.items(), parameters, strict=True):
                shape = tuple(tensor.shape)
                require(shape == block.shape, WHERE, f"{name} has shape {block.shape}", f"shape {shape}")
                block[...] = as_array(tensor)

    def relax(self, x: torch.Tensor, parameters: Sequence[torch.Tensor]) -> FreeTensors:
        """Return the free phase of x (batch, inputs)."""
        with self.lock:
            self.load(parameters)
            free = relaxed(self.network, self.network.as_input(as_array(x), WHERE), self.solver)
            self.last = _outcome(free)
        free.report_failure(WHERE, self.on_failure)
        return FreeTensors(*map(torch.from_numpy, (free.state, free.status, free.error_estimate)))

    def pull(
        self,
        g: torch.Tensor,
        x: torch.Tensor,
        free: FreeTensors,
        parameters: Sequence[torch.Tensor],
    ) -> list[torch.Tensor]:
        """Return the products of g (batch, units) with dstate/dx and with dstate/dparameters.

        Numbers in g that are not finite make all products NaN, as in other modules of PyTorch. The gradient
        of hidden units is 0, because the layer returns outputs only.
        """
        force = as_array(g)[:, -self.num_outputs :]
        if not np.isfinite(force).all():
            return [torch.full_like(tensor, torch.nan) for tensor in (x, *parameters)]
        states = States(*map(as_array, free))
        with self.lock:
            self.load(parameters)
            gradient = vector_products(
                self.network, self.second_phase, self.solver, as_array(x), states, force, WHERE, self.steps
            )
            self.steps += 1
            self.last_backward = outcome = _outcome(gradient)
        _of_batch(outcome, force).report_failure(f"{WHERE}.backward", self.on_failure)
        blocks = (np.ascontiguousarray(block) for block in gradient.blocks.values())
        return [torch.from_numpy(gradient.inputs), *map(torch.from_numpy, blocks)]


def as_array(tensor: torch.Tensor) -> Array:
    """Return a tensor on the CPU as an array in the same memory; a copy if it is not contiguous."""
    return np.from_dlpack(tensor.detach().contiguous())


def _of_batch(outcome: Outcome, force: Array) -> Outcome:
    """Return an outcome without inaccurate samples if they are few or change the sum little."""
    status = judged_together(outcome, np.abs(force).max(axis=1))[1]
    inaccurate = status == Status.INACCURATE
    if inaccurate.mean() <= _FEW:
        status = np.where(inaccurate, np.int8(Status.CONVERGED), status)
    return replace(outcome, status=status)


def _outcome(result: Outcome) -> Outcome:
    """Return status, residuals and advice of a result, without its states."""
    return Outcome(
        result.status,
        result.iterations,
        result.residual,
        result.fallbacks,
        result.error_estimate,
        advice=result.advice,
    )
