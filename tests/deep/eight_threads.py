"""Eight Python threads use one network at the same time, for ThreadSanitizer; each result has equal bits.

    python tests/deep/eight_threads.py ROUNDS

The threads read the shared network in free and second phases, and each trains a network of its own.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import equiprop as eq
import numpy as np

THREADS = 8
NET = eq.HopfieldNetwork([20, 40, 10], seed=1)
X = np.random.default_rng(0).random((64, 20)).astype(np.float32)
Y = np.arange(64) % 10


def work(_: int) -> bytes:
    """Return the bytes of all results on the shared network."""
    free = eq.free_phase(NET, X)
    first = eq.equilibrium_propagation(NET, free, Y)
    second = eq.recurrent_backpropagation(NET, free, Y)
    own = eq.Trainer(eq.HopfieldNetwork([20, 10, 10], seed=2))
    own.fit(eq.Dataset(X, Y), epochs=1)
    results = (free.state, first.parameters, second.parameters, own.model.parameters)
    return b"".join(np.ascontiguousarray(result).tobytes() for result in results)


def main(rounds: int) -> None:
    eq.set_num_threads(4)
    expected = work(0)
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(work, range(THREADS * rounds)))
    assert all(result == expected for result in results)
    print(f"{len(results)} results of {THREADS} threads have equal bits")


if __name__ == "__main__":
    main(int(sys.argv[1]))
