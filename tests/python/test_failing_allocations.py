"""A failing allocation in any entry raises MemoryError, leaks nothing, and changes no later result."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import equiprop as eq
import pytest

MEMORY = Path(__file__).parents[1] / "memory"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="LD_PRELOAD is of Linux")
#: Entries of the quick sweep, in which every 9th allocation fails, with their fewest failures.
QUICK = {
    "HopfieldNetwork": 8,
    "free_phase": 12,
    "free_phase by three threads": 30,
    "equilibrium_propagation, limit": 15,
    "recurrent_backpropagation, GMRES": 15,
    "Trainer.step": 30,
    "load a network": 10,
    "verify.limit": 40,
}
#: Fewest failures in the sweep of all entries.
MOST = 15_000


@pytest.fixture(scope="session")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library whose allocations can fail."""
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("shim") / "failing_allocations.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    built = subprocess.run(
        [compiler, MEMORY / "failing_allocations.c", "-o", library, *flags], capture_output=True, text=True
    )
    if "mallinfo2" in built.stderr or "__libc_malloc" in built.stderr:
        pytest.skip("the C library is not glibc 2.33 or later")
    assert built.returncode == 0, built.stderr
    return library


def results_of(program: str, *arguments: str | Path, key: str, **env: str) -> dict[str, Any]:
    """Run a sweep; return what its lines tell with this key of each entry, none of which has a fault."""
    words = [sys.executable, MEMORY / program, *arguments]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    done = subprocess.run(words, env=variables, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"the process ended in {lines[-1:]}: {done.stderr[-2000:]}"
    results = [line for line in lines if key in line]
    assert [line for line in results if line["faults"]] == []
    return {line["entry"]: line[key] for line in results}


def swept(library: Path, stride: int, *entries: str) -> dict[str, int]:
    """Return the number of failed allocations of each entry, whose laws are in sweep.py."""
    arguments = (library, str(stride), *entries)
    return results_of("sweep.py", *arguments, key="failures", LD_PRELOAD=str(library))


def test_a_failing_allocation_is_a_memory_error(failing: Path) -> None:
    failures = swept(failing, 9, *QUICK)
    assert failures.keys() == QUICK.keys()
    assert {name: count for name, count in failures.items() if count < QUICK[name]} == {}


@pytest.mark.slow
def test_a_failure_at_every_allocation_of_every_entry_is_a_memory_error(failing: Path) -> None:
    failures = swept(failing, 1)
    assert sum(failures.values()) > MOST
    assert {name for name, count in failures.items() if not count} <= {"Dataset"}
    assert len(failures) > 25


def check_interpreter(stride: int, *entries: str) -> dict[str, dict[str, int]]:
    """Return the errors of each entry whose allocations by the interpreter fail; see interpreter.py."""
    pytest.importorskip("_testcapi", reason="CPython was installed without its tests")
    return results_of("interpreter.py", str(stride), *entries, key="errors")


def test_a_failing_allocation_of_the_interpreter_is_an_exception() -> None:
    errors = check_interpreter(7, "HopfieldNetwork", "free_phase", "load a network")
    assert all(kinds["MemoryError"] > 10 for kinds in errors.values())
    # A claim on a model that such a failure left behind would refuse later steps of other networks.
    assert check_interpreter(31, "Trainer.step")["Trainer.step"]["MemoryError"] > 20


@pytest.mark.slow
def test_a_failure_at_every_allocation_of_the_interpreter_is_an_exception() -> None:
    errors = check_interpreter(1)
    assert len(errors) > 25
    assert sum(kinds["MemoryError"] for kinds in errors.values()) > MOST


def test_functions_of_the_core_receive_their_arguments_by_position() -> None:
    """pybind11 ends the process if there is no memory for the name of a keyword."""
    found = []
    for path in Path(str(eq.__file__)).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and call.keywords and "core." in ast.unparse(call.func):
                found.append(f"{path.name}:{call.lineno}")
    assert found == []


@pytest.mark.parametrize("fault", ["ignored", "leak", "other"])
def test_the_sweep_notices_planted_faults(fault: str, failing: Path, tmp_path: Path) -> None:
    """An entry that ignores failures, one that leaks, and one whose next result differs are named."""
    planted = {
        "ignored": "lambda made: _ignoring(made)",
        "leak": "lambda made: _leaking(made)",
        "other": "lambda made: _changing(made)",
    }
    text = (MEMORY / "sweep.py").read_text()
    head = f"""
KEPT = []


def _ignoring(made):
    try:
        return eq.free_phase(made, X).state
    except MemoryError:
        return np.zeros(1)


def _leaking(made):
    try:
        return eq.free_phase(made, X).state
    except MemoryError:
        KEPT.append(bytearray(10**6))
        raise


def _changing(made):
    try:
        return eq.free_phase(made, X).state
    except MemoryError:
        made.parameters[0] += 1
        raise


ENTRIES = {{"planted": Entry(net, {planted[fault]})}}
"""
    text = text.replace("\nclass Shim:", f"{head}\n\nclass Shim:", 1)
    text = text.replace("Path(__file__).parents[1]", repr(str(MEMORY.parent)), 1).replace(
        f"sys.path.insert(0, str({str(MEMORY.parent)!r}))", f"sys.path.insert(0, {str(MEMORY.parent)!r})"
    )
    (tmp_path / "sweep.py").write_text(text)
    words = [sys.executable, tmp_path / "sweep.py", failing, "9"]
    env = {**os.environ, "LD_PRELOAD": str(failing), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    faults = " ".join(json.loads(done.stdout.splitlines()[-1])["faults"])
    sentence = {"ignored": "another result", "leak": "more bytes in use", "other": "with the same objects"}[
        fault
    ]
    assert sentence in faults
