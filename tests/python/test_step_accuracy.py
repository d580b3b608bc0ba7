"""Every step of a training takes an accurate gradient, or is marked; accurate steps are not marked."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Status

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "python" / "bench_gradient_error.py"
DIGITS, _ = eq.load_digits()
#: Cells of a quick test: the hardest kinds of network, both costs, each second phase.
CELLS = [
    ("hard_sigmoid", "squared", "centered", 1),
    ("hard_sigmoid", "entropy", "rbp", 3),
    ("tanh", "entropy", "centered", 1),
    ("steep_sigmoid", "squared", "rbp", 3),
    ("sigmoid", "entropy", "one_sided", 2),
]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    if not PROGRAM.exists():
        pytest.skip("a source distribution has no benchmarks")
    spec = importlib.util.spec_from_file_location("bench_gradient_error", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figures(program: ModuleType, cells: list[Any], epochs: int, every: int) -> dict[str, Any]:
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.TrainingWarning)
        for cell in cells:
            found += program.checks(DIGITS, cell, epochs, every)
    return program.summary(found)


def assert_accurate(got: dict[str, Any]) -> None:
    assert got["worst unmarked"] >= 0.998
    assert got["marked, %"] <= 1
    assert got["marked above 0.9999"] == 0


def test_steps_of_whole_trainings_are_accurate_or_marked(program: ModuleType) -> None:
    assert_accurate(figures(program, CELLS, epochs=5, every=29))


@pytest.mark.slow
def test_steps_of_all_networks_are_accurate_or_marked(program: ModuleType) -> None:
    cells = program.cells(program.ACTIVATIONS, program.COSTS, program.PHASES, [1, 2, 3])
    assert_accurate(figures(program, cells, epochs=4, every=20))


def late_cross_entropy() -> tuple[eq.Trainer, np.ndarray, np.ndarray]:
    """Return a trained classifier and a batch, most samples of which are classified well."""
    trainer = eq.Trainer(eq.HopfieldNetwork([64, 64, 10], activation="tanh", seed=0), cost=eq.CrossEntropy())
    trainer.fit(DIGITS, epochs=10)
    return trainer, *DIGITS.batch(np.arange(50), "float32")


def test_inaccurate_terms_without_weight_do_not_mark_a_step() -> None:
    """Each sample's own status tells that its term is imprecise, and the sum is accurate all the same."""
    trainer, x, y = late_cross_entropy()
    free = eq.free_phase(trainer.model, x, solver=trainer.solver)
    nudging = trainer.second_phase.nudging
    alone = eq.equilibrium_propagation(
        trainer.model, free, y, cost=trainer.cost, nudging=nudging, on_failure="ignore"
    )
    assert (alone.status == Status.INACCURATE).sum() > 5
    metrics = trainer.step(x, y)
    assert metrics.gradient_error <= 0.05
    assert metrics.inaccurate == metrics.unconverged == 0


def test_the_error_of_a_step_is_that_of_a_batch_of_its_copies() -> None:
    """Copies have one error, which is then the root mean square."""
    net = eq.HopfieldNetwork([64, 32, 10], seed=0)
    x, y = DIGITS.batch(np.arange(1), "float32")
    phase = eq.EquilibriumPropagation(eq.centered(1e-3))
    one, many = (
        eq.Trainer(net.variant(), phase, eq.SGD(1e-3)).step(x.repeat(n, axis=0), y.repeat(n)) for n in (1, 7)
    )
    assert one.gradient_error > 0
    np.testing.assert_allclose(many.gradient_error, one.gradient_error, rtol=1e-12)
