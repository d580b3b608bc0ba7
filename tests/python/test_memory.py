"""The comparison of both second phases takes six states of the batch and five parameter vectors.

One of these keeps the parameters of the model, which are restored at every end.

The two problems that it compares take memory in addition: each has its input and the drive by the input,
one in double precision, the other one in dual numbers, which are two doubles. The weights between free layers
are packed for both directions, in the energy of the problem and in that of the samples that are compared.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import numpy as np
import equiprop as eq
from equiprop import verify

batch, steps = map(int, sys.argv[1:])
eq.set_num_threads(1)
net = eq.HopfieldNetwork(
    [784, 800, 400, 10], activation="tanh", potential="quadratic", dtype="float64", seed=1, gain=0.3
)
x = np.random.default_rng(0).random((batch, 784))
solver = eq.Euler(tolerance=1e-9, max_iterations=2000, step_size=0.3)
problem = verify.prepare("memory", net, x, np.arange(batch) % 10, eq.SquaredError(), solver)
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = int(open("/proc/self/statm").read().split()[1]) * 4096
verify.equivalence(problem, steps=steps)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
problems = 3 * batch * (784 + net.num_units)
packed = 2 * 2 * (net.blocks["W2"].size + net.blocks["W3"].size)
print(peak - before, 8 * (6 * batch * net.num_units + 5 * net.num_parameters + problems + packed))
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux tells of peaks")
@pytest.mark.parametrize(
    ("batch", "steps"),
    [
        (8, 5),
        (32, 5),
        (8, 20),
        *(pytest.param(*p, marks=pytest.mark.slow) for p in [(64, 5), (256, 3), (8, 100)]),
    ],
)
def test_the_peak_is_bounded_whatever_the_batch_and_the_steps(batch: int, steps: int) -> None:
    # Each large array is mapped separately: the peak does not depend on the fragmentation of the heap.
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(batch), str(steps)],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**17)},
        capture_output=True,
        text=True,
        check=True,
    )
    extra, bound = map(int, run.stdout.split())
    traces_and_interpreter = 3 * 2**20
    assert 2**20 < extra <= bound + traces_and_interpreter
