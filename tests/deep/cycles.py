"""Growth over many trainings: memory, open files and threads do not depend on how many trainings have ended.

    python tests/deep/cycles.py COUNT

Each cycle makes a network and a trainer, trains, saves to a checkpoint, reads it back and closes all of it.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from pathlib import Path

import equiprop as eq
import numpy as np

#: Largest growth of the resident memory, in bytes, after the first tenth of the cycles.
MEMORY = 2 * 2**20


def usage() -> tuple[int, int, int]:
    """Return the resident memory in bytes and the numbers of open files and threads of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    own = Path("/proc/self")
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(own / "fd")), len(os.listdir(own / "task"))


def cycle(number: int, folder: Path) -> None:
    random = np.random.default_rng(number)
    data = eq.Dataset(random.random((12, 6)), np.arange(12) % 3)
    phase = eq.RecurrentBackpropagation() if number % 2 else eq.EquilibriumPropagation()
    trainer = eq.Trainer(eq.HopfieldNetwork([6, 5, 3], seed=number), second_phase=phase, batch_size=6)
    checkpoint = eq.Checkpoint(folder / "run.safetensors", steps=1)
    trainer.fit(data, epochs=1, checkpoint=checkpoint)
    again = eq.load(folder / "run.safetensors")
    assert np.array_equal(again.model.parameters, trainer.model.parameters)


def main(count: int) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").exists() else None) as folder:
        before = usage()
        for number in range(count):
            if number == count // 10:
                before = usage()
            cycle(number, Path(folder))
        after = usage()
    grown = [new - old for new, old in zip(after, before, strict=True)]
    print(f"{count} cycles: memory {after[0] / 2**20:.1f} MiB, grown by {grown[0] / 1024:.0f} KiB,")
    print(f"open files {after[1]}, grown by {grown[1]}; threads {after[2]}, grown by {grown[2]}")
    if grown[0] > MEMORY or grown[1] > 0 or grown[2] > 0:
        sys.exit("memory, files or threads have grown")


if __name__ == "__main__":
    main(int(sys.argv[1]))
