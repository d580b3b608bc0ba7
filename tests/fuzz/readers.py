"""Readers of files in Python, as targets of fuzzing: each input is refused with a sentence, or it is read.

    python -m fuzz.readers FOLDER    writes the inputs to start from; the folder tests/ is on PYTHONPATH

A target has inputs to start from and a function that reads one file. atheris_readers.py runs them.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
from equiprop.cli.settings import words_of
from equiprop.data_files import load_files
from equiprop.idx import read_idx
from fuzz.fuzz_model_file import valid_files
from idx_files import idx_bytes


@dataclass(frozen=True)
class Target:
    """A reader of files: the suffix of their names, inputs to start from, and the function that reads one."""

    suffix: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], Any]


def _images() -> list[bytes]:
    files = [idx_bytes(np.arange(6, dtype=dtype).reshape(2, 3)) for dtype in ("u1", "i2", "f4", "f8")]
    return [*files, gzip.compress(files[0], mtime=0)]


def _tables() -> list[bytes]:
    rows = "".join(f"{k},{0.5 * k},{k % 3}\n" for k in range(15))
    return [rows.encode(), b"a,b,label\n" + rows.encode(), rows.replace(",", ";").encode()]


def _arrays() -> list[bytes]:
    files = []
    for y in (np.arange(15) % 3, np.ones((15, 2))):
        stream = io.BytesIO()
        np.savez(stream, x=np.ones((15, 2), np.float32), y=y)
        files.append(stream.getvalue())
    return files


def _recordings(suffix: str) -> list[bytes]:
    """Recordings of the outputs and of all units, with missing states."""
    paths = {0.1: np.arange(6.0).reshape(3, 1, 2), -0.1: np.ones((2, 2, 1, 2))}
    paths[-0.1][1, 0] = np.nan
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"device{suffix}"
        contents = []
        for outputs in (False, True):
            eq.verify.write_recordings(file, paths, step_size=0.2, outputs=outputs)
            contents.append(file.read_bytes())
    return contents


def _read_recordings(path: Path) -> Any:
    return eq.verify.read_recordings(path, step_size=0.2)


def _settings() -> list[bytes]:
    options = {"data": "digits", "layers": [64, 32], "beta": 0.5, "epochs": 2, "plot": True, "seed": None}
    return [json.dumps({"options": options}).encode(), json.dumps(options).encode()]


def _toml() -> list[bytes]:
    return [b'data = "digits"\nlayers = [64, 32]\nbeta = 0.5\nplot = true\n', b"[options]\nseed = 1\n"]


def _networks() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        files = valid_files(Path(folder))[:-1]  # the last one is no network
    return [len(text.encode()).to_bytes(8, "little") + text.encode() + data for text, data in files]


TARGETS = {
    "model_file": Target(".safetensors", _networks, eq.load),
    "idx": Target("", _images, read_idx),
    "csv": Target(".csv", _tables, load_files),
    "npz": Target(".npz", _arrays, load_files),
    "recordings_csv": Target(".csv", lambda: _recordings(".csv"), _read_recordings),
    "recordings_npz": Target(".npz", lambda: _recordings(".npz"), _read_recordings),
    "settings": Target(".json", _settings, words_of),
    "toml": Target(".toml", _toml, words_of),
}


def check(target: Target, content: bytes, folder: Path) -> bool:
    """Return whether the reader accepts the content; a refusal must be a sentence."""
    path = folder / f"given{target.suffix}"
    path.write_bytes(content)
    try:
        target.read(path)
    except ValueError as error:
        refusal = str(error)
    else:
        return True
    assert refusal.startswith("["), refusal
    assert refusal.endswith("."), refusal
    return False


def damaged(target: Target, number: int) -> bytes:
    """Return an input with some bytes replaced, removed or repeated; it is equal in every run."""
    choices = random.Random(number)
    content = bytearray(choices.choice(target.seeds()))
    for _ in range(choices.randrange(1, 5)):
        place = choices.randrange(len(content) + 1)
        length = choices.choice([0, 1, 1, 4, 30])
        other = choices.choice([b"", choices.randbytes(length), bytes(content[place : place + length]) * 2])
        content[place : place + length] = other
    return bytes(content)


def write_seeds(folder: Path) -> None:
    """Write the inputs of each target into a folder of its own."""
    for name, target in TARGETS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(target.seeds()):
            (folder / name / f"seed{number}").write_bytes(seed)


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
