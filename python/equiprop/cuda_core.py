"""The functions of the core for a network on a CUDA device.

Phases and gradients run on the device. What `DeviceCore` does not define is done by the core of the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from threading import RLock
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.cuda_package import kernels
from equiprop.evaluation import mean_error, sample_errors
from equiprop.results import Outcome, Status, judged_together

_FREE_SLOT, _NUDGED_SLOT = 0, 2
#: Samples for which memory is allocated when a network is put on a device.
_FIRST_BATCH = 64
#: Number of parameters that are compared at a time: after a training step, the first ones differ.
_PART = 1 << 14
#: Blocks of a cluster, samples of a tile, threads of a block; 0 chooses. Results do not depend on them.
DIVISION: tuple[int, int, int] = (0, 0, 0)
_FIXED_STEPS, _DIVERGED = int(Status.FIXED_STEPS), int(Status.DIVERGED)

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
        _refuse_symmetrize()
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


def _refuse_symmetrize() -> None:
    raise ValueError("[cuda] symmetrize=True needs the CPU: net.to('cpu'). Received a network on a device.")


class Residence:
    """Memory of a network on the device: parameters, and one batch with its states.

    The parameters in the memory of the host are the network's own. They are compared with those that were
    copied to the device last, and are copied again if one of them was changed.

    Parameters
    ----------
    network : core network
        The network in the memory of the host.

    Attributes
    ----------
    precision : {"exact", "tf32", "3xtf32", "bf16"}
        Rounding of the factors of large products, which is chosen before the first phase.
    """

    def __init__(self, network: _core.HopfieldNetwork) -> None:
        self.precision = "exact"
        self.lock: AbstractContextManager[Any] = RLock()
        self._network = network
        self._parameters = network.parameters
        self._batch: Any = None
        self._most = 0
        self._uploaded: Array | None = None

    def open(self) -> None:
        """Put the network on the device, to learn whether that is possible."""
        self.batch(_FIRST_BATCH)

    def batch(self, samples: int) -> Any:
        """Return the batch of the device, with the present parameters and memory for `samples` samples."""
        if samples > self._most:
            self._batch, self._most, self._uploaded = None, 0, None  # its memory is free before more is taken
            core = getattr(kernels(), "f32" if self._parameters.dtype == np.float32 else "f64")
            network = self._network.description(), self._parameters
            self._batch = core.DeviceBatch(*network, samples, DIVISION, self.precision)
            self._most, self._uploaded = samples, self._parameters.copy()
        elif not self._is_uploaded():
            self._batch.upload(self._parameters)
            np.copyto(cast(Array, self._uploaded), self._parameters)
        return self._batch

    def _is_uploaded(self) -> bool:
        words = np.uint32 if self._parameters.dtype == np.float32 else np.uint64  # NaN equals itself
        now, then = self._parameters.view(words), cast(Array, self._uploaded).view(words)
        parts = (slice(begin, begin + _PART) for begin in range(0, now.size, _PART))
        return all(np.array_equal(now[part], then[part]) for part in parts)


class Resident(Protocol):
    """The part of a network on a device that its core uses; see `equiprop.cuda.DeviceNetwork`."""

    residence: Residence
    dtype: np.dtype[Any]

    @property
    def num_outputs(self) -> int: ...  # noqa: D102
    def initial_state(self, batch: int) -> Array: ...  # noqa: D102
    def clamp_on_cpu(self, x: Array) -> _core.Energy: ...  # noqa: D102


class DeviceEnergy:
    """The energy of a network on a device with x (batch, inputs) clamped.

    Attributes that are not defined here are those of the core's energy on the CPU: derivatives at a state,
    and products with the Hessian.
    """

    def __init__(self, network: Resident, x: Array) -> None:
        self.network: Resident = network
        self.x: Array = x
        self._host: _core.Energy | None = None

    @property
    def host(self) -> _core.Energy:
        """The core's energy on the CPU."""
        if self._host is None:
            self._host = self.network.clamp_on_cpu(self.x)
        return self._host

    def residual(self, s: Array) -> Array:
        """Return the residual of a state (batch, units), by a phase of no steps."""
        with self.network.residence.lock:
            batch = self.network.residence.batch(len(s))
            batch.clamp(self.x, _no_targets(self.network, len(s)))
            batch.write(_NUDGED_SLOT, s)
            report = batch.relax_free(("BlockUpdate", 0.0, None, 0), _NUDGED_SLOT)
            residual: Array = report[2]
            return residual

    def symmetrized(self, s_star: Array) -> _core.Energy:  # noqa: ARG002
        """Raise ValueError: the kernels do not support the antisymmetric term."""
        _refuse_symmetrize()
        raise AssertionError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.host, name)


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


