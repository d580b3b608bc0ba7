"""An energy written in Python goes through the same phases and checks as a network."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Valley

PRECISE = eq.Euler(tolerance=1e-13, max_iterations=100_000, step_size=0.2)
Y = np.array([[0.3, -0.2], [0.1, 0.4]])
X = np.array([[0.5, -1.0], [0.2, 0.3]])


def newton(valley: Valley, x: np.ndarray, y: np.ndarray, beta: float = 0.0) -> np.ndarray:
    """The minimum of E + beta |o - y|^2 / 2 by Newton's method, one sample after the other."""
    a, s = valley.parameters[: valley.num_units], np.zeros((len(x), valley.num_units))
    outputs = np.arange(valley.num_units) >= valley.num_units - valley.num_outputs
    for j in range(len(x)):
        for _ in range(50):
            slope = valley.gradient(x[j : j + 1], s[j : j + 1])[0]
            slope[outputs] += beta * (s[j, outputs] - y[j])
            hessian = np.diag(1 + 3 * s[j] ** 2 + beta * outputs) + np.outer(a, a)
            s[j] -= np.linalg.solve(hessian, slope)
    return s


def implicit(valley: Valley, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a, h, s = valley.parameters[: valley.num_units].copy(), 1e-6, newton(valley, x, y)
    total = np.zeros_like(valley.parameters)
    for j in range(len(x)):
        force = np.zeros(valley.num_units)
        force[-valley.num_outputs :] = s[j, -valley.num_outputs :] - y[j]
        adjoint = np.linalg.solve(np.diag(1 + 3 * s[j] ** 2) + np.outer(a, a), force)
        # E is quadratic in theta, so central differences of dE/ds in theta are exact.
        for i in range(len(total)):
            kept = valley.parameters[i]
            slopes = []
            for sign in (1, -1):
                valley.parameters[i] = kept + sign * h
                slopes.append(valley.gradient(x[j : j + 1], s[j : j + 1])[0])
            valley.parameters[i] = kept
            total[i] -= adjoint @ (slopes[0] - slopes[1]) / (2 * h) / len(x)
    return total


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_free_and_second_phases_agree_with_newton(units: int, inputs: int, batch: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    outputs = int(random.integers(1, units + 1))
    valley = Valley(units, outputs, inputs, seed)
    x, y = random.normal(size=(batch, inputs)), random.normal(size=(batch, outputs))
    free = eq.free_phase(valley, x, solver=PRECISE)
    np.testing.assert_allclose(free.state, newton(valley, x, y), rtol=0, atol=1e-12)
    expected = implicit(valley, x, y)
    linear = eq.ConjugateGradient(tolerance=1e-14)
    results = [
        eq.equilibrium_propagation(valley, free, y, nudging=eq.exact_limit()),
        eq.recurrent_backpropagation(valley, free, y, linear_solver=linear),
    ]
    for result in results:
        np.testing.assert_allclose(result.parameters, expected, rtol=0, atol=1e-9)
        assert result.inputs.size == 0
    beta = 0.1
    above, below = (valley.parameter_gradient(x, newton(valley, x, y, b)) for b in (beta, -beta))
    centered = eq.equilibrium_propagation(valley, free, y, nudging=eq.centered(beta))
    np.testing.assert_allclose(centered.parameters, (above - below) / (2 * beta * batch), rtol=0, atol=1e-10)


def test_verification_accepts_an_energy() -> None:
    valley = Valley()
    report = eq.verify.equivalence(valley, X, Y, steps=100)
    assert report.passed
    assert report.max_relative_error < 1e-12
    assert eq.verify.gradients(valley, X, Y, betas=[]).passed
    assert eq.verify.orders(valley, X, Y, steps=50).passed


def test_second_derivatives_come_by_complex_steps_to_the_last_digits() -> None:
    valley = Valley()
    random = np.random.default_rng(0)
    s, v = random.normal(size=(2, 2, 3))
    a = valley.parameters[:3]
    product = v + 3 * s**2 * v + np.outer(v @ a, a)
    np.testing.assert_allclose(valley.hessian_vector_product(X, s, v), product, rtol=1e-14)
    mixed = np.concatenate([(v @ a) @ s + (s @ a) @ v, -(v.T @ X).ravel()])
    np.testing.assert_allclose(valley.mixed_derivative_product(X, s, v), mixed, rtol=1e-13, atol=1e-15)


def test_one_sample_may_be_a_vector_and_parameters_are_one_block() -> None:
    valley = Valley()
    one, many = eq.free_phase(valley, X[0]), eq.free_phase(valley, X[:1])
    np.testing.assert_array_equal(one.state, many.state)
    assert valley.blocks["theta"] is valley.parameters
    assert valley.block_slices == {"theta": slice(0, 9)}
    gradient = eq.recurrent_backpropagation(valley, one, Y[:1])
    assert gradient.blocks["theta"] is gradient.parameters
    eq.SGD(0.1).step(valley.parameters, gradient.parameters, valley.block_slices)


class Whim(Exception):
    """An exception of the user's own."""


METHODS = ["gradient", "parameter_gradient", "hessian_vector_product", "mixed_derivative_product"]


def use(valley: Valley) -> None:
    """Call everything an energy has to offer."""
    free = eq.free_phase(valley, X)
    eq.equilibrium_propagation(valley, free, Y)
    eq.recurrent_backpropagation(valley, free, Y)
    valley.clamp(X).energy(free.state)


@pytest.mark.parametrize("method", ["energy", *METHODS])
def test_an_exception_of_a_method_comes_through_unchanged(method: str) -> None:
    error = Whim("my own words")

    def fail(*_: Any) -> Any:
        raise error

    valley = Valley()
    use(valley)
    setattr(valley, method, fail)
    with pytest.raises(Whim) as caught:
        use(valley)
    assert caught.value is error


@pytest.mark.parametrize("method", ["energy", *METHODS])
@pytest.mark.parametrize(
    "wrong",
    [lambda a: a[:-1], lambda a: a[..., None], lambda a: a.sum(), lambda a: [*a.ravel().tolist(), 0.0]],
)
def test_a_result_of_the_wrong_shape_is_refused_by_name(method: str, wrong: Any) -> None:
    valley = Valley()
    right = getattr(valley, method)
    setattr(valley, method, lambda *arguments: wrong(np.asarray(right(*arguments))))
    with pytest.raises(ValueError, match=rf"^\[{method}\] .* documented shape. Received \("):
        use(valley)


def test_a_result_that_is_no_array_is_refused() -> None:
    valley = Valley()
    valley.gradient = lambda *_: "steep"  # type: ignore[method-assign]
    with pytest.raises(TypeError, match=r"^\[gradient\] .* array of numbers. Received .*str"):
        use(valley)


class Rough(Valley):
    """Takes absolute values, which are not holomorphic."""

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return super().gradient(x, np.real(s)) + 0.1 * np.abs(s)

    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return super().parameter_gradient(x, np.real(s))


def test_an_energy_that_is_not_holomorphic_must_override_its_second_derivatives() -> None:
    free = eq.free_phase(Rough(), X)
    with pytest.raises(TypeError, match=r"^\[Energy\] .* Received a real array from gradient: override"):
        eq.recurrent_backpropagation(Rough(), free, Y)
    with pytest.raises(TypeError, match="real array from parameter_gradient"):
        Rough().mixed_derivative_product(X, free.state, free.state)
    assert eq.equilibrium_propagation(Rough(), free, Y).converged


def test_an_abstract_energy_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        eq.Energy(1, 1)  # type: ignore[abstract]
