"""Reading and writing of safetensors files, which contain named arrays and text, and no code.

A file consists of the length of its header (8 bytes), the header (JSON: type, shape and offsets of each
tensor, and text under ``__metadata__``), and the bytes of the tensors, all little-endian. The core reads and
writes it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.paths import path_of

__all__ = ["MAX_HEADER_BYTES", "read_safetensors", "write_safetensors"]

#: Largest size of a header in bytes: 1 MiB, enough for thousands of tensors.
MAX_HEADER_BYTES = _core.MAX_HEADER_BYTES


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write named arrays and text to a safetensors file; an existing file is replaced atomically.

    The function follows links, and keeps the permissions of a file that it replaces. Equal content gives
    equal bytes. The data starts at a multiple of 8 bytes, and larger number types come first, so that every
    tensor is aligned.

    Parameters
    ----------
    path : path
        File to create or replace, in an existing directory.
    tensors : mapping from name to array
        Floats of 16 to 64 bits or integers of 8 to 64 bits, of any shape and byte order.
    metadata : mapping from str to str
        Text that is stored with the arrays.

    Raises
    ------
    TypeError
        A name or a text is not a str, a tensor is not an array, or its type is not listed above.
    ValueError
        A name is ``__metadata__``, a text has a lone surrogate, the header is larger than
        ``MAX_HEADER_BYTES``, or the path is that of a device or a pipe.
    OSError
        The file cannot be written, for example because the disk is full. An existing file is not changed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "model.safetensors")
    ...     write_safetensors(path, {"w": np.arange(3.0)}, {"unit": "mV"})
    ...     read_safetensors(path)
    ({'w': array([0., 1., 2.])}, {'unit': 'mV'})
    """
    arrays = {_encoded(name): _native(name, tensor) for name, tensor in tensors.items()}
    texts = {_encoded(name): _encoded(text) for name, text in metadata.items()}
    _core.write_safetensors(os.fsencode(path_of(path, "write_safetensors")), arrays, texts)


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read a safetensors file; all content is checked, so that files of unknown origin are safe to read.

    Parameters
    ----------
    path : path
        File with a header of at most ``MAX_HEADER_BYTES``.

    Returns
    -------
    tensors : dict from str to array
        The tensors in native byte order; each has its own memory, in total at most the size of the file.
    metadata : dict from str to str
        The text that is stored with the arrays.

    Raises
    ------
    ValueError
        The file violates the format: it is truncated or padded, tensors overlap, a type is unknown, ...
    OSError
        The file cannot be read.

    References
    ----------
    Hugging Face, "Safetensors", format description.

    Examples
    --------
    >>> read_safetensors(os.devnull)
    Traceback (most recent call last):
    ValueError: [read_safetensors] The file starts with 8 bytes of header length. Received 0 in '/dev/null'.
    """
    return _core.read_safetensors(os.fsencode(path_of(path, "read_safetensors")))


def _encoded(text: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"[write_safetensors] Names and metadata are str. Received {text!r}.")
    # The core refuses lone surrogates, which are not valid text.
    return text.encode("utf-8", "surrogatepass")


def _native(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    if not isinstance(tensor, np.ndarray):
        received = f"{type(tensor).__name__} for '{name}'"
        raise TypeError(f"[write_safetensors] Tensors are NumPy arrays. Received {received}.")
    if tensor.dtype.kind not in "iuf" or tensor.itemsize > 8:
        rule = "Tensors are of 16- to 64-bit floats or 8- to 64-bit integers"
        raise TypeError(f"[write_safetensors] {rule}. Received {tensor.dtype} for '{name}'.")
    return tensor.astype(tensor.dtype.newbyteorder("="), order="C", copy=False)
