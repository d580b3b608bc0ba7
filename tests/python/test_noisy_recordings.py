"""Forms of noisy recordings: several betas, missing states, certificates, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from equiprop import verify
from recorded_devices import BETA, POWER, STEP, device, judged, noisy, recorded_problem, relax, standard_error


@pytest.fixture(scope="module")
def problem() -> verify.Problem:
    return recorded_problem()


def test_several_betas_and_missing_states(problem: verify.Problem) -> None:
    rng = np.random.default_rng(8)
    for kind in ("true", "flipped"):
        paths = {}
        for beta in (0.02, 0.05, -0.1):
            paths[beta] = noisy(device(problem, kind, 0.0, beta), 1e-3, rng, 2)
            paths[beta][rng.random(paths[beta].shape) < 0.3] = np.nan
        report = judged(problem, paths)
        assert report.passed == (kind == "true"), str(report)
        assert "all betas: response over that of the model" in str(report)
        if kind == "true":
            assert report["beta = -0.1: S~ over -D S-bar"] == pytest.approx(1, abs=0.1)
        recorded = sum(int((~np.isnan(path)).sum()) for path in paths.values())
        assert report["recorded numbers"] == recorded


def test_nothing_that_was_not_recorded_counts(problem: verify.Problem) -> None:
    """Units that were not recorded give what a recording of the others gives."""
    recorded = noisy(relax(problem), 1e-3, np.random.default_rng(9))
    recorded[:, :, :6] = np.nan
    report = judged(problem, recorded, noise=1e-3)
    assert report.passed
    wide = recorded.copy()
    wide[:, :, 0] = np.nan
    assert judged(problem, wide, noise=1e-3).rows == report.rows
    square = float(np.nansum((recorded - relax(problem)) ** 2)) / 1e-6
    label = f"beta = {BETA:g}: distance from the model's flow, in noises"
    assert report[label] == pytest.approx(np.sqrt(square / (51 * 3)), rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"noise": 0}, {"tolerance": 1e-9}])
def test_states_that_an_exact_recording_lacks_are_not_compared(
    options: dict[str, float], problem: verify.Problem
) -> None:
    rng = np.random.default_rng(3)
    for kind, sentence in {"true": "", "dead": "no response", "flipped": "the opposite sign"}.items():
        path = device(problem, kind, 0.0)
        path[rng.random(path.shape) < 0.2] = np.nan
        report = judged(problem, path, **options)
        assert report.passed == (kind == "true"), str(report)
        assert report["recorded numbers"] == np.count_nonzero(~np.isnan(path))
        assert sentence in " ".join(report.advice)
    overflowed = relax(problem)
    overflowed[31:] = np.nan
    for size in (1e300, np.inf):
        overflowed[30] = size
        report = judged(problem, overflowed, **options)
        assert not report.passed
        assert f"states up to {size:.3g}: it diverged" in report.advice[0]


def test_a_longer_recording_is_compared_to_its_end(problem: verify.Problem) -> None:
    """A recording at another beta that ends earlier cuts nothing off."""
    for size in (0.0, 1e-5):
        rng = np.random.default_rng(4)
        frozen = relax(problem)
        frozen[3:] = frozen[2]
        short = noisy(relax(problem, -BETA)[:3], size, rng, 3)
        assert not judged(problem, {BETA: noisy(frozen, size, rng, 3), -BETA: short}).passed
        assert judged(problem, {BETA: noisy(relax(problem), size, rng, 3), -BETA: short}).passed


@pytest.mark.parametrize(
    ("kind", "options"), [("true", {}), ("true", {"noise": 2e-2}), ("dead", {"noise": 2e-2})]
)
def test_every_figure_has_its_standard_error(
    kind: str, options: dict[str, float], problem: verify.Problem
) -> None:
    """The stated standard errors are those of simulations."""
    rng, path = np.random.default_rng(10), device(problem, kind, 0.0)
    rows = [judged(problem, noisy(path, 2e-2, rng), **options).rows for _ in range(300)]
    for same in zip(*rows, strict=True):
        if same[0].label in ("recorded numbers", POWER) or (options and same[0].label == "noise"):
            continue
        if kind == "dead" and "correlation" in same[0].label:  # the error is that for independent noise
            continue
        stated = np.median([standard_error(row) for row in same])
        assert np.std([row.value for row in same]) == pytest.approx(stated, rel=0.2), same[0].label


def test_certificates_show_and_repeat_the_test(problem: verify.Problem, tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    sizes = np.full(9, 1e-3)
    for name, size, options in (
        ("found", 1e-3, {}),
        ("stated", 1e-3, {"noise": sizes}),
        ("vague", 1.0, {"noise": 1.0, "significance": 0.05}),
        ("exact", 0.0, {}),
    ):
        recorded = noisy(relax(problem), size, rng)
        recorded[3, 0, 2] = recorded[3, 0, 2] if name == "exact" else np.nan
        report = judged(problem, recorded, **options)
        report.save(tmp_path / f"{name}.json")
        again = verify.replay(tmp_path / f"{name}.json")
        assert again.identical, str(again)
        (kept,) = again.certificate.cases[0].reports
        assert kept.outcome == report.outcome == ("inconclusive" if name == "vague" else "holds")


def test_a_changed_recording_in_a_certificate_is_found(problem: verify.Problem, tmp_path: Path) -> None:
    recorded = noisy(relax(problem), 1e-3, np.random.default_rng(12))
    path = tmp_path / "traces.json"
    judged(problem, recorded, noise=1e-3).save(path)
    content = json.loads(path.read_text())
    content["cases"][0]["claims"][0]["settings"]["noise"] = 2e-3
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"traces, settings, noise: changed after"):
        verify.replay(path)


def test_the_page_shows_the_test(problem: verify.Problem, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    recorded = noisy(relax(problem), 1.0, np.random.default_rng(13))
    judged(problem, recorded, noise=1.0).save(tmp_path / "traces.html")
    text = (tmp_path / "traces.html").read_text()
    assert "inconclusive" in text
    assert POWER in text
    assert "array of shape (1, 51, 1, 9)" in text


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"noise": -1e-3}, ValueError, r"\[traces\] noise is 0, a positive number, or one positive number"),
        ({"noise": np.nan}, ValueError, "noise is 0, a positive number"),
        ({"noise": np.inf}, ValueError, "noise is 0, a positive number"),
        ({"noise": np.ones(8)}, ValueError, "for each of the 9 units"),
        ({"noise": np.ones((1, 9))}, ValueError, "for each of the 9 units"),
        ({"noise": np.zeros(9)}, ValueError, "for each of the 9 units"),
        ({"noise": np.ones(50)}, ValueError, r"Received shape \(50,\)"),
        ({"noise": "small"}, TypeError, "`noise` holds real numbers"),
        ({"noise": 1e-3, "tolerance": 1e-3}, ValueError, "Either noise or tolerance is given"),
        ({"significance": 0.0}, ValueError, "significance is between 0 and 0.5"),
        ({"significance": 0.5}, ValueError, "significance is between 0 and 0.5"),
        ({"significance": np.nan}, ValueError, "significance is between 0 and 0.5"),
        ({"significance": "high"}, TypeError, "significance is a number"),
        ({"tolerance": "low"}, TypeError, "tolerance is a number"),
    ],
)
def test_bad_arguments_are_refused(
    options: dict[str, Any], error: type[Exception], words: str, problem: verify.Problem
) -> None:
    with pytest.raises(error, match=words):
        judged(problem, relax(problem), **options)


def test_bad_recordings_are_refused(problem: verify.Problem) -> None:
    with pytest.raises(TypeError, match="trajectories is a mapping of beta"):
        verify.traces(problem, trajectories=[relax(problem)], step_size=STEP)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a beta is a number"):
        judged(problem, {"0.1": relax(problem)})
    infinite = relax(problem)
    infinite[3] = np.inf
    with pytest.raises(
        ValueError, match=r"Recorded states with noise are below 1e\+100, or NaN. Received inf"
    ):
        judged(problem, infinite, noise=1e-3)
    empty = np.full((51, 1, 9), np.nan)
    empty[0] = 0
    with pytest.raises(ValueError, match="Some states after state 0 are recorded"):
        judged(problem, empty, noise=1e-3)
    for path in (empty, np.full((51, 1, 9), np.nan)):
        with pytest.raises(ValueError, match=r"Some states .* Received only NaN for beta = 0\.05"):
            judged(problem, path)


def test_a_step_size_at_which_the_flow_grows_is_refused(problem: verify.Problem) -> None:
    for step_size in (3.0, 50.0, 1e6):
        with pytest.raises(ValueError, match=r"^\[traces\] The model's flow is stable at the step size"):
            verify.traces(problem, trajectories={BETA: relax(problem)}, step_size=step_size)


def test_a_stated_noise_far_below_the_deviation_is_no_overflow(problem: verify.Problem) -> None:
    report = judged(problem, device(problem, "dead", 0.0), noise=1e-90)
    assert report.outcome == "fails"
