"""False alarms and misses of `eq.verify.traces` on simulated recordings, against the stated significance.

python benchmarks/python/bench_trace_errors.py --recordings 1000 --json benchmarks/results/trace_errors.json

The devices are those of tests/recorded_devices.py: one like the model, a dead one, one with a flipped nudge,
one whose cost is doubled, and one that drifts by 20 times the noise. Each is recorded with several sizes of
noise, which is stated, or found from the settled end or from three repeats. A true device that fails is a
false alarm; a wrong one that holds is a miss. The program prints the number of each outcome, and whether the
numbers of false alarms and of misses are what a rate of at most the stated significance explains (a larger
number has a probability below 1e-4).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from equiprop.verify.significance import survival

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from recorded_devices import device, judged, noisy, recorded_problem

KINDS = ("true", "dead", "flipped", "doubled", "drift")
SIZES = (1e-5, 1e-3, 2e-2, 2e-1)
WAYS: dict[str, tuple[int, bool]] = {"stated": (1, True), "settled end": (1, False), "repeats": (3, False)}
OUTCOMES = ("holds", "inconclusive", "fails")
UNLIKELY = 1e-4


def outcomes(kind: str, size: float, way: str, recordings: int, significance: float) -> Counter[str]:
    """Return the number of each outcome among simulated recordings."""
    problem, (repeats, stated) = recorded_problem(), WAYS[way]
    path, rng = device(problem, kind, size), np.random.default_rng(list(f"{way} {size:g} {kind}".encode()))
    options: dict[str, Any] = {"noise": size} if stated else {}
    return Counter(
        judged(problem, noisy(path, size, rng, repeats), significance=significance, **options).outcome
        for _ in range(recordings)
    )


def most(count: int, rate: float) -> int:
    """Return the largest number of errors that a rate explains; a binomial tail by the F distribution."""
    return next(
        k
        for k in range(count)
        if 1 - survival((count - k) / (k + 1) * rate / (1 - rate), 2 * (k + 1), 2 * (count - k)) < UNLIKELY
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recordings", type=int, default=1000)
    parser.add_argument("--significance", type=float, default=0.01)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--sizes", nargs="+", type=float, default=SIZES)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    limit, cells, good = most(options.recordings, options.significance), [], True
    print(
        f"at most {limit} errors of {options.recordings} are explained by a rate of {options.significance:g}"
    )
    print(f"{'noise from':12} {'noise':>7} {'device':8}", *(f"{name:>12}" for name in OUTCOMES))
    for way in options.ways:
        for size in options.sizes:
            for kind in KINDS:
                found = outcomes(kind, size, way, options.recordings, options.significance)
                errors = found["fails" if kind == "true" else "holds"]
                good &= errors <= limit
                numbers = (f"{found[name]:12}" for name in OUTCOMES)
                print(f"{way:12} {size:7g} {kind:8}", *numbers, "" if errors <= limit else " !", flush=True)
                cells.append({"way": way, "noise": size, "device": kind, **found})
    if options.json:
        text = {"recordings": options.recordings, "significance": options.significance, "cells": cells}
        options.json.write_text(json.dumps(text, indent=1) + "\n")
    print("all rates are as stated" if good else "some rates are not as stated")
    sys.exit(not good)


if __name__ == "__main__":
    main()
