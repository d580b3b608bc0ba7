"""Files of recorded relaxations, as tables with one row for each measured state; docs/recordings.md.

Columns: beta, and optionally repeat and sample (from 0), time, and s0, s1, ... for all units or o0, o1, ...
for the outputs. A CSV file is such a table; an NPZ file has arrays beta, repeat, sample and time (rows,), and
states (rows, units) or outputs (rows, outputs). An empty field, or NaN, is a number that was not recorded.
"""

from __future__ import annotations

import csv
import io
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import as_array
from equiprop.checks import check_flag, check_type, positive, real, require
from equiprop.files import write_bytes
from equiprop.paths import file_errors, path_of

_Floats = NDArray[np.float64]
_WHERE = "read_recordings"
#: Columns of a row besides its states; those after the first two are 0 if they are missing.
_KEYS = ("beta", "time", "repeat", "sample")
#: Largest difference of a time from a multiple of the step size, in steps.
_GRID = 1e-6
#: Largest number of states that a file with few rows may describe.
_LARGEST = 10**8


class Recorded(TypedDict):
    """The arguments of `traces` that a file holds."""

    trajectories: dict[float, _Floats]
    step_size: float


def read_recordings(path: str | os.PathLike[str], *, step_size: float | None = None) -> Recorded:
    r"""Return the recordings of a CSV or NPZ file as arguments of `traces`.

    Times may be irregular: they are multiples of the step size, and states at other multiples are NaN.

    Parameters
    ----------
    path : path-like
        File with the suffix .csv or .npz; docs/recordings.md describes it.
    step_size : float, optional
        Step size in units of the times; needed unless an NPZ file has an array step_size.

    Returns
    -------
    dict
        ``trajectories``, arrays (repeats, steps + 1, batch, units or outputs) by beta, and ``step_size``.

    Raises
    ------
    ValueError
        If the file has another format, or a time is not a multiple of the step size.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "device.csv"
    >>> _ = path.write_text("beta,time,o0\n0.1,0,0.5\n0.1,0.6,0.7\n")
    >>> recorded = read_recordings(path, step_size=0.3)
    >>> recorded["trajectories"][0.1].shape, recorded["trajectories"][0.1].ravel().tolist()
    ((1, 3, 1, 1), [0.5, nan, 0.7])
    """
    file = path_of(path, _WHERE)
    readers = {".csv": _read_csv, ".npz": _read_npz}
    rule = "A file of recordings ends in .csv or .npz"
    require(file.suffix in readers, _WHERE, rule, repr(file.name))
    with file_errors(file, _WHERE):
        keys, states, own = readers[file.suffix](file)
    step = own if step_size is None else real(step_size, _WHERE, "step_size")
    rule = "step_size is a number in [1e-100, 1e100], given or in an NPZ file"
    require(step is not None and 1e-100 <= step <= 1e100, _WHERE, rule, step)
    assert step is not None
    return {"trajectories": _trajectories(keys, states, step), "step_size": step}


def write_recordings(
    path: str | os.PathLike[str],
    trajectories: Mapping[float, Any],
    *,
    step_size: float,
    outputs: bool = False,
) -> None:
    """Write recordings by beta to a CSV or NPZ file that `read_recordings` reads.

    Parameters
    ----------
    path : path-like
        File with the suffix .csv or .npz, which is replaced.
    trajectories : mapping of float to array
        States (steps + 1, batch, units) or (repeats, steps + 1, batch, units); rows of NaN are left out.
    step_size : float, positive
    outputs : bool
        True if the units are the outputs only.
    """
    check_type(trajectories, Mapping, "write_recordings", "trajectories is a mapping of beta to states")
    file, tables = path_of(path, "write_recordings"), []
    require(file.suffix in (".csv", ".npz"), "write_recordings", "A file ends in .csv or .npz", file.name)
    require(len(trajectories) > 0, "write_recordings", "There is a recording or more", "none")
    step_size = positive(step_size, "write_recordings", "step_size")
    check_flag(outputs, "write_recordings", "outputs")
    for beta, states in trajectories.items():
        tables.append(_table(real(beta, "write_recordings", "beta"), states, step_size))
    units = {table.shape[1] for table in tables}
    require(len(units) == 1, "write_recordings", "All recordings have as many units", sorted(units))
    encode = _csv_of if file.suffix == ".csv" else _npz_of
    write_bytes(file, encode(np.concatenate(tables), step_size, outputs), "write_recordings")


def _table(beta: float, states: Any, step_size: float) -> _Floats:
    """Return the rows of one beta: the keys, then the states."""
    array = as_array(states, "write_recordings", "a trajectory").astype(np.float64)
    array = array[None] if array.ndim == 3 else array
    rule = "A trajectory has shape (steps + 1, batch, units), or one more dimension before these"
    require(array.ndim == 4 and array.size > 0, "write_recordings", rule, array.shape)
    repeat, step, sample = np.indices(array.shape[:3]).reshape(3, -1)
    keys = [np.full(repeat.size, beta), step * step_size, repeat, sample]
    table = np.column_stack([*keys, array.reshape(repeat.size, -1)])
    return np.asarray(table[~np.isnan(table[:, len(keys) :]).all(axis=1)])


def _npz_of(table: _Floats, step_size: float, outputs: bool) -> bytes:
    arrays: dict[str, Any] = {name: table[:, k] for k, name in enumerate(_KEYS)}
    arrays["outputs" if outputs else "states"] = table[:, len(_KEYS) :]
    stream = io.BytesIO()
    np.savez(stream, step_size=step_size, **arrays)
    return stream.getvalue()


