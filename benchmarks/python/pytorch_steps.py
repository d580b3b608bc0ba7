"""Training steps in PyTorch for comparison: backprop, and two implementations of EqProp."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import equiprop as eq
import numpy as np
import torch

BETA, RATE = 0.25, 1e-4  # the rate is so small that the network stays the same
ADAM_RATE = 1e-7  # Adam moves every parameter by about its rate

#: Images and labels for equiprop, images and one-hot targets for PyTorch.
Batch = tuple[np.ndarray, np.ndarray, torch.Tensor, torch.Tensor]
Step = Callable[[Batch], object]


def backprop(net: eq.HopfieldNetwork, adam: bool = False) -> Step:
    """Return a step of backprop on a feed-forward network with the same sizes and activation.

    The optimiser is plain SGD, or Adam after the gradient's norm has been clipped.
    """
    sizes = [layer.units for layer in net.layers]
    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    parameters = [p for layer in layers for p in layer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=ADAM_RATE) if adam else torch.optim.SGD(parameters, lr=RATE)

    def step(batch: Batch) -> None:
        s = batch[2]
        for layer in layers[:-1]:
            s = layer(s).clamp(0, 1)
        loss = (layers[-1](s) - batch[3]).square().sum(dim=1).mean() / 2
        optimizer.zero_grad()
        loss.backward()
        if adam:
            torch.nn.utils.clip_grad_norm_(parameters, 3.0)
        optimizer.step()

    return step


def parameters_of(net: eq.HopfieldNetwork) -> tuple[list[torch.Tensor], ...]:
    blocks = {name: torch.tensor(block) for name, block in net.blocks.items()}
    return tuple([blocks[f"{kind}{k}"] for k in range(1, len(net.layers))] for kind in "Wb")


def straightforward(net: eq.HopfieldNetwork, free: int, nudged: int) -> Step:
    """Return a step of EqProp as in research code: all layers at once, with the input's product each time."""
    w, b = parameters_of(net)

    def relax(x: torch.Tensor, s: list, y: torch.Tensor, beta: float, steps: int) -> list:
        for _ in range(steps):
            below = [x, *s[:-1]]
            drives = [u @ w[k] + b[k] for k, u in enumerate(below)]
            above = [(drives[k] + s[k + 1] @ w[k + 1].T).clamp(0, 1) for k in range(len(s) - 1)]
            s = [*above, drives[-1] + beta * (y - s[-1])]
        return s

    @torch.no_grad()
    def step(batch: Batch) -> None:
        x, y = batch[2:]
        start = [torch.zeros(len(x), len(bias)) for bias in b]
        s = relax(x, start, y, 0.0, free)
        plus, minus = relax(x, s, y, BETA, nudged), relax(x, s, y, -BETA, nudged)
        rate = RATE / (2 * BETA * len(x))
        for k in range(len(w)):
            below_plus, below_minus = (plus[k - 1], minus[k - 1]) if k else (x, x)
            w[k] += rate * (below_plus.T @ plus[k] - below_minus.T @ minus[k])
            b[k] += rate * (plus[k] - minus[k]).sum(dim=0)

    return step


def even_odd(w: list, b: list, drive: torch.Tensor, s: list, steps: int, nudge: tuple | None = None) -> None:
    """Take sweeps of exact block updates in place; `nudge` is (beta y, 1 / (1 + beta)), a row per sample."""
    last = len(w) - 1
    for _ in range(steps):
        for k in (*range(0, last + 1, 2), *range(1, last + 1, 2)):
            if k == last:
                torch.addmm(b[k], s[k - 1], w[k], out=s[k])
                if nudge is not None:
                    s[k].add_(nudge[0]).mul_(nudge[1])
            else:
                torch.addmm(drive if k == 0 else b[k], s[k + 1], w[k + 1].T, out=s[k])
                if k > 0:
                    s[k].addmm_(s[k - 1], w[k])
                s[k].clamp_(0, 1)


def lean(net: eq.HopfieldNetwork, free: int, nudged: int) -> Step:
    """Return a step of EqProp that is optimised for eager PyTorch.

    It computes one product with the input in each direction, takes even-odd block updates in place, relaxes
    both nudged phases as one batch, and adds the update to the weights.
    """
    w, b = parameters_of(net)

    @torch.inference_mode()
    def step(batch: Batch) -> None:
        x, y = batch[2:]
        n = len(x)
        drive = torch.addmm(b[0], x, w[0])
        s = [torch.zeros(n, len(bias)) for bias in b]
        even_odd(w, b, drive, s, free)
        beta = torch.cat([torch.full((n, 1), b) for b in (BETA, -BETA)])
        both = [layer.repeat(2, 1) for layer in s]
        even_odd(w, b, drive.repeat(2, 1), both, nudged, (beta * y.repeat(2, 1), 1 / (1 + beta)))
        rate = RATE / (2 * BETA * n)
        w[0].addmm_(x.T, both[0][:n] - both[0][n:], alpha=rate)
        for k in range(len(w)):
            if k > 0:
                w[k].addmm_(both[k - 1][:n].T, both[k][:n], alpha=rate)
                w[k].addmm_(both[k - 1][n:].T, both[k][n:], alpha=-rate)
            b[k].add_(both[k][:n].sum(dim=0) - both[k][n:].sum(dim=0), alpha=rate)

    return step
