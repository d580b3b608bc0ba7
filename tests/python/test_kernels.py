"""The instruction set of the kernels is selected at run time, is shown, and can be set by the user."""

from __future__ import annotations

import os
import subprocess
import sys

import equiprop as eq
import numpy as np
import pytest
from equiprop.config import config

PROGRAM = """
import numpy as np
import equiprop as eq
from equiprop.config import config
net = eq.HopfieldNetwork([20, 33, 7], dtype="float64", seed=3)
x = np.random.default_rng(0).random((19, 20))
free = eq.free_phase(net, x)
grad = eq.equilibrium_propagation(net, free, np.arange(19) % 7)
print(config()["kernels"], repr(float(grad.parameters.sum())), repr(float(free.state.sum())))
"""
NAMES = ["generic", "x86-64-v2", "x86-64-v3", "x86-64-v4"]


def run(isa: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EQUIPROP_ISA": isa}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False
    )


def test_the_choice_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert config()["kernels"] in NAMES
    eq.show_config()
    assert "kernels" in capsys.readouterr().out


def test_every_instruction_set_gives_the_same_numbers_to_rounding() -> None:
    best = config()["kernels"]
    numbers = {}
    for isa in NAMES[: NAMES.index(best) + 1]:
        result = run(isa)
        assert result.returncode == 0, result.stderr
        name, *values = result.stdout.split()
        assert name == isa
        numbers[isa] = [float(value) for value in values]
    for values in numbers.values():
        assert values == pytest.approx(numbers[best], rel=1e-9)


def test_an_unknown_instruction_set_is_refused() -> None:
    result = run("sse9")
    assert result.returncode != 0
    assert "[EQUIPROP_ISA] The instruction set is one that this processor runs: generic" in result.stderr
    assert "Received sse9." in result.stderr


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_parameter_written_by_hand_shows_in_the_next_phase(dtype: str) -> None:
    net = eq.HopfieldNetwork([5, 40, 17, 3], dtype=dtype, seed=1)
    x = np.random.default_rng(0).random((9, 5))
    before = eq.free_phase(net, x)
    net.blocks["W2"][:] *= 1.5
    net.blocks["b3"][:] += 0.1
    after = eq.free_phase(net, x)
    assert not np.array_equal(before.state, after.state)
    np.testing.assert_array_equal(after.state, eq.free_phase(net.variant(), x).state)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sample_settles_as_it_would_alone(dtype: str) -> None:
    """The result of a sample is equal in every bit in any part of the batch."""
    net = eq.HopfieldNetwork([5, 40, 17, 3], dtype=dtype, seed=1)
    x = np.random.default_rng(0).random((37, 5))
    together = eq.free_phase(net, x)
    for j in (0, 11, 12, 13, 36):
        alone = eq.free_phase(net, x[j : j + 1])
        np.testing.assert_array_equal(alone.state[0], together.state[j])
        assert alone.iterations[0] == together.iterations[j]
