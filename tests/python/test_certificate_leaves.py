"""Every entry of certificates of every kind is changed in every way: each replay notices it, and names it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from equiprop.cli.command import main
from equiprop.verify.fingerprints import fingerprints
from networks import Valley, chain, inputs, labels
from recorded_devices import judged, noisy, recorded_problem, relax

X, Y = np.array([[0.5, -1.0]]), np.array([[0.3, -0.2]])
_REMOVED = object()


def _network(path: Path) -> None:
    net = chain(3, 3, 2, potential="quadratic")
    verify.certify(net, inputs(net, 1), labels(net, 1), claims=["limit", "bounded", "derivatives"]).save(path)


def _single(path: Path) -> None:
    net = eq.HopfieldNetwork([3, 3, 2], dtype="float32", seed=2, activation="tanh")
    verify.limit(net, [[0.2, 0.4, 0.1]], [1], cost=eq.CrossEntropy()).save(path)


def _trained(path: Path) -> None:
    model = path.with_name("run") / "model.safetensors"
    words = [
        "train",
        "digits",
        "--layers",
        "64",
        "3",
        "10",
        "--epochs",
        "1",
        "--output",
        str(path.with_name("run")),
    ]
    assert main(words) == 0
    words = ["verify", "--model", str(model), "--data", "digits", "--samples", "1", "--claims", "limit"]
    assert main([*words, "--report", str(path)]) == 0


def _own(path: Path) -> None:
    verify.certify(Valley(), X, Y, claims=["limit", "asymmetry"]).save(path)


def _failed(path: Path) -> None:
    net = chain(3, 3, 2, potential="quadratic")
    nudging = eq.one_sided(0.1)
    verify.equivalence(net, inputs(net, 1), labels(net, 1), nudging=nudging, steps=1).save(path)


def _traces(path: Path) -> None:
    problem = recorded_problem()
    judged(problem, noisy(relax(problem, steps=9), 1e-3, np.random.default_rng(0)), noise=1e-3).save(path)


def _device(path: Path) -> None:
    theta = np.array([1.0, 2.0])

    def settle(x: Any, beta: float, y: Any) -> Any:
        end = (x + beta * np.array([[0, 1]]) * y) / (theta + beta * np.array([[0, 1]]))
        return np.stack([np.zeros_like(end), end, end])

    box = verify.BlackBox(settle, lambda x, s: (s**2 / 2).sum(axis=0), theta, num_outputs=1)
    verify.black_box(box, [[0.4, 0.7]], [[0.2]]).save(path)


KINDS: dict[str, Callable[[Path], None]] = {
    "network": _network, "single precision": _single, "trained by the command": _trained,
    "own energy": _own, "claim that fails": _failed, "recordings": _traces, "device": _device,
}  # fmt: skip


@pytest.fixture(scope="module", params=list(KINDS))
def content(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("leaves") / "report.json"
    KINDS[request.param](path)
    replayed = verify.replay(path)
    assert replayed.identical, str(replayed)
    return json.loads(path.read_text())


def entries(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every object, list and value of a JSON structure, with its path."""
    yield path, value
    children: Any = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield from entries(child, (*path, key))


