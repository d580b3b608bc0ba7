"""Files of recorded relaxations, as tables with one row for each measured state; docs/recordings.md.

Columns: beta, and optionally repeat and sample (from 0), time, and s0, s1, ... for all units or o0, o1, ...
for the outputs. A CSV file is such a table; an NPZ file has arrays beta, repeat, sample and time (rows,), and
states (rows, units) or outputs (rows, outputs). An empty field, or NaN, is a number that was not recorded.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import as_array
from equiprop.checks import check_flag, check_type, of_normal_size, real, require
from equiprop.files import write_bytes
from equiprop.paths import file_errors, path_of
from equiprop.verify.recording_tables import KEYS, WHERE, Floats, Table, read_table

_WRITE = "write_recordings"
_SUFFIXES = (".csv", ".npz")
#: Largest difference of a time from a multiple of the step size, in steps.
_GRID = 1e-6
#: Largest number of states that a file with few rows may describe.
_LARGEST = 10**8


class Recorded(TypedDict):
    """The arguments of `traces` that a file holds."""

    trajectories: dict[float, Floats]
    step_size: float


def read_recordings(path: str | os.PathLike[str], *, step_size: float | None = None) -> Recorded:
    r"""Return the recordings of a CSV or NPZ file as arguments of `traces`.

    Times may be irregular: they are multiples of the step size, and states at other multiples are NaN. All
    arrays have as many steps and samples as the longest recording, with NaN where another one has none.

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
        If the file has another format, or a time is not a multiple of the step size; the message names the
        file and the line.
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
    file = path_of(path, WHERE)
    require(file.suffix in _SUFFIXES, WHERE, "A file of recordings ends in .csv or .npz", repr(file.name))
    given = None if step_size is None else real(step_size, WHERE, "step_size")
    with file_errors(file, WHERE):
        table = read_table(file)
    rule = "step_size is a number in [1e-100, 1e100], given or in an NPZ file"
    for number, place in ((table.step_size, f" in '{file}'"), (given, "")):
        require(number is None or 1e-100 <= number <= 1e100, WHERE, rule, f"{number}{place}")
    step = table.step_size if given is None else given
    if step is None:
        raise ValueError(f"[{WHERE}] {rule}. Received none for '{file}'.")
    return {"trajectories": _trajectories(table, step), "step_size": step}


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
        Finite states (steps + 1, batch, units) or (repeats, steps + 1, batch, units). NaN marks states that
        were not recorded; rows of NaN are left out, except for the last one. Betas are finite and not 0.
    step_size : float, positive
    outputs : bool
        True if the units are the outputs only.

    Raises
    ------
    TypeError, ValueError
        If `read_recordings` would refuse the file; an existing file is then not changed.
    OSError
        If the file cannot be written.
    """
    check_type(trajectories, Mapping, _WRITE, "trajectories is a mapping of beta to states")
    file = path_of(path, _WRITE)
    require(file.suffix in _SUFFIXES, _WRITE, "A file of recordings ends in .csv or .npz", repr(file.name))
    require(len(trajectories) > 0, _WRITE, "There is a recording or more", "none")
    step_size = of_normal_size(step_size, _WRITE, "step_size")
    check_flag(outputs, _WRITE, "outputs")
    recorded = {_beta(beta): _states(states) for beta, states in trajectories.items()}
    rule = "Every beta is another number in float64"
    require(len(recorded) == len(trajectories), _WRITE, rule, list(trajectories))
    units = {states.shape[-1] for states in recorded.values()}
    require(len(units) == 1, _WRITE, "All recordings have as many units", sorted(units))
    table = np.concatenate([_table(beta, states, step_size) for beta, states in recorded.items()])
    lengths = np.max([states.shape[:3] for states in recorded.values()], axis=0).astype(float)
    size, most = _size(lengths, table[:, len(KEYS) :], len(recorded))
    require(size <= most, _WRITE, f"A file describes at most {most:g} numbers", f"{size:g}")
    encode = _csv_of if file.suffix == ".csv" else _npz_of
    write_bytes(file, encode(table, step_size, outputs), _WRITE)


def _beta(beta: Any) -> float:
    number = real(beta, _WRITE, "beta")
    require(np.isfinite(number) and number != 0, _WRITE, "beta is finite and not 0", f"{number:g}")
    return number


def _states(states: Any) -> Floats:
    """Return the states of one beta (repeats, steps + 1, batch, units), of which some are numbers."""
    with np.errstate(over="ignore"):  # of longdouble; the check of infinity follows
        array = as_array(states, _WRITE, "a trajectory").astype(np.float64)
    array = array[None] if array.ndim == 3 else array
    rule = "A trajectory has shape (steps + 1, batch, units), or one more dimension before these"
    require(array.ndim == 4 and array.size > 0, _WRITE, rule, f"shape {array.shape}")
    require(not np.isinf(array).any(), _WRITE, "States are finite numbers, or NaN", "infinity")
    require(not np.isnan(array).all(), _WRITE, "A trajectory has a number or more", "only NaN")
    return array


def _table(beta: float, states: Floats, step_size: float) -> Floats:
    """Return the rows of one beta: the keys, then the states; the last row is kept for the shape."""
    kept = np.asarray(~np.isnan(states).all(axis=-1))
    kept[-1, -1, -1] = True
    repeat, step, sample = np.nonzero(kept)
    keys = [np.full(repeat.size, beta), step * step_size, repeat, sample]
    return np.column_stack([*keys, states[kept]])


def _npz_of(table: Floats, step_size: float, outputs: bool) -> bytes:
    arrays: dict[str, Any] = {name: table[:, k] for k, name in enumerate(KEYS)}
    arrays["outputs" if outputs else "states"] = table[:, len(KEYS) :]
    stream = io.BytesIO()
    np.savez(stream, step_size=step_size, **arrays)
    return stream.getvalue()


def _csv_of(table: Floats, step_size: float, outputs: bool) -> bytes:  # noqa: ARG001
    names = [f"{'o' if outputs else 's'}{k}" for k in range(table.shape[1] - len(KEYS))]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow([*KEYS, *names])
    writer.writerows([["" if np.isnan(v) else repr(float(v)) for v in row] for row in table])
    return stream.getvalue().encode()


def _trajectories(table: Table, step_size: float) -> dict[float, Floats]:
    """Return arrays (repeats, steps + 1, batch, units) by beta; NaN for rows that are missing."""
    steps = table.keys[:, 1] / step_size
    with np.errstate(invalid="ignore"):  # infinity less infinity
        on_grid = np.abs(steps - np.round(steps)) <= _GRID
    rule = f"Times are multiples of the step size, {step_size:g}; a smaller one may have all as multiples"
    table.require(on_grid, rule, 1)
    betas, which = np.unique(table.keys[:, 0], return_inverse=True)
    numbers = np.column_stack([table.keys[:, 2], np.round(steps), table.keys[:, 3]])
    lengths = numbers.max(axis=0) + 1
    size, most = _size(lengths, table.states, len(betas))
    row = int(numbers[:, int(lengths.argmax())].argmax())
    rule = f"A file describes at most {most:g} numbers"
    received = f"{size:g}, with {KEYS[(2, 1, 3)[int(lengths.argmax())]]} up to that in {table.at(row)}"
    require(size <= most, WHERE, rule, received)
    index = np.column_stack([which.ravel(), numbers]).astype(np.int64)
    _refuse_repeated(table, index, (len(betas), *lengths.astype(np.int64)))
    last, samples = index[:, 2:].max(axis=0) + 1
    found = {}
    for k, beta in enumerate(betas):
        here = index[:, 0] == k
        _, repeat, step, sample = index[here].T
        path = np.full((int(repeat.max()) + 1, last, samples, table.states.shape[1]), np.nan)
        path[repeat, step, sample] = table.states[here]
        found[float(beta)] = path
    return found


def _size(lengths: Sequence[float] | Floats, rows: Floats, betas: int) -> tuple[float, float]:
    """Return how many numbers the recordings of rows (rows, units) have, and the largest allowed number."""
    return float(np.prod(lengths)) * rows.shape[1] * betas, float(max(_LARGEST, 10 * rows.size))


def _refuse_repeated(table: Table, index: NDArray[np.int64], lengths: Sequence[int]) -> None:
    """Raise ValueError if two rows have equal beta, repeat, time and sample."""
    places = np.asarray(np.ravel_multi_index(tuple(index.T), tuple(lengths)))
    order = np.argsort(places, kind="stable")
    repeated = np.flatnonzero(np.diff(places[order]) == 0)
    if len(repeated):
        first = min(repeated.tolist(), key=lambda k: int(order[k + 1]))
        both = table.at(int(order[first]), int(order[first + 1]))
        rule = "Each beta, repeat, sample and time has one row"
        require(False, WHERE, rule, f"those of {both}, {len(repeated)} repeated in all")
