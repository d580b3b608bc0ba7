"""Folder of a training run: its files, who may write to it, and how a new run replaces an old one."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equiprop.checkpoint import save
from equiprop.checkpointing import lock_checkpoint, lock_of
from equiprop.checks import require
from equiprop.files import Lock, append_line, move, remove_leftovers, write_text
from equiprop.json_text import parse
from equiprop.models import HopfieldNetwork

#: Files of a run. The last one to be written is result.json: a run without it is not finished.
SETTINGS, HISTORY, CHECKPOINT, MODEL = (
    "settings.json",
    "history.jsonl",
    "checkpoint.safetensors",
    "model.safetensors",
)
LAST_GOOD, LOG, RESULT = "last-good.safetensors", "log.txt", "result.json"
CURVE, RELAXATION = "learning_curve.png", "relaxation.png"
FILES = (SETTINGS, HISTORY, CHECKPOINT, MODEL, LAST_GOOD, LOG, CURVE, RELAXATION, RESULT)
#: Start of a line of the log with a warning.
WARNING = "warning: "
#: Folder, inside that of an earlier run, of a run that will replace it.
_REPLACEMENT = "unfinished"


class RunFolder:
    """The folder of a run; nothing is written before `start`.

    Parameters
    ----------
    folder : Path
        The folder; a missing one is created.
    numbered : bool
        If True, the run gets the first folder that does not exist of ``folder-1``, ``folder-2``, ...
    overwrite : bool
        If True and the folder holds a run, the new run is written to a folder inside it, and replaces the
        earlier one when it is complete.

    Raises
    ------
    ValueError
        If the folder holds a run and `overwrite` is False, or if it cannot be created or written to.
    """

    def __init__(self, folder: Path, *, numbered: bool = False, overwrite: bool = False) -> None:
        self.folder: Path = folder
        self._numbered = numbered
        _check_writable(folder.parent if numbered else folder)
        if not numbered and not overwrite:
            _check_free(folder)
        self.work: Path = folder / _REPLACEMENT if overwrite and _holds_run(folder) else folder
        self.started: bool = False
        self.completed: bool = False
        self._lock: Lock | None = None

    @classmethod
    def existing(cls, folder: Path) -> RunFolder:
        """Return the folder of a run that is not finished, locked.

        If all that was missing is that files of a complete run replace those of an earlier one, they do so
        now, and `completed` is True.

        Raises
        ------
        ValueError
            If there is no such run, or another process writes to the folder.
        OSError
            If a file cannot be moved.
        """
        rule, received = "--resume is the folder of a run that is not finished", repr(str(folder))
        require(folder.is_dir(), "train", rule, f"{received}, which is not a folder")
        run = cls(folder, overwrite=True)
        run._lock = _lock(folder)
        try:
            run.completed = run._finish_replacement()
            places = (folder / _REPLACEMENT, folder)
            run.work = next((place for place in places if (place / SETTINGS).exists()), folder)
            known = (run.work / SETTINGS).exists()
            require(known, "train", rule, f"{received}, which has no {SETTINGS}")
            open_ended = run.completed or not (run.work / RESULT).exists()
            require(open_ended, "train", rule, f"{received}, whose run is finished")
        except BaseException:
            run.close()
            raise
        return run

    def start(self, settings: Mapping[str, Any]) -> None:
        """Create and lock the folder of a new run, and write its settings.

        Raises
        ------
        ValueError
            If another process writes to the folder.
        OSError
            If a file cannot be written.
        """
        if self._numbered:
            self.folder = self.work = _numbered(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.folder)
        self._finish_replacement()
        if self.work != self.folder:
            self.work.mkdir(exist_ok=True)
            _remove_files(self.work)
        elif not self._numbered:
            _check_free(self.folder)
        try:
            write_text(self.work / SETTINGS, json.dumps(settings, indent=1) + "\n", "train")
        finally:
            self.started = (self.work / SETTINGS).exists()
        write_text(self.work / HISTORY, "", "train")

    def resume(self, epochs: int) -> list[dict[str, Any]]:
        """Return the records of the first epochs of a run that continues; cut the history to them."""
        self.started = True
        path = self.work / HISTORY
        lines = _text(path).splitlines()[:epochs] if path.exists() else []
        records = _objects(path, lines)
        write_text(path, "".join(f"{line}\n" for line in lines), "train")
        return records

    def record(self, epoch: Mapping[str, Any]) -> None:
        """Append an epoch to the history."""
        append_line(self.work / HISTORY, json.dumps(epoch), "train")

    def log(self, line: str) -> None:
        """Append a line to the log, once the run has started; a full disk loses the line, not the run."""
        moved = self.completed and not (self.work / LOG).exists()
        path = (self.folder if moved else self.work) / LOG
        if self.started:
            with contextlib.suppress(OSError), path.open("ab") as stream:
                stream.write(f"{line}\n".encode(errors="backslashreplace"))

    def keep(self, net: HopfieldNetwork, *, good: bool) -> Path:
        """Save the model of a run that ended early; one that failed is not named as a good one is."""
        return save(net, self.work / (MODEL if good else LAST_GOOD))

    def complete(self, result: Mapping[str, Any]) -> None:
        """Write the result, and replace an earlier run.

        Raises
        ------
        OSError
            If a file cannot be written or moved; `finished` says if the run is complete nevertheless.
        """
        (self.work / LAST_GOOD).unlink(missing_ok=True)  # of a failure before the run was resumed
        files = [name for name in FILES if (self.work / name).exists()]
        write_text(self.work / RESULT, json.dumps({**result, "files": files}, indent=1) + "\n", "train")
        self.completed = True
        self._finish_replacement()

    @property
    def finished(self) -> bool:
        """True if the run is complete; its files may still have to replace those of an earlier one."""
        return self.completed or (self.work / RESULT).exists()

    def records(self) -> list[dict[str, Any]]:
        """Return the records of all epochs."""
        path = self.work / HISTORY
        return _objects(path, _text(path).splitlines())

    def result(self) -> dict[str, Any]:
        """Return the result of a complete run."""
        return _result(self.work)

    def _finish_replacement(self) -> bool:
        """Move the files of a complete replacement, also of one whose process was killed meanwhile.

        Returns False if there is none.
        """
        new = self.folder / _REPLACEMENT
        complete = (new / RESULT).exists()
        try:
            if complete:
                self._move_files(new)
        finally:
            if new.is_dir():
                remove_leftovers(new)
                with contextlib.suppress(OSError):  # it is not empty
                    new.rmdir()
        return complete

    def _move_files(self, new: Path) -> None:
        """Move the files of a complete run, of which some may have been moved before."""
        files = _result(new).get("files", FILES)
        for name in FILES:  # the result is the last one
            if (new / name).exists():
                move(new / name, self.folder / name, "train")
            elif name not in files:
                (self.folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Let other processes write to the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def resume_command(self) -> str:
        """Command that continues the run."""
        return f"equiprop train --resume {shlex.quote(str(self.folder))}"


def _result(folder: Path) -> dict[str, Any]:
    path = folder / RESULT
    return _objects(path, [_text(path)])[0]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _objects(path: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the JSON objects of texts of a file; raise ValueError if one of them is damaged."""
    try:
        found = [parse(text) for text in texts]
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not all(isinstance(entry, dict) for entry in found):
        raise _damaged(path, "other values")
    return found


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(f"[train] The files of a run hold JSON objects. Received '{path}': {reason}.")


