"""Outside projects find, link and run the C++ library in every way that is promised."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import equiprop as eq
import numpy as np
import pytest
from packaging_support import CMAKE, ROOT, installed_prefix, require_tools, run

OUTSIDE = Path(__file__).parent / "outside"
STATIC, SHARED = "equiprop::equiprop", "equiprop::equiprop_shared"
WAYS = [
    # compiler of the library, of the program, way, library, standard, flags
    ("g++", "g++", "find_package", STATIC, 20, ""),
    ("g++", "g++", "find_package", SHARED, 23, ""),
    ("g++", "clang++", "find_package", STATIC, 23, ""),
    ("g++", "clang++", "find_package", SHARED, 20, ""),
    ("g++", "g++", "find_package", STATIC, 20, "-march=native"),
    ("g++", "g++", "pkg-config", STATIC, 20, ""),
    ("g++", "clang++", "pkg-config", STATIC, 23, ""),
    ("clang++", "clang++", "find_package", STATIC, 20, ""),
]


@pytest.fixture(scope="module", params=["float32", "float64"])
def problem(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A saved network, a batch, and the bytes of both gradients that Python computes."""
    folder = tmp_path_factory.mktemp("problem")
    dtype = request.param
    net = eq.HopfieldNetwork([20, 33, 17, 5], activation="tanh", potential="quadratic", dtype=dtype, seed=3)
    if dtype == "float32":  # the other convention, whose kernels are others
        net = eq.HopfieldNetwork([20, 33, 17, 5], dtype=dtype, seed=3)
    random = np.random.default_rng(0)
    x, y = random.random((70, 20)).astype(dtype), random.random((70, 5)).astype(dtype)
    return folder, _write_problem(folder, net, x, y)


def _write_problem(folder: Path, net: eq.HopfieldNetwork, x: np.ndarray, y: np.ndarray) -> bytes:
    eq.save(net, folder / "model.safetensors")
    x.tofile(folder / "x")
    y.tofile(folder / "y")
    kind = eq.BlockUpdate if net.potential == "legendre" else eq.Euler
    solver = kind(tolerance=1e-4, max_iterations=2000)
    free = eq.free_phase(net, x, solver=solver)
    eqprop = eq.equilibrium_propagation(net, free, y, nudging=eq.centered(0.125), solver=solver)
    linear = eq.ConjugateGradient(tolerance=1e-4, max_iterations=100)
    rbp = eq.recurrent_backpropagation(net, free, y, linear_solver=linear)
    return b"".join(a.tobytes() for g in (eqprop, rbp) for a in (g.parameters, g.inputs))


def outside(folder: Path, compiler: str, way: str, library: str, standard: int, *options: str) -> Path:
    """Build the outside project in a folder of its own and return it."""
    environment = {"PKG_CONFIG_PATH": os.pathsep.join(map(str, pkg_config_folders()))}
    arguments = [f"-DCMAKE_CXX_COMPILER={compiler}", f"-DWAY={way}", f"-DLIBRARY={library}"]
    arguments += [f"-DSTANDARD={standard}", *CMAKE, *options]
    run("cmake", "-S", OUTSIDE, "-B", folder, *arguments, **environment)
    run("cmake", "--build", folder, "--parallel", str(os.cpu_count() or 1))
    return folder


def pkg_config_folders() -> list[Path]:
    eigen = Path(sysconfig.get_path("purelib"), "cmeel.prefix", "share", "pkgconfig")
    return [installed_prefix() / "lib" / "pkgconfig", eigen]


def agrees(folder: Path, problem: tuple[Path, bytes]) -> bool:
    files, expected = problem
    run(folder / "gradient", *(files / name for name in ("model.safetensors", "x", "y")), folder / "out")
    return (folder / "out").read_bytes() == expected


