"""Subinterpreters and free-threaded interpreters behave as docs/packaging.md describes."""

from __future__ import annotations

import subprocess
import sys
import sysconfig

import pytest

IN_A_SUB_INTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
run = getattr(interpreters, "exec", interpreters.run_string)
print(run(interpreters.create(), "import equiprop._core"))
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="an extension cannot refuse before Python 3.12")
def test_a_sub_interpreter_is_refused() -> None:
    command = [sys.executable, "-W", "ignore", "-c", IN_A_SUB_INTERPRETER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "does not support loading in subinterpreters" in done.stdout + done.stderr


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this interpreter has a lock")
def test_a_free_threaded_interpreter_takes_its_lock_again() -> None:
    command = [sys.executable, "-W", "ignore", "-c", "import equiprop, sys; print(sys._is_gil_enabled())"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
