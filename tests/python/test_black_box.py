"""Checks of devices that are known only by their relaxations, and of recordings of a simulator."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from networks import Valley

X = np.array([[0.5, -1.0], [0.2, 0.3]])
Y = np.array([[0.3, -0.2], [0.1, 0.4]])


def device(
    valley: Valley | None = None,
    *,
    steps: int = 200,
    force: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda o, y: o - y,
    contrast: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> verify.BlackBox:
    valley = valley or Valley()

    def relax(x: np.ndarray, beta: float, y: np.ndarray) -> np.ndarray:
        s = np.zeros((len(x), 3))
        states = [s]
        for _ in range(steps):
            slope = valley.gradient(x, s)
            slope[:, -2:] += beta * force(s[:, -2:], y)
            s = s - 0.2 * slope
            states.append(s)
        return np.array(states)

    return verify.BlackBox(relax, contrast or valley.parameter_gradient, valley.parameters, 2)


def advice(verdict: verify.Verdict) -> str:
    assert not verdict.passed
    return "\n".join(verdict.all_advice())


@pytest.mark.parametrize("beta", [0.02, 0.1, 0.3])
def test_a_right_device_passes_at_any_beta(beta: float) -> None:
    box = device()
    kept = box.parameters.copy()
    report = verify.black_box(box, X, Y, beta=beta, tolerance=1e-9)
    assert report.passed, str(report)
    np.testing.assert_array_equal(box.parameters, kept)
    bias = report["EqProp against differences of J (bias of beta)"]
    assert bias < beta**2
    assert "black-box: holds" in str(report)


def test_the_device_hears_of_every_change() -> None:
    box = device()
    heard: list[np.ndarray] = []
    box.parameters_changed = lambda theta: heard.append(theta.copy())
    verify.black_box(box, X, Y, max_differences=2)
    assert any((theta != box.parameters).any() for theta in heard)
    assert all((theta != box.parameters).sum() <= 1 for theta in heard)


def test_a_scaled_nudge_is_named() -> None:
    text = advice(verify.black_box(device(force=lambda o, y: 2 * (o - y)), X, Y))
    assert "EqProp is 2" in text
    assert "the device is nudged by 2 times the given cost" in text


def test_a_nudge_away_from_the_target_is_named() -> None:
    text = advice(verify.black_box(device(force=lambda o, y: y - o), X, Y))
    assert "Nudging does not lower the cost" in text


def test_a_wrong_sign_of_one_contrast_is_named() -> None:
    valley = Valley()

    def contrast(x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return valley.parameter_gradient(x, s) * ([-1] * 3 + [1] * 6)

    box = device(valley, contrast=contrast)
    box.block_slices = {"a": slice(0, 3), "B": slice(3, 9)}
    text = advice(verify.black_box(box, X, Y))
    assert "EqProp of a has the opposite sign." in text
    assert "EqProp of B" not in text


def test_a_device_that_ignores_its_parameters_is_named() -> None:
    box = device(Valley(), contrast=lambda x, s: np.zeros(9))
    box.parameters = box.parameters.copy()
    text = advice(verify.black_box(box, X, Y, max_differences=1))
    assert "No parameter that was examined changes the cost" in text


def test_a_device_not_at_rest_is_named() -> None:
    assert "The device had not reached a fixed point" in advice(verify.black_box(device(steps=25), X, Y))


@pytest.mark.parametrize(
    ("relax", "words"),
    [
        (lambda x, beta, y: np.zeros((3, 2)), r"relax returns states \(steps \+ 1, 2, units\)"),
        (lambda x, beta, y: np.full((3, 2, 4), np.nan), "relax returns finite states"),
        (lambda x, beta, y: "at rest", "is an array of numbers|holds real numbers"),
    ],
)
def test_bad_recordings_are_refused(relax: Any, words: str) -> None:
    box = device()
    box.relax = relax
    with pytest.raises((ValueError, TypeError), match=words):
        verify.black_box(box, X, Y)


def test_bad_arguments_are_refused() -> None:
    for wrong in ({"beta": 0.0}, {"beta": -1.0}, {"step": 0.0}, {"beta": np.inf}):
        with pytest.raises(ValueError, match=r"\[black_box\] beta and step are positive numbers"):
            verify.black_box(device(), X, Y, **wrong)
    with pytest.raises(ValueError, match=r"one target for each sample"):
        verify.black_box(device(), X, Y[:1])


def recording(beta: float, start: np.ndarray, steps: int = 40, step_size: float = 0.1) -> np.ndarray:
    valley, states = Valley(), [start]
    for _ in range(steps):
        slope = valley.gradient(X, states[-1])
        slope[:, -2:] += beta * (states[-1][:, -2:] - Y)
        states.append(states[-1] - step_size * slope)
    return np.array(states)


@pytest.fixture(scope="module")
def problem() -> verify.Problem:
    return verify.prepare("test", Valley(), X, Y, eq.SquaredError(), None)


@pytest.mark.parametrize("betas", [(0.01,), (-0.01,), (0.01, -0.01)])
def test_right_recordings_pass(betas: tuple[float, ...], problem: verify.Problem) -> None:
    paths = {beta: recording(beta, problem.state) for beta in betas}
    report = verify.traces(problem, trajectories=paths, step_size=0.1, tolerance=1e-12)
    assert report.passed, str(report)


def test_another_start_another_step_and_another_model_are_told_apart(problem: verify.Problem) -> None:
    def judge(path: np.ndarray) -> str:
        return advice(verify.traces(problem, trajectories={0.01: path}, step_size=0.1))

    assert "does not start at the free fixed point" in judge(recording(0.01, problem.state + 1e-3))
    assert "the step size differs" in judge(recording(0.01, problem.state, step_size=0.15))
    wrong = recording(0.01, problem.state)
    wrong[:, :, 0] = 2 * wrong[0, :, 0] - wrong[:, :, 0]
    assert "unit 0 of s has -1 times its response in the model" in judge(wrong)


@pytest.mark.parametrize(
    ("trajectories", "words"),
    [
        ({}, "given at one beta or more, each finite and not 0"),
        ({0.0: np.zeros((3, 2, 3))}, "given at one beta or more, each finite and not 0"),
        ({np.inf: np.zeros((3, 2, 3))}, "given at one beta or more, each finite and not 0"),
        ({0.1: np.zeros((3, 2, 4))}, r"A trajectory has shape \(steps \+ 1, 2, 3\)"),
        ({0.1: np.zeros((1, 2, 3))}, r"A trajectory has shape \(steps \+ 1, 2, 3\)"),
        ({0.1: np.zeros((0, 3, 2, 3))}, r"A trajectory has shape \(steps \+ 1, 2, 3\)"),
        ({0.1: np.zeros((5, 3, 3, 3))}, r"A trajectory has shape \(steps \+ 1, 2, 3\)"),
    ],
)
def test_unfit_recordings_are_refused(trajectories: Any, words: str, problem: verify.Problem) -> None:
    with pytest.raises(ValueError, match=words):
        verify.traces(problem, trajectories=trajectories, step_size=0.1)


@pytest.mark.parametrize("sizes", [[4, 6, 3], [4, 5, 5, 3]])
@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid"])
def test_a_simulated_device_without_noise_passes_by_default(sizes: list[int], activation: str) -> None:
    net = eq.HopfieldNetwork(sizes, activation=activation, dtype="float64", seed=1)
    x, y = np.array([[0.1, 0.5, 0.9, 0.3]]), np.array([[0.0, 0.2, 1.0]])
    assert verify.black_box(eq.imperfect(net), x, y).passed
    coarse = verify.black_box(eq.imperfect(net, solver=eq.Euler(tolerance=1e-3)), x, y)
    assert "Relax for more steps, or to a smaller tolerance of the solver" in advice(coarse)


def test_a_simulated_device_of_an_own_energy_passes_by_default() -> None:
    assert verify.black_box(eq.imperfect(Valley()), X, Y).passed


def dead(noise: float, seed: int) -> verify.BlackBox:
    net = eq.HopfieldNetwork([2, 6, 2], activation="tanh", potential="quadratic", dtype="float64", seed=1)
    box = eq.imperfect(net, noise=noise, seed=seed)
    relax = box.relax
    box.relax = lambda x, _, y: relax(x, 0.0, y)
    return box


def test_a_dead_device_is_named() -> None:
    assert "the device does not respond" in advice(verify.black_box(dead(0.0, 0), X, Y))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [1e-5, 1e-3, 5e-3])
def test_no_advised_tolerance_passes_a_dead_device(noise: float, seed: int) -> None:
    text = advice(verify.black_box(dead(noise, seed), X, Y))
    found = re.search(r"tolerance=([0-9.e+-]+)", text)
    if found:
        report = verify.black_box(dead(noise, seed + 10), X, Y, tolerance=float(found[1]))
        assert report.rows[0].value > report.rows[0].high
    assert "repeats=8 judges by statistics" in text
    assert not verify.black_box(dead(noise, seed), X, Y, repeats=8).passed