def changed(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every change of a value: its kind, and the new value."""
    if isinstance(value, bool):
        yield "inverted", not value
    elif isinstance(value, int | float):
        yield "next number", np.nextafter(value, math.inf) if isinstance(value, float) else value + 1
        yield "huge number", 10**30
        yield "text", "1"
    elif isinstance(value, str):
        yield "longer text", value + " "
        yield "no text", "" if value else "x"
        yield "number", 3
    elif value is None:
        yield "number", 0
    elif isinstance(value, list):
        yield "emptied", [] if value else [7]
        yield "doubled", [*value, *value] if value else [{}]
        if value != value[::-1]:
            yield "reversed", value[::-1]
    else:
        yield "emptied", {} if value else {"surprise": 1}
        yield "added", {**value, "surprise": None}
    if value is not None:
        yield "null", None
    yield "removed", _REMOVED


def with_change(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    bad = copy.deepcopy(content)
    if not path:
        return value
    parent = bad
    for key in path[:-1]:
        parent = parent[key]
    if value is _REMOVED:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return bad


def replay_of(content: Any, folder: Path) -> tuple[bool, str]:
    """Return False if a replay notices a change and ends with a sentence, and everything that it says."""
    file = folder / "changed.json"
    file.write_text(json.dumps(content))
    try:
        replayed = verify.replay(file)
    except ValueError as error:
        return not str(error).startswith("["), str(error)
    return replayed.identical, "\n".join([*replayed.alterations, *replayed.differences])


def names_of(content: Any, path: tuple[Any, ...]) -> list[str]:
    """Return the names by which a sentence may call an entry: its key, that of an object around or in it."""
    names, value = [], content
    for key in path:
        value = value[key]
        names += [key] if isinstance(key, str) else []
        names += _own_names(value)
    given = [path[k + 1] for k, key in enumerate(path[:-1]) if key in ("settings", "problem")]
    names = [*names[-4:], *given, "surprise"]
    inside = value if isinstance(value, dict) else {}
    for entry in value if isinstance(value, list) else ():
        names += _own_names(entry)
    return [*names, *inside]


def _own_names(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return []
    return [str(value[key]) for key in ("network", "claim", "label") if isinstance(value.get(key), str)]


def some(changes: Iterator[tuple[str, Any]], number: int, every: bool) -> list[tuple[str, Any]]:
    """Return all changes of an entry, or one of them, another one for the next entry."""
    found = list(changes)
    return found if every else [found[number % len(found)]]


#: One change of each entry; in the slow tests, all of them.
EACH = [False, pytest.param(True, marks=pytest.mark.slow)]


@pytest.mark.filterwarnings("ignore")  # a changed number may be one that does not converge
@pytest.mark.parametrize("every", EACH)
def test_no_change_of_an_entry_goes_unnoticed(content: Any, tmp_path: Path, every: bool) -> None:
    tried, unnoticed, unnamed = 0, [], []
    for number, (path, value) in enumerate(entries(content)):
        for kind, other in some(changed(value), number, every):
            if not path and other is _REMOVED:
                continue
            tried += 1
            identical, text = replay_of(with_change(content, path, other), tmp_path)
            if identical:
                unnoticed.append((path, kind))
            if path and not any(name in text for name in names_of(content, path)):
                unnamed.append((path, kind, text))
    assert unnoticed == []
    assert unnamed == []
    assert tried > (300 if every else 100)


#: Entries that describe the place and the time, and entries that are the input of the checks. No repetition
#: can contradict them; only their digests show a change.
GIVEN = ("date", "environment", "repeat_with", "sha256", "settings", "problem", "left_out")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("every", EACH)
def test_results_with_new_digests_are_contradicted_by_the_repetition(
    content: Any, tmp_path: Path, every: bool
) -> None:
    """Verdicts, bounds, figures, series, advice and reasons: changes are noticed without digests."""
    device = content["cases"][0]["problem"] is None
    tried, unnoticed = 0, []
    for number, (path, value) in enumerate(entries(content)):
        given = any(key in GIVEN for key in path) or not path
        if given or (device and not {"passed", "verdict", "statement", "format"} & set(path)):
            continue
        for kind, other in some(changed(value), number, every):
            bad = with_change(content, path, other)
            if path[-1] == "claims" and kind == "reversed":  # the caller chooses the order
                continue
            bad["sha256"] = fingerprints(bad)
            tried += 1
            if replay_of(bad, tmp_path)[0]:
                unnoticed.append((path, kind))
    assert unnoticed == []
    assert tried > (50 if every else 15) or device


def test_claims_that_were_taken_out_are_missed(content: Any, tmp_path: Path) -> None:
    claims = content["cases"][0]["claims"]
    for k, claim in enumerate(claims):
        bad = with_change(content, ("cases", 0, "claims", k), _REMOVED)
        identical, text = replay_of(bad, tmp_path)
        assert not identical
        assert claim["claim"] in text
    swapped = with_change(content, ("cases", 0, "claims"), claims[::-1])
    assert replay_of(swapped, tmp_path)[0] == (len(claims) == 1)