_built: dict[object, Path] = {}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way)).replace("::", "_"))
def test_an_installed_library_gives_the_bits_of_the_package(
    way: tuple[str, str, str, str, int, str],
    problem: tuple[Path, bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    library_compiler, compiler, kind, library, standard, flags = way
    require_tools("cmake", library_compiler, compiler, *(["pkg-config"] if kind == "pkg-config" else []))
    prefix = installed_prefix(library_compiler)
    assert " " in str(prefix)
    if way not in _built:
        options = [f"-DCMAKE_PREFIX_PATH={prefix}", f"-DFLAGS={flags}", "-DCMAKE_BUILD_TYPE=Release"]
        _built[way] = outside(tmp_path_factory.mktemp("outside"), compiler, kind, library, standard, *options)
        run(_built[way] / "own_energy")
    if library_compiler == "g++":  # another compiler rounds Eigen's expressions in its own way
        assert agrees(_built[way], problem)


@pytest.mark.parametrize("way", ["add_subdirectory", "FetchContent"])
def test_the_library_is_part_of_another_build(way: str, tmp_path: Path) -> None:
    require_tools("cmake", "g++")
    options = [f"-DEQUIPROP_SOURCE={ROOT}", *CMAKE]
    run(
        "cmake",
        "-S",
        OUTSIDE,
        "-B",
        tmp_path,
        f"-DWAY={way}",
        f"-DLIBRARY={STATIC}",
        "-DSTANDARD=20",
        *options,
    )
    if way == "add_subdirectory":
        run("cmake", "--build", tmp_path, "--parallel", str(os.cpu_count() or 1), "--target", "own_energy")
        run(tmp_path / "own_energy")
        run("cmake", "--install", tmp_path, "--prefix", tmp_path / "prefix")
        assert not (tmp_path / "prefix").exists()  # a library inside another project installs nothing


def test_a_version_that_does_not_exist_is_not_found(tmp_path: Path) -> None:
    require_tools("cmake", "g++")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.21)\nproject(p LANGUAGES CXX)\nfind_package(equiprop 1.0 CONFIG)\n"
        'if(equiprop_FOUND)\n message(FATAL_ERROR "found")\nendif()\n'
    )
    run("cmake", "-S", tmp_path, "-B", tmp_path / "b", *CMAKE, f"-DCMAKE_PREFIX_PATH={installed_prefix()}")


def test_cuda_is_refused_with_a_sentence(tmp_path: Path) -> None:
    require_tools("cmake", "g++")
    command = ["cmake", "-S", str(ROOT), "-B", str(tmp_path), "-DEQUIPROP_BUILD_CUDA=ON"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "no CUDA kernels yet" in result.stderr


def defined_symbols(library: Path, *options: str) -> list[tuple[str, str]]:
    require_tools("nm")
    lines = run("nm", "-C", "--defined-only", *options, library).splitlines()
    return [found.groups() for line in lines if (found := re.match(r"[0-9a-f]+ (\w) (.*)", line))]


def test_the_shared_library_shows_no_name_of_eigen() -> None:
    require_tools("cmake", "g++")
    symbols = defined_symbols(installed_prefix() / "lib" / "libequiprop.so", "-D")
    names = [name for _, name in symbols]
    assert any("equiprop::ClampedHopfield<float>::block_update(" in name for name in names)
    # The entity a symbol names comes before its arguments; its own template arguments may be anything.
    entities = [re.sub(r"<.*", "", name.split("(")[0].split(" for ")[-1]).split()[-1] for name in names]
    assert [entity for entity in entities if not entity.startswith(("equiprop::", "std::"))] == []


def compile_alone(folder: Path, header: str, compiler: str = "g++", standard: str = "20") -> None:
    """Compile one line with every warning on for the headers too, Eigen's apart."""
    pkg_config_path = os.pathsep.join(map(str, pkg_config_folders()))
    eigen = run("pkg-config", "--cflags", "eigen3", PKG_CONFIG_PATH=pkg_config_path).split()
    source = folder / (header.replace("/", "_") + ".cpp")
    source.write_text(f"#include <{header}>\n")
    flags = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-fsyntax-only"]
    includes = [f"-I{installed_prefix() / 'include'}", *(part.replace("-I", "-isystem") for part in eigen)]
    run(compiler, f"-std=c++{standard}", *flags, *includes, source)


@pytest.mark.parametrize("standard", ["20", "2b"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_the_headers_compile_without_a_warning(compiler: str, standard: str, tmp_path: Path) -> None:
    require_tools("cmake", "pkg-config", compiler)
    compile_alone(tmp_path, "equiprop/equiprop.hpp", compiler, standard)


def test_every_public_header_compiles_alone(tmp_path: Path) -> None:
    require_tools("cmake", "pkg-config", "g++")
    include = installed_prefix() / "include"
    headers = [str(path.relative_to(include)) for path in sorted(include.rglob("*.hpp"))]
    assert len(headers) > 30
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda header: compile_alone(tmp_path, header), headers))


def test_nothing_of_this_machine_is_installed() -> None:
    require_tools("cmake", "g++")
    texts = [*installed_prefix().rglob("*.cmake"), *installed_prefix().rglob("*.pc")]
    assert len(texts) >= 5
    assert [path for path in texts if str(ROOT) in path.read_text()] == []
