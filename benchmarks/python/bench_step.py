"""Time of `Trainer.step` outside the core, cost of each optimiser, and memory traffic of Adam.

cmake -S . -B build/bench -DEQUIPROP_BUILD_BENCHMARKS=ON && cmake --build build/bench
python benchmarks/python/bench_step.py --data-dir DIR --core build/bench/benchmarks/bench_training_step

One thread, float32, EqProp under the trainer's defaults, after one epoch. Measurements take turns in one
process; a turn gives the median of some calls. The program prints medians over turns, with 95 % intervals.

The time outside the core is that of a step, less that of its call of the core, plus that of the conversion
of arguments and results in this call. The conversion is measured on a network of one weight: the call from
Python less the same step in C++, which the program --core takes.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import time
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
from equiprop.config import config

RATE, TURNS = 1e-6, 101  # the rate is so small that the network stays the same
SHARES = (([784, 512, 10], 50, 20), ([64, 32, 10], 1, 200))  # sizes, samples, steps in a turn
Job = Callable[[], tuple[float, ...]]  # returns seconds of a call, or of a step and of the core's part of it


class Inherited(eq.SGD):
    pass


class OwnStep(eq.SGD):
    def step(self, parameters: Any, gradient: Any, blocks: Any, factor: float = 1.0) -> None:
        super().step(parameters, gradient, blocks, factor)


#: Constructors of optimizers, and the trainer's `clip`: without clipping, the core updates while it sums.
OPTIMIZERS = {
    "SGD with momentum": (lambda: eq.SGD(RATE, 0.9), math.inf),
    "plain SGD": (lambda: eq.SGD(RATE), math.inf),
    "Adam": (lambda: eq.Adam(RATE), math.inf),
    "subclass of SGD with momentum, no overrides": (lambda: Inherited(RATE, 0.9), math.inf),
    "subclass of SGD with momentum, own step": (lambda: OwnStep(RATE, 0.9), math.inf),
    "SGD with momentum, clipped": (lambda: eq.SGD(RATE, 0.9), 3.0),
    "Adam, clipped": (lambda: eq.Adam(RATE), 3.0),
}


class TimedCore:
    """Replaces a trainer's training step in the core: keeps the last times and arguments of `take`."""

    def __init__(self, trainer: eq.Trainer, kept: int) -> None:
        stepper, self.seconds, self.arguments = trainer._stepper, deque(maxlen=kept), ()
        self.core, network = stepper.core_step(trainer.model)
        stepper._core_step = (trainer.model, self, network)

    def take(self, *arguments: Any) -> Any:
        start = time.perf_counter()
        result = self.core.take(*arguments)
        self.seconds.append(time.perf_counter() - start)
        self.arguments = arguments
        return result


def median_of(count: int, call: Callable[[], object], clock: Any = time.perf_counter) -> float:
    times = [clock()]
    for _ in range(count):
        call()
        times.append(clock())
    return float(np.median(np.diff(times)))


def share_job(trainer: eq.Trainer, x: Any, y: Any, steps: int) -> Job:
    core = TimedCore(trainer, steps)
    return lambda: (median_of(steps, lambda: trainer.step(x, y)), float(np.median(core.seconds)))


def empty_job() -> Job:
    """Time `take` on a network of one weight."""
    timed = TimedCore(trainer := eq.Trainer(eq.HopfieldNetwork([1, 1]), optimizer=eq.SGD(RATE, 0.9)), 1)
    trainer.step(np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32))
    return lambda: (median_of(200, lambda: timed.core.take(*timed.arguments)),)


def seconds_in_core(program: Path) -> float:
    """Return the seconds of a step of a network of one weight in C++: the median of ten runs of `program`."""
    command = [program, "--benchmark_filter=^1-1 training step", "--benchmark_format=json"]
    runs = [json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(10)]
    return 1e-6 * float(np.median([run["benchmarks"][0]["us"] for run in runs]))


