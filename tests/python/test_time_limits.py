"""Time limits, interrupts and progress of certificates: what was left out or finished is said everywhere."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from commands import run
from equiprop import verify
from equiprop.cli.command import main
from equiprop.verify.frugal import frugal
from equiprop.verify.watch import Clock, TimeUp, progress_lines, tracked
from networks import TanhHopfield, Valley, chain, inputs, labels

X, Y = np.array([[0.5, -1.0]]), np.array([[0.3, -0.2]])


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Handle SIGINT, which programs in the background of a shell ignore."""
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, kept) is signal.default_int_handler


class Slow(Valley):
    """A model whose gradient takes 1 ms, and that can send SIGINT at one of its calls."""

    calls, end = 0, -1

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls == self.end:
            signal.raise_signal(signal.SIGINT)
        time.sleep(1e-3)
        return super().gradient(x, s)


def test_what_the_time_did_not_suffice_for_is_left_out_and_said(tmp_path: Path) -> None:
    model = Slow()
    kept = model.parameters.copy()
    began = time.monotonic()
    certificate = verify.certify(model, X, Y, claims=["limit", "gradients", "orders"], time_limit=1.5)
    assert time.monotonic() - began < 5
    np.testing.assert_array_equal(model.parameters, kept)
    (case,) = certificate.cases
    assert [report.name for report in case.reports] == ["limit"]
    assert case.left_out == {
        "gradients": "because the time limit of 1.5 s was reached while it ran",
        "orders": "because the time limit of 1.5 s was reached before it began",
    }
    assert not certificate.passed
    assert certificate.outcome == "incomplete"
    assert "All 1 claims that were checked hold, on 1 model. 2 claims were left out" in certificate.verdict
    assert "gradients: left out, because the time limit" in str(certificate)
    assert "INCOMPLETE" in str(certificate)
    certificate.save(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["passed"] is False
    replayed = verify.replay(tmp_path / "report.json")
    assert replayed.identical, str(replayed)
    assert not replayed.certificate.passed
    certificate.save(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Incomplete." in page
    assert "Verified." not in page
    assert "gradients: left out, because the time limit" in page


def test_a_computation_in_the_core_ends_at_the_limit() -> None:
    net = chain(60, 200, 10)
    x, y = inputs(net, 20), labels(net, 20)
    problem = verify.prepare("test", net, x, y, eq.SquaredError(), None)
    began = time.monotonic()
    with pytest.raises(TimeUp), Clock(0.2).running():
        verify.equivalence(problem, steps=200_000)
    assert time.monotonic() - began < 2


def test_a_clock_leaves_no_trace() -> None:
    """A limit at the end of the block neither fires later nor takes an interrupt of the user for its own."""
    for limit in np.linspace(1e-3, 6e-3, 60):
        clock = Clock(limit)
        try:
            with clock.running():
                time.sleep(3e-3)
        except TimeUp:
            assert clock.up
        time.sleep(1e-3)
    with pytest.raises(KeyboardInterrupt), Clock(60).running():
        signal.raise_signal(signal.SIGINT)


def test_other_threads_stop_between_parts() -> None:
    results: list[verify.Certificate] = []

    def work() -> None:
        results.append(verify.certify(Slow(), X, Y, claims=["gradients", "limit"], time_limit=0.1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert set(results[0].cases[0].left_out) == {"gradients", "limit"}


def test_an_interrupt_says_which_claims_were_finished(capsys: Any, tmp_path: Path) -> None:
    model = Slow()
    model.end = 900
    with pytest.raises(KeyboardInterrupt, match=r"in the claim gradients; finished claims: limit \(holds\)"):
        verify.certify(model, X, Y, claims=["limit", "gradients"])
    threading.Timer(1.0, lambda: signal.raise_signal(signal.SIGINT)).start()
    words = ["verify", "--layers", "100", "300", "10", "--samples", "50", "--activation", "tanh"]
    words += ["--claims", "limit", "equality", "--steps", "10000000"]
    report = tmp_path / "report.json"
    assert main([*words, "--report", str(report)]) == 130
    error = capsys.readouterr().err
    assert error.startswith("equiprop verify: interrupted: [verify] interrupted in the claim")
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_left_out(capsys: Any) -> None:
    words = ["verify", "--layers", 3, 4, 2, "--activation", "tanh", "--time-limit", 1e-6]
    text = run(capsys, *words, "--claims", "limit", status=1)
    assert "limit: left out, because the time limit of 1e-06 s was reached before it began" in text
    assert text.endswith("No claim was checked, on 1 model. 1 claim was left out: the time was up.\n")


@pytest.mark.parametrize("limit", [0, -1.0, np.nan, np.inf])
def test_a_limit_is_positive(limit: float) -> None:
    with pytest.raises(ValueError, match=r"\[certify\] time_limit is a positive number .* Received"):
        verify.certify(Valley(), X, Y, time_limit=limit)


def test_loops_show_the_remaining_time(capsys: Any) -> None:
    with progress_lines("orders", True) as end:
        for _ in tracked(range(4)):
            time.sleep(0.3)
        end("holds")
    error = capsys.readouterr().err
    assert re.match(r"\rorders: \.\.\.\rorders: \d of 4, about \d s left in this loop", error)
    assert error.split("\r")[-1].startswith("orders: holds, ")
    assert error.endswith("\n")


class Large(TanhHopfield):
    """A dense Hopfield energy in NumPy with its derivative by the parameters."""

    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        r = np.tanh(s)
        return np.concatenate([-(r.T @ r / 2).ravel(), -(r.T @ x).ravel()])


class Counting(Large):
    calls = 0

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        self.calls += 1
        return super().gradient(x, s)


#: Numbers of units of models that count as large; for the quick ones, the bound of `frugal` is lowered.
LARGE = [40, pytest.param(320, marks=pytest.mark.slow)]


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch, units: int) -> None:
    monkeypatch.setattr("equiprop.verify.frugal._CHEAP", units**2)


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize("units", LARGE)
def test_large_models_in_python_are_checked_with_less_work(units: int) -> None:
    """The number of gradients is a tenth of that with the settings of small models."""
    model, x = Counting(units), np.random.default_rng(1).normal(size=(1, 10))
    certificate = verify.certify(model, x, 0.1 * x)
    assert certificate.passed, str(certificate)
    assert model.calls < 25_000
    (case,) = certificate.cases
    assert case.problem is not None
    assert set(frugal(case.problem)) <= set(verify.CLAIMS)
    equality = next(report for report in case.reports if report.name == "equality")
    assert equality.settings["steps"] == 30
    assert frugal(verify.prepare("test", Valley(), X, Y, eq.SquaredError(), None)) == {}


class FlippedBlock(Large):
    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        slopes = super().parameter_gradient(x, s)
        slopes[self.num_units**2 :] *= -1
        return slopes


class ScaledGradient(Large):
    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return 1.001 * super().gradient(x, s)


class Skewed(Large):
    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        weights, drive = self.matrices
        r = np.tanh(s)
        return s - (1 - r**2) * (r @ weights + x @ drive.T)


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize("units", LARGE)
@pytest.mark.parametrize("kind", [FlippedBlock, ScaledGradient, Skewed])
def test_less_work_finds_the_faults_of_large_models(kind: type[Large], units: int) -> None:
    x = np.random.default_rng(1).normal(size=(1, 10))
    certificate = verify.certify(kind(units), x, 0.1 * x, claims=["derivatives", "gradients"])
    assert [report.outcome for report in certificate.cases[0].reports] == ["fails", "fails"]


class SlowField(eq.VectorField):
    """ds/dt = x - theta s in each unit, whose velocity takes 1 ms."""

    def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        time.sleep(1e-3)
        return x - self.parameters * s


def slow_device(theta: np.ndarray) -> eq.BlackBox:
    """Return a linear device whose relaxations take 5 ms: E = theta s^2 / 2 - x s, C = (s - y)^2 / 2."""

    def relax(x: np.ndarray, beta: float, y: np.ndarray) -> np.ndarray:
        time.sleep(5e-3)
        return np.stack([np.zeros_like(x), (x + beta * y) / (theta + beta)])

    return eq.BlackBox(relax, lambda _, s: (s**2 / 2).sum(axis=0), theta, num_outputs=2)


RECORDED = {beta: np.zeros((400, 1, 3)) for beta in (0.05, -0.05)}
#: The settings of each claim on the model `Ending`, and a part that is left out if its last call hangs.
LONG: dict[str, tuple[dict[str, Any], str]] = {
    "derivatives": ({"max_parameters": 5}, "batches"),
    "equivalence": ({"steps": 100}, "what follows the figures above"),
    "limit": ({}, "complex step"),
    "orders": ({"betas": (0.1, 0.05), "points": (2,)}, "holomorphic 2 at beta = 0.05"),
    "surrogate": ({"max_differences": 1}, "gradient of C"),
    "discrete_time": ({"steps": 10}, "energy-based"),
    "gradients": ({"max_differences": 2}, "central finite differences"),
    "bounded": ({"betas": (0.01, 0.1)}, "beta = 0.1"),
    "unconverged": ({"steps": (10, 20)}, "20 steps"),
    "projected_cost": ({"steps": (0, 5), "max_differences": 2}, "step 5"),
    "traces": ({"trajectories": RECORDED, "step_size": 0.1, "tolerance": 1.0}, "all figures"),
}


class Ending(Valley):
    """A model that sends SIGINT, or hangs for three seconds, at one of its calls."""

    calls, end, hang = 0, -1, -1

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls == self.end:
            signal.raise_signal(signal.SIGINT)
        if self.calls == self.hang:
            time.sleep(3)
        return super().gradient(x, s)


@pytest.mark.parametrize("name", LONG)
def test_every_claim_ends_at_its_limit_and_says_what_it_left_out(name: str, capsys: Any) -> None:
    settings, part = LONG[name]
    model = Ending()
    problem, check, kept = (
        verify.prepare("test", model, X, Y, eq.SquaredError(), None),
        getattr(verify, name),
        model.parameters.copy(),
    )
    check(problem, **settings)  # fills what a problem computes once
    begun, begin = model.calls, time.monotonic()
    check(problem, **settings)
    limit = 0.3 + 2 * (time.monotonic() - begin)
    model.hang = 2 * model.calls - begun - (50 if name == "traces" else 1)
    begin = time.monotonic()
    report = check(problem, **settings, time_limit=limit, progress=True)
    assert time.monotonic() - begin < limit + 1
    np.testing.assert_array_equal(model.parameters, kept)
    assert not report.passed
    assert report.left_out.startswith(f"The time limit of {limit:g} s was reached, and this was left out: ")
    assert part in report.left_out
    assert report.left_out in str(report)
    assert report.outcome in ("incomplete", "fails")
    assert capsys.readouterr().err.startswith(f"\r{name}: ...")
    json.dumps(report.as_dict())
    with pytest.raises(ValueError, match=r"\[plot\] A picture needs a complete check"):
        report.plot()


@pytest.fixture(scope="module")
def resting() -> verify.Problem:
    return verify.prepare("test", Slow(), X, Y, eq.SquaredError(), None)


def test_an_incomplete_check_keeps_the_figures_that_are_finished(
    resting: verify.Problem, tmp_path: Path
) -> None:
    report = verify.gradients(resting, time_limit=1.0)
    assert report.outcome == "incomplete"
    assert "IS INCOMPLETE" in str(report)
    assert report["EqProp, exact_limit"] < 1e-10
    report.save(tmp_path / "report.json")
    replayed = verify.replay(tmp_path / "report.json")
    assert replayed.identical, str(replayed)
    assert list(replayed.certificate.cases[0].left_out) == ["gradients"]
    assert verify.limit(resting, time_limit=60).passed


def test_claims_on_fields_and_devices_end_at_their_limit(tmp_path: Path) -> None:
    field = SlowField(2, 1, np.array([1.0, 2.0]), num_inputs=2)
    problem = verify.prepare("test", field, X, [[0.2]], eq.SquaredError(), None)
    report: Any = verify.asymmetry(problem, time_limit=0.1)
    assert "this was left out" in report.left_out
    theta = np.array([2.0, 3.0])
    for options in ({}, {"repeats": 40}):
        report = verify.black_box(slow_device(theta), X, Y, time_limit=0.2, **options)
        assert "this was left out" in report.left_out
        np.testing.assert_array_equal(theta, [2.0, 3.0])
    report.save(tmp_path / "device.json")
    replayed = verify.replay(tmp_path / "device.json")
    assert replayed.identical, str(replayed)
    assert not replayed.certificate.passed


def test_a_limit_in_the_free_phase_is_an_error() -> None:
    for check in (verify.limit, verify.derivatives, verify.certify):
        with pytest.raises(TimeoutError, match=r"The time limit of 0.02 s was reached in the free phase"):
            check(Slow(), X, Y, time_limit=0.02)


@pytest.mark.parametrize("name", ["derivatives", "gradients", "surrogate", "projected_cost"])
def test_an_interrupted_claim_changes_no_parameter(name: str) -> None:
    model = Ending()
    problem = verify.prepare("test", model, X, Y, eq.SquaredError(), None)
    check, kept = partial(getattr(verify, name), **LONG[name][0]), model.parameters.copy()
    check(problem)  # fills what a problem computes once
    begun = model.calls
    whole = check(problem)
    for call in np.linspace(1, model.calls - begun - 1, 9).astype(int):
        model.end = model.calls + int(call)
        with pytest.raises(KeyboardInterrupt, match=rf"\[{name}\] interrupted; finished figures: "):
            check(problem)
        np.testing.assert_array_equal(model.parameters, kept)
    assert [row.value for row in check(problem).rows] == [row.value for row in whole.rows]
