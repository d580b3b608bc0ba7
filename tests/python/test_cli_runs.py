"""Folders of runs of `equiprop train`: early ends, resumed runs, and runs that replace others."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from commands import Capture, error_of, run
from equiprop import checkpointing
from equiprop.checkpointing import write_trainer
from equiprop.cli import main, train
from equiprop.cli.run_folder import RunFolder
from runs import COMPLETE, DIGITS, Files, contents, ctrl_c, diverge, overflow, same_run, sighup, sigterm

ENDS = [(diverge, 2, "error: [Trainer.step]"), (ctrl_c, 130, "interrupted"), (sigterm, 143, "terminated")]
ENDS.append((sighup, 129, "the terminal was closed"))


@pytest.mark.parametrize(("end", "status", "message"), ENDS)
def test_a_run_that_ends_early_says_how_to_go_on_and_never_touches_a_good_model(
    end: Any,
    status: int,
    message: str,
    trained: Files,
    good: Path,
    capsys: Capture,
    end_at: Callable[..., None],
) -> None:
    end_at(40, end)
    words = [*DIGITS, "--output", good, "--overwrite", "--seed", 1, "--checkpoint-steps", 7]
    told = error_of(capsys, *words, status=status)
    name = "last-good" if status == 2 else "model"
    new = good / "unfinished" / f"{name}.safetensors"
    assert told[0] == (
        f"training was not completed; its model is in {new}; "
        + (f"equiprop train --resume {good} continues it; " if status != 2 else "")
        + f"the earlier run in {good} is unchanged"
    )
    assert told[1].startswith(f"equiprop train: {message}")
    assert (eq.load(new).parameters != eq.HopfieldNetwork([64, 12, 10], seed=1).parameters).any()
    steps = eq.Trainer.resume(good / "unfinished" / "checkpoint.safetensors").steps
    assert steps == (35 if status == 2 else 41)
    assert contents(good) == trained


@pytest.mark.parametrize(("end", "status", "message"), ENDS[1:])
def test_an_interrupted_run_is_resumed_with_the_bits_of_an_uninterrupted_one(
    end: Any,
    status: int,
    message: str,
    trained: Files,
    tmp_path: Path,
    capsys: Capture,
    end_at: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end_at(40, end)
    told = error_of(capsys, *DIGITS, "--output", tmp_path, status=status)
    assert told == [
        f"training was not completed; its model is in {tmp_path}/model.safetensors; "
        f"equiprop train --resume {tmp_path} continues it",
        f"equiprop train: {message}",
    ]
    assert (tmp_path / "history.jsonl").read_text().count("\n") == 1
    eq.load(tmp_path / "model.safetensors")
    monkeypatch.undo()
    run(capsys, "train", "--resume", tmp_path)
    assert sorted(contents(tmp_path)) == COMPLETE
    same_run(contents(tmp_path), trained)


def test_a_resumed_run_starts_at_the_free_states_of_the_interrupted_one(
    tmp_path: Path, capsys: Capture, end_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    words, folders = [*DIGITS, "--free-start", "last"], [tmp_path / name for name in ("whole", "part")]
    run(capsys, *words, "--output", folders[0])
    end_at(40, sigterm)
    error_of(capsys, *words, "--output", folders[1], status=143)
    monkeypatch.undo()
    run(capsys, "train", "--resume", folders[1])
    same_run(contents(folders[1]), contents(folders[0]))


def test_a_signal_before_the_first_step_leaves_nothing(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    monkeypatch.setattr(train, "load_data", sigterm)
    assert error_of(capsys, *DIGITS, "--output", folder, status=143) == ["equiprop train: terminated"]
    assert not folder.exists()


def test_a_second_ctrl_c_ends_a_step_at_once(tmp_path: Path, capsys: Capture, end_at: Any) -> None:
    def twice(trainer: Any) -> None:
        ctrl_c(trainer)
        ctrl_c(trainer)
        pytest.fail("the step went on")

    end_at(40, twice)
    told = error_of(capsys, *DIGITS, "--output", tmp_path, "--checkpoint-steps", 9, status=130)
    assert told[1] == "equiprop train: interrupted"
    assert eq.Trainer.resume(tmp_path / "checkpoint.safetensors").steps == 36


def test_a_failed_run_never_passes_for_a_complete_one(
    tmp_path: Path, capsys: Capture, end_at: Callable[..., None]
) -> None:
    end_at(40, diverge)
    told = error_of(capsys, *DIGITS, "--output", tmp_path)
    assert told[0] == f"training was not completed; its model is in {tmp_path}/last-good.safetensors"
    assert told[1].startswith("equiprop train: error: [Trainer.step]")
    assert sorted(contents(tmp_path)) == [
        "history.jsonl",
        "last-good.safetensors",
        "log.txt",
        "settings.json",
    ]


def test_a_complete_run_replaces_all_of_the_earlier_one_and_nothing_else(
    trained: Files, good: Path, capsys: Capture
) -> None:
    own = {"notes.txt": b"my notes", "last.safetensors": b"my work"}
    for name, content in own.items():
        (good / name).write_bytes(content)
    (good / "relaxation.png").write_bytes(b"of the earlier run")
    run(capsys, *DIGITS, "--output", good, "--overwrite", "--seed", 1)
    after = contents(good)
    assert {name: after.pop(name) for name in own} == own
    assert sorted(after) == COMPLETE
    assert all(after[name] != trained[name] for name in trained)
    assert [path for path in good.iterdir() if path.is_dir()] == []


def test_a_folder_with_a_run_is_not_written_into_without_overwrite(
    trained: Files, good: Path, tmp_path_factory: Any, capsys: Capture, end_at: Callable[..., None]
) -> None:
    (line,) = error_of(capsys, *DIGITS, "--output", good)
    assert line.endswith("which holds a finished run: --overwrite replaces it when the new run is complete.")
    assert contents(good) == trained
    end_at(40, sigterm)
    other = tmp_path_factory.mktemp("other")
    error_of(capsys, *DIGITS, "--output", other, status=143)
    before = contents(other)
    (line,) = error_of(capsys, *DIGITS, "--output", other)
    assert f"which holds an unfinished run: --resume {other} continues it, --overwrite" in line
    assert contents(other) == before


def test_without_output_each_run_gets_a_folder_of_its_own(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        run(capsys, "train", "digits", "--layers", 4, "--epochs", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["equiprop-digits-1", "equiprop-digits-2"]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_replacement_that_was_killed_while_it_moved_its_files_is_completed(
    as_json: bool, trained: Files, good: Path, capsys: Capture, tmp_path_factory: Any
) -> None:
    new = good / "unfinished"
    source = tmp_path_factory.mktemp("x") / "new"
    run(capsys, *DIGITS, "--output", source, "--seed", 1)
    expected = contents(source)
    new.mkdir()
    for name, content in expected.items():  # some files have been moved already
        (good if name in ("history.jsonl", "model.safetensors") else new).joinpath(name).write_bytes(content)
    said = run(capsys, "train", "--resume", good, *(["--json"] if as_json else []))
    assert contents(good) == expected
    assert not new.exists()
    if as_json:
        moved = json.loads(said)
        assert moved["model"] == str(good / "model.safetensors")
        assert moved["history"] == [json.loads(line) for line in expected["history.jsonl"].splitlines()]
    else:
        assert said == f"the run in {good} is complete\n"
    (line,) = error_of(capsys, "train", "--resume", good)
    assert line.endswith("whose run is finished.")


def test_the_model_of_the_lowest_objective_is_kept(
    tmp_path: Path, capsys: Capture, end_at: Callable[..., None]
) -> None:
    words = [*DIGITS, "--schedule", "constant"]
    run(capsys, *words, "--epochs", 1, "--output", tmp_path / "one")
    end_at(40, overflow)
    error_of(capsys, *words, "--output", tmp_path / "failed")
    kept, expected = (
        eq.load(tmp_path / name).parameters
        for name in ("failed/last-good.safetensors", "one/model.safetensors")
    )
    np.testing.assert_array_equal(kept, expected)


def test_the_last_good_model_is_none_that_the_training_had_spoilt_already(
    tmp_path: Path, capsys: Capture
) -> None:
    """Each epoch has one step, so the objective after an epoch is known in the next one alone."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(60, 4))
    rows = np.column_stack([x, x[:, 0] > 0.5]).astype(str)
    table, output = tmp_path / "table.csv", tmp_path / "out"
    table.write_text("\n".join(",".join(row) for row in [[*"abcd", "label"], *rows]))
    words = ["train", table, "--layers", 8, "--optimizer", "sgd", "--epochs", 5, "--output", output]
    told = error_of(capsys, *words, "--learning-rate", 1000, status=2)
    assert told[0] == "training was not completed"
    assert len((output / "history.jsonl").read_text().splitlines()) == 1
    assert not (output / "last-good.safetensors").exists()


