"""Kept free states: changes of the setting, refusals, copies and files."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import _core, checks
from equiprop.kept_states import KeptStates
from equiprop.safetensors import read_safetensors, write_safetensors
from free_starts import DATA, TIGHT, bits, from_rest, new, pair
from networks import chain

pytestmark = pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")  # tiny networks


def test_a_callback_may_change_the_start() -> None:
    def change(trainer: eq.Trainer, epoch: eq.Epoch) -> None:
        trainer.free_start = "last" if epoch.epoch == 1 else "rest"

    trainer, rest, last = new(free_start="rest", callbacks=[change]), new(free_start="rest"), new()
    trainer.fit(DATA, epochs=4)  # the second epoch keeps states, and the third one discards them
    assert trainer._kept.states is None
    rest.fit(DATA, epochs=4)
    assert bits(trainer) == bits(rest)
    last.fit(DATA, epochs=1)
    last.free_start = "rest"
    last.fit(DATA, epochs=3)
    assert bits(last) == bits(rest)
    begun = new(free_start="rest", callbacks=[lambda t, _: setattr(t, "free_start", "last")])
    begun.fit(DATA, epochs=2)
    twin = from_rest(begun)
    for one in (begun, twin):
        one.fit(DATA, epochs=1)
    assert begun.history[2].free_iterations < twin.history[2].free_iterations


# Refusals.


@pytest.mark.parametrize("wrong", ["first", "LAST", None, True, ["last"]])
def test_a_start_that_does_not_exist_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^\[Trainer\] free_start is 'rest' or 'last'\. Received "):
        new(free_start=wrong)


def test_batches_are_refused_and_a_data_set_of_them_is_not() -> None:
    batches = [DATA.batch(np.arange(9), "float64")]
    trainer = new()
    with pytest.raises(
        TypeError, match=r"^\[Trainer\.fit\] Data with free_start='last' are a Dataset, or"
    ) as e:
        trainer.fit(batches, epochs=2)
    assert trainer.steps == 0
    assert "numbers. Received [(array(" in str(e.value)
    trainer.fit(*batches[0], epochs=2)
    new(free_start="rest").fit(batches, epochs=2)


def test_more_states_than_half_of_the_memory_are_refused_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = 50 * 9 * 8
    trainer = new()
    monkeypatch.setattr(checks, "physical_memory", lambda: 2 * size - 2)
    message = (
        r"^\[Trainer\.fit\] cannot allocate 3\.6e-06 GB for the free states of 50 samples with 9 units in "
        r"float64: this machine has 7\.2e-06 GB, of which 50% may be used\. "
        r"Use free_start='rest', or fewer samples or units\.$"
    )
    with pytest.raises(MemoryError, match=message):
        trainer.fit(DATA, epochs=1)
    assert trainer.steps == 0
    new(free_start="rest").fit(DATA, epochs=1)
    trainer.fit(DATA[:49], epochs=1)
    new(chain(4, 5, 3)).fit(DATA, epochs=1)
    monkeypatch.setattr(checks, "physical_memory", lambda: 2 * size)
    trainer.fit(DATA, epochs=1)


def test_an_allocation_that_fails_is_refused_with_the_same_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise MemoryError

    model = chain()
    monkeypatch.setattr("equiprop.kept_states.np.zeros", refuse)
    with pytest.raises(
        MemoryError, match=r"not enough memory is free\. Use free_start='rest', or fewer samples"
    ):
        KeptStates().prepare("last", DATA, model)


def test_the_core_refuses_starts_of_another_shape() -> None:
    net = chain()
    step, options = net.core.TrainingStep(net, net.core_network), eq.EquilibriumPropagation()
    x, y = DATA.batch(np.arange(5), "float64")

    def take(start: Any) -> Any:
        phases = options.options(net, TIGHT, 0)
        return step.take(x, y, _core.CostKind(0.0), TIGHT.core, phases, None, np.nan, None, start)

    with pytest.raises(ValueError, match="The free states are those of a step that has ended"):
        _ = step.free_state
    for shape, message in [((4, 9), "one start state"), ((5, 8), "shape"), ((45,), "shape")]:
        with pytest.raises(ValueError, match=message):
            take(np.zeros(shape))
        with pytest.raises(ValueError, match="a step that has ended"):
            _ = step.free_state
    assert take(np.zeros((5, 9))) is not None
    expected = eq.free_phase(net, x, solver=TIGHT).state
    np.testing.assert_allclose(step.free_state, expected, rtol=0, atol=1e-9)


# Copies and files.


@pytest.mark.parametrize("way", ["pickle", "copy", "file"])
def test_a_copy_continues_with_equal_bits(way: str, tmp_path: Path) -> None:
    trainer = new()
    trainer.fit(DATA, epochs=2)
    twin = {
        "pickle": lambda: pickle.loads(pickle.dumps(trainer)),
        "copy": lambda: copy.deepcopy(trainer),
        "file": lambda: eq.load(eq.save(trainer, tmp_path / "t")),
    }[way]()
    assert twin.free_start == "last"
    twin.fit(DATA, epochs=2)
    assert twin._kept.states.tobytes() != trainer._kept.states.tobytes()  # they share no memory
    trainer.fit(DATA, epochs=2)
    assert bits(twin) == bits(trainer)
    assert twin._kept.states.tobytes() == trainer._kept.states.tobytes()


def test_the_states_take_their_size_in_a_file_and_nothing_at_rest(tmp_path: Path) -> None:
    sizes = {}
    for trainer in pair(model=None):
        trainer.fit(DATA, epochs=1)
        sizes[trainer.free_start] = eq.save(trainer, tmp_path / trainer.free_start).stat().st_size
    states = 50 * 9 * 8 + 50
    assert states <= sizes["last"] - sizes["rest"] < states + 500


def test_a_file_with_states_of_some_samples_starts_all_at_rest(tmp_path: Path) -> None:
    trainer = new()
    trainer.fit(DATA, epochs=1)
    tensors, metadata = read_safetensors(eq.save(trainer, tmp_path / "t"))
    for name in ("_kept.states", "_kept.known"):
        tensors[name] = tensors[name][:49]
    write_safetensors(tmp_path / "t", tensors, metadata)
    damaged, twin = eq.load(tmp_path / "t"), from_rest(trainer)
    for one in (damaged, twin):
        one.fit(DATA, epochs=1)
    assert bits(damaged) == bits(twin)


def wrong_states(tensors: dict[str, Any]) -> None:
    tensors["_kept.states"] = tensors["_kept.states"][:, :8]


def wrong_type(tensors: dict[str, Any]) -> None:
    tensors["_kept.states"] = tensors["_kept.states"].astype(np.float32)


def wrong_number(tensors: dict[str, Any]) -> None:
    tensors["_kept.states"][3, 4] = np.nan


def wrong_flags(tensors: dict[str, Any]) -> None:
    tensors["_kept.known"] = tensors["_kept.known"][:49]


def wrong_flag_type(tensors: dict[str, Any]) -> None:
    tensors["_kept.known"] = tensors["_kept.known"].astype(np.float64)


@pytest.mark.parametrize("damage", [wrong_states, wrong_type, wrong_number, wrong_flags, wrong_flag_type])
def test_damaged_states_of_a_file_are_refused(damage: Any, tmp_path: Path) -> None:
    trainer = new()
    trainer.fit(DATA, epochs=1)
    tensors, metadata = read_safetensors(eq.save(trainer, tmp_path / "t"))
    damage(tensors)
    write_safetensors(tmp_path / "t", tensors, metadata)
    with pytest.raises(ValueError, match=r"^\[load\] .*The free states fit the network"):
        eq.load(tmp_path / "t")
