"""Callbacks that watch a training: their protocol, and loggers for CSV, JSON lines and TensorBoard.

A logger writes one row for each epoch, or with ``steps=N`` for each N-th step; with ``more`` a row has
further numbers. A row is on the disk after its epoch, also if the training then fails. A training that
continues from a checkpoint continues the file: no row is lost, none is there twice.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import socket
import struct
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from os import PathLike
from typing import Any, ClassVar

from equiprop.checks import require
from equiprop.files import append_bytes, write_bytes
from equiprop.history import Epoch, Metrics
from equiprop.json_text import parse
from equiprop.paths import file_errors
from equiprop.row_logger import Row, RowLogger
from equiprop.watching import Callback as Callback

__all__ = ["CSVLogger", "Callback", "JSONLinesLogger", "TensorBoardLogger"]


class _TextLogger(RowLogger):
    """Logger with one line of text for each row."""

    _first: ClassVar[bytes]  # start of the first line
    _rewritten: str | None = None
    _empty: bool = True

    def begin(self, steps: int, last: int) -> int:
        """Read the file; a last line without an end, which a killed process has left, does not count."""
        where, self._rewritten, self._empty = type(self).__name__, None, True
        with file_errors(self.path, where):
            if not self.path.exists():
                return 0
            require(self.path.is_file(), where, "path is that of a file", repr(str(self.path)))
            content = self.path.read_bytes()
        try:
            text = content[: content.rfind(b"\n") + 1].decode()
            if not text and content[: len(self._first)] != self._first[: len(content)]:
                raise ValueError(content[:20])
            lines = [(count, line) for count, line in self.lines(text) if not steps or count <= last]
        except (ValueError, KeyError, IndexError, TypeError, csv.Error) as error:
            rule = "path is that of a file of this logger, or of a new one"
            raise ValueError(f"[{where}] {rule}. Received '{self.path}', which has other lines.") from error
        kept = "".join(line for _, line in lines)
        self._rewritten, self._empty = None if kept.encode() == content else kept, not lines
        return sum(count >= 0 for count, _ in lines)

    def write(self, rows: Sequence[Row]) -> None:
        """Append the lines of rows; a file that has lines to drop is replaced as a whole."""
        where, empty = type(self).__name__, self._empty
        text = "".join(self.line(row, first=empty and k == 0) for k, row in enumerate(rows))
        if self._rewritten is None:
            append_bytes(self.path, text.encode(), where, "rows")
        else:
            write_bytes(self.path, (self._rewritten + text).encode(), where)
        self._rewritten, self._empty = None, False

    @abstractmethod
    def lines(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield the steps of each row, or -1 for a line that is no row, and its text.

        Errors are those of the parser.
        """

    @abstractmethod
    def line(self, row: Row, first: bool) -> str:
        """Return the text of a row, with the header before the first one."""


class CSVLogger(_TextLogger):
    """Writes a table of comma-separated values with a header.

    The columns are `steps`, the number of steps of the trainer, those of `Epoch` or of `Metrics`, and those
    of `more`.

    Parameters
    ----------
    path : path-like
        File to create, in an existing folder; a training that continues extends it.
    steps : int, optional
        N for a row of each N-th step; None for a row of each epoch.
    more : callable, optional
        Function of the trainer that returns further numbers of a row by name, such as a test error.

    Examples
    --------
    >>> import equiprop as eq, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.csv"
    >>> data = eq.Dataset([[0.0, 1.0], [1.0, 0.0]] * 20, [0, 1] * 20)
    >>> log = eq.callbacks.CSVLogger(path, more=lambda trainer: {"error": trainer.evaluate(data).error})
    >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 2], seed=1), callbacks=[log])
    >>> history = trainer.fit(data, epochs=2)
    >>> print(*[line.split(",")[0] for line in path.read_text().splitlines()])
    steps 1 2
    """

    _first = b"steps,"
    _columns: Sequence[str] = ()

    def lines(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield the header and the rows."""
        self._columns = []
        for number, entries in enumerate(csv.reader(io.StringIO(text, newline=""))):
            if number == 0:
                own = (
                    {f.name for f in fields(Epoch)} if self.steps is None else {*Metrics._fields} - {"advice"}
                )
                require({"steps", *own} <= set(entries), "CSVLogger", "The header has its columns", entries)
                self._columns = entries
            elif len(entries) != len(self._columns):
                raise ValueError(entries)
            yield (int(entries[0]) if number else -1), _csv_line(entries)

    def line(self, row: Row, first: bool) -> str:
        """Return the line of a row, with the header before the first one."""
        if first:
            self._columns = list(row)
        columns = ", ".join(self._columns)
        require([*row] == self._columns, "CSVLogger", f"All rows have the columns {columns}", ", ".join(row))
        return (_csv_line(row) if first else "") + _csv_line(row.values())


def _csv_line(entries: Any) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(entries)
    return stream.getvalue()


class JSONLinesLogger(_TextLogger):
    """Writes one JSON object in each line, with the names of `CSVLogger`; null stands for NaN and infinity.

    Parameters
    ----------
    path : path-like
        File to create, in an existing folder; a training that continues extends it.
    steps : int, optional
        N for a row of each N-th step; None for a row of each epoch.
    more : callable, optional
        Function of the trainer that returns further numbers of a row by name.

    Examples
    --------
    >>> import equiprop as eq, json, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.jsonl"
    >>> log = eq.callbacks.JSONLinesLogger(path, steps=2)
    >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 2], seed=1), batch_size=10, callbacks=[log])
    >>> history = trainer.fit([[0.0, 1.0], [1.0, 0.0]] * 20, [0, 1] * 20, epochs=1)
    >>> [json.loads(line)["steps"] for line in path.read_text().splitlines()]
    [2, 4]
    """

    _first = b'{"steps": '

    def lines(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield the rows."""
        for line in text.splitlines(keepends=True):
            yield int(parse(line)["steps"]), line

    def line(self, row: Row, first: bool) -> str:  # noqa: ARG002
        """Return the line of a row."""
        return json.dumps({name: _or_null(value) for name, value in row.items()}) + "\n"


