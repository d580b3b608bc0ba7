"""Checksums of all results of a small training step on the device, beside the emulator's.

python benchmarks/cuda/checksums.py OUTPUT PROGRAM EMULATED [--small]

The emulator gives one number for every division of launches; so should the device. Each division runs twice:
two numbers for one division are a race.
"""

from __future__ import annotations

import sys

from results import output_of, write

#: Blocks of a cluster, samples of a tile, threads of a block.
DIVISIONS = ("2 4 64", "1 8 512", "8 1 32", "3 8 96", "8 4 256", "0 0 0")


def main(path: str, program: str, emulated: str, size: str = "") -> None:
    seconds = 300 if size else 6
    expected = output_of(emulated, *DIVISIONS[0].split(), seconds=300)
    divisions = DIVISIONS[:1] if size else DIVISIONS
    found = {cut: [output_of(program, *cut.split(), seconds=seconds) for _ in range(2)] for cut in divisions}
    equal = all(number == expected for numbers in found.values() for number in numbers)
    write(path, {"emulated": expected, "device": found, "equal": equal})


if __name__ == "__main__":
    main(*sys.argv[1:])
