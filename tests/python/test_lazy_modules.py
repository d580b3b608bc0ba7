"""Modules that need an extra are attributes of the package, without an import of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = {"estimator": "sklearn", "jax": "jax", "mpi": "mpi4py", "torch": "torch"}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_imported_when_it_is_used(name: str) -> None:
    pytest.importorskip(MODULES[name])
    code = f"import sys, equiprop; print({MODULES[name]!r} in sys.modules, equiprop.{name}.__name__)"
    assert run(code) == f"False equiprop.{name}\n"


@pytest.mark.parametrize(
    ("name", "use"), [("estimator", ""), ("jax", ""), ("mpi", ".world()"), ("torch", "")]
)
def test_a_missing_extra_is_named(name: str, use: str) -> None:
    code = f"import sys; sys.modules[{MODULES[name]!r}] = None; import equiprop; equiprop.{name}{use}"
    extra = "sklearn" if name == "estimator" else name
    assert f"pip install 'equiprop[{extra}]'" in run(code).splitlines()[-1]


def test_other_names_are_no_attributes() -> None:
    assert "AttributeError: module 'equiprop' has no attribute 'Network'" in run(
        "import equiprop; equiprop.Network"
    )
