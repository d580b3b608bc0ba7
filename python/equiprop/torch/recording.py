"""The relaxation inside a module, found by a record of the calls of its submodules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

#: Fewest calls in one forward pass of a submodule that is one step of a relaxation.
_FEWEST = 3
#: Largest number of units of a sample for which the Jacobian is computed.
MOST_UNITS = 512


@dataclass
class _Call:
    """One call of a submodule, with the gradient by its output once there is one."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: torch.Tensor


@dataclass
class Record:
    """The calls of each submodule in one forward pass, and gradients of a loss by their outputs."""

    calls: dict[str, list[_Call]] = field(default_factory=dict)
    gradients: dict[str, list[torch.Tensor]] = field(default_factory=dict)


@contextmanager
def recorded(module: torch.nn.Module) -> Iterator[Record]:
    """Record the calls of all submodules inside of the with-block."""
    record = Record()

    def hook(name: str) -> Callable[..., None]:
        def keep(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if isinstance(output, torch.Tensor):
                record.calls.setdefault(name, []).append(_Call(args, kwargs, output.detach()))
                if output.requires_grad:
                    hooked: Any = output  # register_hook has no types
                    hooked.register_hook(lambda g: record.gradients.setdefault(name, []).append(g.detach()))

        return keep

    named = [(name, part) for name, part in module.named_modules() if name]
    handles = [part.register_forward_hook(hook(name), with_kwargs=True) for name, part in named]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Relaxation:
    """One step z <- f(z) of a relaxation: a submodule, at the last state of a forward pass.

    Attributes
    ----------
    name : str
        Name of the submodule.
    step : torch.nn.Module
    args, kwargs
        Arguments of its last call.
    place : int
        Index of the state in `args`.
    gradients : list of tensors
        Gradients of a loss by outputs of the submodule, in the order in which they arrived.
    steps : int
        Number of calls in the forward pass.
    """

    name: str
    step: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    place: int
    gradients: list[torch.Tensor]
    steps: int

    @property
    def state(self) -> torch.Tensor:
        """The state after the last call."""
        return self(self.args[self.place]).detach()

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """Return f(z)."""
        args = (*self.args[: self.place], z, *self.args[self.place + 1 :])
        result: torch.Tensor = self.step(*args, **self.kwargs)
        return result

    @property
    def residual(self) -> float:
        """The largest |f(z) - z| at the last state, relative to the largest |z|."""
        with torch.no_grad():
            z = self.state
            scale = float(z.abs().max()) or 1.0
            return float((self(z) - z).abs().max()) / scale


@dataclass(frozen=True)
class AsField:
    """The dynamics ds/dt = f(s) - s of a relaxation as a function for `TorchVectorField`; it can be pickled.

    Attributes
    ----------
    relaxation : Relaxation
    """

    relaxation: Relaxation

    @property
    def inputs(self) -> torch.Tensor:
        """The other tensors of the last call that have one row for each sample, (batch, inputs)."""
        rows = [self.relaxation.args[i].detach().flatten(1) for i in self._places()]
        return torch.cat([*rows, rows[0][:, :0] if rows else self.relaxation.state.flatten(1)[:, :0]], dim=1)

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        """The parameters of the step, by name."""
        return {name: p.detach() for name, p in self.relaxation.step.named_parameters()}

    def __call__(self, x: torch.Tensor, s: torch.Tensor, params: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return f(s) - s for inputs and states of any number of samples."""
        args, at = list(self.relaxation.args), 0
        for i in self._places():
            shape = args[i].shape[1:]
            args[i] = x[:, at : at + shape.numel()].reshape(len(x), *shape)
            at += shape.numel()
        place = self.relaxation.place
        args[place] = s.reshape(len(s), *args[place].shape[1:])
        step, options = self.relaxation.step, self.relaxation.kwargs
        value: torch.Tensor = torch.func.functional_call(step, params, tuple(args), options)
        return value.reshape(s.shape) - s

    def _places(self) -> list[int]:
        args, place = self.relaxation.args, self.relaxation.place
        return [
            i
            for i, value in enumerate(args)
            if isinstance(value, torch.Tensor) and i != place and value.shape[:1] == args[place].shape[:1]
        ]


def relaxation_of(module: torch.nn.Module, record: Record) -> Relaxation | None:
    """Return the submodule that is called most often with a state that it brings closer to rest, or None."""
    found: Relaxation | None = None
    for name, step in module.named_modules():
        calls = record.calls.get(name, [])
        place = _place_of_state(calls)
        if place is None or (found is not None and len(calls) <= found.steps):
            continue
        last = calls[-1]
        gradients = record.gradients.get(name, [])
        found = Relaxation(name, step, last.args, last.kwargs, place, gradients, len(calls))
    return found


def _place_of_state(calls: list[_Call]) -> int | None:
    """Return the index of the argument z of calls that approach f(z) = z, or None."""
    if len(calls) < _FEWEST:
        return None
    for place, z in enumerate(calls[-1].args):
        if not isinstance(z, torch.Tensor) or z.shape != calls[-1].output.shape:
            continue
        moves = [_move(call, place) for call in calls]
        if moves[-1] < moves[0] / 2:
            return place
    return None


def _move(call: _Call, place: int) -> float:
    return float((call.output - call.args[place].detach()).abs().max())
