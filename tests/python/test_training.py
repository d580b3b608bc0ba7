"""Training: it learns, it can be repeated bit for bit, and it can be observed, stopped and interrupted."""

from __future__ import annotations

import builtins
import dataclasses
import io
import sys
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Dataset, EquilibriumPropagation, RecurrentBackpropagation, Trainer, progress
from equiprop.history import Evaluation
from equiprop.optimizers import cosine
from equiprop.solvers import training_solver
from networks import Oracle, Valley, blobs, chain

PHASES = [EquilibriumPropagation(), EquilibriumPropagation(eq.exact_limit()), RecurrentBackpropagation()]
XOR = Dataset(np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]] * 5), np.array([0, 1, 1, 0] * 5))


def small(seed: int = 0, dtype: str = "float32") -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork([4, 8, 3], seed=seed, dtype=dtype)


@pytest.mark.parametrize("phase", PHASES, ids=["centered", "exact", "rbp"])
@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy()])
@pytest.mark.filterwarnings(
    "ignore::equiprop.ConvergenceWarning"
)  # a sample at a kink may have an indefinite Hessian
def test_both_second_phases_learn(phase: Any, cost: Any) -> None:
    optimizer = eq.SGD(0.02, momentum=0.5)
    # With seed 0 and cross-entropy, samples reach a fold bifurcation, where rounding decides on the result.
    net = small(seed=1)
    trainer = Trainer(net, second_phase=phase, optimizer=optimizer, cost=cost, batch_size=20)
    before = trainer.evaluate(blobs(seed=1))
    history = trainer.fit(blobs(), epochs=6)
    after = trainer.evaluate(blobs(seed=1))
    assert history[-1].objective < 0.7 * history[0].objective
    assert after.objective < before.objective
    assert after.error < 0.1 < before.error


@pytest.mark.parametrize("phase", PHASES, ids=["centered", "exact", "rbp"])
def test_both_second_phases_learn_xor_which_no_network_without_hidden_units_can(phase: Any) -> None:
    net = eq.HopfieldNetwork([2, 12, 2], activation="tanh", seed=3, dtype="float64")
    patient = eq.BlockUpdate(tolerance=1e-3, max_iterations=2000)  # one sample is near a fold bifurcation
    trainer = Trainer(net, phase, eq.Adam(0.03), solver=patient, batch_size=4)
    trainer.fit(XOR, epochs=200)
    assert trainer.evaluate(XOR).error == 0


def test_a_step_is_a_gradient_step() -> None:
    net = chain(4, 6, 3)
    x, y = blobs().x[:5], blobs().y[:5]
    start = net.parameters.copy()
    slope, _, objective = Oracle(net).implicit(x, np.eye(3)[y])
    linear = eq.ConjugateGradient(tolerance=1e-13)
    solver = eq.BlockUpdate(tolerance=1e-13)
    trainer = Trainer(net, RecurrentBackpropagation(linear), eq.SGD(0.5), solver=solver)
    metrics = trainer.step(x, y)
    np.testing.assert_allclose(net.parameters, start - 0.5 * slope, rtol=0, atol=1e-11)
    assert metrics.objective == pytest.approx(objective, rel=1e-10)
    assert metrics.unconverged == 0
    assert metrics.residual <= 1e-13
    assert trainer.steps == 1


@pytest.mark.parametrize("phase", [*PHASES, EquilibriumPropagation(eq.random_sign(0.2))])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads(phase: Any, dtype: str) -> None:
    kept = eq.num_threads()
    results = []
    try:
        for threads in (1, 2, 1):
            eq.set_num_threads(threads)
            net = small(dtype=dtype)
            Trainer(net, second_phase=phase, batch_size=130, seed=4).fit(blobs(), epochs=2)
            results.append(net.parameters.copy())
    finally:
        eq.set_num_threads(kept)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    other = small(dtype=dtype)
    Trainer(other, second_phase=phase, batch_size=130, seed=5).fit(blobs(), epochs=2)
    assert (other.parameters != results[0]).any()


def test_every_epoch_sees_every_sample_once_in_a_new_order() -> None:
    seen: list[np.ndarray] = []

    class Recorder(RecurrentBackpropagation):
        def gradient(self, problem: Any) -> Any:
            seen.append(problem.x.copy())
            return super().gradient(problem)

    data = Dataset(np.linspace(0, 1, 44).reshape(11, 4), np.arange(11) % 3)
    solver = eq.BlockUpdate()
    Trainer(small(dtype="float64"), Recorder(), solver=solver, batch_size=4).fit(data, epochs=2)
    assert [len(x) for x in seen] == [4, 4, 3, 4, 4, 3]
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(epoch[:, 0]), data.x[:, 0])
    assert (first != second).any()


