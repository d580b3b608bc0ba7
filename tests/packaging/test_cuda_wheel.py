"""The wheel equiprop-cuda, which `make cuda` builds where nvcc is."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import equiprop
import pytest

ROOT = Path(__file__).parents[2]
WHEELS = sorted(Path(os.environ.get("EQUIPROP_CUDA_DIST", ROOT / "dist" / "cuda")).glob("*.whl"))
pytestmark = pytest.mark.skipif(len(WHEELS) != 1, reason="no wheel in dist/cuda: run make cuda (needs nvcc)")

#: Start of a container of device code, and the kinds of code in it.
_MAGIC, _PTX, _ELF = struct.pack("<I", 0xBA55ED50), 1, 2


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    with zipfile.ZipFile(WHEELS[0]) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    with zipfile.ZipFile(WHEELS[0]) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def extension(files: dict[str, bytes]) -> bytes:
    (name,) = (name for name in files if re.fullmatch(r"equiprop_cuda/_cuda\..*\.(so|pyd)", name))
    return files[name]


def device_codes(library: bytes) -> Iterator[tuple[int, int]]:
    """Yield kind and architecture of each device code in the containers of a library."""
    for place in re.finditer(re.escape(_MAGIC), library):
        header, size = struct.unpack_from("<HQ", library, place.start() + 6)
        at = place.start() + header
        end = at + size
        while at < end:
            kind, _, length, bytes_of_code = struct.unpack_from("<HHIQ", library, at)
            (architecture,) = struct.unpack_from("<I", library, at + 28)
            yield kind, architecture
            at += length + bytes_of_code


def test_the_wheel_is_small_and_holds_the_package(files: dict[str, bytes]) -> None:
    assert WHEELS[0].stat().st_size <= 10e6
    package = {name.split(".")[0] for name in files if name.startswith("equiprop_cuda/")}
    assert package == {f"equiprop_cuda/{name}" for name in ("__init__", "_cuda", "py")}
    others = {name for name in files if not name.startswith("equiprop_cuda/")}
    assert all(name.split("/")[0].endswith(".dist-info") for name in others), others


def test_the_licences_of_all_code_in_the_wheel_are_in_it(files: dict[str, bytes]) -> None:
    """Those of equiprop, Eigen and pybind11, and where that of the CUDA runtime is."""
    licences = {name.partition("/licenses/")[2]: text for name, text in files.items() if "/licenses/" in name}
    names = {"LICENSE", *(f"licenses/{path.name}" for path in (ROOT / "licenses").iterdir())}
    assert licences == {name: (ROOT / name).read_bytes() for name in names}
    assert b"CUDA Toolkit End User License Agreement" in licences["licenses/THIRD-PARTY.txt"]


def test_the_wheel_needs_equiprop_of_its_version(files: dict[str, bytes]) -> None:
    (name,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(files[name])
    assert metadata["Name"] == "equiprop-cuda"
    assert metadata["Version"] == equiprop.__version__
    assert metadata.get_all("Requires-Dist") == [f"equiprop=={equiprop.__version__}"]
    assert len(metadata.get_all("License-File")) == 4


def test_the_kernels_are_there_for_both_architectures_and_as_ptx(files: dict[str, bytes]) -> None:
    assert {(_ELF, 80), (_ELF, 90), (_PTX, 90)} <= set(device_codes(extension(files)))


def test_the_cuda_runtime_is_linked_statically(files: dict[str, bytes]) -> None:
    assert b"libcudart.so" not in extension(files)


def test_without_a_device_the_package_says_why(unpacked: Path) -> None:
    code = "import equiprop_cuda._cuda as c, equiprop.cuda as e; print(c.version, e.device_state())"
    path = os.pathsep.join([str(unpacked), str(Path(equiprop.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{equiprop.__version__} not available: This machine ")
    assert re.search("has no NVIDIA driver|shows no CUDA device", done.stdout)
