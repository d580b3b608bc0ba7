"""Safetensors files: round trips, the reference implementation, damaged files and failed writes."""

from __future__ import annotations

import errno
import json
import os
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from equiprop.safetensors import MAX_HEADER_BYTES, read_safetensors, write_safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from limits import largest_file
from safetensors import numpy as oracle
from safetensors import safe_open

DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
    lambda name: name != "__metadata__"
)
# The time of a write depends on the disk, so the examples have no deadline.
disk = settings(deadline=None)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
arrays = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, shapes))
tensor_maps = st.dictionaries(names, arrays, max_size=4)
metadata_maps = st.dictionaries(names, names, max_size=3)
SAMPLE = {"weight": np.arange(6.0).reshape(2, 3), "step": np.array(7), "bytes": np.array([1, 2, 3], np.uint8)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("safetensors")


def encoded(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    def described(tensors: dict[str, np.ndarray]) -> dict[str, tuple[Any, ...]]:
        return {name: (array.dtype, array.shape, array.tobytes()) for name, array in tensors.items()}

    return described(left) == described(right)


@disk
@given(tensor_maps, metadata_maps)
def test_what_is_written_is_read_here_and_by_the_reference_implementation(
    folder: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]
) -> None:
    path = folder / "ours"
    write_safetensors(path, tensors, metadata)
    read, text = read_safetensors(path)
    assert same(read, tensors)
    assert text == metadata
    assert all(array.flags.writeable for array in read.values())
    assert same(oracle.load(path.read_bytes()), tensors)
    with safe_open(path, "numpy") as stream:
        assert (stream.metadata() or {}) == metadata


@disk
@given(tensor_maps, metadata_maps)
def test_what_the_reference_implementation_writes_is_read(
    folder: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]
) -> None:
    path = folder / "theirs"
    path.write_bytes(oracle.save(tensors, metadata or None))
    read, text = read_safetensors(path)
    assert same(read, tensors)
    assert text == metadata


@disk
@given(tensor_maps, metadata_maps)
def test_bytes_are_aligned_and_do_not_depend_on_the_order_of_names(
    folder: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]
) -> None:
    path, other = folder / "one", folder / "other"
    write_safetensors(path, tensors, metadata)
    write_safetensors(other, dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    content = path.read_bytes()
    assert content == other.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    assert all(header[name]["data_offsets"][0] % array.itemsize == 0 for name, array in tensors.items())


@disk
@given(tensor_maps, st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), names, max_size=3))
def test_the_bytes_are_those_of_a_writer_in_python(
    folder: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]
) -> None:
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        offsets = [len(data), len(data) + tensors[name].nbytes]
        code = f"{tensors[name].dtype.kind.upper()}{8 * tensors[name].itemsize}"
        header[name] = {"dtype": code, "shape": tensors[name].shape, "data_offsets": offsets}
        data += tensors[name].tobytes()
    text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    write_safetensors(folder / "bytes", tensors, metadata)
    assert (folder / "bytes").read_bytes() == encoded(text + b" " * (-len(text) % 8), data)


def test_layout_and_byte_order_do_not_change_the_values(tmp_path: Path) -> None:
    grid = np.arange(12.0).reshape(3, 4)
    tensors = {"fortran": np.asfortranarray(grid), "strided": grid[::2, ::-1], "big": grid.astype(">f4")}
    tensors["long long"] = np.arange(3, dtype=np.longlong)
    write_safetensors(tmp_path / "a", tensors, {})
    read, _ = read_safetensors(tmp_path / "a")
    for name, array in tensors.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype.isnative


@disk
@given(st.data())
def test_cut_files_are_refused(folder: Path, data: st.DataObject) -> None:
    path = folder / "cut"
    write_safetensors(path, SAMPLE, {"unit": "mV"})
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=r"^\[read_safetensors\] .* Received .* in '.*cut'\.$"):
        read_safetensors(path)


@disk
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=3))
def test_mutated_files_are_read_or_refused(folder: Path, changes: list[tuple[int, int]]) -> None:
    path = folder / "mutated"
    write_safetensors(path, SAMPLE, {"unit": "mV"})
    content = bytearray(path.read_bytes())
    for position, value in changes:
        content[position % len(content)] = value
    path.write_bytes(content)
    read_or_refuse(path)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["F32", "U8"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "x", "__metadata__"]), inner)
    ),
    max_leaves=12,
)


@disk
@given(json_values, st.binary(max_size=8))
def test_any_header_is_read_or_refused(folder: Path, header: Any, data: bytes) -> None:
    path = folder / "any"
    path.write_bytes(encoded(header, data))
    read_or_refuse(path)


