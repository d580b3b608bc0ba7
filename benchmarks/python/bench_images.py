"""Milliseconds of a training step of a convolutional network, ours against PyTorch's backprop of it.

python benchmarks/python/bench_images.py --mnist DIR [--repeats 20]

The network is 1-32-64 with 5 x 5 kernels and pooling of 2 x 2, batch 50, one thread. It is first trained on
100 batches. Both sides then take Adam steps in turns; PyTorch uses channels last, its faster layout here.
Times are medians of processor time. A product of matrices of 1024 x 1024 in the same process shows what the
core can do.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import torch
from torch import nn

BATCH, TRAINED = 50, 100


def backprop_of(pooling: str, x: Any, y: Any) -> Callable[[], None]:
    """Return a step of Adam of PyTorch's network with clipped units."""
    pool = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
    hidden = [
        nn.Conv2d(1, 32, 5),
        pool(2),
        nn.Hardtanh(0, 1),
        nn.Conv2d(32, 64, 5),
        pool(2),
        nn.Hardtanh(0, 1),
    ]
    net = nn.Sequential(*hidden, nn.Flatten(), nn.Linear(1024, 10)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters())
    images = torch.tensor(x).reshape(-1, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    targets = nn.functional.one_hot(torch.tensor(y.astype(np.int64)), 10).float()

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(net(images), targets).backward()
        optimizer.step()

    return step


def timed(job: Callable[[], object]) -> float:
    begin = time.process_time()
    job()
    return 1e3 * (time.process_time() - begin)


def measure(pooling: str, directory: Path, repeats: int) -> None:
    train = eq.load_mnist(directory)[0]
    trainer = eq.Trainer(eq.networks.convolutional28(pooling), batch_size=BATCH)
    trainer.fit(train[: BATCH * TRAINED], epochs=1)
    epoch = trainer.history[-1]
    x, y = train.batch(np.arange(BATCH), np.float32)
    square = torch.rand(1024, 1024)
    jobs = {
        "ours": lambda: trainer.step(x, y),
        "backprop": backprop_of(pooling, x, y),
        "product": lambda: square @ square,
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            job()  # warms the caches
            times[name].append(timed(job))
    ours, backprop, product = (float(np.median(times[name])) for name in jobs)
    print(
        f"{pooling}: ours {ours:.1f} ms, backprop {backprop:.1f} ms, ratio {ours / backprop:.2f}; sweeps "
        f"{epoch.free_iterations:.1f} + 2 x {epoch.second_iterations:.1f}; product of 1024^3 at "
        f"{2 * 1024**3 / product / 1e6:.0f} GFLOP/s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", type=Path, required=True, help="folder of the IDX files")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for pooling in ("max", "mean"):
        measure(pooling, options.mnist, options.repeats)


if __name__ == "__main__":
    main()
