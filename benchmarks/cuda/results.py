"""Files with the results of a part, and programs that a part runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


def write(path: str, result: dict[str, Any]) -> None:
    """Write the result of a part."""
    Path(path).write_text(json.dumps(result, indent=1) + "\n")


def output_of(*command: str, seconds: float) -> str:
    """Return what a program prints, or one line that says why it printed nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    return done.stdout.strip() if done.returncode == 0 else f"status {done.returncode}: {done.stderr.strip()}"