def _holds_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in (SETTINGS, HISTORY, CHECKPOINT, MODEL, LAST_GOOD, RESULT))


def _check_free(folder: Path) -> None:
    if not _holds_run(folder):
        return
    resumable = (folder / SETTINGS).exists() and not (folder / RESULT).exists()
    kind = "an unfinished run" if resumable else "a finished run"
    go_on = f"--resume {shlex.quote(str(folder))} continues it, " if resumable else ""
    raise ValueError(
        f"[train] --output is a folder without a run. Received {str(folder)!r}, which holds {kind}: {go_on}"
        "--overwrite replaces it when the new run is complete."
    )


def _numbered(folder: Path) -> Path:
    """Create and return the first of folder-1, folder-2, ... that does not exist."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = folder.with_name(f"{folder.name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError


def _remove_files(folder: Path) -> None:
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def _lock(folder: Path) -> Lock:
    """Return the lock of a folder; remove the lock of its checkpoint that a killed process has left.

    Raises
    ------
    ValueError
        If another process writes to the folder, or a training to its checkpoint.
    """
    try:
        lock = Lock(folder)
    except BlockingIOError as error:
        raise ValueError(
            "[train] One process at a time writes to the folder of a run. "
            f"Received {str(folder)!r}, to which another one writes."
        ) from error
    try:
        if lock_of(folder / CHECKPOINT).exists():
            lock_checkpoint(folder / CHECKPOINT).release()
    except BaseException:
        lock.release()
        raise
    return lock


def _check_writable(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        reason = "cannot be written to" if existing.is_dir() else "is a file"
        raise ValueError(
            "[train] --output is a folder that can be created and written to. "
            f"Received {str(folder)!r}, but {str(existing)!r} {reason}."
        )
