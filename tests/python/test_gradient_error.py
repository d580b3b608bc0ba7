"""The estimated error of a gradient is near the true one, and is lowered by further relaxation, or marked."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Status

DIGITS, _ = eq.load_digits()
EXACT = eq.BlockUpdate(tolerance=1e-12, max_iterations=20_000)


def batch(size: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return DIGITS.batch(np.arange(start, start + size), "float32")


def trained(*sizes: int, steps: int = 60, dtype: str = "float64", **options: Any) -> eq.HopfieldNetwork:
    net = eq.HopfieldNetwork([64, *sizes, 10], seed=0, **options)
    trainer = eq.Trainer(net)
    for k in range(steps):
        trainer.step(*batch(50, 50 * (k % 28)))
    return net.astype(dtype)


def relative_errors(found: eq.Gradient, exact: eq.Gradient) -> np.ndarray:
    """Return the relative error of each sample's dJ/dx."""
    difference = np.linalg.norm(found.inputs - exact.inputs, axis=1)
    return difference / np.linalg.norm(exact.inputs, axis=1)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def two_units() -> eq.HopfieldNetwork:
    """A network near the loss of stability, whose free state is a little below the upper bound."""
    net = eq.HopfieldNetwork([1, 1, 1], activation="hard_sigmoid", seed=0)
    for name, value in {"W1": 0.004, "W2": 0.999, "b1": 0.0, "b2": 0.0}.items():
        net.blocks[name][...] = value
    return net


class Saddle(eq.Energy):
    """Two units that excite each other beyond their leaks: s = 0 is stationary, but a saddle."""

    def energy(self, x: Any, s: Any) -> Any:
        u, (w, v) = np.tanh(s), self.parameters
        return (s * s).sum(1) / 2 - w * u[:, 0] * u[:, 1] - v * x[:, 0] * u[:, 0]

    def gradient(self, x: Any, s: Any) -> Any:
        u, (w, v) = np.tanh(s), self.parameters
        return s - (1 - u**2) * np.stack([w * u[:, 1] + v * x[:, 0], w * u[:, 0]], 1)

    def parameter_gradient(self, x: Any, s: Any) -> Any:
        u = np.tanh(s)
        return np.array([-(u[:, 0] * u[:, 1]).sum(), -(x[:, 0] * u[:, 0]).sum()])


@pytest.mark.parametrize("nudging", [eq.centered(0.25), eq.one_sided(0.1)])
@pytest.mark.parametrize("activation", ["hard_sigmoid", "tanh", "sigmoid"])
def test_the_estimate_is_near_the_true_error_of_nudged_phases(activation: str, nudging: Any) -> None:
    """With a fixed number of steps nothing is relaxed further, and the estimate has to tell the error."""
    net = eq.HopfieldNetwork([64, 48, 10], activation=activation, seed=1, gain=0.5, dtype="float64")
    x, y = batch(60)
    free = eq.free_phase(net, x.astype(float), solver=EXACT)
    exact = eq.equilibrium_propagation(net, free, y, nudging=nudging)
    loose = eq.BlockUpdate(tolerance=3e-2)
    found = eq.equilibrium_propagation(net, free, y, nudging=nudging, solver=loose)
    errors = relative_errors(found, exact)
    assert found.converged
    assert errors.max() > 1e-3
    assert (errors < 2 * found.error_estimate).mean() > 0.9
    assert np.median(found.error_estimate / errors) < 30
    assert exact.error_estimate.max() < 1e-6


@pytest.mark.parametrize("sizes", [(64,), (64, 64)])
@pytest.mark.parametrize("phase", ["centered", "rbp"])
def test_the_training_step_takes_an_accurate_gradient(phase: str, sizes: tuple[int, ...]) -> None:
    """The step of the default tolerances is the exact gradient wherever no sample is marked."""
    second: Any = eq.RecurrentBackpropagation() if phase == "rbp" else eq.EquilibriumPropagation()
    net = trained(*sizes, dtype="float32")
    for start in (0, 300, 600, 900):
        x, y = batch(50, start)
        double = net.astype("float64")
        free = eq.free_phase(double, x.astype(float), solver=EXACT)
        if phase == "rbp":
            exact = eq.recurrent_backpropagation(double, free, y)
        else:
            exact = eq.equilibrium_propagation(double, free, y, nudging=eq.centered(0.25))
        copy = net.astype("float32")
        metrics = eq.Trainer(copy, second, eq.SGD(1e-2, momentum=0.0)).step(x, y)
        taken = (net.parameters.astype(float) - copy.parameters.astype(float)) / 1e-2
        assert metrics.gradient_error <= 0.05 or metrics.unconverged > 0
        assert metrics.unconverged > 0 or cosine(taken, exact.parameters) > 0.998


