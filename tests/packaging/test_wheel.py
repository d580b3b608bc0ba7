"""The files of `make wheel` can be built again, and name what they contain.

The wheel works without a compiler or a repository, and on an old processor.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).parents[2]
DIST = os.environ.get("EQUIPROP_DIST")
pytestmark = pytest.mark.skipif(DIST is None, reason="make wheel builds what is tested here")
TEXT = {"", ".c", ".cff", ".cmake", ".cpp", ".css", ".cu", ".cuh", ".dox", ".h", ".hpp", ".in", ".inl", ".md"}
TEXT |= {".mk", ".py", ".pyi", ".rst", ".sh", ".svg", ".toml", ".txt", ".typed", ".yml"}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def distribution(pattern: str) -> Path:
    (path,) = (ROOT / str(DIST)).glob(pattern)
    return path


@pytest.fixture(scope="session")
def wheel() -> Path:
    return distribution("*.whl")


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(distribution("*.tar.gz")) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel, without folders."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def described(wheel: Path) -> dict[str, bytes]:
    """Return the files of the folder .dist-info of a wheel by their names in it."""
    files = contents(wheel).items()
    return {name.partition(".dist-info/")[2]: content for name, content in files if ".dist-info/" in name}


# ---------------------------------------------------------------------------- contents


def test_the_wheel_is_small_and_complete(wheel: Path) -> None:
    assert wheel.stat().st_size <= 4.5e6
    names = {re.sub(r"\.cpython[^.]+|\.cp[^.]+|\.abi3", "", name) for name in contents(wheel)}
    sdk = "equiprop/sdk"
    assert names >= {
        *("equiprop/__init__.py", "equiprop/py.typed", "equiprop/_core.pyi"),
        *(f"{sdk}/include/equiprop/equiprop.hpp", f"{sdk}/lib/cmake/equiprop/equipropConfig.cmake"),
    }
    assert any(name.startswith("equiprop/_core.") and not name.endswith(".pyi") for name in names)
    assert {PurePath(name).parts[0] for name in names} <= {"equiprop"} | {
        name.split("/")[0] for name in names if name.split("/")[0].endswith(".dist-info")
    }


def test_the_wheel_and_the_sources_are_of_one_version(wheel: Path, sources: Path) -> None:
    metadata = message_from_bytes(described(wheel)["METADATA"])
    version = re.search(r'^version = "(.*)"', (sources / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert metadata["Version"] == version[1]


def test_the_description_of_the_wheel_has_no_relative_link(wheel: Path) -> None:
    text = message_from_bytes(described(wheel)["METADATA"]).get_payload()
    assert text.startswith("# equiprop")
    assert re.findall(r"\]\((?!https://)[^)]*\)", text) == []


def test_the_licences_of_all_code_in_the_wheel_are_in_it(wheel: Path, sources: Path) -> None:
    """Eigen's (MPL-2.0, with the address of its source code, section 3.2) and pybind11's (BSD-3-Clause)."""
    files = described(wheel)
    metadata = message_from_bytes(files["METADATA"])
    assert metadata["License-Expression"] == "MIT AND MPL-2.0 AND BSD-3-Clause"
    texts = {name.partition("/")[2]: files[name].decode() for name in files if name.startswith("licenses/")}
    assert set(metadata.get_all("License-File", [])) == texts.keys()
    assert texts == {name: (sources / name).read_text() for name in texts}
    opening = {name: text.splitlines()[0].partition(",")[0] for name, text in texts.items()}
    assert opening == {
        "LICENSE": "MIT License",
        "licenses/MPL-2.0.txt": "Mozilla Public License Version 2.0",
        "licenses/pybind11.txt": "Copyright (c) 2016 Wenzel Jakob <wenzel.jakob@epfl.ch>",
        "licenses/THIRD-PARTY.txt": "Third-party code in the binary packages of equiprop",
    }
    assert "Source code: https://gitlab.com/libeigen/eigen" in texts["licenses/THIRD-PARTY.txt"]


def test_no_code_of_eigen_under_another_licence_is_in_the_wheel(wheel: Path) -> None:
    """Eigen's bfloat16 is under Apache-2.0, AlignedBox::transform under BSD; LAPACKE's functions need MKL."""
    compiled = [content for name, content in contents(wheel).items() if name.endswith((".so", ".a"))]
    assert len(compiled) == 2
    for content in compiled:
        assert b"Eigen" in content
        for name in (b"8bfloat16", b"10AlignedBox", b"LAPACKE_", b"mkl_"):
            assert name not in content


def test_no_file_of_the_wheel_names_a_folder_of_its_build(wheel: Path) -> None:
    folders = (str(ROOT), str(Path.home()), tempfile.gettempdir() + "/", "site-packages/", "cmeel.prefix/")
    for name, content in contents(wheel).items():
        if name.endswith((".so", ".a")):
            assert [folder for folder in folders if folder.encode() in content] == [], name


def test_the_sources_hold_no_data(sources: Path) -> None:
    files = [path for path in sources.rglob("*") if path.is_file()]
    assert len(files) > 200
    for path in files:
        assert path.suffix in TEXT, path
        assert path.stat().st_size < 100_000, path
        path.read_text(encoding="utf-8")


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the source distribution and of the wheel in a folder."""
    files = [*folder.glob("*.tar.gz"), *folder.glob("*.whl")]
    assert len(files) == 2
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_two_builds_give_one_hash(sources: Path, tmp_path: Path) -> None:
    """The second build starts from the unpacked sources, in another folder, time zone, locale and umask."""
    tree = tmp_path / "another folder" / "sources"
    shutil.copytree(sources, tree)
    (tree / "PKG-INFO").unlink()  # a source distribution has one of its own
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EQUIPROP", "MAKE"))}
    command = f"umask 077; exec make release VENV={shlex.quote(sys.prefix)}"
    other = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "1"}
    subprocess.run(["sh", "-c", command], cwd=tree, env={**kept, **other}, check=True)
    first, second = digests(ROOT / str(DIST)), digests(tree / "dist")
    for name, digest in first.items():
        print(f"{name}\n  first  {digest}\n  second {second.get(name)}")
    assert first == second


