"""Public sets of images: the published formats, and files that are damaged or hostile."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import equiprop as eq
import numpy as np
import pytest
from equiprop.data import load_image_set
from equiprop.image_sets import IMAGE_SETS
from equiprop.matlab_files import read_matlab
from idx_files import write_mnist
from image_files import LAYOUTS, Entry, cifar_contents, entry, images, packed, write_cifar, write_svhn

Loader = Callable[[Path], tuple[eq.Dataset, eq.Dataset]]
CIFAR = LAYOUTS["cifar10"]
COLOURED = pytest.mark.parametrize("name", LAYOUTS)


def written(name: str, directory: Path) -> Path:
    """Write small files of a data set, and return their directory."""
    directory.mkdir(parents=True, exist_ok=True)
    if name in LAYOUTS:
        write_cifar(directory, LAYOUTS[name])
    elif name == "svhn":
        write_svhn(directory)
    else:
        write_mnist(directory, suffix=".gz")
    return directory


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_every_set_has_bytes_with_channels_first_and_the_scale_of_mnist(name: str, tmp_path: Path) -> None:
    load: Loader = getattr(eq, f"load_{name}")
    for part in load(written(name, tmp_path / name)):
        assert (part.x.dtype, part.scale) == (np.uint8, eq.Scaling.by(1 / 255))
        assert part.num_features == np.prod(IMAGE_SETS[name].shape)
        assert part.num_classes == IMAGE_SETS[name].classes
        assert part.x.flags.c_contiguous
        assert part.batch(np.arange(len(part)), np.float32)[0].max() == 1


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_a_missing_file_is_named_with_its_cure(name: str, tmp_path: Path) -> None:
    text = rf"^\[load_{name}\] cannot find '.*The folder is empty\. equiprop\.download\.fetch_{name}\("
    with pytest.raises(FileNotFoundError, match=text):
        load_image_set(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "below"),
    [("fashion_mnist", "FashionMNIST/raw"), ("kmnist", "KMNIST/raw"), ("svhn", "SVHN")],
)
def test_files_are_found_in_the_folders_of_torchvision(name: str, below: str, tmp_path: Path) -> None:
    written(name, tmp_path / below)
    assert len(load_image_set(name, tmp_path)[0]) > 0


# ------------------------------------------------------------------------------------------- CIFAR


def unpacked(directory: Path, name: str) -> dict[str, bytes]:
    contents = cifar_contents(LAYOUTS[name])
    for path, content in contents.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    return contents


@COLOURED
@pytest.mark.parametrize("form", ["archive", "folder", "files"])
def test_cifar_is_read_from_its_archive_and_its_files(name: str, form: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    if form == "archive":
        write_cifar(tmp_path, layout)
    else:
        unpacked(tmp_path, name)
    train, test = load_image_set(name, tmp_path / layout.folder if form == "files" else tmp_path)
    parts = len(layout.train)
    expected = np.concatenate([images(4, k) for k in range(parts)])
    np.testing.assert_array_equal(train.x.reshape(-1, 3, 32, 32), expected)
    np.testing.assert_array_equal(test.x.reshape(-1, 3, 32, 32), images(4, parts))
    np.testing.assert_array_equal(train.y, np.concatenate([np.arange(4) + k for k in range(parts)]))
    np.testing.assert_array_equal(test.y, np.arange(4) + parts)


@COLOURED
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data, size: data[:-1], "bytes"),
        (lambda data, size: b"", "0 bytes"),
        (lambda data, size: b"\xff" * size, r"labels are 0 to \d+, and one is 255"),
    ],
    ids=["cut", "empty", "label"],
)
def test_damaged_files_of_cifar_are_refused(
    name: str, damage: Callable[[bytes, int], bytes], reason: str, tmp_path: Path
) -> None:
    contents, layout = unpacked(tmp_path, name), LAYOUTS[name]
    path = list(contents)[-1]
    contents[path] = damage(contents[path], layout.record)
    (tmp_path / path).write_bytes(contents[path])
    with pytest.raises(ValueError, match=rf"^\[load_{name}\] cannot read '.*{path}': .*{reason}.*again\.$"):
        load_image_set(name, tmp_path)
    (tmp_path / path).unlink()
    (tmp_path / layout.archive).write_bytes(packed(entry(*pair) for pair in contents.items()))
    with pytest.raises(ValueError, match=rf"^\[load_{name}\] cannot read '.*gz': .*{reason}.*again\.$"):
        load_image_set(name, tmp_path)


def refusal(directory: Path, archive: bytes) -> str:
    """Return the error of an archive as CIFAR-10, which must leave no other file, and use little memory."""
    (directory / CIFAR.archive).write_bytes(archive)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"^\[load_cifar10\] cannot read '.*gz': ") as told:
        eq.load_cifar10(directory)
    assert tracemalloc.get_traced_memory()[1] < 16e6
    tracemalloc.stop()
    assert [path.name for path in directory.iterdir()] == [CIFAR.archive]
    return str(told.value)


def good_entries() -> list[Entry]:
    return [entry(*pair) for pair in cifar_contents(CIFAR).items()]


FIRST = f"{CIFAR.folder}/{CIFAR.train[0]}"


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        (entry(FIRST, kind=tarfile.SYMTYPE, linkname="/etc/passwd"), "is not a regular file"),
        (entry(FIRST, kind=tarfile.LNKTYPE, linkname="../../secret"), "is not a regular file"),
        (entry(FIRST, kind=tarfile.FIFOTYPE), "is not a regular file"),
        (entry(FIRST, kind=tarfile.DIRTYPE), "is not a regular file"),
        (entry(FIRST, kind=tarfile.CHRTYPE), "is not a regular file"),
        (entry(FIRST, kind=tarfile.GNUTYPE_SPARSE), "is not a regular file"),
        (entry(FIRST, bytes(31_000_000)), "31000000 bytes"),
        (entry(f"../{FIRST}"), "has no entry"),
        (entry(f"/{FIRST}"), "has no entry"),
        (entry(f"{CIFAR.folder}/../{FIRST}"), "has no entry"),
    ],
    ids=["symbolic", "hard", "pipe", "folder", "device", "sparse", "huge", "above", "root", "dots"],
)
def test_hostile_entries_are_refused(hostile: Entry, reason: str, tmp_path: Path) -> None:
    archive = packed([hostile, *good_entries()[1:]])
    assert reason in refusal(tmp_path, archive)


def test_entries_with_other_names_are_never_written(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    names = ("../outside", str(tmp_path / "absolute"), f"{CIFAR.folder}/../../outside")
    others = [entry(name, b"hostile") for name in names]
    (folder / CIFAR.archive).write_bytes(packed([*others, *good_entries()]))
    assert len(eq.load_cifar10(folder)[0]) == 20
    assert list(tmp_path.rglob("*")) == [folder, folder / CIFAR.archive]


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    entries = good_entries()
    assert f"two entries '{FIRST}'" in refusal(tmp_path, packed([entries[0], *entries]))


def test_an_entry_with_a_huge_stated_size_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo(FIRST)
    header.size = 2**62
    assert f"{2**62} bytes" in refusal(tmp_path, gzip.compress(header.tobuf(tarfile.GNU_FORMAT)))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME], ids=["pax", "long name"])
def test_descriptions_that_inflate_without_end_are_refused(
    kind: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is 185 MB for the published archive; a smaller one keeps the test quick."""
    small = CIFAR.__class__(CIFAR.archive, CIFAR.folder, ("data_batch_1.bin",), "test_batch.bin", 100, 1, 10)
    reader = IMAGE_SETS["cifar10"].read
    monkeypatch.setitem(reader.keywords, "layout", small)  # type: ignore[attr-defined]
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 2**30
    archive = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**25), 1)
    assert len(archive) < 2**18
    assert "larger than the published one" in refusal(tmp_path, archive)


