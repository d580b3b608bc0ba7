"""A Trainer fits a scaling on its training data, and applies it to raw inputs; data may have their own."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Dataset, Scaling
from networks import Valley
from scipy import sparse
from sklearn.datasets import load_wine

X, Y = load_wine(return_X_y=True)
FITTED = ["standardise", "min_max"]
Facts = tuple[bytes, list[float | None]]


def trainer(dtype: str = "float32") -> eq.Trainer:
    return eq.Trainer(eq.HopfieldNetwork([13, 8, 3], dtype=dtype), seed=3)


def facts(one: eq.Trainer) -> Facts:
    return one.model.parameters.tobytes(), [epoch.validation_error for epoch in one.history]


def scaling_of(name: str, x: Any) -> Scaling:
    fits: dict[str, Any] = {"standardise": Scaling.standardise, "min_max": Scaling.min_max}
    return fits[name](x) if name in fits else Scaling.by(eval(name))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*FITTED, "1/1000"])
def test_training_by_a_scaling_has_the_bits_of_inputs_that_are_scaled_by_hand(name: str, dtype: str) -> None:
    scaling = scaling_of(name, X)
    by_hand = (X - scaling.offset) * scaling.factor
    ways = [trainer(dtype) for _ in range(5)]
    ways[0].fit(by_hand, Y, epochs=2, validation=(by_hand[::3], Y[::3]))
    ways[1].fit(X, Y, epochs=2, scaling=name, validation=(X[::3], Y[::3]))
    ways[2].fit(Dataset(X, Y), epochs=2, scaling=scaling, validation=Dataset(X[::3], Y[::3]))
    ways[3].fit(Dataset(X, Y, scale=scaling), epochs=2, validation=(X[::3], Y[::3]))
    sparse_data = Dataset(sparse.csr_array(X), Y)
    ways[4].fit(sparse_data, epochs=2, scaling=name, validation=(X[::3], Y[::3]))
    for way in ways[1:]:
        assert facts(way) == facts(ways[0])
        assert way.scaling == scaling
        np.testing.assert_array_equal(way.predict(X), ways[0].predict(by_hand))
        np.testing.assert_array_equal(way.predict(sparse.csr_array(X)), ways[0].predict(by_hand))
        np.testing.assert_array_equal(way.predict(Dataset(X, Y)), ways[0].predict(by_hand))
        np.testing.assert_array_equal(way.predict(by_hand, scale=1), ways[0].predict(by_hand))
        np.testing.assert_array_equal(way.predict_classes(X.tolist()), ways[0].predict_classes(by_hand))
        for same in ((X, Y), (Dataset(X, Y),), (Dataset(by_hand, Y, scale=1),)):
            assert way.evaluate(*same) == ways[0].evaluate(by_hand, Y)
    assert ways[0].scaling == Scaling.none()


def test_probabilities_are_those_of_scaled_inputs() -> None:
    one = eq.Trainer(eq.HopfieldNetwork([13, 8, 3]), cost=eq.CrossEntropy())
    one.fit(X, Y, epochs=1, scaling="standardise")
    np.testing.assert_array_equal(one.predict_proba(X), one.predict_proba(one.scaling(X), scale=1))


def test_samples_that_are_held_out_do_not_influence_the_scaling() -> None:
    one = trainer()
    one.fit(X, Y, epochs=1, scaling="standardise", validation=0.25)
    rest, held_out = Dataset(X, Y).split(0.25, seed=3)
    assert one.scaling == Scaling.standardise(rest.x)
    assert one.history[0].validation_error == one.evaluate(held_out).error


def test_more_training_on_raw_data_keeps_the_scaling() -> None:
    whole, parts = trainer(), trainer()
    whole.fit(X, Y, epochs=1, scaling="standardise")
    whole.fit(X[::2], Y[::2], epochs=1, scaling=Scaling.standardise(X))
    parts.fit(X, Y, epochs=1, scaling="standardise")
    parts.fit(X[::2], Y[::2], epochs=1)
    assert facts(parts) == facts(whole)
    parts.fit(X[::2], Y[::2], epochs=1, scaling="standardise")
    assert parts.scaling == Scaling.standardise(X[::2])
    (epoch,) = parts.fit([(parts.scaling(X), Y)], epochs=1, validation=(X, Y))
    assert parts.scaling == Scaling.standardise(X[::2])
    assert epoch.validation_error == parts.evaluate(X, Y).error < 0.5


def test_a_scaling_travels_with_a_network() -> None:
    one = trainer()
    assert one.model.scaling is None
    one.fit(X, Y, epochs=1, scaling="standardise")
    net = one.model
    assert isinstance(net, eq.HopfieldNetwork)
    scaling = Scaling.standardise(X)
    twins = [net, copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net.astype("float64")]
    for twin in twins:
        assert twin.scaling == scaling
        other = eq.Trainer(twin)
        assert other.scaling == scaling
        np.testing.assert_allclose(other.predict(X), one.predict(X), atol=0.02)
    net.scaling = None
    assert [twin.scaling for twin in twins[1:]] == [scaling] * 4
    assert one.scaling == Scaling.none()


def test_a_network_refuses_a_scaling_of_other_inputs() -> None:
    net = eq.HopfieldNetwork([13, 3])
    with pytest.raises(ValueError, match=r"^\[set_scaling\] .* Received 12 offsets for 13 inputs"):
        net.scaling = Scaling.standardise(X[:, 1:])
    with pytest.raises(TypeError, match=r"^\[HopfieldNetwork\] scaling is a Scaling"):
        net.scaling = 2.0  # type: ignore[assignment]
    assert net.scaling is None


def test_the_first_step_has_start_values_for_scaled_inputs() -> None:
    prepared, fitted = trainer(), trainer()
    prepared.prepare(X, Y, scaling="standardise")
    fitted.prepare(Scaling.standardise(X)(X), Y)
    np.testing.assert_array_equal(prepared.model.parameters, fitted.model.parameters)
    prepared.fit(X, Y, epochs=1, scaling="standardise")
    fitted.fit(X, Y, epochs=1, scaling="standardise")
    assert facts(prepared) == facts(fitted)


def test_a_model_in_python_receives_scaled_inputs() -> None:
    seen: list[Any] = []

    class Watched(Valley):
        def as_input(self, x: Any, where: str) -> Any:
            seen.append(np.asarray(x))
            return super().as_input(x, where)

    x, y = np.linspace(1, 9, 10)[:, None] * [1, 100], np.zeros((10, 2))
    one = eq.Trainer(Watched(), batch_size=10)
    one.fit(x, y, epochs=1, scaling="min_max")
    one.predict(x)
    assert one.scaling == Scaling.min_max(x)
    assert all(inputs.min() >= 0 and inputs.max() <= 1 + 1e-15 for inputs in seen)


BYTES = np.clip(X[:, :4] * 10, 0, 255).astype(np.uint8)


def test_data_keep_a_scale_of_their_own() -> None:
    """A factor of its own, as of images with other numbers; and 1, for inputs that are scaled already."""
    one = eq.Trainer(eq.HopfieldNetwork([4, 8, 3]))
    one.fit(Dataset(BYTES, Y, scale=1 / 255), epochs=1)
    expected = one.predict(BYTES)
    other = Dataset(BYTES.astype(np.uint16) * 2, Y, scale=1 / 510)
    np.testing.assert_allclose(one.predict(other), expected, atol=1e-4)
    np.testing.assert_allclose(one.predict(other.x, scale=1 / 510), expected, atol=1e-4)
    done = Dataset(BYTES / 255, Y, scale=1)
    np.testing.assert_allclose(one.predict(done), expected, atol=1e-4)
    assert one.evaluate(done).error == one.evaluate(BYTES, Y).error
    assert one.scaling == Scaling.by(1 / 255)


@pytest.mark.parametrize("pair", [(1 / 16, "standardise"), ("standardise", 1e-3), ("min_max", "standardise")])
def test_a_scale_that_contradicts_that_of_training_is_refused(pair: tuple[Any, Any]) -> None:
    own, trained = (scaling_of(one, X) if isinstance(one, str) else one for one in pair)
    one, data = trainer(), Dataset(X, Y, scale=own)
    with pytest.raises(ValueError, match=r"^\[Trainer\.fit\] Data have no scale, .* use data\.with_scale"):
        one.fit(X, Y, epochs=1, scaling=trained, validation=data)
    one.fit(X, Y, epochs=1, scaling=trained)
    for call in (one.evaluate, one.predict):
        with pytest.raises(ValueError, match=r"Data have no scale, .* use data\.with_scale\(None\)"):
            call(data)
    assert one.evaluate(data.with_scale(None)) == one.evaluate(X, Y)  # as the error advises


def test_two_scalings_of_one_data_set_are_refused_with_the_cure() -> None:
    data = Dataset(X, Y, scale=0.1)
    for call in (lambda d: trainer().fit(d, epochs=1, scaling="min_max"),
                 lambda d: trainer().prepare(d, scaling="min_max")):  # fmt: skip
        with pytest.raises(ValueError, match=r"`scaling` is for data without a scale; use data\.with_scale"):
            call(data)
        call(data.with_scale(None))
    with pytest.raises(ValueError, match=r"^\[Trainer\.fit\] `scaling` is for a Dataset or arrays"):
        trainer().fit([(X, Y)], epochs=1, scaling="min_max")


def test_floats_that_may_be_scaled_already_cause_a_warning_whose_advice_is_right() -> None:
    one = eq.Trainer(eq.HopfieldNetwork([4, 8, 3]))
    one.fit(Dataset(BYTES, Y, scale=1 / 255), epochs=1)
    expected = one.predict(BYTES)
    message = (
        r"The inputs may have been scaled already: .* Dataset\(x, y, scale=1\), or predict\(x, scale=1\)"
    )
    done = BYTES / 255
    for call in (
        lambda: one.predict(done),
        lambda: one.predict_classes(sparse.csr_array(done)),
        lambda: one.predict(Dataset(done, Y)),
        lambda: one.evaluate(done, Y),
        lambda: one.evaluate(Dataset(done, Y)),
        lambda: one.fit(BYTES, Y, epochs=1, scaling=1 / 255, validation=(done, Y)),
        lambda: one.fit(done, Y, epochs=1),
    ):
        with pytest.warns(eq.TrainingWarning, match=message):
            call()
    one = eq.Trainer(eq.HopfieldNetwork([4, 8, 3]))
    one.fit(Dataset(BYTES, Y, scale=1 / 255), epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(one.predict(done, scale=1), expected, atol=1e-4)
        np.testing.assert_allclose(one.predict(Dataset(done, Y, scale=1)), expected, atol=1e-4)
        for raw in (BYTES.astype(float), BYTES[:1] * 0.0, BYTES):
            one.predict(raw)


def test_the_warning_is_that_of_the_caller() -> None:
    one = eq.Trainer(eq.HopfieldNetwork([4, 8, 3]))
    one.fit(Dataset(BYTES, Y, scale=1 / 255), epochs=1)
    calls = (one.predict, lambda x: one.evaluate(x, Y), lambda x: one.fit(x, Y, epochs=1))
    for call in calls:
        with pytest.warns(eq.TrainingWarning) as caught:
            call(BYTES / 255)
        assert caught[0].filename == __file__


def test_numbers_beyond_the_precision_are_refused_by_the_caller() -> None:
    one = trainer()
    one.fit(X, Y, epochs=1, scaling="standardise")
    with pytest.raises(ValueError, match=r"^\[Trainer\.predict\] `x` holds finite numbers\."):
        one.predict(np.full((1, 13), 1e300))
    with pytest.raises(ValueError, match=r"^\[Trainer\.predict\] `x` has shape \(batch, 13\)"):
        one.predict(X[:, 1:])
