"""Reader of numeric arrays in MATLAB files of version 5, the format of SVHN."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from typing import BinaryIO

import numpy as np

from equiprop.arrays import Array

_HEADER, _TAG = 128, 8
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
#: Types of stored numbers, and classes of arrays, by their codes.
_STORED = {
    1: "<i1",
    2: "<u1",
    3: "<i2",
    4: "<u2",
    5: "<i4",
    6: "<u4",
    7: "<f4",
    9: "<f8",
    12: "<i8",
    13: "<u8",
}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX = 0x0800
#: Data that cannot be compressed grow by less than 1/1000 and 1024 bytes.
_EXPANSION, _OVERHEAD = 1000, 1024


def read_matlab(stream: BinaryIO, names: Collection[str], limit: int) -> dict[str, Array]:
    """Read real arrays of numbers from a MATLAB file of version 5 (little endian), compressed or not.

    Parameters
    ----------
    stream : binary file
    names : collection of str
        Names of the arrays, which must be in the file; others are ignored.
    limit : int
        Largest size of one variable in bytes. No more memory is used for it, whatever the file states.

    Returns
    -------
    dict
        The arrays by name, in Fortran order.

    Raises
    ------
    ValueError, struct.error, zlib.error
        The file has another format, is damaged, or lacks a name; the message gives the reason.

    References
    ----------
    The MathWorks, "MAT-File Format", sections on the level 5 format.
    """
    header = stream.read(_HEADER)
    if len(header) < _HEADER or header[124:] != b"\x00\x01IM":
        raise ValueError("the file does not start with the header of a MATLAB file of version 5")
    arrays: dict[str, Array] = {}
    for content in _variables(stream, limit):
        found = _array(content, names)
        if found is not None:
            if found[0] in arrays:
                raise ValueError(f"the file has two variables '{found[0]}'")
            arrays[found[0]] = found[1]
    if missing := sorted(set(names) - arrays.keys()):
        raise ValueError(f"the file has no variable '{missing[0]}'")
    return arrays


def _variables(stream: BinaryIO, limit: int) -> Iterator[memoryview]:
    """Yield the content of each variable of a file."""
    while tag := stream.read(_TAG):
        kind, size = struct.unpack("<II", tag)
        if size > limit + limit // _EXPANSION + _OVERHEAD:
            raise ValueError(f"a variable has at most {limit} bytes, and one has {size}")
        data = stream.read(size)
        if len(data) < size:
            raise ValueError(f"the file ends after {len(data)} of the {size} bytes of a variable")
        if kind == _COMPRESSED:
            data = _inflated(data, limit)
            kind, size = struct.unpack_from("<II", data)
            data = data[_TAG:]
        if kind != _MATRIX or size != len(data):
            raise ValueError(f"a variable is an array (type 14), and one has type {kind} and {size} bytes")
        yield memoryview(data)


def _inflated(data: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(data, limit + _TAG)
    if not stream.eof or stream.unused_data:
        raise ValueError(f"a variable is damaged, or larger than {limit} bytes")
    return content


def _elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield type and data of the elements of a variable."""
    begin = 0
    while begin < len(content):
        kind, size = struct.unpack_from("<II", content, begin)
        if kind >> 16:  # a small element: size and type are in one word, and up to four bytes follow
            kind, size, first, end = kind & 0xFFFF, kind >> 16, begin + 4, begin + _TAG
        else:
            first = begin + _TAG
            end = first + size + -size % 8
        if first + size > min(end, len(content)):
            raise ValueError("an element is longer than its variable")
        yield kind, content[first : first + size]
        begin = end


def _array(content: memoryview, names: Collection[str]) -> tuple[str, Array] | None:
    """Return name and array of a variable, or None if it has another name."""
    elements = _elements(content)
    flags, shape, name = (_expected(elements, kind) for kind in (_UINT32, _INT32, _INT8))
    title = bytes(name).decode("ascii", "replace")
    if title not in names:
        return None
    (word,) = struct.unpack_from("<I", flags)
    if word & 0xFF not in _CLASSES or word & _COMPLEX:
        raise ValueError(f"'{title}' is not an array of real numbers")
    sizes = np.frombuffer(shape, "<i4").tolist()
    kind, data = next(elements, (0, memoryview(b"")))
    if kind not in _STORED or min(sizes, default=0) < 0:
        raise ValueError(f"'{title}' has the shape {sizes}, and numbers of type {kind}")
    numbers = np.frombuffer(data, _STORED[kind])
    if math.prod(sizes) != len(numbers):
        raise ValueError(f"'{title}' has the shape {sizes}, and {len(numbers)} numbers")
    return title, numbers.astype(_CLASSES[word & 0xFF], copy=False).reshape(sizes, order="F")


def _expected(elements: Iterator[tuple[int, memoryview]], kind: int) -> memoryview:
    found, data = next(elements, (0, memoryview(b"")))
    if found != kind:
        raise ValueError(f"an element of a variable has type {found} instead of {kind}")
    return data
