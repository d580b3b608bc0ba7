"""Feed-forward networks in PyTorch, trained by backprop and Adam, to compare test errors with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import equiprop as eq
import numpy as np
import torch
from torch.nn import functional

RATE = 1e-3


def function_of(activation: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return an activation of `equiprop.ACTIVATIONS` as a function of tensors."""
    rho = eq.activation(activation)
    if rho.kind == "tanh":
        return torch.tanh
    if rho.kind == "logistic":
        return lambda z: torch.sigmoid(rho.gain * (z - rho.shift))
    if rho.kind == "softplus":
        return lambda z: functional.softplus(z, rho.gain)
    return lambda z: (rho.gain * z).clamp(rho.lower, rho.upper)


class FeedForward(torch.nn.Module):
    """Linear layers with PyTorch's start values; all but the last are followed by an activation."""

    def __init__(self, sizes: Sequence[int], activation: str) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.rho = function_of(activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = self.rho(layer(x))
        return last(x)


def loss_of(cost: str, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if cost == "cross-entropy":
        return functional.cross_entropy(outputs, y)
    wrong = outputs - functional.one_hot(y, outputs.shape[1])
    return wrong.square().sum(dim=1).mean() / 2


def error_by_backprop(
    train: eq.Dataset,
    test: eq.Dataset,
    sizes: Sequence[int],
    activation: str,
    cost: str,
    epochs: int,
    seed: int,
    batch: int = 50,
) -> float:
    """Return the fraction of wrong test images after training with Adam, at a constant rate of 1e-3."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net, random = FeedForward(sizes, activation), np.random.default_rng(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    for _ in range(epochs):
        order = random.permutation(len(train))
        for k in range(0, len(train), batch):
            x, y = train.batch(order[k : k + batch], "float32")
            optimizer.zero_grad()
            loss_of(cost, net(torch.from_numpy(x)), torch.from_numpy(y).long()).backward()
            optimizer.step()
    x, y = test.batch(np.arange(len(test)), "float32")
    with torch.no_grad():
        return float((net(torch.from_numpy(x)).argmax(dim=1).numpy() != y).mean())
