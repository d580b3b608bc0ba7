"""Causes that `eq.verify.traces` names, for exact and for noisy recordings of faulty devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from equiprop import verify
from recorded_devices import (
    BETA,
    DEVICES,
    POWER,
    STEP,
    device,
    judged,
    noisy,
    recorded_problem,
    relax,
)

OUTPUTS = slice(-3, None)


@pytest.fixture(scope="module")
def problem() -> verify.Problem:
    return recorded_problem()


def only(report: verify.TracesReport) -> str:
    assert report.outcome == "fails", str(report)
    (sentence,) = report.advice
    return str(sentence)


@pytest.mark.parametrize("units", [slice(None), OUTPUTS], ids=["all", "outputs"])
@pytest.mark.parametrize("beta", [0.01, 0.05, -0.2])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("dead", "shows no response. It fits the nudge of the model times 0"),
        ("flipped", "the opposite sign. It fits the nudge of the model times -1."),
        ("doubled", "fits the nudge of the model times 2: the cost or beta is scaled"),
    ],
)
def test_a_multiple_of_the_nudge_is_named(
    kind: str, words: str, beta: float, units: slice, problem: verify.Problem
) -> None:
    sentence = only(judged(problem, {beta: device(problem, kind, 0.0, beta)[..., units]}))
    assert words in sentence
    assert sentence.endswith("Confidence: certain.")


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_shift_in_time_is_named(steps: int, problem: verify.Problem) -> None:
    path, words = relax(problem), "one step" if steps == 1 else f"{steps} steps"
    late = np.concatenate([path[:1]] * steps + [path])
    assert f"is {words} late: its state n is state n-{steps}" in only(judged(problem, late))
    assert f"is {words} early: its state n is state n+{steps}" in only(judged(problem, path[steps:]))


def test_a_state_that_no_shift_compares_is_not_called_late_or_early(problem: verify.Problem) -> None:
    path = np.full((51, 1, 9), np.nan)
    path[-1] = relax(problem)[-1] + np.linspace(-0.1, 0.1, 9)
    assert "the response of hidden1" in str(judged(problem, path, noise=0))
    assert "early" not in str(judged(problem, path, noise=0))


def test_another_step_size_is_named(problem: verify.Problem) -> None:
    report = verify.traces(problem, trajectories={BETA: relax(problem)}, step_size=2 * STEP)
    assert "that of the recording is 0.5 times the given one" in only(report)


@pytest.mark.parametrize("size", [0.0, 1e-4])
def test_a_fault_of_one_unit_or_one_number_is_named(size: float, problem: verify.Problem) -> None:
    rng, path = np.random.default_rng(0), relax(problem)
    gain = path.copy()
    gain[:, :, 7] += 0.5 * (path - path[0])[:, :, 7]
    assert "unit 1 of output has 1.5 times its response" in only(judged(problem, noisy(gain, size, rng)))
    outlier = path.copy()
    outlier[20, 0, 3] = 1e6
    recorded = noisy(outlier, size, rng)
    sentence = only(judged(problem, recorded, **({"noise": size} if size else {})))
    assert "one number is an outlier: unit 3 of hidden1 at step 20 of sample 0 is 1e+06" in sentence
    recorded[20, 0, 3] = np.nan
    assert judged(problem, recorded).passed


def test_a_flow_that_diverges_at_a_tried_beta_is_no_error() -> None:
    """Large deviations fit only a nudge at which the flow of the model diverges."""
    problem = recorded_problem()
    path, rng = relax(problem), np.random.default_rng(0)
    for recorded in (noisy(path, 50.0, rng), 1000 * path, path[0] + 300 * (path - path[0])):
        assert judged(problem, recorded).outcome in ("fails", "inconclusive")
        assert judged(problem, recorded, noise=1.0).outcome in ("fails", "inconclusive")


@pytest.mark.parametrize("kind", ["dead", "flipped", "doubled"])
def test_a_fault_at_a_beta_without_power_is_not_hidden_by_another_beta(
    kind: str, problem: verify.Problem
) -> None:
    rng, size = np.random.default_rng(2), 0.05
    weak = noisy(relax(problem, 0.002 * DEVICES[kind]), size, rng)
    report = judged(problem, {0.2: noisy(relax(problem, 0.2), size, rng), 0.002: weak}, noise=size)
    assert report.outcome == "inconclusive"
    assert report[f"beta = 0.2: {POWER}"] < 1 < report[f"beta = 0.002: {POWER}"]
    (sentence,) = report.advice
    assert sentence.startswith("beta = 0.002: The recordings do not tell the model from")


def test_a_stated_noise_that_is_not_that_of_the_recordings_is_said_also_if_they_pass(
    problem: verify.Problem,
) -> None:
    rng = np.random.default_rng(1)
    report = judged(problem, noisy(relax(problem), 1e-3, rng), noise=1e-2)
    assert report.passed
    (sentence,) = report.advice
    assert "The noise of the recordings is 0.00" in sentence
    assert "and not 0.01 as stated" in sentence
    assert not judged(problem, noisy(relax(problem), 1e-3, rng), noise=1e-3).advice


@pytest.mark.parametrize("repeats", [1, 3, 10])
@pytest.mark.parametrize(
    "sizes", [np.geomspace(2e-3, 2e-2, 9), np.where(np.arange(9) == 4, 2e-2, 1e-3)], ids=["range", "one"]
)
def test_noise_that_differs_between_units_is_estimated_for_each(
    sizes: np.ndarray, repeats: int, problem: verify.Problem
) -> None:
    """At significance 0.01, more than 6 of 100 true devices fail with the probability 1e-4."""
    rng, path = np.random.default_rng(5), relax(problem, steps=100)
    reports = [judged(problem, noisy(path, sizes, rng, repeats)) for _ in range(100)]
    assert sum(report.outcome == "fails" for report in reports) <= 6
    assert all("by unit" in str(report) for report in reports)
    wrong = relax(problem, -0.5, steps=100)
    assert judged(problem, {0.5: noisy(wrong, sizes, rng, repeats)}).outcome == "fails"


def test_units_with_too_few_numbers_for_an_own_noise_are_told_how_to_state_it(
    problem: verify.Problem,
) -> None:
    rng, sizes = np.random.default_rng(6), np.where(np.arange(9) == 4, 0.1, 1e-4)
    path = relax(problem, steps=16)
    recorded: Any = noisy(path, sizes, rng)
    report = judged(problem, recorded)
    assert "it differs between units, state noise= for each" in str(report)
    assert judged(problem, recorded, noise=sizes).outcome != "fails"


def test_a_clear_sign_is_named_also_with_much_noise(problem: verify.Problem) -> None:
    """The response of a flipped device is told from none where its standard error is a quarter of it."""
    rng, words = np.random.default_rng(7), []
    for _ in range(20):
        recorded = noisy(relax(problem, -0.5), 0.5, rng)
        report = judged(problem, {0.5: recorded}, noise=0.5)
        words += [sentence for sentence in report.advice if "times -" in sentence]
    assert sum("the opposite sign" in sentence for sentence in words) >= 0.9 * len(words) > 5
