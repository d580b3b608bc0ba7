"""A Trainer on inputs that its network converts, with changed settings, and with callbacks that interfere."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.estimator import EquilibriumClassifier, EquilibriumRegressor
from equiprop.optimizers import cosine

X = np.array([[0.0, 1.0], [1.0, 0.0]] * 20)
Y = np.array([0, 1] * 20)
DATA = eq.Dataset(X, Y)


class Quarters(eq.HopfieldNetwork):
    """A network whose inputs are given in quarters."""

    def as_input(self, x: Any, where: str) -> Any:
        return super().as_input(x, where) / self.dtype.type(4)


def test_predictions_convert_the_inputs_of_a_network_once() -> None:
    trainer = eq.Trainer(Quarters([2, 8, 2], seed=1), batch_size=10)
    trainer.fit(4 * X, Y, epochs=5)
    expected = eq.free_phase(trainer.model, 4 * X, solver=trainer.solver).outputs
    for given in (4 * X, eq.Dataset(4 * X, Y)):
        np.testing.assert_array_equal(trainer.predict(given), expected)
    assert trainer.predict_classes(4 * X).tolist() == Y.tolist()


def test_start_values_fit_the_inputs_that_a_network_converts() -> None:
    quarters, plain = (eq.Trainer(kind([2, 8, 2], seed=1)) for kind in (Quarters, eq.HopfieldNetwork))
    quarters.prepare(4 * X, Y)
    plain.prepare(X, Y)
    np.testing.assert_allclose(quarters.model.parameters, plain.model.parameters, rtol=1e-5)


REFUSED = r"\[(SGD|Adam)\.step\] An optimizer updates one parameter vector; create a new optimizer"


def new(**options: Any) -> eq.Trainer:
    return eq.Trainer(eq.HopfieldNetwork([2, 8, 2], seed=1), **{"batch_size": 10, **options})


@pytest.mark.parametrize(
    "optimizer", [eq.Adam("auto"), eq.Adam(0.01), eq.SGD(0.1), eq.SGD(0.1, momentum=0.5)]
)
def test_an_optimizer_refuses_the_parameters_of_another_network(optimizer: Any) -> None:
    first, second = new(optimizer=optimizer), new(optimizer=optimizer)
    first.fit(DATA, epochs=1)
    with pytest.raises(ValueError, match=REFUSED):
        second.fit(DATA, epochs=1)
    first.fit(DATA, epochs=1)
    with pytest.raises(ValueError, match=REFUSED):
        optimizer.step(np.zeros(42, np.float32), np.zeros(42, np.float32), {"all": slice(0, 42)})


def test_an_optimizer_that_has_taken_no_step_fits_any_network() -> None:
    optimizer = eq.Adam(0.01)
    diverging = eq.Trainer(eq.HopfieldNetwork([2, 4, 2], activation="relu"), optimizer=optimizer)
    diverging.model.parameters[:] = 1e30
    with pytest.raises(eq.ConvergenceError, match="parameters were not changed"):
        diverging.step(X, Y)
    trainer, plain = new(optimizer=optimizer), new(optimizer=eq.Adam(0.01))
    for each in (trainer, plain):
        each.fit(DATA, epochs=1)
    np.testing.assert_array_equal(trainer.model.parameters, plain.model.parameters)


def larger(**options: Any) -> eq.Trainer:
    return eq.Trainer(eq.HopfieldNetwork([2, 32, 2], seed=2), **{"batch_size": 10, **options})


@pytest.mark.parametrize(
    "copied", [lambda o: o, copy.deepcopy, copy.copy, lambda o: pickle.loads(pickle.dumps(o))]
)
def test_automatic_rates_are_those_of_the_network_that_is_trained(copied: Any) -> None:
    optimizer = eq.Adam("auto")
    first = new(optimizer=optimizer)
    first.prepare(DATA)
    second, plain = larger(optimizer=copied(optimizer)), larger()
    for trainer in (second, plain):
        trainer.fit(DATA, epochs=2)
    np.testing.assert_array_equal(second.model.parameters, plain.model.parameters)
    assert second.optimizer == plain.optimizer
    if second.optimizer is optimizer:
        with pytest.raises(ValueError, match=REFUSED):
            first.fit(DATA, epochs=1)


def test_an_optimizer_with_automatic_rates_of_another_network_is_refused_before_its_first_step() -> None:
    optimizer = eq.Adam("auto")
    first, second = new(optimizer=optimizer), new(optimizer=optimizer)  # equal blocks, other rates
    first.prepare(DATA)
    second.prepare(eq.Dataset(X / 9, Y))
    before = first.model.parameters.copy()
    with pytest.raises(ValueError, match=REFUSED):
        first.fit(DATA, epochs=1)
    np.testing.assert_array_equal(first.model.parameters, before)
    second.fit(DATA, epochs=1)


def test_rates_that_replace_automatic_ones_are_kept() -> None:
    optimizer = eq.Adam("auto")
    new(optimizer=optimizer).prepare(DATA)
    optimizer.learning_rate = 0.01
    trainer, plain = larger(optimizer=optimizer), larger(optimizer=eq.Adam(0.01))
    for each in (trainer, plain):
        each.fit(DATA, epochs=1)
    assert optimizer.learning_rate == 0.01
    np.testing.assert_array_equal(trainer.model.parameters, plain.model.parameters)


def saved(trainer: eq.Trainer, folder: Path) -> eq.Trainer:
    loaded: eq.Trainer = eq.load(eq.save(trainer, folder / "trainer.safetensors"))
    return loaded


@pytest.mark.parametrize(
    "copied",
    [lambda t, _: pickle.loads(pickle.dumps(t)), lambda t, _: copy.deepcopy(t), saved],
    ids=["pickle", "deepcopy", "save"],
)
def test_a_copied_trainer_continues_with_the_optimizer(copied: Any, tmp_path: Path) -> None:
    trainer = new()
    trainer.fit(DATA, epochs=1)
    other = copied(trainer, tmp_path)
    for each in (trainer, other):
        each.fit(DATA, epochs=2)
    np.testing.assert_array_equal(other.model.parameters, trainer.model.parameters)
    trainer.optimizer, mine = other.optimizer, trainer.optimizer
    with pytest.raises(ValueError, match=REFUSED):
        trainer.fit(DATA, epochs=1)
    trainer.optimizer = mine
    trainer.fit(DATA, epochs=1)


class NewView(eq.HopfieldNetwork):
    """A network whose property returns a new array of its memory each time."""

    @property
    def parameters(self) -> Any:
        return super().parameters[:]


def test_a_new_view_of_the_parameters_is_the_same_vector() -> None:
    trainer, plain = eq.Trainer(NewView([2, 8, 2], seed=1), batch_size=10), new()
    for each in (trainer, plain):
        each.fit(DATA, epochs=2)
    np.testing.assert_array_equal(trainer.model.parameters, plain.model.parameters)


@pytest.mark.parametrize("step", [1, 2])
def test_views_of_an_array_are_the_same_vector_if_they_show_the_same_numbers(step: int) -> None:
    memory, gradient, blocks = np.zeros(8), np.ones(8 // step), {"all": slice(0, 8 // step)}
    optimizer = eq.SGD(0.1)
    for _ in range(3):
        optimizer.step(memory[::step], gradient, blocks)
    np.testing.assert_allclose(memory[::step], -0.3)
    with pytest.raises(ValueError, match=REFUSED):
        optimizer.step(memory[::step].copy(), gradient, blocks)
    with pytest.raises(ValueError, match=REFUSED):
        optimizer.step(memory[::-step], gradient, blocks)


WRONG = {
    "batch_size": [0, -1, 2.5, "3", None],
    "seed": [-1, 2**64, 0.5],
    "solver": ["euler", eq.Euler],
    "coupling_norm": [0.0, -1.0, "1"],
    "clip": [0.0, "3"],
    "cost": [eq.SquaredError, "squared"],
    "optimizer": [eq.Adam],
    "second_phase": [eq.RecurrentBackpropagation],
    "schedule": [0.5],
    "callbacks": [3],
    "step_callbacks": [3],
    "averaging": [1.5, "a"],
    "free_start": ["first", None],
}
CASES = [(name, value) for name, values in WRONG.items() for value in values]
#: Settings that a step does not use.
OF_FIT = {"batch_size", "seed", "callbacks", "step_callbacks", "free_start"}


def refusal(call: Any) -> str:
    with pytest.raises((TypeError, ValueError), match=r"^\[Trainer\] ") as info:
        call()
    return f"{info.type.__name__}: {info.value}"


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_setting_that_is_changed_is_checked_as_by_the_constructor(name: str, value: Any) -> None:
    expected = refusal(lambda: new(**{name: value}))
    for started in (False, True):
        trainer = new()
        if started:
            trainer.fit(DATA, epochs=1)
        before = trainer.model.parameters.copy()
        setattr(trainer, name, value)
        assert refusal(lambda t=trainer: t.fit(DATA, epochs=1)) == expected
        if name not in OF_FIT:
            assert refusal(lambda t=trainer: t.step(X, Y)) == expected
        np.testing.assert_array_equal(trainer.model.parameters, before)


def test_a_callback_that_sets_a_wrong_batch_size_is_told() -> None:
    trainer = new(callbacks=[lambda t, _: setattr(t, "batch_size", 0)])
    with pytest.raises(ValueError, match=r"^\[Trainer\] batch_size is at least 1\. Received 0\."):
        trainer.fit(DATA, epochs=2)


def test_settings_that_are_changed_act_as_those_of_the_constructor() -> None:
    settings: dict[str, Any] = {
        "coupling_norm": 0.1,
        "solver": eq.FixedPointIteration(tolerance=1e-5),
        "cost": eq.CrossEntropy(),
        "batch_size": 5,
        "seed": 3,
    }
    made, changed = new(**settings), new()
    for name, value in settings.items():
        setattr(changed, name, value)
    changed.second_phase = eq.EquilibriumPropagation()
    for trainer in (made, changed):
        trainer.fit(DATA, epochs=2)
    np.testing.assert_array_equal(changed.model.parameters, made.model.parameters)
    assert changed.cost == made.cost
    changed.solver = None
    changed.fit(DATA, epochs=1)
    assert isinstance(changed.solver, eq.BlockUpdate)


def test_a_path_as_checkpoint_is_refused_with_the_cure(tmp_path: Path) -> None:
    rule = r"^\[Trainer\.fit\] checkpoint is a Checkpoint\(path\)\. Received 'x\.st'\.$"
    with pytest.raises(TypeError, match=rule):
        new().fit(DATA, epochs=1, checkpoint="x.st")  # type: ignore[arg-type]


@pytest.mark.parametrize("kept", [False, True])
def test_fit_during_fit_is_refused(kept: bool, tmp_path: Path) -> None:
    def callback(trainer: eq.Trainer, _: eq.Epoch) -> None:
        copied = copy.deepcopy(trainer)
        copied.callbacks, copied.unfinished = (), None
        assert len(copied.fit(DATA, epochs=1)) == 1
        with pytest.raises(RuntimeError, match=r"^\[Trainer\.fit\] fit is called during fit"):
            trainer.fit(DATA, epochs=1)

    trainer, plain = new(callbacks=[callback]), new()
    for each in (trainer, plain):
        checkpoint = eq.Checkpoint(tmp_path / "run.safetensors") if kept else None
        assert len(each.fit(DATA, epochs=2, checkpoint=checkpoint)) == 2
    np.testing.assert_array_equal(trainer.model.parameters, plain.model.parameters)
    trainer.callbacks = ()
    assert len(trainer.fit(DATA, epochs=1)) == 1


@pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")  # labels without a rule
def test_fit_returns_its_records_if_a_callback_clears_the_history() -> None:
    trainer = new(batch_size=1, callbacks=[lambda t, _: t.history.clear()])
    labels = np.random.default_rng(0).permutation(Y)
    assert [epoch.epoch for epoch in trainer.fit(X, labels, epochs=2)] == [1, 2]
    assert trainer.history == []


@pytest.mark.parametrize("patience", [None, 5])
def test_a_callback_that_sets_another_model_is_refused(patience: int | None) -> None:
    def callback(trainer: eq.Trainer, _: eq.Epoch) -> None:
        trainer.model, trainer.optimizer = eq.HopfieldNetwork([2, 4, 2]), eq.Adam("auto")

    trainer = new(callbacks=[callback])
    with pytest.raises(ValueError, match=r"^\[Trainer\.fit\] All epochs of a call train one model\."):
        trainer.fit(DATA, epochs=2, validation=DATA, patience=patience)


def test_another_model_starts_as_in_a_new_trainer() -> None:
    trainer = new()
    trainer.fit(DATA, epochs=1)
    trainer.model, trainer.optimizer = eq.HopfieldNetwork([2, 4, 2], seed=1), eq.Adam("auto")
    trainer.prepare(DATA)
    other = eq.Trainer(eq.HopfieldNetwork([2, 4, 2], seed=1))
    other.prepare(DATA)
    np.testing.assert_array_equal(trainer.model.parameters, other.model.parameters)
    assert trainer.optimizer == other.optimizer


@pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")
def test_the_divergence_of_another_model_is_said() -> None:
    trainer = new()
    trainer.fit(DATA, epochs=1)
    trainer.model, trainer.optimizer = eq.HopfieldNetwork([2, 4, 2], seed=1), eq.SGD(1e30)
    with pytest.raises(eq.ConvergenceError, match=r"The model has its parameters after step \d+ again\."):
        trainer.fit(DATA, epochs=3)
    assert np.isfinite(trainer.model.parameters).all()


RANDOM = np.random.default_rng(0).standard_normal((60, 3))


@pytest.mark.parametrize("size", [2.0**83, 2.0**664, 2.0**1000, 2.0**-900])
def test_standardisation_undoes_the_unit_of_huge_and_tiny_numbers(size: float) -> None:
    y = RANDOM[:, :1] + RANDOM[:, 1:2]
    plain, large = (EquilibriumRegressor(max_iter=2, random_state=0) for _ in range(2))
    expected = plain.fit(RANDOM, y).predict(RANDOM)
    np.testing.assert_array_equal(large.fit(size * RANDOM, size * y).predict(size * RANDOM), size * expected)


@pytest.mark.parametrize("size", [1e39, 1e200, 1e300])
def test_an_estimator_names_numbers_that_are_too_large(size: float) -> None:
    labels, targets = (RANDOM[:, 0] > 0) * 1, RANDOM[:, :1]
    raw = {"standardize": False, "max_iter": 1}
    rule = r"holds numbers that float32 can hold after the standardisation, at most 3\.4e38\. Received"
    classifier = EquilibriumClassifier(**raw)
    regressor = EquilibriumRegressor(**raw)
    with pytest.raises(ValueError, match=rf"^\[EquilibriumClassifier\] X {rule} numbers up to \d"):
        classifier.fit(size * RANDOM, labels)
    with pytest.raises(ValueError, match=rf"^\[EquilibriumRegressor\] y {rule} numbers up to \d"):
        regressor.fit(RANDOM, size * targets)
    with pytest.raises(ValueError, match=rf"^\[EquilibriumClassifier\] X {rule} numbers up to \d"):
        classifier.fit(RANDOM, labels).predict(size * RANDOM)


@pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")  # inputs that are not scaled
@pytest.mark.parametrize("size", [1e39, 1e200])
def test_a_trainer_names_inputs_and_targets_beyond_float32(size: float) -> None:
    cure = r"\. In float32 a number beyond 3\.4e38 is infinite: divide the numbers by their size\.$"
    x, y = np.abs(RANDOM) + 1, np.abs(RANDOM[:, :1]) + 1
    with pytest.raises(
        ValueError, match=r"^\[Trainer\.fit\] `x` .* Received inf at sample 0, feature 0" + cure
    ):
        eq.Trainer(eq.HopfieldNetwork([3, 4, 1])).fit(size * x, y, epochs=1)
    with pytest.raises(
        ValueError, match=r"^\[Trainer\.step\] `y` .* Received inf at sample 0, output 0" + cure
    ):
        eq.Trainer(eq.HopfieldNetwork([3, 4, 1])).fit(x, size * y, epochs=1)


def interrupted(folder: Path) -> eq.Trainer:
    """Return the trainer of a checkpoint after 6 of 8 steps."""
    path = folder / "run.safetensors"
    new().fit(DATA, epochs=2, checkpoint=eq.Checkpoint(path, steps=3))
    return eq.Trainer.resume(path)


def fresh_optimizer(trainer: eq.Trainer) -> None:
    trainer.optimizer = eq.Adam(trainer.optimizer.learning_rate)  # type: ignore[attr-defined]


CHANGES: dict[str, Any] = {
    "optimizer": fresh_optimizer,
    r"optimizer SGD\(": lambda t: setattr(t, "optimizer", eq.SGD(0.1)),
    "optimizer Adam": lambda t: setattr(t.optimizer, "beta1", 0.5),
    "cost CrossEntropy": lambda t: setattr(t, "cost", eq.CrossEntropy(logit_scale=1.0)),
    "second_phase Recurrent": lambda t: setattr(t, "second_phase", eq.RecurrentBackpropagation()),
    "solver Euler": lambda t: setattr(t, "solver", eq.Euler()),
    "schedule .*cosine": lambda t: setattr(t, "schedule", cosine()),
    r"clip 2\.0 instead of 3\.0": lambda t: setattr(t, "clip", 2.0),
    r"coupling_norm 0\.5 instead of None": lambda t: setattr(t, "coupling_norm", 0.5),
    "free_start 'last' instead of 'rest'": lambda t: setattr(t, "free_start", "last"),
    "steps 7 instead of 6": lambda t: t.step(X[:10], Y[:10]),
    "other parameters": lambda t: t.model.parameters.fill(0),
    "epochs so far 0 instead of 1": lambda t: t.history.clear(),
}


@pytest.mark.parametrize("text", CHANGES)
def test_a_resumed_trainer_that_was_changed_is_refused(text: str, tmp_path: Path) -> None:
    trainer = interrupted(tmp_path)
    CHANGES[text](trainer)
    with pytest.raises(ValueError, match=rf"^\[Trainer\.fit\] A resumed training continues with .*{text}"):
        trainer.fit(DATA, epochs=2)


def test_a_resumed_trainer_with_equal_settings_continues(tmp_path: Path) -> None:
    trainer, whole = interrupted(tmp_path), new()
    trainer.optimizer = copy.deepcopy(trainer.optimizer)
    trainer.second_phase, trainer.clip = copy.deepcopy(trainer.second_phase), 3.0
    trainer.callbacks = [lambda t, _: copy.deepcopy(t)]
    for each in (trainer, whole):
        each.fit(DATA, epochs=2)
    np.testing.assert_array_equal(trainer.model.parameters, whole.model.parameters)
