"""Test errors of networks under the defaults on the digits: activations, depths, costs and second phases.

python benchmarks/python/bench_defaults.py --seeds 0 1 2 3 --epochs 30 --json benchmarks/results/defaults.json

Prints medians over seeds in per cent, the numbers of exceptions and of runs above a bound, and these runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
from equiprop.config import config

KINDS = (
    *((name, "legendre") for name in eq.ACTIVATIONS if name != "linear"),
    *((name, "quadratic") for name in ("tanh", "sigmoid", "steep_sigmoid", "softplus")),
)
PHASES: dict[str, Any] = {
    "centered": eq.EquilibriumPropagation,
    "one_sided": lambda: eq.EquilibriumPropagation(eq.one_sided(0.25)),
    "rbp": eq.RecurrentBackpropagation,
    "holomorphic": lambda: eq.EquilibriumPropagation(eq.holomorphic(0.1, 4)),
}
COSTS: dict[str, Any] = {"squared error": eq.SquaredError, "cross-entropy": eq.CrossEntropy}
Key = tuple[str, str, str, str, int]


def train(data: eq.Dataset, key: Key, seed: int, epochs: int, width: int) -> eq.Trainer:
    activation, potential, cost, phase, depth = key
    sizes = [data.num_features, *[width] * depth, data.num_outputs]
    net = eq.HopfieldNetwork(sizes, activation=activation, potential=potential, seed=seed)
    trainer = eq.Trainer(net, PHASES[phase](), cost=COSTS[cost](), seed=seed)
    trainer.fit(data, epochs=epochs)
    return trainer


def run(train_data: eq.Dataset, test_data: eq.Dataset, key: Key, seed: int, options: Any) -> dict[str, Any]:
    """Return the result of one training: error or exception, warnings, and samples that did not converge."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer = train(train_data, key, seed, options.epochs, options.units)
            result: dict[str, Any] = {
                "error": 100 * trainer.evaluate(test_data).error,
                "unconverged": sum(epoch.unconverged for epoch in trainer.history),
                "sweeps": trainer.history[-1].free_iterations,
            }
        except eq.ConvergenceError as failure:
            result = {"exception": str(failure)[:200]}
    said = sorted({str(w.message)[:120] for w in caught})
    return {"key": key, "seed": seed, **result, "warnings": said, "seconds": time.perf_counter() - start}


def keys(options: Any) -> list[Key]:
    """Return the cells of the grid; holomorphic nudging needs analytic activations."""
    cells = itertools.product(KINDS, COSTS, options.phases, options.depths)
    return [
        (activation, potential, cost, phase, depth)
        for (activation, potential), cost, phase, depth in cells
        if (not options.activations or activation in options.activations)
        and (phase != "holomorphic" or eq.activation(activation).holomorphic)
    ]


def show(results: list[dict[str, Any]], options: Any) -> None:
    errors: dict[Key, list[float]] = defaultdict(list)
    for result in results:
        errors[result["key"]].append(result.get("error", 100.0))
    for (activation, potential), cost in itertools.product(KINDS, COSTS):
        for phase in options.phases:
            cells = [errors.get((activation, potential, cost, phase, depth)) for depth in options.depths]
            if any(cells):
                row = " / ".join(f"{np.median(cell):.1f}" if cell else "-" for cell in cells)
                print(f"| {activation}, {potential} | {cost}, {phase} | {row} |")
    wrong = [r for r in results if r.get("error", 100.0) > options.bound]
    exceptions = sum("exception" in r for r in results)
    print(f"{len(results)} runs: {exceptions} exceptions, {len(wrong)} above {options.bound} %")
    for result in wrong:
        print(*result["key"], f"seed {result['seed']}:", result.get("exception", result.get("error")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--phases", nargs="+", default=["centered", "one_sided", "rbp"], choices=PHASES)
    parser.add_argument("--activations", nargs="+", default=[])
    parser.add_argument("--units", type=int, default=64, help="units of a hidden layer")
    parser.add_argument("--bound", type=float, default=8.0, help="largest test error in per cent")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write")
    options = parser.parse_args()
    eq.set_num_threads(1)
    data = eq.load_digits()
    results = []
    for key, seed in itertools.product(keys(options), options.seeds):
        results.append(run(*data, key, seed, options))
        print(*key, seed, results[-1].get("exception", results[-1].get("error")), flush=True)
    show(results, options)
    if options.json:
        options.json.write_text(json.dumps({"runs": results, "machine": config()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
