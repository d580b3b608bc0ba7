"""Test errors of networks under the defaults: activations, potentials, depths, costs and second phases.

python benchmarks/python/bench_defaults.py --seeds 0 1 2 3 --json FILE    train the networks of the grid
python benchmarks/python/bench_defaults.py --pytorch --seeds 0 1 2 3 --json FILE    train PyTorch's instead
python benchmarks/python/bench_defaults.py --table FILE FILE ... [--json FILE]    print, and join, these files

The data are the digits of scikit-learn, or MNIST from a folder. After training, and with --table, the command
prints medians over seeds in per cent, the numbers of exceptions, of runs above a bound and of silent ones
among them, and the cells that miss a bound beside PyTorch or beside an earlier measurement (--reference).
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
from defaults_table import PYTORCH, Key, Run, read, tables, verdict, write
from equiprop.config import config
from equiprop.defaults import training_beta, training_cost, unit_of
from equiprop.optimizers import constant, cosine

NAMES = [name for name in eq.ACTIVATIONS if name != "linear"]
#: Activations for which the two potentials give different networks.
QUADRATIC = ("tanh", "sigmoid", "steep_sigmoid", "softplus")
PHASES = ("centered", "one_sided", "rbp", "holomorphic")
COSTS: dict[str, Any] = {"squared error": eq.SquaredError, "cross-entropy": eq.CrossEntropy}
SCHEDULES: dict[str, Any] = {"default": None, "cosine": cosine(), "constant": constant()}


def second_phase(name: str, beta: float) -> Any:
    """Return a second phase; `beta` is the default nudging factor. One-sided nudging has beta = 1/4."""
    nudgings = {"one_sided": eq.one_sided(0.25), "holomorphic": eq.holomorphic(0.4 * beta, 4)}
    return eq.RecurrentBackpropagation() if name == "rbp" else eq.EquilibriumPropagation(nudgings.get(name))


def train(data: eq.Dataset, key: Key, seed: int, options: Any) -> eq.Trainer:
    activation, potential, cost, phase, depth = key
    sizes = [data.num_features, *[options.units] * depth, data.num_outputs]
    net = eq.HopfieldNetwork(sizes, activation=activation, potential=potential, seed=seed)
    loss = training_cost(net, COSTS[cost]())
    trainer = eq.Trainer(
        net,
        second_phase(phase, training_beta(net, loss)),
        cost=loss,
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


def run(data: tuple[eq.Dataset, eq.Dataset], key: Key, seed: int, options: Any) -> Run:
    """Return the result of one training: error or exception, warnings, and samples that did not converge."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer = train(data[0], key, seed, options)
            result: Run = {
                "error": round(100 * trainer.evaluate(data[1]).error, 3),
                "unconverged": sum(epoch.unconverged for epoch in trainer.history),
                "sweeps": round(trainer.history[-1].free_iterations, 2),
                "norm": round(norm_of_couplings(trainer.model), 3),
            }
        except eq.ConvergenceError as failure:
            result = {"exception": str(failure)[:200]}
    said = sorted({str(w.message)[:120] for w in caught})
    seconds = round(time.perf_counter() - start, 2)
    return {"key": key, "seed": seed, **result, "warnings": said, "seconds": seconds}


def run_pytorch(data: tuple[eq.Dataset, eq.Dataset], key: Key, seed: int, options: Any) -> Run:
    """Return the test error of a feed-forward network of the same sizes, activation, cost and epochs."""
    from pytorch_networks import error_by_backprop  # only this needs torch

    activation, _, cost, _, depth = key
    sizes = [data[0].num_features, *[options.units] * depth, data[0].num_outputs]
    start = time.perf_counter()
    error = error_by_backprop(*data, sizes, activation, cost, options.epochs, seed)
    seconds = round(time.perf_counter() - start, 2)
    return {"key": key, "seed": seed, "error": round(100 * error, 3), "warnings": [], "seconds": seconds}