def test_the_history_tells_what_happened() -> None:
    told: list[eq.Epoch] = []
    trainer = Trainer(small(), callbacks=[lambda _, epoch: told.append(epoch)], batch_size=50)
    first = trainer.fit(blobs(), epochs=3, validation=blobs(seed=1))
    second = trainer.fit(blobs(), epochs=2)
    assert [e.epoch for e in first] == [1, 2, 3]
    assert [e.epoch for e in second] == [1, 2]
    assert trainer.history == told == first + second
    for epoch in told:
        assert 0 <= epoch.train_error <= 1
        assert min(epoch.free_iterations, epoch.second_iterations) > 0
        assert 0 < epoch.residual <= 5e-3
        assert epoch.unconverged == 0
        assert epoch.seconds > 0
        assert epoch.as_dict() == vars(epoch)
    assert [e.validation_error is None for e in told] == [False] * 3 + [True] * 2
    assert trainer.steps == 5 * 6


def test_the_validation_error_is_measured_on_what_was_held_out() -> None:
    data = blobs()
    trainer = Trainer(small(), seed=9)
    record = trainer.fit(data, epochs=1, validation=0.25)[0]
    assert trainer.steps == np.ceil(0.75 * len(data) / 50)
    again = Trainer(small(), seed=9)
    again.fit(data, epochs=1, validation=0.25)
    np.testing.assert_array_equal(again.model.parameters, trainer.model.parameters)
    whole = Trainer(small(), seed=9)
    held_out = blobs(seed=2)
    assert (
        whole.fit(data, epochs=1, validation=held_out)[0].validation_error == whole.evaluate(held_out).error
    )
    assert record.validation_error is not None


def test_patience_stops_and_restores_the_best_parameters() -> None:
    errors = iter([0.5, 0.3, 0.4, 0.35, 0.2])
    snapshots: list[np.ndarray] = []

    class Scripted(Trainer):
        def evaluate(self, data: Dataset) -> Any:
            snapshots.append(self.model.parameters.copy())
            return Evaluation(next(errors), 0.0, 0)

    trainer = Scripted(small())
    history = trainer.fit(blobs(), epochs=5, validation=0.5, patience=2)
    assert [e.validation_error for e in history] == [0.5, 0.3, 0.4, 0.35]
    np.testing.assert_array_equal(trainer.model.parameters, snapshots[1])
    assert (snapshots[1] != snapshots[3]).any()


def test_the_schedule_scales_every_step_by_its_progress() -> None:
    asked: list[float] = []

    def halved(progress: float) -> float:
        asked.append(progress)
        return 0.0

    net = chain()
    start = net.parameters.copy()
    Trainer(net, schedule=halved, batch_size=100).fit(blobs(), epochs=2)
    assert asked == pytest.approx([k / 6 for k in range(6)])
    np.testing.assert_array_equal(net.parameters, start)
    Trainer(net, schedule=cosine(), batch_size=100).fit(blobs(), epochs=1)
    assert (net.parameters != start).any()


def test_regression_targets_are_learnt_and_measured_by_their_root_mean_square() -> None:
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (200, 3))
    data = Dataset(x, x @ random.normal(size=(3, 2)))
    net = eq.HopfieldNetwork([3, 10, 2], activation="tanh", dtype="float64")
    patient = eq.BlockUpdate(tolerance=5e-3, max_iterations=5000)  # one sample is near a fold bifurcation
    trainer = Trainer(net, solver=patient, batch_size=20)
    history = trainer.fit(data, epochs=15)
    result = trainer.evaluate(data)
    errors = trainer.predict(data.x) - data.y
    assert result.error == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-12)
    assert result.objective == pytest.approx((errors**2).sum(axis=1).mean() / 2, rel=1e-12)
    assert history[-1].train_error < 0.3 * history[0].train_error


@pytest.mark.parametrize("phase", PHASES, ids=["centered", "exact", "rbp"])
def test_an_energy_written_in_python_learns_what_another_knows(phase: Any) -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))
    solver = eq.Euler(step_size=0.3, tolerance=1e-6)
    teacher, pupil = (Trainer(Valley(seed=seed), phase, eq.SGD(0.5), solver=solver) for seed in (0, 1))
    data = Dataset(x, np.ascontiguousarray(teacher.predict(x)))
    history = pupil.fit(data, epochs=40)
    assert pupil.evaluate(data).objective < 0.05 * history[0].objective


def test_predict_and_evaluate_are_free_phases() -> None:
    net, data = small(), blobs(1200)
    trainer = Trainer(net)
    expected = eq.free_phase(net, data.x, solver=training_solver(net)).outputs
    # Products of other batch sizes have other rounding errors.
    np.testing.assert_allclose(trainer.predict(data.x), expected, rtol=0, atol=1e-6)
    wrong = expected.argmax(axis=1) != data.y
    result = trainer.evaluate(data)
    assert result.error == pytest.approx(wrong.mean(), abs=2e-3)
    assert result.objective == pytest.approx(
        ((expected - np.eye(3)[data.y]) ** 2).sum(axis=1).mean() / 2, rel=1e-5
    )
    assert result.unconverged == 0