def test_a_training_that_really_diverges_leaves_the_good_model(
    trained: Files, good: Path, capsys: Capture
) -> None:
    told = error_of(capsys, *DIGITS, "--output", good, "--overwrite", "--learning-rate", "1e30")
    assert "diverge" in " ".join(told)
    assert contents(good) == trained


@pytest.fixture
def handler() -> Iterator[Any]:
    """A handler of SIGTERM that the program has set before."""
    received: list[int] = []
    kept = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, kept)


def test_a_second_sigterm_does_not_stop_the_saving(
    handler: list[int],
    tmp_path: Path,
    capsys: Capture,
    end_at: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write(*arguments: Any) -> None:
        sigterm(None)
        ctrl_c(None)
        write_trainer(*arguments)

    monkeypatch.setattr(checkpointing, "write_trainer", write)
    end_at(40, sigterm)
    told = error_of(capsys, *DIGITS, "--output", tmp_path, status=143)
    assert told[-1] == "equiprop train: terminated"
    eq.load(tmp_path / "model.safetensors")
    assert handler == []
    sigterm(None)
    assert handler == [signal.SIGTERM]


def test_a_command_runs_in_any_thread(capsys: Capture) -> None:
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(main(["info"])))
    thread.start()
    thread.join()
    assert statuses == [0]


def test_a_run_that_was_ended_after_its_last_step_is_resumed(
    trained: Files, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "complete", full)
        told = error_of(capsys, *DIGITS, "--output", tmp_path)
    assert f"equiprop train --resume {tmp_path} continues it" in told[0]
    assert (tmp_path / "last-good.safetensors").exists()
    assert not (tmp_path / "result.json").exists()
    run(capsys, "train", "--resume", tmp_path)
    assert sorted(contents(tmp_path)) == COMPLETE
    same_run(contents(tmp_path), trained)


@pytest.mark.parametrize("end", [ctrl_c, sigterm])
def test_a_signal_after_the_last_step_lets_the_run_finish(
    end: Any, trained: Files, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = RunFolder.complete

    def ended(folder: RunFolder, result: Any) -> None:
        end(None)
        complete(folder, result)

    monkeypatch.setattr(RunFolder, "complete", ended)
    run(capsys, *DIGITS, "--output", tmp_path)
    assert sorted(contents(tmp_path)) == COMPLETE
    same_run(contents(tmp_path), trained)