def keys(options: Any) -> Iterator[Key]:
    """Yield the cells of the grid; holomorphic nudging needs analytic activations."""
    kinds = [(name, "legendre") for name in NAMES] + [(name, "quadratic") for name in QUADRATIC]
    if options.pytorch:
        kinds, options.phases, options.potentials = [(name, PYTORCH) for name in NAMES], [PYTORCH], [PYTORCH]
    for (activation, potential), cost, phase, depth in itertools.product(
        kinds, options.costs, options.phases, options.depths
    ):
        analytic = phase != "holomorphic" or eq.activation(activation).holomorphic
        if activation in options.activations and potential in options.potentials and analytic:
            yield activation, potential, cost, phase, depth


def train_grid(options: Any) -> list[Run]:
    """Train all networks, and write the results so far after each of them."""
    if options.pytorch and importlib.util.find_spec("torch") is None:
        raise SystemExit("bench_defaults: --pytorch needs PyTorch. Install it: pip install torch")
    eq.set_num_threads(1)
    data = eq.load_mnist(options.mnist) if options.mnist else eq.load_digits()
    take = run_pytorch if options.pytorch else run
    runs: list[Run] = []
    for key, seed in itertools.product(keys(options), options.seeds):
        runs.append(take(data, key, seed, options))
        print(*key, seed, runs[-1].get("exception", runs[-1].get("error")), flush=True)
        if options.json:
            write(options.json, runs, settings_of(options), config())
    return runs


def settings_of(options: Any) -> dict[str, Any]:
    """Return the settings that all runs of a table have in common."""
    names = ("epochs", "units", "schedule", "clip", "coupling_norm")
    data = "MNIST" if options.mnist else "digits"
    return {"data": data, **{name: getattr(options, name) for name in names}}


def join(options: Any) -> list[Run]:
    """Return the runs of several files with the depths of --depths; --json writes all runs to one file."""
    runs, settings = read(options.table)
    if options.json:
        write(options.json, runs, settings, config())
    return [run for run in runs if run["key"][4] in options.depths]


def show(runs: list[Run], options: Any) -> None:
    print(tables(runs) + "\n")
    print(verdict(runs, options.bound, read(options.reference)[0]))
    norms = [r["norm"] for r in runs if r["key"][1] != PYTORCH and "norm" in r]
    if norms:
        print(f"norm of the couplings in units of the slopes: {min(norms):.2f} to {max(norms):.2f}")
        print(f"warnings: {sum(bool(r['warnings']) for r in runs)} runs")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--epochs", type=int, default=30)
    add("--seeds", type=int, nargs="+", default=[0])
    add("--depths", type=int, nargs="+", default=[1, 2, 3, 5], help="numbers of hidden layers")
    add("--phases", nargs="+", default=["centered", "one_sided", "rbp"], choices=PHASES)
    add("--activations", nargs="+", default=NAMES, choices=NAMES)
    add("--potentials", nargs="+", default=["legendre", "quadratic"], choices=["legendre", "quadratic"])
    add("--costs", nargs="+", default=list(COSTS), choices=COSTS)
    add("--units", type=int, default=64, help="units of a hidden layer")
    add("--mnist", type=Path, metavar="FOLDER", help="train on MNIST from this folder")
    add("--bound", type=float, default=8.0, help="largest test error in per cent")
    add("--schedule", default="default", choices=SCHEDULES)
    add("--clip", type=float, default=3.0, help="see Trainer; inf for none")
    add("--coupling-norm", type=float, help="see Trainer")
    add("--pytorch", action="store_true", help="train feed-forward networks in PyTorch with Adam 1e-3")
    add("--json", type=Path, metavar="FILE", help="file to write")
    add("--table", type=Path, nargs="+", metavar="FILE", help="train nothing, show the runs of these files")
    add("--reference", type=Path, nargs="+", default=[], metavar="FILE", help="earlier runs to compare with")
    return parser


def main() -> None:
    options = arguments().parse_args()
    show(join(options) if options.table else train_grid(options), options)


if __name__ == "__main__":
    main()