def test_predictions_that_are_not_at_rest_are_told_and_the_advice_cures_them() -> None:
    net, data = eq.HopfieldNetwork([4, 20, 20, 3], seed=0), blobs(1200)
    hasty = eq.BlockUpdate(tolerance=1e-6, max_iterations=3)
    trainer = Trainer(net, solver=hasty)
    told = r"\[Trainer\.{}\] 1200 samples: 1200 did not reach .*\nRaise max_iterations \(3\)"
    with pytest.warns(eq.ConvergenceWarning, match=told.format("predict")) as caught:
        trainer.predict(data.x)
    assert caught[0].filename == __file__
    with pytest.warns(eq.ConvergenceWarning, match=told.format("evaluate")) as caught:
        assert trainer.evaluate(data).unconverged == 1200
    assert [warning.filename for warning in caught] == [__file__]
    cured = Trainer(
        net, solver=dataclasses.replace(hasty, max_iterations=1000)
    )  # a warning would raise an error
    cured.predict(data.x)
    assert cured.evaluate(data).unconverged == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("block", ["W1", "b1", "W2", "b2"])
def test_parameters_that_are_not_finite_are_refused_everywhere(block: str, bad: float) -> None:
    net, data = small(), blobs(20)
    trainer, free = Trainer(net), eq.free_phase(net, data.x)
    net.blocks[block].flat[0] = bad
    rule = rf"^\[clamp\] All parameters are finite\. .* Received NaN or infinity in {block}\.$"
    damaged = net.parameters.copy()
    for call in (
        lambda: trainer.predict(data.x),
        lambda: trainer.evaluate(data),
        lambda: trainer.step(data.x, data.y),
        lambda: eq.free_phase(net, data.x),
        lambda: eq.equilibrium_propagation(net, free, data.y),
        lambda: eq.equilibrium_propagation(net, free, data.y, nudging=eq.exact_limit()),
        lambda: eq.recurrent_backpropagation(net, free, data.y),
        lambda: eq.verify.derivatives(net),
        lambda: eq.verify.equivalence(net, data.x, data.y),
        lambda: eq.verify.gradients(net, data.x, data.y),
        lambda: eq.verify.limit(net, data.x, data.y),
    ):
        with pytest.raises(ValueError, match=rule):
            call()
    np.testing.assert_array_equal(net.parameters, damaged)
    net.initialize(0)
    np.testing.assert_array_equal(eq.free_phase(net, data.x).state, free.state)


@pytest.mark.parametrize("where", ["free phase", "second phase"])
def test_a_diverging_step_leaves_the_parameters_alone(where: str) -> None:
    net = chain(4, 6, 3, activation="tanh", potential="quadratic")
    wild = eq.Euler(step_size=1e300, tolerance=0.0, max_iterations=20)
    phase = EquilibriumPropagation(solver=wild)
    trainer = Trainer(net, second_phase=phase, solver=wild if where == "free phase" else None)
    start, data = net.parameters.copy(), blobs()
    with pytest.raises(
        eq.ConvergenceError,
        match=rf"^\[Trainer.step\] The {where} diverged; the parameters were not changed\. 20 samples",
    ) as failure:
        trainer.step(data.x[:20], data.y[:20])
    assert (failure.value.outcome.status == eq.Status.DIVERGED).any()
    np.testing.assert_array_equal(net.parameters, start)
    assert trainer.steps == 0


def test_unfinished_phases_are_counted_and_told_once_in_a_run() -> None:
    trainer = Trainer(small(), solver=eq.BlockUpdate(tolerance=1e-6, max_iterations=1))
    with pytest.warns(eq.ConvergenceWarning, match=r"In epoch \d, 260 of 260 samples") as caught:
        history = trainer.fit(blobs(), epochs=2)
    assert [warning.filename for warning in caught] == [__file__]
    assert [epoch.unconverged for epoch in history] == [260, 260]


def test_an_interrupt_by_a_callback_leaves_history_and_parameters() -> None:
    def stop(_: Trainer, epoch: eq.Epoch) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    trainer = Trainer(small(), callbacks=[stop])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(blobs(), epochs=5)
    assert [epoch.epoch for epoch in trainer.history] == [1, 2]
    trainer.callbacks = ()
    trainer.fit(blobs(), epochs=1)
    assert len(trainer.history) == 3


def test_a_progress_bar_counts_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    Trainer(small(), batch_size=100).fit(blobs(), epochs=2, progress=True)
    assert "epoch 1/2" in screen.getvalue()
    assert "/6" in screen.getvalue()


def test_a_progress_bar_without_tqdm_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_tqdm(name: str, *rest: Any) -> Any:
        if name == "tqdm":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_tqdm)
    with pytest.raises(ImportError, match=r"equiprop\[progress\]"):
        Trainer(small()).fit(blobs(), epochs=1, progress=True)


def test_the_default_solver_suits_the_model() -> None:
    assert isinstance(Trainer(small()).solver, eq.BlockUpdate)
    assert isinstance(Trainer(chain(potential="quadratic")).solver, eq.BlockUpdate)
    assert Trainer(small(), solver=eq.Euler()).solver == eq.Euler()
