"""Deep-equilibrium modules for tests: right ones, and ones with planted faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Step(torch.nn.Module):
    """f(z, x) = tanh(W z + U x + b)."""

    def __init__(self, inputs: int = 3, units: int = 5) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.W, self.U = torch.nn.Linear(units, units), torch.nn.Linear(inputs, units, bias=False)
        self.W.weight.data *= 0.8

    def forward(self, z: Any, x: Any) -> Any:
        return torch.tanh(self.W(z) + self.U(x))


class DeepEquilibrium(torch.nn.Module):
    """z = f(z, x) by iteration, implicit differentiation by a hook, and a linear readout."""

    steps, backward_steps = 200, 200

    def __init__(self) -> None:
        super().__init__()
        self.f, self.head = Step(), torch.nn.Linear(5, 2)

    def relax(self, x: Any) -> Any:
        z = x.new_zeros(len(x), 5)
        with torch.no_grad():
            for _ in range(self.steps):
                z = self.f(z, x)
        return z

    def forward(self, x: Any) -> Any:
        z = self.f(self.relax(x), x)
        start = z.detach().requires_grad_()
        with torch.enable_grad():
            again = self.f(start, x.detach())
        if z.requires_grad:
            z.register_hook(lambda g: self.adjoint(again, start, g))
        return self.head(z)

    def pull(self, value: Any, z: Any, v: Any) -> Any:
        return torch.autograd.grad(value, z, v, retain_graph=True)[0]

    def adjoint(self, value: Any, z: Any, g: Any) -> Any:
        v = g
        for _ in range(self.backward_steps):
            v = g + self.pull(value, z, v)
        return v


class Unrolled(DeepEquilibrium):
    """Backpropagation through all steps."""

    def forward(self, x: Any) -> Any:
        z = x.new_zeros(len(x), 5)
        for _ in range(self.steps):
            z = self.f(z, x)
        return self.head(z)


class Phantom(DeepEquilibrium):
    def adjoint(self, value: Any, z: Any, g: Any) -> Any:
        return g


class Truncated(DeepEquilibrium):
    backward_steps = 4


class Untransposed(DeepEquilibrium):
    def pull(self, value: Any, z: Any, v: Any) -> Any:
        u = torch.zeros_like(v, requires_grad=True)
        (row,) = torch.autograd.grad(value, z, u, create_graph=True)
        return torch.autograd.grad(row, u, v)[0]


class WrongSign(DeepEquilibrium):
    def adjoint(self, value: Any, z: Any, g: Any) -> Any:
        return -super().adjoint(value, z, g)


class WrongLoss(torch.nn.Module):
    """All gradients of the module inside are reversed."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = DeepEquilibrium()

    def forward(self, x: Any) -> Any:
        class Reverse(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, value: Any) -> Any:
                return value.clone()

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                return -g

        return Reverse.apply(self.inner(x))


class Single(DeepEquilibrium):
    def relax(self, x: Any) -> Any:
        return super().relax(x).float().double()

    def forward(self, x: Any) -> Any:
        return super().forward(x).float().double()


class FewSteps(DeepEquilibrium):
    steps = 3


class FewUnrolled(Unrolled):
    steps = 4


class Idle(DeepEquilibrium):
    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.ones(2))


class Kinked(DeepEquilibrium):
    """The first unit is a rectifier, exactly at its kink."""

    def __init__(self) -> None:
        super().__init__()
        self.f = RectifiedStep()


class RectifiedStep(Step):
    rectifier = staticmethod(torch.relu)

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            for tensor in (self.W.weight, self.W.bias, self.U.weight):
                tensor[0] = 0

    def forward(self, z: Any, x: Any) -> Any:
        pulled = self.W(z) + self.U(x)
        return torch.cat([self.rectifier(pulled[:, :1]), torch.tanh(pulled[:, 1:])], dim=1)


class Detached(DeepEquilibrium):
    def forward(self, x: Any) -> Any:
        return self.head(self.relax(x))


class WithoutGraph(DeepEquilibrium):
    @torch.no_grad()
    def forward(self, x: Any) -> Any:
        return super().forward(x)


class Normalised(DeepEquilibrium):
    """Batch normalisation refuses a batch of one sample."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(2)

    def forward(self, x: Any) -> Any:
        return self.norm(super().forward(x))


class Noisy(DeepEquilibrium):
    def forward(self, x: Any) -> Any:
        return super().forward(x) + 1e-3 * torch.rand(2)


class Coupled(DeepEquilibrium):
    def forward(self, x: Any) -> Any:
        return super().forward(x - 0.1 * x.mean(dim=0))


#: Modules with a fault, and the beginning of the sentence that names it.
FAULTS: dict[str, tuple[Callable[[], torch.nn.Module], str]] = {
    "one-step gradient": (Phantom, "One-step gradient:"),
    "truncated gradient": (Truncated, "Truncated gradient: the backward pass takes 5 steps"),
    "missing transpose": (Untransposed, "Missing transpose:"),
    "wrong sign": (WrongSign, "Wrong sign:"),
    "wrong sign of all": (WrongLoss, "Wrong sign:"),
    "single precision": (Single, "Single precision (float32) inside:"),
    "too few steps": (FewSteps, "Too few steps: after"),
    "too few steps, unrolled": (FewUnrolled, "Too few steps: after 4 calls of f"),
    "idle parameter": (Idle, "Without influence: unused"),
    "kink": (Kinked, "Kink: the loss is not smooth in f.W.weight, f.W.bias, f.U.weight"),
    "cut graph": (Detached, "Detached: x, f.W.weight, f.W.bias, f.U.weight"),
    "no graph": (WithoutGraph, "Detached: x, f.W.weight, f.W.bias, f.U.weight, head.weight, head.bias"),
    "normalised": (Normalised, "Samples depend on their batch:"),
    "noise": (Noisy, "Equal calls differ (noise):"),
    "coupled samples": (Coupled, "Samples depend on their batch:"),
}
