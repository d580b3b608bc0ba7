"""Sweeps, time and test error of trainings whose free phases start at rest, and at the last free states.

python benchmarks/python/bench_free_start.py [--data-dir DIR] [--epochs N] [--sweeps N] [--seed N]

Trains on the digits of scikit-learn and, with the folder of MNIST, on its first 10,000 training images, on
one thread and with the defaults of `Trainer`; with --sweeps, each phase takes this number of sweeps. A row
has the mean number of free sweeps in the first and in the last epoch, the processor time of all epochs, the
training error of the last epoch, the errors on training and test data after free phases from rest to the
default tolerance, and the share of 3000 training samples whose kept state relaxes to another fixed point than
the rest state does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import equiprop as eq
import numpy as np

#: Fixed points whose largest difference is above this are different ones.
DIFFERENT = 1e-2
NETWORKS = {"digits": [[64], [64, 64, 64], [64] * 5], "mnist": [[512], [512, 512]]}


def elsewhere(trainer: eq.Trainer, data: eq.Dataset) -> float:
    """Return the share of samples whose kept state and rest state relax to different fixed points."""
    net = trainer.model
    rows = np.arange(min(len(data), 3000))
    x = data.batch(rows, net.dtype)[0]
    solver = eq.BlockUpdate(tolerance=1e-5, max_iterations=5000, anderson=1)
    starts = (None, trainer._kept.states[rows])
    rest, last = (
        eq.free_phase(net, x, solver=solver, initial=start, on_failure="ignore").state for start in starts
    )
    return float((np.abs(rest - last).max(axis=1) > DIFFERENT).mean())


def rows_of(
    name: str,
    data: tuple[eq.Dataset, eq.Dataset],
    hidden: list[int],
    cost: type,
    options: argparse.Namespace,
) -> Iterator[str]:
    train, test = data
    sizes = [train.num_features, *hidden, train.num_outputs]
    solver = options.sweeps and eq.BlockUpdate(tolerance=0, max_iterations=options.sweeps)
    for start in ("rest", "last"):
        net = eq.HopfieldNetwork(sizes, seed=options.seed)
        trainer = eq.Trainer(net, cost=cost(), solver=solver, seed=options.seed, free_start=start)
        begin = time.process_time()
        records = trainer.fit(train, epochs=options.epochs)
        seconds = time.process_time() - begin
        first, last = records[0].free_iterations, records[-1].free_iterations
        judge = eq.Trainer(net, cost=trainer.cost)
        errors = [records[-1].train_error, judge.evaluate(train).error, judge.evaluate(test).error]
        other = f"{elsewhere(trainer, train):6.2%}" if start == "last" else ""
        network = "-".join(map(str, sizes))
        yield (
            f"{name:6} {network:26} {cost.__name__:12} {start} {first:6.1f} {last:6.1f} {seconds:8.2f} s "
            f"{' '.join(f'{error:6.2%}' for error in errors)} {other}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the starts of free phases.")
    parser.add_argument("--data-dir", help="folder of MNIST")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sweeps", type=int, help="fixed number of sweeps of each phase")
    options = parser.parse_args()
    eq.set_num_threads(1)
    sets = {"digits": eq.load_digits()}
    if options.data_dir is not None:
        train, test = eq.load_mnist(options.data_dir)
        sets["mnist"] = train[:10_000], test
    for name, data in sets.items():
        for hidden in NETWORKS[name]:
            for cost in (eq.SquaredError, eq.CrossEntropy):
                for row in rows_of(name, data, hidden, cost, options):
                    print(row, flush=True)


if __name__ == "__main__":
    main()
