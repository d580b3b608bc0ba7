"""EqProp of devices with noise, judged by statistics, and the beta between noise and bias."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from equiprop.verify.noisy_black_box import POWER
from equiprop.verify.significance import survival

X = np.random.default_rng(0).uniform(0, 1, (6, 4))
Y = np.random.default_rng(1).integers(0, 3, 6)
#: Factors of the nudge of devices.
DEVICES = {"true": 1.0, "dead": 0.0, "flipped": -1.0, "doubled": 2.0}


def device(kind: str, noise: float, seed: int = 0) -> eq.BlackBox:
    """A Hopfield network with measurement noise, and a nudge that may be wrong."""
    net = eq.HopfieldNetwork([4, 8, 3], activation="tanh", dtype="float64", seed=1, gain=0.5)
    box = eq.imperfect(net, noise=noise, seed=seed, solver=eq.BlockUpdate(tolerance=1e-10))
    relax, factor = box.relax, DEVICES.get(kind, 1.0)
    box.relax = lambda x, beta, y: relax(x, factor * beta, y)
    if kind == "one block":
        contrast = box.contrast
        signs = np.where(np.arange(len(box.parameters)) < 32, 1.0, 0.0)  # no contrast of the second coupling
        box.contrast = lambda x, s: signs * contrast(x, s)
    return box


def slowed(box: eq.BlackBox, seconds: float) -> eq.BlackBox:
    """Let each relaxation take longer."""
    relax = box.relax

    def relax_slowly(x: Any, beta: float, y: Any) -> Any:
        time.sleep(seconds)
        return relax(x, beta, y)

    box.relax = relax_slowly
    return box


def judged(kind: str, noise: float, seed: int = 0, **options: Any) -> verify.BlackBoxReport:
    return verify.black_box(device(kind, noise, seed), X, Y, **{"repeats": 8, **options})


def tail(k: int, count: int, rate: float) -> float:
    """P(more than k of `count`), by the F distribution."""
    return 1 - survival((count - k) / (k + 1) * rate / (1 - rate), 2 * (k + 1), 2 * (count - k))


def check_rates(count: int) -> None:
    found = Counter(judged("true", 5e-3, seed, significance=0.05).outcome for seed in range(count))
    assert tail(found["fails"] - 1, count, 0.05) > 1e-5, found
    assert found["inconclusive"] == 0
    for kind in ("dead", "flipped", "doubled", "one block"):
        found = Counter(judged(kind, 5e-3, seed).outcome for seed in range(count // 5))
        assert found == {"fails": count // 5}, kind


def test_right_devices_hold_and_wrong_ones_fail() -> None:
    check_rates(20)


@pytest.mark.slow
def test_right_devices_hold_and_wrong_ones_fail_as_often_as_stated() -> None:
    check_rates(400)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("dead", "EqProp shows no response. Check that the nudge reaches the device"),
        ("flipped", "Change the sign of the nudge"),
        ("doubled", "the device is nudged by a multiple of the given cost or beta"),
        ("one block", "or EqProp of some parameters is wrong|EqProp misses a part of the gradient"),
    ],
)
def test_wrong_devices_are_named(kind: str, words: str) -> None:
    for seed in range(5):
        report = judged(kind, 5e-3, seed)
        assert not report.inconclusive
        assert any(re.search(words, sentence) for sentence in report.advice), str(report)


def test_the_factor_of_the_nudge_is_measured_with_its_standard_error() -> None:
    errors = []
    for seed in range(30):
        (sentence,) = judged("doubled", 5e-3, seed, beta=0.02).advice
        factor = float(sentence.split("EqProp is ")[1].split()[0])
        error = float(sentence.split("standard error of ")[1].split(":")[0])
        errors.append((factor - 2) / error)
    assert abs(np.mean(errors)) < 0.8
    assert 0.5 < np.std(errors) < 2


def test_too_much_noise_is_inconclusive_and_the_advice_suffices() -> None:
    for kind in ("true", "dead"):
        report = judged(kind, 0.3, beta=0.02, max_differences=1)
        assert report.inconclusive, str(report)
        assert report[POWER] > 1
        assert "do not tell EqProp of this device from that of a dead one" in report.advice[0]
    report = judged("true", 0.05, beta=0.02)
    assert report.inconclusive, str(report)
    repeats = int(report.advice[0].split("Use about ")[1].split()[0])
    assert judged("true", 0.05, beta=0.02, repeats=repeats).passed


@pytest.mark.parametrize("noise", [0.0, 5e-3])
def test_a_device_that_keeps_its_last_state_is_named(noise: float) -> None:
    """It returns the state of the relaxation before."""
    box = device("true", noise)
    relax, last = box.relax, [box.relax(X, 0.0, np.eye(3)[Y])]

    def late(x: Any, beta: float, y: Any) -> Any:
        last.append(relax(x, beta, y))
        return last[-2]

    box.relax = late
    report = verify.black_box(box, X, Y, repeats=8)
    assert report.outcome == "fails"
    (sentence,) = report.advice
    assert sentence.startswith("Memory: relaxations at beta end")
    assert "reset the state before each relaxation" in sentence


def test_parameters_that_do_not_reach_the_device_are_named() -> None:
    box = device("true", 5e-3)
    box.parameters_changed = None
    report = verify.black_box(box, X, Y, repeats=8)
    assert report.outcome == "fails"
    assert "the cost has none there" in report.advice[0]
    assert "parameters reach the device" in report.advice[0]


def test_a_step_that_is_too_large_is_named() -> None:
    report = judged("true", 1e-3, step=0.3)
    assert "Use a step below 0.3" in report.advice[0]


def test_parameters_are_restored() -> None:
    box = device("true", 1e-2)
    kept = box.parameters.copy()
    verify.black_box(box, X, Y, repeats=3)
    np.testing.assert_array_equal(box.parameters, kept)


def test_a_device_without_noise_holds_with_repeats() -> None:
    assert judged("true", 0.0).passed
    assert judged("doubled", 0.0).outcome == "fails"


def test_certificates_show_the_test(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    report = judged("true", 5e-3)
    report.save(tmp_path / "device.json")
    report.save(tmp_path / "device.html")
    assert POWER in (tmp_path / "device.html").read_text()


@pytest.mark.parametrize("averages", [1, 100])
def test_the_recommended_beta_has_the_smallest_error(averages: int) -> None:
    """The oracle is the measured mean square error of gradients at many betas from the exact gradient."""
    net = eq.HopfieldNetwork([4, 8, 3], activation="tanh", dtype="float64", seed=1, gain=0.5)
    exact = eq.recurrent_backpropagation(net, eq.free_phase(net, X), Y).parameters
    box = device("true", 0.02)
    best = verify.best_beta(box, X, Y, beta=0.15, repeats=100, averages=averages)
    assert best.error < 0.1 * best.beta

    def error(beta: float) -> float:
        free = eq.free_phase(box, X)
        rule = eq.centered(beta)
        parts = [eq.equilibrium_propagation(box, free, Y, nudging=rule).parameters for _ in range(200)]
        bias = np.mean(parts, axis=0) - exact
        noise = np.var(parts, axis=0).sum()
        return float(bias @ bias - noise / 200 + noise / averages)

    assert 0 < best.beta < 0.5
    here = error(best.beta)
    assert here < 1.1 * min(error(best.beta * 2**0.5), error(best.beta / 2**0.5))


def test_the_extremes_of_the_recommendation() -> None:
    none = verify.best_beta(device("true", 0.0), X, Y)
    assert none.beta == 0
    assert "There is no noise" in str(none)
    much = verify.best_beta(device("true", 0.5), X, Y, beta=0.01, repeats=3)
    assert much.beta == np.inf
    assert "use a larger beta, or more repeats" in str(much)
    assert "standard error" in str(verify.best_beta(device("true", 1e-3), X, Y))


def test_a_limit_of_time_leaves_repeats_out(capsys: pytest.CaptureFixture[str]) -> None:
    """What was measured in the time is evaluated; fewer than two repeats are an error."""
    box = slowed(device("true", 0.02), seconds=0.01)  # a repeat takes four relaxations
    best = verify.best_beta(box, X, Y, repeats=1000, time_limit=1.0, progress=True)
    assert 2 <= best.repeats <= 25
    assert str(best).startswith(f"The time limit of 1 s was reached after {best.repeats} of 1000 repeats. At")
    assert capsys.readouterr().err.startswith("\rbest_beta: ...")
    with pytest.raises(TimeoutError, match=r"after 0 of 8 repeats; two are needed\. Raise time_limit"):
        verify.best_beta(slowed(device("true", 0.02), seconds=2.0), X, Y, time_limit=0.2)


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (verify.best_beta, {"beta": 0.0}, "beta lies in"),
        (verify.best_beta, {"repeats": 1}, "repeats is 2 to"),
        (verify.best_beta, {"averages": 0}, "averages is at least 1"),
        (verify.black_box, {"repeats": 2}, "repeats is 3 to"),
        (verify.black_box, {"repeats": 8, "significance": 0.5}, "significance is between 0 and 0.5"),
        (verify.black_box, {"repeats": 8, "step": 0.0}, "beta and step are positive numbers"),
    ],
)
def test_bad_arguments_are_refused(function: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        function(device("true", 0.01), X, Y, **options)