def test_many_entries_are_refused(tmp_path: Path) -> None:
    assert "more than 100 entries" in refusal(tmp_path, packed(entry(f"{k}") for k in range(101)))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_archive_is_refused(share: float, tmp_path: Path) -> None:
    archive = packed(good_entries())
    refusal(tmp_path, archive[: int(share * len(archive))])


@pytest.mark.parametrize("kept", [0, 100, CIFAR.record, 3 * CIFAR.record, 4 * CIFAR.record - 1])
def test_an_archive_that_ends_inside_an_entry_is_refused(kept: int, tmp_path: Path) -> None:
    content = gzip.decompress(packed(good_entries()))
    assert "unexpected end of data" in refusal(tmp_path, gzip.compress(content[: 512 + kept], 1))


def test_a_wrong_checksum_at_the_end_of_an_archive_is_noticed(tmp_path: Path) -> None:
    archive = bytearray(packed(good_entries()))
    archive[-8] ^= 1
    assert "CRC" in refusal(tmp_path, bytes(archive))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_archive_with_damaged_headers_is_refused_or_read_and_nothing_else(
    form: int, tmp_path: Path
) -> None:
    buffer, random = io.BytesIO(), np.random.default_rng(0)
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in cifar_contents(CIFAR, 1).items():
            info, _ = entry(name, content, pax_headers={"mtime": "1.5"})
            archive.addfile(info, io.BytesIO(content))
    good = buffer.getvalue()
    headers = [k for k in range(0, len(good), 512) if good[k + 257 : k + 262] == b"ustar"]
    refused = 0
    for _ in range(100):
        content, header = bytearray(good), int(random.choice(headers))
        for place in header + random.choice(512, 5):
            content[place] = random.choice([0, 48, 55, 76, 83, 103, 120, 128, 255])
        content[header + 148 : header + 156] = b" " * 8  # a header has the sum of its bytes
        content[header + 148 : header + 156] = b"%06o\0 " % sum(content[header : header + 512])
        (tmp_path / CIFAR.archive).write_bytes(gzip.compress(bytes(content), 1))
        try:
            assert len(eq.load_cifar10(tmp_path)[1]) == 1
        except ValueError as error:
            assert str(error).startswith("[load_cifar10] cannot read '")  # noqa: PT017
            refused += 1
    assert 20 < refused < 100