def read_or_refuse(path: Path) -> None:
    tensors, refusal = {}, f"[read_safetensors] Rule. Received 0 in '{path}'."
    try:
        tensors, _ = read_safetensors(path)
    except ValueError as error:
        refusal = str(error)
    assert sum(array.nbytes for array in tensors.values()) <= path.stat().st_size
    assert re.fullmatch(r"\[read_safetensors\] .*\. Received .{1,300} in '.*'\.", refusal)


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "8 bytes of header length"),
        (bytes([255] * 8) + b"{}", "header takes at most 2 bytes"),
        (encoded(b"{}")[:-1], "header takes at most"),
        (encoded(b""), "JSON object"),
        (encoded(b" {}"), "JSON object"),
        (encoded(b'{"a'), "JSON in UTF-8"),
        (encoded(b'{"\xff":{}}'), "JSON in UTF-8"),
        (encoded(b'{"\\ud800":{}}'), "JSON in UTF-8"),
        (encoded(b'{"a":' + b"[" * 100_000), "'a' has"),
        (encoded(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"), "'a' has"),
        (encoded(b'{"a":' + b"9" * 5000 + b"}"), "'a' has"),
        (encoded(b'{"__metadata__":{},"__metadata__":{}}'), "occurs once"),
        (encoded(b'{"__metadata__":{"a":"x","a":"y"}}'), "occurs once"),
        (encoded({"__metadata__": []}), "object of strings"),
        (encoded({"__metadata__": {"a": 1}}), "object of strings"),
        (encoded({"a": 3}), "'a' has"),
        (encoded({"a": {"dtype": "F32"}}), "'a' has"),
        (encoded({"a": entry(more=1)}, bytes(4)), "'a' has"),
        (encoded({"a": entry(dtype="F31")}, bytes(4)), "type of 'a'"),
        (encoded({"a": entry(dtype=["F32"])}, bytes(4)), "type of 'a'"),
        (encoded({"a": entry(shape=[-1])}, bytes(4)), "shape of 'a'"),
        (encoded({"a": entry(shape=[True])}, bytes(4)), "shape of 'a'"),
        (encoded({"a": entry(shape=[1.0])}, bytes(4)), "shape of 'a'"),
        (encoded({"a": entry(shape=1)}, bytes(4)), "shape of 'a'"),
        (encoded({"a": entry(shape=[1] * 65)}, bytes(4)), "dimensions"),
        (encoded({"a": entry(shape=[0, 2**62, 2**62], offsets=[0, 0])}), "can be addressed"),
        (encoded({"a": entry(shape=[2**40, 2**40])}, bytes(4)), "can be addressed"),
        (encoded({"a": entry(shape=[2**30])}, bytes(4)), "takes 4294967296 bytes"),
        (encoded({"a": entry(shape=[2**30], offsets=[0, 2**32])}, bytes(4)), "without gap"),
        (encoded({"a": entry(offsets=[0, 4, 4])}, bytes(4)), "offsets of 'a'"),
        (encoded({"a": entry(offsets=[-4, 0])}, bytes(4)), "offsets of 'a'"),
        (encoded({"a": entry(offsets=[4, 0])}, bytes(4)), "takes 4 bytes"),
        (encoded({"a": entry()}, bytes(5)), "without gap"),
        (encoded({"a": entry()}, bytes(3)), "without gap"),
        (encoded({"a": entry(offsets=[4, 8])}, bytes(8)), "without gap"),
        (encoded({"a": entry(), "b": entry()}, bytes(4)), "without gap"),
        (encoded({"a": entry(), "b": entry(offsets=[2, 6])}, bytes(6)), "without gap"),
        (encoded({"a": entry(), "b": entry(offsets=[8, 12])}, bytes(12)), "without gap"),
        (encoded({}, b"left over"), "without gap"),
        (encoded({"__metadata__": {"a": "x" * MAX_HEADER_BYTES}}), "header takes at most 1048576"),
    ],
)
def test_every_departure_from_the_format_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_safetensors(path)


def test_a_false_size_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "false"
    path.write_bytes(encoded({"a": entry(shape=[2**28], offsets=[0, 2**30])}, bytes(4)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="without gap"):
        read_safetensors(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "never"
    for tensors, metadata in (
        ({"a": np.array([True])}, {}),
        ({"a": np.array([1j])}, {}),
        ({"a": [1.0]}, {}),
        ({1: np.ones(1)}, {}),
        ({}, {"a": 1}),
    ):
        with pytest.raises(TypeError, match=r"^\[write_safetensors\] .* Received "):
            write_safetensors(path, tensors, metadata)
    reserved, surrogate, long = {"__metadata__": np.ones(1)}, {"a": "\ud800"}, {"a": "x" * MAX_HEADER_BYTES}
    for tensors, metadata in ((reserved, {}), ({}, surrogate), ({}, long)):
        with pytest.raises(ValueError, match=r"^\[write_safetensors\] .* Received "):
            write_safetensors(path, tensors, metadata)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [600, 100_000])
def test_a_write_that_does_not_fit_leaves_the_old_file(tmp_path: Path, count: int) -> None:
    path = tmp_path / "model"
    write_safetensors(path, SAMPLE, {})
    message = r"^\[write_safetensors\] cannot write '.*': File too large\. No file was changed\."
    with pytest.raises(OSError, match=message) as refusal, largest_file(4096):
        write_safetensors(path, {"large": np.ones(count)}, {})
    assert refusal.value.errno == errno.EFBIG
    assert same(read_safetensors(path)[0], SAMPLE)
    assert list(tmp_path.iterdir()) == [path]


def test_only_files_are_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path(os.devnull)):
        with pytest.raises(ValueError, match=r"^\[write_safetensors\] Only a regular file is replaced\."):
            write_safetensors(path, SAMPLE, {})
    assert pipe.is_fifo()


def test_a_link_is_followed_and_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    file, link = tmp_path / "folder" / "model", tmp_path / "link"
    write_safetensors(file, {}, {})
    file.chmod(0o600)
    link.symlink_to(file)
    write_safetensors(link, SAMPLE, {})
    assert link.is_symlink()
    assert same(read_safetensors(file)[0], SAMPLE)
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent" / "model", tmp_path / "file" / "model", tmp_path):
        with pytest.raises(OSError, match=r"^\[write_safetensors\] .* choose another place"):
            write_safetensors(path, SAMPLE, {})
    message = r"^\[read_safetensors\] cannot read .*: No such file"
    with pytest.raises(FileNotFoundError, match=message) as refusal:
        read_safetensors(tmp_path / "absent")
    assert refusal.value.errno == errno.ENOENT
    with pytest.raises(IsADirectoryError):
        read_safetensors(tmp_path)
    with pytest.raises(IsADirectoryError):
        read_safetensors("/proc")
    with pytest.raises(ValueError, match="zero byte"):
        read_safetensors("nul\0")
