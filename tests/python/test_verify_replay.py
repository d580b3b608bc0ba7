"""Replays are equal in every bit, and find every change of a certificate; damaged files raise errors."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from equiprop.verify.comparison import differences
from equiprop.verify.encoding import decode, encode
from equiprop.verify.fingerprints import fingerprints
from equiprop.verify.suite import examine
from networks import chain, inputs, labels


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a certificate of two claims on a small network; a third claim does not apply."""
    net = chain(3, 3, 2, potential="quadratic")
    problem = verify.prepare("test", net, inputs(net, 1), labels(net, 1), eq.SquaredError(), None)
    case = examine(problem, ["derivatives", "equality", "bounded"], {"equality": {"steps": 3}})
    path = tmp_path_factory.mktemp("small") / "report.json"
    verify.Certificate((case,)).save(path)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"nudging": eq.centered(0.01), "tolerance": 1e-2},
        {"nudging": eq.one_sided(-0.01), "tolerance": 0.1, "steps": 7, "step_size": 0.1},
        {"integrator": "runge-kutta"},
    ],
)
def test_settings_are_replayed(options: Any, tmp_path: Path) -> None:
    net = chain(4, 6, 3, potential="quadratic")
    cost = eq.CrossEntropy()
    solver = eq.Euler(tolerance=1e-13, max_iterations=9000, step_size=0.25)
    report = verify.equivalence(net, inputs(net, 2), np.eye(3)[:2], cost=cost, solver=solver, **options)
    report.save(tmp_path / "report.json")
    replayed = verify.replay(tmp_path / "report.json")
    assert replayed.identical, str(replayed)
    (again,) = replayed.certificate.cases[0].reports
    assert isinstance(again, verify.EquivalenceReport)
    assert again.problem.solver == solver
    assert again.settings == report.settings
    np.testing.assert_array_equal(again.state_errors, report.state_errors)


@pytest.mark.parametrize("potential", ["legendre", "quadratic"])
def test_single_and_asymmetric_networks_are_replayed(potential: str, tmp_path: Path) -> None:
    net = chain(4, 6, 5, 3, activation="tanh", potential=potential).variant(feedback="separate")
    net.blocks["B2"][:] *= 1.1
    certificate = verify.certify(
        net, inputs(net, 2), labels(net, 2), claims=["equality", "limit", "asymmetry"]
    )
    assert certificate.passed, str(certificate)
    certificate.save(tmp_path / "report.json")
    assert verify.replay(tmp_path / "report.json").identical


BY_HAND = eq.nudging.Nudging(
    "mine", 0.01, ((((-0.01, -50)), (0.01, 50.0)), ((0.02, 50.0), (0.0, -50.0))), 2**64 - 1
)


@pytest.mark.parametrize(
    "nudging", [eq.exact_limit(), eq.one_sided(-0.02), eq.centered(0.1), eq.random_sign(0.01, 3), BY_HAND]
)
def test_every_nudging_is_replayed(nudging: eq.nudging.Nudging, tmp_path: Path) -> None:
    net = chain(3, 4, 2, potential="quadratic")
    report = verify.equivalence(net, inputs(net, 1), labels(net, 1), nudging=nudging, steps=5, tolerance=1.0)
    report.save(tmp_path / "report.json")
    replayed = verify.replay(tmp_path / "report.json")
    assert replayed.identical, str(replayed)
    assert replayed.certificate.cases[0].reports[0].settings["nudging"] == nudging


LINEAR = [eq.ConjugateGradient(), eq.Richardson(), eq.Neumann(tolerance=0.2), eq.GMRES(max_iterations=7)]


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 0.1, -0.0, np.inf, -np.inf, 1e-320, "text", np.float32(0.1), np.int64(7),
        np.bool_(True),
        0.5 - 2j, complex(np.inf, -0.0), [1, [2.0, "3"]], eq.holomorphic(0.5, 6), BY_HAND, eq.CrossEntropy(),
        eq.Euler(step_size=0.125, anderson=2), eq.BlockUpdate(), eq.FixedPointIteration(damping=0.5), LINEAR,
    ],
)  # fmt: skip
def test_settings_are_stored_to_the_last_bit(value: Any) -> None:
    stored = json.loads(json.dumps(encode(value), allow_nan=False))
    again = decode(stored)
    assert again == value
    assert repr(again) == repr(value.item() if isinstance(value, np.generic) else value)


