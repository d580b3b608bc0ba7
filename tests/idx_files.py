"""Small IDX files for tests."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim])
    return (
        header
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def write_mnist(directory: Path, count: int = 7, suffix: str = "") -> dict[str, bytes]:
    contents = {}
    for part, extra in (("train", 2), ("t10k", 0)):
        pixels = np.arange((count + extra) * 784).astype(np.uint8).reshape(-1, 28, 28)
        contents[f"{part}-images-idx3-ubyte"] = idx_bytes(pixels)
        contents[f"{part}-labels-idx1-ubyte"] = idx_bytes(np.arange(count + extra).astype(np.uint8) % 10)
    for name, content in contents.items():
        (directory / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return contents
