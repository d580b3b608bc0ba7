"""The four tools of compute-sanitizer on a small training step.

python benchmarks/cuda/sanitizers.py OUTPUT PROGRAM
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Any

from results import write

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
_SECONDS, _ERRORS_FOUND = 22, 9


def checked(checker: str, tool: str, program: str) -> dict[str, Any]:
    """Run a program under one tool; `errors` is True, False, or None if the run did not end."""
    command = [checker, "--tool", tool, "--error-exitcode", str(_ERRORS_FOUND), program, "2", "4", "64"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return {"errors": None, "output": f"no end within {_SECONDS} s"}
    errors = {0: False, _ERRORS_FOUND: True}.get(done.returncode)
    return {"errors": errors, "output": (done.stdout + done.stderr).strip()[-2000:]}


def main(path: str, program: str) -> None:
    checker = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if checker is None:
        write(path, {"left_out": "compute-sanitizer was not found"})
        return
    write(path, {tool: checked(checker, tool, program) for tool in TOOLS})


if __name__ == "__main__":
    main(*sys.argv[1:])