@pytest.mark.parametrize("dtype", ["float64", ">f4", "int64", "uint8", "bool"])
def test_arrays_are_stored_to_the_last_bit(dtype: str) -> None:
    array = (100 * np.random.default_rng(0).standard_normal((2, 0, 3) if dtype == "bool" else (2, 3))).astype(
        dtype
    )
    again = decode(json.loads(json.dumps(encode(array))))
    assert again.shape == array.shape
    assert again.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize(
    "make",
    [
        lambda net, x, y: verify.derivatives(net),
        lambda net, x, y: verify.derivatives(net, x, state=np.full((2, 5), 0.1), max_parameters=np.int64(4)),
        lambda net, x, y: verify.gradients(net, x, y, betas=[], linear_solvers=[eq.GMRES(tolerance=1e-13)]),
        lambda net, x, y: verify.equivalence(net, x, y, steps=3, tolerance=np.inf),
    ],
    ids=["random input", "own state", "linear solvers", "infinite tolerance"],
)
def test_every_argument_of_a_check_is_replayed(make: Any, tmp_path: Path) -> None:
    net = chain(3, 3, 2, potential="quadratic")
    make(net, inputs(net, 2), labels(net, 2)).save(tmp_path / "report.json")
    replayed = verify.replay(tmp_path / "report.json")
    assert replayed.identical, str(replayed)


def test_a_change_is_seen(small: Path, tmp_path: Path) -> None:
    stored = json.loads(small.read_text())
    stored["environment"]["numpy"] = "0.1"
    del stored["environment"]["threads"]
    stored["cases"][0]["claims"][1]["rows"][0]["value"] *= 1 + 2e-16
    (tmp_path / "changed.json").write_text(json.dumps(stored))
    replayed = verify.replay(tmp_path / "changed.json")
    assert not replayed.identical
    assert len(replayed.differences) == replayed.changed_figures == 1
    assert "equality, states, largest over all steps: was" in str(replayed)
    assert f"1 of {replayed.compared} figures differ\n" in str(replayed)
    assert "numpy was 0.1" in str(replayed)
    assert "threads was None, is" in str(replayed)
    assert "environment, numpy: changed after the certificate was written" in str(replayed)
    assert "environment, threads: removed after the certificate was written" in str(replayed)


