"""Random networks of images, and their energy in PyTorch, written from its definition."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import equiprop as eq
import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")


@dataclass
class Oracle:
    """The energy of a network as a function of parameters, input and state, for derivatives by autograd.

    Units are clipped or linear (leak s^2 / 2, signal s), or tanh under the quadratic potential.
    """

    net: eq.HopfieldNetwork

    def energy(self, theta: Any, x: Any, s: Any) -> Any:
        """Return E of each sample (batch,)."""
        net = self.net
        blocks = {
            name: theta[part].reshape(net.blocks[name].shape) for name, part in net.block_slices.items()
        }
        images, energy = [self._input(x)], torch.zeros(len(x), dtype=torch.float64)
        for k, (layer, part) in enumerate(
            zip(net.layers[1:], net.layer_slices.values(), strict=True), start=1
        ):
            c, h, w = layer.shape
            states = s[:, part].reshape(-1, h, w, c).permute(0, 3, 1, 2)
            u = torch.tanh(states) if layer.activation == eq.Activation("tanh") else states
            images.append(u)
            energy = energy + 0.5 * (states**2).sum((1, 2, 3))
            energy = energy - (u * blocks[f"b{k}"][:, None, None]).sum((1, 2, 3))
        for i, coupling in enumerate(net.couplings, start=1):
            u, v = images[coupling.source], images[coupling.target]
            within = coupling.source == coupling.target
            weights = blocks.get(f"W{i}")
            if within:
                weights = weights * self._off_diagonal(coupling, weights.shape)
            part = (v * self._signal(coupling, u, v, weights)).sum((1, 2, 3))
            energy = energy - (0.5 * part if within else part)
        return energy

    def _off_diagonal(self, coupling: Any, shape: tuple[int, ...]) -> Any:
        """Return 0 for the weights by which a unit would act on itself, and 1 for the others."""
        mask = torch.ones(shape, dtype=torch.float64)
        if isinstance(coupling, eq.Dense):
            return mask - torch.eye(shape[0], dtype=torch.float64)
        if shape[2] % 2 and shape[3] % 2:
            for channel in range(shape[0]):
                mask[channel, channel % shape[1], shape[2] // 2, shape[3] // 2] = 0
        return mask

    def _input(self, x: Any) -> Any:
        c, h, w = self.net.layers[0].shape
        if self.net.image_format == "channels_last":
            return x.reshape(-1, h, w, c).permute(0, 3, 1, 2)
        return x.reshape(-1, c, h, w)

    def _signal(self, coupling: Any, u: Any, v: Any, weights: Any) -> Any:
        """Return what the source sends to the target, in the shape of the target."""
        if isinstance(coupling, eq.Identity):
            return coupling.gain * u
        if isinstance(coupling, eq.Dense):
            flat = u.permute(0, 2, 3, 1).flatten(1) if coupling.source > 0 else self._order(u)
            c, h, w = v.shape[1:]
            return (flat @ weights).reshape(-1, h, w, c).permute(0, 3, 1, 2)
        a = torch.nn.functional.conv2d(
            u,
            weights,
            stride=coupling.stride,
            padding=coupling.padding,
            dilation=coupling.dilation,
            groups=coupling.groups,
        )
        if isinstance(coupling, eq.MaxPooled):
            return torch.nn.functional.max_pool2d(a, coupling.pool)
        if isinstance(coupling, eq.SoftPooled):
            e = torch.exp(coupling.sharpness * a)
            pool = torch.nn.functional.avg_pool2d
            return pool(a * e, coupling.pool) / pool(e, coupling.pool)
        return torch.nn.functional.avg_pool2d(a, coupling.mean_pool)

    def _order(self, u: Any) -> Any:
        """Return the input as a dense coupling reads it: in the order of the units, channels last."""
        return u.permute(0, 2, 3, 1).flatten(1)


def _coupling(
    rng: np.random.Generator, kind: str, source: int, target: int, shape: tuple[int, int, int]
) -> Any:
    """Return a coupling of a kind with random geometry, whose source has this shape."""
    groups = int(rng.choice([g for g in (1, 2) if shape[0] % g == 0]))
    geometry: dict[str, Any] = {
        "kernel": (int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        "stride": (int(rng.integers(1, 3)), int(rng.integers(1, 3))),
        "padding": 0,
        "dilation": int(rng.integers(1, 3)),
        "groups": groups,
    }
    if rng.random() < 0.5:
        geometry["padding"] = tuple(int(rng.integers(0, max(k, 1))) for k in geometry["kernel"])
    pool = int(rng.integers(1, 3))
    if kind == "max":
        return eq.MaxPooled(source, target, **geometry, pool=pool)
    if kind == "soft":
        return eq.SoftPooled(source, target, **geometry, pool=pool, sharpness=1.5)
    return eq.Convolution(source, target, **geometry, mean_pool=pool)


def _driven_network(
    rng: np.random.Generator, activation: str, size: int, **options: Any
) -> eq.HopfieldNetwork:
    """Return a network in which transposed convolutions of the input drive two images."""
    image = 2 * int(rng.integers(1, 4)), int(rng.integers(size, size + 4)), int(rng.integers(size, size + 4))
    first = _coupling(rng, "convolution", 1, 0, image)
    pooled = first.size(image)
    layers = [
        eq.Layer((2 * int(rng.integers(1, 3)), *pooled)),
        eq.Layer(image, activation),
        eq.Layer((2 * int(rng.integers(1, 3)), *pooled), activation),
        eq.Layer(3, "linear"),
    ]
    couplings = [first, dataclasses.replace(first, target=2), eq.Dense(2, 3)]
    others = [
        eq.Convolution(2, 0, (3, 1), padding=(1, 0), groups=2),
        eq.Convolution(0, 2, 1),
        eq.Dense(1, 0),
        eq.Dense(3, 1),
    ]
    couplings += [coupling for coupling in others if rng.random() < 0.7]
    return eq.HopfieldNetwork(layers=layers, couplings=couplings, dtype="float64", **options)


def random_network(
    rng: np.random.Generator,
    kind: str,
    activation: str = "hard_sigmoid",
    size: int = 12,
    **options: Any,
) -> eq.HopfieldNetwork:
    """Return a network input - image - image - output with random geometry and a skip coupling.

    Of the kind "within" it has one more image, couplings within layers, and identities. Of the kind "to
    input", the input is the target of convolutions.
    """
    if kind == "to input":
        return _driven_network(rng, activation, size, **options)
    shapes = [(int(rng.integers(1, 4)), int(rng.integers(size, size + 4)), int(rng.integers(size, size + 4)))]
    couplings: list[Any] = []
    for target in (1, 2):
        c = _coupling(rng, kind, target - 1, target, shapes[-1])
        height, width = c.size(shapes[-1])
        if min(height, width) < 1:
            c = eq.Convolution(target - 1, target, 1)
            height, width = c.size(shapes[-1])
        couplings.append(c)
        shapes.append((2 * int(rng.integers(1, 4)), height, width))
    layers = [eq.Layer(shape, activation) for shape in shapes] + [eq.Layer(3, "linear")]
    if kind == "within":
        layers.insert(2, layers[2])
        couplings[1] = dataclasses.replace(couplings[1], target=3)
        wide = int(rng.integers(1, 3)), 1
        groups = [1 if shape[0] == 2 else 2 for shape in shapes]  # a group has several channels
        couplings += [
            eq.Convolution(1, 1, 3, padding=wide, dilation=wide, groups=groups[1]),
            eq.Convolution(2, 2, (1, 3), padding=(0, 1), groups=groups[2]),
            eq.Convolution(3, 2, 3, padding=1),
            eq.Identity(2, 3, 0.3),
            eq.Identity(3, 2, -0.1),
            eq.Dense(4, 4),
        ]
    last = len(layers) - 1
    couplings += [eq.Dense(last - 1, last), eq.Dense(1, last)]
    if rng.random() < 0.5:
        couplings.append(eq.Dense(0, 2))
    return eq.HopfieldNetwork(layers=layers, couplings=couplings, dtype="float64", **options)
