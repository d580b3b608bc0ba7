"""EqProp equals RBP at every step for any step size (Scellier & Bengio 2019, theorem 3).

The oracle is dense linear algebra: S-bar_n = (I - eps H)^n c and Theta-bar_n = -eps sum_k E_ths S-bar_k.
"""

from __future__ import annotations

import equiprop as eq
import numpy as np
import pytest
from equiprop.verify.problem import precise_free_phase
from random_networks import BOUNDED, SMOOTH, random_architecture, random_network, random_samples


@pytest.mark.parametrize("potential", ["quadratic", "legendre"])
@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("seed", range(6))
def test_states_and_parameters_agree_at_every_step(seed: int, activation: str, potential: str) -> None:
    net = random_network(random_architecture(seed), activation, potential, seed=seed)
    report = eq.verify.equivalence(net, *random_samples(net, seed=seed), steps=200)
    assert report.free.converged
    assert np.abs(report.error_derivatives.states[0]).max() > 0.1
    assert report.max_relative_error <= 1e-13
    assert report.passed


@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy()])
def test_the_equality_holds_for_both_costs_and_linear_outputs(cost: eq.SquaredError) -> None:
    net = random_network([4, 6, 5, 3], "tanh", output_activation="linear")
    report = eq.verify.equivalence(net, *random_samples(net), cost=cost, steps=200)
    assert report.max_relative_error <= 1e-13


def test_the_equality_needs_no_stable_step() -> None:
    """If the step of Euler is not stable, both processes grow, and agree relative to their size.

    The rounding error of s* grows by the same factor, so the tolerance is proportional to it.
    """
    net = random_network([4, 6, 3], "tanh", seed=3)
    report = eq.verify.equivalence(net, *random_samples(net), step_size=2.5, steps=12)
    sizes = np.abs(report.error_derivatives.states).max(axis=(1, 2))
    growth = sizes[-1] / sizes[0]
    assert growth > 10
    assert report.max_relative_error <= 100 * np.finfo(float).eps * growth


#: Gains for which units reach their bounds; relu has no upper bound, so its gain is smaller.
GAINS = {"hard_sigmoid": 0.8, "half_hard_sigmoid": 0.8, "relu": 0.5}


@pytest.mark.parametrize("activation", BOUNDED)
@pytest.mark.parametrize("seed", range(4))
def test_units_held_by_a_bound_have_no_temporal_derivative(seed: int, activation: str) -> None:
    net = random_network(random_architecture(seed), activation, seed=seed, gain=GAINS[activation])
    report = eq.verify.equivalence(net, *random_samples(net, seed=seed), steps=200)
    held = ~report.free_units
    assert (report.temporal_derivatives.states[:, held] == 0).all()
    assert report.max_relative_error <= 1e-13


def test_some_of_the_bounded_networks_have_units_on_both_sides() -> None:
    nets = [random_network(random_architecture(s), "hard_sigmoid", seed=s, gain=0.8) for s in range(4)]
    free = [
        eq.verify.equivalence(n, *random_samples(n, seed=s), steps=1).free_units for s, n in enumerate(nets)
    ]
    counts = np.concatenate([units.ravel() for units in free])
    assert counts.any()
    assert not counts.all()


@pytest.mark.parametrize("potential", ["quadratic", "legendre"])
def test_error_derivatives_follow_their_closed_form(potential: str) -> None:
    net = random_network([4, 5, 3], "tanh", potential, seed=2)
    x, y = random_samples(net, batch=1)
    report = eq.verify.equivalence(net, x, y, steps=20, step_size=0.1)
    energy, state = net.clamp(x), report.free.state
    identity = np.eye(net.num_units)
    hessian = np.column_stack([energy.hessian_vector_product(state, e[None])[0] for e in identity])
    s_bar = np.r_[np.zeros(5), state[0, -3:] - np.eye(3)[y[0]]]
    theta_bar = np.zeros(net.num_parameters)
    for n in range(21):
        np.testing.assert_allclose(report.error_derivatives.states[n, 0], s_bar, atol=1e-14)
        np.testing.assert_allclose(report.error_derivatives.parameters[n], theta_bar, atol=1e-14)
        theta_bar = theta_bar - 0.1 * energy.mixed_derivative_product(state, s_bar[None])
        s_bar = (identity - 0.1 * hessian) @ s_bar


def test_error_derivatives_are_those_of_the_projected_cost() -> None:
    """S-bar_n = dL/ds(s*, n) with L(s, n) the cost after n steps from s; central differences."""
    net = random_network([4, 5, 3], "tanh", seed=4)
    x, y = random_samples(net, batch=1)
    report = eq.verify.equivalence(net, x, y, steps=12, step_size=0.3)
    solver = eq.Euler(tolerance=0.0, max_iterations=12, step_size=0.3)

    def projected_cost(start: np.ndarray) -> float:
        outputs = eq.free_phase(net, x, solver=solver, initial=start[None]).outputs[0]
        return float(0.5 * ((outputs - np.eye(3)[y[0]]) ** 2).sum())

    h = 1e-6
    slopes = [
        (projected_cost(report.free.state[0] + h * e) - projected_cost(report.free.state[0] - h * e))
        / (2 * h)
        for e in np.eye(net.num_units)
    ]
    np.testing.assert_allclose(report.error_derivatives.states[12, 0], slopes, atol=1e-9)


def test_the_last_step_is_the_gradient() -> None:
    """Theta-bar_n -> dJ/dtheta, with the remainder (1 - eps lambda_min)^n."""
    net = random_network([4, 6, 5, 3], "tanh", seed=1)
    x, y = random_samples(net)
    report = eq.verify.equivalence(net, x, y, steps=400)
    gradient = eq.recurrent_backpropagation(net, precise_free_phase(net, x), y)
    scale = np.abs(gradient.parameters).max()
    np.testing.assert_allclose(
        report.temporal_derivatives.parameters[-1], gradient.parameters, atol=1e-10 * scale
    )
