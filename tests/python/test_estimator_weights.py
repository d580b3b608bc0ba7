"""Weights of samples and classes in the estimators for scikit-learn."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np
import pytest

pytest.importorskip("sklearn")

from equiprop.estimator import EquilibriumClassifier, EquilibriumRegressor
from equiprop.estimator.settings import make_trainer
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.ensemble import AdaBoostClassifier
from sklearn.utils.class_weight import compute_sample_weight

IRIS = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[IRIS[1]]
TARGETS = np.stack([IRIS[0][:, 0] ** 2, 1000 - IRIS[0][:, 1]], axis=1)
WEIGHTS = np.random.default_rng(0).integers(0, 4, 150).astype(float)
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": 8, "max_iter": 5, "random_state": 0}
KINDS: list[tuple[Any, Any]] = [(EquilibriumClassifier, NAMES), (EquilibriumRegressor, TARGETS)]


def bits(model: BaseEstimator) -> list[Any]:
    return [model.network_.parameters.tobytes(), model.loss_curve_, model.validation_errors_]


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(("kind", "y"), KINDS)
def test_samples_of_weight_zero_are_left_out_and_only_ratios_of_weights_matter(
    kind: Any, y: np.ndarray, early_stopping: bool
) -> None:
    settings = {**SETTINGS, "early_stopping": early_stopping}
    kept = WEIGHTS > 0
    weighted = kind(**settings).fit(IRIS[0], y, sample_weight=WEIGHTS)
    assert bits(kind(**settings).fit(IRIS[0][kept], y[kept], WEIGHTS[kept])) == bits(weighted)
    assert bits(kind(**settings).fit(IRIS[0], y, 4 * WEIGHTS)) == bits(weighted)
    plain = kind(**settings).fit(IRIS[0][kept], y[kept])
    equal = kind(**settings).fit(IRIS[0], y, np.where(kept, 5.0, 0.0))
    assert bits(equal)[:2] == bits(plain)[:2]
    if early_stopping:
        np.testing.assert_allclose(equal.validation_errors_, plain.validation_errors_, rtol=1e-14)
    assert bits(plain) != bits(weighted)


@pytest.mark.parametrize(("kind", "y"), KINDS)
def test_the_standardisation_is_that_of_repeated_samples(kind: Any, y: np.ndarray) -> None:
    rows = np.repeat(np.arange(150), WEIGHTS.astype(int))
    weighted = kind(**SETTINGS).fit(IRIS[0], y, sample_weight=WEIGHTS)
    repeated = kind(**SETTINGS).fit(IRIS[0][rows], y[rows])
    for name in ["input_scaling_"] + ["target_scaling_"] * (kind is EquilibriumRegressor):
        one, other = getattr(weighted, name), getattr(repeated, name)
        np.testing.assert_allclose(one.offset, other.offset, rtol=1e-13)
        np.testing.assert_allclose(one.factor, other.factor, rtol=1e-13)


@pytest.mark.parametrize("weights", [None, WEIGHTS + 1])
@pytest.mark.parametrize("class_weight", ["balanced", {"setosa": 3, "virginica": 0.5}])
def test_class_weights_multiply_weights_of_samples(class_weight: Any, weights: Any) -> None:
    """The classes have 50, 20 and 50 samples. Class weights do not count in the standardisation."""
    x, y = np.delete(IRIS[0], np.s_[60:90], axis=0), np.delete(NAMES, np.s_[60:90])
    weights = None if weights is None else np.delete(weights, np.s_[60:90])
    model = EquilibriumClassifier(class_weight=class_weight, **SETTINGS).fit(x, y, weights)
    factors = compute_sample_weight(class_weight, y)
    if class_weight == "balanced" and weights is not None:  # equal sums of weights
        factors = np.sum(weights) / 3 / np.array([weights[y == label].sum() for label in y])
    given = factors if weights is None else weights * factors
    mean = np.average(x, axis=0, weights=weights)
    np.testing.assert_allclose(model.input_scaling_.offset, mean, rtol=1e-13)
    inputs = model.input_scaling_(x, np.float32)
    trainer = make_trainer(
        eq.Dataset(inputs, y),
        hidden=[8],
        activation="hard_sigmoid",
        second_phase="eqprop",
        learning_rate=None,
        alpha=0.05,
        batch_size=50,
        seed=model.trainer_.seed,
        device="cpu",
    )
    trainer.fit(eq.Dataset(inputs, y), epochs=5, sample_weight=given)
    np.testing.assert_allclose(model.network_.parameters, trainer.model.parameters, rtol=0, atol=1e-4)


def test_a_rare_class_is_found_with_class_weights() -> None:
    random = np.random.default_rng(0)
    y = np.where(np.arange(1050) % 21 == 0, "rare", "usual")
    x = random.normal(size=(1050, 5)) + (y == "rare")[:, None]
    recall = [
        np.mean(EquilibriumClassifier(class_weight=w, **SETTINGS).fit(x, y).predict(x[y == "rare"]) == "rare")
        for w in (None, "balanced", {"rare": 20})
    ]
    assert recall[0] < 0.5 < min(recall[1:])


@pytest.mark.parametrize(("kind", "y"), KINDS)
def test_partial_fit_takes_weights_relative_to_those_of_other_calls(kind: Any, y: np.ndarray) -> None:
    """In SGD a weight is a factor of the learning rate; weights of one change no bit."""
    first: dict[str, Any] = {"classes": np.unique(NAMES)} if kind is EquilibriumClassifier else {}
    models = [kind(**SETTINGS).partial_fit(IRIS[0], y, **first) for _ in range(3)]
    before = np.array(models[0].network_.parameters)
    for model, weights, rate in zip(models, (None, np.ones(150), np.full(150, 0.5)), (1, 1, 2), strict=True):
        model.trainer_.optimizer, model.trainer_.clip = eq.SGD(1e-3 * rate), np.inf
        model.partial_fit(IRIS[0], y, sample_weight=weights)
    a, b, c = (np.array(model.network_.parameters) for model in models)
    assert (a != before).any()
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(c, a, rtol=0, atol=1e-6)


def test_partial_fit_takes_class_weights_as_numbers() -> None:
    model = EquilibriumClassifier(class_weight="balanced", **SETTINGS)
    with pytest.raises(ValueError, match=r"class_weight maps labels to weights, .* 'balanced'"):
        model.partial_fit(*IRIS, classes=[0, 1, 2])
    model.set_params(class_weight={0: 0.0, 1: 0.0}).partial_fit(*IRIS, classes=[0, 1, 2])
    for _ in range(20):
        model.partial_fit(*IRIS)
    assert (model.predict(IRIS[0]) == 2).all()


def test_early_stopping_measures_the_weighted_error() -> None:
    """Half of the samples have wrong labels and nearly no weight."""
    y = np.r_[IRIS[1], (IRIS[1] + 1) % 3]
    weights = np.r_[np.ones(150), np.full(150, 1e-9)]
    model = EquilibriumClassifier(**{**SETTINGS, "max_iter": 40}, early_stopping=True)
    model.fit(np.vstack([IRIS[0], IRIS[0]]), y, sample_weight=weights)
    assert min(model.validation_errors_) < 0.15


def test_ada_boost_whose_weights_have_the_sum_one_learns() -> None:
    boosted = AdaBoostClassifier(EquilibriumClassifier(**{**SETTINGS, "max_iter": 20}), n_estimators=3)
    assert boosted.fit(*IRIS).score(*IRIS) > 0.9


@pytest.mark.parametrize(("kind", "y"), KINDS)
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(149), r"`sample_weight` has shape \(150,\)"),
        (np.r_[np.ones(149), -1], "numbers from 0. Received -1.0 at sample 149"),
        (np.zeros(150), "At least one sample has a weight above zero"),
    ],
)
def test_other_weights_are_refused(kind: Any, y: np.ndarray, weights: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**SETTINGS).fit(IRIS[0], y, sample_weight=weights)
