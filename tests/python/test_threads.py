"""The number of threads does not change any bit of a result."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import chain, inputs, labels, skip


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a new process that can import the package and the test networks."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


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
            eq.equilibrium_propagation(net, free, y, solver=eq.BlockUpdate(anderson=2)),
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
    program = "import equiprop as eq; print(eq.num_threads())"
    assert run(program, EQUIPROP_NUM_THREADS="3").stdout.strip() == "3"
    refused = run(program, EQUIPROP_NUM_THREADS="many")
    assert refused.returncode != 0
    assert "ValueError: [EQUIPROP_NUM_THREADS]" in refused.stderr


#: Environment variables that the library reads.
VARIABLES = {"EQUIPROP_ISA", "EQUIPROP_NUM_THREADS"}


def test_empty_environment_variables_count_as_unset() -> None:
    program = "from equiprop.config import config; print(config()['threads'], config()['kernels'])"
    command = f"import os; [os.environ.pop(name, None) for name in {VARIABLES}]; {program}"
    empty = run(program, **dict.fromkeys(VARIABLES, ""))
    assert empty.stderr == ""
    assert empty.stdout == run(command).stdout != ""


def test_the_library_reads_no_other_environment_variable() -> None:
    root = Path(__file__).parents[2]
    sources = [path for kind in ("*.py", "*.?pp", "*.cu*") for path in root.glob(f"[cp]*/**/{kind}")]
    assert len(sources) > 300
    read = r"getenv\(\s*\"(\w+)|environ(?:\.get\(|\[)\s*\"(\w+)"
    found = {name for path in sources for pair in re.findall(read, path.read_text()) for name in pair if name}
    assert found == VARIABLES


def test_python_threads_may_compute_at_the_same_time() -> None:
    """The core releases the global interpreter lock, and every thread gets the result of its own call."""
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


FORK = """
import os, signal, sys, threading
import equiprop as eq
from networks import chain, inputs

eq.set_num_threads(2)
net = chain(4, 30, 3)
x = inputs(net, 200)
expected = eq.free_phase(net, x).state
stop = threading.Event()

def compute():
    while not stop.is_set():
        eq.free_phase(net, x)

other = threading.Thread(target=compute)
if sys.argv[1] == "busy":
    other.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that hangs
        os._exit(0 if (eq.free_phase(net, x).state == expected).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
assert (eq.free_phase(net, x).state == expected).all()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("parent", ["idle", "busy"])
def test_a_forked_child_computes_whatever_the_parent_was_doing(parent: str) -> None:
    done = run(FORK, parent)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_forked_by_another_thread_hears_signals() -> None:
    program = """
import os, signal, threading
import equiprop as eq
from networks import chain, inputs
net = chain(40, 60, 10)

def interrupted():
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        eq.free_phase(net, inputs(net, 200), solver=eq.BlockUpdate(tolerance=0.0, max_iterations=10**5))
    except KeyboardInterrupt:
        os._exit(7)
    os._exit(0)

def fork():
    child = os.fork()
    if child == 0:
        interrupted()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

thread = threading.Thread(target=fork)
thread.start()
thread.join()
"""
    assert run(program).stdout.strip() == "7"


def test_a_program_ends_at_once_though_workers_sleep() -> None:
    program = """
import equiprop as eq
from networks import chain, inputs
eq.set_num_threads(4)
net = chain()
eq.free_phase(net, inputs(net, 300))
"""
    done = run(program)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_ends_though_a_daemon_thread_computes() -> None:
    program = """
import threading, time
import equiprop as eq
from networks import chain, inputs
eq.set_num_threads(2)
net = chain(40, 60, 10)
forever = eq.BlockUpdate(tolerance=0.0, max_iterations=10**9)
threading.Thread(
    target=eq.free_phase, args=(net, inputs(net, 200)), kwargs={"solver": forever}, daemon=True
).start()
time.sleep(0.1)
"""
    done = run(program)
    assert (done.returncode, done.stderr) == (0, "")


LIMITS = """
import ctypes, shutil, sys
for module in sys.argv[1].split():
    __import__(module)
import equiprop as eq, numpy.linalg._umath_linalg as other, threadpoolctl

ctypes.CDLL(shutil.copy(other.__file__, sys.argv[2]))  # a stranger's _core
eq.set_num_threads(3)
[info] = [info for info in threadpoolctl.threadpool_info() if info["prefix"] == "_core"]
assert info["user_api"] == "equiprop", info
assert info["num_threads"] == 3, info
assert info["version"] == eq.__version__, info
with threadpoolctl.threadpool_limits(1):
    assert eq.num_threads() == 1
assert eq.num_threads() == 3
with threadpoolctl.threadpool_limits({"equiprop": 2}):
    assert eq.num_threads() == 2
with threadpoolctl.threadpool_limits(1, user_api="blas"):
    assert eq.num_threads() == 3
"""


@pytest.mark.parametrize("order", ["equiprop threadpoolctl", "threadpoolctl equiprop"])
def test_threadpoolctl_sees_and_limits_the_threads(order: str, tmp_path: Path) -> None:
    pytest.importorskip("threadpoolctl", minversion="3.2")
    done = run(LIMITS, order, str(tmp_path / "_core.so"))
    assert done.returncode == 0, done.stderr


def test_threadpoolctl_is_not_needed_and_may_be_old() -> None:
    for absence in ("None", "type(sys)('threadpoolctl')"):
        program = f"import sys; sys.modules['threadpoolctl'] = {absence}; import equiprop"
        done = run(program)
        assert done.returncode == 0, done.stderr


def test_threadpoolctl_works_though_the_environment_makes_no_sense() -> None:
    pytest.importorskip("threadpoolctl", minversion="3.2")
    program = """
import equiprop, threadpoolctl
[info] = [info for info in threadpoolctl.threadpool_info() if info["prefix"] == "_core"]
assert info["num_threads"] == 0
"""
    done = run(program, EQUIPROP_NUM_THREADS="many")
    assert done.returncode == 0, done.stderr
