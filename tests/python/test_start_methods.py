"""Processes that are started in any way compute the bits of their parent."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import equiprop as eq
import numpy as np
import pytest


def trained(seed: int) -> bytes:
    """Return the parameters of a small training."""
    random = np.random.default_rng(seed)
    trainer = eq.Trainer(eq.HopfieldNetwork([6, 40, 3], seed=seed))
    trainer.fit(eq.Dataset(random.random((64, 6)), np.arange(64) % 3), epochs=2)
    return trainer.model.parameters.tobytes()


# Python 3.12 and later warn about a fork of a process with threads.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_children_compute_the_bits_of_their_parent(method: str) -> None:
    expected = [trained(seed) for seed in range(4)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        assert list(pool.map(trained, range(4), timeout=120)) == expected
