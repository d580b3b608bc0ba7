"""Weights of samples scale the terms of these samples in gradient, objective and errors, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import Valley, chain, skip


class Flow(eq.VectorField):
    """mu = tanh(s W) + x - s with any W, so that dmu/ds is not symmetric."""

    def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.tanh(s @ self.parameters.reshape(4, 4)) + x - s


BATCH = 5
WEIGHTS = np.array([2.0, 0.0, 1.0, 3.0, 0.25])
COUNTS = np.array([2, 0, 1, 3, 1])
REPEATED = np.repeat(np.arange(BATCH), COUNTS)
ITERATION = {"tolerance": 1e-13, "max_iterations": 20_000}
EULER = eq.Euler(step_size=0.2, **ITERATION)


def separate(seed: int = 0) -> eq.HopfieldNetwork:
    layers = [eq.Layer(4), eq.Layer(6, "tanh"), eq.Layer(3, "linear")]
    net = eq.HopfieldNetwork(
        layers=layers,
        couplings=[eq.Dense(0, 1), eq.Dense(1, 2)],
        feedback="separate",
        dtype="float64",
        seed=seed,
    )
    net.blocks["B2"][...] += 0.1
    return net


#: Packed kernels, products by Eigen, a graph, dynamics without energy, and models written in Python.
MODELS: dict[str, Any] = {
    "kernels": lambda: chain(4, 6, 5, 3, activation="hard_sigmoid"),
    "smooth": lambda: chain(activation="tanh"),
    "Eigen": lambda: chain(activation="sigmoid", output="tanh", potential="quadratic"),
    "graph": skip,
    "separate": separate,
    "energy": lambda: Valley(5, 3, 4, 0),
    "field": lambda: Flow(4, 3, 0.2 * np.random.default_rng(3).normal(size=16)),
}
PHASES: dict[str, Any] = {
    "centered": eq.EquilibriumPropagation(eq.centered(0.2)),
    "one-sided": eq.EquilibriumPropagation(eq.one_sided(0.2)),
    "random sign": eq.EquilibriumPropagation(eq.random_sign(0.2)),
    "exact": eq.EquilibriumPropagation(eq.exact_limit()),
    "holomorphic": eq.EquilibriumPropagation(eq.holomorphic(0.2, 4)),
    "symmetrized": eq.EquilibriumPropagation(eq.centered(0.2), symmetrize=True),
    "rbp": eq.RecurrentBackpropagation(eq.GMRES(tolerance=1e-13, max_iterations=200)),
    "rbp, CG": eq.RecurrentBackpropagation(eq.ConjugateGradient(tolerance=1e-13, max_iterations=200)),
}
COSTS: dict[str, Any] = {"squared": eq.SquaredError(), "entropy": eq.CrossEntropy(logit_scale=2)}


def solver_of(model: Any, phase: Any) -> Any:
    if isinstance(model, Valley | Flow):
        return EULER
    if model.has_block_update and not getattr(phase, "symmetrize", False):
        return eq.BlockUpdate(**ITERATION)
    return eq.FixedPointIteration(damping=0.5, **ITERATION)


def samples(model: Any, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(BATCH, getattr(model, "num_inputs", None) or 4))
    return x, random.integers(model.num_outputs, size=BATCH)


def possible(model: Any, phase: str) -> bool:
    if phase == "rbp, CG":
        return bool(model.conservative)
    return phase != "holomorphic" or bool(model.holomorphic)


def gradient_of(model: Any, phase: str, cost: Any, x: np.ndarray, y: np.ndarray, weights: Any) -> eq.Gradient:
    """Return the gradient with these weights by the function of the second phase."""
    way = PHASES[phase]
    free = eq.free_phase(model, x, solver=solver_of(model, way))
    given: dict[str, Any] = {"cost": cost, "sample_weight": weights, "on_failure": "ignore"}
    if isinstance(way, eq.RecurrentBackpropagation):
        return eq.recurrent_backpropagation(model, free, y, linear_solver=way.linear_solver, **given)
    given |= {"nudging": way.nudging, "symmetrize": way.symmetrize, "step": 3}
    return eq.equilibrium_propagation(model, free, y, **given)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", MODELS)
def test_a_weighted_gradient_is_the_weighted_sum_of_the_gradients_of_the_samples(
    kind: str, phase: str, cost: str
) -> None:
    model = MODELS[kind]()
    if not possible(model, phase):
        pytest.skip("the model has no such second phase")
    x, y = samples(model)
    weighted = gradient_of(model, phase, COSTS[cost], x, y, WEIGHTS)
    single = [gradient_of(model, phase, COSTS[cost], x[[i]], y[[i]], None) for i in range(BATCH)]
    expected = sum(w * g.parameters for w, g in zip(WEIGHTS, single, strict=True)) / BATCH
    largest = max(np.abs(g.parameters).max() for g in single)
    np.testing.assert_allclose(weighted.parameters, expected, rtol=0, atol=1e-12 * largest)
    objective = sum(w * g.objective for w, g in zip(WEIGHTS, single, strict=True)) / BATCH
    assert weighted.objective == pytest.approx(objective, rel=1e-12)
    for i, g in enumerate(single):
        if g.inputs.size:
            np.testing.assert_allclose(
                weighted.inputs[[i]], WEIGHTS[i] * g.inputs / BATCH, rtol=0, atol=1e-12
            )


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", MODELS)
def test_weights_change_no_status_and_no_error_estimate_and_weights_of_one_no_bit(
    kind: str, phase: str
) -> None:
    model = MODELS[kind]()
    if not possible(model, phase):
        pytest.skip("the model has no such second phase")
    x, y = samples(model)
    plain = gradient_of(model, phase, eq.SquaredError(), x, y, None)
    ones, weighted = (
        gradient_of(model, phase, eq.SquaredError(), x, y, w) for w in (np.ones(BATCH), WEIGHTS)
    )
    for other in (ones, weighted):
        for name in ("status", "iterations", "residual", "fallbacks", "error_estimate"):
            np.testing.assert_array_equal(getattr(other, name), getattr(plain, name))
    np.testing.assert_array_equal(ones.parameters, plain.parameters)
    np.testing.assert_array_equal(ones.inputs, plain.inputs)
    assert ones.objective == plain.objective
    assert (weighted.parameters != plain.parameters).any()


@pytest.mark.parametrize("cost", COSTS)
def test_a_sweep_through_time_has_weights(cost: str) -> None:
    model = MODELS["Eigen"]()
    x, y = samples(model)
    steps = eq.FixedPointIteration(damping=0.5, tolerance=0, max_iterations=30)

    def swept(rows: Any, weights: Any) -> eq.Gradient:
        free = eq.free_phase(model, x[rows], solver=steps, record=True)
        return eq.backpropagation_through_time(model, free, y[rows], cost=COSTS[cost], sample_weight=weights)

    weighted, single = swept(np.arange(BATCH), WEIGHTS), [swept([i], None) for i in range(BATCH)]
    expected = sum(w * g.parameters for w, g in zip(WEIGHTS, single, strict=True)) / BATCH
    np.testing.assert_allclose(weighted.parameters, expected, rtol=0, atol=1e-13)
    assert (
        swept(np.arange(BATCH), np.ones(BATCH)).parameters == swept(np.arange(BATCH), None).parameters
    ).all()


@dataclass(frozen=True)
class Wrapped:
    """A second phase of the user's own, which calls one of the library."""

    inner: Any

    def gradient(self, free: Any) -> eq.Gradient:
        return self.inner.gradient(free)


