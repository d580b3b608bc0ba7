"""Projects outside of this tree can find and link the C++ library, and get equal results from it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import equiprop as eq
import numpy as np
import pytest
from equiprop.config import config
from outside_project import PROJECT, ROOT, Installed, build_and_install, configure, make, run, tool

BATCH = 7


@pytest.fixture(scope="session")
def gcc(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The library, built by g++ as a subdirectory."""
    benchmark = Path("/usr/include/benchmark/benchmark.h").exists()
    return build_and_install(
        "g++",
        "add_subdirectory",
        tmp_path_factory.mktemp("gcc") / "a prefix with spaces",
        f"-DEQUIPROP_BUILD_BENCHMARKS={benchmark}",
    )


@pytest.fixture(scope="session")
def clang(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The library, built by clang++ through FetchContent, without a compiler cache: it is compiled once."""
    return build_and_install(
        "clang++",
        "FetchContent",
        tmp_path_factory.mktemp("clang") / "a prefix",
        "-DCMAKE_CXX_COMPILER_LAUNCHER=",
    )


def network(kind: str, dtype: str) -> eq.HopfieldNetwork:
    net = eq.HopfieldNetwork(
        [11, 70, 5],
        activation="hard_sigmoid" if kind == "kernels" else "tanh",
        potential="legendre" if kind == "kernels" else "quadratic",
        dtype=dtype,
        seed=3,
    )
    random = np.random.default_rng(4)
    net.parameters[:] += random.uniform(0, 0.05, net.parameters.shape).astype(dtype)
    return net


def batch(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    x = random.uniform(-1, 1, (BATCH, 11)).astype(dtype)
    return x, np.eye(5, dtype=dtype)[random.integers(0, 5, BATCH)]


def gradients(kind: str, dtype: str) -> dict[str, np.ndarray]:
    """The gradients that Python computes with the settings of outside/gradient.cpp."""
    net, (x, y) = network(kind, dtype), batch(dtype)
    rule = {"tolerance": 1e-5, "max_iterations": 500}
    solver = eq.BlockUpdate(**rule) if kind == "kernels" else eq.FixedPointIteration(**rule, damping=0.5)
    cost = eq.SquaredError() if kind == "kernels" else eq.CrossEntropy()
    free = eq.free_phase(net, x, solver=solver)
    propagated = eq.equilibrium_propagation(net, free, y, cost=cost, nudging=eq.centered(0.25), solver=solver)
    linear = eq.ConjugateGradient(tolerance=1e-4, max_iterations=100)
    backpropagated = eq.recurrent_backpropagation(net, free, y, cost=cost, linear_solver=linear)
    return {
        "eqprop": propagated.parameters,
        "rbp": backpropagated.parameters,
        "inputs": propagated.inputs,
    }


def assert_same_bits(program: Path, folder: Path) -> None:
    for kind in ("kernels", "Eigen"):
        for dtype, name in (("float32", "float"), ("float64", "double")):
            x, y = batch(dtype)
            for file, array in (("parameters", network(kind, dtype).parameters), ("x", x), ("y", y)):
                (folder / file).write_bytes(array.tobytes())
            run(program, folder, name, kind, "11", "70", "5", str(BATCH))
            for file, expected in gradients(kind, dtype).items():
                found = np.frombuffer((folder / file).read_bytes(), dtype=dtype)
                assert np.abs(expected).max() > 0
                assert found.tobytes() == expected.tobytes(), f"{kind} {dtype} {file}"


def assert_programs_work(build: Path, folder: Path) -> None:
    run(build / "own_energy")
    assert_same_bits(build / "gradient", folder)


def march() -> list[str]:
    """The compiler option for the processor of this machine."""
    level = str(config()["kernels"])
    return [] if level == "generic" else [f"-march={level}"]


# ---------------------------------------------------------------------------- finding the library


def test_add_subdirectory(gcc: Installed, tmp_path: Path) -> None:
    assert_programs_work(gcc.build, tmp_path)


@pytest.mark.slow
def test_fetch_content_and_clang(clang: Installed, tmp_path: Path) -> None:
    assert_programs_work(clang.build, tmp_path)


@pytest.mark.parametrize(
    ("compiler", "library", "standard", "build_type", "flags"),
    [
        ("g++", "static", 20, "Debug", []),
        ("clang++", "shared", 23, "Release", march()),
        *(
            pytest.param(*values, marks=pytest.mark.slow)
            for values in [
                ("g++", "static", 20, "Release", march()),
                ("g++", "shared", 23, "Release", march()),
                ("clang++", "static", 23, "Release", march()),
                ("clang++", "shared", 20, "Debug", []),
            ]
        ),
    ],
)
def test_find_package(
    gcc: Installed,
    tmp_path: Path,
    compiler: str,
    library: str,
    standard: int,
    build_type: str,
    flags: list[str],
) -> None:
    """The options of the program do not matter: the library was compiled once, by g++, for any processor."""
    configure(
        tmp_path / "build",
        compiler,
        f"-DCMAKE_PREFIX_PATH={gcc.prefix}",
        f"-DLIBRARY=equiprop::{library}",
        f"-DCMAKE_CXX_STANDARD={standard}",
        f"-DCMAKE_BUILD_TYPE={build_type}",
        f"-DCMAKE_CXX_FLAGS={' '.join(flags)}",
    )
    make(tmp_path / "build")
    assert_programs_work(tmp_path / "build", tmp_path)


@pytest.mark.parametrize("compiler", ["g++", pytest.param("clang++", marks=pytest.mark.slow)])
def test_pkg_config(gcc: Installed, tmp_path: Path, compiler: str) -> None:
    moved = tmp_path / "another prefix"
    shutil.copytree(gcc.prefix, moved, symlinks=True)
    folders = [moved / "lib/pkgconfig", *(Path(p) / "cmeel.prefix/share/pkgconfig" for p in sys.path)]
    env = {"PKG_CONFIG_PATH": os.pathsep.join(str(p) for p in folders)}
    flags = shlex.split(run(tool("pkg-config"), "--cflags", "--libs", "equiprop", env=env))
    for program in ("gradient", "own_energy"):
        source = PROJECT / f"{program}.cpp"
        rpath = f"-Wl,-rpath,{moved / 'lib'}"
        run(tool(compiler), "-std=c++20", "-O1", source, "-o", tmp_path / program, *flags, rpath)
    assert_programs_work(tmp_path, tmp_path)


def test_the_file_for_pkg_config_names_absolute_folders(tmp_path: Path) -> None:
    """Some systems install to absolute folders; for others, the paths are relative to the file."""
    folders = ("-DCMAKE_INSTALL_LIBDIR=/opt/lib", "-DCMAKE_INSTALL_INCLUDEDIR=/opt/include")
    configure(tmp_path, "g++", *folders, source=ROOT)
    written = (tmp_path / "equiprop.pc").read_text()
    assert written.splitlines()[:2] == ["includedir=/opt/include", "libdir=/opt/lib"]
    assert "pcfiledir" not in written


def test_the_installed_python_package(tmp_path: Path) -> None:
    """A C++ program needs only the files of `pip install equiprop` and Eigen, and the wheel is small."""
    try:
        folder = eq.get_cmake_dir()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    configure(
        tmp_path / "build",
        "g++",
        f"-Dequiprop_DIR={folder}",
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_CXX_FLAGS={' '.join(march())}",
    )
    make(tmp_path / "build")
    assert_programs_work(tmp_path / "build", tmp_path)
    assert (Path(eq.get_include()) / "equiprop" / "equiprop.hpp").exists()
    package = Path(folder).parents[3]
    with zipfile.ZipFile(tmp_path / "like a wheel", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in package.rglob("*"):
            if file.suffix != ".pyc":
                archive.write(file, file.relative_to(package))
    assert (tmp_path / "like a wheel").stat().st_size <= 4.5e6


def test_a_development_tree_says_that_it_has_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equiprop.config._core.__file__", "/nowhere/equiprop/_core.so")
    for function in (eq.get_include, eq.get_cmake_dir):
        with pytest.raises(
            FileNotFoundError, match=rf"\[{function.__name__}\] .* runs from a development tree"
        ):
            function()


# ---------------------------------------------------------------------------- installed files


@pytest.mark.parametrize(
    "path",
    [
        "include/equiprop/equiprop.hpp",
        "lib/libequiprop.a",
        "lib/libequiprop.so",
        "lib/cmake/equiprop/equipropConfig.cmake",
        "lib/cmake/equiprop/equipropConfigVersion.cmake",
        "lib/cmake/equiprop/eigen.cmake",
        "lib/pkgconfig/equiprop.pc",
        "share/doc/equiprop/LICENSE",
    ],
)
def test_component_sdk_is_complete(gcc: Installed, tmp_path: Path, path: str) -> None:
    prefix = tmp_path / "sdk"
    run(tool("cmake"), "--install", gcc.build, "--prefix", prefix, "--component", "sdk")
    assert (prefix / path).exists()


def test_another_major_version_is_not_found(gcc: Installed, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.21)\nproject(old LANGUAGES CXX)\n"
        "find_package(equiprop 0.1 CONFIG REQUIRED)\nunset(equiprop_DIR CACHE)\n"
        "find_package(equiprop 1.0 CONFIG QUIET)\n"
        "if(equiprop_FOUND)\n  message(FATAL_ERROR found)\nendif()\n"
    )
    configure(tmp_path / "build", "g++", f"-DCMAKE_PREFIX_PATH={gcc.prefix}", source=tmp_path)


def test_a_component_that_was_not_built_is_named(gcc: Installed, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.21)\nproject(kernels LANGUAGES CXX)\n"
        "find_package(equiprop CONFIG QUIET COMPONENTS cuda)\n"
        'if(equiprop_FOUND OR NOT equiprop_NOT_FOUND_MESSAGE MATCHES "EQUIPROP_BUILD_CUDA=ON")\n'
        '  message(FATAL_ERROR "found: ${equiprop_FOUND} ${equiprop_NOT_FOUND_MESSAGE}")\nendif()\n'
    )
    configure(tmp_path / "build", "g++", f"-DCMAKE_PREFIX_PATH={gcc.prefix}", source=tmp_path)


def exported(library: Path) -> set[str]:
    lines = run(tool("nm"), "-D", "--defined-only", library).splitlines()
    names = {line.split()[-1] for line in lines}
    # Compilers name lambdas differently, and emit different variants of constructors and destructors.
    return {name for name in names if not re.search(r"Ul[a-zA-Z]|[CD][0-2]E", name)}


@pytest.mark.slow
def test_both_compilers_give_functions_the_same_names(gcc: Installed, clang: Installed) -> None:
    """A program can be compiled by one compiler and linked with a library compiled by the other."""
    both = [exported(installed.prefix / "lib/libequiprop.so") for installed in (gcc, clang)]
    # clang 14 also compiles members whose requires-clause does not hold for a scalar, and what they call.
    # Private functions that one source file alone uses are inlined by one of them, and not exported.
    partial = (
        "9HostBatch",
        "15kernel_response",
        "11add_patches",
        "6unpool",
        "12reserve_rows",
        "13reserve_stage",
    )
    partial += ("AndersonIdE4take", "AndersonIfE4take", "13HopfieldTermsIdE4give", "13HopfieldTermsIfE4give")
    declared = [{name for name in names if not any(part in name for part in partial)} for names in both]
    assert declared[0] == declared[1]
    assert len(declared[0]) > 100


# ---------------------------------------------------------------------------- use as a subproject


@pytest.mark.parametrize("way", ["add_subdirectory", "FetchContent"])
def test_a_subproject_leaves_its_parent_alone(tmp_path: Path, way: str) -> None:
    """The outside project checks flags and variables itself; this test checks everything else."""
    build, prefix = tmp_path / "build", tmp_path / "prefix"
    configure(build, "g++", f"-DWAY={way}", f"-DSOURCE={ROOT}")
    cache = dict(
        line.split(":", 1) for line in (build / "CMakeCache.txt").read_text().splitlines() if ":" in line
    )
    assert cache["CMAKE_BUILD_TYPE"].endswith("=")
    for option in ("TESTS", "BENCHMARKS", "PYTHON", "SHARED"):
        assert cache[f"EQUIPROP_BUILD_{option}"] == "BOOL=OFF"
    assert cache["EQUIPROP_INSTALL"] == "BOOL=OFF"
    assert not (build / "CTestTestfile.cmake").exists()
    run(tool("cmake"), "--install", build, "--prefix", prefix)
    assert not prefix.exists()


# ---------------------------------------------------------------------------- benchmarks


def test_benchmarks_run_alone_and_in_a_program_of_ones_own(gcc: Installed) -> None:
    own = gcc.build / "own_benchmarks"
    if not own.exists():
        pytest.skip("Google Benchmark was not found")
    listed = run(own, "--benchmark_list_tests").splitlines()
    assert len(listed) == len(set(listed)) > 50
    arguments = ["--benchmark_filter=512<-512/batch:8/(generic|x86)", "--benchmark_min_time=0.01"]
    alone = gcc.build / "equiprop" / "benchmarks" / "bench_relaxation"
    for program in (alone, own):
        done = subprocess.run(
            [program, *arguments, "--benchmark_format=json"], stdout=subprocess.PIPE, text=True, check=True
        )
        for measured in json.loads(done.stdout)["benchmarks"]:
            assert measured["us"] > 0
            # Without fused multiplications and additions, the measured peak would be half as large.
            assert 0 < measured["percent"] < 140
