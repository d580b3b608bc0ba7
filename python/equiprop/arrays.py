"""Conversion of arguments to the arrays that the core takes: checked, C-contiguous, of the model's dtype.

One rule holds wherever the library takes an array: NumPy arrays of any real type, lists, and objects with
``__array__`` or ``__dlpack__`` (data frames, tensors) are read; missing values are refused with their place.
"""

from __future__ import annotations

import math
import numbers
import reprlib
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.checks import enough_memory

Array = NDArray[Any]

#: Advice on missing values; it follows the place of the first one.
FILL_IN = "Drop such samples, or fill in the values, for example with sklearn.impute.SimpleImputer."
#: Number of bytes from which the memory for a copy is compared with that of the machine first.
_LARGE = 2**30
#: Number of entries that a search for NaN and infinity reads at a time.
_ENTRIES = 2**20


def as_array(value: Any, where: str, name: str) -> Array:
    """Return `value` as a NumPy array of real numbers.

    Parameters
    ----------
    value : array, list, scipy.sparse array, or object with ``__array__`` or ``__dlpack__``
        Integers, floats or booleans. A sparse array becomes dense, bfloat16 and float8 of PyTorch become
        float32.
    where, name : str
        Function and argument, for errors.

    Raises
    ------
    TypeError
        If `value` is not an array of real numbers that NumPy can read.
    ValueError
        If a value is missing: masked, None, or pandas.NA.
    """
    array = as_numpy(value, where, name)
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind == "O":
        return _numbers(array, where, name)
    raise TypeError(
        f"[{where}] `{name}` holds real numbers. Received dtype {array.dtype}.{_cure(array, name)}"
    )


def as_numpy(value: Any, where: str, name: str) -> Array:
    """Return `value` as a NumPy array of any type, without a copy if possible.

    Raises
    ------
    TypeError
        If NumPy cannot read `value`; the message contains the advice of the library that made it.
    ValueError
        If `value` is an array with masked entries.
    MemoryError
        If `value` is a view that repeats numbers until they fill more than the memory of the machine.
    """
    array = value if type(value) is np.ndarray else _as_numpy(value, where, name)
    if array.nbytes >= _LARGE and 0 in array.strides:
        with enough_memory(array.nbytes, where, f"`{name}` {array.shape}", cure="Pass fewer samples"):
            pass
    return array


def _as_numpy(value: Any, where: str, name: str) -> Array:
    if isinstance(value, np.ma.MaskedArray):
        _refuse_masked(value, where, name)
    if hasattr(value, "__cuda_array_interface__") and not hasattr(value, "__array__"):
        raise TypeError(
            f"[{where}] `{name}` is in the memory of the host. Received {type(value).__name__} in the memory "
            "of a CUDA device: copy it to the host first."
        )
    try:
        array = _read(value)
    except MemoryError as error:
        raise MemoryError(f"[{where}] cannot read `{name}`: not enough memory is free.") from error
    except Exception as error:  # of any class, because NumPy calls methods of the caller's object
        raise TypeError(
            f"[{where}] `{name}` is an array of numbers that NumPy can read. "
            f"Received {type(value).__name__}: {str(error).rstrip('.')}.{_transfer(value, name)}"
        ) from error
    if array.ndim == 0 and array.dtype.kind == "O":
        raise TypeError(f"[{where}] `{name}` is an array of numbers. Received {type(value).__name__}.")
    return array


def is_sparse(value: Any) -> bool:
    """Return True for a sparse matrix or array of SciPy, or one that converts itself to these."""
    return hasattr(value, "tocsr")


def _read(value: Any) -> Array:
    if is_sparse(value):
        return np.asarray(value.tocsr().toarray())
    if isinstance(value, list | tuple):
        value = [np.from_dlpack(row) if _needs_dlpack(row) else row for row in value]
    if _needs_dlpack(value):
        value = np.from_dlpack(value)
    if str(getattr(value, "dtype", "")).startswith(("torch.bfloat16", "torch.float8")):
        value = value.float()  # NumPy has no such type
    return np.asarray(value)


