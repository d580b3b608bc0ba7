"""Bad values for arguments, equivalent forms of arrays, and the judgement of what a call does with them."""

from __future__ import annotations

import dataclasses
import re
import resource
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np

#: The forms of an error message: a rule and the value received, or what could not be done.
SENTENCE = re.compile(r"^\[[\w. ]+\] .+ Received .+|^\[[\w. ]+\] cannot .+", re.DOTALL)
#: What a call may raise for a bad argument.
REFUSED_WITH = (ValueError, TypeError, MemoryError, OSError, eq.ConvergenceError)
ALLOWED_WARNINGS = (eq.ConvergenceWarning, eq.TrainingWarning)
SECONDS = 1.0
SPARE_BYTES = 2**31
#: Attributes of results that are times.
_TIMES = {"seconds"}


class TookTooLong(BaseException):
    """A call ran for longer than `SECONDS`."""


def equivalent_forms(array: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Yield other arrays with equal numbers, with which a call has an equal result."""
    yield "Fortran order", np.array(array, order="F")
    backwards = array[::-1].copy()[::-1]
    yield "negative strides", backwards
    wide = np.repeat(array, 2, axis=-1)
    yield "every second entry", wide[..., ::2]
    fixed = array.copy()
    fixed.setflags(write=False)
    yield "read-only", fixed
    yield "big-endian", array.astype(array.dtype.newbyteorder(">"))
    yield "nothing masked", np.ma.masked_array(array.copy())
    yield "objects", array.astype(object)
    yield "list", array.tolist()


def bad_arrays(array: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Yield values that are no valid replacement of an array, or an unusual one."""
    array = array.copy()
    yield "higher rank", array[None]
    yield "lower rank", array.flatten()[: max(1, array.size // 2)]
    yield "a number", np.float64(0.5)
    yield "complex", array * 1j
    yield "bool", array.astype(bool)
    yield "text", array.astype(str)
    yield "objects that are no numbers", np.full(array.shape, object())
    yield "structured", np.zeros(array.shape, [("a", float)])
    yield "dates", np.zeros(array.shape, "datetime64[s]")
    yield "zero size", array[:0]
    yield "zero columns", array[..., :0]
    yield "huge", np.broadcast_to(array[:1], (2**40 // max(1, array[:1].size), *array.shape[1:]))
    masked = np.ma.masked_array(array, mask=np.zeros(array.shape, bool))
    masked[(0,) * array.ndim] = np.ma.masked
    yield "masked", masked
    yield "nan", np.full(array.shape, np.nan)
    yield "inf", np.full(array.shape, np.inf)
    yield "largest", np.full(array.shape, np.finfo(float).max)
    yield "subnormal", np.full(array.shape, 5e-324)
    yield "integers beyond 64 bits", [[2**70] * 3] * 2
    yield "ragged", [[1.0, 2.0], [1.0]]
    yield from _OTHER


_OTHER: list[tuple[str, Any]] = [
    ("None", None),
    ("text", "abc"),
    ("no text", ""),
    ("bytes", b"abc"),
    ("a dict", {"a": 1}),
    ("an empty list", []),
    ("a set", {1, 2}),
    ("an object", object()),
    ("a class", dict),
    ("a function", len),
    ("nan", float("nan")),
    ("an array of nothing", np.zeros((0, 0))),
]
_NUMBERS: list[tuple[str, Any]] = [
    ("-1", -1),
    ("0", 0),
    ("-0.5", -0.5),
    ("1.5", 1.5),
    ("2^40", 2**40),
    ("2^64", 2**64),
    ("10^400", 10**400),
    ("-2^64", -(2**64)),
    ("inf", float("inf")),
    ("-inf", float("-inf")),
    ("1e300", 1e300),
    ("subnormal", 5e-324),
    ("complex", 1j),
    ("one in an array", np.ones(1)),
    ("many in an array", np.ones((2, 2))),
    ("float16 nan", np.float16("nan")),
    ("the digit 1", "1"),
]
_PATHS: list[tuple[str, Any]] = [
    ("a zero byte", "a\0b"),
    ("missing", "/no/such/folder/file"),
    ("a folder", "/proc"),
    ("a very long name", "x" * 5000),
    ("a surrogate", "/no/\udcff"),
    ("bytes of a path", b"/no/such"),
    ("a descriptor", 3),
]


def bad_values(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield bad values for an argument of which `value` is a good one."""
    if isinstance(value, np.ndarray):
        yield from bad_arrays(value)
        return
    yield from (pair for pair in _OTHER if not (callable(value) and callable(pair[1])))
    if isinstance(value, Path):
        yield from _PATHS
    elif isinstance(value, int | float | str):
        yield from _NUMBERS
    elif isinstance(value, (tuple, list)):
        yield from _NUMBERS
        for name, number in (*_NUMBERS, *_OTHER):
            yield f"{name} inside", type(value)([number, *value[1:]])
    elif isinstance(value, Mapping):
        for name, other in (*_NUMBERS, *_OTHER):
            yield f"{name} inside", {key: other for key in value}
        yield "unknown keys", {"no such key": 1, 7: 2, None: 3}
    else:
        yield from _NUMBERS[:3]


@contextmanager
def limits(seconds: float) -> Iterator[None]:
    """Raise TookTooLong after a time of computation, and let allocations of more than `SPARE_BYTES` fail."""

    def end(*_: Any) -> None:
        raise TookTooLong

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, end)
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES, hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, handler)


def is_promised(error: Exception) -> bool:
    """Return True for a sentence of this library, and for errors of scikit-learn in estimators."""
    if isinstance(error, TypeError | ValueError):
        return bool(SENTENCE.match(str(error))) or "sklearn" in _packages(error)
    return bool(re.match(r"\[[\w. ]+\] ", str(error)))


def _packages(error: Exception) -> set[str]:
    """Return the packages through which an error has passed."""
    frames = traceback.walk_tb(error.__traceback__)
    return {str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame, _ in frames}


def complaint(call: Callable[[], Any], seconds: float = SECONDS) -> str | None:
    """Return what is wrong with the end of a call, or None if it works or is refused as promised."""
    try:
        with warnings.catch_warnings(), limits(seconds):
            warnings.simplefilter("error")
            for category in ALLOWED_WARNINGS:
                warnings.simplefilter("ignore", category)
            call()
    except REFUSED_WITH as error:
        if not is_promised(error):
            return f"{type(error).__name__}: {error}"
    except TookTooLong:
        return f"more than {seconds} s"
    except Exception as error:
        if isinstance(error, Warning) and "sklearn" in _packages(error):
            return None
        return f"{type(error).__name__}: {error}"
    return None


def figures(value: Any) -> list[Any]:
    """Return all numbers and texts of a result, without times."""
    if isinstance(value, np.ndarray | np.generic | int | float | complex | str | bytes):
        return [np.asarray(value)]
    if isinstance(value, Mapping):
        return [figure for name in value if name not in _TIMES for figure in figures(value[name])]
    if isinstance(value, tuple | list):
        return [figure for entry in value for figure in figures(entry)]
    if dataclasses.is_dataclass(value) and not isinstance(value, eq.Trainer):
        names = [field.name for field in dataclasses.fields(value) if field.name not in ("model", "problem")]
        return [f for name in names if name not in _TIMES for f in figures(getattr(value, name))]
    if isinstance(value, eq.HopfieldNetwork):
        return [value.parameters.copy()]
    if isinstance(value, eq.Trainer):
        return figures([value.history, value.model])
    return []


def equal(result: Any, expected: Any) -> bool:
    """Return True if two results have equal figures."""
    mine, other = figures(result), figures(expected)
    return len(mine) == len(other) and all(
        a.shape == b.shape
        and (a.dtype.kind in "USO" or b.dtype.kind in "USO" or np.array_equal(a, b, equal_nan=True))
        for a, b in zip(mine, other, strict=True)
    )
