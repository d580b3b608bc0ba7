"""Cost of a training step in shards by part, steps of 1, 2 and 4 processes, and a model of up to 1,024.

python benchmarks/python/bench_processes.py --output benchmarks/results/processes.json

The network is 784-512-10 in float32 with the defaults of Trainer, on one thread per process, in 60 steps on
random images. Times of computations are medians of processor times, which other programs on the machine
disturb little; those of exchanges are the smallest ones. The program starts itself by mpirun for steps and
exchanges.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
from bench_training import machine, random_images
from equiprop.mpi import world
from equiprop.processes import Totals
from equiprop.sharding import ShardedStepper
from equiprop.stepping import Stepper
from process_model import CLUSTER, GPU_LINKS, GPU_STEP, Machine, Parts, halving, one_by_one, step_time

SIZES = [784, 512, 10]
SHARDS, BATCH = 8, 512
EXCHANGED = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
PROCESSES = tuple(2**k for k in range(11))


def seconds_of(
    function: Callable[[], object], repetitions: int = 60, clock: Callable[[], float] = time.process_time
) -> list[float]:
    """Return the seconds of each of several calls."""
    times = []
    for _ in range(repetitions):
        start = clock()
        function()
        times.append(clock() - start)
    return times


class Clock:
    """Processor time in some functions during the steps of a training, by name, for each step."""

    def __init__(self, **functions: tuple[type, str]) -> None:
        self.times: dict[str, list[float]] = {name: [0.0] for name in functions}
        self._originals = {
            name: (owner, key, getattr(owner, key)) for name, (owner, key) in functions.items()
        }

    def __enter__(self) -> Clock:
        for name, (owner, key, original) in self._originals.items():
            setattr(owner, key, self._timed(name, original))
        return self

    def __exit__(self, *_: object) -> None:
        for owner, key, original in self._originals.values():
            setattr(owner, key, original)

    def _timed(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return original(*arguments, **options)
            finally:
                self.times[name][-1] += time.process_time() - start

        return call

    def next_step(self, *_: object) -> None:
        for times in self.times.values():
            times.append(0.0)

    def medians(self) -> dict[str, float]:
        """Return the median of the seconds per step, from the fourth step to the last one."""
        return {name: float(np.median(times[3:-1])) for name, times in self.times.items()}


class Timed:
    """The processes of mpirun; adds the processor time of exchanges, in which a process waits."""

    def __init__(self) -> None:
        self._group = world()
        self.rank, self.size, self.waiting = self._group.rank, self._group.size, 0.0

    def exchange(self, *arguments: Any) -> None:
        start = time.process_time()
        self._group.exchange(*arguments)
        self.waiting += time.process_time() - start

    def computing(self) -> float:
        """Return the processor time so far without that of exchanges."""
        return time.process_time() - self.waiting


def costs_of(data: eq.Dataset, shards: int) -> dict[str, float]:
    """Return the seconds of a step of one process by part; those of "step" are all."""
    trainer = eq.Trainer(eq.HopfieldNetwork(SIZES, seed=0), batch_size=BATCH, shards=shards)
    whole: list[float] = []
    parts = {"phases": (Stepper, "part"), "shard": (ShardedStepper, "_shard"), "add": (Totals, "add")}
    with Clock(**parts, take=(ShardedStepper, "take"), read=(eq.Dataset, "batch")) as clock:
        trainer.step_callbacks = [clock.next_step, lambda *_: whole.append(time.process_time())]
        trainer.fit(data, epochs=1)
    return {**clock.medians(), "step": float(np.median(np.diff(whole)[3:]))}


def parts_of(data: eq.Dataset) -> tuple[Parts, dict[str, Any]]:
    """Return the seconds of each part of a step on one thread, and those of steps by number of shards."""
    found = {shards: costs_of(data, shards) for shards in (1, 2, 4, 8, 16, 32, 64)}
    counts = np.array([BATCH / shards for shards in found])
    seconds = np.array([costs["phases"] / shards for shards, costs in found.items()])
    line = np.stack((1 / seconds, counts / seconds), axis=1)  # least squares of relative errors
    fixed, each = np.linalg.lstsq(line, np.ones(len(counts)))[0].tolist()
    costs = found[SHARDS]
    collect = (costs["shard"] - costs["phases"]) / SHARDS
    update = costs["take"] - costs["shard"] - costs["add"]
    rest = costs["step"] - costs["take"] - costs["read"]
    size = int(np.prod(SIZES[:2]) + np.prod(SIZES[1:]) + sum(SIZES[1:]))
    buffer = Totals(8, 4, size, np.dtype(np.float32))._bytes.nbytes
    add = costs["add"] / (SHARDS - 1)
    parts = Parts(fixed, each, costs["read"] / BATCH, collect, add, update, rest, buffer)
    fused = eq.Trainer(eq.HopfieldNetwork(SIZES, seed=0), batch_size=BATCH)
    times: list[float] = []
    fused.step_callbacks = [lambda *_: times.append(time.process_time())]
    fused.fit(data, epochs=1)
    one_piece = float(np.median(np.diff(times)[3:]))
    return parts, {"steps of one process by shards": found, "step without shards": one_piece}


def work(arguments: argparse.Namespace) -> None:
    """Take steps, or exchange bytes, as one of the processes of mpirun; process 0 prints the result."""
    group = Timed()
    if arguments.exchange:
        result: Any = {str(count): exchanged(group, count) for count in EXCHANGED}
    else:
        data, walls, times = random_images(BATCH * arguments.steps), [0.0], [0.0]
        trainer = eq.Trainer(eq.HopfieldNetwork(SIZES, seed=0), batch_size=BATCH, shards=SHARDS)
        trainer.step_callbacks = [
            lambda *_: walls.append(time.perf_counter()),
            lambda *_: times.append(group.computing()),
        ]
        trainer.fit(data, epochs=1, group=group)
        digest = hashlib.sha256(trainer.model.parameters.tobytes()).hexdigest()
        seconds, wall = np.diff(times)[3:], np.diff(walls)[3:]
        result = {"computing": float(np.median(seconds)), "wall clock": wall.min(), "parameters": digest}
    if group.rank == 0:
        print(json.dumps(result))


def exchanged(group: Any, count: int) -> float:
    """Return the seconds in which two processes exchange so many bytes."""
    buffers = np.zeros((2, count), np.uint8)
    repetitions = 1000 if count < 10**6 else 100
    call = lambda: group.exchange(group.rank ^ 1, *buffers)  # noqa: E731
    return min(seconds_of(call, repetitions, time.perf_counter))


def by_mpirun(size: int, *words: str) -> Any:
    """Return what this program prints as one of several processes."""
    command = [str(Path(sys.executable).with_name("mpirun")), "-n", str(size), sys.executable, __file__]
    done = subprocess.run([*command, "--work", *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measured_steps(parts: Parts, local: Machine) -> list[dict[str, Any]]:
    """Return seconds of a step of 1, 2 and 4 processes, with those that the model predicts."""
    rows = []
    for size in (1, 2, 4):
        step = step_time(parts, local, size, BATCH, SHARDS)
        expected = {"predicted computing": step.computing + step.updating, "predicted step": step.seconds}
        rows.append({"processes": size, **by_mpirun(size, "--steps", "60"), **expected})
    return rows


def predictions(parts: Parts, link: Machine) -> dict[str, Any]:
    """Return the model's seconds of strong and weak scaling by the number of processes."""
    result: dict[str, Any] = {}
    for name, batch in (("strong", lambda _: 8192), ("weak", lambda size: 64 * size)):
        rows = []
        for size in PROCESSES:
            shards = max(SHARDS, size)
            tree = step_time(parts, link, size, batch(size), shards)
            split = step_time(parts, link, size, batch(size), shards, halving)
            rows.append(
                {
                    "processes": size,
                    "batch": batch(size),
                    "computing": tree.computing,
                    "updating": tree.updating,
                    "exchanging": tree.exchanging,
                    "seconds": tree.seconds,
                    "halving": split.seconds,
                    "gathering": step_time(parts, link, size, batch(size), shards, one_by_one).seconds,
                }
            )
        result[name] = rows
    return result


