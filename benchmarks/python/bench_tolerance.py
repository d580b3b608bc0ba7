"""How tight need the phases be? Direction of the gradient, iterations and time against the tolerance.

python benchmarks/python/bench_tolerance.py [MNIST folder]     prints a table; writes results/tolerance.json

The reference is the same nudging, relaxed to 1e-6: only the effect of stopping early is seen.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import equiprop as eq
import numpy as np
from equiprop.config import config

RESULTS = Path(__file__).parents[1] / "results"


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def measure(net: eq.HopfieldNetwork, x: np.ndarray, y: np.ndarray, tolerance: float) -> dict[str, float]:
    solver = eq.BlockUpdate(tolerance=tolerance, max_iterations=2000)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        free = eq.free_phase(net, x, solver=solver, on_failure="ignore")
        gradient = eq.equilibrium_propagation(net, free, y, nudging=eq.centered(0.25), on_failure="ignore")
        times.append(time.perf_counter() - start)
    return {
        "tolerance": tolerance,
        "free": float(free.iterations.mean()),
        "nudged": float(gradient.iterations.mean()),
        "milliseconds": 1000 * float(np.median(times)),
        "gradient": gradient.parameters,
    }


def main() -> None:
    train, _ = eq.load_mnist(sys.argv[1]) if len(sys.argv) > 1 else eq.load_digits()
    rows = []
    for hidden in ([512], [512, 512]):
        net = eq.HopfieldNetwork([train.num_features, *hidden, 10], seed=0)
        eq.Trainer(net).fit(train, epochs=1 if len(train) > 10_000 else 10)
        x, y = train.batch(np.arange(200), "float32")
        reference = measure(net, x, y, 1e-6)["gradient"]
        for tolerance in (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4, 1e-5):
            row = measure(net, x, y, tolerance)
            row["cosine"] = cosine(row.pop("gradient"), reference)
            rows.append({"network": repr(net), **row})
            print(
                f"{rows[-1]['network'][15:35]:<20} tolerance {tolerance:.0e}: {row['free']:5.1f} + "
                f"{row['nudged']:5.1f} sweeps, {row['milliseconds']:6.2f} ms, cosine {row['cosine']:.5f}"
            )
    RESULTS.mkdir(exist_ok=True)
    result = {"machine": config(), "samples": len(train), "rows": rows}
    (RESULTS / "tolerance.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
