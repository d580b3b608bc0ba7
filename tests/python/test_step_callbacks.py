"""Callbacks after steps see every step of `fit`, and may end it, as those after epochs."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import chain

pytestmark = pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")  # random labels

R = np.random.default_rng(0)
DATA = eq.Dataset(R.random((50, 4)), R.integers(0, 3, 50))
STEPS = 5  # of an epoch


def new(*callbacks: Any, **options: Any) -> eq.Trainer:
    return eq.Trainer(chain(), optimizer=eq.Adam(0.01), batch_size=10, step_callbacks=callbacks, **options)


class StopAfter:
    """Ends the training after a number of steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, trainer: eq.Trainer, _: Any) -> None:
        if trainer.steps == self.steps:
            trainer.stop()


def test_a_callback_sees_the_metrics_of_each_step_after_its_update() -> None:
    seen: list[Any] = []
    trainer = new(lambda t, metrics: seen.append((t.steps, metrics, t.model.parameters.copy())))
    (epoch, _) = trainer.fit(DATA, epochs=2)
    plain = new()
    plain.fit(DATA, epochs=2)
    assert [steps for steps, *_ in seen] == list(range(1, 2 * STEPS + 1))
    np.testing.assert_array_equal(seen[-1][2], plain.model.parameters)
    assert epoch.objective == pytest.approx(np.mean([metrics.objective for _, metrics, _ in seen[:STEPS]]))


@pytest.mark.parametrize("last", [1, 3, 5, 7, 10])
def test_a_training_that_is_stopped_has_the_parameters_after_that_step(last: int) -> None:
    after: list[np.ndarray] = []
    new(lambda t, _: after.append(t.model.parameters.copy())).fit(DATA, epochs=3)
    trainer = new(StopAfter(last))
    records = trainer.fit(DATA, epochs=3, validation=DATA)
    assert trainer.steps == last
    np.testing.assert_array_equal(trainer.model.parameters, after[last - 1])
    assert [record.epoch for record in records] == list(range(1, -(-last // STEPS) + 1))
    assert records[-1].validation_error == trainer.evaluate(DATA).error


def test_a_callback_after_an_epoch_may_stop_too_and_a_later_call_continues() -> None:
    trainer = new(callbacks=[lambda t, epoch: t.stop() if epoch.epoch == 2 else None])
    assert len(trainer.fit(DATA, epochs=9)) == 2
    assert len(trainer.fit(DATA, epochs=9)) == 2
    assert trainer.steps == 4 * STEPS


def test_early_stopping_keeps_the_best_epoch_of_a_training_that_is_stopped() -> None:
    kept: list[tuple[float, np.ndarray]] = []

    def keep(trainer: eq.Trainer, epoch: eq.Epoch) -> None:
        assert epoch.validation_error is not None
        kept.append((epoch.validation_error, trainer.model.parameters.copy()))

    trainer = new(StopAfter(18), callbacks=[keep])
    trainer.fit(DATA, epochs=30, validation=DATA, patience=30)
    np.testing.assert_array_equal(trainer.model.parameters, min(kept, key=lambda pair: pair[0])[1])


def test_stop_without_a_running_fit_has_no_effect() -> None:
    trainer = new()
    trainer.stop()
    assert len(trainer.fit(DATA, epochs=2)) == 2
    trainer.stop()
    assert len(trainer.fit(DATA, epochs=2)) == 2


def test_another_thread_may_stop_the_training() -> None:
    trainer = new(lambda t, _: threading.Thread(target=t.stop).start())
    assert len(trainer.fit(DATA, epochs=10_000)) < 10_000


def test_copies_that_a_callback_makes_are_not_stopped() -> None:
    copies: list[eq.Trainer] = []

    def stop(trainer: eq.Trainer, _: Any) -> None:
        trainer.stop()
        copies.append(copy.deepcopy(trainer))
        trainer.step_callbacks = ()
        copies.append(pickle.loads(pickle.dumps(trainer)))

    new(stop).fit(DATA, epochs=3)
    for one in copies:
        one.step_callbacks, one.unfinished = (), None
        assert len(one.fit(DATA, epochs=2)) == 2


def test_a_resumed_training_calls_the_callbacks_of_the_remaining_steps(tmp_path: Path) -> None:
    class Crash(Exception):
        pass

    def crash(trainer: eq.Trainer, _: Any) -> None:
        if trainer.steps == 8:
            raise Crash

    whole, part = new(), new(crash)
    whole.fit(DATA, epochs=3)
    with pytest.raises(Crash):
        part.fit(DATA, epochs=3, checkpoint=eq.Checkpoint(tmp_path / "c", steps=1))
    rest, seen = eq.Trainer.resume(tmp_path / "c"), []
    assert rest.step_callbacks == ()
    rest.step_callbacks = [lambda t, _: seen.append(t.steps)]
    rest.fit(DATA, epochs=3)
    assert seen == list(range(8, 3 * STEPS + 1))
    np.testing.assert_array_equal(rest.model.parameters, whole.model.parameters)


@pytest.mark.parametrize("bad", [print, [3], None])
def test_what_is_no_list_of_functions_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^\[Trainer\] step_callbacks is a list of functions\. Received"):
        eq.Trainer(chain(), step_callbacks=bad)
