"""Networks on a CUDA device: `HopfieldNetwork.to` puts a network there, and takes it back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.arrays import Array, check_image_shape
from equiprop.costs import Cost, LayerCosts
from equiprop.cuda_arrays import DeviceArray as DeviceArray
from equiprop.cuda_arrays import copied, is_on_device, taken
from equiprop.cuda_arrays import device_array as device_array
from equiprop.cuda_core import DeviceCore, DeviceEnergy, Residence
from equiprop.cuda_fields import nudged_fields, refuse_layer_costs, side_fields, solver_fields
from equiprop.cuda_package import DeviceError as DeviceError
from equiprop.cuda_package import OutOfDeviceMemory as OutOfDeviceMemory
from equiprop.cuda_package import device_state as device_state
from equiprop.devices import DEVICES
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.second_phase import CoreOptions, SecondPhase
from equiprop.solvers import FreeSolver

_CORES: dict[str, Any] = {
    name: DeviceCore(core) for name, core in (("float32", _core.f32), ("float64", _core.f64))
}


class DeviceNetwork(HopfieldNetwork):
    """A network whose phases run on a CUDA device; ``net.to("cuda")`` returns one.

    It is used as a `HopfieldNetwork`. `parameters` and `blocks` are in the memory of the host: each phase
    compares them with those on the device, and copies them if one was changed. Phases, gradients and training
    steps run on the device; all else, such as products with the Hessian and checks in `equiprop.verify`, runs
    on the CPU with the present parameters. A copy, and an unpickled network, is put on the device at its
    first phase. A file holds the network without the device.

    Raises
    ------
    TypeError
        By the constructor: construct a `HopfieldNetwork` and call ``to("cuda")``.
    """

    _DERIVED = HopfieldNetwork._DERIVED | {"residence"}

    def __init__(self) -> None:
        raise TypeError("[DeviceNetwork] Construct a HopfieldNetwork, and call its method to('cuda').")

    @property
    def device(self) -> str:
        """Name of the device, "cuda"."""
        return "cuda"

    @property
    def precision(self) -> str:
        """How the drive by the input and the gradients of weights round their factors."""
        return self.residence.precision

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for `pickle` and `copy`, with the precision."""
        return {**super().__getstate__(), "precision": self.precision}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Construct a new network, which is put on the device at its first phase."""
        own = dict(state)
        precision = own.pop("precision")
        super().__setstate__(own)
        self.residence.precision = precision

    def _adopt(self, network: _core.HopfieldNetwork) -> None:
        super()._adopt(network)
        self.core: _core.Precision = _CORES[self.dtype.name]
        self.residence: Residence = Residence(network)

    def as_input(self, x: Any, where: str) -> Array:
        """Return x as a checked array (batch, inputs); one on the device stays there, as a DeviceArray."""
        return self._taken(x, where) if is_on_device(x) else super().as_input(x, where)

    def _taken(self, x: Any, where: str) -> Any:
        """Return an array of another library on the device, in place; see `as_input`."""
        with self.residence.lock:
            batch = self.residence.batch(1)
            array = taken(x, batch, self.dtype, where, "x")
            if array.ndim > 2:
                check_image_shape(array.shape[1:], self.input_shape, where)
                array = array.reshape(len(array), math.prod(array.shape[1:]))
            if array.ndim != 2 or array.shape[1] != self.num_inputs or len(array) == 0:
                shape = f"(batch, {self.num_inputs}), with at least one sample"
                raise ValueError(f"[{where}] `x` has shape {shape}. Received shape {array.shape}.")
            if not batch.all_finite(array.address, array.size):
                raise ValueError(f"[{where}] `x` holds finite numbers. Received NaN or infinity.")
            return array

    def clamp(self, x: Any) -> _core.Energy:
        """Return the energy with x (batch, inputs) clamped, whose phases run on the device."""
        x = x if isinstance(x, DeviceArray) else np.ascontiguousarray(x, self.dtype)
        energy: Any = DeviceEnergy(self, x)
        return energy  # type: ignore[no-any-return]

    def clamp_on_cpu(self, x: Any) -> _core.Energy:
        """Return the core's energy on the CPU with x (batch, inputs) clamped."""
        return super().clamp(np.asarray(x))

    def __repr__(self) -> str:
        rounding = "" if self.precision == "exact" else f", {self.precision}"
        return f"{super().__repr__()[:-1]}, cuda{rounding})"


def on_host(model: Model, where: str, **values: Any) -> tuple[Any, ...]:
    """Return arguments of a function by name; those on the device of a model are copied to the host."""
    if not isinstance(model, DeviceNetwork):
        return tuple(values.values())
    with model.residence.lock:
        return tuple(
            copied(value, model.residence.batch(1), where, name) if is_on_device(value) else value
            for name, value in values.items()
        )


def _on_device(net: HopfieldNetwork, precision: str) -> DeviceNetwork:
    """Return a network with equal parameters on the device."""
    if type(net) not in (HopfieldNetwork, DeviceNetwork):
        raise TypeError(
            "[HopfieldNetwork.to] A network on a device is a HopfieldNetwork, not of a subclass. Received "
            f"{type(net).__name__}."
        )
    device = DeviceNetwork.__new__(DeviceNetwork)
    device.__setstate__({**HopfieldNetwork.__getstate__(net), "precision": precision})
    device.residence.open()
    return device


DEVICES["cuda"] = _on_device


def check_supported(model: Model, phase: SecondPhase, solver: FreeSolver, cost: Cost) -> None:
    """Raise ValueError if a model is on a device that does not support a second phase, a solver or a cost."""
    if not isinstance(model, DeviceNetwork):
        return
    if isinstance(cost, LayerCosts):
        refuse_layer_costs()
    solver_fields(solver.core)
    options: Any = CoreOptions().of(phase, model, solver, 0)
    if isinstance(options, _core.NudgedPhases):
        nudged_fields(options)
    elif isinstance(options, _core.SideNetwork):
        side_fields(options.solver)
