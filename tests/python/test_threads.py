"""Threads change the time a computation takes, and not one bit of what it returns."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import chain, inputs, labels, skip


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    eq.set_num_threads(0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 63, 64, 65, 130])
@pytest.mark.parametrize("build", [chain, skip])
def test_no_bit_depends_on_the_number_of_threads(build: Any, batch: int, dtype: str) -> None:
    net = build(activation="tanh", dtype=dtype)
    x, y = inputs(net, batch), labels(net, batch)
    results = []
    for threads in (1, 2, 3, 7):
        eq.set_num_threads(threads)
        free = eq.free_phase(net, x)
        gradients = [
            eq.equilibrium_propagation(net, free, y),
            eq.equilibrium_propagation(net, free, y, nudging=eq.exact_limit()),
            eq.recurrent_backpropagation(net, free, y),
        ]
        results.append(
            [free.state, free.iterations, *(part for g in gradients for part in (g.parameters, g.inputs))]
        )
    for other in results[1:]:
        for value, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(value, expected)


def test_the_number_of_threads_is_what_was_asked_for() -> None:
    default = eq.num_threads()
    assert default >= 1
    for count in (1, 5, 4096):
        eq.set_num_threads(count)
        assert eq.num_threads() == count
    eq.set_num_threads(0)
    assert eq.num_threads() == default


def test_the_environment_sets_the_default() -> None:
    def ask(value: str) -> subprocess.CompletedProcess[str]:
        code = "import equiprop as eq; print(eq.num_threads())"
        environment = {**os.environ, "EQUIPROP_NUM_THREADS": value, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert ask("3").stdout.strip() == "3"
    refused = ask("many")
    assert refused.returncode != 0
    assert "ValueError: [EQUIPROP_NUM_THREADS]" in refused.stderr


def test_python_threads_may_compute_at_the_same_time() -> None:
    """The lock of the interpreter is released; every caller gets its own answer."""
    net = chain(4, 30, 3)
    batches = [inputs(net, 40, seed) for seed in range(6)]
    expected = [eq.free_phase(net, x).state for x in batches]
    found: list[Any] = [None] * len(batches)

    def work(k: int) -> None:
        for _ in range(10):
            found[k] = eq.free_phase(net, batches[k]).state

    workers = [threading.Thread(target=work, args=(k,)) for k in range(len(batches))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for state, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(state, right)
