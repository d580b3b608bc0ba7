"""Eight mistakes that occur in practice: each fails a check, and the advice names its cause."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from equiprop.verify.suite import examine

SIZES = (3, 5, 4, 2)
X = np.array([[0.2, 0.9, -0.4], [0.7, 0.1, 0.5]])
Y = np.array([[1.0, 0.0], [0.0, 1.0]])
PRECISE = eq.Euler(tolerance=1e-14, max_iterations=100_000, step_size=0.3)


class Hopfield(eq.Energy):
    """E = |s|^2/2 - sum <u, W u'> - <b, u>, u = tanh(s), in NumPy; `fault` selects one mistake."""

    def __init__(self, fault: str = "", seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        shapes = [*pairwise(SIZES), *((n,) for n in SIZES[1:])]
        names = ["W1", "W2", "W3", "b1", "b2", "b3"]
        parts = [0.4 * random.standard_normal(shape) for shape in shapes]
        ends = np.cumsum([part.size for part in parts])
        self.slices = {
            name: slice(int(end) - part.size, int(end))
            for name, part, end in zip(names, parts, ends, strict=True)
        }
        self.shapes = dict(zip(names, shapes, strict=True))
        super().__init__(sum(SIZES[1:]), SIZES[-1], np.concatenate([p.ravel() for p in parts]), SIZES[0])
        self.fault = fault
        self.skew = 1e-3 * random.standard_normal((SIZES[1], SIZES[2]))

    @property
    def block_slices(self) -> dict[str, slice]:
        return self.slices

    @property
    def layer_slices(self) -> dict[str, slice]:
        return {"first": slice(0, 5), "second": slice(5, 9), "output": slice(9, 11)}

    def signals(self, x: np.ndarray, s: np.ndarray) -> list[np.ndarray]:
        return [x, *(np.tanh(s[:, at]) for at in self.layer_slices.values())]

    def weights(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        blocks = [self.parameters[self.slices[name]].reshape(self.shapes[name]) for name in self.slices]
        return blocks[:3], blocks[3:]

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        u, (w, b) = self.signals(x, s), self.weights()
        total = (s**2).sum(axis=1) / 2
        for k in range(3):
            total = total - np.einsum("na,ab,nb->n", u[k], w[k], u[k + 1]) - u[k + 1] @ b[k]
        return total

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        u, (w, b) = self.signals(x, s), self.weights()
        parts = []
        for k in range(1, 4):
            bias = 0 * b[k - 1] if self.fault == "dropped bias" and k == 2 else b[k - 1]
            drive = u[k - 1] @ w[k - 1] + bias
            if k < 3:
                back = w[k] + (self.skew if self.fault == "asymmetric" and k == 1 else 0)
                drive = drive + u[k + 1] @ back.T
            slope = 1.0 if self.fault == "missing slope" else 1 - u[k] ** 2
            parts.append(slope * drive)
        return s - np.concatenate(parts, axis=1)

    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        u = self.signals(x, s)
        blocks = [-(u[k].T @ u[k + 1]) for k in range(3)] + [-u[k].sum(axis=0) for k in (1, 2, 3)]
        if self.fault == "flipped sign":
            blocks[1] = -blocks[1]
        return np.concatenate([block.ravel() for block in blocks])


def advice(report: verify.Verdict) -> str:
    assert not report.passed
    return "\n".join(report.all_advice())


#: Settings of the two slowest claims: fewer betas, points and differences than by default.
SETTINGS = {
    "orders": {"betas": [2.0**-k for k in range(1, 16, 2)], "points": (2, 4, 8)},
    "surrogate": {"max_differences": 8},
}


def test_without_a_fault_everything_holds() -> None:
    model = Hopfield()
    assert verify.derivatives(model, X).passed
    case = examine(verify.prepare("test", model, X, Y, eq.SquaredError(), None), settings=SETTINGS)
    assert case.passed, str(case)
    assert len(case.reports) >= 10


def test_1_a_flipped_sign_in_one_block_is_named() -> None:
    text = advice(verify.derivatives(Hopfield("flipped sign"), X))
    assert "parameter_gradient = dE/dtheta: block W2 has the opposite sign." in text
    assert "block W1" not in text
    assert "W3" not in text
    text = advice(verify.gradients(Hopfield("flipped sign"), X, Y))
    assert "eq.verify.derivatives(model) compares each of them" in text
    report = verify.surrogate(Hopfield("flipped sign"), X, Y, max_differences=8)
    assert not report.passed


def test_2_a_missing_slope_is_recognised() -> None:
    text = advice(verify.derivatives(Hopfield("missing slope"), X))
    assert "a diagonal factor is missing or in the wrong place, such as rho'(s_i)" in text
    assert "gradient = dE/ds" in text
    free = eq.free_phase(Hopfield("missing slope"), X, solver=PRECISE)
    assert any("rho'(s_i)" in sentence for sentence in verify.diagnose(free).advice)


def test_3_a_dropped_bias_is_recognised() -> None:
    text = advice(verify.derivatives(Hopfield("dropped bias"), X))
    assert "layer second" in text
    assert "layer first" not in text
    assert "gradient has no term with block b2, but parameter_gradient, dE/dtheta, has one." in text


def test_4_asymmetric_weights_are_located() -> None:
    model = Hopfield("asymmetric")
    text = advice(verify.derivatives(model, X))
    assert "The Jacobian is not symmetric" in text
    assert "most of it between first and second" in text
    assert "Tie the weights" in text
    assert not verify.equivalence(model, X, Y).passed


def test_5_too_few_free_steps_are_counted() -> None:
    few = eq.Euler(tolerance=1e-14, max_iterations=20, step_size=0.3)
    with pytest.warns(eq.ConvergenceWarning):
        report = verify.equivalence(Hopfield(), X, Y, solver=few)
    text = advice(report)
    assert "Too few free steps: after 20 steps the largest residual is" in text
    assert "raise max_iterations" in text
    more = int(text.split("so about ")[1].split(" more")[0])
    enough = eq.Euler(tolerance=1e-14, max_iterations=20 + 2 * more, step_size=0.3)
    assert verify.equivalence(Hopfield(), X, Y, solver=enough).passed


def test_6_a_step_beyond_stability_is_named_with_the_stable_one() -> None:
    text = advice(verify.equivalence(Hopfield(), X, Y, step_size=1.9))
    assert "The step size 1.9 is not stable" in text
    wild = eq.Euler(tolerance=1e-14, max_iterations=500, step_size=2.5)
    with pytest.warns(eq.ConvergenceWarning):
        free = eq.free_phase(Hopfield(), X, solver=wild)
    (sentence,) = [s for s in verify.diagnose(free).advice if "is not stable" in s]
    stable = float(sentence.split("step_size=")[1].rstrip("."))
    calm = eq.Euler(tolerance=1e-14, max_iterations=10_000, step_size=stable)
    assert eq.free_phase(Hopfield(), X, solver=calm).converged


def simulate(beta: float, factor: float = 1.0, steps: int = 60, step_size: float = 0.2) -> np.ndarray:
    """A user's own simulator: Euler steps from the free fixed point, nudged by factor * cost."""
    model = Hopfield()
    s = eq.free_phase(model, X, solver=PRECISE).state
    states = [s]
    for _ in range(steps):
        slope = model.gradient(X, s)
        slope[:, -2:] += beta * factor * (s[:, -2:] - Y)
        s = s - step_size * slope
        states.append(s)
    return np.array(states)


def traces(**changes: Any) -> verify.TracesReport:
    paths = {beta: simulate(beta, **changes) for beta in (0.01, -0.01)}
    return verify.traces(Hopfield(), X, Y, trajectories=paths, step_size=0.2)


def test_7_an_off_by_one_in_time_is_named() -> None:
    assert traces().passed
    early = {beta: simulate(beta)[1:] for beta in (0.01, -0.01)}
    text = advice(verify.traces(Hopfield(), X, Y, trajectories=early, step_size=0.2))
    assert "the recording is one step early: its state n is state n+1 of the flow" in text
    late = {beta: np.concatenate([path[:1], path]) for beta, path in {0.01: simulate(0.01)}.items()}
    text = advice(verify.traces(Hopfield(), X, Y, trajectories=late, step_size=0.2))
    assert "the recording is one step late: its state n is state n-1 of the flow" in text


def test_8_a_cost_scaled_by_two_is_named() -> None:
    text = advice(traces(factor=2.0))
    assert "the nudge of the model times 2: the cost or beta is scaled by this factor" in text

    model = Hopfield()

    def relax(x: np.ndarray, beta: float, y: np.ndarray) -> np.ndarray:
        s = np.zeros((len(x), model.num_units))
        states = [s]
        for _ in range(150):
            slope = model.gradient(x, s)
            slope[:, -2:] += 2 * beta * (s[:, -2:] - y)
            s = s - 0.3 * slope
            states.append(s)
        return np.array(states)

    box = verify.BlackBox(relax, model.parameter_gradient, model.parameters, 2)
    text = advice(verify.black_box(box, X, Y, beta=0.05, max_differences=8))
    assert "EqProp is 2 times the gradient for all parameters: the device is nudged by 2 times" in text
