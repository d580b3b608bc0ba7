"""Steps in PyTorch for chains of convolutions with mean pooling: backprop, and EqProp by lean operators."""

from __future__ import annotations

import math
from dataclasses import dataclass

import equiprop as eq
import torch
from pytorch_steps import BETA, RATE, Batch, Step
from torch.nn import functional


@dataclass
class Mean:
    """A convolution followed by the mean over windows, between images (batch, channels, height, width)."""

    coupling: eq.Convolution
    weights: torch.Tensor

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        pool = self.coupling.mean_pool
        return functional.avg_pool2d(functional.conv2d(u, self.weights, padding=self.coupling.padding), pool)

    def spread(self, u: torch.Tensor) -> torch.Tensor:
        """Return the transposed mean: each number over its window, divided by the size of the window."""
        pool = self.coupling.mean_pool
        return u.repeat_interleave(pool, 2).repeat_interleave(pool, 3) / pool**2

    def back(self, u: torch.Tensor) -> torch.Tensor:
        return functional.conv_transpose2d(self.spread(u), self.weights, padding=self.coupling.padding)

    def add_product(self, u: torch.Tensor, v: torch.Tensor, rate: float) -> None:
        product = torch.nn.grad.conv2d_weight(
            u, list(self.weights.shape), self.spread(v), padding=self.coupling.padding
        )
        self.weights.add_(product, alpha=rate)


@dataclass
class Full:
    """A dense coupling of an image with the outputs."""

    shape: tuple[int, ...]
    weights: torch.Tensor

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        return u.flatten(1) @ self.weights

    def back(self, u: torch.Tensor) -> torch.Tensor:
        return (u @ self.weights.T).view(-1, *self.shape)

    def add_product(self, u: torch.Tensor, v: torch.Tensor, rate: float) -> None:
        self.weights.addmm_(u.flatten(1).T, v, alpha=rate)


def edge_of(net: eq.HopfieldNetwork, k: int) -> Mean | Full:
    """Return the coupling into layer k; units of an image are in the order channel, row, column."""
    coupling, weights = net.couplings[k - 1], torch.tensor(net.blocks[f"W{k}"])
    if isinstance(coupling, eq.Convolution):
        return Mean(coupling, weights)
    channels, height, width = net.layers[k - 1].shape
    ours = weights.view(height, width, channels, -1).permute(2, 0, 1, 3)
    return Full((channels, height, width), ours.reshape(weights.shape).contiguous())


def backprop_images(net: eq.HopfieldNetwork) -> Step:
    """Return a step of backprop with SGD on the feed-forward network of the same sizes."""
    layers: list[torch.nn.Module] = []
    for coupling, source in zip(net.couplings[:-1], net.layers, strict=False):
        channels = net.layers[coupling.target].shape[0]
        convolution = torch.nn.Conv2d(source.shape[0], channels, coupling.kernel, padding=coupling.padding)
        layers += [convolution, torch.nn.AvgPool2d(coupling.mean_pool), torch.nn.Hardtanh(0, 1)]
    outputs = torch.nn.Linear(net.layers[-2].units, net.num_outputs)
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), outputs)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)

    def step(batch: Batch) -> None:
        loss = (model(batch[2].view(-1, *net.layers[0].shape)) - batch[3]).square().sum(dim=1).mean() / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def lean_images(net: eq.HopfieldNetwork, free: int, nudged: int) -> Step:
    """Return a step with one product with the input, even-odd updates and one batch for both nudges."""
    shapes = [layer.shape for layer in net.layers]
    edges = [edge_of(net, k) for k in range(1, len(net.layers))]
    last = len(edges) - 1

    def relax(drive: torch.Tensor, s: list[torch.Tensor], steps: int, nudge: tuple | None = None) -> None:
        for _ in range(steps):
            for k in (*range(0, last + 1, 2), *range(1, last + 1, 2)):
                below = drive if k == 0 else edges[k].forward(s[k - 1])
                if k < last:
                    s[k] = (below + edges[k + 1].back(s[k + 1])).clamp_(0, 1)
                else:
                    s[k] = below if nudge is None else below.add_(nudge[0]).mul_(nudge[1])

    @torch.inference_mode()
    def step(batch: Batch) -> None:
        x, y = batch[2].view(-1, *shapes[0]), batch[3]
        n = len(x)
        drive = edges[0].forward(x)
        s = [torch.zeros(n, *(shape if math.prod(shape[1:]) > 1 else shape[:1])) for shape in shapes[1:]]
        relax(drive, s, free)
        beta = torch.cat([torch.full((n, 1), b) for b in (BETA, -BETA)])
        both = [layer.repeat(2, *[1] * (layer.dim() - 1)) for layer in s]
        relax(drive.repeat(2, 1, 1, 1), both, nudged, (beta * y.repeat(2, 1), 1 / (1 + beta)))
        for k, edge in enumerate(edges):
            source = x.repeat(2, 1, 1, 1) if k == 0 else both[k - 1]
            for part, sign in ((slice(0, n), 1), (slice(n, None), -1)):
                edge.add_product(source[part], both[k][part], sign * RATE / (2 * BETA * n))

    return step
