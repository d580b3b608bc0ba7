"""Networks on a CUDA device: `HopfieldNetwork.to` puts a network there, and takes it back."""

from __future__ import annotations

from typing import Any

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.costs import Cost, LayerCosts
from equiprop.cuda_core import DeviceCore, DeviceEnergy, Residence
from equiprop.cuda_fields import nudged_fields, refuse_layer_costs, side_fields, solver_fields
from equiprop.cuda_package import DeviceError as DeviceError
from equiprop.cuda_package import OutOfDeviceMemory as OutOfDeviceMemory
from equiprop.cuda_package import device_state as device_state
from equiprop.model_interface import Model
from equiprop.models import DEVICES, HopfieldNetwork
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

    def _adopt(self, network: _core.HopfieldNetwork) -> None:
        super()._adopt(network)
        self.core: _core.Precision = _CORES[self.dtype.name]
        self.residence: Residence = Residence(network)

    def clamp(self, x: Array) -> _core.Energy:
        """Return the energy with x (batch, inputs) clamped, whose phases run on the device."""
        energy: Any = DeviceEnergy(self, np.ascontiguousarray(x, self.dtype))
        return energy  # type: ignore[no-any-return]

    def clamp_on_cpu(self, x: Array) -> _core.Energy:
        """Return the core's energy on the CPU with x (batch, inputs) clamped."""
        return super().clamp(x)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, cuda)"


def _on_device(net: HopfieldNetwork) -> DeviceNetwork:
    """Return a network with equal parameters on the device."""
    if type(net) is not HopfieldNetwork:
        raise TypeError(
            "[HopfieldNetwork.to] A network on a device is a HopfieldNetwork, not of a subclass. Received "
            f"{type(net).__name__}."
        )
    device = DeviceNetwork.__new__(DeviceNetwork)
    device.__setstate__(net.__getstate__())
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
