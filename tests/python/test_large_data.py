"""Files that are mapped into memory and sparse arrays are read batch by batch, never as a whole."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Dataset
from equiprop.input_scale import warn_of_scales
from scipy import sparse

SAMPLES, FEATURES = 8000, 1000  # 32 MB in single precision


@contextmanager
def memory_below(size: float) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def mapped(folder: Path) -> np.ndarray:
    x = np.memmap(folder / "x", np.float32, "w+", shape=(SAMPLES, FEATURES))
    x[:, 0] = np.arange(SAMPLES) % 2
    return x


def thin(form: str) -> Any:
    rows = np.arange(SAMPLES)
    entries = (rows % 2).astype(np.float32), (rows, rows % 2)
    return sparse.coo_array(entries, shape=(SAMPLES, FEATURES)).asformat(form)


LABELS = np.array(["even", "odd"])[np.arange(SAMPLES) % 2]


@pytest.mark.parametrize("kind", ["mapped", "csr", "csc", "coo"])
def test_training_and_prediction_read_one_batch_at_a_time(kind: str, tmp_path: Path) -> None:
    x = mapped(tmp_path) if kind == "mapped" else thin(kind)
    trainer = eq.Trainer(eq.HopfieldNetwork([FEATURES, 2], seed=0), batch_size=500)
    trainer.predict(np.zeros((1, FEATURES)))  # modules that are imported late
    with memory_below(20e6):
        data = Dataset(x, LABELS)
        rest, held_out = data.split(0.25)
        trainer.fit(rest, epochs=1, validation=held_out)
        trainer.fit(x, LABELS, epochs=1, validation=0.1)
        assert trainer.evaluate(data).error == 0
        outputs = trainer.predict(x)
        np.testing.assert_array_equal(trainer.predict(data), outputs)
        np.testing.assert_array_equal(
            trainer.predict_classes(held_out[::2]), held_out.classes[held_out.y[::2]]
        )


def test_parts_of_a_mapped_file_are_those_of_the_array(tmp_path: Path) -> None:
    x = mapped(tmp_path)
    x[:] = np.random.default_rng(0).random(x.shape, np.float32)
    order, rows = np.random.default_rng(1).permutation(SAMPLES), np.array([5, 0, 5])
    data = Dataset(x, LABELS)
    part = data.take(order)[100:].take(rows)
    expected = np.asarray(x)[order][100:][rows]
    for same in (part, pickle.loads(pickle.dumps(part))):
        np.testing.assert_array_equal(np.asarray(same.x), expected)
        np.testing.assert_array_equal(same.batch(np.arange(3), np.float32)[0], expected)
        np.testing.assert_array_equal(np.asarray(same.x, np.float64), expected)
        np.testing.assert_array_equal([row for row, _ in same], expected)
    assert (len(part.x), part.x.shape, part.num_features) == (3, (3, FEATURES), FEATURES)


def test_the_first_bad_number_of_a_large_array_is_found() -> None:
    x = np.zeros((3000, 1000), np.float32)
    x[2500, 7], x[2900, 0] = np.inf, np.nan
    for container in (x, np.asfortranarray(x), sparse.csr_array(x), sparse.csc_array(x)):
        with pytest.raises(
            ValueError, match=r"^\[Dataset\] `x` .* Received inf at sample 2500, feature 7\.$"
        ):
            Dataset(container, np.arange(3000) % 2)
        with pytest.raises(ValueError, match=r"^\[Trainer.predict\] `x` .* inf at sample 2500, feature 7\.$"):
            eq.Trainer(eq.HopfieldNetwork([1000, 2])).predict(container)


def test_sparse_data_sets_are_those_of_the_array() -> None:
    x = np.random.default_rng(0).integers(0, 200, (40, 6)).astype(np.uint8) * (np.arange(6) % 2 == 0)
    dense, thin = (Dataset(c, np.arange(40) % 3, scale=1 / 255) for c in (x, sparse.csc_array(x)))
    for a, b in ((dense, thin), (dense[5:], thin[5:]), (dense.split(0.3)[1], thin.split(0.3)[1])):
        np.testing.assert_array_equal(
            a.batch(np.arange(len(a)), "f4")[0], b.batch(np.arange(len(b)), "f4")[0]
        )
        np.testing.assert_array_equal([i for i, _ in a], [i for i, _ in b])
    with pytest.raises(TypeError, match=r"^\[Dataset\] `x` holds real numbers\. Received dtype complex128"):
        Dataset(sparse.csr_array(np.eye(3) * 1j), [0, 1, 2])


def test_the_measure_of_scales_is_that_of_the_dense_array() -> None:
    x = 100 * np.random.default_rng(0).random((60, 5)) * (np.random.default_rng(1).random((60, 5)) < 0.3)
    messages = []
    for container in (x, sparse.csr_array(x)):
        with pytest.warns(eq.TrainingWarning) as caught:
            warn_of_scales(Dataset(container, np.arange(60) % 2), stacklevel=2)
        messages += [str(warning.message) for warning in caught]
    assert messages[0] == messages[1]
