"""Reader of the binary versions of CIFAR-10 and CIFAR-100, in their archives or unpacked."""

from __future__ import annotations

import gzip
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np

from equiprop.arrays import Array
from equiprop.finding import damage_named, not_found

_PIXELS = 3 * 32 * 32
_CHUNK = 2**20
#: Size of the other files of an archive that is accepted, in bytes, and the largest number of all entries.
_OTHERS, _MOST_ENTRIES = 2**20, 100


@dataclass(frozen=True)
class CifarLayout:
    """Files and records of one of the two data sets.

    A record is `label_bytes` bytes, of which the last one is the label, and 3072 bytes of pixels: 1024 red,
    1024 green and 1024 blue ones, each by rows.

    Attributes
    ----------
    archive, folder : str
        Name of the archive, and of the folder inside it.
    train : tuple of str
        Names of the files with training images, in order.
    test : str
        Name of the file with test images.
    images : int
        Largest number of images of one file.
    label_bytes, classes : int
    """

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    images: int
    label_bytes: int
    classes: int

    @property
    def record(self) -> int:
        """Number of bytes of a record."""
        return self.label_bytes + _PIXELS


CIFAR10 = CifarLayout(
    "cifar-10-binary.tar.gz",
    "cifar-10-batches-bin",
    tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
    "test_batch.bin",
    images=10_000,
    label_bytes=1,
    classes=10,
)
CIFAR100 = CifarLayout(
    "cifar-100-binary.tar.gz",
    "cifar-100-binary",
    ("train.bin",),
    "test.bin",
    images=50_000,
    label_bytes=2,
    classes=100,
)


def read_cifar(
    directory: Path, where: str, cure: str, *, layout: CifarLayout
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Read training and test images of CIFAR-10 or CIFAR-100.

    The unpacked files are read if all of them exist, otherwise the archive. Nothing is unpacked to the disk:
    only the files with the expected names are read, into memory.

    Parameters
    ----------
    directory : Path
        Folder of the archive, of the unpacked files, or of the folder with them.
    where, cure : str
        Function, and how to get the files, for errors.
    layout : CifarLayout

    Returns
    -------
    tuple of pairs
        Pixels (images, 3072), channels first, and labels (images,) of training and test data, as bytes.

    Raises
    ------
    FileNotFoundError, ValueError
        The files are missing or damaged; a file is larger than the published one; a label is no class.
    """
    names = (*layout.train, layout.test)
    for folder in (directory, directory / layout.folder):
        if all((folder / name).is_file() for name in names):
            records = {name: _unpacked(folder / name, layout, where) for name in names}
            break
    else:
        path = directory / layout.archive
        if not path.is_file():
            also = f", nor {', '.join(names)} there or in its folder '{layout.folder}'"
            raise not_found(where, f"'{layout.archive}'", directory, also, cure)
        with damage_named(path, where):
            records = _packed(path, layout)
    return _pair([records[name] for name in layout.train], layout), _pair([records[layout.test]], layout)


def _pair(files: list[Array], layout: CifarLayout) -> tuple[Array, Array]:
    pixels = np.concatenate([records[:, layout.label_bytes :] for records in files])
    return pixels, np.concatenate([records[:, layout.label_bytes - 1] for records in files])


def _unpacked(path: Path, layout: CifarLayout, where: str) -> Array:
    with damage_named(path, where), path.open("rb") as stream:
        _check_size(path.stat().st_size, layout)
        return _records(stream.read(layout.images * layout.record), layout)


def _packed(path: Path, layout: CifarLayout) -> dict[str, Array]:
    """Return the records of each file of an archive, which is read to its end: gzip checks its checksum."""
    wanted = {f"{layout.folder}/{name}": name for name in (*layout.train, layout.test)}
    found: dict[str, Array] = {}
    limit = len(wanted) * layout.images * layout.record + _OTHERS
    with gzip.open(path) as unzipped:
        stream = _Bounded(cast(BinaryIO, unzipped), limit)
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:
            for count, entry in enumerate(archive):
                if count == _MOST_ENTRIES:
                    raise ValueError(f"the archive has more than {_MOST_ENTRIES} entries")
                name = wanted.get(entry.name.removeprefix("./"))
                if name is not None:
                    if name in found:
                        raise ValueError(f"the archive has two entries '{entry.name}'")
                    found[name] = _entry(archive, entry, layout)
        while stream.read(_CHUNK):
            pass
    if missing := [name for name in wanted.values() if name not in found]:
        raise ValueError(f"the archive has no entry '{layout.folder}/{missing[0]}'")
    return found


def _entry(archive: tarfile.TarFile, entry: tarfile.TarInfo, layout: CifarLayout) -> Array:
    content = archive.extractfile(entry) if entry.isreg() and not entry.issparse() else None
    if content is None:
        raise ValueError(f"the entry '{entry.name}' is not a regular file")
    _check_size(entry.size, layout)
    return _records(content.read(entry.size), layout)  # tarfile raises an error if the archive ends before


def _check_size(size: int, layout: CifarLayout) -> None:
    if size % layout.record or not 0 < size <= layout.images * layout.record:
        raise ValueError(
            f"a file has 1 to {layout.images} records of {layout.record} bytes, and this one has {size} bytes"
        )


def _records(data: bytes, layout: CifarLayout) -> Array:
    records = np.frombuffer(data, np.uint8).reshape(-1, layout.record)
    if (label := int(records[:, layout.label_bytes - 1].max())) >= layout.classes:
        raise ValueError(f"labels are 0 to {layout.classes - 1}, and one is {label}")
    return records


class _Bounded:
    """A stream that ends with an error after a number of bytes, so that no archive fills the memory."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._rest = limit

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._rest -= len(data)
        if self._rest < 0:
            raise ValueError("the archive is larger than the published one")
        return data
