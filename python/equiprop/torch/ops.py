"""Operators of PyTorch that relax a network of the core, and compute a vector-Jacobian product at its state.

``equiprop::fixed_point`` and ``equiprop::fixed_point_vjp`` are functions of tensors for the dispatcher, so
that ``torch.compile`` and others treat a phase as one operation; fake kernels give the shapes of results.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

import torch


class FreeTensors(NamedTuple):
    """The free states of a batch, as tensors.

    Attributes
    ----------
    state : (batch, units)
    status : (batch,)
        Values of `Status`.
    error : (batch,)
        Estimated errors of the states; see `FixedPoint`.
    """

    state: torch.Tensor
    status: torch.Tensor
    error: torch.Tensor


class Phases(Protocol):
    """Both phases of a layer, which the operators call with tensors on the CPU.

    Attributes
    ----------
    num_units : int
        Number of units of a state.
    """

    num_units: int

    def relax(self, x: torch.Tensor, parameters: Sequence[torch.Tensor]) -> FreeTensors:
        """Return the free phase of x (batch, inputs)."""
        ...

    def pull(
        self,
        g: torch.Tensor,
        x: torch.Tensor,
        free: FreeTensors,
        parameters: Sequence[torch.Tensor],
    ) -> list[torch.Tensor]:
        """Return the products of g (batch, units) with dstate/dx and with dstate/dparameters."""
        ...


#: The phases of every layer that exists, by the number that its operators receive.
_PHASES: WeakValueDictionary[int, Phases] = WeakValueDictionary()
_KEYS = count()


def register(phases: Phases) -> int:
    """Return a new number by which the operators find `phases` as long as it exists."""
    key = next(_KEYS)
    _PHASES[key] = phases
    return key


@torch.library.custom_op(
    "equiprop::fixed_point",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor x, Tensor[] parameters, int key) -> (Tensor, Tensor, Tensor)",
)
def fixed_point(
    x: torch.Tensor, parameters: list[torch.Tensor], key: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the free phase of the network with number `key`; see `FreeTensors`."""
    return _PHASES[key].relax(x, parameters)


@torch.library.custom_op(
    "equiprop::fixed_point_vjp",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor g, Tensor x, Tensor[] free, Tensor[] parameters, int key) -> Tensor[]",
)
def fixed_point_vjp(
    g: torch.Tensor, x: torch.Tensor, free: list[torch.Tensor], parameters: list[torch.Tensor], key: int
) -> list[torch.Tensor]:
    """Return g^T dstate/dx, (batch, inputs), and g^T dstate/dtheta for each parameter."""
    return _PHASES[key].pull(g, x, FreeTensors(*free), parameters)


@fixed_point.register_fake
def _(x: torch.Tensor, parameters: list[torch.Tensor], key: int) -> FreeTensors:  # noqa: ARG001
    batch = x.shape[0]
    status, error = (x.new_empty((batch,), dtype=kind) for kind in (torch.int8, torch.float64))
    return FreeTensors(x.new_empty((batch, _PHASES[key].num_units)), status, error)


@fixed_point_vjp.register_fake
def _(
    g: torch.Tensor,  # noqa: ARG001
    x: torch.Tensor,
    free: list[torch.Tensor],  # noqa: ARG001
    parameters: list[torch.Tensor],
    key: int,  # noqa: ARG001
) -> list[torch.Tensor]:
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (x, *parameters)]


def _keep(ctx: Any, inputs: tuple[torch.Tensor, list[torch.Tensor], int], output: FreeTensors) -> None:
    x, parameters, ctx.key = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(x, *output, *parameters)


def _backward(ctx: Any, g: torch.Tensor, *_: Any) -> tuple[torch.Tensor, list[torch.Tensor], None]:
    x, state, status, error, *parameters = ctx.saved_tensors
    by_input, *by_parameters = fixed_point_vjp(g, x, [state, status, error], parameters, ctx.key)
    return by_input, by_parameters, None


fixed_point.register_autograd(_backward, setup_context=_keep)
