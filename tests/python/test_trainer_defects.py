"""A Trainer on inputs that its network converts, with changed settings, and with callbacks that interfere."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np

X = np.array([[0.0, 1.0], [1.0, 0.0]] * 20)
Y = np.array([0, 1] * 20)
DATA = eq.Dataset(X, Y)


class Quarters(eq.HopfieldNetwork):
    """A network whose inputs are given in quarters."""

    def as_input(self, x: Any, where: str) -> Any:
        return super().as_input(x, where) / self.dtype.type(4)


def test_predictions_convert_the_inputs_of_a_network_once() -> None:
    trainer = eq.Trainer(Quarters([2, 8, 2], seed=1), batch_size=10)
    trainer.fit(4 * X, Y, epochs=5)
    expected = eq.free_phase(trainer.model, 4 * X, solver=trainer.solver).outputs
    for given in (4 * X, eq.Dataset(4 * X, Y)):
        np.testing.assert_array_equal(trainer.predict(given), expected)
    assert trainer.predict_classes(4 * X).tolist() == Y.tolist()


def test_start_values_fit_the_inputs_that_a_network_converts() -> None:
    quarters, plain = (eq.Trainer(kind([2, 8, 2], seed=1)) for kind in (Quarters, eq.HopfieldNetwork))
    quarters.prepare(4 * X, Y)
    plain.prepare(X, Y)
    np.testing.assert_allclose(quarters.model.parameters, plain.model.parameters, rtol=1e-5)
