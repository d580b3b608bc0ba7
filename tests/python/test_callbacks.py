"""Callbacks see start, steps, epochs and end of a training; loggers lose no row and repeat none."""

from __future__ import annotations

import copy
import csv
import errno
import json
import math
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import row_logger
from equiprop.callbacks import Callback, CSVLogger, JSONLinesLogger, TensorBoardLogger
from event_files import board_rows
from groups import ThreadGroup, together
from networks import chain

pytestmark = pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")  # random labels

R = np.random.default_rng(0)
DATA = eq.Dataset(R.random((50, 4)), R.integers(0, 3, 50))
STEPS = 5  # of an epoch


def new(*callbacks: Any, **options: Any) -> eq.Trainer:
    return eq.Trainer(chain(), optimizer=eq.Adam(0.01), batch_size=10, callbacks=callbacks, **options)


class Recorder(Callback):
    def __init__(self, fail: str = "", error: BaseException | None = None) -> None:
        self.seen: list[Any] = []
        self.fail, self.error = fail, error

    def _see(self, name: str, trainer: eq.Trainer, what: Any = None) -> None:
        self.seen.append((name, trainer.steps, what))
        if name == self.fail and self.error is not None:
            raise self.error

    def on_start(self, trainer: eq.Trainer) -> None:
        self._see("start", trainer)

    def on_step(self, trainer: eq.Trainer, metrics: Any) -> None:
        self._see("step", trainer)

    def on_epoch(self, trainer: eq.Trainer, epoch: eq.Epoch) -> None:
        self._see("epoch", trainer)

    def on_end(self, trainer: eq.Trainer, status: str) -> None:
        self._see("end", trainer, status)


def test_a_callback_sees_start_steps_epochs_and_end() -> None:
    recorder = Recorder()
    new(recorder).fit(DATA, epochs=2)
    steps = [("step", k, None) for k in range(1, 11)]
    expected = [("start", 0, None), *steps[:5], ("epoch", 5, None), *steps[5:], ("epoch", 10, None)]
    assert recorder.seen == [*expected, ("end", 10, "finished")]


class Stop(Callback):
    def on_epoch(self, trainer: eq.Trainer, epoch: eq.Epoch) -> None:
        trainer.stop()


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), "interrupted"), (ValueError("own"), "failed"), (SystemExit(), "failed")],
)
@pytest.mark.parametrize("event", ["start", "step", "epoch"])
def test_the_end_is_told_with_its_reason(event: str, error: BaseException, status: str) -> None:
    first, failing, last = Recorder(), Recorder(event, error), Recorder()
    with pytest.raises(type(error)):
        new(first, failing, last).fit(DATA, epochs=2)
    assert first.seen[-1][2] == failing.seen[-1][2] == status
    assert [entry[0] for entry in last.seen if event == "start"] == []
    assert event == "start" or last.seen[-1][2] == status


def test_stop_and_early_stopping_are_told_apart() -> None:
    recorder = Recorder()
    new(recorder, Stop()).fit(DATA, epochs=3)
    assert recorder.seen[-1] == ("end", STEPS, "stopped")
    trainer = new(recorder)
    assert len(trainer.fit(DATA, epochs=300, validation=DATA, patience=2)) < 300
    assert recorder.seen[-1][2] == "finished"


def test_a_divergence_is_a_failure_after_the_last_good_parameters_are_back() -> None:
    seen: list[Any] = []

    class End(Callback):
        def on_step(self, trainer: eq.Trainer, metrics: Any) -> None:
            trainer.model.parameters[:] = np.inf

        def on_end(self, trainer: eq.Trainer, status: str) -> None:
            seen.append((status, bool(np.isfinite(trainer.model.parameters).all())))

    with pytest.raises(eq.ConvergenceError):
        new(End()).fit(DATA, epochs=2)
    assert seen == [("failed", True)]


def test_each_end_is_called_if_another_one_fails() -> None:
    first = Recorder()
    with pytest.raises(ValueError, match="own"):
        new(first, Recorder("end", ValueError("own"))).fit(DATA, epochs=1)
    assert first.seen[-1][0] == "end"


def test_a_class_is_no_callback() -> None:
    with pytest.raises(TypeError, match=r"^\[Trainer\] callbacks is a list of functions and of objects"):
        new(Callback)


# ---------------------------------------------------------------------------- loggers


def csv_rows(path: Path) -> list[dict[str, float | None]]:
    with path.open(newline="") as stream:
        rows = csv.DictReader(stream)
        return [{name: float(text) if text else None for name, text in row.items()} for row in rows]


def json_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


def board(*arguments: Any, **options: Any) -> TensorBoardLogger:
    pytest.importorskip("tensorboardX")
    return TensorBoardLogger(*arguments, **options)


