"""What the machine has: GPU, driver, versions, and whether equiprop can use the device.

python benchmarks/cuda/machine.py OUTPUT
"""

from __future__ import annotations

import platform
import sys

import equiprop as eq
from equiprop.config import config
from equiprop.cuda import device_state
from results import output_of, write

FIELDS = "name,driver_version,memory.total,clocks.sm,clocks.max.sm,power.limit"


def main(path: str) -> None:
    gpu = output_of("nvidia-smi", f"--query-gpu={FIELDS}", "--format=csv,noheader", seconds=10)
    commit = output_of("git", "describe", "--always", "--dirty", "--abbrev=12", seconds=5)
    machine = {"gpu": gpu, "device": device_state(), "commit": commit, "equiprop": eq.__version__}
    write(path, machine | {"python": platform.python_version()} | config())


if __name__ == "__main__":
    main(sys.argv[1])
