"""A layer of PyTorch that relaxes to a fixed point, and whose gradient is that of a second phase."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from equiprop.checks import check_choice, check_type, require
from equiprop.models import HopfieldNetwork
from equiprop.results import Outcome
from equiprop.second_phase import SecondPhase
from equiprop.solvers import FreeSolver
from equiprop.torch.models import TorchEnergy, TorchVectorField
from equiprop.torch.network_phases import WHERE, NetworkPhases
from equiprop.torch.tensor_phases import TensorPhases


class FixedPointLayer(torch.nn.Module):
    r"""A module whose output is that of a free phase, and whose gradient is that of a second phase.

    .. math:: o = s^*_{out}, \quad \nabla_s E(x, s^*) = 0, \quad
              g^T \frac{ds^*}{d\theta} = -\langle \lambda, d^2E / d\theta ds \rangle, \quad H^T \lambda = g

    g is the gradient of any loss by the outputs o. It reaches the parameters and the input x, so the layer
    composes with other modules, losses and optimisers of PyTorch. The layer has its own parameters: it copies
    those of the model. Gradients of gradients are refused.

    Parameters
    ----------
    model : HopfieldNetwork, TorchEnergy or TorchVectorField
        A network on the CPU is relaxed by the core. The function of a model in PyTorch is relaxed by PyTorch,
        in float32 or float64, on the device of the tensors.
    second_phase : EquilibriumPropagation or RecurrentBackpropagation, optional
        By default RecurrentBackpropagation(ConjugateGradient()), or GMRES() without an energy. beta of a
        nudging, by default centered(0.1), is relative: the largest force on a sample is |beta|.
    solver : BlockUpdate, FixedPointIteration or Euler, optional
        Solver of the free phase; by default BlockUpdate for a network, and Euler for a model in PyTorch.
    on_failure : {"warn", "raise", "ignore"}
        Action if some samples of a phase do not converge.

    Attributes
    ----------
    last, last_backward : Outcome or None
        Status, iterations and residual of each sample in the last free phase and the last second phase.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, or a solver or second phase does not suit the model.

    Examples
    --------
    >>> import equiprop as eq
    >>> import torch
    >>> from equiprop.torch import FixedPointLayer
    >>> layer = FixedPointLayer(eq.HopfieldNetwork([4, 8, 3], seed=0))
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), layer, torch.nn.LogSoftmax(dim=1))
    >>> torch.nn.functional.nll_loss(model(torch.ones(5, 2)), torch.arange(5) % 3).backward()
    >>> layer.W1.grad.shape, layer.last.converged
    (torch.Size([4, 8]), True)
    """

    def __init__(
        self,
        model: HopfieldNetwork | TorchEnergy | TorchVectorField,
        second_phase: SecondPhase | None = None,
        *,
        solver: FreeSolver | None = None,
        on_failure: str = "warn",
    ) -> None:
        super().__init__()
        check_choice(on_failure, WHERE, "on_failure", "warn", "raise", "ignore")
        self._phases: NetworkPhases | TensorPhases
        if isinstance(model, TorchEnergy | TorchVectorField):
            self._phases = TensorPhases(model, second_phase, solver, on_failure)
        else:
            self._phases = NetworkPhases(_host_network(model), second_phase, solver, on_failure)
        self._names = tuple(model.blocks)
        for name, block in model.blocks.items():
            self._register(name, np.array(block))

    def _register(self, name: str, block: Any) -> None:
        try:
            self.register_parameter(name, torch.nn.Parameter(torch.from_numpy(block)))
        except KeyError as error:
            rule = "Names of parameters are those of attributes that a module does not have"
            raise ValueError(f"[{WHERE}] {rule}. Received {name!r}.") from error

    @property
    def last(self) -> Outcome | None:
        """Result of the last free phase for each sample; None before the first."""
        return self._phases.last

    @property
    def last_backward(self) -> Outcome | None:
        """Result of the last second phase for each sample; None before the first."""
        return self._phases.last_backward

    @property
    def network(self) -> HopfieldNetwork:
        """A network with the present parameters, for `equiprop.save` and other functions; a copy.

        Raises
        ------
        TypeError
            If the layer contains a model in PyTorch.
        """
        if not isinstance(self._phases, NetworkPhases):
            raise TypeError(f"[{WHERE}] A network is inside. Received a layer of a model in PyTorch.")
        with self._phases.lock:
            self._phases.load([tensor.cpu() for tensor in self._tensors()])
            return copy.deepcopy(self._phases.network)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs (..., outputs) of the free phase of ``(..., inputs)`` or ``(..., *input_shape)``."""
        tensors = self._tensors()
        x = self._checked(x, tensors)
        lead = self._lead(x)
        if not lead.numel():
            raise ValueError(f"[{WHERE}] `x` holds at least one sample. Received shape {tuple(x.shape)}.")
        state = self._phases(x.reshape(lead.numel(), -1), tensors)
        outputs = state[:, self._phases.num_units - self._phases.num_outputs :]
        return outputs.reshape(*lead, self._phases.num_outputs)

    @property
    def second_phase(self) -> SecondPhase:
        """The second phase, which computes the gradient."""
        return self._phases.second_phase

    @second_phase.setter
    def second_phase(self, phase: SecondPhase) -> None:
        if isinstance(self._phases, NetworkPhases):
            self._phases.second_phase = self._phases.checked(phase)
        else:
            self._phases.second_phase = self._phases.checked(phase)

    def extra_repr(self) -> str:
        """Return the model and the second phase for `repr`."""
        phases = self._phases
        model = phases.network if isinstance(phases, NetworkPhases) else phases.model
        return f"{model!r}, {phases.second_phase!r}"

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> FixedPointLayer:
        """Move the parameters, as `Module.to` and others do, and let the network follow their precision."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._phases.in_precision(self._tensors()[0].dtype)
        return self

    def _tensors(self) -> list[torch.Tensor]:
        return [getattr(self, name) for name in self._names]

    def _checked(self, x: torch.Tensor, tensors: list[torch.Tensor]) -> torch.Tensor:
        """Return x in the precision of the parameters; raise an error for another type, size or device."""
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"[{WHERE}] x is a tensor. Received {type(x).__name__}.")
        dtype, device = tensors[0].dtype, tensors[0].device
        if x.device != device:
            raise ValueError(
                f"[{WHERE}] x is on the device of the parameters, {device}. Received {x.device}."
            )
        if dtype not in (torch.float32, torch.float64):
            rule = "The parameters of a layer are torch.float32 or torch.float64"
            raise TypeError(f"[{WHERE}] {rule}. Received {dtype}.")
        if x.is_floating_point() and _autocasts(device.type):
            x = x.to(dtype)
        if not torch.compiler.is_compiling() and any(map(_has_tangent, (x, *tensors))):
            rule = "Derivatives are those of reverse mode, such as torch.autograd.grad"
            raise RuntimeError(f"[{WHERE}] {rule}. Received a tangent of forward mode.")
        if x.dtype != dtype:
            rule = f"x has the type of the parameters, {dtype}; Module.to(dtype) changes theirs"
            raise TypeError(f"[{WHERE}] {rule}. Received {x.dtype}.")
        return x

    def _lead(self, x: torch.Tensor) -> torch.Size:
        """Return the dimensions of x in front of those of one input."""
        shape = self._phases.input_shape
        if shape is None:
            return x.shape[:-1]
        if x.shape[-len(shape) :] == shape:
            return x.shape[: x.dim() - len(shape)]
        if x.shape[-1:] == (math.prod(shape),):
            return x.shape[:-1]
        sizes = ", ".join(map(str, shape))
        raise ValueError(f"[{WHERE}] x has shape (..., {sizes}). Received shape {tuple(x.shape)}.")


def _host_network(model: Any) -> HopfieldNetwork:
    """Return a copy of a network on the CPU; raise an error for anything else."""
    kinds = "model is a HopfieldNetwork, a TorchEnergy or a TorchVectorField"
    check_type(model, HopfieldNetwork, WHERE, kinds)
    rule = "The network of a layer is on the CPU: pass net.to('cpu')"
    require(model.device == "cpu", WHERE, rule, model.device)
    network: HopfieldNetwork = copy.deepcopy(model)
    return network


def _autocasts(device: str) -> bool:
    """Return True inside ``torch.autocast`` for a type of device."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _has_tangent(tensor: torch.Tensor) -> bool:
    """Return True for a tensor with a derivative in forward mode, such as in ``torch.func.jvp``."""
    dual: Any = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    return dual.tangent is not None
