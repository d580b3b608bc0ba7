"""Arrays in the memory of a CUDA device: those of other libraries, and copies of arrays of the host."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equiprop.cuda_package import kernels

#: Device types of DLPack: memory of a CUDA device, and managed memory, which is also that of the host.
_CUDA, _MANAGED = 2, 13
#: Type codes of DLPack.
_FLOAT, _BOOL = 2, 6
_CODES = {0: "int", 1: "uint", _FLOAT: "float", 4: "bfloat", _BOOL: "bool"}
#: Types that NumPy reads.
_REAL = ("bool", "float16", "float32", "float64", *(f"{s}int{b}" for s in ("", "u") for b in (8, 16, 32, 64)))
#: Versions of DLPack from which a capsule has a version of its own.
_VERSIONED = (1, 0)


class DeviceArray:
    """A C-contiguous array of float32 or float64 in the memory of a CUDA device.

    Other libraries take it without a copy by ``__dlpack__`` or ``__cuda_array_interface__``, such as
    ``torch.from_dlpack(array)``; NumPy copies it to the host by ``__array__``. Its numbers are complete.

    Parameters
    ----------
    address : int
        Address of the first number.
    shape : sequence of int
    dtype : numpy.float32 or numpy.float64
    owner : object
        Object that keeps the memory.
    """

    def __init__(self, address: int, shape: Sequence[int], dtype: Any, owner: Any) -> None:
        self.address: int = address
        self.shape: tuple[int, ...] = tuple(shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._owner = owner

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of numbers."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype.name})"

    def reshape(self, *shape: int) -> DeviceArray:
        """Return the array with another shape of equally many numbers, which shares the memory."""
        if math.prod(shape) != self.size:
            raise ValueError(f"[DeviceArray.reshape] A shape keeps the size {self.size}. Received {shape}.")
        return DeviceArray(self.address, shape, self.dtype, self._owner)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Description of the memory, version 3; its numbers need no stream to be waited for."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": None,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return the device type of CUDA, and the number of the device."""
        return _CUDA, kernels().device_of(self.address)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a capsule of DLPack; see the array API standard for the arguments."""
        if dl_device not in (None, self.__dlpack_device__()) or copy:
            raise BufferError(
                "[DeviceArray] DLPack gives the memory itself, on its device. "
                f"Received dl_device={dl_device}, copy={copy}; NumPy copies it by np.asarray(array)."
            )
        versioned = max_version is not None and tuple(max_version) >= _VERSIONED
        return kernels().to_dlpack(
            self.address, self.shape, _FLOAT, 8 * self.dtype.itemsize, self._owner, versioned
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return a copy in the memory of the host."""
        if copy is False:
            raise ValueError("[DeviceArray] NumPy reads a copy on the host. Received copy=False.")
        array = np.empty(self.shape, self.dtype)
        kernels().to_host(self.address, array)
        return array if dtype is None else array.astype(dtype, copy=False)


def device_array(array: Any) -> DeviceArray:
    """Return a copy of an array of float32 or float64, such as ``free.state``, in the memory of the device.

    Raises
    ------
    TypeError
        If the array has another type.
    DeviceError
        If there is no device, or too little memory.

    Examples
    --------
    >>> device_array(free.outputs)  # doctest: +SKIP
    DeviceArray(shape=(6, 10), dtype=float32)
    """
    numbers = np.ascontiguousarray(array)
    if numbers.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"[cuda.device_array] An array is of float32 or float64. Received dtype {numbers.dtype}."
        )
    return DeviceArray(*_placed(numbers))


def _placed(numbers: NDArray[Any]) -> tuple[int, tuple[int, ...], np.dtype[Any], Any]:
    address, owner = kernels().to_device(numbers)
    return address, numbers.shape, numbers.dtype, owner


def is_on_device(value: Any) -> bool:
    """Return True for an array in the memory of a CUDA device alone."""
    if isinstance(value, DeviceArray):
        return True
    if isinstance(value, np.ndarray):
        return False
    if hasattr(value, "__dlpack_device__") and hasattr(value, "__dlpack__"):
        return int(value.__dlpack_device__()[0]) in (_CUDA, _MANAGED)
    return hasattr(value, "__cuda_array_interface__")


