"""Batches in shards: equal bits for any number of processes, the gradient of the whole batch, refusals."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.data import Augmentation
from equiprop.optimizers import SGD
from equiprop.processes import Totals
from groups import ThreadGroup, together

RANDOM = np.random.default_rng(5)
X = RANDOM.random((45, 6))
Y = np.arange(45) % 3
TARGETS = RANDOM.random((45, 3))
WEIGHTS = RANDOM.random(45)
FLOAT64 = np.dtype(np.float64)


class OwnPhase:
    """A second phase that defines its own gradient."""

    def gradient(self, free: Any) -> Any:
        return eq.EquilibriumPropagation().gradient(replace(free))

    def cure(self, *_: Any) -> str:
        return "no cure"

    def __repr__(self) -> str:
        return "OwnPhase()"


def trainer(dtype: str = "float32", shards: int | None = 8, **options: Any) -> eq.Trainer:
    net = eq.HopfieldNetwork([6, 7, 3], seed=1, dtype=dtype)
    return eq.Trainer(net, batch_size=options.pop("batch_size", 10), shards=shards, **options)


def facts(one: eq.Trainer) -> tuple[Any, ...]:
    """Return all that a training has computed, without seconds."""
    history = [{**epoch.as_dict(), "seconds": 0} for epoch in one.history]
    return one.model.parameters.tobytes(), one.averaged_model.parameters.tobytes(), history


def augmented() -> eq.Dataset:
    images = eq.Dataset(X, Y, scale=1.0)
    return images.augmented(Augmentation((2, 3, 1), flip=True))


CASES: dict[str, tuple[Callable[[], eq.Trainer], Callable[[], dict[str, Any]]]] = {
    "defaults": (trainer, lambda: {"data": X, "y": Y}),
    "double": (lambda: trainer("float64"), lambda: {"data": X, "y": Y}),
    "sgd": (lambda: trainer(optimizer=SGD(0.1)), lambda: {"data": X, "y": Y}),
    "rbp": (
        lambda: trainer(second_phase=eq.RecurrentBackpropagation()),
        lambda: {"data": X, "y": Y, "scaling": "standardise"},
    ),
    "own phase": (lambda: trainer(second_phase=OwnPhase(), averaging=0.9), lambda: {"data": X, "y": Y}),
    "random signs": (
        lambda: trainer(second_phase=eq.EquilibriumPropagation(eq.random_sign(0.2, 3))),
        lambda: {"data": X, "y": Y},
    ),
    "targets": (trainer, lambda: {"data": X, "y": TARGETS}),
    "weights": (
        lambda: trainer(clip=1.0),
        lambda: {"data": X, "y": Y, "sample_weight": WEIGHTS, "class_weight": "balanced"},
    ),
    "early stopping": (
        lambda: trainer(cost=eq.CrossEntropy(), batch_size=7),
        lambda: {"data": X, "y": Y, "validation": 0.2, "patience": 1},
    ),
    "augmented": (trainer, lambda: {"data": augmented()}),
    "few samples": (lambda: trainer(batch_size=21), lambda: {"data": X, "y": Y}),  # a last batch of 3
    "exact": (
        lambda: trainer(second_phase=eq.EquilibriumPropagation(eq.exact_limit()), batch_size=20),
        lambda: {"data": X[:20], "y": Y[:20]},
    ),
    "slow": (
        lambda: trainer(solver=eq.FixedPointIteration(max_iterations=3), clip=np.inf),
        lambda: {"data": X, "y": Y},
    ),
}


@pytest.mark.filterwarnings("ignore::equiprop.ConvergenceWarning", "ignore::equiprop.TrainingWarning")
@pytest.mark.parametrize("case", CASES)
def test_any_number_of_processes_gives_the_same_bits(case: str) -> None:
    make, data = CASES[case]

    def train(group: ThreadGroup | None) -> tuple[Any, ...]:
        one = make()
        metrics: list[Any] = []
        one.step_callbacks = [lambda _, step: metrics.append(step)]
        one.fit(**data(), epochs=2, group=group)
        return facts(one), metrics

    alone = train(None)
    assert len(alone[1]) > 1
    assert any(m.unconverged for m in alone[1]) == (case == "slow")
    for size in (1, 2, 4, 8):
        for result in together(size, train):
            assert repr(result) == repr(alone)  # NaN in the norm is equal to itself


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("y", [Y, TARGETS])
def test_the_gradient_is_that_of_the_whole_batch(y: Any, weights: Any) -> None:
    solver = eq.BlockUpdate(tolerance=1e-14, max_iterations=2000)
    phase = eq.RecurrentBackpropagation(eq.ConjugateGradient(tolerance=1e-13))
    parts = {"second_phase": phase, "solver": solver}
    results = []
    for shards in (None, 1, 2, 16, 64):  # with 64 shards some are empty
        one = trainer("float64", shards, optimizer=SGD(0.5, momentum=0.0), **parts)
        one.step(X, y, weights)
        metrics = one.step(X, y, weights)
        results.append((one.model.parameters, metrics))
    theta, metrics = results[0]
    for other, its in results[1:]:
        np.testing.assert_allclose(other, theta, rtol=0, atol=1e-12)
        for name in ("objective", "error", "gradient_norm"):
            assert getattr(its, name) == pytest.approx(getattr(metrics, name), rel=1e-11)
        assert its[2:4] == pytest.approx(metrics[2:4], abs=0.5)
        assert (its.unconverged, its.inaccurate) == (metrics.unconverged, metrics.inaccurate) == (0, 0)


@pytest.mark.parametrize("size", [1, 2, 4, 16])
def test_totals_are_sums_in_a_binary_tree(size: int) -> None:
    numbers = RANDOM.normal(size=(size, 50)) * 10.0 ** RANDOM.integers(-8, 8, (size, 50))

    def add(group: ThreadGroup) -> tuple[Any, ...]:
        total = Totals(20, 10, 20, np.dtype(np.float32))
        total.sums[:], total.maxima[:] = numbers[group.rank, :20], numbers[group.rank, 20:30]
        total.gradient[:] = numbers[group.rank, 30:]
        total.add_others(group)
        assert group.sent == [30 * 8 + 20 * 4] * (size.bit_length() - 1)
        return total.sums.tobytes(), total.maxima.tobytes(), total.gradient.tobytes()

    def tree(rows: Any) -> Any:
        while len(rows) > 1:
            rows = rows[::2] + rows[1::2]
        return rows[0]

    floats = tree(numbers[:, 30:].astype(np.float32))
    expected = tree(numbers[:, :20]).tobytes(), numbers[:, 20:30].max(axis=0).tobytes(), floats.tobytes()
    assert together(size, add) == [expected] * size


def test_each_process_reads_its_part_of_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    data, read = eq.Dataset(X, Y, scale=1.0), threading.local()
    original = eq.Dataset.batch

    def batch(self: eq.Dataset, rows: Any, *rest: Any) -> Any:
        if hasattr(read, "rows"):
            read.rows += np.asarray(rows).tolist()
        return original(self, rows, *rest)

    monkeypatch.setattr(eq.Dataset, "batch", batch)

    def train(group: ThreadGroup) -> list[int]:
        one = trainer()
        one.prepare(data)  # reads up to 500 samples
        one.step_callbacks = [lambda *_: setattr(read, "rows", getattr(read, "rows", []))]
        one._health.probe = None
        one.fit(data, epochs=1, group=group)
        read.rows = []
        one.fit(data, epochs=1, group=group)
        return list(read.rows)

    rows = together(4, train)
    probed = np.unique(np.linspace(0, 44, 100).astype(int)).tolist()  # by which `explain` looks at the units
    steps = [part[len(probed) :] for part in rows]
    assert [part[: len(probed)] for part in rows] == [probed] * 4
    assert sorted(row for part in steps for row in part) == list(range(45))
    assert max(map(len, steps)) <= 45 / 4 + 5  # each of five batches is divided as equally as its shards


def test_a_training_is_resumed_by_another_number_of_processes(tmp_path: Path) -> None:
    whole = trainer()
    whole.fit(X, Y, epochs=4, validation=0.2)
    path = tmp_path / "run.safetensors"

    def stop(one: eq.Trainer, _: Any) -> None:
        if one.steps == 7:
            raise KeyboardInterrupt

    def begin(group: ThreadGroup) -> None:
        one = trainer(step_callbacks=[stop])
        with pytest.raises(KeyboardInterrupt):
            one.fit(X, Y, epochs=4, validation=0.2, checkpoint=eq.Checkpoint(path, steps=3), group=group)

    together(4, begin)
    assert eq.Trainer.resume(path).steps == 6
    resumed = [eq.Trainer.resume(path) for _ in range(2)]
    together(2, lambda group: resumed[group.rank].fit(X, Y, epochs=4, validation=0.2, group=group))
    assert [facts(one) for one in resumed] == [facts(whole)] * 2


def test_all_processes_report_samples_that_diverge_in_one() -> None:
    """Euler steps that are too long diverge for the samples with large inputs, which one process has."""

    def train(group: ThreadGroup) -> tuple[str, bytes]:
        net = eq.HopfieldNetwork([6, 7, 3], seed=1, activation="linear", dtype="float64")
        x = X[:16].copy()
        one = eq.Trainer(net, batch_size=16, shards=4, optimizer=SGD(0.1), clip=np.inf)
        one.prepare(x, Y[:16])
        one.model.parameters[:] *= 1e160
        with pytest.raises(eq.ConvergenceError) as caught:
            one.fit(x, Y[:16], epochs=1, group=group)
        return str(caught.value), one.model.parameters.tobytes()

    results = {size: together(size, train) for size in (1, 2, 4)}
    assert len({result for several in results.values() for result in several}) == 1
    assert "16 samples" in results[1][0][0]


def failures(size: int, call: Callable[[ThreadGroup], Any]) -> set[str]:
    """Return the messages of the errors of all threads."""

    def tried(group: ThreadGroup) -> str:
        with pytest.raises((ValueError, TypeError, RuntimeError)) as caught:
            call(group)
        return str(caught.value)

    return set(together(size, tried))


def test_processes_that_differ_are_refused() -> None:
    def other_data(group: ThreadGroup) -> None:
        trainer().fit(X[group.rank :], Y[group.rank :], epochs=1, group=group)

    def other_weights(group: ThreadGroup) -> None:
        one = trainer()
        one.model.parameters[0] += group.rank
        one.fit(X, Y, epochs=1, group=group)

    def stops(group: ThreadGroup) -> None:
        one = trainer()
        one.step_callbacks = [lambda t, _: t.stop() if group.rank == 1 and t.steps == 2 else None]
        one.fit(X, Y, epochs=2, group=group)

    def other_labels(group: ThreadGroup) -> None:
        trainer().fit(X, np.roll(Y, group.rank, axis=0), epochs=1, group=group)

    def other_sample_weights(group: ThreadGroup) -> None:
        weights = np.linspace(1, 1 + group.rank, len(X))
        trainer().fit(X, Y, epochs=1, sample_weight=weights / weights.mean(), group=group)

    def other_rates(group: ThreadGroup) -> None:
        one = trainer()
        one.optimizer = eq.SGD(0.1 * (1 + group.rank))
        one.fit(X, Y, epochs=1, group=group)

    def other_costs(group: ThreadGroup) -> None:
        one = trainer()
        one.cost = eq.CrossEntropy(1.0 + group.rank)
        one.fit(X, Y, epochs=1, group=group)

    different = (other_data, other_weights, other_labels, other_sample_weights, other_rates, other_costs)
    for call in different:
        (rule,) = {message.partition(". ")[0] for message in failures(2, call)}
        assert (
            rule == "[Trainer.fit] All processes train the same model on the same data with the same settings"
        )
    assert failures(2, stops) == {
        f"[Trainer.step] All processes take the same steps. Received {place} in this process, and step 2 to "
        "the end in all; a callback that ends a training or takes a step does so in every process."
        for place in ("step 2", "the end")
    }


@pytest.mark.parametrize(
    ("size", "shards", "rule"),
    [
        (3, 8, "The number of processes is a power of two, at most that of the shards, 8"),
        (4, 2, "The number of processes is a power of two, at most that of the shards, 2"),
        (2, None, r"A training by several processes divides its batches: Trainer\(shards=8\)"),
    ],
)
def test_groups_that_do_not_fit_are_refused(size: int, shards: int | None, rule: str) -> None:
    one = trainer(shards=shards)
    with pytest.raises(ValueError, match=rule):
        one.fit(X, Y, epochs=1, group=ThreadGroup(0, {}, size))
    one.fit(X, Y, epochs=1)


def test_a_group_without_exchanges_is_refused() -> None:
    class Silent:
        rank, size = 0, 2

    with pytest.raises(ValueError, match=r"A group has a function exchange\(.*\)\. Received Silent"):
        trainer().fit(X, Y, epochs=1, group=Silent())


def test_batches_are_for_one_process() -> None:
    batches = [(X[:10], Y[:10])]
    with pytest.raises(TypeError, match=r"by several processes has a Dataset, or arrays\. Received batches"):
        trainer().fit(batches, epochs=1, group=ThreadGroup(0, {}, 2))
    trainer().fit(batches, epochs=1)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"shards": 3}, "shards is a power of two. Received 3"),
        ({"shards": 0}, "shards is 1 to"),
        ({"free_start": "last"}, "free_start is 'rest' with shards"),
    ],
)
def test_settings_that_shards_cannot_have_are_refused(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        trainer(**options)


def test_a_black_box_has_no_shards() -> None:
    def relax(x: Any, beta: Any, targets: Any) -> Any:
        return np.zeros((len(x), 3))

    box = eq.BlackBox(relax, lambda x, s: np.zeros((len(x), 2)), np.zeros(2), num_outputs=1)
    with pytest.raises(ValueError, match="need a model that can be copied: shards=None"):
        eq.Trainer(box, shards=2)


def test_copies_and_files_keep_the_shards(tmp_path: Path) -> None:
    one = trainer(shards=4)
    one.fit(X, Y, epochs=1)
    eq.save(one, tmp_path / "t.safetensors")
    others = [copy.deepcopy(one), eq.load(tmp_path / "t.safetensors")]
    for each in (one, *others):
        each.fit(X, Y, epochs=1)
    assert {facts(each)[0] for each in others} == {facts(one)[0]}
    assert [each.shards for each in others] == [4, 4]


def test_inputs_of_another_number_than_targets_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`y` has one target for each sample\. Received 45 for 44 samples"):
        trainer().step(X[:44], Y)
