"""The reports say yes to what is right, and no to every planted mistake."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from equiprop.verify.suite import random_network, random_samples, run_suite
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import CLIPPED, POTENTIALS, SMOOTH, Oracle, Valley, chain, inputs, labels, skip

X = np.array([[0.5, -1.0], [0.2, 0.3]])
Y = np.array([[0.3, -0.2], [0.1, 0.4]])
few = settings(max_examples=15, deadline=None, derandomize=True)
costs = st.sampled_from([eq.SquaredError(), eq.CrossEntropy()])


@few
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.sampled_from(SMOOTH + CLIPPED),
    st.sampled_from(POTENTIALS),
    costs,
    st.integers(0, 99),
)
def test_the_theorem_holds_on_random_networks(
    sizes: list[int], activation: str, potential: str, cost: Any, seed: int
) -> None:
    net = chain(*sizes, activation=activation, potential=potential, seed=seed)
    report = verify.equivalence(net, inputs(net, 2, seed), labels(net, 2, seed), steps=60, cost=cost)
    assert report.passed
    assert report.max_relative_error < 1e-12
    assert len(report.state_errors) == len(report.parameter_errors) == 61
    assert report.error_derivatives.states.shape == (61, 2, net.num_units)
    assert report.temporal_derivatives.parameters.shape == (61, net.num_parameters)


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid", "relu"])
@pytest.mark.parametrize("build", [chain, skip])
def test_every_gradient_passes(build: Any, activation: str, potential: str) -> None:
    net = build(activation=activation, potential=potential)
    report = verify.gradients(net, inputs(net), labels(net), max_differences=30)
    assert report.passed, str(report)
    names = [row.name for row in report.rows]
    assert names[0] == "EqProp, exact_limit"
    assert names[-1] == "central finite differences"
    assert len(names) == 1 + 2 * 2 + 3 + 1
    errors = {row.name: row.relative_error for row in report.rows}
    assert (
        errors["EqProp, centered(0.001)"]
        < errors["EqProp, one_sided(0.001)"]
        < errors["EqProp, one_sided(0.1)"]
    )
    assert all(row.tolerance is None for row in report.rows[1:5])


def test_the_processes_start_and_end_where_the_theory_says() -> None:
    net = chain(4, 6, 3, potential="quadratic")
    x, y = inputs(net), labels(net)
    report = verify.equivalence(net, x, y, steps=400, step_size=0.25)
    force = Oracle(net).force(report.free.state, np.eye(3)[y])
    np.testing.assert_allclose(report.error_derivatives.states[0], force, rtol=0, atol=1e-15)
    assert (report.error_derivatives.parameters[0] == 0).all()
    gradient, _, _ = Oracle(net).implicit(x, np.eye(3)[y])
    np.testing.assert_allclose(report.error_derivatives.parameters[-1], gradient, rtol=0, atol=1e-12)
    np.testing.assert_allclose(report.temporal_derivatives.parameters[-1], gradient, rtol=0, atol=1e-12)
    assert np.abs(report.error_derivatives.states[-1]).max() < 1e-12


def test_a_finite_beta_shows_its_bias() -> None:
    net = chain(4, 6, 3, potential="quadratic")
    x, y = inputs(net), labels(net)
    report = verify.equivalence(net, x, y, nudging=eq.one_sided(0.1), tolerance=1e-12)
    assert not report.passed
    assert 1e-4 < report.max_relative_error < 1
    assert verify.equivalence(net, x, y, nudging=eq.one_sided(0.1), tolerance=1.0).passed


@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy()])
@pytest.mark.parametrize("build", [chain, skip])
def test_the_orders_are_one_and_two(cost: Any, build: Any) -> None:
    net = build()
    report = verify.orders(net, inputs(net), labels(net), cost=cost, steps=80)
    assert report.passed
    assert report.slopes == pytest.approx({"one_sided": 1, "centered": 2}, abs=0.1)
    assert "order" in str(report)
    assert len(str(report).splitlines()) == 2 + len(report.betas)
    wrong = verify.OrdersReport(report.betas, report.errors, {**report.slopes, "centered": 1.0})
    assert not wrong.passed


def test_single_precision_networks_are_verified_in_double() -> None:
    net = chain(dtype="float32")
    report = verify.equivalence(net, inputs(net), labels(net))
    assert report.passed
    assert report.free.state.dtype == np.float64
    assert net.dtype == np.float32


class WrongSign(Valley):
    """The cubic force has the wrong sign, as if it were not the slope of the energy it is written for."""

    def hessian_vector_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        return super().hessian_vector_product(x, s, v) - 6 * s**2 * v


class Lopsided(Valley):
    """A force that is the slope of no energy."""

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return super().gradient(x, s) + 0.2 * np.roll(s, 1, axis=1) * [[1, 0, 0]]


class WrongParameterGradient(Valley):
    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return super().parameter_gradient(x, s) * ([-1] * 3 + [1] * 6)


class DroppedBias(Valley):
    """The force forgets one of the terms of the parameter gradient."""

    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return super().parameter_gradient(x, s) * ([1] * 3 + [0] + [1] * 5)


class WrongMixed(Valley):
    def mixed_derivative_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        return -super().mixed_derivative_product(x, s, v)


@pytest.mark.parametrize("mistake", [WrongSign, WrongMixed])
def test_the_theorem_fails_on_a_wrong_derivative(mistake: type[Valley]) -> None:
    report = verify.equivalence(mistake(), X, Y, steps=50)
    assert not report.passed
    assert report.max_relative_error > 1e-3
    assert "DOES NOT HOLD" in str(report)


@pytest.mark.parametrize("mistake", [WrongSign, Lopsided, WrongParameterGradient, DroppedBias, WrongMixed])
def test_the_gradients_fail_on_a_wrong_derivative(mistake: type[Valley]) -> None:
    report = verify.gradients(mistake(), X, Y, betas=[])
    assert not report.passed
    assert "FAILED" in str(report)


def test_the_right_energy_passes_what_the_wrong_ones_fail() -> None:
    assert verify.equivalence(Valley(), X, Y, steps=50).passed
    assert verify.gradients(Valley(), X, Y, betas=[]).passed


def test_a_free_phase_that_did_not_converge_fails_the_reports() -> None:
    net = chain()
    solver = eq.BlockUpdate(tolerance=1e-14, max_iterations=2)
    with pytest.warns(eq.ConvergenceWarning):
        report = verify.equivalence(net, inputs(net), labels(net), solver=solver, steps=5)
    assert not report.passed
    with pytest.warns(eq.ConvergenceWarning):
        assert not verify.gradients(net, inputs(net), labels(net), solver=solver, betas=[]).passed


def test_reports_are_readable_and_drawable() -> None:
    net = chain(4, 6, 3, activation="hard_sigmoid")
    report = verify.equivalence(net, inputs(net), labels(net), steps=20)
    assert "EqProp (exact_limit) = RBP holds over 20 steps" in str(report)
    assert f"{(~report.free_units).sum()} of {report.free_units.size} units held by a bound" in str(report)
    assert report.plot().get_title().startswith("Two second phases")
    gradients = str(verify.gradients(net, inputs(net), labels(net), betas=[0.5]))
    assert "EqProp, centered(0.5)" in gradients
    assert "RBP, ConjugateGradient" in gradients


def test_recording_too_much_is_refused_before_it_begins() -> None:
    net = chain()
    with pytest.raises(ValueError, match=r"at most 2048 MiB\. Received 10000000 steps .* use fewer steps"):
        verify.equivalence(net, inputs(net), labels(net), steps=10_000_000)


@pytest.mark.parametrize("build", [chain, skip])
def test_the_implicit_gradient_is_the_oracles(build: Any) -> None:
    net = build()
    x, y = inputs(net), labels(net)
    free = eq.free_phase(net, x, solver=eq.BlockUpdate(tolerance=1e-14))
    expected, _, _ = Oracle(net).implicit(x, np.eye(3)[y])
    reference = verify.implicit_gradient(net, free, y, eq.SquaredError())
    np.testing.assert_allclose(reference, expected, rtol=0, atol=1e-12)
    kept = net.parameters.copy()
    chosen = np.array([0, 7, net.num_parameters - 1])
    slopes = verify.finite_differences(net, x, y, eq.SquaredError(), free.solver, chosen)
    np.testing.assert_allclose(slopes, expected[chosen], rtol=0, atol=1e-8)
    np.testing.assert_array_equal(net.parameters, kept)


def test_the_suite_runs_the_networks_it_is_asked_for() -> None:
    options: dict[str, Any] = {
        "cost": eq.SquaredError(),
        "steps": 20,
        "step_size": None,
        "samples": 2,
        "seed": 1,
    }
    cases = list(run_suite(model=None, layers=[3, 4, 2], activation=None, potential="legendre", **options))
    assert [case.orders is None for case in cases] == [False, False, True]
    assert all(case.passed == case.as_dict()["passed"] for case in cases)
    assert all(str(case).startswith("PASS") for case in cases)
    net = random_network([3, 4, 2], "tanh", "quadratic", 5)
    x, y = random_samples(net, 7, 5)
    assert x.shape == (7, 3)
    assert ((x >= 0) & (x < 1)).all()
    assert ((y >= 0) & (y < 2)).all()
    assert (net.blocks["b1"] != 0).all()