# ---------------------------------------------------------------------------- without a compiler


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and the packages of its tests into a new environment; return its program folder."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    install = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    subprocess.run([*install, f"{wheel}[test]"], check=True)
    return programs


@pytest.fixture
def run(installed: Path, sources: Path) -> Run:
    """Run a program of that environment in the unpacked sources, with no other folder on PATH."""

    def run(*command: str | Path, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        ours = ("PYTHON", "EQUIPROP")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        done = subprocess.run(
            [str(word) for word in command],
            cwd=sources,
            env={**kept, "PATH": str(installed), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{command}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
        return done

    return run


def test_the_bill_of_materials_names_the_true_versions(wheel: Path, installed: Path, run: Run) -> None:
    """The versions are those of the headers that the extension was compiled with."""
    bill = json.loads(described(wheel)["sboms/equiprop.cdx.json"])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    code = "import json; from equiprop.config import config; print(json.dumps(config()))"
    built = json.loads(run(installed / "python", "-c", code).stdout)
    own = bill["metadata"]["component"]
    assert (own["name"], own["version"], own["purl"]) == (
        "equiprop",
        built["version"],
        f"pkg:pypi/equiprop@{built['version']}",
    )
    parts = {part["name"]: part for part in bill["components"]}
    assert {name: part["version"] for name, part in parts.items()} == {
        name: built[name] for name in ("eigen", "pybind11")
    }
    licences = {name: part["licenses"][0]["license"]["id"] for name, part in parts.items()}
    assert licences == {"eigen": "MPL-2.0", "pybind11": "BSD-3-Clause"}
    assert f"eigen-{built['eigen']}.tar.gz" in parts["eigen"]["externalReferences"][0]["url"]
    references = {own["bom-ref"], *(part["bom-ref"] for part in parts.values())}
    assert references == {dependency["ref"] for dependency in bill["dependencies"]}


def test_the_demo_runs_without_a_compiler(installed: Path, sources: Path, run: Run) -> None:
    for compiler in ("cc", "c++", "gcc", "g++", "clang", "clang++", "cmake", "ninja", "make"):
        assert shutil.which(compiler, path=str(installed)) is None
    demo = re.findall(r"^\t\$\(BIN\)/(equiprop .*)$", (sources / "Makefile").read_text(), re.MULTILINE)
    assert len(demo) == 3
    for command in demo:
        program, *arguments = command.split()
        run(installed / program, *arguments)
    for picture in ("theorem.png", "eqprop/learning_curve.png", "rbp/relaxation.png"):
        assert (sources / "demo" / picture).stat().st_size > 10_000


def test_the_tests_pass_without_a_compiler(installed: Path, sources: Path, run: Run) -> None:
    """Some tests of the package are run, none that builds programs or needs PyTorch."""
    files = sorted(
        set(sources.glob("tests/python/test_[ab]*.py")) - set(sources.rglob("test_bad_input_table.py"))
    )
    code = "import equiprop; print(equiprop.__file__)"
    assert str(installed.parent) in run(installed / "python", "-c", code).stdout
    done = run(installed / "python", "-m", "pytest", "-q", *files)
    assert re.search(r"\d{3,} passed", done.stdout)


# ---------------------------------------------------------------------------- on a processor without AVX

SMALL_WORK = """
import equiprop as eq, numpy as np
from equiprop.config import config
random = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    net = eq.HopfieldNetwork([20, 37, 10], dtype=dtype, seed=1)
    x, y = random.uniform(0, 1, (23, 20)).astype(dtype), random.integers(0, 10, 23)
    free = eq.free_phase(net, x)
    solver = eq.BlockUpdate(tolerance=1e-6)
    one = eq.equilibrium_propagation(net, free, y, nudging=eq.centered(0.01), solver=solver)
    other = eq.recurrent_backpropagation(net, free, y)
    a, b = one.parameters, other.parameters
    assert a @ b > 0.99 * np.linalg.norm(a) * np.linalg.norm(b)
    eq.Trainer(net).fit(eq.Dataset(x, y), epochs=2)
net = eq.HopfieldNetwork([4, 5, 3], dtype="float64")
report = eq.verify.equivalence(net, random.uniform(0, 1, (2, 4)), [0, 1])
assert report.passed
print(config()["kernels"])
"""


@pytest.fixture
def old_processor(installed: Path, run: Run) -> Run:
    """Run Python on an emulated Nehalem processor (2008), which has SSE4.2 but not AVX."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None or platform.machine() != "x86_64":
        pytest.skip("qemu-x86_64 was not found, or this is another architecture")

    # NumPy's BLAS obeys this variable before it asks the processor, and the environment may name a newer one.
    blas = {"OPENBLAS_CORETYPE": "Nehalem"}

    def emulated(*arguments: str, **options: str | int) -> subprocess.CompletedProcess[str]:
        return run(emulator, "-cpu", "Nehalem", installed / "python", *arguments, **blas, **options)

    return emulated


def test_the_emulated_processor_has_no_avx(old_processor: Run) -> None:
    """The emulated processor refuses vzeroupper, so a program that runs there executes no AVX instruction."""
    code = (
        "import ctypes, mmap; m = mmap.mmap(-1, 4096, prot=7); m.write(bytes.fromhex('c5f877c3'));"
        "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()"
    )
    old_processor("-c", code, status=-signal.SIGILL)


@pytest.mark.parametrize("isa", ["", "x86-64-v2", "generic"])
def test_an_old_processor_runs_what_it_can(old_processor: Run, isa: str) -> None:
    variables = {"EQUIPROP_ISA": isa} if isa else {}
    assert old_processor("-W", "ignore", "-c", SMALL_WORK, **variables).stdout.strip() == (isa or "x86-64-v2")


@pytest.mark.parametrize("isa", ["x86-64-v3", "x86-64-v4"])
def test_an_old_processor_refuses_what_it_cannot(old_processor: Run, isa: str) -> None:
    told = old_processor("-c", SMALL_WORK, status=1, EQUIPROP_ISA=isa).stderr
    assert "[EQUIPROP_ISA] " in told
    assert f"Received {isa}" in told
