"""Microseconds of a training step on the device, ours against PyTorch on the same GPU, interleaved.

python benchmarks/cuda/steps.py OUTPUT dense|images [--small]

Ours is `Trainer.fit` on an epoch in the memory of the host, as users call it. PyTorch takes the same number
of steps on batches that are on the GPU: backprop with SGD, and lean EqProp, one operator after the other and
as a CUDA graph, with exact products and in TF32. Rounds run all methods in turns; times are medians over the
rounds. `ratio` is the median over the rounds of ours : the method; below 1, ours is faster.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

import equiprop as eq
import numpy as np
import torch
from equiprop import cuda_core
from image_steps import backprop_images, lean_images
from pytorch_steps import BETA, RATE, Batch, Step, backprop, lean
from results import write
from torch.nn import functional

ON_GPU = torch.cuda.is_available()
#: Calls of all methods in turns, and seconds after which no further case begins.
ROUNDS, SECONDS = 7, {"dense": 60, "images": 25}


@dataclass(frozen=True)
class Case:
    """A network with a batch, its steps in a run, and the sweeps of the methods with a fixed number."""

    name: str
    net: Callable[[], eq.HopfieldNetwork]
    batch: int
    steps: int
    sweeps: tuple[int, int]


def dense_cases() -> Iterator[Case]:
    for sizes, sweeps in (([784, 512, 10], (30, 10)), ([784, 512, 512, 10], (50, 15))):
        for batch in (50, 256, 1024, 4096):
            name, steps = "-".join(map(str, sizes)), 40 if batch < 1000 else 8
            yield Case(name, lambda s=sizes: eq.HopfieldNetwork(s, seed=0), batch, steps, sweeps)


def image_cases() -> Iterator[Case]:
    for batch in (50, 256):
        yield Case("convolutional28", lambda: eq.networks.convolutional28("mean"), batch, 8, (30, 10))
    yield Case("dchn32", lambda: eq.networks.dchn32("mean"), 128, 2, (60, 20))


def small_cases() -> Iterator[Case]:
    yield Case("6-5-3", lambda: eq.HopfieldNetwork([6, 5, 3], seed=0), 4, 2, (3, 2))


def small_image_cases() -> Iterator[Case]:
    def net() -> eq.HopfieldNetwork:
        return eq.networks.chain_of_images((1, 8, 8), [2, 3], 3, kernel=3, padding=1, pooling="mean")

    yield Case("1x8x8-2-3-3", net, 4, 2, (3, 2))


CASES = {
    ("dense", False): dense_cases,
    ("images", False): image_cases,
    ("dense", True): small_cases,
    ("images", True): small_image_cases,
}


def batches_of(net: eq.HopfieldNetwork, case: Case) -> tuple[eq.Dataset, list[Batch]]:
    """Return random images, of which four pixels in five are dark, as an epoch and as batches on the GPU."""
    random, count = np.random.default_rng(0), case.batch * case.steps
    x = random.random((count, net.num_inputs), dtype=np.float32)
    x[random.random(x.shape) < 0.8] = 0
    y = random.integers(0, net.num_outputs, count)
    parts = [slice(k * case.batch, (k + 1) * case.batch) for k in range(case.steps)]
    hot = functional.one_hot(torch.tensor(y), net.num_outputs).float()
    return eq.Dataset(x, y), [(x[p], y[p], torch.tensor(x[p]), hot[p]) for p in parts]


def captured(step: Step, first: Batch) -> Step:
    """Return the step as a CUDA graph, which copies its batch to fixed memory first."""
    fixed: Batch = (*first[:2], first[2].clone(), first[3].clone())
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(fixed)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(fixed)

    def replay(batch: Batch) -> None:
        fixed[2].copy_(batch[2])
        fixed[3].copy_(batch[3])
        graph.replay()

    return replay


def allow_tf32(allow: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allow


def rivals(net: eq.HopfieldNetwork, case: Case, batches: list[Batch]) -> dict[str, Callable[[], None]]:
    """Return runs of PyTorch's methods by their names."""
    images = isinstance(net.couplings[0], eq.Convolution)
    sweeps = f"{case.sweeps[0]} + 2 x {case.sweeps[1]}"
    found: dict[str, Callable[[], None]] = {}
    for name, make, arguments in (
        ("backprop", backprop_images if images else backprop, ()),
        (f"lean EqProp, {sweeps}", lean_images if images else lean, case.sweeps),
    ):
        for precision in ("exact", "TF32") if ON_GPU else ("exact",):
            allow_tf32(precision == "TF32")
            eager = make(net, *arguments)
            for kind in ("eager", "graph") if ON_GPU else ("eager",):
                step = eager if kind == "eager" else captured(make(net, *arguments), batches[0])
                found[f"PyTorch, {name}, {precision}, {kind}"] = run_of(step, batches, precision == "TF32")
    return found


