"""The type stub of the core is complete: stubtest compares the module, and these tests its classes."""

from __future__ import annotations

import ast
from pathlib import Path

import equiprop
import pytest
from equiprop import _core

STUB = Path(equiprop.__file__).with_name("_core.pyi")
CLASSES = {node.name: node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ClassDef)}


def declared(name: str) -> set[str]:
    """Return the names that a class of the stub and its bases declare."""
    names = set()
    for node in CLASSES[name].body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    bases = [base.id for base in CLASSES[name].bases if isinstance(base, ast.Name)]
    return {name for name in names if not name.startswith("_")}.union(*map(declared, bases))


@pytest.mark.parametrize(
    ("stub", "found"),
    [
        ("Precision", _core.f32),
        ("_DoublePrecision", _core.f64),
        ("_Dual", _core.dual),
        ("_Complex", _core.c128),
        ("_Verification", _core.verification),
        ("_Request", _core.verification.Request),
        ("HopfieldNetwork", _core.f32.HopfieldNetwork),
        ("HopfieldNetwork", _core.f64.HopfieldNetwork),
        ("Energy", _core.f64.Energy),  # type: ignore[attr-defined]
        ("DualEnergy", _core.dual.Energy),  # type: ignore[attr-defined]
        ("Cost", _core.f64.Cost),  # type: ignore[attr-defined]
    ],
)
def test_every_name_of_the_core_has_a_type_and_no_other(stub: str, found: object) -> None:
    """Energy and Cost are only in the stub: functions return them, and they cannot be constructed."""
    assert declared(stub) == {name for name in dir(found) if not name.startswith("_")} - {"Energy", "Cost"}


def test_the_package_says_that_it_is_typed() -> None:
    assert STUB.with_name("py.typed").exists()
