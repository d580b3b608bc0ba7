"""A training that is resumed after an interruption ends with the bits of an uninterrupted one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import optimizers
from equiprop.checkpointing import TRAINER_FORMAT
from equiprop.safetensors import read_safetensors, write_safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import largest_file

pytestmark = pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")  # random labels

R = np.random.default_rng(0)
X, Y = R.random((66, 6)), R.integers(0, 3, 66)
DATA, HELD_OUT = eq.Dataset(X[:50], Y[:50]), eq.Dataset(X[50:], Y[50:])
STEPS = 6  # of an epoch: 50 samples in batches of 9


class Stop(Exception):
    """Raised by a test in the place of a crash."""


class StopAfter(eq.Checkpoint):
    """Writes a checkpoint after every step, and raises `Stop` after a number of steps."""

    def __init__(self, path: Path, last: int) -> None:
        super().__init__(path, steps=1)
        self.last = last

    def after_step(self, trainer: Any) -> None:
        super().after_step(trainer)
        if trainer.steps == self.last:
            raise Stop


def new(**options: Any) -> eq.Trainer:
    net = eq.HopfieldNetwork([6, 5, 3], seed=0)
    options = {"optimizer": eq.Adam(0.01), "schedule": optimizers.cosine(), "averaging": 0.9, **options}
    return eq.Trainer(net, batch_size=9, **options)


def facts(trainer: eq.Trainer) -> list[Any]:
    history = [dataclasses.replace(epoch, seconds=0) for epoch in trainer.history]
    averages = trainer.optimizer._buffers  # type: ignore[attr-defined]
    parameters = [model.parameters.tobytes() for model in (trainer.model, trainer.averaged_model)]
    return [*parameters, averages.tobytes(), trainer.steps, history]


FITS: dict[str, dict[str, Any]] = {
    "plain": {"epochs": 4},
    "fraction": {"epochs": 4, "validation": 0.25},
    "patience": {"epochs": 30, "validation": HELD_OUT, "patience": 2},
}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@pytest.mark.parametrize("last", [1, 5, 6, 7, 12, 17])
@pytest.mark.parametrize("free_start", ["rest", "last"])
def test_the_bits_are_those_of_an_uninterrupted_training(
    free_start: str, last: int, fit: dict[str, Any], tmp_path: Path
) -> None:
    whole, part = new(free_start=free_start), new(free_start=free_start)
    records = whole.fit(DATA, **fit)
    with pytest.raises(Stop):
        part.fit(DATA, **fit, checkpoint=StopAfter(tmp_path / "c", last))
    assert part.unfinished is None
    rest = eq.Trainer.resume(tmp_path / "c")
    assert rest.steps == last
    continued = rest.fit(DATA, **fit)
    assert facts(rest) == facts(whole)
    assert [epoch.epoch for epoch in continued] == [epoch.epoch for epoch in records]
    assert rest.unfinished is None


@settings(deadline=None, max_examples=25)
@given(
    stops=st.lists(st.integers(1, 23), min_size=1, max_size=5, unique=True),
    free_start=st.sampled_from(["rest", "last"]),
)
def test_any_number_of_interruptions_changes_nothing(
    stops: list[int], free_start: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "interrupted"
    trainer, whole = new(free_start=free_start), new(free_start=free_start)
    whole.fit(DATA, epochs=4)
    for stop in sorted(stops):
        with pytest.raises(Stop):
            trainer.fit(DATA, epochs=4, checkpoint=StopAfter(path, stop))
        trainer = eq.Trainer.resume(path)
    trainer.fit(DATA, epochs=4)
    assert facts(trainer) == facts(whole)


def test_a_checkpoint_changes_no_bit_of_the_training(tmp_path: Path) -> None:
    whole, kept = new(), new()
    whole.fit(DATA, epochs=2)
    kept.fit(DATA, epochs=2, checkpoint=eq.Checkpoint(tmp_path / "c", steps=1, seconds=0))
    assert facts(kept) == facts(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_trainer_that_a_callback_saves_can_be_resumed(tmp_path: Path) -> None:
    def save(trainer: eq.Trainer, epoch: eq.Epoch) -> None:
        if epoch.epoch == 2:
            eq.save(trainer, tmp_path / "by callback")

    whole = new(callbacks=[save])
    whole.fit(DATA, epochs=4, checkpoint=eq.Checkpoint(tmp_path / "c"))
    rest = eq.Trainer.resume(tmp_path / "by callback")
    assert len(rest.history) == 2
    rest.fit(DATA, epochs=4)
    assert facts(rest) == facts(whole)


@pytest.mark.parametrize(
    ("steps", "seconds", "expected"),
    [(5, None, [5, 10]), (1, None, list(range(1, 13))), (None, 0, list(range(1, 13))), (None, 1e9, [])],
)
def test_checkpoints_are_written_after_steps_or_seconds(
    steps: int | None, seconds: float | None, expected: list[int], tmp_path: Path
) -> None:
    written: list[int] = []

    class Noted(eq.Checkpoint):
        def write(self, trainer: Any) -> None:
            written.append(trainer.steps)

    new().fit(DATA, epochs=2, checkpoint=Noted(tmp_path / "c", steps, seconds))
    assert written == expected


def other_data() -> list[tuple[eq.Dataset, dict[str, Any]]]:
    x, y = X[:50].copy(), Y[:50].copy()
    x[49, 5] = np.nextafter(x[49, 5], 2)
    y[3] = (y[3] + 1) % 3
    return [
        (eq.Dataset(x, Y[:50]), {}),
        (eq.Dataset(X[:50], y), {}),
        (eq.Dataset(X[:50], Y[:50], scale=0.5), {}),
        (eq.Dataset(X[:50].astype(np.float32), Y[:50]), {}),
        (eq.Dataset(X[:49], Y[:49]), {}),
        (DATA, {"validation": HELD_OUT}),
        (DATA, {"validation": 0.5}),
    ]


def interrupted(path: Path) -> eq.Trainer:
    with pytest.raises(Stop):
        new().fit(DATA, epochs=4, checkpoint=StopAfter(path, 8))
    return eq.Trainer.resume(path)


@pytest.mark.parametrize("which", range(7))
def test_other_data_are_refused(which: int, tmp_path: Path) -> None:
    data, options = other_data()[which]
    trainer = interrupted(tmp_path / "c")
    with pytest.raises(ValueError, match=r"^\[Trainer\.fit\] .* Received other data; use equiprop\.load"):
        trainer.fit(data, epochs=4, **options)


def wider(trainer: eq.Trainer) -> None:
    trainer.model = eq.HopfieldNetwork([6, 7, 3])


def smaller_batches(trainer: eq.Trainer) -> None:
    trainer.batch_size = 5


def other_seed(trainer: eq.Trainer) -> None:
    trainer.seed = 3


@pytest.mark.parametrize(
    ("change", "epochs", "message"),
    [
        (wider, 4, r"Received network HopfieldNetwork\(6-7-3.*instead of HopfieldNetwork\(6-5-3"),
        (smaller_batches, 4, "Received batch_size 5 instead of 9;"),
        (other_seed, 4, "Received seed 3 instead of 0;"),
        (lambda trainer: None, 5, "Received epochs 5 instead of 4;"),
        (other_seed, 5, "Received seed 3 instead of 0, epochs 5 instead of 4;"),
    ],
)
def test_other_settings_are_refused_by_name(
    change: Callable[[eq.Trainer], None], epochs: int, message: str, tmp_path: Path
) -> None:
    trainer = interrupted(tmp_path / "c")
    change(trainer)
    with pytest.raises(ValueError, match=message):
        trainer.fit(DATA, epochs=epochs)


def test_the_advice_to_load_a_checkpoint_starts_a_new_training(tmp_path: Path) -> None:
    interrupted(tmp_path / "c")
    trainer = eq.load(tmp_path / "c")
    assert trainer.steps == 8
    assert len(trainer.fit(HELD_OUT, epochs=2)) == 2


def test_another_version_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "c"
    interrupted(path)
    tensors, metadata = read_safetensors(path)
    write_safetensors(path, tensors, {**metadata, "version": "0.0.7"})
    with pytest.raises(ValueError, match=r"Received 0\.0\.7 in '.*', and this is .*equiprop\.load"):
        eq.Trainer.resume(path)
    assert eq.load(path).steps == 8


def test_files_that_hold_no_unfinished_training_are_refused(tmp_path: Path) -> None:
    trainer = new()
    trainer.fit(DATA, epochs=1)
    with pytest.raises(ValueError, match=r"^\[Trainer\.resume\] .*equiprop\.load\(path\) returns it"):
        eq.Trainer.resume(eq.save(trainer, tmp_path / "finished"))
    with pytest.raises(ValueError, match=TRAINER_FORMAT):
        eq.Trainer.resume(eq.save(trainer.model, tmp_path / "network"))
    with pytest.raises(FileNotFoundError):
        eq.Trainer.resume(tmp_path / "absent")


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"steps": 1.5},
        {"seconds": -1},
        {"seconds": float("nan")},
        {"seconds": "1"},
        {"seconds": None},
        {"path": 3},
    ],
)
def test_wrong_settings_of_a_checkpoint_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^\[Checkpoint\] .* Received "):
        eq.Checkpoint(**{"path": "c", **options})


def test_a_checkpoint_in_an_absent_folder_is_refused_before_the_first_step(tmp_path: Path) -> None:
    trainer = new()
    with pytest.raises(ValueError, match="existing folder"):
        trainer.fit(DATA, epochs=1, checkpoint=eq.Checkpoint(tmp_path / "absent" / "c"))
    assert trainer.steps == 0


def test_a_full_disk_ends_the_training_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    trainer, path = new(), tmp_path / "c"
    interrupted(path)
    content = path.read_bytes()
    with pytest.raises(OSError, match="No file was changed"), largest_file(1024):
        trainer.fit(DATA, epochs=4, checkpoint=eq.Checkpoint(path, steps=1))
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    rest, whole = eq.Trainer.resume(path), new()
    rest.fit(DATA, epochs=4)
    whole.fit(DATA, epochs=4)
    assert facts(rest) == facts(whole)
