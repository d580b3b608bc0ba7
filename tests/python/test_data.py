"""Data sets: batches, splits, MNIST and the digits."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from equiprop import HopfieldNetwork, Scaling, Trainer
from equiprop.data import Dataset, load_digits, load_mnist
from hypothesis import given
from hypothesis import strategies as st
from idx_files import idx_bytes, write_mnist

reals = st.sampled_from([np.float32, np.float64])


def labelled(count: int = 10, scale: float = 0.5) -> Dataset:
    pixels = np.arange(3 * count, dtype=np.uint8).reshape(count, 3)
    return Dataset(pixels, np.arange(count) % 4, scale, 4)


@given(st.lists(st.integers(0, 9), max_size=12), reals, st.floats(0.01, 2))
def test_batches_of_labels_follow_the_formula(rows: list[int], dtype: type, scale: float) -> None:
    samples = labelled(scale=scale)
    x, y = samples.batch(np.array(rows, dtype=np.int64), dtype)
    assert x.shape == (len(rows), 3)
    for position, row in enumerate(rows):
        assert x[position] == pytest.approx([scale * float(pixel) for pixel in samples.x[row]], rel=1e-6)
        assert y[position] == samples.y[row]
    assert x.dtype == dtype
    assert y.shape == (len(rows),)
    assert x.flags.c_contiguous


@given(reals, reals, st.booleans(), st.permutations(range(6)))
def test_batches_of_targets_follow_the_formula(
    stored: type, dtype: type, fortran: bool, order: list[int]
) -> None:
    x, y = np.linspace(-1, 1, 24).reshape(6, 4).astype(stored), np.linspace(0, 3, 12).reshape(6, 2)
    samples = Dataset(np.asfortranarray(x) if fortran else x, np.asfortranarray(y) if fortran else y, 3.0)
    inputs, targets = samples.batch(np.array(order), dtype)
    np.testing.assert_allclose(inputs, 3 * x[order], rtol=1e-6)
    np.testing.assert_allclose(targets, y[order], rtol=1e-6)
    assert inputs.dtype == targets.dtype == dtype
    assert inputs.flags.c_contiguous
    assert targets.flags.c_contiguous
    assert (samples.num_features, samples.num_outputs, samples.num_classes) == (4, 2, 0)
    assert not samples.is_classification


REAL_TYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "g", ">i4", ">f8"]


@given(st.sampled_from(REAL_TYPES), reals, st.sampled_from([1.0, 1 / 255]))
def test_inputs_of_every_real_type_give_the_batch_of_the_same_numbers_in_double_precision(
    stored: str, dtype: type, scale: float
) -> None:
    numbers = np.random.default_rng(0).integers(0, 2 if stored == "?" else 128, (6, 4)).astype(float)
    rows, labels = np.array([5, 0, 3]), np.arange(6)
    x, _ = Dataset(numbers.astype(stored), labels, scale).batch(rows, dtype)
    expected, _ = Dataset(numbers, labels, scale).batch(rows, dtype)
    np.testing.assert_array_equal(x, expected)
    assert x.dtype == dtype


@pytest.mark.parametrize("stored", ["i1", "i2", "i4", "i8"])
def test_negative_integers_keep_their_sign(stored: str) -> None:
    x, _ = Dataset(np.array([[-128, 127]], stored), np.array([0]), 0.5).batch(np.array([0]), np.float32)
    assert x.tolist() == [[-64.0, 63.5]]


@given(st.floats(0, 1), st.permutations(range(10)))
def test_a_split_shares_out_every_sample_once_in_order(fraction: float, order: list[int]) -> None:
    samples = labelled()
    rest, held_out = samples.split(fraction, np.array(order))
    assert abs(len(held_out) - 10 * fraction) <= 0.5
    np.testing.assert_array_equal(np.concatenate([rest.x, held_out.x]), samples.x[order])
    np.testing.assert_array_equal(np.concatenate([rest.y, held_out.y]), samples.y[order])
    for part in (rest, held_out):
        assert (part.scale, part.num_classes, part.x.dtype) == (Scaling.by(0.5), 4, np.uint8)


def test_classes_are_counted_from_labels_and_kept() -> None:
    samples = Dataset(np.zeros((3, 2), np.float32), np.array([0, 5, 2], np.uint8))
    assert (samples.num_classes, samples.num_outputs, len(samples)) == (6, 6, 3)
    assert samples.take(np.array([0, 0])).num_classes == 6


@pytest.mark.parametrize("samples", [labelled(), Dataset(np.eye(10), np.eye(10)[:, :3], 2.0)])
def test_a_data_set_is_a_sequence_of_pairs(samples: Dataset) -> None:
    x, y = samples.batch(np.arange(10), np.float64)
    pairs = list(samples)
    assert len(pairs) == len(samples) == 10
    for i, (inputs, target) in enumerate(pairs):
        for a, b in ((inputs, target), samples[i], samples[i - 10], samples[np.int64(i)]):
            np.testing.assert_array_equal(a, x[i])
            np.testing.assert_array_equal(b, y[i])
    for outside in (10, -11):
        with pytest.raises(IndexError):
            samples[outside]


@pytest.mark.parametrize(
    "key",
    [
        slice(2, 5),
        slice(None, None, -1),
        slice(-3, None),
        [3, 3, 0],
        np.arange(10) % 3 == 0,
        [True, False] * 5,
    ],
)
def test_slices_masks_and_indices_give_data_sets(key: Any) -> None:
    samples = labelled()
    part, rows = samples[key], np.arange(10)[key]
    np.testing.assert_array_equal(part.x, samples.x[rows])
    np.testing.assert_array_equal(part.y, samples.y[rows])
    assert (part.scale, part.num_classes, part.x.dtype) == (Scaling.by(0.5), 4, np.uint8)
    if not isinstance(key, slice):
        np.testing.assert_array_equal(samples.take(key).x, part.x)
        np.testing.assert_array_equal(samples.batch(key, np.float64)[1], part.y)
    assert np.shares_memory(part.x, samples.x) == isinstance(key, slice)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 2**64 - 1))
def test_a_split_without_an_order_is_random_and_stratified(
    labels: list[int], fraction: float, seed: int
) -> None:
    count = len(labels)
    samples = Dataset(np.arange(count)[:, None], labels, num_classes=5)
    rest, held_out = samples.split(fraction, seed=seed)
    assert sorted([*rest.x[:, 0], *held_out.x[:, 0]]) == list(range(count))
    assert len(held_out) == round(fraction * count)
    for label in range(5):
        expected = labels.count(label) * len(held_out) / count
        assert abs((held_out.y == label).sum() - expected) < 1
    again = samples.split(fraction, seed=seed)[1]
    np.testing.assert_array_equal(again.x, held_out.x)


def test_seeds_give_different_splits_in_random_order() -> None:
    for samples in (labelled(100), Dataset(np.arange(100.0)[:, None], np.arange(100) / 7)):
        parts = [samples.split(0.5, seed=seed)[1].x[:, 0].tolist() for seed in range(5)]
        assert len({tuple(sorted(part)) for part in parts}) == 5
        assert all(part != sorted(part) for part in parts)
        assert samples.split(0.5)[1].x[:, 0].tolist() == parts[0]


def test_validation_is_the_stratified_split_of_the_trainers_seed() -> None:
    data = labelled(40, 1 / 119)
    seen: list[Any] = []

    class Recorded(Trainer):
        def evaluate(self, data: Any, y: Any = None) -> Any:
            seen.append(data)
            return super().evaluate(data, y)

    Recorded(HopfieldNetwork([3, 4, 4]), seed=3).fit(data, epochs=1, validation=0.25)
    np.testing.assert_array_equal(seen[0].x, data.split(0.25, seed=3)[1].x)
    assert sorted(np.bincount(seen[0].y)) == [2, 2, 3, 3]


X = np.zeros((3, 2))
LABELS = np.array([0, 1, 2])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((X[0], LABELS), "samples, features"),
        ((X[:, :0], LABELS), "samples, features"),
        ((X, LABELS[:2]), "one row for each sample"),
        ((X + np.nan, LABELS), "`x` holds finite numbers"),
        ((X, LABELS - 1, 1.0, 2), "Labels lie in"),
        ((X, LABELS, 1.0, 2), "Labels lie in"),
        ((X, LABELS, 1.0, -1), "num_classes is"),
        ((X, LABELS, 1.0, 10**12), "num_classes is"),
        ((X, X + np.inf), "`y` holds finite numbers"),
        ((X, X[:, :0]), "samples, outputs"),
        ((X, X[:, :, None]), "samples, outputs"),
        ((X, 1), "samples, outputs"),
        ((X, X, 1.0, 2), "num_classes is 0"),
        ((X, LABELS, 0.0), "scale is positive"),
        ((X, LABELS, np.nan), "scale is positive"),
    ],
)
def test_values_that_make_no_data_set_are_refused(arguments: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=rf"^\[Dataset\] .*{reason}.* Received "):
        Dataset(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        (X.astype(complex), LABELS),
        (X.astype(str), LABELS),
        (X.astype("M8[s]"), LABELS),
        (X, LABELS * 1j),
        (X, X.astype(str)),
        (X, np.array([{}, [], set()], dtype=object)),
        (X, LABELS, 1.0, 2.5),
    ],
)
def test_types_that_make_no_data_set_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=r"^\[Dataset\] .* Received "):
        Dataset(*arguments)


def test_indices_that_choose_no_samples_are_refused() -> None:
    samples = labelled()
    for bad in ([-1], [10], [[1]]):
        with pytest.raises(ValueError, match=r"^\[Dataset.batch\] Sample indices"):
            samples.batch(np.array(bad), np.float32)
    with pytest.raises(TypeError, match="integers"):
        samples.take(np.array([1.0]))
    with pytest.raises(ValueError, match=r"^\[Dataset.take\] A mask has one entry for each of 10 samples"):
        samples.take(np.ones(9, bool))
    with pytest.raises(ValueError, match=r"^\[Dataset.split\] seed"):
        samples.split(0.5, seed=-1)
    with pytest.raises(TypeError, match="float32 or float64"):
        samples.batch(np.array([1]), np.int32)
    for fraction, order in ((1.1, np.arange(10)), (0.5, np.arange(9)), (0.5, np.zeros(10, int))):
        with pytest.raises(ValueError, match=r"^\[Dataset.split\]"):
            samples.split(fraction, order)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_flattened_and_scaled(tmp_path: Path, suffix: str) -> None:
    write_mnist(tmp_path, suffix=suffix)
    train, test = load_mnist(tmp_path)
    assert (len(train), len(test), train.num_features, test.num_outputs) == (9, 7, 784, 10)
    assert train.x.dtype == np.uint8
    x, y = train.batch(np.array([1]), np.float64)
    np.testing.assert_allclose(x[0], (np.arange(784, 1568) % 256) / 255)
    assert y.tolist() == [1]


def test_mnist_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"'train-images-idx3-ubyte.gz'.*fetch_mnist\('.*'\)"):
        load_mnist(tmp_path)
    for name, array in (
        ("t10k-labels-idx1-ubyte", np.zeros(6, np.uint8)),
        ("t10k-labels-idx1-ubyte", np.zeros((7, 1), np.uint8)),
        ("train-images-idx3-ubyte", np.zeros((9, 28, 27), np.uint8)),
        ("train-images-idx3-ubyte", np.zeros((9, 28, 28), np.int8)),
        ("train-labels-idx1-ubyte", np.full(9, 10, np.uint8)),
    ):
        write_mnist(tmp_path)
        (tmp_path / name).write_bytes(idx_bytes(array))
        with pytest.raises(ValueError, match=r"^\[(load_mnist|Dataset)\] .*abels"):
            load_mnist(tmp_path)


def test_digits_are_split_by_class_without_overlap() -> None:
    train, test = load_digits()
    assert len(train) + len(test) == 1797
    assert train.x.max() == 16
    assert len({row.tobytes() for row in np.concatenate([train.x, test.x])}) == 1797
    counts = [np.bincount(part.y, minlength=10) for part in (train, test)]
    np.testing.assert_array_equal(counts[1], (counts[0] + counts[1]) // 5)


def test_digits_without_scikit_learn_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError("no sklearn")
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'equiprop\[sklearn\]'"):
        load_digits()