def entries(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every object, list and value in a JSON structure, with its path."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        yield (*path, key), child
        yield from entries(child, (*path, key))


def within(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def other(value: Any) -> Any:
    """Return a value with the smallest possible difference."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return np.nextafter(value, np.inf) if value else -value
    return value + 1 if isinstance(value, int) else f"{value} "


def test_no_change_to_a_certificate_goes_unnoticed(small: Path) -> None:
    """Change, remove and add every entry in turn; the comparison names each with its path."""
    good = json.loads(small.read_text())
    assert list(differences(good, copy.deepcopy(good))) == []
    found = list(entries(good))
    assert len(found) > 300
    for path, value in found:
        bad = copy.deepcopy(good)
        parent = within(bad, path[:-1])
        if isinstance(value, dict):
            value = parent[path[-1]]
            value["surprise"] = None
        elif isinstance(value, list):
            parent[path[-1]].append(7)
        else:
            parent[path[-1]] = other(value)
        assert list(differences(bad, good)), path
        assert list(differences(good, bad)), path
        del parent[path[-1]]
        for changes in (differences(bad, good), differences(good, bad)):
            assert list(changes), path


@pytest.mark.parametrize(
    ("recorded", "repeated", "words"),
    [
        ({"rows": [{"label": "a", "value": 1.0}]}, {"rows": []}, "a: only in the file, was {"),
        ({"rows": []}, {"rows": [{"label": "a", "value": 1.0}]}, "a: not in the file, is {"),
        ([{"label": "a"}, {"label": "b"}], [{"label": "b"}, {"label": "a"}], "order: was ['a', 'b'], is"),
        ([{"label": "a"}, {"label": "a"}], [{"label": "a"}], "a (2): only in the file"),
        ({"passed": True}, {"passed": 1}, "passed: was True, is 1"),
        ({"low": 0.0}, {"low": -0.0}, "low: was 0.0, is -0.0"),
        ({"low": 1}, {"low": None}, "low: was 1, is None"),
        ([1.0, 2.0], [1.0, 3.0], "[1]: was 2.0, is 3.0"),
        (1, 2, "the certificate: was 1, is 2"),
    ],
)  # fmt: skip
def test_a_difference_is_named(recorded: Any, repeated: Any, words: str) -> None:
    (difference,) = differences(recorded, repeated)
    assert words in difference.text


def test_whole_numbers_may_be_written_either_way() -> None:
    assert list(differences({"low": 1}, {"low": 1.0})) == []


def first_claim(stored: dict[str, Any]) -> dict[str, Any]:
    claim: dict[str, Any] = stored["cases"][0]["claims"][0]
    return claim


def problem_of(stored: dict[str, Any]) -> dict[str, Any]:
    problem: dict[str, Any] = stored["cases"][0]["problem"]
    return problem


TAMPERED: dict[str, tuple[Any, str]] = {
    "no claims": (lambda c: c["cases"][0].update(claims=[]), "not_asked_for, derivatives: not in the file"),
    "one claim": (lambda c: c["cases"][0]["claims"].pop(), "not_asked_for, equality: not in the file"),
    "no rows": (lambda c: first_claim(c).update(rows=[]), "gradient = dE/ds: not in the file"),
    "one row": (lambda c: first_claim(c)["rows"].pop(), "parameters without effect: not in the file"),
    "a row's name": (lambda c: first_claim(c)["rows"][0].update(label="x"), "derivatives, x: only in"),
    "verdict": (lambda c: c.update(verdict="0 of 2 claims hold."), "verdict: was '0 of 2"),
    "case": (lambda c: c["cases"][0].update(passed=False), "HopfieldNetwork(3-3-2"),
    "claim": (lambda c: first_claim(c).update(passed=False), "derivatives, passed: was False, is True"),
    "limit": (lambda c: first_claim(c)["rows"][0].update(high=9.0), "gradient = dE/ds, high: was 9.0"),
    "advice": (lambda c: first_claim(c).update(advice=["Well done."]), "advice, Well done.: only in"),
    "reason": (lambda c: c["cases"][0]["not_claimed"].update(bounded="too hard"), "bounded: was 'too hard'"),
    "excuse": (lambda c: c["cases"][0]["not_claimed"].update(limit="too hard"), "limit: only in the file"),
    "addition": (lambda c: c.update(signature="notary"), "signature: only in the file"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_certificate_is_not_identical(name: str, small: Path, tmp_path: Path) -> None:
    change, words = TAMPERED[name]
    stored = json.loads(small.read_text())
    change(stored)
    (tmp_path / "bad.json").write_text(json.dumps(stored))
    replayed = verify.replay(tmp_path / "bad.json")
    assert not replayed.identical
    assert replayed.changed_figures == 0
    assert any(words in difference for difference in replayed.differences), str(replayed)
    assert "other entries differ" in str(replayed)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"format": "other"}', '{"format": 3, "cases": 4}', "[" * 10_000]
)
def test_files_that_are_no_certificates_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ValueError, match=r"\[replay\] The file is a certificate saved as JSON"):
        verify.replay(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"equiprop-certificate-3"', '"equiprop-certificate-2"', "its format is 'equiprop-certificate-2'"),
        ('"passed": true', '"passed": NaN', "NaN is not a finite number"),
        ('"passed": true', '"passed": 1e999', "1e999 is not a finite number"),
        ('"passed": true', f'"passed": {"9" * 5000}', "is a whole number of 5000 digits"),
        ('"passed": true', '"passed": true, "passed": true', "the entry 'passed' occurs twice"),
        ('"passed": true', '"passed": "yes"', "passed is true or false, and not 'yes'"),
        ('"note": ""', '"note": 3', "cases[0].claims[0].rows[0].note is text, and not 3"),
        ('"not_claimed": {', '"surprise": {', "cases[0].not_claimed is missing"),
        ('"low": null', '"low": []', "claims[0].rows[0].low is a number or text or null, and not []"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_by_what_is_wrong(
    old: str, new: str, words: str, small: Path, tmp_path: Path
) -> None:
    text = small.read_text()
    assert old in text
    (tmp_path / "bad.json").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=r"\[replay\] The file is a certificate") as caught:
        verify.replay(tmp_path / "bad.json")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda case: case["problem"].pop("x"),
        lambda case: case["problem"]["x"].update(data="AAAA"),
        lambda case: case["problem"]["x"].update(dtype="|O"),
        lambda case: case["problem"]["x"].update(shape=[10**12, 4]),
        lambda case: case["problem"]["model"].pop("layers"),
        lambda case: case["problem"]["parameters"].update(shape=[3]),
        lambda case: case["problem"].update(cost="os.system"),
        lambda case: case["problem"]["solver"].update(name="Any"),
        lambda case: case["problem"]["solver"].update(surprise=1),
        lambda case: case["claims"][0].update(claim="os.system"),
        lambda case: case["claims"][0].update(settings={"surprise": 1}),
        lambda case: case["claims"][0].pop("rows"),
        lambda case: case.pop("claims"),
    ],
)
def test_damaged_certificates_are_refused_with_a_sentence(damage: Any, small: Path, tmp_path: Path) -> None:
    stored = json.loads(small.read_text())
    damage(stored["cases"][0])
    stored["sha256"] = fingerprints(stored)
    (tmp_path / "damaged.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"^\[\w+\] .* Received "):
        verify.replay(tmp_path / "damaged.json")
