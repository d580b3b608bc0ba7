"""NPZ files: arrays by name in a zip archive, as `numpy.savez` and `numpy.savez_compressed` write them.

Every size in a file is compared with the bytes that the file has before memory is allocated, and no object is
unpickled.
"""

from __future__ import annotations

import errno
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import enough_memory
from equiprop.paths import file_errors

_RULE = "An NPZ file holds arrays of numbers, as numpy.savez writes them"
#: What the standard library and NumPy raise for an archive that is damaged.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError, ValueError, RuntimeError)
#: What NumPy and the parser of Python raise for a header that is none.
_NO_HEADER = (SyntaxError, tokenize.TokenError, MemoryError, ValueError, TypeError, LookupError, RuntimeError)
#: First bytes of files that are often renamed to .npz.
_OTHERS = {b"\x93NUMPY": "the single array of an NPY file", b"\x1f\x8b": "a gzip file", b"": "an empty file"}
#: Largest number of bytes into which one byte of deflate expands.
_EXPANSION = 1032
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: Path, where: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of an NPZ file by name.

    Raises
    ------
    ValueError
        If the file is not an NPZ file, is damaged or encrypted, or holds Python objects.
    MemoryError
        If an array is larger than the memory that is free.
    OSError
        If the file cannot be read.
    """
    with file_errors(path, where):
        with path.open("rb") as stream:
            start = stream.read(6)
        if not zipfile.is_zipfile(path):
            raise _refused(path, where, _kind(start))
        with _damage_named(path, where), zipfile.ZipFile(path) as archive:
            arrays: dict[str, NDArray[Any]] = {}
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in arrays:
                    raise _refused(path, where, f"two arrays {name!r}")
                arrays[name] = _array(archive, member, path, where)
            return arrays


def _kind(start: bytes) -> str:
    found = (kind for first, kind in _OTHERS.items() if (start.startswith(first) if first else not start))
    return next(found, "no zip archive of arrays")


def _refused(path: Path, where: str, received: str) -> ValueError:
    return ValueError(f"[{where}] {_RULE}. Received {received} in '{path}'.")


@contextmanager
def _damage_named(path: Path, where: str) -> Iterator[None]:
    """Raise ValueError with the name of the file for errors that its damaged content causes in this block."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        sentence = str(error).startswith(f"[{where}] ")
        if sentence or (isinstance(error, OSError) and error.errno != errno.EINVAL):
            raise  # EINVAL: a place outside of the file
        reason = str(error).rstrip(".") or type(error).__name__
        raise ValueError(f"[{where}] {_RULE}. Received '{path}', which is damaged: {reason}.") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, where: str) -> NDArray[Any]:
    """Return the array of a member after checks of what the archive and its header say."""
    name = repr(member.filename)
    if not member.filename.endswith(".npy"):
        raise _refused(path, where, f"{name}, whose name does not end in .npy,")
    if member.flag_bits & 1:
        raise _refused(path, where, f"{name}, which is encrypted,")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _refused(path, where, f"{name}, which is compressed by method {member.compress_type},")
    shape, dtype, begin = _header(archive, member, path, where)
    if dtype.hasobject:
        raise _refused(path, where, f"Python objects as {name}")
    size = math.prod(shape) * dtype.itemsize
    most = member.compress_size * (_EXPANSION if member.compress_type else 1)
    if min(shape, default=0) < 0 or size != member.file_size - begin or member.file_size > most:
        there = min(member.file_size, most)
        raise _refused(path, where, f"{name} of shape {shape} and type {dtype} with {there} bytes")
    what = f"{name} of '{path}'"
    with enough_memory(size, where, what, cure="Use a smaller file"), archive.open(member) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _header(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, where: str
) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return the shape and type of an array, and the number of bytes before its data."""
    with archive.open(member) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on files of Python 2
        try:
            read = _HEADERS[np.lib.format.read_magic(stream)]
            shape, _, dtype = read(stream)
        except _NO_HEADER as error:
            received = f"{member.filename!r}, which has no header of an array of numbers,"
            raise _refused(path, where, received) from error
        return shape, dtype, stream.tell()
