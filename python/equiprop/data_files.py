"""Data sets in files: CSV, NPZ, and folders with files of training and test data or with IDX files."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from equiprop.arrays import Array
from equiprop.checks import require
from equiprop.data import Dataset, held_out_fifth, load_mnist
from equiprop.image_sets import IMAGE_SETS
from equiprop.npz_files import read_npz
from equiprop.paths import file_errors, in_home, path_of

_X_NAMES, _Y_NAMES = (
    ("x", "data", "features", "images"),
    ("y", "label", "labels", "class", "target", "targets"),
)
_TABLES = (".csv", ".tsv", ".txt")
_KINDS = (".npz", *_TABLES)
_RULE = f"A data set is digits, {', '.join(IMAGE_SETS)}, a CSV or NPZ file, or a folder"


def load_files(path: str | os.PathLike[str], where: str = "load_files") -> tuple[Dataset, Dataset]:
    r"""Load training and test data from a file or a folder.

    A CSV file has one sample per line, with or without a line of names. The column ``label``, ``class``,
    ``target`` or ``y`` contains labels or targets, otherwise the last one does. An NPZ file has arrays ``x``
    and ``y``, or ``x_train``, ``y_train``, ``x_test`` and ``y_test``. Without test data, every fifth sample
    (of each class) is a test sample, so there are at least 5 samples (of one class). A folder has train.csv
    and test.csv, train.npz and test.npz, or the four files of MNIST. Labels that are whole numbers are the
    classes 0, 1, ...; other numbers, and floats of shape (samples, outputs) in an NPZ file, are targets of a
    regression. Inputs of bytes are scaled by 1/255.

    Raises
    ------
    ValueError, FileNotFoundError
        There is no such file, or its content is not as above; the message names the place.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "xor.csv"
    >>> _ = path.write_text("a,b,label\n" + "0,0,0\n0,1,1\n1,0,1\n1,1,0\n" * 5)
    >>> [len(part) for part in load_files(path)]
    [16, 4]
    """
    path = _existing(in_home(path_of(path, where), where), where)
    if path.is_dir():
        for kind in _KINDS:
            train, test = path / f"train{kind}", path / f"test{kind}"
            if train.is_file() and test.is_file():
                return _whole(train, where), _whole(test, where)
        return load_mnist(path)
    return _parts(path, where)


def load_inputs(path: str | os.PathLike[str], num_inputs: int, where: str = "load_inputs") -> Dataset:
    """Load the inputs of all samples in a file; a CSV file may have a column of labels, which is left out.

    Returns
    -------
    Dataset
        Inputs (samples, `num_inputs`); the labels are zero.

    Raises
    ------
    ValueError, FileNotFoundError
        There is no such file, or it does not have `num_inputs` inputs.
    """
    path = _existing(in_home(path_of(path, where), where), where)
    require(path.is_file(), where, "Inputs are in a CSV or NPZ file", f"the folder '{path}'")
    if path.suffix == ".npz":
        arrays = _arrays(path, where)
        found = [_named(arrays, _X_NAMES, part) for part in ("", "test")]
        x = next((array for array in found if array is not None), None)
        require(x is not None, where, "An NPZ file has an array x", f"{sorted(arrays)} in '{path}'")
        assert x is not None
        x = x if x.ndim > 1 else x[:, None]
    else:
        names, x = _table(path, where)
        if x.shape[1] == num_inputs + 1:
            x = np.delete(x, _label_column(names), axis=1)
    columns = math.prod(x.shape[1:])
    rule = f"The network has {num_inputs} inputs"
    require(columns == num_inputs, where, rule, f"{columns} columns in '{path}'")
    return Dataset(x, np.zeros(len(x), np.int64), _scale(x))


def _existing(path: Path, where: str) -> Path:
    if path.exists():
        known = path.is_dir() or path.suffix in _KINDS
        require(known, where, f"{_RULE}; a file ends with {', '.join(_KINDS)}", f"'{path}'")
        return path
    folder = path.parent
    near = sorted(p.name for p in folder.glob("*") if p.suffix in _KINDS)[:8] if folder.is_dir() else []
    there = f"'{folder}' holds {', '.join(near)}" if near else f"'{folder}' holds no such file"
    raise FileNotFoundError(f"[{where}] {_RULE}. Received '{path}', which does not exist; {there}.")


def _parts(path: Path, where: str) -> tuple[Dataset, Dataset]:
    if path.suffix == ".npz":
        arrays = _arrays(path, where)
        parts = [
            [_named(arrays, names, part) for names in (_X_NAMES, _Y_NAMES)] for part in ("train", "test")
        ]
        if not any(array is None for pair in parts for array in pair):
            train, test = (_dataset(x, y, path, where) for x, y in parts)
            return train, test
    whole = _whole(path, where)
    held_out = held_out_fifth(whole.y)
    if not held_out.any():
        kind = " of one class" if whole.is_classification else ""
        most = f", at most {np.bincount(whole.y).max()}{kind}," if kind else ""
        raise ValueError(
            f"[{where}] A file without test data has at least 5 samples{kind}, because every fifth one is a "
            f"test sample. Received {len(whole)}{most} in '{path}'. Add samples, or use a folder with train "
            "and test files."
        )
    return whole.take(np.flatnonzero(~held_out)), whole.take(np.flatnonzero(held_out))


def _whole(path: Path, where: str) -> Dataset:
    if path.suffix == ".npz":
        arrays = _arrays(path, where)
        x, y = _named(arrays, _X_NAMES), _named(arrays, _Y_NAMES)
        rule = "An NPZ file has arrays x and y"
        require(x is not None and y is not None, where, rule, f"{sorted(arrays)} in '{path}'")
        return _dataset(x, y, path, where)
    names, table = _table(path, where)
    label = _label_column(names)
    require(table.shape[1] > 1, where, "A CSV file has inputs and a label", f"one column in '{path}'")
    return _dataset(np.delete(table, label, axis=1), table[:, label], path, where)


def _dataset(x: Any, y: Any, path: Path, where: str) -> Dataset:
    if y.dtype.kind in "biu" or (y.dtype.kind == "f" and y.ndim == 1 and bool((y == np.floor(y)).all())):
        y = _labels(y, path, where)
    elif y.ndim == 1:
        y = y[:, None]
    try:
        data = Dataset(x if x.ndim > 1 else x[:, None], y, _scale(x))
    except (ValueError, TypeError) as error:
        rule = "A data set has finite inputs, and classes 0, 1, ... or finite targets"
        raise ValueError(f"[{where}] {rule}. Received '{path}': {error}") from error
    require(len(data) > 0, where, "Training and test data each have at least one sample", f"none in '{path}'")
    return data


def _labels(y: Array, path: Path, where: str) -> Array:
    y = y.reshape(len(y)) if y.ndim == 2 and y.shape[1] == 1 else y
    low, high = (y.min(), y.max()) if y.size else (0, 0)
    if low < 0 or high >= max(len(y), 2):
        raise ValueError(
            f"[{where}] Labels that are whole numbers are the classes 0, 1, ... Received {low:g} to {high:g} "
            f"for {len(y)} samples in '{path}'. Number the classes from 0, or use an NPZ file, in which y of "
            "floats with shape (samples, 1) contains the targets of a regression."
        )
    return y.astype(np.int64)


def _scale(x: Array) -> float | None:
    return 1 / 255 if x.dtype == np.uint8 else None


def _arrays(path: Path, where: str) -> Mapping[str, Array]:
    """Return the arrays of an NPZ file by their names in lower case."""
    arrays = read_npz(path, where)
    found = {name.lower(): array for name, array in arrays.items()}
    rule = "The names of arrays differ in more than upper and lower case"
    require(len(found) == len(arrays), where, rule, f"{sorted(arrays)} in '{path}'")
    return found


def _named(arrays: Mapping[str, Array], names: tuple[str, ...], part: str = "") -> Array | None:
    ending = f"_{part}" if part else ""
    return next((arrays[f"{name}{ending}"] for name in names if f"{name}{ending}" in arrays), None)


def _label_column(names: list[str]) -> int:
    return next((k for k, name in enumerate(names) if name.strip(" \"'").lower() in _Y_NAMES), len(names) - 1)


def _table(path: Path, where: str) -> tuple[list[str], Array]:
    """Return the names of the columns, or empty ones, and the numbers (samples, columns) of a text file."""
    with file_errors(path, where), path.open("rb") as stream:
        start = stream.readline()
    try:
        first = next(iter(start.decode("utf-8-sig").splitlines()), "")
        delimiter = next((mark for mark in ",;\t" if mark in first), None)
        names = first.strip().split(delimiter)
        header = not any(_is_number(name) for name in names)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")  # an error below says so
            table = np.loadtxt(
                path, delimiter=delimiter, skiprows=int(header), ndmin=2, encoding="utf-8-sig", comments=None
            )
    except ValueError as error:
        text = re.sub(r"\s+", " ", str(error)).rstrip(".")
        raise ValueError(
            f"[{where}] A CSV file holds numbers, and classes as 0, 1, ... Received '{path}': {text}."
        ) from error
    require(table.size > 0, where, "A CSV file has samples", f"none in '{path}'")
    rule = "A CSV file has as many names as columns"
    given = f"{len(names)} names and {table.shape[1]} columns in '{path}'"
    require(len(names) == table.shape[1], where, rule, given)
    return (names if header else [""] * len(names)), table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
