"""Test error of a device on digits against noise, bits of a parameter and mismatch.

python benchmarks/python/bench_imperfections.py --epochs 20 --seeds 3

The device is a Hopfield network of 128 hidden units that `eq.imperfect` simulates, trained with centered
Equilibrium Propagation at beta = 0.25 and the learning rates of the network without imperfections.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import equiprop as eq
import numpy as np


def test_error(seed: int, epochs: int, **imperfections: Any) -> float:
    train, test = eq.load_digits()
    net = eq.HopfieldNetwork([64, 128, 10], seed=seed)
    exact = eq.Trainer(net)
    exact.prepare(train)
    rates: Any = exact.optimizer.learning_rate  # type: ignore[attr-defined]
    device = eq.imperfect(net, seed=seed, **imperfections)
    trainer = eq.Trainer(device, optimizer=eq.Adam(rates), schedule=eq.optimizers.cosine())
    trainer.fit(train, epochs=epochs)
    return trainer.evaluate(test).error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    cases: list[dict[str, Any]] = [
        {"noise": noise, "bits": bits} for noise in (0.0, 0.01, 0.03) for bits in (None, 6, 4, 2)
    ]
    cases += [{"noise": 0.01, "bits": bits, "rounding": "stochastic"} for bits in (6, 4)]
    cases += [{"noise": 0.01, "bits": 6, "mismatch": mismatch} for mismatch in (0.1, 0.3)]
    for case in cases:
        start = time.perf_counter()
        errors = [test_error(seed, options.epochs, **case) for seed in range(options.seeds)]
        seconds = (time.perf_counter() - start) / options.seeds
        words = ", ".join(f"{name} {value}" for name, value in case.items())
        print(f"{words:45} test error {np.mean(errors):6.1%} ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
