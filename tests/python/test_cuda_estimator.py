"""Estimators on a CUDA device, which is emulated: they learn what those on the CPU learn."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from emulated_cuda import ON_EMULATED_DEVICE, X, Y
from equiprop import cuda_epochs

pytest.importorskip("sklearn")

from equiprop.estimator import EquilibriumClassifier, EquilibriumRegressor
from sklearn.base import clone

pytestmark = [*ON_EMULATED_DEVICE, pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")]

TARGETS = np.stack([Y * 100.0, X[:, 0]], axis=1)
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (7,), "max_iter": 3, "batch_size": 5, "random_state": 0}


@pytest.mark.parametrize("alpha", [0.0, 0.2])
@pytest.mark.parametrize("second_phase", ["eqprop", "rbp"])
def test_a_classifier_on_the_device_is_that_of_the_cpu(alpha: float, second_phase: str) -> None:
    host = EquilibriumClassifier(**SETTINGS, alpha=alpha, second_phase=second_phase).fit(X, Y)
    device = clone(host).set_params(device="cuda").fit(X, Y)
    assert (host.network_.device, device.network_.device) == ("cpu", "cuda")
    np.testing.assert_allclose(device.network_.parameters, host.network_.parameters, rtol=0, atol=1e-8)
    np.testing.assert_allclose(device.predict_proba(X), host.predict_proba(X), rtol=0, atol=1e-8)


def test_a_regressor_on_the_device_is_that_of_the_cpu() -> None:
    host = EquilibriumRegressor(**SETTINGS).fit(X, TARGETS)
    device = clone(host).set_params(device="cuda").fit(X, TARGETS)
    np.testing.assert_allclose(device.predict(X), host.predict(X), rtol=1e-7)
    again = pickle.loads(pickle.dumps(device))
    np.testing.assert_array_equal(again.predict(X), device.predict(X))


@pytest.mark.parametrize(("alpha", "runs"), [(0.0, True), (0.2, False)])
def test_runs_of_steps_are_on_the_device_without_decay(alpha: float, runs: bool) -> None:
    """The decay needs the parameters in host memory after each step."""
    from equiprop.data import Dataset

    model = EquilibriumClassifier(**SETTINGS, alpha=alpha, device="cuda").fit(X, Y)
    assert cuda_epochs.takes_runs(model.trainer_, Dataset(X, Y)) is runs


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^\[estimator\] device is "):
        EquilibriumClassifier(**SETTINGS, device="tpu").fit(X, Y)
