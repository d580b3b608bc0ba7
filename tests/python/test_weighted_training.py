"""Weights of data sets and of classes, and training and evaluation with them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest

X = np.random.default_rng(1).normal(size=(40, 4))
LABELS = np.array(["a", "b", "b", "c"] * 10)
CODES = np.array([0, 1, 1, 2] * 10)
OF_SAMPLES = np.arange(40) % 5 + 1.0


def weighted_data() -> eq.Dataset:
    return eq.Dataset(X, LABELS, sample_weight=OF_SAMPLES)


def test_parts_of_a_data_set_have_the_weights_of_their_samples() -> None:
    data, position = weighted_data(), {tuple(x): w for x, w in zip(X, OF_SAMPLES, strict=True)}
    rest, held_out = data.split(0.25, seed=3)
    parts = [
        *(rest, held_out, data[5:20], data[[7, 3, 3]], data.take(OF_SAMPLES > 2)),
        *data.split(0.5, np.arange(40)[::-1]),
        data.with_classes(np.array(["c", "b", "a"])),
        pickle.loads(pickle.dumps(data)),
    ]
    for part in parts:
        assert part.sample_weight.tolist() == [position[tuple(x)] for x in part.x]
    assert np.bincount(held_out.y)[1] == 5
    assert data.with_sample_weight(None).sample_weight is None
    assert eq.Dataset(X, LABELS)[:3].sample_weight is None


def test_a_data_set_owns_its_weights() -> None:
    given = OF_SAMPLES.copy()
    data = eq.Dataset(X, LABELS, sample_weight=given)
    given[:] = 7
    assert (data.sample_weight == OF_SAMPLES).all()


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(39), ValueError, r"shape \(40,\), one weight for each sample. Received shape \(39,\)"),
        (np.ones((40, 1)), ValueError, r"Received shape \(40, 1\)"),
        (1.0, ValueError, r"Received shape \(\)"),
        (np.r_[np.ones(39), -0.5], ValueError, r"holds numbers from 0. Received -0.5 at sample 39"),
        (np.r_[np.ones(39), np.nan], ValueError, r"finite numbers. Received nan at sample 39"),
        (np.r_[np.inf, np.ones(39)], ValueError, r"finite numbers. Received inf at sample 0"),
        (np.zeros(40), ValueError, r"At least one sample has a weight above zero"),
        (["1"] * 40, TypeError, r"`sample_weight` holds real numbers"),
    ],
)
def test_other_weights_are_refused_at_every_entrance(weights: Any, error: type, message: str) -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 5, 3]))
    entrances = {
        "Dataset": lambda: eq.Dataset(X, LABELS, sample_weight=weights),
        "Dataset.with_sample_weight": lambda: eq.Dataset(X, LABELS).with_sample_weight(weights),
        "Trainer.fit": lambda: trainer.fit(X, LABELS, epochs=1, sample_weight=weights),
        "Trainer.evaluate": lambda: trainer.evaluate(X, CODES, sample_weight=weights),
        "Trainer.step": lambda: trainer.step(X, CODES, weights),
    }
    if np.shape(weights) == (40,) and not np.any(np.asarray(weights, float)):
        del entrances["Trainer.step"]  # a batch may have no weight
    for where, enter in entrances.items():
        with pytest.raises(error, match=message) as caught:
            enter()
        assert str(caught.value).startswith(f"[{where}]")
    assert trainer.steps == 0


def test_a_weight_beyond_the_precision_of_the_model_is_refused() -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 5, 3], dtype="float32"))
    with pytest.raises(ValueError, match=r"\[Trainer.step\] `sample_weight` holds finite numbers"):
        trainer.step(X, CODES, np.full(40, 1e60))


def trained(data: Any, y: Any = None, *, batch_size: int = 8, epochs: int = 3, **given: Any) -> eq.Trainer:
    net = eq.HopfieldNetwork([4, 6, 3], seed=2, dtype="float64", gain=0.5)
    trainer = eq.Trainer(net, optimizer=eq.Adam(0.01), batch_size=batch_size)
    trainer.fit(data, y, epochs=epochs, **given)
    return trainer


def bits(trainer: eq.Trainer) -> list[Any]:
    history = [{**e.as_dict(), "seconds": 0} for e in trainer.history]
    return [trainer.model.parameters.tobytes(), history]


def test_weights_in_the_data_set_and_in_fit_are_the_same_and_only_their_ratios_matter() -> None:
    expected = bits(trained(weighted_data()))
    assert bits(trained(eq.Dataset(X, LABELS), sample_weight=OF_SAMPLES)) == expected
    assert bits(trained(X, LABELS, sample_weight=OF_SAMPLES.astype(np.float32))) == expected
    assert bits(trained(X, LABELS, sample_weight=(4 * OF_SAMPLES).tolist())) == expected
    assert bits(trained(X, LABELS)) != expected
    assert bits(trained(X, LABELS, sample_weight=np.full(40, 7))) == bits(trained(X, LABELS))


def test_samples_of_weight_zero_are_left_out() -> None:
    weights = np.where(np.arange(40) % 3, OF_SAMPLES, 0)
    kept = weights > 0
    expected = bits(trained(X[kept], LABELS[kept], sample_weight=weights[kept], validation=0.2))
    assert bits(trained(X, LABELS, sample_weight=weights, validation=0.2)) == expected
    by_class = [trained(X, LABELS, class_weight={"b": 0}), trained(X[LABELS != "b"], CODES[LABELS != "b"])]
    assert bits(by_class[0]) == bits(by_class[1])


def test_weights_in_fit_equal_repeated_samples_if_a_batch_holds_all() -> None:
    rows = np.repeat(np.arange(40), OF_SAMPLES.astype(int))
    one = trained(X, LABELS, batch_size=1000, epochs=5, sample_weight=OF_SAMPLES)
    other = trained(X[rows], LABELS[rows], batch_size=1000, epochs=5)
    np.testing.assert_allclose(one.model.parameters, other.model.parameters, rtol=0, atol=1e-9)
    for a, b in zip(one.history, other.history, strict=True):
        assert (a.objective, a.train_error) == pytest.approx((b.objective, b.train_error), rel=1e-7)


@pytest.mark.parametrize("weights", [None, OF_SAMPLES])
def test_class_weights_multiply_the_weights_of_samples(weights: Any) -> None:
    given = np.ones(40) if weights is None else weights
    factor = {"a": 2.0, "b": 1.0, "c": 0.5}
    product = given * [factor[label] for label in LABELS]
    expected = bits(trained(X, LABELS, sample_weight=product))
    assert bits(trained(X, LABELS, sample_weight=weights, class_weight=factor)) == expected
    assert bits(trained(X, LABELS, sample_weight=weights, class_weight={"a": 2, "c": 0.5})) == expected
    sums = np.bincount(CODES, given)
    balanced = bits(trained(X, LABELS, sample_weight=given * (sums.sum() / (3 * sums))[CODES]))
    np.testing.assert_allclose(
        trained(X, LABELS, sample_weight=weights, class_weight="balanced").model.parameters,
        np.frombuffer(balanced[0]),
        rtol=1e-9,
    )


def test_class_weights_are_those_of_scikit_learn() -> None:
    library = pytest.importorskip("sklearn.utils.class_weight")
    from equiprop.weights import class_factors

    classes = np.array(["a", "b", "c"])
    for given in ("balanced", {"a": 2, "b": 0.25}, {"c": 3, "a": 1, "b": 0, "other": 5}):
        expected = library.compute_sample_weight(given, LABELS)
        np.testing.assert_allclose(class_factors(CODES, classes, given, None, "fit"), expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"class_weight": {"a": 1, "d": 2}}, ValueError, r"Keys of class_weight are classes, .* \['d'\]"),
        ({"class_weight": {"a": -1}}, ValueError, "finite and not negative"),
        ({"class_weight": {"a": "much"}}, TypeError, "a class weight is a number"),
        ({"class_weight": "equal"}, TypeError, "'balanced' or None. Received 'equal'"),
        (
            {"class_weight": dict.fromkeys("abc", 0)},
            ValueError,
            "At least one sample has a weight above zero",
        ),
    ],
)
def test_other_class_weights_are_refused(given: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        trained(X, LABELS, **given)


def test_weights_that_do_not_fit_the_data_are_refused() -> None:
    with pytest.raises(ValueError, match="Weights are given once"):
        trained(weighted_data(), sample_weight=OF_SAMPLES)
    with pytest.raises(ValueError, match="Weights of batches are part of them"):
        trained([(X, CODES)], sample_weight=OF_SAMPLES)
    with pytest.raises(ValueError, match=r"class_weight needs class labels; pass y.argmax\(axis=1\)"):
        trained(X, np.eye(3)[CODES], class_weight="balanced")
    trainer = trained(X, LABELS)
    with pytest.raises(ValueError, match="At least one sample has a weight above zero"):
        trainer.evaluate(eq.Dataset(X, LABELS, sample_weight=np.arange(40))[:1])


def test_batches_may_carry_weights() -> None:
    weights = OF_SAMPLES / OF_SAMPLES.mean()
    rows = [np.arange(i, min(i + 8, 40)) for i in range(0, 40, 8)]
    batches = [(X[r], CODES[r], weights[r]) for r in rows]
    one, other = trained(batches, epochs=2), trained([batch[:2] for batch in batches], epochs=2)
    assert (one.model.parameters != other.model.parameters).any()
    stepped = eq.Trainer(
        eq.HopfieldNetwork([4, 6, 3], seed=2, dtype="float64", gain=0.5), optimizer=eq.Adam(0.01)
    )
    errors = [stepped.step(*batch) for _ in range(2) for batch in batches]
    np.testing.assert_array_equal(one.model.parameters, stepped.model.parameters)
    sums = [batch[2].sum() for batch in batches]
    assert one.history[1].train_error == pytest.approx(
        np.average([m.error for m in errors[5:]], weights=sums), rel=1e-12
    )
    with pytest.raises(TypeError, match=r"a triple \(x, y, sample_weight\)"):
        trained([(X, CODES, weights, None)])


@pytest.mark.parametrize("real", [False, True])
def test_evaluation_is_weighted(real: bool) -> None:
    y: Any = np.eye(3)[CODES] if real else CODES
    trainer = trained(X, y, epochs=1)
    outputs = trainer.predict(X)
    costs = 0.5 * ((outputs - np.eye(3)[CODES]) ** 2).sum(axis=1)
    wrong = ((outputs - y) ** 2).mean(axis=1) if real else outputs.argmax(axis=1) != CODES
    error = np.average(wrong, weights=OF_SAMPLES)
    for evaluation in (
        trainer.evaluate(eq.Dataset(X, y, sample_weight=OF_SAMPLES)),
        trainer.evaluate(X, y, sample_weight=OF_SAMPLES),
    ):
        assert evaluation.error == pytest.approx(error**0.5 if real else error, rel=1e-12)
        assert evaluation.objective == pytest.approx(np.average(costs, weights=OF_SAMPLES), rel=1e-12)


def test_the_validation_error_is_weighted_and_early_stopping_uses_it() -> None:
    """The last samples, which have all the weight in validation, have wrong labels in training."""
    labels = np.r_[CODES[:20], (CODES[20:] + 1) % 3]
    held = (X[20:], CODES[20:])
    weights = np.r_[np.ones(10), np.full(10, 50.0)]
    for validation in ((*held, weights), eq.Dataset(*held, sample_weight=weights)):
        trainer = trained(X, labels, validation=validation, epochs=8, patience=3)
        errors = [epoch.validation_error for epoch in trainer.history]
        best = int(np.argmin(errors))
        assert len(errors) == min(8, best + 4)
        assert trainer.evaluate(*held, sample_weight=weights).error == errors[best]


def test_a_resumed_training_has_the_same_weights(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    expected = trained(weighted_data(), checkpoint=eq.Checkpoint(path, steps=7))
    same = eq.Trainer.resume(path)
    same.fit(weighted_data(), epochs=3)
    assert bits(same) == bits(expected)
    for other in ({}, {"sample_weight": OF_SAMPLES[::-1]}, {"class_weight": "balanced"}):
        with pytest.raises(ValueError, match="Received other data"):
            eq.Trainer.resume(path).fit(X, LABELS, epochs=3, **other)


def test_chance_is_that_of_the_weighted_classes() -> None:
    """A fifth of the samples is of one class, both overlap, and the weighted error is above a fifth."""
    random = np.random.default_rng(0)
    y = (np.arange(1000) % 5 == 0).astype(int)
    x = random.normal(size=(1000, 2)) + 1.0 * y[:, None]
    trainer = eq.Trainer(eq.HopfieldNetwork([2, 10, 2], seed=0))
    history = trainer.fit(x, y, epochs=5, class_weight="balanced")
    assert 0.2 < history[-1].train_error < 0.4
    assert (trainer.predict_classes(x[y == 1]) == 1).mean() > 0.6