def test_other_content_under_the_name_of_an_archive_is_refused(tmp_path: Path) -> None:
    for content in (b"<html>no such file</html>", gzip.compress(b"text"), gzip.compress(b"")):
        refusal(tmp_path, content)


# ------------------------------------------------------------------------------------------- SVHN


@pytest.mark.parametrize("compressed", [True, False])
def test_svhn_is_read_with_channels_first_and_zero_as_label_zero(compressed: bool, tmp_path: Path) -> None:
    write_svhn(tmp_path, compressed)
    for k, part in enumerate(eq.load_svhn(tmp_path)):
        np.testing.assert_array_equal(part.x.reshape(-1, 3, 32, 32), images(12, k))
        assert part.y.tolist() == [*range(1, 10), 0, 1, 2]


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("compressed", [True, False])
def test_matlab_arrays_are_those_that_scipy_writes(kind: str, compressed: bool) -> None:
    from scipy.io import savemat

    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    stream = io.BytesIO()
    others = {"other": np.eye(2), "text": "abc", "cells": np.array([1, "a"], object), "z": np.ones(2) * 1j}
    savemat(stream, {**others, "a": array, "b": np.array([[5.0]])}, do_compression=compressed)
    stream.seek(0)
    read = read_matlab(stream, ("a", "b"), 10_000)
    assert read["a"].dtype == array.dtype
    np.testing.assert_array_equal(read["a"], array)
    assert read["b"].tolist() == [[5.0]]