class DeviceCore:
    """The functions that phases call, with the names of the core; see `_core.pyi` for their arguments.

    Parameters
    ----------
    host : core
        The core of the CPU in the same precision.
    """

    def __init__(self, host: _core.Precision) -> None:
        self.host: _core.Precision = host
        self.TrainingStep: Any = partial(DeviceStep, host)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "host":
            raise AttributeError(name)
        return getattr(self.host, name)

    def bind_cost(self, kind: _core.CostKind, y: Array) -> DeviceCost:
        """Return a cost with targets."""
        return DeviceCost(kind.logit_scale, y, self.host.bind_cost(kind, y))

    def bind_layer_costs(self, rows: int, layers: object) -> DeviceCost:  # noqa: ARG002
        """Raise ValueError: the kernels nudge the outputs only."""
        refuse_layer_costs()
        raise AssertionError

    def relax(
        self,
        energy: DeviceEnergy,
        solver: Any,
        start: Array,
        trace: bool = False,
        record: bool = False,
        samples: int = 0,
    ) -> tuple[Array, tuple[Any, ...], None, None]:
        """Relax a free phase on the device."""
        if trace or record:
            raise ValueError(
                "[cuda] trace=True and record=True need the CPU: net.to('cpu'). "
                "Received a network on a device."
            )
        fields, network = solver_fields(solver), energy.network
        count = samples if samples and len(start) == 1 else len(start)
        at_rest = bool((start == network.initial_state(1)).all())
        with network.residence.lock:
            batch = network.residence.batch(count)
            batch.clamp(energy.x, _no_targets(network, count))
            whole = None if at_rest else np.broadcast_to(start, (count, start.shape[1]))
            report = _relax_free(batch, fields, whole)
            return batch.read(_FREE_SLOT), report, None, None

    def equilibrium_propagation(
        self,
        energy: DeviceEnergy,
        cost: DeviceCost,
        state: Array,
        nodes: Sequence[tuple[float, float]],
        solver: Any,
        inputs: bool,
    ) -> tuple[Any, ...]:
        """Return the gradient of Equilibrium Propagation at a free state."""
        fields = solver_fields(solver)
        with energy.network.residence.lock:
            batch = _at_state(energy, cost, state)
            result: tuple[Any, ...] = batch.equilibrium_propagation(list(nodes), fields, inputs)
            return result

    def recurrent_backpropagation(
        self, energy: DeviceEnergy, cost: DeviceCost, state: Array, solver: Any, inputs: bool
    ) -> tuple[Any, ...]:
        """Return the gradient of Recurrent Backpropagation at a free state."""
        fields = side_fields(solver)
        with energy.network.residence.lock:
            batch = _at_state(energy, cost, state)
            result: tuple[Any, ...] = batch.recurrent_backpropagation(*fields, inputs)
            return result

    def equilibrium_propagation_limit(
        self, energy: _core.DualEnergy, cost: DeviceCost, state: Array, solver: Any, inputs: bool
    ) -> tuple[Any, ...]:
        """Return the exact limit, which needs dual numbers, by the CPU."""
        return self.host.equilibrium_propagation_limit(energy, cost.host, state, solver, inputs)

    def holomorphic_equilibrium_propagation(
        self, energy: _core.Energy, cost: DeviceCost, state: Array, nodes: Any, solver: Any, inputs: bool
    ) -> tuple[Any, ...]:
        """Return the gradient by complex nudges, which need complex numbers, by the CPU."""
        return self.host.holomorphic_equilibrium_propagation(energy, cost.host, state, nodes, solver, inputs)


def _no_targets(network: Resident, samples: int) -> Array:
    return np.zeros((samples, network.num_outputs), network.dtype)


