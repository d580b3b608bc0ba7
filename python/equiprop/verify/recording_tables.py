"""Tables of recorded states in CSV and NPZ files, whose every number is checked; docs/recordings.md."""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import require
from equiprop.npz_files import read_npz

Floats = NDArray[np.float64]
WHERE = "read_recordings"
#: Columns of a row besides its states; those after the first two are 0 if they are missing.
KEYS = ("beta", "time", "repeat", "sample")
#: Names of the arrays in an NPZ file.
_ARRAYS = (*KEYS, "states", "outputs", "step_size")
_HEADER = (
    "A CSV file has a header with beta, time, optionally repeat and sample, and the states s0, s1 and so on "
    "or the outputs o0, o1 and so on"
)
_NAMES = (
    "An NPZ file has arrays beta, time and either states or outputs (rows, units), optionally repeat, sample "
    "and step_size, and no others"
)
_STATE = "A state is a finite number, NaN or empty"


class Table(NamedTuple):
    """Rows of a file.

    Attributes
    ----------
    file : Path
    keys : (rows, 4) array
        Beta, time, repeat and sample of each row.
    states : (rows, units) array
    lines : (rows,) array, optional
        Number of the line of each row, from 1; None for an NPZ file.
    step_size : float, optional
        The step size in the file.
    """

    file: Path
    keys: Floats
    states: Floats
    lines: NDArray[np.int64] | None = None
    step_size: float | None = None

    def at(self, *rows: int) -> str:
        """Return the places of rows in words."""
        nouns = ("row [", "rows [", "]") if self.lines is None else ("line ", "lines ", "")
        numbers = [row if self.lines is None else self.lines[row] for row in rows]
        return f"{nouns[len(rows) > 1]}{' and '.join(map(str, numbers))}{nouns[2]} of '{self.file}'"

    def require(self, fits: NDArray[np.bool_], rule: str, column: int) -> None:
        """Raise ValueError with the first row whose key in a column does not fit."""
        if not fits.all():
            row = int(np.argmin(fits))
            require(False, WHERE, rule, f"{KEYS[column]} = {self.keys[row, column]:.12g} in {self.at(row)}")


def read_table(file: Path) -> Table:
    """Return the rows of a CSV or NPZ file, with checked numbers.

    Raises
    ------
    ValueError
        If the file has another format, or a number is not allowed; the message says where it is.
    OSError
        If the file cannot be read.
    """
    table = _read_csv(file) if file.suffix == ".csv" else _read_npz(file)
    infinite = np.isinf(table.states).any(axis=1)
    require(not infinite.any(), WHERE, _STATE, f"infinity in {table.at(int(np.argmax(infinite)))}")
    for column in range(len(KEYS)):
        numbers = table.keys[:, column]
        table.require(np.isfinite(numbers), "beta, time, repeat and sample are finite numbers", column)
        if column == 0:
            table.require(numbers != 0, "beta is not 0", column)
            continue
        table.require(numbers >= 0, "repeat, sample and time are not negative", column)
        if column > 1:
            table.require(numbers == np.round(numbers), "repeat and sample are whole numbers from 0", column)
    return table


def _read_csv(file: Path) -> Table:
    lines, values = [], []
    rows = _rows(file)
    first, header = next(rows, (0, []))
    names = [name.strip() for name in header]
    require(first > 0, WHERE, _HEADER, f"no line in '{file}'")
    units = _units(names, f"line {first} of '{file}'")
    for line, fields in rows:
        place = f"line {line} of '{file}'"
        require(
            len(fields) == len(names), WHERE, f"A row has {len(names)} fields", f"{len(fields)} in {place}"
        )
        values.append([_number(field, name, place) for name, field in zip(names, fields, strict=True)])
        lines.append(line)
    require(len(lines) > 0, WHERE, "A file has one row or more", f"none after the header of '{file}'")
    numbers = np.array(values)
    zero = np.zeros(len(lines))
    keys = [numbers[:, names.index(name)] if name in names else zero for name in KEYS]
    states = numbers[:, [names.index(name) for name in units]]
    return Table(file, np.column_stack(keys), states, np.array(lines))


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each line of a CSV file that is not empty and no comment."""
    content = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", content[: error.start])) + 1
        received = f"the byte {content[error.start]:#04x} in line {line} of '{file}'"
        raise ValueError(f"[{WHERE}] A CSV file is a table in UTF-8. Received {received}.") from error
    for number, row in enumerate(io.StringIO(text, newline=None), start=1):
        if not row.startswith("#") and row.strip():
            yield number, _fields(row, f"line {number} of '{file}'")


def _fields(line: str, place: str) -> list[str]:
    """Return the fields of a line; no number contains a line end, so every line is a row."""
    if '"' not in line:
        return line.rstrip("\n").split(",")
    try:
        (fields,) = csv.reader([line], strict=True)
    except csv.Error as error:
        rule = "A row is one line of fields, separated by commas"
        raise ValueError(f"[{WHERE}] {rule}. Received {error} in {place}.") from error
    return fields


def _units(names: Sequence[str], place: str) -> list[str]:
    """Return the names of the columns of states in the order of the units."""
    found = [name for name in names if re.fullmatch(r"[so]\d+", name)]
    kind = found[0][0] if found else "s"
    expected = [f"{kind}{k}" for k in range(max(1, len(found)))]
    missing = [name for name in ("beta", "time", *expected) if name not in names]
    unknown = [name for name in names if name not in (*KEYS, *expected)]
    twice = [name for name in {*names} if names.count(name) > 1]
    for words, wrong in (("more than one column", twice), ("the column", unknown), ("no column", missing)):
        require(not wrong, WHERE, _HEADER, f"{words} {reprlib.repr(', '.join(wrong))} in {place}")
    return expected


def _number(field: str, name: str, place: str) -> float:
    text = field.strip()
    if not text:
        return math.nan
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    plain = "_" not in text and text.isascii() and not math.isinf(number)  # float reads 1_1 and other digits
    require(
        plain,
        WHERE,
        _STATE if name not in KEYS else "A key is a finite number",
        f"{name} = {reprlib.repr(text)} in {place}",
    )
    return number


def _read_npz(file: Path) -> Table:
    arrays = read_npz(file, WHERE)
    present = [name for name in ("states", "outputs") if name in arrays]
    complete = len(present) == 1 and {"beta", "time"} <= set(arrays) <= set(_ARRAYS)
    received = f"{', '.join(sorted(arrays)) or 'none'} in '{file}'"
    require(complete, WHERE, _NAMES, received)
    numbers = {name: _floats(array, name, file) for name, array in arrays.items()}
    states, step = numbers[present[0]], numbers.get("step_size")
    shape = f"{present[0]} of shape {states.shape} in '{file}'"
    require(states.ndim == 2 and states.size > 0, WHERE, _NAMES, shape)
    for name in KEYS:
        found = numbers.setdefault(name, np.zeros(len(states))).shape
        rule = f"{name} has one number for each of {len(states)} rows"
        require(found == states.shape[:1], WHERE, rule, f"shape {found} in '{file}'")
    if step is not None:
        require(step.size == 1, WHERE, "step_size is one number", f"shape {step.shape} in '{file}'")
    keys = np.column_stack([numbers[name] for name in KEYS])
    return Table(file, keys, states, None, None if step is None else step.item())


def _floats(array: NDArray[Any], name: str, file: Path) -> Floats:
    rule = f"{name} holds real numbers"
    require(array.dtype.kind in "biuf", WHERE, rule, f"the type {array.dtype} in '{file}'")
    with np.errstate(over="ignore"):  # of longdouble; the check of infinity follows
        return array.astype(np.float64)