def test_variables_up_to_the_limit_are_read_also_if_they_cannot_be_compressed() -> None:
    from scipy.io import savemat

    array = np.random.default_rng(0).integers(0, 256, (1000, 300), np.uint8)
    plain, stream = io.BytesIO(), io.BytesIO()
    savemat(plain, {"a": array})
    savemat(stream, {"a": array}, do_compression=True)
    size = len(plain.getvalue()) - 128 - 8
    assert len(stream.getvalue()) > len(plain.getvalue())
    for file in (plain, stream):
        file.seek(0)
        np.testing.assert_array_equal(read_matlab(file, ("a",), size)["a"], array)
    stream.seek(0)
    with pytest.raises(ValueError, match=f"larger than {size - 9} bytes"):
        read_matlab(stream, ("a",), size - 9)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, "no variable 'y'"),
        ({"y": np.ones((2, 1))}, "no variable 'X'"),
        ({"X": np.zeros((32, 32, 3, 2)), "y": np.ones((2, 1))}, r"images are bytes .* float64"),
        ({"X": np.zeros((32, 31, 3, 2), np.uint8), "y": np.ones((2, 1))}, r"images are bytes"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.ones((3, 1))}, r"2 numbers 1 to 10 .* \(3, 1\)"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.zeros((2, 1))}, "2 numbers 1 to 10"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.full((2, 1), np.nan)}, "2 numbers 1 to 10"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.ones((2, 1)) * 1j}, "real numbers"),
        ({"X": "text", "y": np.ones((2, 1))}, "real numbers"),
    ],
)
def test_other_arrays_are_refused(arrays: dict[str, object], reason: str, tmp_path: Path) -> None:
    from scipy.io import savemat

    write_svhn(tmp_path)
    savemat(tmp_path / "test_32x32.mat", arrays)
    with pytest.raises(ValueError, match=rf"^\[load_svhn\] cannot read '.*test_32x32\.mat': .*{reason}"):
        eq.load_svhn(tmp_path)


def element(kind: int, data: bytes) -> bytes:
    """Return an element of a MATLAB file of version 5: type, size, and data up to a multiple of 8 bytes."""
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


FLAGS, SHAPE, NAME = (
    element(6, struct.pack("<II", 9, 0)),
    element(5, struct.pack("<ii", 1, 2)),
    element(1, b"X"),
)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ([FLAGS + SHAPE + NAME + element(2, b"ab")] * 2, "the file has two variables 'X'"),
        ([FLAGS + SHAPE + NAME + element(4, b"ab")], r"'X' has the shape \[1, 2\], and 1 numbers"),
        ([FLAGS + SHAPE + NAME + element(8, b"ab")], r"'X' has the shape \[1, 2\], and numbers of type 8"),
        ([FLAGS + SHAPE + NAME], r"'X' has the shape \[1, 2\], and numbers of type 0"),
        ([FLAGS + element(5, struct.pack("<ii", -1, -2)) + NAME + element(2, b"ab")], r"shape \[-1, -2\]"),
        ([FLAGS + SHAPE], "an element of a variable has type 0 instead of 1"),
        ([FLAGS + SHAPE + NAME + struct.pack("<II", 2, 9)], "an element is longer than its variable"),
        ([], "the file has no variable 'X'"),
    ],
)
def test_variables_that_are_no_arrays_are_refused(variables: list[bytes], reason: str) -> None:
    header = bytes(124) + b"\x00\x01IM"
    good = header + element(14, FLAGS + SHAPE + NAME + element(2, b"ab"))
    assert read_matlab(io.BytesIO(good), ("X",), 1000)["X"].tolist() == [[97, 98]]
    with pytest.raises(ValueError, match=reason):
        read_matlab(io.BytesIO(header + b"".join(element(14, v) for v in variables)), ("X",), 1000)


def test_a_variable_that_inflates_without_end_is_refused(tmp_path: Path) -> None:
    write_svhn(tmp_path)
    path = tmp_path / "test_32x32.mat"
    bomb = zlib.compress(bytes(2**24), 9)
    content = path.read_bytes()[:128] + (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little") + bomb
    with pytest.raises(ValueError, match=r"damaged, or larger than 100000 bytes"):
        read_matlab(io.BytesIO(content), ("X",), 100_000)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_damaged_matlab_file_is_refused_or_read_and_nothing_else(compressed: bool, tmp_path: Path) -> None:
    write_svhn(tmp_path, compressed, count=2)
    path, random = tmp_path / "test_32x32.mat", np.random.default_rng(0)
    good = path.read_bytes()
    refused = 0
    for _ in range(400):
        content = bytearray(good)
        for place in random.choice(min(500, len(good)), 2):
            content[place] = random.integers(256)
        path.write_bytes(bytes(content[: random.choice([len(good), random.integers(len(good))])]))
        try:
            assert len(eq.load_svhn(tmp_path)[1]) == 2
        except ValueError as error:
            assert str(error).startswith("[load_svhn] cannot read '")  # noqa: PT017
            refused += 1
    assert refused > 200