def _at_state(energy: DeviceEnergy, cost: DeviceCost, state: Array) -> Any:
    """Return the batch of the device with input, targets and weights, at a free state."""
    batch = energy.network.residence.batch(len(state))
    batch.clamp(energy.x, cost.targets, cost.logit_scale)
    batch.set_sample_weights(cost.host.sample_weight)
    batch.write(_FREE_SLOT, state)
    return batch


class DeviceStep:
    """Training steps on the device, with the interface of the core's `TrainingStep`.

    Attributes
    ----------
    free, second : tuple of arrays
        Reports of the phases of the last step; `second` is empty if the free phase diverged.
    free_state : array, shape (batch, units)
        Free states of the last step.
    """

    def __init__(self, host: _core.Precision, model: Resident, network: object) -> None:  # noqa: ARG002
        self._host, self._model = host, model
        self.free: tuple[Any, ...] = ((),)
        self.second: tuple[Any, ...] = ((),)
        self.free_state: Array = np.empty((0, 0), model.dtype)

    def take(
        self,
        x: Array,
        y: Array,
        cost: _core.CostKind | DeviceCost,
        solver: Any,
        second_phase: _core.NudgedPhases | _core.SideNetwork,
        sink: object,  # noqa: ARG002
        largest_norm: float,
        sample_weight: Array | None = None,
        start: Array | None = None,
    ) -> tuple[float, float, float, float, float, int, float, float, int, Array] | None:
        """Return metrics and the gradient of a mini-batch, or None if a sample diverged.

        The free phase begins at the states `start` (batch, units), or at rest. The caller updates the
        parameters: `sink`, the optimizer of the CPU's core, is not used.
        """
        model, fields = self._model, solver_fields(solver)
        targets = y if y.ndim == 2 else self._host.one_hot(y, model.num_outputs, "Trainer.step")
        if isinstance(cost, DeviceCost):
            sample_weight = cost.host.sample_weight
        with model.residence.lock:
            batch = model.residence.batch(len(x))
            batch.clamp(x, targets, cost.logit_scale)
            batch.set_sample_weights(sample_weight)
            self.free, self.second = _relax_free(batch, fields, start), ((),)
            self.free_state = batch.read(_FREE_SLOT)
            if _diverged(self.free):
                return None
            gradient, _, objective, self.second = _run(batch, second_phase)
            outputs = self.free_state[:, -model.num_outputs :]
        if _diverged(self.second):
            return None
        norm = math.nan if math.isnan(largest_norm) else float(np.linalg.norm(gradient.astype(np.float64)))
        if norm > largest_norm:
            gradient *= gradient.dtype.type(largest_norm / norm)
        return self._metrics(outputs, y, sample_weight, objective, norm, gradient)

    def _metrics(
        self, outputs: Array, y: Array, weights: Array | None, objective: float, norm: float, gradient: Array
    ) -> tuple[float, float, float, float, float, int, float, float, int, Array]:
        free, (inexact, status) = Outcome(*self.free), judged_together(Outcome(*self.second))
        self.second = (status, *self.second[1:])
        classes = y.ndim == 1
        weights = None if weights is None else weights.astype(np.float64)
        return (
            objective,
            mean_error(sample_errors(outputs, y, classes), classes, weights),
            float(free.iterations.mean()),
            float(self.second[1].mean()),
            float(free.residual.max()),
            int((np.maximum(free.status, status) > _FIXED_STEPS).sum()),
            norm,
            inexact,
            int((status == Status.INACCURATE).sum()),
            gradient,
        )


def _relax_free(batch: Any, solver: SolverFields, start: Array | None) -> Any:
    """Relax a free phase from rest, or from states `start` (batch, units), and return its report."""
    if start is None:
        return batch.relax_free(solver)
    batch.write(_NUDGED_SLOT, np.ascontiguousarray(start))
    return batch.relax_free(solver, _NUDGED_SLOT)


def _run(batch: Any, second_phase: _core.NudgedPhases | _core.SideNetwork) -> Any:
    """Return gradient, derivative by the input, objective and report of a second phase."""
    if isinstance(second_phase, _core.SideNetwork):
        return batch.recurrent_backpropagation(*side_fields(second_phase.solver))
    return batch.equilibrium_propagation(*nudged_fields(second_phase))


def _diverged(report: tuple[Any, ...]) -> bool:
    return int(report[0].max()) == _DIVERGED