def _needs_dlpack(value: Any) -> bool:
    return hasattr(value, "__dlpack__") and not hasattr(value, "__array__")


def num_samples(value: Any) -> int:
    """Return the number of rows of an array that `as_array` reads."""
    shape = getattr(value, "shape", None)
    return int(shape[0]) if shape else len(as_numpy(value, "Trainer.step", "x"))


def _transfer(value: Any, name: str) -> str:
    """Return the advice that makes a tensor of PyTorch readable: without its graph, on the CPU."""
    calls = ".detach()" if getattr(value, "requires_grad", False) else ""
    device = str(getattr(value, "device", "cpu")).partition(":")[0]
    if device not in ("cpu", "meta") and hasattr(value, "cpu"):
        calls += ".cpu()"
    return f" Pass {name}{calls}." if calls else ""


def _cure(array: Array, name: str) -> str:
    if array.dtype.kind in "USTO" and name == "y":
        return " Encode labels first: Dataset(x, y) does, or np.unique(y, return_inverse=True)[1]."
    if array.dtype.kind in "UST" or (array.dtype.kind == "O" and _has_text(array)):
        return " Encode text as numbers first, for example with sklearn.preprocessing.OneHotEncoder."
    if array.dtype.kind == "V" and array.dtype.names is None:
        return " Convert it to float32 first."
    return ""


def _has_text(objects: Array) -> bool:
    return any(isinstance(entry, str | bytes) for entry in objects.flat)


def _refuse_masked(value: Any, where: str, name: str) -> None:
    masked = np.argwhere(np.ma.getmaskarray(value))
    if len(masked):
        raise ValueError(
            f"[{where}] `{name}` has no missing values. "
            f"Received a masked value at {place(masked[0], name)}. {FILL_IN}"
        )


def _numbers(objects: Array, where: str, name: str) -> Array:
    """Return the numbers of an array of Python objects, such as a data frame of several types."""
    if not all(map(is_number, set(map(type, objects.flat)))):
        index, value = next((i, v) for i, v in np.ndenumerate(objects) if not is_number(type(v)))
        refuse_missing(value, index, where, name)
        raise TypeError(
            f"[{where}] `{name}` holds real numbers. "
            f"Received {reprlib.repr(value)} at {place(index, name)}.{_cure(objects, name)}"
        )
    try:
        return objects.astype(np.float64)
    except OverflowError as error:
        raise ValueError(
            f"[{where}] `{name}` holds finite numbers. Received an integer beyond float64."
        ) from error
    except Exception as error:  # of any class: a signaling NaN, or a number of the caller's own
        raise ValueError(
            f"[{where}] `{name}` holds real numbers. Received one without a float: {str(error).rstrip('.')}."
        ) from error


def is_number(kind: type) -> bool:
    """Return True for a type of real numbers."""
    return issubclass(kind, numbers.Real | Decimal | np.bool_)


def is_missing(value: Any) -> bool:
    """Return True for None, NaN, NaT, pandas.NA and a masked entry."""
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Real | np.datetime64 | np.timedelta64) and bool(value != value)


def refuse_missing(value: Any, index: Any, where: str, name: str) -> None:
    """Raise ValueError with the place of a value if it is missing."""
    if is_missing(value):
        raise ValueError(
            f"[{where}] `{name}` has no missing values. Received {value!r} at {place(index, name)}. {FILL_IN}"
        )


def place(index: Any, name: str) -> str:
    """Return the position of an entry of x, y or states in words, such as ``sample 2, feature 0``."""
    if len(index) > 2:
        return f"sample {index[0]}, position {tuple(int(i) for i in index[1:])}"
    column = {"x": "feature", "y": "output"}.get(name, "unit")
    return ", ".join(f"{axis} {i}" for axis, i in zip(("sample", column), index, strict=False))


