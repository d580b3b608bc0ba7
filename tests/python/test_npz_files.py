"""NPZ files of data sets and recordings have one reader, which refuses every damage with a sentence."""

from __future__ import annotations

import gzip
import io
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.data_files import load_files, load_inputs
from equiprop.npz_files import read_npz

READERS: dict[str, Callable[[Path], Any]] = {
    "load_files": load_files,
    "load_inputs": lambda path: load_inputs(path, 2),
    "read_recordings": lambda path: eq.verify.read_recordings(path, step_size=0.1),
}


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("_npy", ".npy"), content)
    return stream.getvalue()


def saved(compress: bool = False, **arrays: Any) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(stream, **arrays)
    return stream.getvalue()


def header(shape: Any, descr: str = "<f8", version: bytes = b"\x01\x00") -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[:1] == b"\x01" else 4, "little") + text


GOOD = saved(x=np.arange(6.0).reshape(3, 2))


def changed(content: bytes, local: int, central: int, value: int) -> bytes:
    """Change a byte of the first entry in an archive: in its local header, and in the central directory."""
    data = bytearray(content)
    data[data.find(b"PK\x03\x04") + local] = value
    data[data.find(b"PK\x01\x02") + central] = value
    return bytes(data)


def plain_npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.arange(3.0))
    return stream.getvalue()


def huge_entry() -> bytes:
    """An array of a terabyte, of which the archive itself says that it is stored in it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", header((2**29,)) + bytes(1000))
    data = bytearray(stream.getvalue())
    size = (len(header((2**29,))) + 2**32 - 2**31).to_bytes(4, "little")
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.find(mark) + place
        data[start : start + 4] = size
    return bytes(data)


BAD = {
    "an empty file": (b"", "an empty file"),
    "a table": (b"beta,time,s0\n0.1,0,1\n", "no zip archive of arrays"),
    "an npy file": (plain_npy(), "the single array of an NPY file"),
    "gzip": (gzip.compress(GOOD), "a gzip file"),
    "truncated": (GOOD[:-30], "no zip archive of arrays"),
    "a flipped byte": (changed(GOOD, 200, 16, 0x7F), "is damaged"),
    "encrypted": (changed(GOOD, 6, 8, 1), "'x.npy', which is encrypted"),
    "method 99": (changed(GOOD, 8, 10, 99), "'x.npy', which is compressed by method 99"),
    "objects": (saved(x=np.array([None])), "Python objects as 'x.npy'"),
    "no header": (archive(x_npy=b"garbage"), "'x.npy', which has no header"),
    "an empty member": (archive(x_npy=b""), "'x.npy', which has no header"),
    "open brackets": (archive(x_npy=b"\x93NUMPY\x01\x00\x08\x00[[[[(((("), "'x.npy', which has no header"),
    "deep brackets": (
        archive(x_npy=b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"[" * 9000),
        "'x.npy', which has no header",
    ),
    "an unknown version": (archive(x_npy=header((1,), version=b"\x09\x00")), "which has no header"),
    "no type": (archive(x_npy=header((1,), "zz")), "which has no header"),
    "a huge shape": (archive(x_npy=header((10**15,))), "shape (1000000000000000,) and type float64 with"),
    "a huge entry": (huge_entry(), "shape (536870912,) and type float64 with"),
    "a negative shape": (archive(x_npy=header((-3,)) + bytes(24)), "shape (-3,)"),
    "too little data": (archive(x_npy=header((3,)) + bytes(16)), "shape (3,)"),
    "too much data": (archive(x_npy=header((3,)) + bytes(32)), "shape (3,)"),
    "no suffix": (archive(x=b"1"), "'x', whose name does not end in .npy"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", BAD)
def test_damage_is_refused_with_a_sentence(name: str, reader: str, tmp_path: Path) -> None:
    content, words = BAD[name]
    path = tmp_path / "given.npz"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"^\[{reader}\] An NPZ file holds arrays") as found:
            READERS[reader](path)
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()
    message = str(found.value)
    assert re.fullmatch(r"\[\w+\] .+\. Received .+\.", message)
    assert words in message
    assert f"'{path}'" in message
    assert "pickle" not in message


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "given.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", plain_npy())
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("x.npy", plain_npy())
    with pytest.raises(ValueError, match="two arrays 'x'"):
        read_npz(path, "here")
    np.savez(path, x=np.ones((5, 2)), X=np.ones((5, 2)), y=np.zeros(5, int))
    with pytest.raises(ValueError, match=r"differ in more than .* Received \['X', 'x', 'y'\]"):
        load_files(path)


def test_an_array_beyond_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "given.npz").write_bytes(GOOD)
    monkeypatch.setattr("equiprop.checks.physical_memory", lambda: 10)
    with pytest.raises(MemoryError, match=r"^\[here\] cannot allocate .* 'x\.npy' of '.*given\.npz'"):
        read_npz(tmp_path / "given.npz", "here")


@pytest.mark.parametrize("compress", [False, True])
def test_arrays_of_every_kind_are_read(compress: bool, tmp_path: Path) -> None:
    arrays = {
        "zeros": np.zeros((1000, 1000)),
        "none": np.ones((0, 3)),
        "number": np.float32(2.5),
        "text": np.array(["a", "bc"]),
        "big": np.arange(6, dtype=">i4").reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "flags": np.array([True, False]),
        "complex": np.array([1j]),
    }
    (tmp_path / "given.npz").write_bytes(saved(compress, **arrays))
    found = read_npz(tmp_path / "given.npz", "here")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, kind in ((tmp_path / "none.npz", FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(kind, match=r"^\[here\] cannot read '"):
            read_npz(path, "here")


@pytest.mark.parametrize(
    ("ending", "read"),
    [
        (".csv", load_files),
        (".npz", load_files),
        (".csv", partial(eq.verify.read_recordings, step_size=0.1)),
        (".npz", partial(eq.verify.read_recordings, step_size=0.1)),
        (".json", eq.verify.replay),
    ],
)
def test_a_device_without_an_end_is_refused(ending: str, read: Any, tmp_path: Path) -> None:
    path = tmp_path / f"zeros{ending}"
    path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"A file has an end\. Received the device '.*zeros"):
        read(path)
