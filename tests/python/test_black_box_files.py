"""Files of trainers of devices: parameters, optimiser and position are saved, the device is passed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.safetensors import read_safetensors, write_safetensors

X = np.random.default_rng(0).uniform(-1, 1, (24, 3))
Y = X @ [1.0, -2.0, 0.5]


class Linear:
    """A linear unit, E = s^2 / 2 - theta x s, whose relaxations can be counted and ended."""

    def __init__(self) -> None:
        self.theta, self.calls, self.end = np.zeros(3), 0, -1

    def relax(self, x: np.ndarray, beta: float, y: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls == self.end:
            raise KeyboardInterrupt
        return ((x @ self.theta[:, None] + beta * y) / (1 + beta))[None]

    def box(self, **more: Any) -> eq.BlackBox:
        return eq.BlackBox(self.relax, lambda x, s: -(s * x).sum(axis=0), self.theta, 1, **more)


def trainer_of(device: Linear, **settings: Any) -> eq.Trainer:
    return eq.Trainer(device.box(), optimizer=eq.Adam(0.05), batch_size=5, seed=3, **settings)


def test_a_trainer_of_a_device_goes_on_with_equal_bits(tmp_path: Path) -> None:
    whole, part, again = Linear(), Linear(), Linear()
    trainer = trainer_of(whole)
    trainer.fit(X, Y, epochs=2)
    trainer.fit(X, Y, epochs=2)
    saved = trainer_of(part)
    saved.fit(X, Y, epochs=2, scaling="none")
    eq.save(saved, tmp_path / "device.safetensors")
    box = again.box()
    loaded = eq.load(tmp_path / "device.safetensors", model=box)
    assert loaded.model is box
    assert box.parameters is again.theta
    np.testing.assert_array_equal(again.theta, part.theta)
    loaded.fit(X, Y, epochs=2)
    np.testing.assert_array_equal(again.theta, whole.theta)
    assert [epoch.objective for epoch in loaded.history] == [epoch.objective for epoch in trainer.history]
    np.testing.assert_array_equal(loaded.predict(X), trainer.predict(X))


@pytest.mark.parametrize("end", [4, 13, 22, 31])
def test_a_training_that_ended_is_resumed_with_equal_bits(end: int, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    whole, part, again = Linear(), Linear(), Linear()
    trainer_of(whole).fit(X, Y, epochs=3)
    part.end = end
    with pytest.raises(KeyboardInterrupt):
        trainer_of(part).fit(X, Y, epochs=3, checkpoint=eq.Checkpoint(path, steps=1))
    resumed = eq.Trainer.resume(path, again.box())
    history = resumed.fit(X, Y, epochs=3)
    assert len(history) == 3
    np.testing.assert_array_equal(again.theta, whole.theta)
    assert again.calls < whole.calls


def test_the_scaling_of_raw_inputs_is_saved(tmp_path: Path) -> None:
    device, again = Linear(), Linear()
    trainer = trainer_of(device)
    trainer.fit(X, Y, epochs=1, scaling="standardise")
    box = again.box()
    eq.load(eq.save(trainer, tmp_path / "device.safetensors"), box)
    assert box.scaling == trainer.model.scaling


def test_other_devices_are_refused_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "device.safetensors"
    trainer = trainer_of(Linear())
    trainer.fit(X, Y, epochs=1)
    eq.save(trainer, path)
    for load in (eq.load, eq.Trainer.resume):
        with pytest.raises(
            TypeError, match=r"\] The file holds the Trainer of a BlackBox, whose functions no"
        ):
            load(path)
    other = np.ones(4)
    box = eq.BlackBox(lambda *_: np.zeros((1, 1, 1)), lambda *_: np.zeros(4), other, 1)
    with pytest.raises(
        ValueError, match="The device has the outputs and the blocks of parameters of the file"
    ):
        eq.load(path, box)
    np.testing.assert_array_equal(other, 1)
    net = eq.HopfieldNetwork([3, 4, 1])
    for thing in (net, eq.Trainer(net)):
        eq.save(thing, tmp_path / "net.safetensors")
        with pytest.raises(TypeError, match="model is given for the file of the Trainer of a BlackBox alone"):
            eq.load(tmp_path / "net.safetensors", model=box)


def test_a_damaged_file_changes_no_parameter_of_the_device(tmp_path: Path) -> None:
    path = tmp_path / "device.safetensors"
    trainer = trainer_of(Linear())
    trainer.fit(X, Y, epochs=1)
    eq.save(trainer, path)
    tensors, metadata = read_safetensors(path)
    damages = {
        "model.theta": np.full(3, np.nan),
        "state": np.frombuffer(b"{}}", np.uint8),
    }
    for name, damage in damages.items():
        device = Linear()
        write_safetensors(path, {**tensors, name: damage}, metadata)
        with pytest.raises(ValueError, match=r"\[load\] The file holds a complete Trainer"):
            eq.load(path, device.box())
        np.testing.assert_array_equal(device.theta, 0)
