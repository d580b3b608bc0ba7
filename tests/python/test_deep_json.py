"""JSON that is nested too deeply is refused with one sentence, wherever a file contains it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import equiprop as eq
import numpy as np
import pytest
from commands import Capture
from equiprop.cli import main
from equiprop.cli.run_folder import RunFolder
from equiprop.cli.run_reader import read_run
from equiprop.json_text import DEEPEST, parse
from equiprop.safetensors import read_safetensors, write_safetensors

DEPTHS = (DEEPEST + 1, 900, 5000, 30_000)
WORDS = "it is nested too deeply"
#: A number of the network's file that a text of lists replaces.
_PLACE = 987_654_321


def nested(depth: int) -> str:
    """Lists and objects in turn."""
    pairs = [("[", "]") if level % 2 else ('{"a":', "}") for level in range(depth)]
    return "".join(first for first, _ in pairs) + "1" + "".join(last for _, last in reversed(pairs))


def test_levels_are_counted() -> None:
    assert parse("7") == 7
    parse(nested(DEEPEST))
    for depth in DEPTHS:
        with pytest.raises(ValueError, match=f"{WORDS}, in more than {DEEPEST} levels"):
            parse(nested(depth))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64", seed=1)
    path = tmp_path_factory.mktemp("certificate") / "limit.json"
    eq.verify.limit(net, [[0.1, 0.5, 0.9, 0.3]], [2]).save(path)
    return dict(json.loads(path.read_text()))


def _with(place: str, certificate: dict[str, object], text: str) -> str:
    content = json.loads(json.dumps(certificate))
    target = content if place == "top" else content["cases"][0]["claims"][0]["settings"]
    target["more"] = _PLACE
    return json.dumps(content).replace(str(_PLACE), text)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("place", ["top", "settings"])
def test_certificates(
    depth: int, place: str, certificate: dict[str, object], tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "deep.json"
    path.write_text(_with(place, certificate, nested(depth)))
    with pytest.raises(ValueError, match=r"^\[replay\] .* Received .*deep\.json': " + WORDS):
        eq.verify.replay(path)
    assert main(["verify", "--replay", str(path)]) == 2
    error = capsys.readouterr().err
    assert WORDS in error
    assert "Traceback" not in error


@pytest.mark.parametrize("place", ["top", "settings"])
def test_the_deepest_certificate_that_is_read_is_compared(
    place: str, certificate: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "deep.json"
    path.write_text(_with(place, certificate, nested(DEEPEST - 10)))
    if place == "top":
        assert not eq.verify.replay(path).identical
    else:
        with pytest.raises(ValueError, match=r"^\[replay\] .* settings, more: added after"):
            eq.verify.replay(path)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_settings(depth: int, suffix: str, tmp_path: Path, capsys: Capture) -> None:
    if suffix == ".toml" and sys.version_info < (3, 11):
        pytest.skip("Python 3.11 or later reads TOML")
    path = tmp_path / f"deep{suffix}"
    path.write_text(nested(depth) if suffix == ".json" else f"layers = {'[' * depth}{']' * depth}\n")
    assert main(["train", "--config", str(path), "--output", str(tmp_path / "run")]) == 2
    assert WORDS in capsys.readouterr().err


def _changed(path: Path, change: Callable[[dict[str, np.ndarray], dict[str, str]], None]) -> None:
    arrays, metadata = read_safetensors(path)
    change(arrays, metadata)
    write_safetensors(path, arrays, metadata)


@pytest.mark.parametrize("depth", DEPTHS)
def test_models_and_trainers(depth: int, tmp_path: Path) -> None:
    net = eq.HopfieldNetwork([2, 3, 2], seed=1)
    net.classes = ["a", "b"]
    model = eq.save(net, tmp_path / "net.safetensors")
    trainer = eq.save(eq.Trainer(net), tmp_path / "trainer.safetensors")
    deep = nested(depth)
    changes: list[tuple[Path, Callable[[dict[str, np.ndarray], dict[str, str]], None]]] = [
        (model, lambda _, metadata: metadata.update(classes=deep)),
        (model, lambda _, metadata: metadata.update(network=deep)),
        (trainer, lambda _, metadata: metadata.update(network=deep)),
        (trainer, lambda arrays, _: arrays.update(state=np.frombuffer(deep.encode(), np.uint8))),
    ]
    for path, change in changes:
        content = path.read_bytes()
        _changed(path, change)
        with pytest.raises(ValueError, match=r"^\[[\w.]+\] .* Received"):
            eq.load(path)
        path.write_bytes(content)


@pytest.mark.parametrize("depth", DEPTHS)
def test_files_of_runs(depth: int, tmp_path: Path, capsys: Capture) -> None:
    for name in ("settings.json", "history.jsonl", "result.json"):
        (tmp_path / name).write_text(nested(depth) + "\n")
    run = read_run(tmp_path, "run")
    assert run is not None
    assert any("damaged" in fault for fault in run.faults)
    main(["compare", str(tmp_path), str(tmp_path)])
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("text", [nested(900).encode(), b"{", b"[1]", b"\xff"])
def test_a_damaged_file_of_a_run_is_named(text: bytes, tmp_path: Path) -> None:
    for name in ("settings.json", "history.jsonl", "result.json"):
        (tmp_path / name).write_bytes(text + b"\n")
    folder = RunFolder(tmp_path, overwrite=True)
    folder.work = tmp_path
    for read in (folder.records, folder.result, lambda: folder.resume(1)):
        with pytest.raises(ValueError, match=r"^\[train\] The files of a run hold JSON objects\. Received"):
            read()
    assert (tmp_path / "history.jsonl").read_bytes() == text + b"\n"


def test_a_line_of_a_history_that_a_killed_process_left_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"epoch": 1}\n{"epo')
    folder = RunFolder(tmp_path, overwrite=True)
    folder.work = tmp_path
    assert folder.resume(1) == [{"epoch": 1}]
