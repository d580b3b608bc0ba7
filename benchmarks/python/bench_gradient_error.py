"""Cosine between the gradient of a training step and the exact one, over whole trainings on the digits.

python benchmarks/python/bench_gradient_error.py --epochs 30 --json benchmarks/results/gradient_error.json

Networks with hidden layers of 64 units are trained under the defaults. At every fifth step, the gradient
that the step took is compared with that of the same rule and beta at the same parameters and samples in
double precision, relaxed to 1e-12 from the free state of the step. A step is marked if `Metrics.unconverged`
is not 0. The program prints, for each network, second phase and number of layers: the worst cosine of steps
that are not marked, how many of them are below 0.998, the percentage of marked steps, the number of marked
steps whose cosine is above 0.9999, and the mean sweeps of a step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import equiprop as eq
import numpy as np
from equiprop.config import config

ACTIVATIONS = [name for name in eq.ACTIVATIONS if name != "linear"]
PHASES: dict[str, Any] = {
    "centered": eq.EquilibriumPropagation,
    "one_sided": lambda: eq.EquilibriumPropagation(eq.one_sided(0.25)),
    "rbp": eq.RecurrentBackpropagation,
}
COSTS: dict[str, Any] = {"squared": eq.SquaredError, "entropy": eq.CrossEntropy}
EXACT = eq.BlockUpdate(tolerance=1e-12, max_iterations=50_000)
EXACT_LINEAR = eq.ConjugateGradient(tolerance=1e-11, max_iterations=5_000)
WANTED, TOO_GOOD = 0.998, 0.9999  # cosines: of steps that are not marked, of marked steps
Cell = tuple[str, str, str, int]  # activation, cost, second phase, hidden layers


class Recorded(eq.Adam):
    """Adam that keeps the last gradient it received, which is clipped."""

    last: Any = None

    def step(self, parameters: Any, gradient: Any, blocks: Any, factor: float = 1.0) -> None:
        self.last = gradient.astype(float)
        super().step(parameters, gradient, blocks, factor)


class Check(NamedTuple):
    """One step: cosine to the exact gradient, estimated error, marked samples, and sweeps of both phases."""

    step: int
    cosine: float
    estimate: float
    marked: int
    sweeps: float


def exact_gradient(trainer: eq.Trainer, x: Any, y: Any) -> np.ndarray:
    """Return the gradient of the trainer's rule at its present parameters, in double precision.

    Some networks have several fixed points: the free phase goes on from the free state of the step.
    """
    net, phase = trainer.model.astype("float64"), trainer.second_phase
    start = eq.free_phase(trainer.model, x, solver=trainer.solver, on_failure="ignore").state
    free = eq.free_phase(net, x.astype(float), solver=EXACT, initial=start.astype(float), on_failure="ignore")
    if isinstance(phase, eq.RecurrentBackpropagation):
        return eq.recurrent_backpropagation(
            net, free, y, cost=trainer.cost, linear_solver=EXACT_LINEAR, on_failure="ignore"
        ).parameters
    return eq.equilibrium_propagation(
        net, free, y, cost=trainer.cost, nudging=phase.nudging, solver=EXACT, on_failure="ignore"
    ).parameters


def trainer_of(cell: Cell, seed: int) -> eq.Trainer:
    """Return a trainer of a cell under the defaults."""
    activation, cost, phase, depth = cell
    net = eq.HopfieldNetwork([64, *[64] * depth, 10], activation=activation, seed=seed)
    return eq.Trainer(net, PHASES[phase](), Recorded("auto"), COSTS[cost](), seed=seed)


def checks(data: eq.Dataset, cell: Cell, epochs: int, every: int, seed: int = 0) -> Iterator[Check]:
    """Train a cell and check every `every`-th step."""
    trainer = trainer_of(cell, seed)
    trainer.prepare(data)
    order = np.random.default_rng(seed)
    batches = itertools.chain.from_iterable(
        order.permutation(len(data))[: len(data) // 50 * 50].reshape(-1, 50) for _ in range(epochs)
    )
    for k, rows in enumerate(batches):
        x, y = data.batch(np.sort(rows), "float32")
        exact = exact_gradient(trainer, x, y) if k % every == 0 else None
        metrics = trainer.step(x, y)
        if exact is not None:
            found, size = trainer.optimizer.last, np.linalg.norm(exact)
            cosine = float(found @ exact / np.linalg.norm(found) / size)
            sweeps = metrics.free_iterations + metrics.second_iterations
            yield Check(k, cosine, metrics.gradient_error, metrics.unconverged, sweeps)


def cells(
    activations: Iterable[str], costs: Iterable[str], phases: Iterable[str], depths: Iterable[int]
) -> list[Cell]:
    """Return the cells of a grid."""
    return list(itertools.product(activations, costs, phases, depths))


def summary(found: list[Check]) -> dict[str, Any]:
    """Return the figures of a list of checks."""
    sure = [c.cosine for c in found if not c.marked]
    marked = [c.cosine for c in found if c.marked]
    return {
        "steps": len(found),
        "worst unmarked": min(sure, default=1.0),
        "unmarked below 0.998": sum(cosine < WANTED for cosine in sure),
        "marked, %": 100 * len(marked) / len(found),
        "marked above 0.9999": sum(cosine > TOO_GOOD for cosine in marked),
        "sweeps": float(np.mean([c.sweeps for c in found])),
    }


def line(title: str, figures: dict[str, Any]) -> str:
    """Return a line with a title and the figures of `summary`."""
    return f"{title:<44}" + ", ".join(f"{name} {value:.6g}" for name, value in figures.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--every", type=int, default=5, help="steps between two checks")
    parser.add_argument("--activations", nargs="+", default=ACTIVATIONS, choices=ACTIVATIONS)
    parser.add_argument("--costs", nargs="+", default=list(COSTS), choices=COSTS)
    parser.add_argument("--phases", nargs="+", default=list(PHASES), choices=PHASES)
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write")
    options = parser.parse_args()
    eq.set_num_threads(1)
    data, _ = eq.load_digits()
    groups: dict[str, list[Check]] = defaultdict(list)
    runs = []
    for cell in cells(options.activations, options.costs, options.phases, options.depths):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = list(checks(data, cell, options.epochs, options.every, options.seed))
        print(line(" ".join(map(str, cell)), summary(found)), flush=True)
        runs.append({"cell": cell, "checks": [c._asdict() for c in found], **summary(found)})
        for group in ("all", f"{cell[2]}, {cell[3]} hidden layers"):
            groups[group] += found
    for title in sorted(groups):
        print(line(title, summary(groups[title])))
    if options.json:
        options.json.write_text(json.dumps({"runs": runs, "machine": config()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
