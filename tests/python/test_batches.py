"""fit takes an iterable of batches, which gives the training of the same steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Dataset, Trainer
from equiprop.batches import ShuffledBatches
from networks import blobs


def trainer(**options: Any) -> Trainer:
    return Trainer(eq.HopfieldNetwork([4, 8, 3], seed=0), batch_size=25, **options)


class Stream:
    """Batches without a length, which can be read again."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


@pytest.mark.parametrize("kind", [list, Stream, iter])
def test_batches_give_the_parameters_of_their_steps(kind: Any) -> None:
    batches = list(ShuffledBatches(blobs(), 25, 0, 0, np.dtype(np.float32)))
    by_steps, by_fit = trainer(), trainer()
    metrics = [by_steps.step(x, y) for x, y in batches]
    (record,) = by_fit.fit(kind(batches), epochs=1)
    np.testing.assert_array_equal(by_fit.model.parameters, by_steps.model.parameters)
    weights = [len(x) for x, _ in batches]
    assert record.train_error == pytest.approx(np.average([m.error for m in metrics], weights=weights))


def test_batches_of_a_data_set_are_those_of_its_fit() -> None:
    data, asked = blobs(), ([], [])
    fits = [trainer(schedule=lambda p, a=a: a.append(p) or 1.0) for a in asked]  # type: ignore[func-returns-value]
    fits[1].prepare(data)
    fits[0].fit(data, epochs=1, validation=data)
    fits[1].fit(ShuffledBatches(data, 25, 0, 0, np.dtype(np.float32)), epochs=1, validation=(data.x, data.y))
    np.testing.assert_array_equal(fits[0].model.parameters, fits[1].model.parameters)
    assert fits[0].history[0].validation_error == fits[1].history[0].validation_error
    assert asked[0] == asked[1] == [k / 11 for k in range(11)]


def test_progress_without_a_length_is_that_of_the_epochs() -> None:
    asked: list[float] = []
    batches = list(ShuffledBatches(blobs(50), 25, 0, 0, np.dtype(np.float32)))
    trainer(schedule=lambda p: asked.append(p) or 1.0).fit(Stream(batches), epochs=4)  # type: ignore[func-returns-value]
    assert asked == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_loader_of_pytorch_trains(workers: int) -> None:
    data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")
    samples = blobs()
    tensors = data.TensorDataset(torch.tensor(samples.x), torch.tensor(samples.y))
    fits = [trainer(), trainer()]
    for source, fit in zip((tensors, Dataset(samples.x, samples.y)), fits, strict=True):
        loader = data.DataLoader(source, batch_size=25, num_workers=workers)
        fit.fit(loader, epochs=5, validation=samples, patience=5)
    np.testing.assert_array_equal(fits[0].model.parameters, fits[1].model.parameters)
    assert fits[0].history[-1].validation_error < 0.1
    np.testing.assert_array_equal(fits[0].predict_classes(samples), fits[0].predict(samples).argmax(axis=1))
