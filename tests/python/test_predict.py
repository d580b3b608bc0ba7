"""Predictions for data sets and for arrays, which are scaled like the training data."""

from __future__ import annotations

import equiprop as eq
import numpy as np
import pytest
from equiprop import Dataset, Trainer
from networks import blobs


def small(dtype: str = "float32") -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork([4, 8, 3], dtype=dtype)


def bytes_of_blobs(samples: int = 2300) -> Dataset:
    """Return blobs in units of 1/64, so that the scale matters, for three batches of an evaluation."""
    data = blobs(samples)
    return Dataset(np.clip(64 * data.x + 64, 0, 255).astype(np.uint8), data.y, scale=1 / 64)


@pytest.mark.parametrize("stored", ["u1", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_presents_data_as_evaluate_does(stored: str, dtype: str) -> None:
    whole = bytes_of_blobs()
    data = Dataset(whole.x.astype(stored), whole.y, whole.scale)
    trainer = Trainer(small(dtype=dtype), optimizer=eq.SGD(0.02, momentum=0.5))
    trainer.fit(data, epochs=1)
    outputs, evaluation = trainer.predict(data), trainer.evaluate(data)
    assert (outputs.argmax(axis=1) != data.y).mean() == pytest.approx(evaluation.error, abs=1e-12)
    costs = ((outputs.astype(np.float64) - np.eye(3)[data.y]) ** 2).sum(axis=1) / 2
    assert evaluation.objective == pytest.approx(costs.mean(), rel=1e-6)
    np.testing.assert_array_equal(trainer.predict(data.x, scale=data.scale), outputs)
    presented, _ = data.batch(np.arange(len(data)), dtype)
    np.testing.assert_array_equal(trainer.predict(presented, scale=1), outputs)
    np.testing.assert_array_equal(trainer.predict(data.x), outputs)
    np.testing.assert_array_equal(trainer.predict(data.x.tolist()), outputs)
    np.testing.assert_array_equal(trainer.predict(data.with_scale(None)), outputs)


def test_predict_takes_arrays_as_they_are_where_training_did() -> None:
    data = blobs()
    stored = Dataset((10 * data.x).astype(np.int64), data.y)
    trainer = Trainer(small(dtype="float64"))
    untrained = trainer.predict(stored.x)
    np.testing.assert_array_equal(untrained, trainer.predict(stored))
    trainer.fit(data, epochs=1)
    assert trainer.scaling.is_none
    np.testing.assert_array_equal(trainer.predict(data.x), trainer.predict(data))
    np.testing.assert_array_equal(trainer.predict(data.x, scale=2), trainer.predict(2 * data.x))


def test_predict_refuses_a_scale_that_cannot_be_one() -> None:
    trainer, data = Trainer(small()), blobs()
    with pytest.raises(
        ValueError, match=r"^\[Trainer.predict\] scale is for arrays; a Dataset has one\. Received"
    ):
        trainer.predict(data, scale=1.0)
    with pytest.raises(ValueError, match=r"^\[Trainer.predict\] `x` holds at least one sample"):
        trainer.predict(data.take(np.arange(0)))
    for scale in (0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^\[Trainer.predict\] scale is positive"):
            trainer.predict(data.x, scale=scale)
    with pytest.raises(TypeError, match=r"^\[Trainer.predict\] scale is a Scaling or a number"):
        trainer.predict(data.x, scale="1")  # type: ignore[arg-type]
