"""Trainings of a model with a FixedPointLayer in one process and in several (DistributedDataParallel)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import equiprop as eq
import torch
from equiprop.torch import FixedPointLayer
from networks import chain

SAMPLES, STEPS = 8, 3


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    layer = FixedPointLayer(chain(), solver=eq.BlockUpdate(tolerance=1e-15))
    return torch.nn.Sequential(torch.nn.Linear(5, 4), layer, torch.nn.Linear(3, 2)).double()


def train(rank: int, size: int, folder: Path) -> None:
    """Take some steps on this process's share of the samples, and end it; the first one saves the parameters.

    The process ends without the destructors of the wrapped network, which may wait for ever for threads.
    """
    torch.set_num_threads(1)
    address = f"file://{folder}/meeting{size}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
    random = torch.Generator().manual_seed(1)
    x = torch.randn(SAMPLES, 5, dtype=torch.float64, generator=random)[rank::size]
    y = torch.randn(SAMPLES, 2, dtype=torch.float64, generator=random)[rank::size]
    network = torch.nn.parallel.DistributedDataParallel(model())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(STEPS):
        optimizer.zero_grad()
        (network(x) - y).square().mean().backward()
        optimizer.step()
    if rank == 0:
        torch.save(network.module.state_dict(), folder / f"{size}.pt")
    torch.distributed.destroy_process_group()
    os._exit(0)


def main(folder: Path) -> None:
    for size in (1, 2, 4):
        children = []
        for rank in range(size):
            child = os.fork()
            if child == 0:
                train(rank, size, folder)
            children.append(child)
        assert all(os.waitpid(child, 0)[1] == 0 for child in children)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