def _or_null(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class TensorBoardLogger(RowLogger):
    """Writes event files for TensorBoard (extra ``tensorboard``): scalars ``epoch/NAME`` or ``step/NAME``.

    The horizontal axis is the number of steps. A training that continues begins a new file, from which
    TensorBoard knows the steps that are taken again.

    Parameters
    ----------
    folder : path-like
        Folder of the event files of this training, which is created; its parent exists.
    steps : int, optional
        N for the scalars of each N-th step; None for those of each epoch.
    more : callable, optional
        Function of the trainer that returns further numbers by name.

    Examples
    --------
    >>> import equiprop as eq, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "run"
    >>> log = eq.callbacks.TensorBoardLogger(folder)  # doctest: +SKIP
    >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 2]), callbacks=[log])  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        *,
        steps: int | None = None,
        more: Callable[[Any], Mapping[str, float]] | None = None,
    ) -> None:
        super().__init__(folder, steps=steps, more=more)
        _event_format()
        self._file = self.path
        self._head = b""

    def begin(self, steps: int, last: int) -> int:
        """Choose the name of a new event file; the folder counts as a row if it has other ones."""
        where, names = "TensorBoardLogger", []
        if self.path.exists():
            require(self.path.is_dir(), where, "folder is not a file", repr(str(self.path)))
            with file_errors(self.path, where):
                names = [name for name in os.listdir(self.path) if "tfevents" in name]
        number = f"{os.getpid()}.{len(names)}"
        self._file = (
            self.path / f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{number}"
        )
        self._head = self._record(file_version="brain.Event:2")
        if steps:
            self._head += self._record(step=last + 1, session_log={"status": "START"})
        return len(names)

    def write(self, rows: Sequence[Row]) -> None:
        """Append one event for each row."""
        records = b"".join(map(self._of_row, rows))
        with file_errors(self.path, "TensorBoardLogger", "create"):
            self.path.mkdir(exist_ok=True)
        append_bytes(self._file, self._head + records, "TensorBoardLogger", "events")
        self._head = b""

    def _of_row(self, row: Row) -> bytes:
        kind = "epoch" if self.steps is None else "step"
        numbers = {name: value for name, value in row.items() if name != "steps" and value is not None}
        scalars = [{"tag": f"{kind}/{name}", "simple_value": value} for name, value in numbers.items()]
        return self._record(step=row["steps"], summary={"value": scalars})

    def _record(self, **parts: Any) -> bytes:
        """Return an event as a record of its file: length, checksum, content, checksum."""
        event, checksum = _event_format()
        content = event(wall_time=time.time(), **parts).SerializeToString()
        length = struct.pack("<Q", len(content))
        checks = [struct.pack("<I", checksum(part)) for part in (length, content)]
        return b"".join([length, checks[0], content, checks[1]])


def _event_format() -> tuple[Any, Callable[[bytes], int]]:
    """Return the message of an event, and the checksum of its record."""
    try:
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import masked_crc32c
    except ImportError as error:
        raise ImportError(
            "[equiprop.callbacks] tensorboardX is not installed. Install it with "
            "pip install 'equiprop[tensorboard]'."
        ) from error
    messages: Any = event_pb2
    return messages.Event, masked_crc32c
