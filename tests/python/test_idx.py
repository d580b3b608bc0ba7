"""The reader of IDX files accepts valid files only."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from equiprop.idx import MAX_IDX_BYTES, read_idx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from idx_files import CODES, idx_bytes

# The time of a write depends on the disk, so the examples have no deadline.
disk = settings(deadline=None)
shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)
idx_arrays = st.sampled_from(sorted(CODES)).flatmap(lambda dtype: hnp.arrays(dtype, shapes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx")


@disk
@given(idx_arrays, st.booleans())
def test_idx_files_are_read_back(folder: Path, array: np.ndarray, packed: bool) -> None:
    path = folder / "round"
    path.write_bytes(gzip.compress(idx_bytes(array), 1) if packed else idx_bytes(array))
    read = read_idx(path)
    assert (read.dtype, read.shape, read.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert read.dtype.isnative
    assert read.flags.writeable


@disk
@given(idx_arrays, st.booleans(), st.data())
def test_cut_idx_files_are_refused(
    folder: Path, array: np.ndarray, packed: bool, data: st.DataObject
) -> None:
    path, content = folder / "cut", idx_bytes(array)
    content = gzip.compress(content, 1) if packed else content
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=r"^\[read_idx\] (.* Received .*|cannot decompress '.*)cut'"):
        read_idx(path)


@disk
@given(idx_arrays, st.booleans(), st.integers(0, 10**6), st.integers(0, 255))
def test_mutated_idx_files_are_read_or_refused(
    folder: Path, array: np.ndarray, packed: bool, position: int, value: int
) -> None:
    path, content = folder / "mutated", idx_bytes(array)
    changed = bytearray(gzip.compress(content, 1) if packed else content)
    changed[position % len(changed)] = value
    path.write_bytes(changed)
    size, refusal = 0, "[read_idx] "
    try:
        size = read_idx(path).nbytes
    except ValueError as error:
        refusal = str(error)
    assert size <= len(content)
    assert refusal.startswith("[read_idx] ")


HEADER = bytes([0, 0, 8, 1, 0, 0, 0, 3])
LARGEST = struct.pack(">BBBBI", 0, 0, 8, 1, MAX_IDX_BYTES)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "two zero bytes"),
        (b"PK\x03\x04", "two zero bytes"),
        (HEADER[:3], "magic number of four bytes"),
        (b"\0\0\x0a\x01" + HEADER[4:], "type code"),
        (b"\0\0\x08\x00", "1 to 64 dimensions"),
        (b"\0\0\x08\x41" + bytes([0, 0, 0, 1]) * 65, "1 to 64 dimensions"),
        (HEADER[:6], "take 4 bytes"),
        (b"\0\0\x08\x01" + bytes(4), "at least 1"),
        (HEADER + b"ab", "3 bytes of data follow"),
        (HEADER + b"abcd", "3 bytes of data follow"),
        (b"\0\0\x0e\x04" + b"\xff" * 16, "at most 2147483648"),
        (b"\0\0\x0b\x01" + LARGEST[4:], "at most 2147483648"),
        (LARGEST, "2147483648 bytes of data follow"),
        (HEADER + bytes(30 * 2**20), "3 bytes of data follow"),
    ],
)
def test_false_idx_files_are_refused_without_much_memory(
    tmp_path: Path, content: bytes, reason: str, packed: bool
) -> None:
    path = tmp_path / "bad"
    path.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"^\[read_idx\] .*{reason}.* Received .*bad'"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22
