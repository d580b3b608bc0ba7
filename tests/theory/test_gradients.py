"""All methods give the same dJ/dtheta: EqProp in the limit, RBP with each solver, finite differences."""

from __future__ import annotations

import equiprop as eq
import numpy as np
import pytest
from equiprop.verify.problem import precise_free_phase
from random_networks import BOUNDED, SMOOTH, random_architecture, random_network, random_samples

ACTIVATIONS = (*SMOOTH, *BOUNDED, "linear")
COSTS = [eq.SquaredError(), eq.CrossEntropy()]


@pytest.mark.parametrize("cost", COSTS, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("seed", range(10))
def test_ten_random_architectures(seed: int, cost: eq.SquaredError) -> None:
    activation = ACTIVATIONS[seed % len(ACTIVATIONS)]
    potential = ("quadratic", "legendre")[seed % 2]
    net = random_network(
        random_architecture(seed), activation, potential, seed=seed, output_activation="linear", gain=0.3
    )
    report = eq.verify.gradients(net, *random_samples(net, seed=seed), cost=cost, betas=[])
    errors = {way.name: way.relative_error for way in report.ways}
    assert all(way.converged for way in report.ways), errors
    assert max(error for name, error in errors.items() if "differences" not in name) <= 1e-10, errors
    assert errors["central finite differences"] <= 1e-7
    assert report.passed


@pytest.mark.parametrize("phase", ["limit", "rbp"])
@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid"])
def test_the_gradient_by_the_input(phase: str, activation: str) -> None:
    net = random_network([3, 5, 2], activation, seed=5)
    x, y = random_samples(net, batch=2)
    solver = eq.BlockUpdate if net.has_block_update else eq.Euler
    options = solver(tolerance=1e-14, max_iterations=10_000)

    def objective(points: np.ndarray) -> float:
        outputs = eq.free_phase(net, points, solver=options).outputs
        return float(0.5 * ((outputs - np.eye(2)[y]) ** 2).sum(axis=1).mean())

    free = eq.free_phase(net, x, solver=options)
    if phase == "limit":
        gradient = eq.equilibrium_propagation(net, free, y, nudging=eq.exact_limit())
    else:
        gradient = eq.recurrent_backpropagation(net, free, y)
    h = 1e-6
    for index in np.ndindex(*x.shape):
        shift = np.zeros_like(x)
        shift[index] = h
        slope = (objective(x + shift) - objective(x - shift)) / (2 * h)
        assert gradient.inputs[index] == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("sizes", [[4, 6, 3], [4, 6, 5, 3], [4, 6, 5, 4, 3]])
def test_orders_in_beta(sizes: list[int], activation: str) -> None:
    """One-sided EqProp has an error of O(beta), centered EqProp of O(beta^2) (Laborieux et al. 2021).

    The expansion converges for |beta| < R; a gain of 4 brings R near 0.1, so betas are small.
    """
    net = random_network(sizes, activation, seed=1)
    report = eq.verify.orders(net, *random_samples(net), betas=(1e-2, 1e-3, 1e-4, 1e-5), points=())
    assert report.slopes["one_sided"] == pytest.approx(1.0, abs=0.1)
    assert report.slopes["centered"] == pytest.approx(2.0, abs=0.1)
    assert report.passed


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.3), (-0.3, 0.0), (-0.3, 0.3)])
def test_finite_beta_is_the_exact_gradient_of_a_surrogate(low: float, high: float) -> None:
    """EqProp is the exact gradient of (F*(high) - F*(low)) / (high - low), F* = min E + beta C.

    Scellier et al. (2023). The oracle is fourth-order differences of F*, by relaxing E + beta C in
    NumPy: their error is h^4 = 1e-12 times a derivative of order one, and rounding / h = 1e-13.
    """
    net = random_network([3, 4, 2], "tanh", seed=7)
    x, y = random_samples(net, batch=1)
    target = np.eye(2)[y]

    def minimum(beta: float) -> float:
        state = net.initial_state(1)
        energy = net.clamp(x)
        for _ in range(400):
            force = energy.gradient(state)
            force[:, -2:] += beta * (state[:, -2:] - target)
            state = state - 0.3 * force
        return float(energy.energy(state)[0] + beta * 0.5 * ((state[:, -2:] - target) ** 2).sum())

    free = precise_free_phase(net, x)
    betas = [beta for beta in (low, high) if beta]
    rule = eq.centered(high) if len(betas) == 2 else eq.one_sided(betas[0])
    estimate = eq.equilibrium_propagation(net, free, y, nudging=rule).parameters
    h, theta = 1e-3, net.parameters
    for i in range(0, net.num_parameters, 3):
        kept, slope = theta[i], 0.0
        for shift, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            theta[i] = kept + shift * h
            slope += weight * (minimum(high) - minimum(low)) / (high - low) / (12 * h)
        theta[i] = kept
        assert estimate[i] == pytest.approx(slope, abs=1e-10)


def test_surrogates_bound_the_objective() -> None:
    """F* is concave in beta, so the mean of C(s^beta) below 0 bounds J from above, above 0 from below."""
    net = random_network([4, 6, 3], "tanh", seed=2)
    x, y = random_samples(net, batch=1)
    target = np.eye(3)[y]

    def cost(beta: float) -> float:
        state, energy = net.initial_state(1), net.clamp(x)
        for _ in range(400):
            force = energy.gradient(state)
            force[:, -3:] += beta * (state[:, -3:] - target)
            state = state - 0.3 * force
        return float(0.5 * ((state[:, -3:] - target) ** 2).sum())

    costs = [cost(beta) for beta in (-0.3, -0.1, 0.0, 0.1, 0.3)]
    assert costs == sorted(costs, reverse=True)


def test_an_unfinished_free_phase_cancels() -> None:
    """One-sided EqProp has only the bias of beta if free and nudged states are relaxed for as many steps.

    With the stored free state, which has not converged, the error would be residual / beta.
    """
    net = random_network([4, 6, 3], "tanh", seed=1)
    x, y = random_samples(net, batch=1)
    solver = eq.Euler(tolerance=0.0, max_iterations=200, step_size=0.3)
    exact = eq.recurrent_backpropagation(net, precise_free_phase(net, x), y).parameters
    scale = np.abs(exact).max()

    def error(steps: int) -> float:
        free = eq.free_phase(net, x, solver=eq.Euler(tolerance=0.0, max_iterations=steps, step_size=0.3))
        rule = eq.one_sided(1e-3)
        return float(
            np.abs(
                eq.equilibrium_propagation(net, free, y, nudging=rule, solver=solver).parameters - exact
            ).max()
            / scale
        )

    bias = error(400)
    assert bias < 1e-2
    assert error(10) == pytest.approx(bias, rel=1e-3)


def test_bounded_states_err_linearly_until_the_active_set_changes() -> None:
    """Between its kinks a bounded network is smooth, so EqProp has the same orders in beta."""
    net = random_network([4, 6, 5, 3], "hard_sigmoid", seed=3, gain=0.8, output_activation="linear")
    x, y = random_samples(net, batch=2)
    free_units = net.clamp(x).mobility(precise_free_phase(net, x).state) != 0
    assert 0 < free_units[:, :-3].sum() < free_units[:, :-3].size
    report = eq.verify.orders(net, x, y, betas=(1e-3, 1e-4, 1e-5))
    assert report.slopes["one_sided"] == pytest.approx(1.0, abs=0.1)
    assert report.slopes["centered"] == pytest.approx(2.0, abs=0.1)
