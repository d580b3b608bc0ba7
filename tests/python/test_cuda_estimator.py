"""Estimators on a CUDA device, which is emulated: they learn what those on the CPU learn."""

from __future__ import annotations

import pickle
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from emulated_cuda import ON_EMULATED_DEVICE, SWEEPS, X, Y, close
from equiprop import cuda_epochs

pytest.importorskip("sklearn")

from equiprop.estimator import EquilibriumClassifier, EquilibriumRegressor
from equiprop.estimator.settings import make_trainer
from sklearn.base import clone

pytestmark = [*ON_EMULATED_DEVICE, pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")]

TARGETS = np.stack([Y * 100.0, X[:, 0]], axis=1)
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (7,), "max_iter": 3, "batch_size": 5, "random_state": 0}


PHASES: dict[str, Any] = {
    "eqprop": eq.EquilibriumPropagation(),
    "rbp": eq.RecurrentBackpropagation(eq.ConjugateGradient(tolerance=1e-14)),
}


@pytest.mark.parametrize("alpha", [0.0, 0.2])
@pytest.mark.parametrize("second_phase", PHASES)
def test_a_training_on_the_device_is_that_of_the_cpu(alpha: float, second_phase: str) -> None:
    """With fixed numbers of sweeps; with tolerances, rounding may decide which sweep is the last."""
    trained = []
    for device in ("cpu", "cuda"):
        data = eq.Dataset(X, Y)
        options: dict[str, Any] = {"hidden": [7], "activation": "hard_sigmoid", "learning_rate": None}
        trainer = make_trainer(
            data, **options, second_phase=second_phase, alpha=alpha, batch_size=5, seed=0, device=device
        )
        trainer.solver, trainer.second_phase = SWEEPS, PHASES[second_phase]
        trainer.fit(data, epochs=2)
        assert trainer.model.device == device
        trained.append(trainer.model.parameters)
    close(trained[1], trained[0], "float32")


def test_a_classifier_learns_on_the_device_what_it_learns_on_the_cpu() -> None:
    host = EquilibriumClassifier(**SETTINGS).fit(X, Y)
    device = clone(host).set_params(device="cuda").fit(X, Y)
    assert (host.network_.device, device.network_.device) == ("cpu", "cuda")
    np.testing.assert_allclose(device.predict_proba(X), host.predict_proba(X), rtol=0, atol=1e-2)


def test_a_regressor_on_the_device_is_that_of_the_cpu() -> None:
    host = EquilibriumRegressor(**SETTINGS).fit(X, TARGETS)
    device = clone(host).set_params(device="cuda").fit(X, TARGETS)
    np.testing.assert_allclose(device.predict(X), host.predict(X), rtol=1e-7)
    again = pickle.loads(pickle.dumps(device))
    np.testing.assert_array_equal(again.predict(X), device.predict(X))


@pytest.mark.parametrize(("alpha", "runs"), [(0.0, True), (0.2, False)])
def test_runs_of_steps_are_on_the_device_without_decay(alpha: float, runs: bool) -> None:
    """The decay needs the parameters in host memory after each step."""
    model = EquilibriumClassifier(**SETTINGS, alpha=alpha, device="cuda").fit(X, Y)
    assert cuda_epochs.takes_runs(model.trainer_, eq.Dataset(X, Y)) is runs


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^\[estimator\] device is "):
        EquilibriumClassifier(**SETTINGS, device="tpu").fit(X, Y)