KINDS: dict[str, tuple[Any, Any]] = {
    "csv": (CSVLogger, csv_rows),
    "jsonl": (JSONLinesLogger, json_rows),
    "tensorboard": (board, board_rows),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_a_row_has_the_numbers_of_the_epoch_and_more(kind: str, tmp_path: Path) -> None:
    logger, read = KINDS[kind]
    log = logger(tmp_path / "log", more=lambda trainer: {"twice": 2 * trainer.steps})
    records = new(log).fit(DATA, epochs=3, validation=DATA)
    rows = read(tmp_path / "log")
    assert [row["steps"] for row in rows] == [5, 10, 15]
    for row, record in zip(rows, records, strict=True):
        numbers = {**record.as_dict(), "steps": row["steps"], "twice": 2 * row["steps"]}
        assert row == pytest.approx(numbers, rel=1e-6)  # events are in single precision


@kinds
def test_a_row_of_every_second_step_has_its_metrics(kind: str, tmp_path: Path) -> None:
    logger, read = KINDS[kind]
    seen: list[Any] = []
    trainer = new(logger(tmp_path / "log", steps=2), clip=math.inf)
    trainer.step_callbacks = [lambda t, metrics: seen.append(metrics)]
    trainer.fit(DATA, epochs=2)
    rows = read(tmp_path / "log")
    assert [row["steps"] for row in rows] == [2, 4, 6, 8, 10]
    for row, metrics in zip(rows, seen[1::2], strict=True):
        assert row["objective"] == pytest.approx(metrics.objective, rel=1e-6)
        assert row["gradient_norm"] is None or math.isnan(row["gradient_norm"])


class Crash(Exception):
    pass


@kinds
@pytest.mark.parametrize("rows_of", [None, 2])
@pytest.mark.parametrize("end", [5, 8, 10])
@pytest.mark.parametrize("every", [1, 4])
def test_a_training_that_continues_has_the_rows_of_an_uninterrupted_one(
    kind: str, rows_of: int | None, end: int, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, read = KINDS[kind]
    monkeypatch.setattr(row_logger, "_PAUSE", 0.0)  # the rows of all steps are on the disk

    class Crashing(Callback):
        def on_epoch(self, trainer: eq.Trainer, epoch: eq.Epoch) -> None:
            if trainer.steps >= end:
                raise Crash

        def on_step(self, trainer: eq.Trainer, metrics: Any) -> None:
            if trainer.steps == end and end % STEPS:
                raise Crash

    new(logger(tmp_path / "whole", steps=rows_of)).fit(DATA, epochs=3)
    checkpoint = eq.Checkpoint(tmp_path / "c", steps=every)
    with pytest.raises(Crash):
        new(logger(tmp_path / "log", steps=rows_of), Crashing()).fit(DATA, epochs=3, checkpoint=checkpoint)
    if not (tmp_path / "c").exists():
        return
    rest = eq.Trainer.resume(tmp_path / "c")
    rest.callbacks = [logger(tmp_path / "log", steps=rows_of)]
    rest.fit(DATA, epochs=3)
    expected, rows = read(tmp_path / "whole"), read(tmp_path / "log")
    for row in [*expected, *rows]:
        row.pop("seconds", None)
    assert rows == expected


@kinds
def test_a_second_call_of_fit_continues_and_a_new_training_is_refused(kind: str, tmp_path: Path) -> None:
    logger, read = KINDS[kind]
    trainer = new(logger(tmp_path / "log"))
    trainer.fit(DATA, epochs=2)
    trainer.fit(DATA, epochs=1)
    rows = read(tmp_path / "log")
    assert [row["steps"] for row in rows] == [5, 10, 15]
    with pytest.raises(ValueError, match=r"Logger\] A new training writes to a path without rows.*remove it"):
        new(logger(tmp_path / "log")).fit(DATA, epochs=1)
    assert read(tmp_path / "log") == rows


@kinds
@pytest.mark.parametrize("error", [KeyboardInterrupt, Crash])
def test_rows_are_on_the_disk_however_the_training_ends(
    kind: str, error: type[BaseException], tmp_path: Path
) -> None:
    logger, read = KINDS[kind]
    with pytest.raises(error):
        new(logger(tmp_path / "log"), Recorder("epoch", error())).fit(DATA, epochs=2)
    assert [row["steps"] for row in read(tmp_path / "log")] == [5]
    with pytest.raises(error):
        new(logger(tmp_path / "steps", steps=1), Recorder("step", error())).fit(DATA, epochs=2)
    assert [row["steps"] for row in read(tmp_path / "steps")] == [1]


@kinds
def test_a_full_disk_ends_no_training_and_rows_are_written_when_there_is_space(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, read = KINDS[kind]
    plain = new()
    plain.fit(DATA, epochs=4)
    fsync, full = os.fsync, {5, 10}

    class Space(Callback):
        def on_step(self, trainer: eq.Trainer, metrics: Any) -> None:
            monkeypatch.setattr(os, "fsync", refuse if -(-trainer.steps // 5) * 5 in full else fsync)

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    trainer = new(Space(), logger(tmp_path / "log"))
    sentence = r"Logger\] cannot append .*: No space left on device\. Training goes on, and the rows are"
    with pytest.warns(RuntimeWarning, match=sentence) as told:
        trainer.fit(DATA, epochs=4)
    assert len(told) == 1
    np.testing.assert_array_equal(trainer.model.parameters, plain.model.parameters)
    assert [row["steps"] for row in read(tmp_path / "log")] == [5, 10, 15, 20]
    full.update({25, 30})
    with pytest.warns(RuntimeWarning) as told:
        trainer.fit(DATA, epochs=2)
    assert "No space left" in str(told[0].message)
    assert "2 rows are not in" in str(told[1].message)
    assert [row["steps"] for row in read(tmp_path / "log")] == [5, 10, 15, 20]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", b"hello\n", b"\xff\xfe\n", b"[1]\n", b'{"steps": []}\n', b"no end"]
)
def test_a_file_of_something_else_is_refused_and_kept(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Logger\] path is that of a file of this logger, or of a new one"):
        new(KINDS[kind][0](path)).fit(DATA, epochs=1)
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_half_a_line_of_a_killed_process_is_dropped(kind: str, tmp_path: Path) -> None:
    logger, read = KINDS[kind]
    trainer = new(logger(tmp_path / "log"))
    trainer.fit(DATA, epochs=1)
    with (tmp_path / "log").open("a") as stream:
        stream.write('{"steps": 7')
    trainer.fit(DATA, epochs=1)
    assert [row["steps"] for row in read(tmp_path / "log")] == [5, 10]
    (tmp_path / "new").write_text("ste" if kind == "csv" else '{"ste')
    new(logger(tmp_path / "new")).fit(DATA, epochs=1)
    assert [row["steps"] for row in read(tmp_path / "new")] == [5]


@kinds
def test_paths_that_cannot_be_written_are_refused_before_the_first_step(kind: str, tmp_path: Path) -> None:
    trainer = new(KINDS[kind][0](tmp_path / "absent" / "log"))
    with pytest.raises(ValueError, match=r"Logger\] path is in an existing folder\. Received"):
        trainer.fit(DATA, epochs=1)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    wrong = tmp_path / ("file" if kind == "tensorboard" else "folder")
    with pytest.raises(ValueError, match=r"Logger\] (path is that of|folder is not) a file"):
        new(KINDS[kind][0](wrong)).fit(DATA, epochs=1)
    assert trainer.steps == 0


@kinds
def test_two_loggers_with_one_path_are_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    logger = KINDS[kind][0]
    for other in (tmp_path / "log", tmp_path / "link" / "log"):
        with pytest.raises(ValueError, match=r"Logger\] Each logger of a training has a path of its own\. "):
            new(logger(tmp_path / "log"), logger(other, steps=2)).fit(DATA, epochs=1)
    assert not (tmp_path / "log").exists()


@kinds
def test_the_first_of_several_processes_writes(kind: str, tmp_path: Path) -> None:
    logger, read = KINDS[kind]

    def train(group: ThreadGroup) -> None:
        new(logger(tmp_path / "log"), shards=2).fit(DATA, epochs=2, group=group)

    together(2, train)
    assert [row["steps"] for row in read(tmp_path / "log")] == [5, 10]


@kinds
def test_numbers_of_ones_own_have_names_of_their_own(kind: str, tmp_path: Path) -> None:
    for more, error in (
        (lambda _: {"objective": 1.0}, ValueError),
        (lambda _: 3, TypeError),
        (lambda _: {"a": "b"}, TypeError),
    ):
        with pytest.raises(error, match=r"Logger\] "):
            new(KINDS[kind][0](tmp_path / "log", more=more)).fit(DATA, epochs=1)


def test_the_columns_of_a_table_stay(tmp_path: Path) -> None:
    trainer = new(CSVLogger(tmp_path / "log"))
    trainer.fit(DATA, epochs=1)
    trainer.callbacks = [CSVLogger(tmp_path / "log", more=lambda _: {"own": 1.0})]
    with pytest.raises(ValueError, match=r"\[CSVLogger\] All rows have the columns steps, epoch"):
        trainer.fit(DATA, epochs=1)


@kinds
def test_a_logger_is_copied_with_its_trainer(kind: str, tmp_path: Path) -> None:
    logger, read = KINDS[kind]
    trainer = new(logger(tmp_path / "log"))
    twin = pickle.loads(pickle.dumps(copy.deepcopy(trainer)))
    twin.fit(DATA, epochs=1)
    assert len(read(tmp_path / "log")) == 1


def test_the_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules, "tensorboardX.proto.event_pb2"]:
        if name.startswith("tensorboardX"):
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'equiprop\[tensorboard\]'\.$"):
        TensorBoardLogger(tmp_path)