class Recorded(eq.Adam):
    """Adam that keeps its last gradient."""

    last: Any = None

    def step(self, parameters: Any, gradient: Any, blocks: Any, factor: float = 1.0) -> None:
        self.last = gradient.astype(float)
        super().step(parameters, gradient, blocks, factor)


def test_late_steps_under_cross_entropy_are_exact_or_counted() -> None:
    """Responses fall below the error of the free state, and phases near rounding measure A badly."""
    nudging = eq.one_sided(0.25)
    net = eq.HopfieldNetwork([64, 64, 10], activation="relu", seed=0)
    trainer = eq.Trainer(net, eq.EquilibriumPropagation(nudging), Recorded("auto"), eq.CrossEntropy())
    trainer.prepare(DIGITS)
    order = np.random.default_rng(0)
    for step in range(30 * 28):
        if step % 28 == 0:
            rows = order.permutation(len(DIGITS))
        x, y = DIGITS.batch(np.sort(rows[50 * (step % 28) :][:50]), "float32")
        checked = step > 400 and step % 10 == 0
        double = trainer.model.astype("float64") if checked else None
        metrics = trainer.step(x, y)
        if double is None or metrics.unconverged:
            continue
        free = eq.free_phase(double, x.astype(float), solver=EXACT)
        exact = eq.equilibrium_propagation(
            double, free, y, cost=trainer.cost, nudging=nudging, solver=EXACT, on_failure="ignore"
        )
        assert cosine(trainer.optimizer.last, exact.parameters) > 0.998, step


def test_a_step_near_the_loss_of_stability_is_exact_or_counted() -> None:
    net, x, y = two_units(), np.array([[1.0]]), np.array([[0.5]])
    exact = net.astype("float64")
    free = eq.free_phase(exact, x, solver=eq.BlockUpdate(tolerance=1e-13, max_iterations=100_000))
    gmres = eq.GMRES(tolerance=1e-12)
    want = eq.recurrent_backpropagation(exact, free, y, linear_solver=gmres).parameters
    before = net.parameters.astype(float)
    patient = eq.BlockUpdate(tolerance=5e-3, max_iterations=5000)
    trainer = eq.Trainer(net, eq.RecurrentBackpropagation(), eq.SGD(1e-3, momentum=0.0), solver=patient)
    metrics = trainer.step(x, y)
    got = (before - net.parameters.astype(float)) / 1e-3
    assert metrics.unconverged == 0
    assert metrics.free_iterations > 100
    assert np.linalg.norm(got - want) < 0.02 * np.linalg.norm(want)
    hurried = eq.BlockUpdate(tolerance=5e-3, max_iterations=20)
    net = two_units()
    trainer = eq.Trainer(net, eq.RecurrentBackpropagation(), eq.SGD(1e-3, momentum=0.0), solver=hurried)
    metrics = trainer.step(x, y)
    assert metrics.unconverged == 1
    assert metrics.advice