def _csv_of(table: _Floats, step_size: float, outputs: bool) -> bytes:  # noqa: ARG001
    names = [f"{'o' if outputs else 's'}{k}" for k in range(table.shape[1] - len(_KEYS))]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow([*_KEYS, *names])
    writer.writerows([["" if np.isnan(v) else repr(float(v)) for v in row] for row in table])
    return stream.getvalue().encode()


def _read_csv(file: Path) -> tuple[_Floats, _Floats, None]:
    """Return keys (rows, 4), states (rows, units) and no step size of a CSV file."""
    with file.open(newline="", encoding="utf-8-sig") as stream:
        try:
            rows = [row for row in csv.reader(stream) if row and not row[0].startswith("#")]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"[{_WHERE}] A CSV file is a table in UTF-8. Received {error}.") from error
    rule = "A CSV file has a header with beta, time and s0 or o0, and one row or more"
    require(len(rows) > 1, _WHERE, rule, f"{len(rows)} lines")
    names = [name.strip() for name in rows[0]]
    units = [name for name in names if re.fullmatch(r"[so]\d+", name)]
    known = {*_KEYS, *units}
    expected = [f"{units[0][0] if units else 's'}{k}" for k in range(len(units))]
    complete = len(set(names)) == len(names) and {"beta", "time"} <= set(names) <= known
    require(complete and bool(units) and sorted(units) == sorted(expected), _WHERE, rule, ",".join(names))
    for number, row in enumerate(rows[1:], start=2):
        require(len(row) == len(names), _WHERE, f"Line {number} has {len(names)} fields", len(row))
    try:
        table = np.array([[float(field) if field.strip() else np.nan for field in row] for row in rows[1:]])
    except ValueError as error:
        raise ValueError(f"[{_WHERE}] Fields are numbers, or empty. Received {error}.") from None
    columns = {name: table[:, k] for k, name in enumerate(names)}
    return _keys(columns, len(table)), np.column_stack([columns[name] for name in expected]), None


def _read_npz(file: Path) -> tuple[_Floats, _Floats, float | None]:
    """Return keys (rows, 4), states (rows, units) and the step size of an NPZ file."""
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: as_array(content[name], _WHERE, name).astype(np.float64) for name in content}
    except (zipfile.BadZipFile, EOFError, ValueError, TypeError) as error:
        raise ValueError(f"[{_WHERE}] An NPZ file holds arrays of numbers. Received {error}.") from error
    rule = "An NPZ file has arrays beta, time and either states or outputs (rows, units)"
    present = [name for name in ("states", "outputs") if name in arrays]
    complete = len(present) == 1 and {"beta", "time"} <= set(arrays)
    require(complete, _WHERE, rule, ", ".join(sorted(arrays)))
    states, step = arrays[present[0]], arrays.get("step_size")
    require(states.ndim == 2 and states.size > 0, _WHERE, rule, f"shape {states.shape}")
    for name in _KEYS:
        fits = name not in arrays or arrays[name].shape == states.shape[:1]
        require(fits, _WHERE, f"{name} has one number for each row", fits)
    return _keys(arrays, len(states)), states, None if step is None else float(step.ravel()[0])


def _keys(columns: Mapping[str, _Floats], rows: int) -> _Floats:
    """Return beta, time, repeat and sample of each row, which are finite; missing columns are 0."""
    keys = np.column_stack([columns.get(name, np.zeros(rows)) for name in _KEYS])
    require(
        bool(np.isfinite(keys).all()), _WHERE, "beta, time, repeat and sample are finite numbers", "others"
    )
    numbers = keys[:, 2:]
    fits = bool((numbers >= 0).all() and (numbers == np.round(numbers)).all() and (keys[:, 1] >= 0).all())
    rule = "repeat and sample are whole numbers from 0, and times are not negative"
    require(fits, _WHERE, rule, f"smallest {keys[:, 1:].min():g}")
    return keys


def _trajectories(keys: _Floats, states: _Floats, step_size: float) -> dict[float, _Floats]:
    """Return arrays (repeats, steps + 1, batch, units) by beta; NaN for rows that are missing."""
    steps = keys[:, 1] / step_size
    off = np.abs(steps - np.round(steps))
    worst = float(keys[int(off.argmax()), 1])
    rule = f"Times are multiples of the step size, {step_size:g}"
    require(
        bool(off.max() <= _GRID), _WHERE, rule, f"{worst:g}; a smaller step size may have it as a multiple"
    )
    numbers = np.column_stack([keys[:, 2], np.round(steps), keys[:, 3]])
    betas = np.unique(keys[:, 0])
    size = float(np.prod(numbers.max(axis=0) + 1)) * states.shape[1] * len(betas)
    require(size <= _LARGEST, _WHERE, f"A file describes at most {_LARGEST:g} numbers", f"{size:g}")
    index = numbers.astype(np.int64)
    last, samples = index[:, 1:].max(axis=0) + 1
    found = {}
    for beta in betas:
        here = keys[:, 0] == beta
        repeat, step, sample = index[here].T
        path = np.full((int(repeat.max()) + 1, last, samples, states.shape[1]), np.nan)
        places = np.unique(index[here], axis=0)
        rule = "Each beta, repeat, sample and time has one row"
        require(len(places) == len(repeat), _WHERE, rule, f"{len(repeat) - len(places)} repeated ones")
        path[repeat, step, sample] = states[here]
        found[float(beta)] = path
    return found