def jobs_of(network: eq.HopfieldNetwork, x: Any, y: Any) -> dict[str, Job]:
    copy = partial(np.copyto, *np.ones((2, 3 * network.num_parameters), np.float32))
    jobs: dict[str, Job] = {"empty": empty_job(), "copy": lambda: (median_of(5, copy),)}
    for name, (make, clip) in OPTIMIZERS.items():
        trainer = eq.Trainer(network.variant(), optimizer=make(), clip=clip)
        jobs[name] = lambda t=trainer: (median_of(20, lambda: t.step(x, y), time.process_time),)
    for sizes, samples, steps in SHARES:
        net = network.variant() if sizes[0] == x.shape[1] else eq.HopfieldNetwork(sizes, seed=0)
        trainer = eq.Trainer(net, optimizer=eq.SGD(RATE, 0.9))
        jobs[f"{sizes}, batch {samples}"] = share_job(trainer, x[:samples, -sizes[0] :], y[:samples], steps)
    return jobs


def interleaved(jobs: dict[str, Job]) -> dict[str, np.ndarray]:
    """Return the seconds of every job, (figures, turns), after one turn that warms up."""
    seconds, order = defaultdict(list), list(jobs)
    for turn in range(TURNS + 1):
        random.Random(turn).shuffle(order)
        for name in order:
            seconds[name].append(jobs[name]())
    return {name: np.array(rows[1:]).T for name, rows in seconds.items()}


def summary(values: np.ndarray) -> dict[str, Any]:
    """Return the median, and the order statistics that enclose it with 95 % confidence."""
    middle, reach = len(values) / 2, 0.98 * np.sqrt(len(values))
    ends = np.sort(values)[[int(middle - reach), int(np.ceil(middle + reach))]]
    return {"median": float(f"{np.median(values):.4g}"), "interval": [float(f"{v:.4g}") for v in ends]}


def results_of(seconds: dict[str, np.ndarray], in_core: float, size: int) -> dict[str, dict[str, Any]]:
    (empty,), (momentum,), (copy,) = seconds["empty"], seconds["SGD with momentum"], seconds["copy"]
    conversion = empty - in_core
    steps: dict[str, Any] = {
        "call of a network of one weight, microseconds": summary(1e6 * empty),
        "of this outside C++": summary(1e6 * conversion),
    }
    for sizes, samples, _ in SHARES:
        whole, core = seconds[name := f"{sizes}, batch {samples}"]
        steps[f"{name}, microseconds"] = summary(1e6 * whole)
        steps[f"{name}, share outside the core"] = summary((whole - core + conversion) / whole)
    adam = {
        "bytes of theta, mean and square, read and written": 24 * size,
        "square roots, and as many divisions": size,
        "GB/s of a copy that reads and writes as many bytes": summary(24e-9 * size / copy),
        "milliseconds of this copy": summary(1e3 * copy),
        "milliseconds more than plain SGD": summary(1e3 * (seconds["Adam"] - seconds["plain SGD"])[0]),
    }
    ratios = {name: summary(seconds[name][0] / momentum) for name in OPTIMIZERS}
    return {"Trainer.step": steps, "step relative to SGD with momentum": ratios, "a step of Adam": adam}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True, help="folder of MNIST's four files")
    parser.add_argument("--core", type=Path, required=True, help="the program bench_training_step")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write")
    options = parser.parse_args()
    eq.set_num_threads(1)
    data, _ = eq.load_mnist(options.data_dir)
    network = eq.HopfieldNetwork(SHARES[0][0], seed=0)
    eq.Trainer(network).fit(data, epochs=1)
    seconds = interleaved(jobs_of(network, *data.batch(np.arange(50), "float32")))
    results = results_of(seconds, seconds_in_core(options.core), network.num_parameters)
    for title, rows in results.items():
        print(title, *(f"  {name:<56}{value}" for name, value in rows.items()), sep="\n")
    if options.json:
        results["machine"] = config() | {"turns": TURNS}
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