OPTIMIZERS: dict[str, Any] = {
    "SGD": lambda: eq.SGD(0.05),
    "momentum": lambda: eq.SGD(0.05, momentum=0.9),
    "Adam": lambda: eq.Adam(1e-2),
}


def trainer_of(model: Any, phase: Any, optimizer: str, clip: float, cost: Any) -> eq.Trainer:
    return eq.Trainer(model, phase, OPTIMIZERS[optimizer](), cost, solver_of(model, phase), clip=clip)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("clip", [0.5, float("inf")])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("kind", "phase"),
    [
        *((kind, phase) for kind in ("kernels", "Eigen", "energy") for phase in ("centered", "rbp", "own")),
        *(("smooth", "exact"), ("smooth", "holomorphic"), ("energy", "exact"), ("energy", "holomorphic")),
        *(("separate", "one-sided"), ("separate", "symmetrized"), ("separate", "rbp"), ("field", "exact")),
        *(("kernels", "random sign"), ("graph", "random sign"), ("field", "symmetrized"), ("field", "rbp")),
    ],
)
def test_steps_with_weights_of_mean_one_are_those_on_repeated_samples(
    kind: str, phase: str, optimizer: str, clip: float, cost: str
) -> None:
    """Clipping at 0.5 of the running norm cuts every step but the first."""
    way = Wrapped(PHASES["centered"]) if phase == "own" else PHASES[phase]
    trainers = [trainer_of(MODELS[kind](), way, optimizer, clip, COSTS[cost]) for _ in range(2)]
    weights = COUNTS / COUNTS.mean()
    for seed in range(3):
        x, y = samples(trainers[0].model, seed)
        metrics = [trainers[0].step(x, y, weights), trainers[1].step(x[REPEATED], y[REPEATED])]
        a, b = (np.array([m.objective, m.error, m.gradient_norm]) for m in metrics)
        np.testing.assert_allclose(a, b, rtol=1e-11)
    a, b = (np.array(t.model.parameters) for t in trainers)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("phase", ["centered", "one-sided", "exact", "rbp", "own"])
@pytest.mark.parametrize("kind", ["kernels", "single precision", "graph", "Eigen", "energy"])
def test_steps_with_weights_of_one_have_the_bits_of_steps_without(
    kind: str, phase: str, optimizer: str
) -> None:
    way = Wrapped(PHASES["centered"]) if phase == "own" else PHASES[phase]
    single = kind == "single precision"
    models = [chain(4, 6, 5, 3, dtype="float32") if single else MODELS[kind]() for _ in range(2)]
    solver = eq.BlockUpdate(tolerance=1e-5) if single else solver_of(models[0], way)
    trainers = [eq.Trainer(m, way, OPTIMIZERS[optimizer](), solver=solver) for m in models]
    for seed in range(3):
        x, y = samples(models[0], seed)
        metrics = [trainers[0].step(x, y, np.ones(BATCH, int)), trainers[1].step(x, y)]
        assert metrics[0] == metrics[1]
    np.testing.assert_array_equal(models[0].parameters, models[1].parameters)


def test_a_batch_of_weight_zero_has_no_gradient() -> None:
    model = MODELS["kernels"]()
    before, (x, y) = np.array(model.parameters), samples(model)
    metrics = trainer_of(model, PHASES["centered"], "SGD", 3.0, eq.SquaredError()).step(x, y, np.zeros(BATCH))
    assert (model.parameters == before).all()
    assert (metrics.objective, metrics.error, metrics.gradient_norm) == (0, 0, 0)


def test_a_rare_sample_of_large_weight_is_no_objective_that_runs_away() -> None:
    model = MODELS["kernels"]()
    x, y = samples(model)
    trainer = trainer_of(model, PHASES["centered"], "Adam", 3.0, eq.SquaredError())
    trainer.step(x, y)
    assert trainer.step(x[:1], y[:1], [1000.0]).objective > 10 * 0.5
