"""Free phases that start at the last free state of their sample reach the fixed points in fewer sweeps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.augmentation import Augmentation
from equiprop.kept_states import KeptStates
from equiprop.results import Status
from free_starts import DATA, OTHER, STILL, TIGHT, bits, from_rest, new, pair
from networks import blobs, chain, skip

pytestmark = pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")  # tiny networks


def iterations(trainer: eq.Trainer) -> list[float]:
    return [epoch.free_iterations for epoch in trainer.history]


class Wells(eq.Energy):
    """E = (s^2 - 1)^2 / 4 - (x + theta) s: a minimum on each side of 0 while |x + theta| < 2 / sqrt(27)."""

    def energy(self, x: Any, s: Any) -> Any:
        return ((s**2 - 1) ** 2 / 4 - (x + self.parameters) * s)[:, 0]

    def gradient(self, x: Any, s: Any) -> Any:
        return s**3 - s - (x + self.parameters)

    def parameter_gradient(self, x: Any, s: Any) -> Any:
        return -s.sum(axis=0)


# Fixed points.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "solver", [eq.BlockUpdate, eq.FixedPointIteration, partial(eq.Euler, step_size=0.1, max_iterations=5000)]
)
@pytest.mark.parametrize("build", [chain, skip])
def test_kept_states_are_the_fixed_points_of_a_convex_network(build: Any, solver: Any, dtype: str) -> None:
    tolerance = 1e-5 if dtype == "float32" else 1e-10
    trainer = new(build(dtype=dtype), optimizer=eq.SGD(STILL), solver=solver(tolerance=tolerance))
    trainer.fit(DATA, epochs=3)
    x = DATA.batch(np.arange(50), dtype)[0]
    expected = eq.free_phase(trainer.model, x, solver=solver(tolerance=tolerance)).state
    assert trainer._kept.states is not None
    assert trainer._kept.states.dtype == dtype
    np.testing.assert_allclose(trainer._kept.states, expected, rtol=0, atol=30 * tolerance)
    first, *later = iterations(trainer)
    assert max(later) <= 1 < first  # one step confirms the fixed point


PHASES: dict[str, Callable[[], Any]] = {
    "centered": eq.EquilibriumPropagation,
    "one-sided": lambda: eq.EquilibriumPropagation(eq.one_sided(0.1)),
    "exact limit": lambda: eq.EquilibriumPropagation(eq.exact_limit()),
    "holomorphic": lambda: eq.EquilibriumPropagation(
        eq.holomorphic(0.1, 4), eq.FixedPointIteration(damping=0.3)
    ),
    "rbp": lambda: eq.RecurrentBackpropagation(eq.ConjugateGradient(tolerance=1e-11)),
    "own gradient": lambda: OwnPhase(),
}


class OwnPhase:
    """A second phase with a gradient of its own."""

    def gradient(self, free: Any) -> Any:
        return eq.EquilibriumPropagation(eq.centered(0.25)).gradient(free)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_second_phase_follows_the_gradients_from_rest_in_fewer_iterations(
    phase: str, dtype: str
) -> None:
    solver = TIGHT if dtype == "float64" else eq.BlockUpdate(tolerance=1e-6)
    kept, rest = (
        new(chain(dtype=dtype), start, solver=solver, second_phase=PHASES[phase]())
        for start in ("last", "rest")
    )
    for trainer in (kept, rest):
        trainer.fit(DATA, epochs=4)
    distance = np.abs(kept.model.parameters - rest.model.parameters).max()
    assert distance < (1e-7 if dtype == "float64" else 2e-3)
    assert iterations(kept)[0] == iterations(rest)[0]
    assert all(few < many for few, many in zip(iterations(kept)[1:], iterations(rest)[1:], strict=True))
    assert [e.second_iterations for e in kept.history] == pytest.approx(
        [e.second_iterations for e in rest.history], abs=0.5
    )


def test_the_first_epoch_has_the_bits_of_a_start_at_rest() -> None:
    trainers = pair()
    for trainer in trainers:
        trainer.fit(DATA, epochs=1)
    assert bits(trainers[0]) == bits(trainers[1])
    for trainer in trainers:
        trainer.fit(DATA, epochs=1)
    assert bits(trainers[0]) != bits(trainers[1])


def image_network() -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork(
        layers=[eq.Layer((1, 2, 2)), eq.Layer((3, 1, 1), "tanh"), eq.Layer(3, "linear")],
        couplings=[eq.Convolution(0, 1, kernel=2), eq.Dense(1, 2)],
        dtype="float64",
    )


class Raised(eq.HopfieldNetwork):
    """A network with an initial state of its own."""

    def initial_state(self, batch: int) -> np.ndarray:
        return np.full((batch, self.num_units), 0.3, self.dtype)


class Flow(eq.VectorField):
    """mu = tanh(s W) + x - s, W of any symmetry."""

    def velocity(self, x: Any, s: Any) -> Any:
        return np.tanh(s @ self.parameters.reshape(4, 4)) + x - s


MODELS: dict[str, Callable[[], Any]] = {
    "images": image_network,
    "skip": skip,
    "own initial state": lambda: Raised([4, 6, 3], dtype="float64", seed=1, gain=0.3),
    "vector field": lambda: Flow(4, 3, np.random.default_rng(0).normal(size=16) / 8),
}


@pytest.mark.parametrize("name", MODELS)
def test_each_model_reaches_the_fixed_points_from_rest_in_fewer_iterations(name: str) -> None:
    solver: Any = eq.Euler(tolerance=1e-11, max_iterations=5000) if name == "vector field" else TIGHT
    phase = eq.RecurrentBackpropagation(eq.GMRES(tolerance=1e-11))
    kept, rest = (
        new(MODELS[name](), start, solver=solver, second_phase=phase, optimizer=eq.SGD(0.01))
        for start in ("last", "rest")
    )
    for trainer in (kept, rest):
        trainer.fit(DATA, epochs=3)
    np.testing.assert_allclose(kept.model.parameters, rest.model.parameters, rtol=0, atol=1e-7)
    assert iterations(kept)[0] == iterations(rest)[0]
    assert max(iterations(kept)[1:]) < min(iterations(rest)[1:])


@pytest.fixture
def _restored() -> Iterator[None]:
    yield
    eq.set_num_threads(0)


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_bit_depends_on_the_number_of_threads(dtype: str) -> None:
    results = []
    for threads in (1, 2, 3):
        eq.set_num_threads(threads)
        trainer = new(chain(dtype=dtype), batch_size=50)
        trainer.fit(blobs(130), epochs=3)
        assert trainer._kept.states is not None
        results.append(bits(trainer) + trainer._kept.states.tobytes())
    assert results[0] == results[1] == results[2]


def test_states_belong_to_samples_that_an_augmentation_changes() -> None:
    data = eq.Dataset(DATA.x.reshape(50, 1, 2, 2), DATA.y).augmented(Augmentation((1, 2, 2), flip=True))
    changes = data.augmentation.draws(50, seed=0, epoch=0)
    x = data.batch(np.arange(50), "float64", changes)[0]
    trainer = new(solver=TIGHT, optimizer=eq.SGD(STILL))
    trainer.fit(data, epochs=1)
    expected = eq.free_phase(trainer.model, x, solver=TIGHT).state
    np.testing.assert_allclose(trainer._kept.states, expected, rtol=0, atol=1e-9)


# A fixed point that a start at rest does not reach, and all that starts at rest.


def wells(free_start: str) -> tuple[eq.Trainer, eq.Dataset]:
    """Return a trainer whose samples were in the right well before the drive changed its sign."""
    data = eq.Dataset(np.zeros((6, 1)), np.full((6, 1), 0.5))
    model = Wells(1, 1, np.array([0.2]))
    options = {"optimizer": eq.SGD(STILL), "solver": eq.Euler(step_size=0.2, tolerance=1e-9)}
    trainer = eq.Trainer(model, free_start=free_start, coupling_norm=None, **options)
    trainer.fit(data, epochs=1)
    model.parameters[:] = -0.2
    trainer.fit(data, epochs=1)
    return trainer, data


def root(drive: float, near: float) -> float:
    roots = np.roots([1, 0, -1, -drive]).real
    return float(roots[np.abs(roots - near).argmin()])


def test_a_sample_may_stay_at_a_fixed_point_that_a_start_at_rest_does_not_reach() -> None:
    kept, data = wells("last")
    rest, _ = wells("rest")
    right, left = root(-0.2, near=1), root(-0.2, near=-1)
    np.testing.assert_allclose(kept._kept.states, right, rtol=0, atol=1e-7)
    assert kept.history[-1].train_error == pytest.approx(abs(right - 0.5), abs=1e-7)
    assert rest.history[-1].train_error == pytest.approx(abs(left - 0.5), abs=1e-7)
    # Evaluation and prediction start at rest, so their error differs; without kept states it does not.
    np.testing.assert_allclose(kept.predict(data), left, rtol=0, atol=1e-7)
    assert kept.evaluate(data).error == pytest.approx(abs(left - 0.5), abs=1e-7)
    kept.free_start = "rest"
    kept.fit(data, epochs=1)
    assert kept.history[-1].train_error == pytest.approx(kept.evaluate(data).error, abs=1e-7)


def test_evaluation_and_prediction_have_the_bits_of_a_start_at_rest() -> None:
    trainer = new()
    trainer.fit(DATA, epochs=3, validation=DATA)
    x = DATA.batch(np.arange(50), "float64")[0]
    free = eq.free_phase(trainer.model, x, solver=trainer.solver)
    np.testing.assert_array_equal(trainer.predict(x), free.state[:, -3:])
    fresh = eq.Trainer(trainer.model, solver=trainer.solver)
    assert trainer.evaluate(DATA) == fresh.evaluate(DATA)
    assert trainer.history[-1].validation_error == trainer.evaluate(DATA).error


def test_a_step_starts_at_rest() -> None:
    trainer = new()
    trainer.fit(DATA, epochs=2)
    twin = from_rest(trainer)
    x, y = DATA.batch(np.arange(9), "float64")
    assert trainer.step(x, y) == twin.step(x, y)
    assert bits(trainer) == bits(twin)


def test_a_step_of_a_callback_starts_at_rest_and_changes_no_kept_state() -> None:
    x, y = OTHER.batch(np.arange(9), "float64")
    seen = []

    def step(trainer: eq.Trainer, _: Any) -> None:
        if trainer.steps == 8:  # of the second epoch
            twin, before = from_rest(trainer), copy.deepcopy(trainer._kept)
            seen.append(trainer.step(x, y) == twin.step(x, y))
            seen.append(before.states.tobytes() == trainer._kept.states.tobytes())

    new(step_callbacks=[step]).fit(DATA, epochs=2)
    assert seen == [True, True]


# Samples that start at rest.


def other_length() -> eq.Dataset:
    return DATA[:49]


def other_samples() -> eq.Dataset:
    return OTHER


def one_number() -> eq.Dataset:
    x = DATA.x.copy()
    x[7, 2] = np.nextafter(x[7, 2], 9)
    return eq.Dataset(x, DATA.y)


@pytest.mark.parametrize("data", [other_length, other_samples, one_number])
def test_other_data_start_at_rest(data: Callable[[], eq.Dataset]) -> None:
    trainer = new()
    trainer.fit(DATA, epochs=2)
    twin = from_rest(trainer)
    for one in (trainer, twin):
        one.fit(data(), epochs=1)
    assert bits(trainer) == bits(twin)


def test_equal_data_keep_their_states_in_a_later_call() -> None:
    whole, parts = new(), new()
    whole.fit(DATA, epochs=4)
    parts.fit(DATA, epochs=2)
    parts.fit(DATA.x.copy(), DATA.y.copy(), epochs=2)
    assert bits(whole) == bits(parts)


def test_another_network_starts_at_rest() -> None:
    trainer = new()
    trainer.fit(DATA, epochs=2)
    trainer.model, trainer.optimizer = chain(4, 7, 3), eq.Adam(0.01)
    twin = from_rest(trainer)
    for one in (trainer, twin):
        one.fit(DATA, epochs=1)
    assert bits(trainer) == bits(twin)
    assert trainer._kept.states.shape == (50, 10)


@pytest.mark.filterwarnings("ignore::equiprop.ConvergenceWarning")
def test_samples_that_do_not_converge_start_at_rest() -> None:
    trainers = pair(solver=eq.BlockUpdate(tolerance=1e-12, max_iterations=2))
    for trainer in trainers:
        trainer.fit(DATA, epochs=3)
    assert bits(trainers[0]) == bits(trainers[1])
    assert not trainers[0]._kept.known.any()


def test_a_fixed_number_of_steps_starts_where_the_last_one_ended() -> None:
    trainer = new(optimizer=eq.SGD(STILL), solver=eq.BlockUpdate(tolerance=0, max_iterations=2))
    trainer.fit(DATA, epochs=3)
    x = DATA.batch(np.arange(50), "float64")[0]
    expected = eq.free_phase(trainer.model, x, solver=eq.BlockUpdate(tolerance=0, max_iterations=6)).state
    np.testing.assert_allclose(trainer._kept.states, expected, rtol=0, atol=1e-14)


def test_only_minima_are_kept() -> None:
    model, kept = chain(), KeptStates()
    kept.prepare("last", DATA, model)
    free = np.array([Status.CONVERGED, Status.FIXED_STEPS, Status.MAX_ITERATIONS, Status.CONVERGED], np.int8)
    second = np.array(
        [Status.INACCURATE, Status.MAX_ITERATIONS, Status.CONVERGED, Status.INDEFINITE], np.int8
    )
    rows, states = np.array([7, 3, 0, 9]), np.random.default_rng(0).random((4, 9))
    with kept.visit(rows):
        assert kept.starts(model) is None  # none is known
        kept.keep(states, free, second)
    assert kept.starts(model) is None  # no step
    assert np.flatnonzero(kept.known).tolist() == [3, 7]
    rest = model.initial_state(1)[0]
    with kept.visit(np.array([0, 3, 9, 7])):
        np.testing.assert_array_equal(kept.starts(model), [rest, states[1], rest, states[0]])


def test_samples_without_a_state_start_at_the_initial_state_of_a_model_of_ones_own() -> None:
    model, kept = MODELS["own initial state"](), KeptStates()
    kept.prepare("last", DATA, model)
    status = np.full(1, Status.CONVERGED, np.int8)
    with kept.visit(np.array([4])):
        kept.keep(np.full((1, 9), 0.7), status, status)
    with kept.visit(np.array([5, 4])):
        np.testing.assert_array_equal(kept.starts(model), np.repeat([[0.3], [0.7]], 9, axis=1))


def test_after_a_divergence_all_samples_start_at_rest() -> None:
    trainer = new(clip=np.inf)
    trainer.fit(DATA, epochs=2)
    trainer.optimizer = eq.SGD(1e6)
    with pytest.raises(eq.ConvergenceError):
        trainer.fit(DATA, epochs=50)
    assert not trainer._kept.known.any()
    trainer.optimizer = eq.SGD(0.01)
    twin = from_rest(trainer)
    for one in (trainer, twin):
        one.fit(DATA, epochs=1)
    assert bits(trainer) == bits(twin)
