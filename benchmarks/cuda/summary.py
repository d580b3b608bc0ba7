"""Gathers the results of all parts in one file, and prints one line for each.

python benchmarks/cuda/summary.py OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from results import write


def part_of(folder: Path, line: str) -> tuple[str, dict[str, Any]]:
    """Return name and record of a part: its limit, status and seconds, and its result if it wrote one."""
    name, *numbers = line.split()
    record: dict[str, Any] = dict(zip(("limit", "status", "seconds"), map(int, numbers), strict=True))
    path = folder / f"{name}.json"
    record["result"] = json.loads(path.read_text()) if path.exists() else None
    return name, record


def main(folder: Path) -> None:
    parts = dict(part_of(folder, line) for line in (folder / "parts.txt").read_text().splitlines())
    write(str(folder / "summary.json"), parts)
    for name, record in parts.items():
        end = {0: "ended", 124: "was stopped at its limit"}.get(record["status"], "failed")
        print(f"{name:<14} {end} after {record['seconds']} s of {record['limit']} s")
    rows = [row for name in ("steps", "image_steps") for row in (parts[name]["result"] or {}).get("rows", [])]
    for row in rows:
        what = row.get("method") or row.get("refused") or row["left_out"]
        figures = f"{row['us']:>10.1f} us{row['ratio']:>9.3f}" if "us" in row else ""
        print(f"{row['net']:<18}{row['batch']:>6}  {what:<46}{figures}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
