"""Time of a training step for different numbers of samples, units and threads, and time of the start.

python benchmarks/python/bench_scaling.py --data-dir DIR --output benchmarks/results/scaling.json

The network is 784-512-10 in float32 with the defaults of Trainer and plain SGD, after one epoch of training,
unless stated otherwise. Runs are interleaved. Times are medians of the processor time on one thread; for
comparisons of numbers of threads, of the wall-clock time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Hashable
from pathlib import Path

import equiprop as eq
import numpy as np
from bench_training import machine, random_images

REPETITIONS = 15
#: Peak resident kilobytes of the process; ru_maxrss would include those of the parent before the fork.
PEAK = "int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
IMPORT = "import numpy, time; a = time.perf_counter(); {}; print(time.perf_counter() - a, " + PEAK + ")"
COMMAND = "import sys; from equiprop.cli import main; main(sys.argv[1:]); print('peak', " + PEAK + ")"


def medians(
    runs: dict[Hashable, Callable[[], object]], clock: Callable[[], float] = time.process_time
) -> dict[Hashable, float]:
    """Return the median seconds of each run, taken in turns; the first turn is not measured."""
    seconds = defaultdict(list)
    for turn in range(REPETITIONS + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if turn > 0:
                seconds[name].append(clock() - start)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def trained(sizes: list[int], data: eq.Dataset, samples: int) -> eq.Trainer:
    trainer = eq.Trainer(eq.HopfieldNetwork(sizes, seed=0))
    trainer.fit(data.take(np.arange(min(samples, len(data)))), epochs=1)
    return eq.Trainer(trainer.model, optimizer=eq.SGD(1e-3))


def step_of(trainer: eq.Trainer, data: eq.Dataset, batch: int, steps: int = 1) -> Callable[[], object]:
    pairs = [data.batch(np.arange(k * batch, (k + 1) * batch) % len(data), "float32") for k in range(steps)]
    return lambda: [trainer.step(x, y) for x, y in pairs]


def by_samples(trainer: eq.Trainer, data: eq.Dataset) -> dict[int, float]:
    """Return microseconds per sample for each batch size; every run takes 4096 samples."""
    sizes = [64, 128, 256, 512, 1024, 2048, 4096]
    times = medians({size: step_of(trainer, data, size, 4096 // size) for size in sizes})
    return {size: round(1e6 * times[size] / 4096, 3) for size in sizes}


def by_units(data: eq.Dataset, samples: int) -> dict[int, float]:
    """Return microseconds per hidden unit of a step on 64 samples, for each number of hidden units."""
    units = [128, 256, 512, 1024, 2048]
    runs = {n: step_of(trained([data.num_features, n, 10], data, samples), data, 64, 4) for n in units}
    return {n: round(1e6 * seconds / 4 / n, 3) for n, seconds in medians(runs).items()}


def by_threads(trainers: dict[str, eq.Trainer], data: eq.Dataset) -> dict[str, float]:
    """Return the ratios of the times on one thread to those on two threads."""

    def on(threads: int, run: Callable[[], object]) -> Callable[[], object]:
        return lambda: (eq.set_num_threads(threads), run())

    speedups = {}
    for name, trainer in trainers.items():
        for batch in (128, 256, 1024):
            run = step_of(trainer, data, batch, 2)
            times = medians({threads: on(threads, run) for threads in (1, 2)}, time.perf_counter)
            speedups[f"{name}, batch {batch}"] = round(times[1] / times[2], 3)
    eq.set_num_threads(1)
    return speedups


def importing() -> dict[str, float]:
    """Return milliseconds and megabytes of `import equiprop` without those of NumPy, the best of 5 starts."""
    starts = []
    for what in ("pass", "import equiprop") * 5:
        run = subprocess.run(
            [sys.executable, "-c", IMPORT.format(what)], capture_output=True, text=True, check=True
        )
        starts.append([float(number) for number in run.stdout.split()])
    bare, ours = np.min(starts[0::2], axis=0), np.min(starts[1::2], axis=0)
    return {"milliseconds": round(1e3 * ours[0], 1), "megabytes": round((ours[1] - bare[1]) / 1024, 1)}


def from_command_to_error(data_dir: str, epochs: int) -> dict[str, float]:
    """Measure the command on one core: start of the process, reading, training, evaluation and saving."""
    command = [sys.executable, "-c", COMMAND, "train", "mnist", "--data-dir", data_dir, "--threads", "1"]
    with tempfile.TemporaryDirectory() as output:
        command += ["--epochs", str(epochs), "--output", output]
        start = time.perf_counter()
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - start
    lines = {line.split()[0]: line for line in run.stdout.splitlines() if line}
    error, peak = float(lines["test"].split()[2]), int(lines["peak"].split()[1]) / 1024
    return {"seconds": round(seconds, 2), "test_error_percent": error, "peak_megabytes": round(peak, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of the four MNIST files (default: random images)")
    parser.add_argument("--train-samples", type=int, default=60_000, help="samples of the epoch of training")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of the command that is measured")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    result: dict[str, object] = {"machine": machine(), "import": importing()}
    if arguments.data_dir:
        result["command"] = from_command_to_error(arguments.data_dir, arguments.epochs)
    data = eq.load_mnist(arguments.data_dir)[0] if arguments.data_dir else random_images()
    eq.set_num_threads(1)
    shallow = trained([784, 512, 10], data, arguments.train_samples)
    deep = trained([784, 512, 512, 10], data, arguments.train_samples)
    result["speedup of two threads"] = by_threads({"784-512-10": shallow, "784-512-512-10": deep}, data)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    result["microseconds per sample by batch size"] = by_samples(shallow, data)
    result["microseconds per unit by hidden units"] = by_units(data, arguments.train_samples)
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
