"""Print ratios of the times in two result files of bench_training.py; above 1, the new one is slower.

python benchmarks/compare.py OLD.json NEW.json

The column `new/old` is the ratio of the times. The column `of ratios` is the ratio of the multiples of
PyTorch's backprop, which was measured in the same process: use it for different or for busy machines.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

Times = dict[tuple[str, str], tuple[float, float]]


def plain(method: str) -> str:
    """Return the name of a method without the numbers of steps that it copies from equiprop."""
    return re.sub(r"\d+ \+ 2 x \d+, as ours", "as ours", method)


def times_of(file: str) -> Times:
    times: Times = {}
    for case in json.loads(Path(file).read_text())["cases"]:
        network = f"{'-'.join(map(str, case['sizes']))}, batch {case['batch']}"
        for row in case["rows"]:
            times[network, plain(row["method"])] = row["milliseconds"], row["to_backprop"]
            for phase, milliseconds in row.get("phases", {}).items():
                baseline = row["milliseconds"] / row["to_backprop"]
                times[network, f"{plain(row['method'])}: {phase}"] = milliseconds, milliseconds / baseline
    return times


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    old, new = (times_of(file) for file in sys.argv[1:])
    print(f"{'':<26}{'':<48}{'old ms':>9}{'new ms':>9}{'new/old':>9}{'of ratios':>11}")
    for network, method in (key for key in old if key in new):
        (before, multiple), (after, new_multiple) = old[network, method], new[network, method]
        print(
            f"{network:<26}{method:<48}{before:>9.2f}{after:>9.2f}{after / before:>9.2f}"
            f"{new_multiple / multiple:>11.2f}"
        )


if __name__ == "__main__":
    main()