#: Cure of an infinity in an array that was converted.
_BEYOND = " In float32 a number beyond 3.4e38 is infinite: divide the numbers by their size."


def refuse_not_finite(array: Array, where: str, name: str, cure: str = "") -> None:
    """Raise ValueError with the place of the first NaN or infinity, and the cure; read the array in parts."""
    if array.dtype.kind != "f" or array.size == 0:
        return
    if array.ndim == 0:
        array = array[None]
    rows = max(1, _ENTRIES * len(array) // array.size)
    for begin in range(0, len(array), rows):
        part = np.isfinite(array[begin : begin + rows])
        if not part.all():
            bad = np.argwhere(~part)[0]
            bad[0] += begin
            raise not_finite(array[tuple(bad)], bad, where, name, cure)


def not_finite(value: Any, index: Any, where: str, name: str, cure: str = "") -> ValueError:
    """Return the error of a NaN or infinity at a place of an argument; `cure` is that of an infinity."""
    if np.isnan(value):
        cure = f" {FILL_IN}" if name in ("x", "y") else ""
    return ValueError(
        f"[{where}] `{name}` holds finite numbers. Received {value} at {place(index, name)}.{cure}"
    )


def as_samples(value: Any, where: str, name: str) -> Any:
    """Return `value` as an array of finite real numbers, or in CSR format if it is sparse."""
    if is_sparse(value):
        rows = value.tocsr()
        if rows.dtype.kind not in "biuf":
            raise TypeError(f"[{where}] `{name}` holds real numbers. Received dtype {rows.dtype}.")
        if rows.dtype.kind == "f" and not np.isfinite(rows.data).all():
            bad = int(np.argmin(np.isfinite(rows.data)))
            sample = int(np.searchsorted(rows.indptr, bad, side="right")) - 1
            raise not_finite(rows.data[bad], (sample, rows.indices[bad]), where, name)
        return rows
    array = as_array(value, where, name)
    refuse_not_finite(array, where, name)
    return array


def flat_input(value: Any, shape: tuple[int, ...], where: str) -> Any:
    """Return images (batch, *shape) as an array (batch, numbers), and any other x as it is."""
    array = value if type(value) is np.ndarray or is_sparse(value) else as_array(value, where, "x")
    return flat_images(array, shape, where)


def flat_images(x: Any, shape: tuple[int, ...], where: str) -> Any:
    """Return images (batch, *shape) as (batch, numbers); an array of two dimensions is returned as it is.

    Raises
    ------
    ValueError
        If the images have another shape; see `check_image_shape`.
    """
    if x.ndim <= 2:
        return x
    check_image_shape(x.shape[1:], shape, where)
    return x.reshape(len(x), math.prod(x.shape[1:]))


def check_image_shape(received: tuple[int, ...], shape: tuple[int, ...], where: str) -> None:
    """Raise ValueError unless a sample has the shape of the input; dimensions of size 1 do not count.

    An input of one dimension takes samples of any shape with as many numbers.
    """
    flat = len(shape) == 1 and math.prod(received) == shape[0]
    if not flat and [n for n in received if n != 1] != [n for n in shape if n != 1]:
        expected, found = (", ".join(map(str, numbers)) for numbers in (shape, received))
        raise ValueError(f"[{where}] `x` has shape (batch, {expected}). Received shape (batch, {found}).")


def dense(x: Any) -> Array:
    """Return samples as an array that is not sparse."""
    return np.asarray(x.toarray()) if is_sparse(x) else x


def as_states(value: Any, units: int, dtype: np.dtype[Any], where: str, name: str) -> Array:
    """Return `value` as a C-contiguous finite array (batch, units) of `dtype`, copied only if necessary.

    Raises
    ------
    TypeError, ValueError
        If `value` has another shape, no samples, or an entry that is not a finite real number.
    """
    array = as_array(value, where, name)
    if array.ndim != 2 or array.shape[1] != units:
        raise ValueError(f"[{where}] `{name}` has shape (batch, {units}). Received shape {array.shape}.")
    if array.shape[0] == 0:
        raise ValueError(f"[{where}] `{name}` holds at least one sample. Received shape {array.shape}.")
    array = _converted(array, dtype, where, name)
    if not _core.all_finite(array):
        refuse_not_finite(array, where, name, _BEYOND if array.dtype == np.float32 else "")
    return array


def as_codes_or_targets(value: Any, outputs: int, dtype: np.dtype[Any], where: str) -> Array:
    """Return y of a batch as class codes (batch,) of int64, or as checked targets (batch, outputs).

    Codes are whole numbers in 0 .. outputs - 1, booleans included, in one dimension or in one column. For a
    model with one output, a column and floats in one dimension are targets.
    """
    array = as_array(value, where, "y")
    if outputs == 1 and array.ndim == 1 and array.dtype.kind == "f":
        array = array[:, None]
    if array.ndim == 2 and array.shape[1] == 1 and outputs > 1:
        array = array[:, 0]
    if array.ndim != 1:
        return as_states(array, outputs, dtype, where, "y")
    if array.dtype.kind == "f" and not is_whole(array):
        raise ValueError(
            f"[{where}] `y` has shape (batch, {outputs}), or (batch,) with class codes. "
            f"Received shape {array.shape} of numbers that are not whole."
        )
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
        received = f"{array.min()} to {array.max()}"
        raise ValueError(f"[{where}] Class labels are 0 to {outputs - 1}. Received {received}.")
    return array.astype(np.int64, copy=False)


def is_whole(array: Array) -> bool:
    """Return True if every entry of an array of floats is a whole number that int64 holds."""
    return bool(((np.abs(array) < 2.0**63) & (np.floor(array) == array)).all())


def as_targets(value: Any, outputs: int, dtype: np.dtype[Any], where: str) -> Array:
    """Return targets (batch, outputs); class codes (batch,) are encoded as one-hot."""
    y = as_codes_or_targets(value, outputs, dtype, where)
    return one_hot(y, outputs, dtype, where) if y.ndim == 1 else y


def one_hot(labels: Array, classes: int, dtype: np.dtype[Any], where: str) -> Array:
    """Return the one-hot encoding (batch, classes) of integer labels (batch,)."""
    core = _core.f32 if dtype == np.float32 else _core.f64
    return core.one_hot(labels.astype(np.int64, copy=False), classes, where)


def as_contiguous(value: Any, dtype: np.dtype[Any], where: str, name: str) -> Array:
    """Return `value` as a C-contiguous array of `dtype`, without a check of its shape and its numbers."""
    if type(value) is np.ndarray and value.dtype == dtype and value.flags.c_contiguous:
        return value
    return _converted(as_array(value, where, name), dtype, where, name)


def _converted(array: Array, dtype: np.dtype[Any], where: str, name: str) -> Array:
    """Return a C-contiguous array of `dtype`; a number beyond it becomes infinite."""
    size = array.size * dtype.itemsize
    with np.errstate(over="ignore"):
        if size < _LARGE:
            return np.ascontiguousarray(array, dtype=dtype)
        with enough_memory(size, where, f"`{name}` in {dtype.name}", cure="Pass fewer samples"):
            return np.ascontiguousarray(array, dtype=dtype)


def network_dtype(dtype: str | np.dtype[Any] | type) -> np.dtype[Any]:
    """Return the precision of a network; raise ValueError unless it is float32 or float64."""
    try:
        name = np.dtype(dtype).name
    except (TypeError, ValueError):
        name = str(dtype)
    if name not in ("float32", "float64"):
        raise ValueError(f"[HopfieldNetwork] dtype is 'float32' or 'float64'. Received {dtype!r}.")
    return np.dtype(name)
