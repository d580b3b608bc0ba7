"""Calls that overlap on one model are refused every time, whatever the timing; others are not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.overlap import reading, updating
from networks import chain

X = np.linspace(0.1, 0.9, 12).reshape(4, 3)
Y = np.array([0, 1, 1, 0])
DATA = eq.Dataset(X, Y)
TRAINED = r"Received a model that another thread trains"
SECONDS = 60


def net() -> eq.HopfieldNetwork:
    return chain(3, 4, 2)


@contextmanager
def elsewhere(enter: Callable[[threading.Event, threading.Event], None]) -> Iterator[None]:
    """Run a function in another thread from its first event, which it sets, to the end of the block."""
    inside, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=enter, args=(inside, done))
    thread.start()
    try:
        assert inside.wait(SECONDS)
        yield
    finally:
        done.set()
        thread.join(SECONDS)


def fit_elsewhere(trainer: eq.Trainer, kind: str = "step_callbacks") -> Any:
    """Hold a `fit` of another thread in a callback."""

    def fit(inside: threading.Event, done: threading.Event) -> None:
        def hold(*_: Any) -> None:
            inside.set()
            assert done.wait(SECONDS)

        setattr(trainer, kind, [hold])
        trainer.fit(DATA, epochs=1)

    return elsewhere(fit)


def step_elsewhere(model: eq.HopfieldNetwork) -> None:
    """Take a step in another thread, which must succeed."""

    def step(inside: threading.Event, _: threading.Event) -> None:
        eq.Trainer(model).step(X, Y)
        inside.set()

    with elsewhere(step):
        pass


class Waiting(eq.Energy):
    """E = |s - x|^2 / 2, whose first evaluation waits inside of a phase."""

    def __init__(self) -> None:
        super().__init__(3, 2, np.ones(1), 3)
        self.wait: Callable[[], None] = lambda: None

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return self.parameters * ((s - x) ** 2).sum(axis=1) / 2

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        self.wait()
        return self.parameters * (s - x)

    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return ((s - x) ** 2).sum() / 2 + np.zeros(1)


def phase_elsewhere(model: Waiting) -> Any:
    """Hold a free phase of another thread inside of it."""

    def relax(inside: threading.Event, done: threading.Event) -> None:
        def wait() -> None:
            if threading.current_thread() is threading.main_thread():
                return
            inside.set()
            assert done.wait(SECONDS)

        model.wait = wait
        eq.free_phase(model, X)

    return elsewhere(relax)


CALLS: dict[str, Callable[[eq.HopfieldNetwork, eq.FixedPoint, Path], Any]] = {
    "free_phase": lambda model, _, __: eq.free_phase(model, X),
    "equilibrium_propagation": lambda model, free, _: eq.equilibrium_propagation(model, free, Y),
    "recurrent_backpropagation": lambda model, free, _: eq.recurrent_backpropagation(model, free, Y),
    "Trainer.fit": lambda model, _, __: eq.Trainer(model).fit(DATA, epochs=1),
    "Trainer.step": lambda model, _, __: eq.Trainer(model).step(X, Y),
    "Trainer.prepare": lambda model, _, __: eq.Trainer(model).prepare(DATA),
    "Trainer.evaluate": lambda model, _, __: eq.Trainer(model).evaluate(DATA),
    "Trainer.predict": lambda model, _, __: eq.Trainer(model).predict(X),
    "HopfieldNetwork.initialize": lambda model, _, __: model.initialize(0),
    "save": lambda model, _, folder: eq.save(model, folder / "model.safetensors"),
    "verify.limit": lambda model, _, __: eq.verify.limit(model, X, Y),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_model_that_another_thread_trains_is_refused(name: str, tmp_path: Path) -> None:
    model = net()
    free = eq.free_phase(model, X)
    with fit_elsewhere(eq.Trainer(model)), pytest.raises(eq.OverlapError, match=TRAINED):
        CALLS[name](model, free, tmp_path)
    assert list(tmp_path.iterdir()) == []
    CALLS[name](model, eq.free_phase(model, X), tmp_path)  # afterwards the model is free


@pytest.mark.parametrize("kind", ["callbacks", "step_callbacks"])
def test_one_trainer_is_used_by_one_thread(kind: str) -> None:
    trainer = eq.Trainer(net())
    with fit_elsewhere(trainer, kind):
        for call in (lambda: trainer.fit(DATA, epochs=1), lambda: trainer.step(X, Y)):
            with pytest.raises(eq.OverlapError, match=TRAINED):
                call()


@pytest.mark.parametrize("name", ["Trainer.fit", "Trainer.step", "Trainer.prepare"])
def test_a_callback_cannot_train_the_model_with_another_trainer(name: str, tmp_path: Path) -> None:
    model = net()
    free = eq.free_phase(model, X)
    refused = []

    def callback(*_: Any) -> None:
        before = model.parameters.copy()
        with pytest.raises(eq.OverlapError, match=rf"^\[{name}\] .* that another trainer is training"):
            CALLS[name](model, free, tmp_path)
        assert (model.parameters == before).all()
        refused.append(name)

    eq.Trainer(model, callbacks=[callback], step_callbacks=[callback]).fit(DATA, epochs=1)
    assert len(refused) == 2


def test_a_callback_may_use_the_model_and_save_it(tmp_path: Path) -> None:
    model = net()
    trainer = eq.Trainer(model)

    def callback(*_: Any) -> None:
        eq.equilibrium_propagation(model, eq.free_phase(model, X), Y)
        trainer.evaluate(DATA)
        eq.save(trainer, tmp_path / "trainer.safetensors")

    trainer.callbacks = trainer.step_callbacks = [callback]
    trainer.fit(DATA, epochs=1)


@pytest.mark.parametrize("call", ["fit", "step", "prepare"])
def test_no_update_during_a_phase_of_another_thread(call: str) -> None:
    model = Waiting()
    trainer = eq.Trainer(model)
    calls = {
        "fit": lambda: trainer.fit(DATA, epochs=1),
        "step": lambda: trainer.step(X, TARGETS),
        "prepare": lambda: trainer.prepare(DATA),
    }
    with phase_elsewhere(model):
        with pytest.raises(eq.OverlapError, match=rf"^\[Trainer\.{call}\] .* a phase that is running"):
            calls[call]()
        assert eq.free_phase(model, X).converged  # phases may overlap
    calls[call]()


TARGETS = np.eye(2)[Y]


def test_no_update_from_inside_a_phase() -> None:
    model = Waiting()
    trainer = eq.Trainer(model)
    model.wait = lambda: trainer.step(X, TARGETS) and None
    with pytest.raises(eq.OverlapError, match="a phase that is running"):
        eq.free_phase(model, X)


def test_two_networks_of_one_core_network_are_one_model() -> None:
    model = net()
    twin = eq.HopfieldNetwork.from_core(model.core_network)
    with fit_elsewhere(eq.Trainer(model)), pytest.raises(eq.OverlapError, match=TRAINED):
        eq.free_phase(twin, X)


def test_a_copy_is_another_model() -> None:
    model = net()
    with fit_elsewhere(eq.Trainer(model)):
        eq.Trainer(net().astype("float32")).fit(DATA, epochs=1)


def test_an_error_ends_the_use_of_the_model() -> None:
    model = net()
    with pytest.raises(ValueError, match="one row for each sample"):
        eq.Trainer(model).fit(X, Y[:2], epochs=1)
    step_elsewhere(model)
    eq.Trainer(model).fit(DATA, epochs=1)


def test_eight_threads_relax_one_network() -> None:
    model, barrier, found = net(), threading.Barrier(8), []

    def relax() -> None:
        barrier.wait(SECONDS)
        found.extend(eq.free_phase(model, X).state for _ in range(20))

    threads = [threading.Thread(target=relax) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(found) == 160
    assert all((state == found[0]).all() for state in found)


def test_an_interrupted_claim_ends_with_its_object() -> None:
    model = net()
    claim: Any = updating(model, "test")
    claim.__enter__()
    del claim  # as after an interrupt between the entry and the block
    step_elsewhere(model)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_forgets_the_calls_of_other_threads() -> None:
    model = net()
    with fit_elsewhere(eq.Trainer(model)):
        child = os.fork()
        if child == 0:
            with reading(model, "child"), pytest.raises(eq.OverlapError), updating(model, "child"):
                pass
            with updating(model, "child"):
                os._exit(17)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
