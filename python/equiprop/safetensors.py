"""Reading and writing safetensors files: named arrays and text, nothing that runs.

A file is the length of its header (8 bytes), the header (JSON: type, shape and place of each tensor, and
text under ``__metadata__``), then the bytes of the tensors, all little-endian.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import reprlib
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_HEADER_BYTES", "read_safetensors", "write_safetensors"]

#: The longest header written or read: 1 MiB, room for thousands of tensors.
MAX_HEADER_BYTES = 2**20

_DTYPES = {
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_METADATA = "__metadata__"
_MAX_DIMENSIONS = 64


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write named arrays and text to a safetensors file, atomically: all of the new file or all of the old.

    Equal content gives equal bytes. Data starts at a multiple of 8 bytes and larger number types come
    first, so every tensor is aligned.

    Parameters
    ----------
    path : path
        File to create or replace, in an existing directory.
    tensors : mapping from name to array
        Floats of 16 to 64 bits or integers of 8 to 64 bits, of any shape and byte order.
    metadata : mapping from str to str
        Text to store beside them.

    Raises
    ------
    TypeError
        A name or text is no str, a tensor no array, or its type not listed above.
    ValueError
        A name is ``__metadata__``, or names and text do not fit a header of ``MAX_HEADER_BYTES``.
    OSError
        Writing failed, for example on a full disk; nothing is left behind and an old file is intact.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "model.safetensors")
    ...     write_safetensors(path, {"w": np.arange(3.0)}, {"unit": "mV"})
    ...     read_safetensors(path)
    ({'w': array([0., 1., 2.])}, {'unit': 'mV'})
    """
    _check_names(tensors, metadata)
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    arrays: list[NDArray[Any]] = []
    end = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        array = _little_endian(name, tensors[name])
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": _CODES[array.dtype], "shape": array.shape, "data_offsets": (begin, end)}
        arrays.append(array)
    # The tensors go to the file from where they are, without one large copy of all of them.
    _replace(Path(path), (_encoded_header(header), *(array.data for array in arrays)))


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read a safetensors file, whoever wrote it; nothing in it is trusted before it is checked.

    Parameters
    ----------
    path : path
        File with a header of at most ``MAX_HEADER_BYTES``.

    Returns
    -------
    tensors : dict from str to array
        The tensors in native byte order, each with its own memory, at most the file's size in all.
    metadata : dict from str to str
        The text stored beside them.

    Raises
    ------
    ValueError
        The file departs from the format in any way: cut, padded, overlapping, of unknown type, ...

    References
    ----------
    Hugging Face, "Safetensors", format description.

    Examples
    --------
    >>> read_safetensors(os.devnull)
    Traceback (most recent call last):
    ValueError: [read_safetensors] The file starts with 8 bytes of header length. Received 0 in '/dev/null'.
    """
    with Path(path).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        try:
            header = _read_header(stream, size)
            metadata = _checked_metadata(header.pop(_METADATA, {}))
            entries = {name: _checked_entry(name, entry) for name, entry in header.items()}
            _check_layout([offsets for _, _, offsets in entries.values()], size - stream.tell())
            start = stream.tell()
            tensors = {
                name: _read_tensor(stream, start + begin, dtype, shape)
                for name, (dtype, shape, (begin, _)) in entries.items()
            }
        except ValueError as error:
            raise ValueError(f"[read_safetensors] {error} in '{path}'.") from error
    return tensors, metadata


def _check_names(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    for text in (*tensors, *metadata, *metadata.values()):
        if not isinstance(text, str):
            raise TypeError(f"[write_safetensors] Names and metadata are str. Received {text!r}.")
    for name, tensor in tensors.items():
        if not isinstance(tensor, np.ndarray):
            received = f"{type(tensor).__name__} for '{name}'"
            raise TypeError(f"[write_safetensors] Tensors are NumPy arrays. Received {received}.")
    if _METADATA in tensors:
        raise ValueError(f"[write_safetensors] '{_METADATA}' is reserved. Received a tensor of that name.")


def _little_endian(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    dtype = tensor.dtype.newbyteorder("<")
    if dtype not in _CODES:
        rule = "Tensors are of 16- to 64-bit floats or 8- to 64-bit integers; convert it"
        raise TypeError(f"[write_safetensors] {rule}. Received {dtype} for '{name}'.")
    return tensor.astype(dtype, order="C", copy=False)


def _encoded_header(header: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"[write_safetensors] Names and metadata are valid text. Received {error}."
        ) from error
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        rule = f"The header takes at most {MAX_HEADER_BYTES} bytes; store less metadata"
        raise ValueError(f"[write_safetensors] {rule}. Received {len(text)}.")
    return len(text).to_bytes(8, "little") + text


def _replace(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        rule = "The file is written whole or not at all; free space or choose another place"
        raise OSError(f"[write_safetensors] {rule}. Received {error!r} for '{path}'.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _read_header(stream: BinaryIO, size: int) -> dict[str, Any]:
    prefix = stream.read(8)
    _require(len(prefix) == 8, "The file starts with 8 bytes of header length", len(prefix))
    length = int.from_bytes(prefix, "little")
    bound = min(MAX_HEADER_BYTES, size - 8)
    _require(length <= bound, f"The header takes at most {bound} bytes here", length)
    text = stream.read(length)
    _require(text[:1] == b"{", "The header is a JSON object, from {", text[:1])
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (RecursionError, ValueError) as error:
        raise ValueError(f"The header is JSON in UTF-8 without repeated names. Received {error}") from error
    assert isinstance(header, dict)
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    _require(len(set(names)) == len(names), "Each name occurs once", names)
    return dict(pairs)


def _checked_metadata(metadata: object) -> dict[str, str]:
    texts = isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())
    _require(texts, "The metadata are an object of strings", metadata)
    assert isinstance(metadata, dict)
    return metadata


def _checked_entry(name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], tuple[int, int]]:
    fields = {"dtype", "shape", "data_offsets"}
    _require(isinstance(entry, dict) and entry.keys() == fields, f"{name!r} has {sorted(fields)}", entry)
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    known = isinstance(code, str) and code in _DTYPES
    _require(known, f"The type of {name!r} is among {sorted(_DTYPES)}", code)
    _require(_are_counts(shape), f"The shape of {name!r} is a list of non-negative integers", shape)
    _require(len(shape) <= _MAX_DIMENSIONS, f"{name!r} has at most {_MAX_DIMENSIONS} dimensions", len(shape))
    pair = _are_counts(offsets) and len(offsets) == 2
    _require(pair, f"The offsets of {name!r} are two non-negative integers", offsets)
    dtype, (begin, end) = _DTYPES[code], offsets
    # NumPy takes the product without the zeros, so a shape may be too large even though nothing is stored.
    spanned = math.prod(max(count, 1) for count in shape) * dtype.itemsize
    _require(spanned < 2**63, f"The shape of {name!r} can be addressed", shape)
    nbytes = math.prod(shape) * dtype.itemsize
    _require(
        end - begin == nbytes, f"{name!r} of type {code} and shape {shape} takes {nbytes} bytes", offsets
    )
    return dtype, tuple(shape), (begin, end)


def _are_counts(values: object) -> bool:
    # The type is compared because a bool is an int, too.
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_layout(offsets: list[tuple[int, int]], size: int) -> None:
    ordered = sorted(offsets)
    begins, ends = [begin for begin, _ in ordered], [end for _, end in ordered]
    rule = f"The tensors fill the {size} bytes of data without gap, overlap or remainder"
    _require([*begins, size] == [0, *ends], rule, ordered)


def _read_tensor(stream: BinaryIO, start: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    stream.seek(start)
    flat = np.fromfile(stream, dtype=dtype, count=math.prod(shape))
    return flat.reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _require(holds: bool, rule: str, received: object) -> None:
    if not holds:
        # Cut short, since what comes from the file may be as long as the header and nested to any depth.
        raise ValueError(f"{rule:.300}. Received {reprlib.repr(received):.300}")
