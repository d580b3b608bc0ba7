"""Augmentation: random crops and flips, as functions of seed, epoch and position, in training alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.batches import ShuffledBatches, ahead
from equiprop.data import Augmentation, Dataset
from equiprop.evaluation import dataset_batches
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

SHAPE = (3, 6, 5)
BOTH = Augmentation(SHAPE, padding=2, flip=True)
seeds = st.integers(0, 2**64 - 1)


def images(count: int = 20, kind: str = "u1") -> np.ndarray:
    return np.random.default_rng(1).integers(1, 128, (count, 90)).astype(kind)


def data(count: int = 20) -> Dataset:
    return Dataset(images(count), np.arange(count) % 3, 1 / 255)


def of_epoch(samples: Dataset, size: int, seed: int = 0, epoch: int = 0, first: int = 0) -> list[Any]:
    return list(ShuffledBatches(samples, size, seed, epoch, np.dtype(np.float32), first))


# --------------------------------------------------------------------------------- one image


def by_hand(image: np.ndarray, change: Augmentation, draw: int) -> np.ndarray:
    """The definition, pixel by pixel."""
    channels, height, width = change.shape
    moves = 2 * change.padding + 1
    down, right = (((draw >> shift) % 2**31 * moves >> 31) - change.padding for shift in (1, 33))
    result = np.zeros((channels, height, width), image.dtype)
    for row in range(height):
        for column in range(width):
            source, place = row + down, column + right
            if change.fill == "edge":
                source, place = min(max(source, 0), height - 1), min(max(place, 0), width - 1)
            if 0 <= source < height and 0 <= place < width:
                target = width - 1 - column if change.flip and draw % 2 else column
                result[:, row, target] = image.reshape(change.shape)[:, source, place]
    return result.reshape(-1)


@given(
    st.integers(0, 4),
    st.booleans(),
    st.sampled_from(["zero", "edge"]),
    st.sampled_from(["u1", "f4", "f8"]),
    seeds,
)
def test_images_are_changed_as_defined(padding: int, flip: bool, fill: str, kind: str, seed: int) -> None:
    change, x = Augmentation(SHAPE, padding, flip, fill), images(kind=kind)
    before, draws = x.copy(), change.draws(20, seed=seed, epoch=3)
    changed = change(x, draws)
    assert (changed.dtype, changed.flags.c_contiguous) == (x.dtype, True)
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(x, changed)
    for image, draw, result in zip(x, draws.tolist(), changed, strict=True):
        np.testing.assert_array_equal(result, by_hand(image, change, draw))


@given(seeds)
def test_two_flips_are_the_identity(seed: int) -> None:
    flip, x = Augmentation(SHAPE, flip=True), images()
    draws = flip.draws(20, seed=seed, epoch=0)
    np.testing.assert_array_equal(flip(flip(x, draws), draws), x)
    assert not np.array_equal(flip(x, draws | np.uint64(1)), x)


@given(seeds, st.sampled_from(["zero", "edge"]))
def test_a_crop_without_padding_is_the_identity(seed: int, fill: str) -> None:
    none = Augmentation(SHAPE, fill=fill)
    np.testing.assert_array_equal(none(images(), none.draws(20, seed=seed, epoch=0)), images())


def test_moves_and_flips_are_uniform_and_independent() -> None:
    change = Augmentation((1, 9, 9), padding=2, flip=True)
    point = np.zeros((50_000, 1, 9, 9), np.uint8)
    point[:, 0, 4, 4] = 1
    point[:, 0, 4, 5] = 2  # on the other side after a flip
    changed = change(point.reshape(-1, 81), change.draws(50_000, seed=5, epoch=7)).reshape(-1, 9, 9)
    _, rows, ones = np.nonzero(changed == 1)
    _, _, twos = np.nonzero(changed == 2)
    flips = (twos < ones).astype(int)
    counts = np.zeros((5, 5, 2))
    np.add.at(counts, (rows - 2, ones - 2, flips), 1)
    assert counts.sum() == 50_000
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


# --------------------------------------------------------------------------------- random numbers


@given(seeds, seeds, st.integers(0, 3000))
@settings(max_examples=30)
def test_draw_i_is_output_i_of_philox_with_the_key_of_seed_and_epoch(seed: int, epoch: int, i: int) -> None:
    draws = BOTH.draws(3001, seed=seed, epoch=epoch)
    generator = np.random.Philox(key=seed + (epoch << 64))
    generator.advance(i // 4)  # a step of the counter gives four numbers
    assert draws[i] == generator.random_raw(i % 4 + 1)[-1]
    np.testing.assert_array_equal(draws[:i], BOTH.draws(i, seed=seed, epoch=epoch))


def test_seeds_and_epochs_give_different_changes() -> None:
    keys = [(0, 0), (0, 1), (1, 0), (1, 1), (2**64 - 1, 0), (0, 2**40)]
    changed = {BOTH(images(), BOTH.draws(20, seed=s, epoch=e)).tobytes() for s, e in keys}
    assert len(changed) == len(keys)


# --------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("size", [1, 3, 7, 20, 50])
def test_changes_do_not_depend_on_batch_size_or_order(size: int) -> None:
    samples = data().augmented(BOTH)
    draws = BOTH.draws(20, seed=4, epoch=2)
    expected = samples.batch(np.arange(20), np.float32, draws)[0]
    order = eq._core.permutation(20, 4, 2)
    batches = of_epoch(samples, size, 4, 2)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), expected[order])
    shuffled = np.random.default_rng(0).permutation(20)
    np.testing.assert_array_equal(samples.batch(shuffled, np.float32, draws)[0], expected[shuffled])
    np.testing.assert_array_equal(expected, (BOTH(images(), draws) / 255).astype(np.float32))


@pytest.mark.parametrize("first", range(8))
def test_the_rest_of_an_epoch_is_that_of_the_whole_epoch(first: int) -> None:
    samples = data().augmented(BOTH)
    for whole, rest in zip(of_epoch(samples, 3)[first:], of_epoch(samples, 3, first=first), strict=True):
        np.testing.assert_array_equal(whole[0], rest[0])


def test_labels_targets_and_weights_are_untouched() -> None:
    weights = np.linspace(0.5, 1.5, 20)
    for y in (np.arange(20) % 3, np.random.default_rng(0).normal(size=(20, 2))):
        plain = Dataset(images(), y, 1 / 255, sample_weight=weights)
        pairs = zip(of_epoch(plain, 6), of_epoch(plain.augmented(BOTH), 6), strict=True)
        for (x, *rest), (changed, *same) in pairs:
            assert not np.array_equal(x, changed)
            for a, b in zip(rest, same, strict=True):
                np.testing.assert_array_equal(a, b)


def test_parts_and_copies_keep_the_augmentation() -> None:
    samples = data().augmented(BOTH)
    parts = (samples[:5], samples.take([3, 1]), *samples.split(0.5), samples.with_scale(None))
    assert all(part.augmentation == BOTH for part in parts)
    assert samples.augmented(None).augmentation is None
    assert data().augmentation is None


def test_sparse_and_mapped_images_are_changed_as_others(tmp_path: Path) -> None:
    from scipy.sparse import csr_array

    np.save(tmp_path / "x.npy", images())
    (plain,) = of_epoch(data().augmented(BOTH), 20)
    for x in (csr_array(images()), np.load(tmp_path / "x.npy", mmap_mode="r")):
        (batch,) = of_epoch(Dataset(x, np.arange(20) % 3, 1 / 255).augmented(BOTH), 20)
        np.testing.assert_array_equal(batch[0], plain[0])


# --------------------------------------------------------------------------------- training


def trained(epochs: int = 3, samples: Dataset | None = None, **options: Any) -> eq.Trainer:
    trainer = eq.Trainer(eq.HopfieldNetwork([90, 8, 3], seed=1), batch_size=6, seed=2)
    trainer.fit(data().augmented(BOTH) if samples is None else samples, epochs=epochs, **options)
    return trainer


def parameters(trainer: eq.Trainer) -> bytes:
    return trainer.model.parameters.tobytes()


def test_a_training_takes_the_steps_of_its_changed_batches() -> None:
    trainer = trained(2)
    assert parameters(trainer) != parameters(trained(2, data()))
    by_hand = eq.Trainer(eq.HopfieldNetwork([90, 8, 3], seed=1), batch_size=6, seed=2)
    by_hand.prepare(data())
    order = [eq._core.permutation(20, 2, epoch) for epoch in range(2)]
    for epoch, rows in enumerate(order):
        x = BOTH(images(), BOTH.draws(20, seed=2, epoch=epoch)) / 255
        for begin in range(0, 20, 6):
            part = rows[begin : begin + 6]
            by_hand.step(x[part].astype(np.float32), part % 3)
    assert parameters(by_hand) == parameters(trainer)


def test_a_training_does_not_depend_on_the_number_of_threads() -> None:
    before = eq.num_threads()
    results = set()
    try:
        for threads in (1, 2, 3):
            eq.set_num_threads(threads)
            results.add(parameters(trained()))
    finally:
        eq.set_num_threads(before)
    assert len(results) == 1


class Interruption(Exception):
    pass


@pytest.mark.parametrize("step", [1, 2, 4, 5, 7, 10])
def test_a_resumed_training_has_the_bits_of_an_uninterrupted_one(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.safetensors"
    original = eq.Trainer.step

    def until(trainer: eq.Trainer, *arguments: Any, **options: Any) -> Any:
        if trainer.steps == step:
            raise Interruption
        return original(trainer, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(eq.Trainer, "step", until)
        with pytest.raises(Interruption):
            trained(checkpoint=eq.Checkpoint(path, steps=1))
    resumed = eq.Trainer.resume(path)
    assert resumed.steps == step
    resumed.fit(data().augmented(BOTH), epochs=3)
    assert parameters(resumed) == parameters(trained())


@pytest.mark.parametrize(
    "other",
    [None, Augmentation(SHAPE, 1, True), Augmentation(SHAPE, 2), Augmentation(SHAPE, 2, True, "edge")],
)
def test_a_resumed_training_refuses_another_augmentation(other: Augmentation | None, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    trained(1, checkpoint=eq.Checkpoint(path, steps=2))
    with pytest.raises(ValueError, match=r"Received other data"):
        eq.Trainer.resume(path).fit(data().augmented(other), epochs=1)


def test_later_calls_continue_with_new_changes(tmp_path: Path) -> None:
    half = trained(1)
    rest = eq.load(eq.save(half, tmp_path / "half.safetensors"))
    rest.fit(data().augmented(BOTH), epochs=2)
    assert parameters(rest) == parameters(trained(3))


def test_evaluation_prediction_and_validation_use_the_stored_samples() -> None:
    samples, plain = data().augmented(BOTH), data()
    trainer = trained()
    assert trainer.evaluate(samples) == trainer.evaluate(plain)
    np.testing.assert_array_equal(trainer.predict(samples), trainer.predict(plain))
    for (x, _), (expected, _) in zip(
        dataset_batches(samples, np.dtype("f4")), dataset_batches(plain, np.dtype("f4")), strict=True
    ):
        np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(samples[3][0], plain[3][0])
    errors = [[e.validation_error for e in trained(validation=v).history] for v in (samples, plain)]
    assert errors[0] == errors[1]
    held_out = samples.split(0.25, seed=2)[1]
    trainer = trained(1, validation=0.25)
    assert trainer.history[-1].validation_error == trainer.evaluate(held_out.augmented(None)).error


def test_a_scaling_is_fitted_to_the_stored_samples() -> None:
    raw = data().with_scale(None)
    (a, b) = (trained(1, part, scaling="standardise").model.scaling for part in (raw, raw.augmented(BOTH)))
    assert a == b


# --------------------------------------------------------------------------------- the thread


def test_the_next_item_is_computed_while_the_present_one_is_used() -> None:
    begun = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for k, event in enumerate(begun):
            event.set()
            yield k

    seen = []
    for k in ahead(items()):
        assert all(event.wait(10) for event in begun[: k + 2])
        seen.append(k)
    assert seen == [0, 1, 2, 3]
    assert list(ahead(iter(()))) == []


def test_an_error_in_the_thread_reaches_the_training() -> None:
    samples = data().augmented(BOTH)
    broken = ShuffledBatches(samples, 6, 0, 0, np.dtype("f4"))
    assert broken.draws is not None
    broken.draws = broken.draws[:3]
    with pytest.raises(ValueError, match="one random number for each sample"):
        list(broken)


def test_no_thread_is_left_after_a_training_that_fails() -> None:
    before = threading.active_count()

    def fail(*_: object) -> None:
        raise Interruption

    with pytest.raises(Interruption):
        eq.Trainer(eq.HopfieldNetwork([90, 8, 3]), callbacks=[fail]).fit(data().augmented(BOTH), epochs=2)
    batches = iter(ShuffledBatches(data().augmented(BOTH), 2, 0, 0, np.dtype("f4")))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


# --------------------------------------------------------------------------------- arguments and scaling


@pytest.mark.parametrize(
    "arguments",
    [
        (3,),
        ((3, 6),),
        ((3, 6, 0),),
        ((3, 6, 5.0),),
        (SHAPE, 5),
        (SHAPE, -1),
        (SHAPE, 1.5),
        (SHAPE, 0, 1),
        (SHAPE, 1, True, "mirror"),
        (SHAPE, 1, True, ["edge"]),
    ],
)
def test_wrong_arguments_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^\[Augmentation\] .* Received "):
        Augmentation(*arguments)


def test_an_augmentation_of_other_images_is_refused() -> None:
    rule = r"^\[Dataset\.augmented\] An augmentation of images \(1, 28, 28\) needs 784 features\. Received 90"
    with pytest.raises(ValueError, match=rule):
        data().augmented(Augmentation((1, 28, 28)))
    with pytest.raises(TypeError, match=r"^\[Dataset\.augmented\] .* Received 3"):
        data().augmented(3)  # type: ignore[arg-type]


def test_a_scaling_by_channel_standardises_each_channel() -> None:
    x = images(50).astype(float)
    channels = x.reshape(50, 3, 30) / 255
    mean, std = channels.mean(axis=(0, 2)), channels.std(axis=(0, 2))
    scaled = eq.Scaling.by_channel(SHAPE, mean, std, 1 / 255)(x).reshape(50, 3, 30)
    np.testing.assert_allclose(scaled.mean(axis=(0, 2)), 0, atol=1e-13)
    np.testing.assert_allclose(scaled.std(axis=(0, 2)), 1, rtol=1e-13)
    np.testing.assert_allclose(scaled, (channels - mean[:, None]) / std[:, None], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "arguments",
    [
        (SHAPE, [0.0], [1.0]),
        (SHAPE, [0.0] * 3, [1.0, 0.0, 1.0]),
        (SHAPE, [0.0] * 3, [1.0, -1.0, 1.0]),
        (SHAPE, [np.nan] * 3, [1.0] * 3),
        (SHAPE, [0.0] * 3, [np.nan] * 3),
        (SHAPE, [0.0] * 3, [1.0] * 3, 0.0),
        ((3, 6.5, 5), [0.0] * 3, [1.0] * 3),
    ],
)
def test_wrong_channels_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^\[Scaling(\.by_channel)?\] .* Received "):
        eq.Scaling.by_channel(*arguments)
