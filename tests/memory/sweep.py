"""Sweep of the package's entries: each allocation fails in turn; LD_PRELOAD names the shim.

Usage: python sweep.py SHIM STRIDE [ENTRY ...]; prints lines of JSON for each entry: its name, then the number
of allocations that failed, one at a time, and sentences on wrong errors, changed results and leaks.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import equiprop as eq
import numpy as np
from equiprop import verify
from networks import Valley

FOLDER = Path(tempfile.mkdtemp())
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.random((6, 4)), np.arange(6) % 3
#: Samples that three threads divide: each takes 64.
MANY = RANDOM.random((192, 4))
#: Bytes that a sweep may leave in use: caches of the interpreter, and the free list of large states.
LEFT = 40_000
TWENTY = eq.Euler(tolerance=0, max_iterations=20)


@dataclass
class Entry:
    """One entry: `prepare` returns the objects of a call, `call` its result."""

    prepare: Callable[[], Any]
    call: Callable[[Any], Any]
    #: False for a call of several steps, which keeps those that were finished before the failure.
    at_once: bool = True
    threads: int = 1


def net(**more: Any) -> eq.HopfieldNetwork:
    options: dict[str, Any] = {"activation": "tanh", "potential": "quadratic", "dtype": "float64", "seed": 1}
    return eq.HopfieldNetwork([4, 6, 3], **{**options, **more})


def free(model: Any = None) -> tuple[Any, eq.FixedPoint]:
    model = net() if model is None else model
    return model, eq.free_phase(model, X, on_failure="ignore")


def by(rule: Callable[..., eq.Gradient], **options: Any) -> Entry:
    return Entry(free, lambda made: rule(*made, Y, **options).parameters)


def many(made: eq.HopfieldNetwork, rule: Callable[..., eq.Gradient]) -> Any:
    """Return the gradient of a batch that threads divide."""
    return rule(made, eq.free_phase(made, MANY), np.arange(len(MANY)) % 3).parameters


def trainer(**options: Any) -> eq.Trainer:
    return eq.Trainer(net(), batch_size=3, seed=2, **options)


def trained() -> eq.Trainer:
    one = trainer()
    one.fit(X, Y, epochs=1)
    return one


def step(one: eq.Trainer) -> Any:
    one.step(X[:3], Y[:3])
    return one.model.parameters.copy()


def fit(one: eq.Trainer) -> Any:
    history = one.fit(X, Y, epochs=1)
    return one.model.parameters.copy(), history[-1].objective


def problem() -> verify.Problem:
    return verify.prepare("test", net(), X[:2], Y[:2], eq.SquaredError(), None)


def on_problem(check: Callable[..., Any], **options: Any) -> Entry:
    return Entry(problem, lambda made: [row.value for row in check(made, **options).rows])


def saved(thing: Any) -> Path:
    return eq.save(thing, FOLDER / f"{type(thing).__name__}.safetensors")


ENTRIES: dict[str, Entry] = {
    "HopfieldNetwork": Entry(lambda: None, lambda _: net().parameters),
    "free_phase": Entry(net, lambda made: eq.free_phase(made, X).state),
    "free_phase with Anderson": Entry(
        net, lambda made: eq.free_phase(made, X, solver=eq.FixedPointIteration(anderson=4)).state
    ),
    "free_phase that records": Entry(
        net,
        lambda made: eq.free_phase(made, X, solver=eq.Euler(), record=True).state,
    ),
    "free_phase of an own energy": Entry(Valley, lambda made: eq.free_phase(made, X[:, :2]).state),
    "equilibrium_propagation, one-sided": by(eq.equilibrium_propagation, nudging=eq.one_sided(0.1)),
    "equilibrium_propagation, centered": by(eq.equilibrium_propagation, nudging=eq.centered(0.1)),
    "equilibrium_propagation, holomorphic": by(eq.equilibrium_propagation, nudging=eq.holomorphic(0.1, 4)),
    "equilibrium_propagation, limit": by(eq.equilibrium_propagation, nudging=eq.exact_limit()),
    "recurrent_backpropagation, conjugate gradients": by(eq.recurrent_backpropagation),
    "recurrent_backpropagation, GMRES": by(eq.recurrent_backpropagation, linear_solver=eq.GMRES()),
    "recurrent_backpropagation, Neumann": by(eq.recurrent_backpropagation, linear_solver=eq.Neumann()),
    "backpropagation_through_time": Entry(
        lambda: (
            made := net(),
            eq.free_phase(made, X, solver=TWENTY, record=True),
        ),
        lambda made: eq.backpropagation_through_time(*made, Y).parameters,
    ),
    "Trainer": Entry(lambda: None, lambda _: trainer().model.parameters),
    "Trainer.step": Entry(trainer, step),
    "Trainer.step with SGD": Entry(lambda: trainer(optimizer=eq.SGD(0.1, momentum=0.9)), step),
    "Trainer.step by recurrent backpropagation": Entry(
        lambda: trainer(second_phase=eq.RecurrentBackpropagation()), step
    ),
    **{
        f"{name} by three threads": Entry(net, call, threads=3)
        for name, call in {
            "free_phase": lambda made: eq.free_phase(made, MANY).state,
            "equilibrium_propagation": lambda made: many(made, eq.equilibrium_propagation),
            "recurrent_backpropagation": lambda made: many(made, eq.recurrent_backpropagation),
        }.items()
    },
    "Trainer.fit": Entry(trainer, fit, at_once=False),
    "Trainer.evaluate": Entry(trained, lambda made: made.evaluate(X, Y).objective),
    "Trainer.predict": Entry(trained, lambda made: made.predict(X)),
    "save a network": Entry(net, lambda made: saved(made).read_bytes()),
    "load a network": Entry(lambda: saved(net()), lambda path: eq.load(path).parameters),
    "save a trainer": Entry(trained, lambda made: saved(made).stat().st_size),
    "load a trainer": Entry(lambda: saved(trained()), lambda path: eq.load(path).model.parameters),
    "Dataset": Entry(lambda: None, lambda _: eq.Dataset(X, Y).batch(np.arange(3), "float64")[0]),
    "verify.certify": Entry(net, lambda made: verify.certify(made, X[:1], Y[:1], claims=["limit"]).verdict),
    "verify.derivatives": on_problem(verify.derivatives, max_parameters=2),
    "verify.equivalence": on_problem(verify.equivalence, steps=10),
    "verify.limit": on_problem(verify.limit),
    "verify.discrete_time": on_problem(verify.discrete_time, steps=4),
    "verify.gradients": on_problem(verify.gradients, betas=[], max_differences=1),
    "verify.orders": on_problem(verify.orders, betas=(0.1, 0.05), points=(2,)),
}


class Shim:
    """The library that LD_PRELOAD names, for the calls of the extension and of the C++ library."""

    def __init__(self, path: str) -> None:
        self.library: Any = ctypes.CDLL(path)
        self.library.failing_allocations_stop.restype = ctypes.c_long
        self.library.failing_allocations_in_use.restype = ctypes.c_size_t
        for line in Path("/proc/self/maps").read_text().splitlines():
            found = re.match(r"(\w+)-(\w+) r-x.*(_core\.|libstdc\+\+)", line)
            if found:
                ends = (ctypes.c_size_t(int(end, 16)) for end in found.groups()[:2])
                self.library.failing_allocations_of(*ends)

    def failing(self, first: int, call: Callable[[], Any]) -> tuple[int, Any, BaseException | None]:
        """Return the number of allocations of a call, its result, and its error."""
        result, error = None, None
        self.library.failing_allocations_start(ctypes.c_long(first), ctypes.c_long(1))
        try:
            result = call()
        except BaseException as raised:
            error = raised
        calls = int(self.library.failing_allocations_stop())
        if error is not None:
            error.__traceback__ = None
        return calls, result, error

    def in_use(self) -> int:
        for _ in range(3):
            gc.collect()
        return int(self.library.failing_allocations_in_use())


def digest(result: Any) -> str:
    parts = result if isinstance(result, tuple | list) else [result]
    content = b"|".join(
        part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode() for part in parts
    )
    return hashlib.sha256(content).hexdigest()


def fault_of(error: BaseException | None, result: Any, expected: str) -> str | None:
    """Return a sentence on a call whose allocation failed, or None if it ended as it should."""
    if error is None:
        return None if digest(result) == expected else "another result"
    if isinstance(error, MemoryError) or str(error).startswith("["):
        return None
    return f"{type(error).__name__}: {error}"


def swept(shim: Shim, entry: Entry, stride: int) -> tuple[int, list[str]]:
    """Return the number of failed allocations of an entry, and faults."""
    eq.set_num_threads(entry.threads)
    expected, faults, first = digest(entry.call(entry.prepare())), [], 1
    failures = 0
    while True:
        made = entry.prepare()
        calls, result, error = shim.failing(first, lambda made=made: entry.call(made))
        if calls < first and error is None:
            break
        failures += 1
        fault = fault_of(error, result, expected)
        if fault is not None:
            faults.append(f"allocation {first}: {fault}")
        if error is not None and entry.at_once and digest(entry.call(made)) != expected:
            faults.append(f"allocation {first}: another result of the next call with the same objects")
        if digest(entry.call(entry.prepare())) != expected:
            faults.append(f"allocation {first}: another result of the next call with new objects")
        first += stride
    return failures, faults


def main(path: str, stride: int, names: list[str]) -> None:
    warnings.simplefilter("ignore")
    shim = Shim(path)
    for name in names or ENTRIES:
        print(json.dumps({"entry": name}), flush=True)  # the entry in which the process ends, if it does
        entry = ENTRIES[name]
        failures, faults = swept(shim, entry, stride)
        before = shim.in_use()
        swept(shim, entry, 7 * stride)
        left = shim.in_use() - before
        if left > LEFT:
            faults.append(f"{left} more bytes in use after {failures // 7} failures")
        print(json.dumps({"entry": name, "failures": failures, "left": left, "faults": faults}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
