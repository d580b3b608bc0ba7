"""Training on MNIST of a convolutional model in PyTorch that ends in a FixedPointLayer, or in linear layers.

python benchmarks/python/bench_torch_layer.py --data-dir DIR

Two convolutions in PyTorch, then 512-128-10: a network that relaxes, or two nn.Linear with the same
activation. Both take the same steps of Adam in float32 on one thread. The program prints test error and
processor seconds of training after each epoch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import equiprop as eq
import torch
from equiprop.torch import FixedPointLayer
from torch import nn

BATCH, RATE = 100, 1e-3


class Clip(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(0, 1)


def tail(kind: str) -> nn.Module:
    if kind == "linear":
        return nn.Sequential(nn.Linear(512, 128), Clip(), nn.Linear(128, 10))
    phase = None if kind == "rbp" else eq.EquilibriumPropagation(eq.centered(0.25))
    solver = eq.BlockUpdate(tolerance=1e-4)
    return FixedPointLayer(eq.HopfieldNetwork([512, 128, 10], seed=0), phase, solver=solver)


def model(kind: str) -> nn.Sequential:
    torch.manual_seed(0)
    first = [nn.Conv2d(1, 16, 5), nn.MaxPool2d(2), nn.ReLU()]
    second = [nn.Conv2d(16, 32, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*first, *second, tail(kind))


def images(data: eq.Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.as_tensor(data.x).reshape(-1, 1, 28, 28)
    x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
    return x, torch.as_tensor(data.y).long()


@torch.no_grad()
def error(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    found = torch.cat([network(part).argmax(dim=1) for part in x.split(1000)])
    return 100 * float((found != y).double().mean())


def train(kind: str, data: tuple[eq.Dataset, eq.Dataset], epochs: int) -> None:
    network, (x, y) = model(kind), images(data[0])
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    seconds = 0.0
    for epoch in range(1, epochs + 1):
        start = time.process_time()
        for chosen in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[chosen]), y[chosen]).backward()
            optimizer.step()
        seconds += time.process_time() - start
        wrong = error(network, *images(data[1]))
        print(f"{kind:8} epoch {epoch}  test error {wrong:.2f} %  {seconds:.0f} s", flush=True)


def time_steps(kinds: list[str], turns: int) -> None:
    """Print the median processor time of a training step of each kind, measured in turns."""
    x, y = torch.rand(BATCH, 1, 28, 28), torch.arange(BATCH) % 10
    models = {kind: model(kind) for kind in kinds}
    optimizers = {kind: torch.optim.Adam(each.parameters(), lr=1e-6) for kind, each in models.items()}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(turns + 3):
        for kind, network in models.items():
            start = time.process_time()
            optimizers[kind].zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizers[kind].step()
            seconds[kind].append(time.process_time() - start)
    for kind in kinds:
        print(f"{kind:8} {1e3 * statistics.median(seconds[kind][3:]):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, default=Path())
    parser.add_argument("--kinds", nargs="+", default=["linear", "rbp", "eqprop"])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--turns", type=int, help="measure so many steps in turns in place of a training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    eq.set_num_threads(1)
    if options.turns is not None:
        time_steps(options.kinds, options.turns)
        return
    data = eq.data.load_mnist(options.data_dir)
    for kind in options.kinds:
        train(kind, data, options.epochs)


if __name__ == "__main__":
    main()
