"""Reader of IDX files, the format of MNIST."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from equiprop.paths import file_errors, path_of

__all__ = ["MAX_IDX_BYTES", "read_idx"]

#: Largest size of the data in one file that :func:`read_idx` accepts, in bytes: 2 GiB.
MAX_IDX_BYTES = 2**31

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 64
_CHUNK = 2**20


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file, the format of MNIST, uncompressed or compressed with gzip.

    The content of the file, not its name, tells whether it is compressed. The memory that is used is
    proportional to the data that the file contains, also if the header states a larger size.

    Parameters
    ----------
    path : path
        File with at most ``MAX_IDX_BYTES`` bytes of data.

    Returns
    -------
    array
        The data in native byte order: uint8, int8, int16, int32, float32 or float64.

    Raises
    ------
    ValueError
        The file is not an IDX file, is damaged or too large, or has another size than its header states.
    OSError
        The file cannot be read.

    References
    ----------
    Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section on file formats.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "labels")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([7, 2, 1]))
    ...     read_idx(path).tolist()
    [7, 2, 1]
    """
    path = path_of(path, "read_idx")
    with file_errors(path, "read_idx"), path.open("rb") as raw:
        if raw.read(2) != b"\x1f\x8b":
            raw.seek(0)
            return _read_idx_stream(raw, path, os.fstat(raw.fileno()).st_size)
        raw.seek(0)
        try:
            with gzip.GzipFile(fileobj=raw) as stream:
                return _read_idx_stream(cast(BinaryIO, stream), path, None)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"[read_idx] cannot decompress '{path}': {error!r}. Copy or download the file again."
            ) from error


def _read_idx_stream(stream: BinaryIO, path: str | os.PathLike[str], size: int | None) -> NDArray[Any]:
    dtype, shape = _read_idx_header(stream, path)
    announced = math.prod(shape) * dtype.itemsize
    rule = f"{announced} bytes of data follow the header {dtype} {shape}"
    if size is not None:
        _require(size - stream.tell() == announced, rule, f"{size - stream.tell()}", path)
    data = _read_up_to(stream, announced)
    _require(len(data) == announced, rule, f"{len(data)}", path)
    _require(stream.read(1) == b"", rule, "more", path)
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_idx_header(stream: BinaryIO, path: str | os.PathLike[str]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    _require(magic[:2] == b"\0\0", "An IDX file starts with two zero bytes", f"{magic[:2]!r}", path)
    _require(len(magic) == 4, "An IDX file starts with a magic number of four bytes", f"{magic!r}", path)
    code, rank = magic[2:]
    _require(code in _IDX_TYPES, "The IDX type code is 8, 9, 11, 12, 13 or 14", f"{code}", path)
    _require(
        0 < rank <= _MAX_DIMENSIONS, f"An IDX array has 1 to {_MAX_DIMENSIONS} dimensions", f"{rank}", path
    )
    sizes = stream.read(4 * rank)
    _require(len(sizes) == 4 * rank, f"{rank} IDX sizes take {4 * rank} bytes", f"{len(sizes)}", path)
    dtype, shape = np.dtype(_IDX_TYPES[code]), struct.unpack(f">{rank}I", sizes)
    _require(min(shape) > 0, "Each IDX size is at least 1", f"{shape}", path)
    rule = f"An IDX array has at most {MAX_IDX_BYTES} bytes"
    _require(math.prod(shape) * dtype.itemsize <= MAX_IDX_BYTES, rule, f"{dtype} {shape}", path)
    return dtype, shape


def _read_up_to(stream: BinaryIO, count: int) -> bytearray:
    # In chunks: a wrong size in the header must not make the reader allocate more than the file contains.
    data = bytearray()
    while chunk := stream.read(min(_CHUNK, count - len(data))):
        data += chunk
    return data


def _require(holds: bool, rule: str, received: str, path: str | os.PathLike[str]) -> None:
    if not holds:
        raise ValueError(f"[read_idx] {rule}. Received {received} in '{path}'.")
