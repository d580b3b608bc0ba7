"""Milliseconds of one training step, ours against PyTorch, interleaved in one process on one core.

python benchmarks/python/bench_training.py --data-dir DIR --output benchmarks/results/training.json

Without --data-dir the images are random numbers. Every method takes the same batches, centered nudging with
beta 1/4 and plain SGD, or Adam with clipped gradients where its name says so; ratios are those to backprop
with the same optimiser. In each repetition each method, in a shuffled order, takes a run of steps, the first
of which only warms the caches. Times are medians of processor time, which leaves out what other programs take
of the core; `quantiles_10_90` in the file tell what noise is left.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import equiprop as eq
import numpy as np
import torch
from equiprop.config import config
from equiprop.solvers import start_of
from pytorch_steps import ADAM_RATE, BETA, RATE, Batch, Step, backprop, lean, straightforward
from torch.nn import functional

FREE, NUDGED = 30, 10
RUN = 4
CASES = (([784, 512, 10], 50), ([784, 512, 10], 200), ([784, 512, 512, 10], 50))
PHASES = ("input drive", "free phase")
ADAM = "ours, EqProp, Adam and clipping"
REST = "second phase, update and the rest"


def trainer_of(net: eq.HopfieldNetwork, second_phase: object, **options: object) -> eq.Trainer:
    return eq.Trainer(net.variant(), second_phase, **{"optimizer": eq.SGD(RATE)} | options)


def without_control(trainer: eq.Trainer) -> eq.Trainer:
    """Return the trainer, whose steps neither estimate nor lower the error of the gradient any more."""
    trainer._stepper.core_step(trainer.model)[0].control = False
    return trainer


def steps_taken(net: eq.HopfieldNetwork, batches: list[Batch]) -> tuple[int, int]:
    """Sweeps of the slowest sample under the trainer's defaults, as medians over batches."""
    solver, taken = trainer_of(net, eq.EquilibriumPropagation()).solver, []
    for x, y, *_ in batches:
        free = eq.free_phase(net, x, solver=solver)
        nudged = eq.equilibrium_propagation(net, free, y, nudging=eq.centered(BETA))
        taken.append((free.iterations.max(), nudged.iterations.max()))
    return tuple(int(median) for median in np.median(taken, axis=0))


def pieces(trainer: eq.Trainer, batch: Batch) -> np.ndarray:
    """Seconds of each of PHASES by itself; `Trainer.step` takes them inside one call of the core."""
    x, model, clock = batch[0], trainer.model, time.process_time
    start = clock()
    energy = model.clamp(x)
    clamped = clock()
    model.core.relax(energy, trainer.solver.core, start_of(model, len(x)), samples=len(x))
    return np.diff([start, clamped, clock()])


def methods_of(net: eq.HopfieldNetwork, batches: list[Batch]) -> tuple[dict[str, Step], dict]:
    centered = eq.EquilibriumPropagation(eq.centered(BETA))
    fixed = eq.BlockUpdate(tolerance=0, max_iterations=FREE)
    short = replace(centered, solver=eq.BlockUpdate(tolerance=0, max_iterations=NUDGED))
    trainers = {
        "ours, EqProp": trainer_of(net, centered),
        f"ours, EqProp, {FREE} + 2 x {NUDGED}": trainer_of(net, short, solver=fixed),
        "ours, RBP": trainer_of(net, eq.RecurrentBackpropagation()),
        ADAM: trainer_of(net, centered, optimizer=eq.Adam(ADAM_RATE)),
        f"{ADAM}, no control of errors": without_control(
            trainer_of(net, centered, optimizer=eq.Adam(ADAM_RATE))
        ),
    }
    free, nudged = steps_taken(net, batches)
    steps: dict[str, Step] = {
        "PyTorch, backprop": backprop(net),
        "PyTorch, backprop, Adam and clipping": backprop(net, adam=True),
        f"PyTorch, straightforward EqProp, {FREE} + 2 x {NUDGED}": straightforward(net, FREE, NUDGED),
        f"PyTorch, lean EqProp, {FREE} + 2 x {NUDGED}": lean(net, FREE, NUDGED),
        f"PyTorch, lean EqProp, {free} + 2 x {nudged}, as ours": lean(net, free, nudged),
    }
    ours = {name: lambda batch, t=t: t.step(*batch[:2]) for name, t in trainers.items()}
    return steps | ours, trainers