def run_of(step: Step, batches: list[Batch], tf32: bool) -> Callable[[], None]:
    def run() -> None:
        allow_tf32(tf32)
        for batch in batches:
            step(batch)
        if ON_GPU:
            torch.cuda.synchronize()

    return run


def ours(net: eq.HopfieldNetwork, case: Case, data: eq.Dataset) -> dict[str, Callable[[], object]]:
    """Return epochs with the defaults of `Trainer`, and with the sweeps of the rivals."""
    free, nudged = (eq.BlockUpdate(tolerance=0, max_iterations=n) for n in case.sweeps)
    centered = eq.EquilibriumPropagation(eq.centered(BETA))
    equal = eq.EquilibriumPropagation(eq.centered(BETA), solver=nudged)
    options = {"batch_size": case.batch, "clip": np.inf}
    trainers = {
        "ours": eq.Trainer(net.to("cuda"), centered, eq.SGD(RATE), **options),
        f"ours, {case.sweeps[0]} + 2 x {case.sweeps[1]}": eq.Trainer(
            net.variant().to("cuda"), equal, eq.SGD(RATE), solver=free, **options
        ),
    }
    return {name: lambda t=t: t.fit(data, epochs=1) for name, t in trainers.items()}


def measure(case: Case) -> list[dict[str, Any]]:
    """Return a row for each method, or one that says why ours does not run."""
    net = case.net()
    data, batches = batches_of(net, case)
    try:
        methods = ours(net, case, data) | rivals(net, case, batches)
    except ValueError as refusal:
        return [{"net": case.name, "batch": case.batch, "refused": str(refusal)}]
    times: dict[str, list[float]] = {name: [] for name in methods}
    for count in range(ROUNDS + 1):
        for name, run in methods.items():
            begin = time.perf_counter()
            run()
            if count > 0:  # the first one warms up
                times[name].append(1e6 * (time.perf_counter() - begin) / case.steps)
    return [row_of(case, name, times) for name in methods]


def row_of(case: Case, name: str, times: dict[str, list[float]]) -> dict[str, Any]:
    ratios = np.divide(times["ours"], times[name])
    low, middle, high = np.quantile(times[name], (0.1, 0.5, 0.9)).round(2).tolist()
    ratio = round(float(np.median(ratios)), 4)
    row = {"net": case.name, "batch": case.batch, "method": name, "us": middle, "ratio": ratio}
    return row | {"quantiles_10_90": [low, high]}


def main(path: str, kind: str, size: str = "") -> None:
    if ON_GPU:
        torch.set_default_device("cuda")
    if size:
        cuda_core.DIVISION = (1, 8, 64)  # few threads, which are slow to emulate
    rows: list[dict[str, Any]] = []
    begin = time.monotonic()
    for case in CASES[kind, bool(size)]():
        late = time.monotonic() - begin > SECONDS[kind]
        reason = {"net": case.name, "batch": case.batch, "left_out": "no time was left"}
        rows += [reason] if late else measure(case)
        write(path, {"gpu": torch.cuda.get_device_name() if ON_GPU else None, "rows": rows})


if __name__ == "__main__":
    main(*sys.argv[1:])
