"""Effect of the tolerance of the phases on the gradients of trained networks, and on the errors of training.

python benchmarks/python/bench_tolerance.py MNIST_FOLDER            cosines and sweeps, about three minutes
python benchmarks/python/bench_tolerance.py MNIST_FOLDER --errors   test errors, about half an hour

A cosine is that between the gradient of a mini-batch of 50, and the gradient with a tolerance of 1e-6 at the
same beta, so it shows the effect of the tolerance only. Without a folder, the benchmark uses the digits of
scikit-learn.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import equiprop as eq
import numpy as np
from equiprop.config import config
from equiprop.solvers import training_solver

RESULTS = Path(__file__).parents[1] / "results"
HIDDEN = ([512], [512, 512], [512, 512, 512])
TOLERANCES = (1e-3, 2e-3, 5e-3, 1e-2)
EXACT = eq.BlockUpdate(tolerance=1e-6, max_iterations=5000)
BATCH, BATCHES = 50, 8


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def relaxed(
    net: eq.HopfieldNetwork, x: np.ndarray, y: np.ndarray, solver: eq.BlockUpdate
) -> tuple[eq.results.FixedPoint, eq.results.Gradient]:
    free = eq.free_phase(net, x, solver=solver, on_failure="ignore")
    return free, eq.equilibrium_propagation(net, free, y, nudging=eq.centered(0.25), on_failure="ignore")


def measure(net: eq.HopfieldNetwork, batches: list, exact: list, solver: eq.BlockUpdate) -> dict[str, float]:
    start = time.process_time()
    phases = [relaxed(net, x, y, solver) for x, y in batches]
    seconds = (time.process_time() - start) / len(batches)
    cosines = [cosine(gradient.parameters, g) for (_, gradient), g in zip(phases, exact, strict=True)]
    return {
        "tolerance": solver.tolerance,
        "anderson": solver.anderson,
        "free": float(np.mean([free.iterations.mean() for free, _ in phases])),
        "nudged": float(np.mean([gradient.iterations.mean() for _, gradient in phases])),
        "worst_1_minus_cosine": 1 - min(cosines),
        "milliseconds": 1e3 * seconds,
    }


def gradients(train: eq.Dataset) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    batches = [train.batch(np.arange(k * BATCH, (k + 1) * BATCH), "float32") for k in range(BATCHES)]
    for hidden in HIDDEN:
        net = eq.HopfieldNetwork([train.num_features, *hidden, train.num_outputs], seed=0)
        eq.Trainer(net).fit(train, epochs=1 if len(train) > 10_000 else 10)
        exact = [relaxed(net, x, y, EXACT)[1].parameters for x, y in batches]
        for anderson, tolerance in itertools.product((0, 1), TOLERANCES):
            solver = eq.BlockUpdate(tolerance=tolerance, max_iterations=1000, anderson=anderson)
            row = measure(net, batches, exact, solver)
            rows.append({"hidden": hidden, **row})
            print(
                f"{hidden!s:<18} anderson {anderson} tolerance {tolerance:.0e}: {row['free']:5.2f} + "
                f"{row['nudged']:5.2f} sweeps, worst 1 - cosine {row['worst_1_minus_cosine']:.1e}, "
                f"{row['milliseconds']:6.2f} ms"
            )
    return rows


def errors(train: eq.Dataset, test: eq.Dataset, epochs: int = 3) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for hidden, seed in itertools.product(HIDDEN[:2], range(3)):
        sizes = [train.num_features, *hidden, train.num_outputs]
        for name, solver in (("default", training_solver(eq.HopfieldNetwork(sizes))), ("exact", EXACT)):
            trainer = eq.Trainer(eq.HopfieldNetwork(sizes, seed=seed), solver=solver, seed=seed)
            trainer.fit(train, epochs=epochs)
            error = eq.Trainer(trainer.model, solver=EXACT).evaluate(test).error
            rows.append({"hidden": hidden, "seed": seed, "solver": name, "test_error": error})
            print(f"{hidden!s:<12} seed {seed} {name:<8} {100 * error:.2f} %")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", nargs="?", help="folder of the four MNIST files (default: the digits of scikit-learn)"
    )
    parser.add_argument("--errors", action="store_true", help="measure test errors instead of cosines")
    arguments = parser.parse_args()
    train, test = eq.load_mnist(arguments.folder) if arguments.folder else eq.load_digits()
    eq.set_num_threads(1)
    rows = errors(train, test) if arguments.errors else gradients(train)
    RESULTS.mkdir(exist_ok=True)
    result = {"machine": config(), "samples": len(train), "rows": rows}
    file = "errors.json" if arguments.errors else "tolerance.json"
    (RESULTS / file).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
