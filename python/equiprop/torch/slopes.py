"""Gradients of a module by autograd, compared with finite differences along directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

#: Step of the five-point differences, relative to the largest number of a tensor or to 1.
_STEP = 1e-3
#: Slopes on both sides that differ by more than this part of the largest slope show a kink.
_KINK = 1e-2
#: A slope below this part of the largest one is no influence.
_NONE = 1e-9

Loss = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Slopes:
    """Slopes of a loss along two directions of one tensor: that of its gradient, and a random one.

    Attributes
    ----------
    name : str
    predicted : tuple of two floats
        From the gradient of autograd.
    measured : tuple of two floats
        By finite differences.
    bends : tuple of two floats
        Slope to one side minus slope to the other: 0 but for the error of the differences if the loss is
        smooth.
    """

    name: str
    predicted: tuple[float, float]
    measured: tuple[float, float]
    bends: tuple[float, float]

    @property
    def size(self) -> float:
        """The largest slope."""
        return max(map(abs, (*self.predicted, *self.measured)))

    @property
    def error(self) -> float:
        """Largest difference of a pair, relative to the largest slope."""
        gaps = [abs(a - b) for a, b in zip(self.predicted, self.measured, strict=True)]
        return max(gaps) / (self.size or 1.0)

    @property
    def is_kinked(self) -> bool:
        """True if the loss has a kink within the distance of the finite differences."""
        return max(map(abs, self.bends)) > _KINK * self.size

    def is_cut(self, largest: float) -> bool:
        """Return True if the tensor has an influence, but no gradient."""
        return not any(self.predicted) and self.size > _NONE * largest

    def is_idle(self, largest: float) -> bool:
        """Return True if the tensor has neither an influence nor a gradient."""
        return self.size <= _NONE * largest

    @property
    def factor(self) -> float | None:
        """The common ratio of gradient to differences of both directions, or None."""
        if min(map(abs, self.measured)) < 1e-6 * self.size:
            return None
        ratios = [a / b for a, b in zip(self.predicted, self.measured, strict=True)]
        common = abs(ratios[0] - ratios[1]) <= 1e-3 * max(map(abs, ratios))
        return sum(ratios) / 2 if common else None


def compare(loss: Loss, tensors: Mapping[str, torch.Tensor]) -> tuple[list[Slopes], dict[str, torch.Tensor]]:
    """Return the slopes of a loss for each tensor, and the gradients of autograd, 0 for one that is cut."""
    found = torch.autograd.grad(loss(), list(tensors.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(tensor) if g is None else g.detach()
        for (name, tensor), g in zip(tensors.items(), found, strict=True)
    }
    random = torch.Generator().manual_seed(0)
    slopes = []
    for name, tensor in tensors.items():
        g = gradients[name]
        drawn = torch.randn(g.shape, generator=random, dtype=g.dtype).to(g.device)
        along, other = (_unit(direction) for direction in (g if g.any() else drawn, drawn))
        predicted = tuple(float((g * direction).sum()) for direction in (along, other))
        measured, bends = zip(*(_difference(loss, tensor, d) for d in (along, other)), strict=True)
        slopes.append(Slopes(name, predicted, measured, bends))  # type: ignore[arg-type]
    return slopes, gradients


def _unit(direction: torch.Tensor) -> torch.Tensor:
    return direction / (direction.norm() or 1.0)


@torch.no_grad()
def _difference(loss: Loss, tensor: torch.Tensor, direction: torch.Tensor) -> tuple[float, float]:
    """Return the derivative of the loss along a direction by the five-point formula, and the bend."""
    before, step = tensor.clone(), _STEP * max(1.0, float(tensor.abs().max()))

    def at(k: int) -> float:
        tensor.copy_(before + k * step * direction)
        return float(loss())

    near, far = (at(1), at(-1)), (at(2), at(-2))
    slope = (8 * (near[0] - near[1]) - (far[0] - far[1])) / (12 * step)
    bend = (4 * sum(near) - sum(far) - 6 * at(0)) / (2 * step)
    tensor.copy_(before)
    return slope, bend