def measure(net: eq.HopfieldNetwork, batches: list[Batch], repetitions: int) -> list[dict]:
    methods, trainers = methods_of(net, batches)
    seconds, parts = defaultdict(list), defaultdict(list)
    calls = [(name, True) for name in methods] + [(name, False) for name in trainers]
    for repetition in range(repetitions):
        random.Random(repetition).shuffle(calls)
        for (name, whole), k in itertools.product(calls, range(RUN)):
            batch = batches[(repetition * RUN + k) % len(batches)]
            start = time.process_time()
            result = methods[name](batch) if whole else pieces(trainers[name], batch)
            took = time.process_time() - start
            if k > 0:
                seconds[name].append(took) if whole else parts[name].append(result)
    return [row_of(name, seconds, parts) for name in methods]


def row_of(name: str, seconds: dict[str, list], parts: dict[str, list]) -> dict:
    low, middle, high = (1e3 * np.quantile(seconds[name], (0.1, 0.5, 0.9))).round(4).tolist()
    base = "PyTorch, backprop, Adam and clipping" if "Adam" in name else "PyTorch, backprop"
    ratio = round(middle / (1e3 * float(np.median(seconds[base]))), 3)
    row = {"method": name, "milliseconds": middle, "to_backprop": ratio, "quantiles_10_90": [low, high]}
    if name in parts:
        phases = (1e3 * np.median(parts[name], axis=0)).round(4).tolist()
        rest = round(middle - sum(phases), 4)
        row["phases"] = dict(zip(PHASES, phases, strict=True)) | {REST: rest}
    return row


def show(title: str, rows: list[dict]) -> None:
    print(f"\n{title:<48}{'ms':>8}{'ratio':>8}")
    for row in rows:
        print(f"{row['method']:<48}{row['milliseconds']:>8.2f}{row['to_backprop']:>8.2f}")
        if "phases" in row:
            print("    " + ", ".join(f"{name} {ms:.2f}" for name, ms in row["phases"].items()))


def machine() -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"
    return {"cpu": model, "commit": commit, "torch": torch.__version__} | config()


def random_images(count: int = 10_000) -> eq.Dataset:
    """Return images of which four pixels in five are dark: training diverges if all are bright."""
    numbers = np.random.default_rng(0)
    images = numbers.random((count, 784), dtype=np.float32)
    images[numbers.random(images.shape) < 0.8] = 0
    return eq.Dataset(images, numbers.integers(0, 10, count))


def batches_of(data: eq.Dataset, size: int, count: int = 20) -> list[Batch]:
    pairs = [data.batch(np.arange(k * size, (k + 1) * size), "float32") for k in range(count)]
    hot = [functional.one_hot(torch.tensor(y, dtype=torch.int64), 10).float() for _, y in pairs]
    return [(x, y, torch.from_numpy(x), target) for (x, y), target in zip(pairs, hot, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of MNIST's four files; random images without")
    parser.add_argument("--train-samples", type=int, default=60_000, help="of the epoch before")
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    eq.set_num_threads(1)
    torch.manual_seed(0)
    data = eq.load_mnist(arguments.data_dir)[0] if arguments.data_dir else random_images()
    images = "MNIST" if arguments.data_dir else "random"
    result = {"machine": machine(), "images": images, "train_samples": arguments.train_samples, "cases": []}
    for sizes, batch in CASES:
        net = eq.HopfieldNetwork(sizes, seed=0)
        eq.Trainer(net).fit(data.take(np.arange(min(arguments.train_samples, len(data)))), epochs=1)
        rows = measure(net, batches_of(data, batch), arguments.repetitions)
        result["cases"].append({"sizes": sizes, "batch": batch, "rows": rows})
        show(f"{'-'.join(map(str, sizes))}, batch {batch}", rows)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
