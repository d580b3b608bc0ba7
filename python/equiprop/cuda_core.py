"""The functions of the core for a network on a CUDA device.

Phases and gradients run on the device. What `DeviceCore` does not define is done by the core of the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from threading import RLock
from typing import Any, Protocol

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.cuda_fields import (
    FREE_SLOT,
    NUDGED_SLOT,
    DeviceCost,
    clamp,
    refuse_layer_costs,
    refuse_symmetrize,
    relax_free,
    side_fields,
    solver_fields,
)
from equiprop.cuda_package import kernels
from equiprop.cuda_step import DeviceStep

#: Samples for which memory is allocated when a network is put on a device.
_FIRST_BATCH = 64
#: Number of parameters that are compared at a time: after a training step, the first ones differ.
_PART = 1 << 14
#: Blocks of a cluster, samples of a tile, threads of a block; 0 chooses. Results do not depend on them.
DIVISION: tuple[int, int, int] = (0, 0, 0)


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
        #: Averages of an optimizer on the device: its array on the host, and the number of its steps.
        self.averages: tuple[Array | None, int] = (None, 0)
        #: Data of a training on the device: what they were made of.
        self.held: tuple[Any, ...] = ()

    def open(self) -> None:
        """Put the network on the device, to learn whether that is possible."""
        self.batch(_FIRST_BATCH)

    def batch(self, samples: int) -> Any:
        """Return the batch of the device, with the present parameters and memory for `samples` samples."""
        if samples > self._most:
            self._batch, self._most = None, 0  # its memory is free before more is taken
            self.forget()
            self.held = ()
            core = getattr(kernels(), "f32" if self._parameters.dtype == np.float32 else "f64")
            network = self._network.description(), self._parameters
            self._batch = core.DeviceBatch(*network, samples, DIVISION, self.precision)
            self._most, self._uploaded = samples, self._parameters.copy()
        elif not self._is_uploaded():
            self._batch.upload(self._parameters)
            self._uploaded = self._parameters.copy()
        return self._batch

    def forget(self) -> None:
        """Take parameters and averages on the device for unknown: a run changes them, and may fail."""
        self._uploaded, self.averages = None, (None, 0)

    def release(self) -> None:
        """Free the memory that data of a training take."""
        self.held = ()
        if self._batch is not None:
            self._batch.release()

    def keep(self, theta: Array) -> None:
        """Store the parameters of the device after a run in the memory of the host."""
        self._parameters[:] = theta
        self._uploaded = theta

    def _is_uploaded(self) -> bool:
        if self._uploaded is None:
            return False
        words = np.uint32 if self._parameters.dtype == np.float32 else np.uint64  # NaN equals itself
        now, then = self._parameters.view(words), self._uploaded.view(words)
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
            clamp(batch, self.x, _no_targets(self.network, len(s)))
            batch.write(NUDGED_SLOT, s)
            report = batch.relax_free(("BlockUpdate", 0.0, None, 0), NUDGED_SLOT)
            residual: Array = report[2]
            return residual

    def symmetrized(self, s_star: Array) -> _core.Energy:  # noqa: ARG002
        """Raise ValueError: the kernels do not support the antisymmetric term."""
        refuse_symmetrize()
        raise AssertionError

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
            clamp(batch, energy.x, _no_targets(network, count))
            whole = None if at_rest else np.broadcast_to(start, (count, start.shape[1]))
            report = relax_free(batch, fields, whole)
            return batch.read(FREE_SLOT), report, None, None

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
    clamp(batch, energy.x, cost.targets, cost.logit_scale)
    batch.set_sample_weights(cost.host.sample_weight)
    batch.write(FREE_SLOT, state)
    return batch
