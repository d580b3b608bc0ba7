"""fit warns of inputs and targets that are not scaled, and its advice cures the training."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from equiprop import Dataset, HopfieldNetwork, Trainer, TrainingWarning
from equiprop.input_scale import warn_of_scales
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

pytestmark = pytest.mark.filterwarnings("ignore::equiprop.ConvergenceWarning")

INPUTS = r"^\[Trainer\.fit\] The inputs are not scaled: feature \d+ has the root mean square .* Pass fit\(x"
TARGETS = r"^\[Trainer\.fit\] The targets are not scaled: target \d+ has the root mean square .* Standardise"


def fit(data: Dataset, epochs: int = 1, hidden: int = 30, **scaling: Any) -> Trainer:
    trainer = Trainer(HopfieldNetwork([data.num_features, hidden, data.num_outputs], seed=0))
    trainer.fit(data, epochs=epochs, **scaling)
    return trainer


def messages(data: Dataset, **scaling: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(data, **scaling)
    texts = [str(w.message) for w in caught if issubclass(w.category, TrainingWarning)]
    return [text for text in texts if "guessing" not in text]  # the labels are random


def advised(message: str) -> list[dict[str, Any]]:
    """Return the arguments of `fit` that a message advises."""
    found = re.search(r"Pass fit\(x, y, (scaling=.*?)\)(?:, or (scaling=[\d.e+-]+))?\.$", message)
    assert found is not None
    return [eval(f"dict({words})") for words in found.groups() if words]


def test_the_advice_on_raw_features_cures_the_training() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    train, test = Dataset(x[::2], y[::2]), Dataset(x[1::2], y[1::2])
    with pytest.warns(TrainingWarning, match=INPUTS) as caught:
        fit(train)
    (message,) = (str(w.message) for w in caught if issubclass(w.category, TrainingWarning))
    (cure,) = advised(message)  # one factor does not make features of different units equal
    assert cure == {"scaling": "standardise"}
    assert messages(train, **cure) == []
    assert fit(train, epochs=10, **cure).evaluate(test).error < 0.06


def test_both_kinds_of_advice_on_raw_pixels_cure_the_training() -> None:
    x, y = load_digits(return_X_y=True)
    rest, held_out = Dataset(x, y).split(0.3)
    with pytest.warns(TrainingWarning, match=INPUTS) as caught:
        fit(rest)
    cures = advised(str(caught[0].message))
    assert [list(cure) for cure in cures] == [["scaling"], ["scaling"]]
    for cure in cures:
        assert messages(rest, **cure) == []
        assert fit(rest, epochs=10, hidden=64, **cure).evaluate(held_out).error < 0.08


def test_the_advice_on_a_scale_that_is_too_large_is_that_of_raw_data() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 4))
    (message,) = messages(Dataset(pixels, np.arange(200) % 2, scale=1 / 10))
    number = advised(message)[1]["scaling"]
    assert number == pytest.approx(1 / pixels.max(), rel=1e-2)
    assert messages(Dataset(pixels, np.arange(200) % 2), scaling=number) == []


def test_the_advice_on_raw_targets_cures_the_training() -> None:
    x, y = load_diabetes(return_X_y=True)
    x /= x.std(axis=0)
    (message,) = messages(Dataset(x[:300], y[:300, None]))
    assert re.match(TARGETS, message)
    formula = re.search(r"\(y - .*?1e-8\)", message)
    assert formula is not None
    standard = eval(formula.group(), {"y": y[:300]})
    trainer = fit(Dataset(x[:300], standard[:, None]), epochs=30)
    predicted = trainer.predict(x[300:])[:, 0] * y[:300].std() + y[:300].mean()
    residual = ((predicted - y[300:]) ** 2).sum() / ((y[300:] - y[300:].mean()) ** 2).sum()
    assert 1 - residual > 0.3


UNITS = np.array([0.001, 0.01, 0.1, 4.0])


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).normal(0, 1, (200, 4)) * UNITS,
        np.random.default_rng(0).normal(0, 1, (200, 4)) + 2000,
        np.random.default_rng(0).integers(0, 255, (200, 4)),
        np.random.default_rng(0).normal(0, 1e3, (200, 4)),
    ],
)
def test_wide_inputs_warn_once_at_the_caller(x: Any) -> None:
    with pytest.warns(TrainingWarning, match=INPUTS) as caught:
        Trainer(HopfieldNetwork([4, 2])).fit(Dataset(x, np.arange(200) % 2), epochs=1)
    assert sum(issubclass(w.category, TrainingWarning) for w in caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize("large", [1e20, 1e200, 1e308])
def test_numbers_near_overflow_are_measured(large: float) -> None:
    data = Dataset(np.array([[large, 1.0], [-large / 2, 0.5]]), [0, 1])
    with pytest.warns(TrainingWarning, match=INPUTS):
        warn_of_scales(data, stacklevel=2)


def test_the_scale_of_a_data_set_counts() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (200, 4)).astype(np.uint8)
    assert messages(Dataset(pixels, np.arange(200) % 2, scale=1 / 255)) == []
    assert len(messages(Dataset(pixels, np.arange(200) % 2, scale=1 / 10))) == 1


LOADERS = [load_breast_cancer, load_digits, load_iris, load_wine]


@pytest.mark.parametrize("load", LOADERS)
def test_scaled_data_cause_no_warning(load: Any) -> None:
    x, y = load(return_X_y=True)
    low, high = x.min(axis=0), x.max(axis=0)
    for scaled in ((x - x.mean(0)) / (x.std(0) + 1e-8), (x - low) / (high - low + 1e-8), x / x.max()):
        assert messages(Dataset(scaled, y)) == []


def test_rare_features_that_are_standardised_cause_no_warning() -> None:
    x = (np.random.default_rng(0).random((20_000, 20)) < 10.0 ** -np.linspace(0, 4, 20)).astype(float)
    x[:, -1] = np.arange(20_000) == 777  # 141 standard deviations from its mean
    standard = (x - x.mean(0)) / (x.std(0) + 1e-8)
    assert standard.max() > 140
    assert messages(Dataset(standard, np.arange(20_000) % 2)) == []
    assert messages(Dataset(x, np.arange(20_000) % 2)) == []


def test_targets_in_reach_cause_no_warning() -> None:
    x = np.random.default_rng(0).normal(size=(200, 4))
    assert messages(Dataset(x, x[:, :2])) == []
    assert messages(Dataset(x, np.eye(2)[np.arange(200) % 2])) == []
    (message,) = messages(Dataset(x, x[:, :2] * [1, 100]))
    assert "target 1 " in message
