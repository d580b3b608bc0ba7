"""The advice on failures of training: a lower learning rate if that is the cause, or cures of phases."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import blobs, chain, scaled_down
from networks import small_net as net

X = np.random.default_rng(0).uniform(-1, 1, (20, 4))
Y = np.random.default_rng(1).integers(0, 3, 20)


def training(learning_rate: float, solver: Any = None, potential: str = "legendre", **options: Any) -> str:
    """Train a new network; return the text of the error or of the warnings, or an empty string."""
    trainer = eq.Trainer(
        chain(4, 8, 3, activation="tanh", potential=potential, dtype="float32"),
        optimizer=eq.SGD(learning_rate, momentum=0.9),
        solver=solver,
        **options,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer.fit(blobs(), epochs=3)
        except (eq.ConvergenceError, ValueError) as error:
            return str(error)
    return "\n".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize("phase", [eq.EquilibriumPropagation(), eq.RecurrentBackpropagation()])
@pytest.mark.parametrize(
    ("solver", "potential"),
    [
        (None, "legendre"),
        (eq.BlockUpdate(tolerance=5e-3, anderson=1), "legendre"),
        (eq.Euler(step_size=0.2, tolerance=1e-2), "quadratic"),
        (eq.FixedPointIteration(tolerance=1e-2, damping=0.5), "quadratic"),
    ],
)
def test_an_explosion_names_the_learning_rate(phase: Any, solver: Any, potential: str) -> None:
    message = training(1e30, solver, potential, second_phase=phase)
    assert "earning rate" in message.replace("learning_rate", "learning rate"), message
    assert "se BlockUpdate" not in message
    assert training(0.02, solver, potential, second_phase=phase) == ""


def test_the_learning_rate_is_not_blamed_before_it_was_used() -> None:
    model, optimizer = net("relu", gain=2.0), eq.SGD(0.01)
    with pytest.raises(eq.ConvergenceError) as failure:
        eq.Trainer(model, optimizer=optimizer, solver=eq.BlockUpdate()).step(X, Y)
    assert "learning rate" not in str(failure.value)
    assert "Scale weights and inputs down" in str(failure.value)
    eq.Trainer(scaled_down(model), optimizer=optimizer, solver=eq.BlockUpdate()).step(X, Y)


def test_targets_that_overflow_are_not_laid_to_the_learning_rate() -> None:
    trainer = eq.Trainer(net(dtype="float32"), second_phase=eq.RecurrentBackpropagation())
    trainer.step(X, Y)
    with pytest.raises(eq.ConvergenceError, match="Scale targets and weights down") as failure:
        trainer.step(X, np.full((20, 3), 3e38))
    assert "learning rate" not in str(failure.value)


def test_unfinished_phases_of_training_name_max_iterations_of_their_solvers() -> None:
    few = eq.BlockUpdate(tolerance=1e-5, max_iterations=2)
    message = training(0.02, few)
    assert "Raise max_iterations (2)." in message
    assert "tolerance" not in message
    assert training(0.02, replace(few, max_iterations=200)) == ""
    linear = eq.RecurrentBackpropagation(eq.ConjugateGradient(tolerance=1e-4, max_iterations=1))
    message = training(0.02, second_phase=linear)
    assert "Raise max_iterations (1)." in message
    better = eq.RecurrentBackpropagation(replace(linear.linear_solver, max_iterations=100))
    assert training(0.02, second_phase=better) == ""


def test_the_advice_of_an_epoch_has_no_sentence_twice() -> None:
    message = training(0.02, eq.BlockUpdate(tolerance=1e-5, max_iterations=2)).splitlines()[0]
    assert message.count("because no stable fixed point can be reached") == 1
    assert message.count("lower |beta|") == 1


def test_an_update_that_overflows_names_the_learning_rate_and_lowering_it_cures() -> None:
    data = blobs()
    with pytest.raises(eq.ConvergenceError, match=r"diverged(.|\n)*Lower the learning rate \(1e\+38\)") as e:
        eq.Trainer(chain(4, 6, 3, dtype="float32"), optimizer=eq.SGD(1e38, momentum=0.9)).fit(data, epochs=3)
    assert (e.value.outcome.status == eq.Status.DIVERGED).all()
    cured = eq.Trainer(chain(4, 6, 3, dtype="float32"), optimizer=eq.SGD(0.05, momentum=0.9))
    assert np.isfinite(cured.fit(data, epochs=3)[-1].objective)


class Doubled(eq.HopfieldNetwork):
    """A network that clamps twice its input."""

    def clamp(self, x: Any) -> Any:
        return super().clamp(2 * x)


def test_a_network_that_overrides_how_it_is_clamped_is_trained_that_way() -> None:
    x, y = blobs().x[:20], blobs().y[:20]
    doubled, plain = Doubled([4, 6, 3], gain=0.5), eq.HopfieldNetwork([4, 6, 3], gain=0.5)
    for _ in range(3):
        assert eq.Trainer(doubled, optimizer=eq.SGD(0.1)).step(x, y) == eq.Trainer(
            plain, optimizer=eq.SGD(0.1)
        ).step(2 * x, y)
    np.testing.assert_array_equal(doubled.parameters, plain.parameters)
