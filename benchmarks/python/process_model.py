"""Model of the time of a training step that several processes take together; see docs/scaling.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Parts(NamedTuple):
    """Measured seconds of the parts of a step on one thread, and the bytes of an exchange."""

    fixed: float  # of a shard
    each: float  # of a sample of a shard
    read: float  # of a sample
    collect: float  # a gradient into a buffer
    add: float  # two buffers
    update: float  # norm, clipping and optimizer
    rest: float  # loop of the training, health, callbacks
    bytes: int


class Machine(NamedTuple):
    """Link between processes: seconds of an empty exchange, and bytes per second in each direction."""

    latency: float
    bandwidth: float


class Step(NamedTuple):
    """Seconds of a step."""

    computing: float  # samples, which are divided among the processes
    updating: float  # and the rest, which every process does
    exchanging: float

    @property
    def seconds(self) -> float:
        return self.computing + self.updating + self.exchanging


#: Assumed: 100 Gbit/s and 2 microseconds.
CLUSTER = Machine(2e-6, 12.5e9)
#: Assumed: NVLink of one machine, and 400 Gbit/s between machines.
GPU_LINKS = {"NVLink": Machine(5e-6, 450e9), "400 Gbit/s": Machine(10e-6, 50e9)}
#: Predicted seconds of a step of 1024 samples of 784-512-10 on one GPU, by benchmarks/cuda/model.py.
GPU_STEP = 77.6e-6


def doubling(size: int, count: int, link: Machine) -> float:
    """Return the seconds of recursive doubling: log2(size) exchanges of all bytes."""
    return math.log2(size) * (link.latency + count / link.bandwidth)


def halving(size: int, count: int, link: Machine) -> float:
    """Return the seconds of recursive halving and doubling, which send 2 (size - 1) / size of the bytes."""
    return 2 * math.log2(size) * link.latency + 2 * (size - 1) / size * count / link.bandwidth


def one_by_one(size: int, count: int, link: Machine) -> float:
    """Return the seconds of a gathering of all buffers in every process."""
    return math.log2(size) * link.latency + (size - 1) * count / link.bandwidth


def step_time(
    parts: Parts,
    link: Machine,
    size: int,
    batch: int,
    shards: int,
    exchange: Callable[[int, int, Machine], float] = doubling,
) -> Step:
    """Return the seconds of a step of `size` processes on a batch."""
    own, levels = shards // size, int(math.log2(size))
    samples = batch / size
    computing = own * parts.fixed + samples * (parts.each + parts.read)
    computing += own * parts.collect + (own - 1) * parts.add
    additions = {doubling: levels, halving: (size - 1) / size, one_by_one: size - 1}[exchange]
    return Step(
        computing, parts.update + parts.rest, exchange(size, parts.bytes, link) + additions * parts.add
    )