def on_devices(bytes_of_step: int) -> list[dict[str, Any]]:
    """Return predicted microseconds of exchanges between GPUs beside those of a step; see docs/gpu.md."""
    rows = []
    for name, link in GPU_LINKS.items():
        for size in (2, 8, 64, 1024):
            levels = int(math.log2(size))
            tree = levels * (link.latency + bytes_of_step / link.bandwidth)
            rows.append(
                {
                    "link": name,
                    "processes": size,
                    "tree": tree,
                    "halving": halving(size, bytes_of_step, link),
                    "step of 1024 samples": GPU_STEP,
                }
            )
    return rows


def line_of(exchanges: dict[str, float]) -> Machine:
    """Return latency and bandwidth of exchanges: those of the smallest and the largest message."""
    counts = sorted(map(int, exchanges))
    first, last = exchanges[str(counts[0])], exchanges[str(counts[-1])]
    return Machine(first, (counts[-1] - counts[0]) / (last - first))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--work", action="store_true", help="be one of the processes of mpirun")
    parser.add_argument("--exchange", action="store_true", help="exchange bytes instead of training")
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    eq.set_num_threads(1)
    if arguments.work:
        work(arguments)
        return
    parts, details = parts_of(random_images(BATCH * 60))
    exchanges = by_mpirun(2, "--exchange")
    local = line_of(exchanges)
    result = {
        "machine": machine(),
        "network": SIZES,
        "batch": BATCH,
        "shards": SHARDS,
        "parts": parts._asdict(),
        **details,
        "seconds of an exchange": exchanges,
        "steps": measured_steps(parts, local),
        "cluster": CLUSTER._asdict(),
        "model": predictions(parts, CLUSTER),
        "devices": on_devices(parts.bytes),
    }
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
