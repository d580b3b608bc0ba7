"""Second phases of vector fields written in Python agree with a dense adjoint solution."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

X = np.array([[0.5, -1.0], [0.2, 0.3]])
Y = np.array([[0.3, -0.2], [0.1, 0.4]])
PRECISE = eq.Euler(tolerance=1e-13, max_iterations=100_000, step_size=0.2)
X3 = np.array([[0.9, -0.7, 0.4], [-0.3, 0.5, -0.8]])


def close(value: np.ndarray, reference: np.ndarray, tolerance: float) -> None:
    """Assert equality within a tolerance relative to the largest entry."""
    np.testing.assert_allclose(value, reference, rtol=0, atol=tolerance * np.abs(reference).max())


def distance(value: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(value - reference).max() / np.abs(reference).max())


class Flow(eq.VectorField):
    """mu = tanh(s W) + x - s with any W, so that dmu/ds is not symmetric."""

    def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.tanh(s @ self.matrix) + x - s

    @property
    def matrix(self) -> np.ndarray:
        return self.parameters.reshape(self.num_units, self.num_units)


class FlowByHand(Flow):
    """`Flow` with its own derivatives."""

    def slope(self, s: np.ndarray) -> np.ndarray:
        return 1 - np.tanh(s @ self.matrix) ** 2

    def jacobian_vector_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self.slope(s) * (v @ self.matrix) - v

    def vector_jacobian_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        return (self.slope(s) * v) @ self.matrix.T - v

    def parameter_vector_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        return (s.T @ (self.slope(s) * v)).ravel()


class RealFlow(FlowByHand):
    """`Flow` with methods that discard imaginary parts."""

    accepts_complex = False

    def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        assert not np.iscomplexobj(s)
        return super().velocity(x, s)


FLOWS = [Flow, FlowByHand, RealFlow]
KRYLOV = eq.GMRES(tolerance=1e-14)


def flow(kind: type[Flow] = Flow, units: int = 3, seed: int = 0) -> Flow:
    theta = 0.7 * np.random.default_rng(seed).normal(size=units**2) / units**0.5
    return kind(units, 2, theta, num_inputs=units)


def adjoint_solve(model: Flow, x: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return dJ/dW = sum <lambda, dmu/dW> with (dmu/ds)^T lambda = -dC/ds, by a dense solution per sample."""
    total = np.zeros_like(model.parameters)
    for state, target in zip(s, y, strict=True):
        slope = 1 - np.tanh(state @ model.matrix) ** 2
        jacobian = slope[:, None] * model.matrix.T - np.eye(len(state))
        force = np.zeros(len(state))
        force[-len(target) :] = state[-len(target) :] - target
        total += np.outer(state, slope * np.linalg.solve(jacobian.T, -force)).ravel() / len(x)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_derivatives_of_a_vector_field_come_by_complex_steps(seed: int) -> None:
    default, written = flow(Flow, 4, seed), flow(FlowByHand, 4, seed)
    x, s, v = np.random.default_rng(seed).normal(size=(3, 5, 4))
    for name in ("jacobian_vector_product", "vector_jacobian_product", "parameter_vector_product"):
        close(getattr(default, name)(x, s, v), getattr(written, name)(x, s, v), 1e-13)
    assert np.isnan(default.energy(x, s)).all()
    with pytest.raises(ValueError, match=r"^\[VectorField\] .* Received a vector field"):
        default.parameter_gradient(x, s)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.sampled_from(FLOWS), st.integers(2, 5), st.integers(1, 3), st.integers(0, 99))
def test_second_phases_of_a_vector_field_agree_with_a_dense_adjoint_solve(
    kind: type[Flow], units: int, batch: int, seed: int
) -> None:
    model, random = flow(kind, units, seed), np.random.default_rng(seed)
    x, y = random.normal(size=(batch, units)), random.normal(size=(batch, 2))
    free = eq.free_phase(model, x, solver=PRECISE)
    expected = adjoint_solve(model, x, free.state, y)
    side = eq.recurrent_backpropagation(model, free, y, linear_solver=KRYLOV)
    limit = eq.equilibrium_propagation(model, free, y, nudging=eq.exact_limit(), symmetrize=True)
    assert side.converged
    assert limit.converged
    close(side.parameters, expected, 1e-10)
    close(limit.parameters, expected, 1e-10)


def test_equilibrium_propagation_of_a_vector_field_is_biased_unless_symmetrized() -> None:
    model = flow()
    free = eq.free_phase(model, X3, solver=PRECISE)
    exact = adjoint_solve(model, X3, free.state, Y)

    def error(nudging: Any, symmetrize: bool) -> float:
        result = eq.equilibrium_propagation(model, free, Y, nudging=nudging, symmetrize=symmetrize)
        return distance(result.parameters, exact)

    assert error(eq.exact_limit(), False) > 0.01
    assert error(eq.centered(0.1), True) / error(eq.centered(0.05), True) == pytest.approx(4, rel=0.1)
    assert error(eq.holomorphic(0.1, 16), True) < 1e-11
    assert error(eq.holomorphic(0.1, 16), False) == pytest.approx(error(eq.exact_limit(), False), rel=1e-9)


def test_a_vector_field_unrolled_long_enough_has_the_same_gradient() -> None:
    model = flow()
    steps = eq.Euler(tolerance=0, max_iterations=300, step_size=0.3)
    free = eq.free_phase(model, X3, solver=steps, record=True)
    unrolled = eq.backpropagation_through_time(model, free, Y).parameters
    close(unrolled, adjoint_solve(model, X3, free.state, Y), 1e-10)


def test_conjugate_gradients_are_refused_where_there_is_no_energy() -> None:
    model = flow()
    free = eq.free_phase(model, X3)
    rule = r"^\[recurrent_backpropagation\] ConjugateGradient needs .* GMRES .* Received a model without"
    with pytest.raises(ValueError, match=rule):
        eq.recurrent_backpropagation(model, free, Y)


class Silent(Flow):
    """A vector field that discards imaginary parts and does not set accepts_complex to False."""

    def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.real(x - s)


def test_a_vector_field_of_real_states_needs_its_derivatives_written() -> None:
    model = flow(Silent)
    with pytest.raises(TypeError, match=r"^\[Energy\] .* Received a real array from velocity: override"):
        model.jacobian_vector_product(X3, X3, X3)
    free = eq.free_phase(model, X3)
    with pytest.raises(TypeError, match="Received a real array from velocity: override"):
        eq.equilibrium_propagation(model, free, Y, nudging=eq.exact_limit())
    refused = flow(type("Refused", (Flow,), {"accepts_complex": False}))
    for method in (refused.vector_jacobian_product, refused.parameter_vector_product):
        with pytest.raises(TypeError, match="Received accepts_complex = False: override"):
            method(X3, X3, X3)