class _Found(NamedTuple):
    """An array of another library: strides are in numbers, or None for a C-contiguous array."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: str
    owner: Any


def taken(value: Any, batch: Any, dtype: np.dtype[Any], where: str, name: str) -> DeviceArray:
    """Return an array on the device in place; work of the batch waits for the work that computes it.

    Parameters
    ----------
    value : object for which `is_on_device` is true
    batch : DeviceBatch
        Batch that will read the numbers.
    dtype : numpy.float32 or numpy.float64
        Type that the numbers have.
    where, name : str
        Function and argument, for errors.

    Raises
    ------
    TypeError, ValueError
        If the array has another type, is not C-contiguous, is on another device, or has masked entries.
    """
    found = _found(value, batch, where, name)
    if found.dtype != dtype.name:
        rule = f"`{name}` on a device has the precision of the network, {dtype.name}"
        raise TypeError(f"[{where}] {rule}. Received {found.dtype}.")
    return DeviceArray(found.address, found.shape, dtype, found.owner)


def copied(value: Any, batch: Any, where: str, name: str) -> NDArray[Any]:
    """Return a copy of an array on the device in the memory of the host; arguments are those of `taken`."""
    found = _found(value, batch, where, name)
    if found.dtype not in _REAL:
        raise TypeError(f"[{where}] `{name}` holds real numbers. Received dtype {found.dtype}.")
    array = np.empty(found.shape, found.dtype)
    batch.wait()
    kernels().to_host(found.address, array)
    return array


def _found(value: Any, batch: Any, where: str, name: str) -> _Found:
    """Return the description of an array, checked, and let the batch wait for it."""
    if isinstance(value, DeviceArray):
        found = _Found(value.address, value.shape, None, value.dtype.name, value)
    elif hasattr(value, "__dlpack__"):
        try:
            found = _from_dlpack(value, batch)
        except BufferError as error:
            raise TypeError(
                f"[{where}] `{name}` is an array that its library gives by DLPack. "
                f"Received {type(value).__name__}: {str(error).rstrip('.')}."
            ) from error
    else:
        found = _from_interface(value, batch, where, name)
    _check_contiguous(found, where, name)
    there, here = kernels().device_of(found.address), kernels().present_device()
    if there != here and math.prod(found.shape):
        place = "other memory" if there < 0 else f"memory of device {there}"
        raise ValueError(f"[{where}] `{name}` is in memory of device {here}. Received an array in {place}.")
    return found


def _from_dlpack(value: Any, batch: Any) -> _Found:
    try:
        capsule = value.__dlpack__(stream=batch.stream, max_version=_VERSIONED)
    except TypeError:  # a producer from before version 1
        capsule = value.__dlpack__(stream=batch.stream)
    address, shape, strides, (code, bits, lanes), _, owner = kernels().from_dlpack(capsule)
    dtype = f"{_CODES.get(code, 'unknown')}{'' if code == _BOOL else bits}"
    dtype = dtype if lanes == 1 else f"{dtype} x {lanes}"
    return _Found(address, tuple(shape), None if strides is None else tuple(strides), dtype, owner)


def _from_interface(value: Any, batch: Any, where: str, name: str) -> _Found:
    given = value.__cuda_array_interface__
    if given.get("mask") is not None:
        raise ValueError(f"[{where}] `{name}` has no missing values. Received an array with a mask.")
    dtype, strides = np.dtype(given["typestr"]), given.get("strides")
    if strides is not None:
        strides = tuple(stride // dtype.itemsize for stride in strides)
    if given.get("stream") is not None:
        batch.follow(given["stream"])
    return _Found(given["data"][0], tuple(given["shape"]), strides, dtype.name, value)


def _check_contiguous(found: _Found, where: str, name: str) -> None:
    """Raise ValueError unless an array is C-contiguous."""
    if found.strides is None or 0 in found.shape:
        return
    step = 1
    for size, stride in zip(reversed(found.shape), reversed(found.strides), strict=True):
        if size != 1 and stride != step:
            raise ValueError(
                f"[{where}] `{name}` on a device is C-contiguous. Received shape {found.shape} with strides "
                f"of {found.strides} numbers; make a contiguous copy."
            )
        step *= size
