"""Recordings with measurement noise, judged by statistics: simulated devices, right and wrong."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from equiprop.verify.significance import survival
from recorded_devices import (
    BETA,
    DEVICES,
    POWER,
    STEP,
    X,
    Y,
    device,
    judged,
    noisy,
    recorded_problem,
    relax,
    standard_error,
)


@pytest.fixture(scope="module")
def problem() -> verify.Problem:
    return recorded_problem()


def outcomes(
    problem: verify.Problem,
    path: np.ndarray,
    size: float,
    *,
    count: int,
    repeats: int = 1,
    stated: bool = False,
    **options: Any,
) -> Counter[str]:
    rng = np.random.default_rng(0)
    if stated:
        options["noise"] = size
    return Counter(judged(problem, noisy(path, size, rng, repeats), **options).outcome for _ in range(count))


WAYS = [{"stated": True}, {"stated": False}, {"stated": False, "repeats": 3}]


def check_false_alarms(problem: verify.Problem, count: int, size: float, way: Any) -> None:
    """At 5 %, the number of false alarms is at most one that a rate of 5 % exceeds once in 10^5 times."""
    found = outcomes(problem, relax(problem), size, count=count, significance=0.05, **way)
    most = next(k for k in range(count) if binomial_tail(k, count, 0.05) < 1e-5)
    assert found["fails"] <= most, found
    assert found["inconclusive"] == 0


def binomial_tail(k: int, count: int, rate: float) -> float:
    """P(more than k of `count`), by the F distribution (Clopper & Pearson 1934)."""
    return 1 - survival((count - k) / (k + 1) * rate / (1 - rate), 2 * (k + 1), 2 * (count - k))


def test_the_bound_on_false_alarms_is_that_of_the_binomial_distribution() -> None:
    stats = pytest.importorskip("scipy.stats")
    for k, count, rate in ((3, 100, 0.05), (17, 300, 0.05), (0, 10, 0.3)):
        assert binomial_tail(k, count, rate) == pytest.approx(stats.binom.sf(k, count, rate), rel=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_a_true_device_fails_with_at_most_the_stated_significance(
    way: dict[str, Any], problem: verify.Problem
) -> None:
    check_false_alarms(problem, 100, 1e-3, way)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-6, 1e-3, 2e-2])
@pytest.mark.parametrize("way", WAYS)
def test_a_true_device_fails_with_at_most_the_stated_significance_in_1000_recordings(
    way: dict[str, Any], size: float, problem: verify.Problem
) -> None:
    check_false_alarms(problem, 1000, size, way)


WORDS = {
    "dead": "shows no response",
    "flipped": "the response has the opposite sign",
    "doubled": "the cost or beta is scaled",
    "drift": "drifts away from the model's flow in proportion to time",
}


@pytest.mark.parametrize("size", [1e-5, 1e-3, 2e-2])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", WORDS)
def test_a_wrong_device_fails_and_is_named(
    kind: str, way: dict[str, Any], size: float, problem: verify.Problem
) -> None:
    rng = np.random.default_rng(1)
    options = {"noise": size} if way["stated"] else {}
    for _ in range(5):
        recorded = noisy(device(problem, kind, size), size, rng, way.get("repeats", 1))
        report = judged(problem, recorded, **options)
        assert report.outcome == "fails", str(report)
        assert WORDS[kind] in report.advice[0], str(report)
        assert report[POWER] < 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-5, 1e-3, 2e-2, 6e-2])
@pytest.mark.parametrize("kind", WORDS)
def test_wrong_devices_pass_at_most_as_often_as_stated_in_1000_recordings(
    kind: str, size: float, problem: verify.Problem
) -> None:
    for way in WAYS:
        found = outcomes(problem, device(problem, kind, size), size, count=1000, **way)
        most = next(k for k in range(1000) if binomial_tail(k, 1000, 0.01) < 1e-5)
        assert found["holds"] <= most, (way, found)


def test_data_without_power_are_inconclusive_and_the_advice_suffices(problem: verify.Problem) -> None:
    size, rng = 0.5, np.random.default_rng(3)
    for kind in ("true", "dead"):
        report = judged(problem, noisy(relax(problem, DEVICES[kind] * BETA), size, rng), noise=size)
        assert report.inconclusive
        assert not report.passed
        assert report.outcome == "inconclusive"
        assert "traces: IS INCONCLUSIVE." in report.summary
        assert report[POWER] > 2
    (sentence,) = report.advice
    assert "do not tell the model from a dead device or a nudge of the wrong sign" in sentence
    repeats = int(sentence.split("Record ")[1].split()[0])
    beta = float(sentence.split("use beta = ")[1].split()[0])
    for kind, outcome in (("true", "holds"), ("dead", "fails")):
        many = noisy(relax(problem, DEVICES[kind] * BETA), size, rng, repeats)
        assert judged(problem, many, noise=size).outcome == outcome
        strong = noisy(relax(problem, DEVICES[kind] * beta), size, rng)
        assert judged(problem, {beta: strong}, noise=size).outcome == outcome


def test_the_stated_power_is_that_of_simulations(problem: verify.Problem) -> None:
    """A device with the smallest change that would be seen is missed with the probability `significance`."""
    size, rng, exact = 0.02, np.random.default_rng(4), relax(problem)
    seen = judged(problem, noisy(exact, size, rng), noise=size, significance=0.1)[POWER]
    response = exact - exact[0]
    for sign in (1, -1):
        path = exact + sign * seen * response
        label = f"beta = {BETA:g}: response over that of the model"
        missed = 0
        for _ in range(200):
            report = judged(problem, noisy(path, size, rng), noise=size, significance=0.1)
            missed += next(row for row in report.rows if row.label == label).passed
        assert binomial_tail(missed - 1, 200, 0.1) > 1e-4
        assert 1 - binomial_tail(missed, 200, 0.1) > 1e-4


def test_a_model_that_does_not_respond_is_named() -> None:
    net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64", seed=1)
    rest = verify.prepare("test", net, X, Y, eq.SquaredError(), None).state
    still = verify.prepare("test", net, X, rest[:, -3:], eq.SquaredError(), None)
    path = np.broadcast_to(still.state, (51, *rest.shape))
    report = judged(still, noisy(path, 1e-3, np.random.default_rng(0)), noise=1e-3)
    assert report.inconclusive
    assert "Choose targets that differ from the outputs" in report.advice[0]


@pytest.mark.parametrize("kind", ["true", "dead", "flipped", "doubled", "drift", "late"])
def test_exact_recordings_are_judged_by_the_tolerance(kind: str, problem: verify.Problem) -> None:
    """No statistics; a smooth deviation of any size is none of noise."""
    for size in (1e-7, 1e-3, 1.0):
        path = device(problem, kind, size)
        if kind == "late":
            path = np.concatenate([path[:1], path])
        found, exact, stated = (
            judged(problem, path, **options) for options in ({}, {"tolerance": 1e-9}, {"noise": 0.0})
        )
        assert found.rows == exact.rows == stated.rows
        assert found.advice == exact.advice == stated.advice
        assert found.passed == (kind == "true")
        assert all(row.high == 1e-9 for row in found.rows[:2])


def test_equal_repeats_are_exact(problem: verify.Problem) -> None:
    path = relax(problem)
    report = judged(problem, np.stack([path, path]))
    assert report.passed
    assert report.rows == judged(problem, path).rows


def test_the_noise_is_found(problem: verify.Problem) -> None:
    """Repeats and the settled end give the noise within 4 of its stated standard errors."""
    rng = np.random.default_rng(5)
    for kind in DEVICES:
        for repeats in (1, 4):
            report = judged(problem, noisy(device(problem, kind, 0.0), 1e-3, rng, repeats))
            row = next(row for row in report.rows if row.label == "noise")
            error = standard_error(row)
            assert abs(row.value - 1e-3) < 4 * error < 4e-4
            assert ("repeats" if repeats > 1 else "settled end") in row.note
    for repeats in (1, 2):
        sizes = [judged(problem, noisy(relax(problem), 1e-3, rng, repeats))["noise"] for _ in range(100)]
        assert np.mean(sizes) == pytest.approx(1e-3, rel=0.03)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 8, 10])
def test_a_short_recording_does_not_show_whether_a_deviation_is_noise(
    steps: int, problem: verify.Problem
) -> None:
    """The second half of 11 states has 4 second differences of 9 units; that of 13 states has 5."""
    rng = np.random.default_rng(20)
    exact = relax(problem, steps=steps)
    assert judged(problem, exact).outcome == "holds"
    assert judged(problem, 2 * exact, noise=0).outcome == "fails"
    report = judged(problem, noisy(exact, 1e-3, rng))
    assert report.outcome == "inconclusive"
    (sentence,) = report.advice
    assert "State noise=" in sentence
    for options in ({"noise": 1e-3}, {"tolerance": 1e-9}):
        assert all("tell noise" not in row.label for row in judged(problem, exact, **options).rows)
    advised = int(sentence.split("at least ")[1].split(" steps")[0])
    assert judged(problem, noisy(relax(problem, steps=advised), 1e-3, rng)).outcome == "holds"


def test_single_second_differences_of_many_units_are_too_few() -> None:
    """Four steps give each of 90 units one second difference, without a neighbour to compare it with."""
    net = eq.HopfieldNetwork([4, 80, 10], activation="tanh", potential="quadratic", dtype="float64", seed=1)
    wide = verify.prepare("test", net, X, np.eye(10)[:1], eq.SquaredError(), None)
    rng = np.random.default_rng(23)
    for steps, outcome in ((4, "inconclusive"), (6, "fails")):
        path = wide.state + np.ones((steps + 1, 1, 1)) + rng.normal(0, 1e-3, (steps + 1, 1, 90))
        assert judged(wide, path).outcome == outcome


def test_a_drift_that_is_large_against_the_noise_is_named(problem: verify.Problem) -> None:
    path = device(problem, "drift", 1e-3)
    report = judged(problem, noisy(path, 1e-7, np.random.default_rng(21)))
    assert WORDS["drift"] in report.advice[0]
    assert report["noise"] == pytest.approx(1e-7, rel=0.3)


def test_a_tolerance_needs_no_statistics(problem: verify.Problem) -> None:
    report = judged(problem, noisy(relax(problem), 1e-3, np.random.default_rng(22)), tolerance=1e-2)
    assert report.passed
    assert all(row.high == 1e-2 for row in report.rows[:2])


@pytest.mark.parametrize("kind", ["dead", "flipped", "doubled"])
def test_the_factor_of_the_nudge_is_measured(kind: str, problem: verify.Problem) -> None:
    """The response of the doubled nudge is 1.89 times that of the single one."""
    rng, errors = np.random.default_rng(23), []
    for _ in range(50):
        (sentence,) = judged(problem, noisy(device(problem, kind, 0.0), 1e-2, rng), noise=1e-2).advice
        value, error = re.findall(r"times (\S+), with a standard error of (\S+?)[.:,]? ", sentence)[0]
        errors.append((float(value) - DEVICES[kind]) / float(error))
    assert abs(np.mean(errors)) < 0.6
    assert np.std(errors) == pytest.approx(1, rel=0.5)


def test_a_deviation_in_data_without_power_fails(problem: verify.Problem) -> None:
    report = judged(
        problem, noisy(device(problem, "flipped", 0.0), 0.25, np.random.default_rng(1)), noise=0.25
    )
    assert report[POWER] > 1
    assert report.outcome == "fails"
    assert len(report.advice) == 2


def test_a_free_phase_that_did_not_converge_is_not_inconclusive(problem: verify.Problem) -> None:
    short = eq.Euler(step_size=0.2, tolerance=1e-14, max_iterations=50)
    with pytest.warns(eq.ConvergenceWarning):
        unfinished = verify.prepare("test", problem.model, X, Y, eq.SquaredError(), short)
    report = judged(unfinished, noisy(relax(problem), 1.0, np.random.default_rng(24)), noise=1.0)
    assert report.outcome == "fails"


def test_the_noise_of_each_unit_may_be_stated(problem: verify.Problem) -> None:
    sizes = np.geomspace(1e-5, 1e-2, 9)
    recorded = noisy(relax(problem), sizes, np.random.default_rng(6))
    assert judged(problem, recorded, noise=list(sizes)).passed
    assert not judged(problem, recorded, noise=sizes[::-1]).passed
    assert not judged(
        problem, noisy(relax(problem, 0.0), sizes, np.random.default_rng(6)), noise=sizes
    ).passed


def test_a_noise_that_is_not_that_of_the_recordings_is_named(problem: verify.Problem) -> None:
    recorded = noisy(relax(problem), 2e-3, np.random.default_rng(7))
    report = judged(problem, recorded, noise=1e-3)
    assert report.outcome == "fails"
    assert len(report.advice) == 1
    assert "and not 0.001 as stated" in report.advice[0]
    found = float(report.advice[0].split("recordings is ")[1].split()[0])
    assert found == pytest.approx(2e-3, rel=0.2)
    assert judged(problem, recorded, noise=found).passed
    vague = judged(problem, recorded, noise=1.0)
    assert vague.inconclusive
    assert "and not 1 as stated" in vague.advice[0]


@pytest.mark.parametrize("kind", ["dead", "flipped"])
def test_few_numbers_are_fitted_to_weak_evidence(kind: str, problem: verify.Problem) -> None:
    """One factor explains the deviation; an offset of each of the nine units would fit the noise too."""
    rng, size = np.random.default_rng(25), 0.06
    named, stated = 0, []
    for _ in range(40):
        sentence = judged(problem, noisy(device(problem, kind, 0.0), size, rng), noise=size).advice[0]
        named += WORDS[kind] in sentence
        found = re.search(r"Confidence: (?:more than )?(\S+) % among the causes compared", sentence)
        stated.append(float(found[1]) / 100 if found else 0.0)
    assert named >= 36
    # The stated probabilities are not larger than the rate at which the cause is right, whose standard error
    # is at most sqrt(0.9 * 0.1 / 40) = 0.05.
    assert 0.5 < np.mean(stated) < named / 40 + 0.05


@pytest.mark.parametrize("memory", [0.5, 0.9])
def test_noise_that_is_correlated_in_time_is_named(memory: float, problem: verify.Problem) -> None:
    rng = np.random.default_rng(14)
    noise = rng.normal(size=(51, 1, 9))
    for n in range(1, 51):
        noise[n] = memory * noise[n - 1] + np.sqrt(1 - memory**2) * noise[n]
    report = judged(problem, relax(problem) + 1e-3 * noise)
    assert report.outcome == "fails"
    (sentence,) = report.advice
    assert "no single one of a scaled nudge" in sentence
    correlation = float(sentence.split("to the next is ")[1].split(",")[0])
    assert 0.5 * memory < correlation < 1


def test_several_samples_with_units_held_by_bounds() -> None:
    net = eq.HopfieldNetwork([4, 6, 3], activation="hard_sigmoid", dtype="float64", seed=2)
    rng = np.random.default_rng(19)
    x, y = rng.random((5, 4)), np.eye(3)[[0, 1, 2, 0, 1]]
    many = verify.prepare("test", net, x, y, eq.SquaredError(), None)
    assert not many.free_units.all()
    for factor, outcome in ((1.0, "holds"), (0.0, "fails"), (-1.0, "fails")):
        states = [many.state]
        for _ in range(60):
            slope = net.clamp(x).gradient(states[-1])
            slope[:, -3:] += factor * 0.1 * (states[-1][:, -3:] - y)
            states.append(states[-1] - STEP * slope)
            states[-1][:, :6] = np.clip(states[-1][:, :6], 0, 1)
        report = judged(many, {0.1: noisy(np.array(states), 5e-3, rng)})
        assert report.outcome == outcome, str(report)


@pytest.mark.parametrize("converter", [0.5, 1.0, 2.0])
def test_steps_of_a_converter_count_as_noise(converter: float, problem: verify.Problem) -> None:
    """The steps of the analog-to-digital converter are up to twice the noise."""
    rng, step = np.random.default_rng(15), converter * 1e-3
    passed = 0
    for _ in range(50):
        passed += judged(problem, np.round(noisy(relax(problem), 1e-3, rng) / step) * step).passed
    assert passed >= 45  # of 50; fewer have a probability of 1e-5 at a rate of 1 %


@pytest.mark.parametrize("shift", [1, -1])
def test_a_shift_by_one_step_is_named(shift: int, problem: verify.Problem) -> None:
    path = relax(problem, steps=51)
    path = path[1:] if shift < 0 else np.concatenate([path[:1], path[:-1]])
    report = judged(problem, noisy(path, 1e-5, np.random.default_rng(16)), noise=1e-5)
    assert report.outcome == "fails"
    assert f"is one step {'late' if shift > 0 else 'early'}" in report.advice[0]


def test_an_offset_is_named(problem: verify.Problem) -> None:
    path = relax(problem) + 1e-2
    report = judged(problem, noisy(path, 1e-3, np.random.default_rng(17)))
    assert report.outcome == "fails"
    assert "or the instrument has an offset" in report.advice[0]


def test_two_causes_leave_a_rest(problem: verify.Problem) -> None:
    path = device(problem, "doubled", 0.0)
    path = path + 0.02 * np.linspace(0, 1, 51)[:, None, None]
    report = judged(problem, noisy(path, 1e-3, np.random.default_rng(18)), noise=1e-3)
    assert "explains the deviation. The nearest is: " in report.advice[0]
    assert "The rest is largest in" in report.advice[0]


def test_the_recommended_beta_has_the_smallest_error(problem: verify.Problem) -> None:
    """The oracle is the mean square error of S~ over -D S-bar in simulated recordings at three betas."""
    rng, size = np.random.default_rng(26), 1e-3

    def figures(beta: float) -> tuple[float, float]:
        reports = [
            judged(problem, {beta: noisy(relax(problem, beta), size, rng)}, noise=size) for _ in range(30)
        ]
        label = f"beta = {beta:g}: best beta between noise and bias of S~"
        errors = [report[f"beta = {beta:g}: S~ over -D S-bar"] - 1 for report in reports]
        return reports[0][label], float(np.mean(np.square(errors)))

    best = round(figures(0.05)[0], 3)
    again, least = figures(best)
    assert again == pytest.approx(best, rel=0.1)
    assert least < min(figures(best / 2.5)[1], figures(best * 2.5)[1])
