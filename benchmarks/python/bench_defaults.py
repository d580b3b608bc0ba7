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
from equiprop.defaults import unit_of
from equiprop.optimizers import constant, cosine

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
SCHEDULES: dict[str, Any] = {"default": None, "cosine": cosine(), "constant": constant()}
Key = tuple[str, str, str, str, int]


def train(data: eq.Dataset, key: Key, seed: int, options: Any) -> eq.Trainer:
    activation, potential, cost, phase, depth = key
    sizes = [data.num_features, *[options.units] * depth, data.num_outputs]
    net = eq.HopfieldNetwork(sizes, activation=activation, potential=potential, seed=seed)
    trainer = eq.Trainer(
        net,
        PHASES[phase](),
        cost=COSTS[cost](),
        schedule=SCHEDULES[options.schedule],
        seed=seed,
        clip=options.clip,
        coupling_norm=options.coupling_norm,
    )
    trainer.fit(data, epochs=options.epochs)
    return trainer


def norm_of_couplings(net: eq.HopfieldNetwork) -> float:
    """Return the norm of all couplings between the free layers of a chain, in units of the slopes."""
    slopes = [unit_of(eq.activation(layer.activation), net.potential).slope for layer in net.layers]
    free, whole = list(net.layer_slices.values()), np.zeros((net.num_units, net.num_units))
    for k in range(1, len(free)):
        whole[free[k - 1], free[k]] = net.blocks[f"W{k + 1}"] * np.sqrt(slopes[k] * slopes[k + 1])
    return float(np.linalg.norm(whole + whole.T, 2))


def run(train_data: eq.Dataset, test_data: eq.Dataset, key: Key, seed: int, options: Any) -> dict[str, Any]:
    """Return the result of one training: error or exception, warnings, and samples that did not converge."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer = train(train_data, key, seed, options)
            result: dict[str, Any] = {
                "error": 100 * trainer.evaluate(test_data).error,
                "unconverged": sum(epoch.unconverged for epoch in trainer.history),
                "sweeps": trainer.history[-1].free_iterations,
                "norm": norm_of_couplings(trainer.model),
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
    reached = [r.get("error", 100.0) for r in results]
    print(f"{len(results)} runs: {exceptions} exceptions, {len(wrong)} above {options.bound} %")
    print(f"mean {np.mean(reached):.2f} %, largest {max(reached):.1f} %")
    norms = [r["norm"] for r in results if "norm" in r]
    print(f"norm of the couplings {min(norms):.2f} to {max(norms):.2f}")
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
    parser.add_argument("--schedule", default="default", choices=SCHEDULES)
    parser.add_argument("--clip", type=float, default=3.0, help="see Trainer; inf for none")
    parser.add_argument("--coupling-norm", type=float, help="see Trainer")
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
