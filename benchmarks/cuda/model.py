"""Predict the time of a training step of dense networks on one H200 from counts and named assumptions.

python benchmarks/cuda/model.py

Launches, blocks, clusters and shared memory are those that the engine chooses, and barriers those of its
kernels: the program counts.cpp, which needs a C++ compiler, asks the emulated device. No number is measured
on a GPU.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Assumptions:
    """What is assumed of the device and of the trainings; times in seconds unless they say cycles."""

    multiprocessors: int = 132
    clock: float = 1.75e9  # sustained
    lanes: int = 128  # multiplications and additions of float32 per cycle and multiprocessor
    tensor_flop: float = 1730  # of TF32 per cycle and multiprocessor: 400 TFLOP/s
    efficiency: float = 0.8  # of a product's bound by instructions and shared memory
    l2_cycles: int = 300  # latency of L2
    group_cycles: int = 45  # `unrolled` weights from L1 and their products
    unrolled: int = 8  # weights that a thread reads at a time
    layer_cycles: int = 250  # drive, response and store of a layer
    l1_bytes: int = 64  # per cycle and multiprocessor, shared with the signals
    l2_bytes: int = 48  # per cycle and multiprocessor
    l1_size: int = 192 * 1024  # beside the shared memory
    bandwidth: float = 4.3e12  # of the memory
    block_barrier: float = 20e-9
    cluster_barrier: float = 250e-9
    gap: float = 1e-6  # between dependent launches
    eager_operator: float = 5e-6  # of PyTorch
    of_peak: float = 0.8  # of float32's rate that PyTorch's products reach


A = Assumptions()
#: Networks with the sweeps of a free and of a nudged phase at tolerance 1e-4: those of the slowest of 8
#: samples, in the mean, after an epoch of Fashion-MNIST on the CPU. The mean of all is 5.3 and 5.1 for
#: the first network, and 11.9 and 10.0 for the second one.
NETWORKS: tuple[tuple[tuple[int, ...], int, int], ...] = (
    ((784, 512, 10), 6, 6),
    ((784, 512, 512, 10), 13, 12),
)
BATCHES = (50, 256, 1024, 4096)


def program(folder: Path) -> Path:
    """Compile counts.cpp with the kernels for the emulated device."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise RuntimeError("The model counts launches with a C++ compiler: install g++ or clang++.")
    emulated, out = ROOT / "tests" / "cuda", folder / "counts"
    sources = [ROOT / "cpp" / "cuda" / name for name in ("engine.cu", "supported.cpp")]
    sources += [ROOT / "cpp" / "src" / "base" / "error.cpp", emulated / "emulation.cpp"]
    sources += [Path(__file__).with_name("counts.cpp")]
    include = [emulated / "emulated", emulated, *(ROOT / "cpp" / name for name in ("cuda", "include", "src"))]
    command = [compiler, "-std=c++20", "-O1", "-ffp-contract=off", "-w", *(f"-I{path}" for path in include)]
    subprocess.run([*command, "-x", "c++", *map(str, sources), "-pthread", "-o", str(out)], check=True)
    return out


def counts(program: Path, sizes: tuple[int, ...], batch: int) -> Any:
    """Return launches of a step, and barriers of a sweep."""
    words = [str(program), str(batch), *map(str, sizes)]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def weights_of(sizes: tuple[int, ...]) -> int:
    """Return the number of weights of a chain of layers."""
    return sum(a * b for a, b in pairwise(sizes))


def side_of(launch: dict[str, int]) -> int:
    """Return the side of the tiles of a launch of products, from its shared memory."""
    sums = {side * side * 4: side for side in (32, 64, 128)}
    tiles = {4 * (side + 8) * 16 * 4: side for side in (32, 64, 128)}
    return (sums | tiles)[launch["shared"]]


