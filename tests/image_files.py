"""Small files in the formats of CIFAR and SVHN, for tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from equiprop.cifar_files import CIFAR10, CIFAR100, CifarLayout

LAYOUTS = {"cifar10": CIFAR10, "cifar100": CIFAR100}
Entry = tuple[tarfile.TarInfo, bytes]


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), np.uint8)


def cifar_contents(layout: CifarLayout, count: int = 4) -> dict[str, bytes]:
    """Return the files of a data set, of which number k has the images of seed k and the labels from k on."""
    contents = {}
    for k, name in enumerate((*layout.train, layout.test)):
        labels = (np.arange(count) + k) % layout.classes
        coarse = np.full((count, layout.label_bytes - 1), 19)
        rows = np.concatenate([coarse, labels[:, None], images(count, k).reshape(count, -1)], axis=1)
        contents[f"{layout.folder}/{name}"] = rows.astype(np.uint8).tobytes()
    return contents


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: object) -> Entry:
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content), kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def packed(entries: Iterable[Entry]) -> bytes:
    """Return a tar.gz archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write_cifar(directory: Path, layout: CifarLayout) -> None:
    """Write the archive of a data set, with a text file and a folder as the published ones have."""
    entries = [entry(name, content) for name, content in cifar_contents(layout).items()]
    extra = [entry(layout.folder, kind=tarfile.DIRTYPE), entry(f"{layout.folder}/readme.html", b"<html>")]
    (directory / layout.archive).write_bytes(packed([*extra, *entries]))


def write_svhn(directory: Path, compressed: bool = True, count: int = 12) -> None:
    from scipy.io import savemat

    for k, name in enumerate(("train_32x32.mat", "test_32x32.mat")):
        labels = np.arange(count, dtype=np.uint8)[:, None] % 10 + 1
        arrays = {"X": images(count, k).transpose(2, 3, 1, 0), "y": labels}
        savemat(directory / name, arrays, do_compression=compressed)
