"""A saved trainer continues with the bits of the original; files that were not saved by it are refused."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import _core, optimizers
from equiprop.encoding import is_saved
from equiprop.safetensors import read_safetensors, write_safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Valley, chain

pytestmark = pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")  # random labels

R = np.random.default_rng(0)
DATA = eq.Dataset(R.random((60, 6)), np.arange(60) % 3)
BLOCK_RATES = {"W1": 0.05, "W2": 0.02, "b1": 0.1, "b2": 0.1}
WAYS: dict[str, Callable[[], dict[str, Any]]] = {
    "defaults": dict,
    "adam": lambda: {"optimizer": eq.Adam(3e-3, beta2=0.99, weight_decay=1e-3)},
    "rate of each block": lambda: {"optimizer": eq.SGD(BLOCK_RATES, 0.8, 1e-4)},
    "rate in NumPy": lambda: {"optimizer": eq.SGD(np.float32(0.05), 0.8)},
    "cross-entropy": lambda: {"cost": eq.CrossEntropy(), "schedule": optimizers.exponential(0.5)},
    "Nesterov": lambda: {"optimizer": eq.SGD(0.05, 0.8, {"W1": 1e-2}, nesterov=True)},
    "decay of each block": lambda: {"optimizer": eq.Adam(1e-2, weight_decay={"W1": 1e-2, "b2": 0.1})},
    "averaging": lambda: {"averaging": 0.9},
    "last free states": lambda: {"free_start": "last"},
    "random sign": lambda: {"second_phase": eq.EquilibriumPropagation(eq.random_sign(0.3, 5))},
    "exact limit": lambda: {"second_phase": eq.EquilibriumPropagation(eq.exact_limit(), eq.Euler())},
    "rbp": lambda: {"second_phase": eq.RecurrentBackpropagation(eq.GMRES(restart=5)), "seed": 2**64 - 1},
    "solver": lambda: {"solver": eq.FixedPointIteration(damping=0.25, anderson=1, tolerance=1e-4)},
}


def trainer_of(way: str = "defaults", **network: Any) -> eq.Trainer:
    net = eq.HopfieldNetwork([6, 5, 3], seed=0, **network)
    return eq.Trainer(net, batch_size=7, **WAYS[way]())


def facts(trainer: eq.Trainer) -> list[Any]:
    """Return what the next steps depend on, and the history without its times."""
    history = [dataclasses.replace(epoch, seconds=0) for epoch in trainer.history]
    average = trainer.averaged_model.parameters.tobytes()
    return [trainer.model.parameters.tobytes() + average, trainer.steps, history]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", WAYS)
def test_five_epochs_save_load_and_five_more_are_ten_epochs(way: str, dtype: str, tmp_path: Path) -> None:
    whole, half = trainer_of(way, dtype=dtype), trainer_of(way, dtype=dtype)
    for one in (whole, half):
        one.schedule = optimizers.constant()
    whole.fit(DATA, epochs=10)
    half.fit(DATA, epochs=5)
    rest = eq.load(eq.save(half, tmp_path / "run.safetensors"))
    rest.fit(DATA, epochs=5)
    first, second = facts(whole), facts(rest)
    assert second[:2] == first[:2]
    numbered = [dataclasses.replace(epoch, epoch=k % 5 + 1) for k, epoch in enumerate(first[2])]
    assert second[2] == numbered


@pytest.mark.parametrize("way", WAYS)
def test_every_field_comes_back(way: str, tmp_path: Path) -> None:
    trainer = trainer_of(way)
    trainer.fit(DATA, epochs=2, validation=0.2)
    twin = eq.load(eq.save(trainer, tmp_path / "t"))
    assert type(twin) is eq.Trainer
    for field in dataclasses.fields(trainer):
        if field.name not in ("model", "callbacks", "step_callbacks", "schedule") and is_saved(field):
            np.testing.assert_equal(getattr(twin, field.name), getattr(trainer, field.name), field.name)
    schedules = [one.schedule and one.schedule(0.3) for one in (twin, trainer)]
    assert schedules[0] == schedules[1]
    assert twin.optimizer._steps == trainer.optimizer._steps  # type: ignore[attr-defined]
    averages = [one.optimizer._buffers for one in (trainer, twin)]  # type: ignore[attr-defined]
    assert averages[0].tobytes() == averages[1].tobytes()
    assert (repr(twin.model), twin.callbacks) == (repr(trainer.model), ())


def test_a_composed_schedule_comes_back(tmp_path: Path) -> None:
    schedule = optimizers.warm_up(0.2, optimizers.cosine_restarts(3, 2.0, 0.1), 0.05)
    trainer = eq.Trainer(chain(), schedule=schedule)
    twin = eq.load(eq.save(trainer, tmp_path / "t"))
    assert [twin.schedule(k / 30) for k in range(31)] == [schedule(k / 30) for k in range(31)]


def test_equal_trainers_give_equal_bytes(tmp_path: Path) -> None:
    paths = [eq.save(trainer_of(), tmp_path / name) for name in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_long_history_fits(tmp_path: Path) -> None:
    trainer = trainer_of()
    trainer.fit(DATA, epochs=1)
    trainer.history *= 20_000
    trainer.history[7] = dataclasses.replace(trainer.history[7], validation_error=0.25)
    assert eq.load(eq.save(trainer, tmp_path / "long")).history == trainer.history


class Lion:
    def step(self, parameters: Any, gradient: Any, blocks: Any, factor: float = 1.0) -> None: ...


class MySGD(eq.SGD):
    """A subclass, whose step may differ."""


class Hinge:
    bind = eq.SquaredError.bind


class Sub(eq.HopfieldNetwork):
    """A subclass of a network."""


def falling(progress: float) -> float:
    return 1 - progress


OWN: list[tuple[Callable[[], dict[str, Any]], str]] = [
    (lambda: {"optimizer": Lion()}, r"Received Lion as optimizer\. .*pickle\.dump"),
    (lambda: {"optimizer": MySGD()}, r"Received MySGD as optimizer\. .*pickle\.dump"),
    (lambda: {"cost": Hinge()}, r"Received Hinge as cost\. .*pickle\.dump"),
    (lambda: {"schedule": falling}, r"Received falling as schedule\. Use constant\(\), cosine\(\), another"),
    (lambda: {"schedule": lambda p: 1 - p}, r"Received .*<lambda> as schedule\. Use constant\(\)"),
]


@pytest.mark.parametrize(("settings", "message"), OWN)
def test_classes_of_the_user_are_refused_by_name_with_the_cure(
    settings: Callable[[], dict[str, Any]], message: str, tmp_path: Path
) -> None:
    trainer = eq.Trainer(chain(), **settings())
    with pytest.raises(TypeError, match=r"^\[save\] .*" + message):
        eq.save(trainer, tmp_path / "t")
    data = eq.Dataset(R.random((8, 4)), np.arange(8) % 3)
    with pytest.raises(TypeError, match=r"^\[Checkpoint\] .*" + message):
        trainer.fit(data, epochs=1, checkpoint=eq.Checkpoint(tmp_path / "t"))
    assert trainer.steps == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", [Valley, lambda: Sub([3, 4, 2])])
def test_models_of_the_user_are_refused_by_name_with_the_cure(
    model: Callable[[], Any], tmp_path: Path
) -> None:
    net = model()
    with pytest.raises(TypeError, match=rf"model of class {type(net).__name__}\. Use pickle\.dump"):
        eq.save(eq.Trainer(net), tmp_path / "t")


class MyTrainer(eq.Trainer):
    """A subclass, whose step may differ."""


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    for thing in (MyTrainer(chain()), eq.Adam(), None):
        with pytest.raises(TypeError, match=rf"^\[save\] .*Received {type(thing).__name__}\.$"):
            eq.save(thing, tmp_path / "t")  # type: ignore[arg-type]
    trainer = trainer_of()
    trainer.model.parameters[0] = np.nan
    with pytest.raises(ValueError, match="Parameters are finite"):
        eq.save(trainer, tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_the_cpp_library_and_the_core_name_the_format(tmp_path: Path) -> None:
    path = eq.save(trainer_of(), tmp_path / "t")
    with pytest.raises(ValueError, match=r"equiprop\.Trainer\.2"):
        _core.load(os.fsencode(path))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trainer = trainer_of("adam")
    trainer.fit(DATA, epochs=1, validation=0.2)
    return eq.save(trainer, tmp_path_factory.mktemp("saved") / "t")


def changed(saved: Path, path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Write the file with another state: a dictionary that `change` changes, or what it returns."""
    tensors, metadata = read_safetensors(saved)
    state = json.loads(tensors["state"].tobytes())
    state = change(state) or state
    tensors["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    write_safetensors(path, tensors, metadata)
    return path


CHANGES: list[Callable[[dict[str, Any]], Any]] = [
    lambda s: s.update(optimizer={"class": "system", "fields": {}}),
    lambda s: s.update(optimizer={"class": "Epoch", "fields": {}}),
    lambda s: s.update(optimizer=3),
    lambda s: s["optimizer"]["fields"].update(learning_rate=-1.0),
    lambda s: s["optimizer"]["fields"].update(unheard=1),
    lambda s: s["optimizer"]["fields"].update(_buffers={"array": "absent"}),
    lambda s: s.update(schedule={"function": "exec", "arguments": ["1"]}),
    lambda s: s.update(solver={"mapping": {}, "tuple": []}),
    lambda s: s.update(history=7),
    lambda s: s["history"].update(rows=2),
    lambda s: s.update(batch_size=0),
    lambda s: s.update(seed="x"),
    lambda s: s.update(unheard=1),
    lambda s: s.update(cost={"unheard": 1}),
    lambda s: [s],
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_state_is_refused_with_the_name_of_the_file(
    change: Callable[[dict[str, Any]], Any], saved: Path, tmp_path: Path
) -> None:
    path = changed(saved, tmp_path / "changed", change)
    with pytest.raises(ValueError, match=r"^\[load\] The file holds a complete Trainer\. Received .*changed"):
        eq.load(path)


def test_a_field_that_an_older_file_lacks_has_its_default(saved: Path, tmp_path: Path) -> None:
    path = changed(saved, tmp_path / "old", lambda s: s["optimizer"]["fields"].pop("epsilon") and None)
    assert eq.load(path).optimizer.epsilon == eq.Adam().epsilon


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=3))
def test_mutated_files_are_loaded_or_refused(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(saved.read_bytes())
    for position, value in changes:
        content[position % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(content)
    with contextlib.suppress(ValueError, MemoryError):
        assert type(eq.load(path)) in (eq.Trainer, eq.HopfieldNetwork)


def test_all_that_a_trainer_and_its_parts_keep_is_in_their_fields() -> None:
    """Fields are saved by themselves; an attribute that is no field would be lost."""
    trainer = trainer_of("adam")
    trainer.fit(DATA, epochs=1)
    #: What is made again from the fields.
    again = {"_core_step", "_core_options", "_core_sinks"}
    assert vars(trainer).keys() - again == {field.name for field in dataclasses.fields(trainer)}
    for part in (trainer.optimizer, trainer.second_phase, trainer.cost, trainer.solver):
        names = {field.name for field in dataclasses.fields(part)}  # type: ignore[arg-type]
        assert vars(part).keys() - {"core"} <= names
