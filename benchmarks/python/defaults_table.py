"""Tables of test errors from the files that bench_defaults.py writes, and a check of these errors."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

#: Activation, potential, cost, second phase, number of hidden layers. For PyTorch, which has no potential
#: and no second phase, both are "pytorch".
Key = tuple[str, str, str, str, int]
Run = dict[str, Any]

PYTORCH = "pytorch"
#: Names of the columns of a table.
TITLES = {
    "centered": "centered",
    "one_sided": "one-sided",
    "rbp": "RBP",
    "holomorphic": "holomorphic",
    PYTORCH: "PyTorch",
}
#: A median may be 1.5 times PyTorch's plus one point, and one point above that of an earlier measurement.
FACTOR, POINTS = 1.5, 1.0
#: The mean over the cells may be larger than that of an earlier measurement by so many points.
MEAN_POINTS = 0.3


def read(files: Iterable[Path]) -> tuple[list[Run], dict[str, Any]]:
    """Return the runs of several files, and their settings, which must be the same.

    Of two runs with the same key and seed the later one counts.
    """
    runs: dict[tuple[Key, int], Run] = {}
    settings: dict[str, Any] = {}
    for file in files:
        stored = json.loads(file.read_text())
        settings = settings or stored["settings"]
        if stored["settings"] != settings:
            raise SystemExit(f"bench_defaults: {file} has the settings {stored['settings']}, not {settings}")
        for run in stored["runs"]:
            key: Any = tuple(run["key"])
            runs[key, run["seed"]] = {**run, "key": key}
    return list(runs.values()), settings


def write(file: Path, runs: Iterable[Run], settings: dict[str, Any], machine: dict[str, Any]) -> None:
    """Write runs to a file, one in each line."""
    lines = ",\n".join(json.dumps(run) for run in runs)
    head = f'"machine": {json.dumps(machine)},\n"settings": {json.dumps(settings)}'
    file.write_text(f'{{{head},\n"runs": [\n{lines}\n]}}\n')


def error_of(run: Run) -> float:
    """Return the test error of a run in per cent, 100 for one that raised an exception."""
    return float(run.get("error", 100.0))


def medians(runs: Iterable[Run]) -> dict[Key, float]:
    """Return the median over seeds of each cell, in per cent."""
    errors: dict[Key, list[float]] = defaultdict(list)
    for run in runs:
        errors[run["key"]].append(error_of(run))
    return {key: float(np.median(values)) for key, values in errors.items()}


def of_pytorch(key: Key) -> Key:
    """Return the key of the PyTorch network with the same activation, cost and depth."""
    activation, _, cost, _, depth = key
    return activation, PYTORCH, cost, PYTORCH, depth


def _ordered(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def tables(runs: list[Run]) -> str:
    """Return one Markdown table for each potential and cost; a cell lists the depths."""
    cells, keys = medians(runs), [run["key"] for run in runs if run["key"][1] != PYTORCH]
    potentials, costs = _ordered(key[1] for key in keys), _ordered(key[2] for key in keys)
    return "\n\n".join(
        _table(cells, [key for key in keys if key[1:3] == (potential, cost)])
        for potential, cost in itertools.product(potentials, costs)
    )


def _table(cells: dict[Key, float], keys: list[Key]) -> str:
    if not keys:
        return ""
    _, potential, cost, *_ = keys[0]
    depths = sorted({key[4] for key in keys})
    phases = [
        phase
        for phase in TITLES
        if any(_key(key[0], potential, cost, phase, key[4]) in cells for key in keys)
    ]
    rows = [
        f"{potential} potential, {cost}, {' / '.join(map(str, depths))} hidden layers:\n",
        "| activation | " + " | ".join(TITLES[phase] for phase in phases) + " |",
        "|---" * (len(phases) + 1) + "|",
    ]
    for activation in _ordered(key[0] for key in keys):
        row = [activation.replace("_", " ")]
        for phase in phases:
            found = [cells.get(_key(activation, potential, cost, phase, depth)) for depth in depths]
            row.append(" / ".join("-" if e is None else f"{e:.1f}" for e in found) if any(found) else "")
        rows.append("| " + " | ".join(row) + " |")
    return "\n".join(rows)


def _key(activation: str, potential: str, cost: str, phase: str, depth: int) -> Key:
    return activation, PYTORCH if phase == PYTORCH else potential, cost, phase, depth


def verdict(runs: list[Run], bound: float, reference: list[Run]) -> str:
    """Return what the runs say about the bounds: exceptions, silent failures, errors, cells that miss.

    Parameters
    ----------
    runs : list of dict
    bound : float
        Largest test error in per cent. A run above it without a warning or an exception is a silent failure.
    reference : list of dict
        Runs of an earlier measurement, whose cells are compared with those of `runs`.
    """
    ours = [run for run in runs if run["key"][1] != PYTORCH]
    if not ours:
        return "no runs"
    errors = [error_of(run) for run in ours]
    wrong = [run for run in ours if error_of(run) > bound]
    exceptions = sum("exception" in run for run in ours)
    silent = sum("exception" not in run and not run["warnings"] for run in wrong)
    seeds = sorted({run["seed"] for run in ours})
    lines = [
        f"{len(ours)} runs, seeds {', '.join(map(str, seeds))}: {exceptions} exceptions, "
        f"{len(wrong)} above {bound:g} %, {silent} of them without a warning",
        f"mean {np.mean(errors):.2f} %, largest {max(errors):.1f} %",
    ]
    lines += [f"above {bound:g} %: {_name(run['key'])}, seed {run['seed']}: {_end(run)}" for run in wrong]
    return "\n".join([*lines, *_beside_pytorch(medians(runs)), *_beside(medians(ours), medians(reference))])


def _name(key: Key) -> str:
    activation, potential, cost, phase, depth = key
    return f"{activation}, {potential}, {cost}, {phase}, depth {depth}"


def _end(run: Run) -> str:
    return str(run.get("exception", f"{error_of(run):.1f} %"))


def _beside_pytorch(cells: dict[Key, float]) -> list[str]:
    """Return the cells that are beyond 1.5 times the median of PyTorch plus one point."""
    pairs = [(key, error, cells.get(of_pytorch(key))) for key, error in cells.items() if key[1] != PYTORCH]
    known = [(key, error, other) for key, error, other in pairs if other is not None]
    missed = [(key, error, other) for key, error, other in known if error > FACTOR * other + POINTS + 1e-9]
    if not known:
        return []
    return [
        f"{len(missed)} of {len(known)} cells are above {FACTOR:g} times PyTorch plus {POINTS:g} point",
        *(f"above PyTorch: {_name(key)}: {error:.1f} beside {other:.1f} %" for key, error, other in missed),
    ]


def _beside(cells: dict[Key, float], earlier: dict[Key, float]) -> list[str]:
    """Return how far the cells are from those of an earlier measurement."""
    both = [key for key in cells if key in earlier]
    if not both:
        return []
    mean, before = (float(np.mean([table[key] for key in both])) for table in (cells, earlier))
    worse = [key for key in both if cells[key] > earlier[key] + POINTS + 1e-9]
    state = "within" if mean <= before + MEAN_POINTS else "beyond"
    return [
        f"mean over {len(both)} cells {mean:.2f} %, earlier {before:.2f} %: {state} {MEAN_POINTS} points; "
        f"{len(worse)} cells are worse by more than {POINTS:g} point",
        *(f"worse: {_name(key)}: {cells[key]:.1f}, earlier {earlier[key]:.1f} %" for key in worse),
    ]