PHASES: dict[str, Any] = {
    "centered": lambda model, free, y: eq.equilibrium_propagation(model, free, y, on_failure="ignore"),
    "one-sided": lambda model, free, y: eq.equilibrium_propagation(
        model, free, y, nudging=eq.one_sided(1e-3), on_failure="ignore"
    ),
    "RBP by CG": lambda model, free, y: eq.recurrent_backpropagation(model, free, y, on_failure="ignore"),
    "RBP by GMRES": lambda model, free, y: eq.recurrent_backpropagation(
        model, free, y, linear_solver=eq.GMRES(), on_failure="ignore"
    ),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_saddle_is_marked_by_every_second_phase(phase: str) -> None:
    model, x, y = Saddle(2, 1, np.array([2.0, 0.3]), 1), np.zeros((1, 1)), np.ones((1, 1))
    free = eq.free_phase(model, x)
    assert np.abs(free.state).max() < 1e-6
    failed = PHASES[phase](model, free, y)
    assert (failed.status == Status.INDEFINITE).all()
    (advice,) = failed.advice
    assert "scale the weights down" in advice
    smaller = Saddle(2, 1, np.array([0.5, 0.3]), 1)
    assert PHASES[phase](smaller, eq.free_phase(smaller, x), y).converged
    if "another state" in advice:
        elsewhere = eq.free_phase(model, x, initial=np.full((1, 2), 0.5))
        assert PHASES[phase](model, elsewhere, y).converged


@pytest.mark.parametrize("kind", ["centered", "one_sided"])
@pytest.mark.parametrize("beta", [1e-5, 3e-6])
def test_a_beta_below_the_precision_is_marked_with_one_that_is_enough(beta: float, kind: str) -> None:
    net = eq.HopfieldNetwork([64, 32, 10], seed=0)
    x, y = batch(20)
    free = eq.free_phase(net, x)
    rule = getattr(eq, kind)
    failed = eq.equilibrium_propagation(net, free, y, nudging=rule(beta), on_failure="ignore")
    assert (failed.status == Status.INACCURATE).mean() > 0.8
    (advice,) = failed.advice
    enough = float(advice.split(" to ")[1].split(":")[0])
    assert beta < enough <= 0.5
    cured = eq.equilibrium_propagation(net, free, y, nudging=rule(enough))
    assert cured.converged
    double = net.astype("float64")
    exact = eq.equilibrium_propagation(
        double, eq.free_phase(double, x.astype(float)), y, nudging=eq.exact_limit()
    )
    assert cosine(cured.parameters.astype(float), exact.parameters) > 0.998
    free = eq.free_phase(double, x.astype(float))
    assert eq.equilibrium_propagation(double, free, y, nudging=rule(beta)).converged


def test_a_loose_free_state_is_marked_by_rbp_and_cured_as_advised() -> None:
    net = trained(64)
    x, y = batch(50)
    loose = eq.free_phase(net, x.astype(float), solver=eq.BlockUpdate(tolerance=0.3))
    failed = eq.recurrent_backpropagation(net, loose, y, on_failure="ignore")
    assert (failed.status == Status.INACCURATE).any()
    (advice,) = failed.advice
    assert "ower the tolerance of the free phase" in advice
    cured = eq.recurrent_backpropagation(net, eq.free_phase(net, x.astype(float)), y)
    assert cured.converged
    coarse = eq.ConjugateGradient(tolerance=0.2)
    failed = eq.recurrent_backpropagation(net, loose, y, linear_solver=coarse, on_failure="ignore")
    assert any("Lower the tolerance of the linear solver (0.2)" in sentence for sentence in failed.advice)


def test_samples_are_relaxed_further_on_their_own() -> None:
    """Only the samples whose estimate is too large take more steps, and no bit of the others changes."""
    net = trained(64, 64, dtype="float32")
    x, y = batch(40)
    solver = eq.BlockUpdate(tolerance=2e-2, anderson=1)
    free = eq.free_phase(net, x, solver=solver)
    together = eq.equilibrium_propagation(net, free, y, nudging=eq.centered(0.25), on_failure="ignore")
    for rows in (slice(0, 7), slice(7, 40)):
        part = eq.free_phase(net, x[rows], solver=solver)
        alone = eq.equilibrium_propagation(net, part, y[rows], nudging=eq.centered(0.25), on_failure="ignore")
        for name in ("status", "iterations", "residual", "error_estimate"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(together, name)[rows])


def test_a_fixed_number_of_steps_stays_fixed() -> None:
    net = trained(64)
    x, y = batch(10)
    free = eq.free_phase(net, x.astype(float))
    fixed = eq.BlockUpdate(tolerance=0, max_iterations=1)
    gradient = eq.equilibrium_propagation(net, free, y, solver=fixed)
    assert (gradient.iterations == 1).all()
    assert (gradient.status == Status.FIXED_STEPS).all()


def test_the_metrics_of_a_step_carry_the_estimate() -> None:
    net = trained(64, dtype="float32")
    x, y = batch(20)
    trainer = eq.Trainer(net, eq.EquilibriumPropagation(eq.centered(1e-6)))
    metrics = trainer.step(x, y)
    assert metrics.gradient_error > 0.05
    assert metrics.inaccurate == metrics.unconverged == 20
    assert any("Raise |beta| (1e-06)" in sentence for sentence in metrics.advice)


def test_a_free_state_far_from_its_fixed_point_is_no_start() -> None:
    net, x, y = two_units().astype("float64"), np.array([[1.0]]), np.array([[0.5]])
    early = eq.free_phase(net, x, solver=eq.BlockUpdate(tolerance=3.9e-3))
    assert early.converged
    assert early.error_estimate[0] > 0.1
    failed = eq.equilibrium_propagation(net, early, y, on_failure="ignore")
    assert failed.status[0] > Status.FIXED_STEPS
    assert any("Lower the tolerance of the free phase" in sentence for sentence in failed.advice), (
        failed.advice
    )
    late = eq.free_phase(net, x, solver=eq.BlockUpdate(max_iterations=5000))
    assert eq.equilibrium_propagation(net, late, y).converged
