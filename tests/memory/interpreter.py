"""Sweep of the package's entries: each allocation of the interpreter fails in turn.

Usage: python interpreter.py STRIDE [ENTRY ...]; prints lines of JSON for each entry of sweep.py: its name,
then the kinds of errors, and sentences on changed results. The hook is one of CPython's own tests. NumPy and
pybind11 raise errors of other kinds than MemoryError for want of memory, so each exception is accepted.
"""

from __future__ import annotations

import _testcapi
import json
import sys
import warnings
from collections import Counter

import equiprop as eq
from sweep import ENTRIES, Entry, digest

#: Entries in which NumPy 2 ends the process: its indexing by arrays uses memory that it did not get.
ENDED_BY_NUMPY = ("verify.certify", "verify.limit", "verify.gradients", "verify.orders")
#: Entries that keep the update of a step if an allocation fails after it.
STEPS = "Trainer.step"
#: A sweep has passed the last allocation of an entry after this number of calls without an error.
PASSED = 60


def swept(entry: Entry, stride: int, repeats: bool) -> tuple[Counter[str], list[str]]:
    """Return how many errors of each kind the failing allocations of an entry caused, and faults.

    With `repeats`, a call that failed must have its result when it is made again with the same objects.
    """
    eq.set_num_threads(entry.threads)
    expected, kinds, faults = digest(entry.call(entry.prepare())), Counter[str](), []
    first = passed = 0
    while passed < PASSED:
        made, result, error = entry.prepare(), None, None
        _testcapi.set_nomemory(first, first + 1)
        try:
            result = entry.call(made)
        except Exception as raised:
            error = raised.with_traceback(None)
        finally:
            _testcapi.remove_mem_hooks()
        passed = passed + 1 if error is None else 0
        if error is None and digest(result) != expected:
            faults.append(f"allocation {first}: another result")
        if error is not None:
            kinds[type(error).__name__] += 1
            if repeats and digest(entry.call(made)) != expected:
                faults.append(f"allocation {first}: another result of the next call with the same objects")
        if digest(entry.call(entry.prepare())) != expected:
            faults.append(f"allocation {first}: another result of the next call with new objects")
        first += stride
    return kinds, faults


def main(stride: int, names: list[str]) -> None:
    warnings.simplefilter("ignore")
    for name in names or [name for name in ENTRIES if name not in ENDED_BY_NUMPY]:
        print(json.dumps({"entry": name}), flush=True)  # the entry in which the process ends, if it does
        entry = ENTRIES[name]
        kinds, faults = swept(entry, stride, entry.at_once and not name.startswith(STEPS))
        print(json.dumps({"entry": name, "errors": kinds, "faults": faults}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
