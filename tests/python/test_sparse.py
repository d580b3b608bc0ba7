"""Sparse inputs: results are those of dense inputs, and only the samples of a batch are dense at a time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import equiprop as eq
import numpy as np
import pytest

sparse = pytest.importorskip("scipy.sparse")

RANDOM = np.random.default_rng(5)
#: A tenth of the entries are not 0.
DENSE = np.where(RANDOM.random((90, 12)) < 0.1, RANDOM.normal(1, 2, (90, 12)), 0)
Y = np.arange(90) % 3
FORMATS = ("csr_array", "csc_array", "coo_array", "csr_matrix", "lil_array", "dok_array")
TARGETS = 100 + DENSE @ RANDOM.normal(size=(12, 2))
WEIGHTS = RANDOM.uniform(0.5, 2, 90)


def network(features: int = 12) -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork([features, 6, 3], seed=1)


def estimators(**settings: Any) -> Any:
    estimator = pytest.importorskip("equiprop.estimator")
    given = {"hidden_layer_sizes": 6, "max_iter": 3, "random_state": 0, **settings}
    return estimator.EquilibriumClassifier(**given), estimator.EquilibriumRegressor(**given)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_trainer_takes_sparse_inputs_at_every_entrance(kind: str) -> None:
    pairs = []
    for given in (getattr(sparse, kind)(DENSE), DENSE):
        trainer = eq.Trainer(network())
        trainer.fit(given, Y, epochs=1, validation=(given, Y), sample_weight=WEIGHTS)
        trainer.fit([(given, Y)], epochs=1)
        trainer.step(given, Y, WEIGHTS)
        evaluation = trainer.evaluate(given, Y, sample_weight=WEIGHTS)
        free = eq.free_phase(trainer.model, given)
        pairs.append((trainer.model.parameters, trainer.predict(given), free.state, evaluation.objective))
    for one, other in zip(*pairs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("kind", [*FORMATS, "int64", "bool"])
def test_estimators_give_the_bits_of_dense_inputs(kind: str, standardize: bool, weights: Any) -> None:
    dense = np.round(DENSE).astype(kind) if kind in ("int64", "bool") else DENSE
    x = getattr(sparse, kind if kind in FORMATS else "csr_array")(dense)
    for model, y in zip(estimators(standardize=standardize), (Y, TARGETS if standardize else Y), strict=True):
        results = []
        for given in (x, dense):
            model.fit(given, y, sample_weight=weights)
            predictions = getattr(model, "predict_proba", model.predict)(given)
            model.partial_fit(given, y, sample_weight=weights)
            results.append((predictions, np.array(model.network_.parameters), model.input_scaling_.offset))
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other)


def test_early_stopping_takes_sparse_inputs() -> None:
    x = sparse.csr_array(DENSE)
    for model, y in zip(estimators(early_stopping=True, n_iter_no_change=2), (Y, TARGETS), strict=True):
        errors = [model.fit(given, y, sample_weight=WEIGHTS).validation_errors_ for given in (x, DENSE)]
        assert errors[0] == errors[1]
        assert all(error is not None for error in errors[0])


def test_statistics_of_rows_in_parts_are_accurate() -> None:
    """The rows are read in ten parts; features far from 0 cost a naive sum of squares all its digits."""
    random = np.random.default_rng(0)
    values = random.normal(size=(5200, 2000)) * np.logspace(-3, 3, 2000) + 1e6
    weights = random.integers(0, 3, 5200).astype(float)
    scaling = eq.Scaling.standardise(values, weights)
    expected = np.average(values, axis=0, weights=weights)
    deviation = np.sqrt(np.average((values - expected) ** 2, axis=0, weights=weights))
    np.testing.assert_allclose(scaling.offset, expected, rtol=1e-13)
    np.testing.assert_allclose(scaling.factor, 1 / deviation, rtol=1e-6)
    rows = np.repeat(np.arange(5200), weights.astype(int))
    repeated = eq.Scaling.standardise(values[rows])
    np.testing.assert_allclose(scaling.offset, repeated.offset, rtol=1e-13)
    np.testing.assert_allclose(scaling.factor, repeated.factor, rtol=1e-6)


def peak(run: Callable[[], Any]) -> int:
    """Return the largest number of bytes that `run` allocates at a time."""
    tracemalloc.start()
    run()
    bytes_ = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return bytes_


def test_a_sparse_matrix_is_never_dense_as_a_whole() -> None:
    """The dense matrix would have 160 MB in double and 80 MB in single precision."""
    samples, features = 20_000, 1_000
    random = np.random.default_rng(0)
    rows, columns = np.arange(samples).repeat(3), random.integers(features, size=3 * samples)
    x = sparse.csr_array((np.ones(3 * samples), (rows, columns)), shape=(samples, features))
    y, weights = np.arange(samples) % 3, random.uniform(0.5, 1.5, samples)
    classifier, regressor = estimators(hidden_layer_sizes=2, max_iter=1, batch_size=500)
    trainer = eq.Trainer(network(features), batch_size=500)
    runs: list[Callable[[], Any]] = [
        lambda: trainer.fit(x, y, epochs=1, sample_weight=weights, validation=0.1),
        lambda: trainer.evaluate(x, y),
        lambda: trainer.predict_classes(x),
        lambda: classifier.fit(x, y, sample_weight=weights),
        lambda: classifier.predict_proba(x),
        lambda: classifier.partial_fit(x, y, sample_weight=weights),
        lambda: regressor.fit(x, y.astype(float)),
        lambda: regressor.predict(x),
    ]
    for run in runs:
        assert peak(run) < 60e6