def step_cycles(side: int, precision: str) -> float:
    """Return cycles in which a multiprocessor multiplies two tiles of depth 16."""
    part = side // 16
    if precision == "exact":  # 8 warps, 4 of them at a time; loads of 8 or 16 bytes
        loads = 2 * max(part // 4, 1)
        wavefronts = loads // 2 * (2 if part > 2 else 1) + loads // 2
        cycles: float = 16 * max(2 * (part * part + loads), 8 * wavefronts)
    else:  # tiles of 16 x 8 x 8 on tensor cores; loads of 4 bytes
        down, across = max(part // 4, 1), {2: 1, 4: 4, 8: 8}[part]
        products = {"tf32": 1, "3xtf32": 3}[precision]
        loads = 8 * (4 * down + 2 * across)
        cycles = 2 * max(loads, products * 2 * side * side * 8 / A.tensor_flop)
    return cycles / A.efficiency


def product_time(launch: dict[str, int], products: list[tuple[int, int, int]], precision: str) -> float:
    """Return the time of a launch of products (rows, columns, depth).

    A step of a block takes the time of its arithmetic, or of the latency of the next tile, if that is longer.
    """
    side, ranks = side_of(launch), launch["cluster"]
    resident = 1 if side == 128 else 2
    steps = [math.ceil(depth / ranks / 16) for _, _, depth in products]
    blocks = [math.ceil(m / side) * math.ceil(n / side) * ranks for m, n, _ in products]
    work = sum(count * steps_of_one for count, steps_of_one in zip(blocks, steps, strict=True))
    on_one = max(math.ceil(work / A.multiprocessors), max(steps))
    together = min(resident, math.ceil(sum(blocks) / A.multiprocessors))
    cycles = on_one * max(step_cycles(side, precision), A.l2_cycles / together)
    cycles += 4 * A.l2_cycles * math.ceil(sum(blocks) / A.multiprocessors / together)
    return cycles / A.clock + (2 * A.cluster_barrier if ranks > 1 else 0)


def sweep_time(launch: dict[str, int], sizes: tuple[int, ...], tile: int, barriers: int) -> float:
    """Return the time of one sweep of a tile of samples by its cluster."""
    ranks, threads, free = launch["cluster"], launch["threads"], (0, *sizes[1:], 0)
    weights = weights_of(sizes[1:])
    own = 2 * weights / ranks * 4  # bytes of both orders
    rate = A.l1_bytes if own <= A.l1_size else A.l2_bytes
    group = A.group_cycles if own <= A.l1_size else A.l2_cycles
    cycles = 0.0
    for before, units, after in zip(free, free[1:-1], free[2:], strict=False):
        depth = before + after
        mine = depth * (units if units <= 32 else math.ceil(units / ranks))  # products for one sample
        shares = 32 if units <= 32 else 8 if depth >= 128 else 1  # threads that divide the depth
        terms = mine / min(threads, shares * math.ceil(units if units <= 32 else units / ranks))
        chain = math.ceil(terms / A.unrolled) * group + A.layer_cycles
        cycles += max(chain, mine * tile / A.lanes * 2, mine * 4 / rate)
    return cycles / A.clock + barriers * (A.cluster_barrier if ranks > 1 else A.block_barrier)


def relax_time(
    launch: dict[str, int], sizes: tuple[int, ...], samples: int, sweeps: int, barriers: int
) -> float:
    """Return the time of a phase: its tiles in turns, and half a sweep more for the residual."""
    clusters = launch["blocks"] // launch["cluster"]
    tile = math.ceil(samples / clusters)
    turns = math.ceil(clusters / (A.multiprocessors // launch["cluster"]))
    copies = 4 * A.l2_cycles / A.clock
    return turns * ((sweeps + 0.5) * sweep_time(launch, sizes, tile, barriers) + copies)


@dataclass(frozen=True)
class Prediction:
    """Times of the parts of a step, and its number of launches."""

    drive: float
    relax: float
    gradient: float
    update: float
    launches: int

    @property
    def step(self) -> float:
        """Time of the step."""
        return self.drive + self.relax + self.gradient + self.update + self.launches * A.gap


def predict(
    found: Any, sizes: tuple[int, ...], batch: int, sweeps: tuple[int, int], precision: str
) -> Prediction:
    """Return the times of one step of centered Equilibrium Propagation and of plain gradient descent."""
    parts: dict[str, list[dict[str, int]]] = {}
    for launch in found["launches"]:
        parts.setdefault(launch["part"], []).append(launch)
    relax = [
        relax_time(parts[name][0], sizes, samples, count, found["barriers"][name])
        for name, samples, count in (("free", batch, sweeps[0]), ("nudged", 2 * batch, sweeps[1]))
    ]
    units, parameters = sum(sizes[1:]), weights_of(sizes)
    factors = 4 * 7 * units * batch / A.bandwidth  # two states are read, five arrays written
    products = [(a, b, 2 * batch) for a, b in pairwise(sizes[1:])]
    products.append((sizes[1], sizes[0], batch))
    gradient = factors + product_time(parts["gradient"][1], products, precision)
    update = 4 * 3 * parameters / A.bandwidth + 4 * 2 * (parameters - sizes[0] * sizes[1]) / A.bandwidth
    drive = product_time(parts["drive"][0], [(sizes[1], batch, sizes[0])], precision)
    return Prediction(drive, sum(relax), gradient, update, len(found["launches"]))


def backprop(sizes: tuple[int, ...], batch: int) -> float:
    """Return the time of a step of backpropagation in eager PyTorch, in float32."""
    weights = weights_of(sizes)
    flop = 2 * batch * (3 * weights - sizes[0] * sizes[1])
    rate = 2 * A.lanes * A.multiprocessors * A.clock * A.of_peak
    return max((8 * (len(sizes) - 1) + 8) * A.eager_operator, flop / rate)


def eqprop(sizes: tuple[int, ...], batch: int, steps: int) -> float:
    """Return the time of a step of Equilibrium Propagation in eager PyTorch, with few operators per sweep."""
    inner = weights_of(sizes[1:])
    flop = 2 * batch * (2 * sizes[0] * sizes[1] + 2 * inner * (steps + 1))
    rate = 2 * A.lanes * A.multiprocessors * A.clock * A.of_peak
    return max((steps * (1.5 * (len(sizes) - 1) + 1) + 20) * A.eager_operator, flop / rate)


HEADING = (
    "batch  launches  barriers    tiles  precision",
    *("drive", "relax", "gradient", "update", "step", "backprop", "eqprop"),
)


def row(found: Any, sizes: tuple[int, ...], batch: int, sweeps: tuple[int, int], precision: str) -> str:
    """Return one line of the table; eqprop takes 40 steps with one hidden layer, otherwise 65."""
    p = predict(found, sizes, batch, sweeps, precision)
    others = (backprop(sizes, batch), eqprop(sizes, batch, 40 if len(sizes) == 3 else 65))
    numbers = [f"{1e6 * t:10.1f}" for t in (p.drive, p.relax, p.gradient, p.update, p.step, *others)]
    barriers = "/".join(str(found["barriers"][phase]) for phase in ("free", "nudged"))
    tiles = "/".join(str(side_of(found["launches"][i])) for i in (0, 4))
    return f"{batch:5d} {p.launches:9d} {barriers:>9s} {tiles:>8s} {precision:>10s}" + "".join(numbers)


def main() -> None:
    """Print assumptions, counts and predictions."""
    print(A)
    with tempfile.TemporaryDirectory() as folder:
        counter = program(Path(folder))
        for sizes, free, nudged in NETWORKS:
            name = "-".join(map(str, sizes))
            print(f"\n{name}: {free} free sweeps, {nudged} nudged ones; predicted microseconds")
            print(HEADING[0] + "".join(f"{word:>10s}" for word in HEADING[1:]))
            for batch in BATCHES:
                found = counts(counter, sizes, batch)
                for precision in ("exact", "3xtf32", "tf32"):
                    print(row(found, sizes, batch, (free, nudged), precision))


if __name__ == "__main__":
    main()
