"""The Python tests of networks on a device, with the package in the folder EQUIPROP_CUDA_EMULATED.

python benchmarks/cuda/python_suite.py OUTPUT ARGUMENTS OF PYTEST
"""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from results import write


class Outcomes:
    """Counts the outcomes of tests, and keeps the names of those that failed."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1
        if report.outcome == "failed":
            self.failed.append(report.nodeid)


def main(path: str, *arguments: str) -> int:
    outcomes = Outcomes()
    status = pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[outcomes])
    write(path, dict(outcomes.counts) | {"failures": outcomes.failed})
    return int(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
