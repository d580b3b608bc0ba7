"""The architecture as a test: an include or an import points only downward."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEADERS = ROOT / "cpp" / "include" / "equiprop"
PACKAGE = ROOT / "python" / "equiprop"

CPP_FLOORS = ["base", "linear", "model", "solver", "second_phase", "verification"]

#: Lowest first; a module may import what stands above it in this list.
PYTHON_FLOORS = [
    ["_core"],
    ["checks"],
    [
        "arrays",
        "activations",
        "config",
        "idx",
        "safetensors",
        "download",
        "optimizers",
        "nudging",
        "history",
        "_threadpool",
    ],
    ["models", "data"],
    ["energies", "costs", "results", "torch"],
    ["solvers"],
    ["second_phase"],
    ["checkpoint", "training"],
    [
        "verify.spectrum",
        "verify.problem",
        "verify.report",
        "verify.diagnosis",
        "verify.derivatives",
        "verify.equivalence",
        "verify.gradients",
        "verify.limit",
        "verify.orders",
        "verify.surrogate",
        "verify.discrete_time",
        "verify.projected_cost",
        "verify.bounded",
        "verify.asymmetry",
        "verify.unconverged",
        "verify.traces",
        "verify.black_box",
        "verify.html",
        "verify.certificate",
        "verify.suite",
        "verify",
    ],
    ["plotting"],
    ["cli"],
    ["__main__", "__init__"],
]
PYTHON_LEVEL = {name: level for level, names in enumerate(PYTHON_FLOORS) for name in names}


def test_every_header_belongs_to_a_floor_and_to_the_umbrella() -> None:
    umbrella = (HEADERS / "equiprop.hpp").read_text()
    for header in HEADERS.rglob("*.hpp"):
        name = header.relative_to(HEADERS.parent).as_posix()
        if header.name != "equiprop.hpp":
            assert header.parent.name in CPP_FLOORS
            assert f'#include "{name}"' in umbrella


@pytest.mark.parametrize("header", sorted(HEADERS.glob("*/*.hpp")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_headers_include_only_downward(header: Path) -> None:
    level = CPP_FLOORS.index(header.parent.name)
    for floor in re.findall(r'#include "equiprop/(\w+)/', header.read_text()):
        assert CPP_FLOORS.index(floor) <= level


def imports(source: Path) -> list[str]:
    """Modules of the package that a module imports when it is loaded."""
    tree = ast.parse(source.read_text())
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("equiprop"):
            inside = node.module.removeprefix("equiprop").removeprefix(".")
            found += [inside] if inside else [alias.name for alias in node.names]
        assert not (isinstance(node, ast.ImportFrom) and node.level), "imports are absolute"
    return found


@pytest.mark.parametrize("source", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_modules_import_only_downward(source: Path) -> None:
    name = ".".join(source.relative_to(PACKAGE).with_suffix("").parts)
    name = name if name == "__init__" else name.removesuffix(".__init__")
    for imported in imports(source):
        assert PYTHON_LEVEL[imported] <= PYTHON_LEVEL[name], f"{name} imports {imported}"


def test_models_use_no_conjugating_product() -> None:
    """Eigen's dot and adjoint conjugate, which would break complex nudging without a sign."""
    for path in [
        *HEADERS.glob("model/*.hpp"),
        *HEADERS.glob("linear/*.hpp"),
        *(ROOT / "cpp/src").rglob("*.cpp"),
    ]:
        assert not re.search(r"\.(dot|adjoint|norm|squaredNorm)\(", path.read_text()), path


def test_only_interfaces_of_loops_and_models_have_virtual_functions() -> None:
    for path in HEADERS.rglob("*.hpp"):
        if path.name not in {"any_model.hpp", "energy_interface.hpp", "iterate.hpp"}:
            assert not re.search(r"^\s*virtual ", path.read_text(), re.MULTILINE), path


def test_one_version_number() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    written = [
        path
        for pattern in ("*.txt", "*.hpp", "*.py", "*.cff", "*.cmake")
        for path in ROOT.rglob(pattern)
        if not {"build", ".venv"} & set(path.relative_to(ROOT).parts) and version[1] in path.read_text()
    ]
    assert written == []
