"""Fuzzing of the readers of Python with atheris; the folder tests/ is on PYTHONPATH.

python tests/fuzz/atheris_readers.py seeds FOLDER          writes the inputs to start from
python tests/fuzz/atheris_readers.py TARGET [OPTION ...]   fuzzes, with these options of libFuzzer
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["equiprop"]):
    from fuzz.readers import TARGETS, check


def fuzz(name: str, options: list[str]) -> None:
    """Run atheris on a target; it ends the process."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").exists() else None) as folder:

        def run(data: bytes) -> None:
            check(TARGETS[name], data, Path(folder))

        atheris.Setup([name, *options], run)
        atheris.Fuzz()


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2:])
