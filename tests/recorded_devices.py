"""Simulated recordings of devices with measurement noise, for tests of `eq.verify.traces`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import equiprop as eq
import numpy as np
from equiprop import verify

X, Y = np.array([[0.1, 0.5, 0.9, 0.3]]), np.array([[0.0, 0.0, 1.0]])
BETA, STEP = 0.05, 0.2
#: Factors of the nudge of devices.
DEVICES = {"true": 1.0, "dead": 0.0, "flipped": -1.0, "doubled": 2.0}
POWER = "smallest change of the response that would be seen"


def recorded_problem() -> verify.Problem:
    """Return the network that the recordings are of, with input and target."""
    net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64", seed=1)
    return verify.prepare("test", net, X, Y, eq.SquaredError(), None)


def relax(problem: verify.Problem, beta: float = BETA, steps: int = 50) -> np.ndarray:
    """Euler steps of the nudged flow from the fixed point, as a user would write them."""
    states = [problem.state]
    for _ in range(steps):
        slope = problem.model.clamp(X).gradient(states[-1])
        slope[:, -3:] += beta * (states[-1][:, -3:] - Y)
        states.append(states[-1] - STEP * slope)
    return np.array(states)


def device(problem: verify.Problem, kind: str, size: float, beta: float = BETA) -> np.ndarray:
    """An exact recording of a device; the drift is 20 times the noise at the end."""
    path = relax(problem, DEVICES.get(kind, 1.0) * beta)
    if kind == "drift":
        path = path + 20 * size * np.linspace(0, 1, len(path))[:, None, None]
    return path


def noisy(path: np.ndarray, size: Any, rng: np.random.Generator, repeats: int = 1) -> np.ndarray:
    shape = (repeats, *path.shape) if repeats > 1 else path.shape
    return path + size * rng.normal(size=shape)


def judged(problem: verify.Problem, recorded: Any, **options: Any) -> verify.TracesReport:
    paths = recorded if isinstance(recorded, Mapping) else {BETA: recorded}
    return verify.traces(problem, trajectories=paths, step_size=STEP, **options)


def standard_error(row: verify.Row) -> float:
    return float(re.findall(r"standard error ([-+.e0-9]+)", row.note)[0])
