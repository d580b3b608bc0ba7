"""Energies written in Python work with all phases and checks."""

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
    """Return the minimum of E + beta |o - y|^2 / 2 by Newton's method for each sample."""
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
    assert eq.verify.orders(valley, X, Y).passed


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
    assert np.shares_memory(valley.blocks["theta"], valley.parameters)
    assert valley.block_slices == {"theta": slice(0, 9)}
    gradient = eq.recurrent_backpropagation(valley, one, Y[:1])
    assert np.shares_memory(gradient.blocks["theta"], gradient.parameters)
    eq.SGD(0.1).step(valley.parameters, gradient.parameters, valley.block_slices)


class Whim(Exception):
    """An exception class that the user defines."""


METHODS = ["gradient", "parameter_gradient", "hessian_vector_product", "mixed_derivative_product"]


def use(valley: Valley) -> None:
    """Call all methods of an energy."""
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
    """An energy with absolute values, which are not holomorphic."""

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


class Bare(Valley):
    """`Valley` with energy and gradient only."""

    parameter_gradient = eq.Energy.parameter_gradient


LINEAR = eq.ConjugateGradient(tolerance=1e-14)


def close(value: np.ndarray, reference: np.ndarray, tolerance: float) -> None:
    """Assert equality within a tolerance relative to the largest entry."""
    np.testing.assert_allclose(value, reference, rtol=0, atol=tolerance * np.abs(reference).max())


def distance(value: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(value - reference).max() / np.abs(reference).max())


@pytest.mark.parametrize("seed", range(5))
def test_parameter_derivatives_come_by_complex_steps_of_the_parameters(seed: int) -> None:
    bare, valley = Bare(4, 2, 3, seed), Valley(4, 2, 3, seed)
    random = np.random.default_rng(seed)
    x, s, v = random.normal(size=(5, 3)), random.normal(size=(5, 4)), random.normal(size=(5, 4))
    close(bare.parameter_gradient(x, s), valley.parameter_gradient(x, s), 1e-13)
    close(bare.mixed_derivative_product(x, s, v), valley.mixed_derivative_product(x, s, v), 1e-13)
    np.testing.assert_array_equal(bare.parameters, valley.parameters)


def test_the_products_stay_exact_at_any_scale_of_the_vector() -> None:
    random = np.random.default_rng(0)
    s, v = random.normal(size=(2, 2, 3))
    for model in (Bare(), Valley()):
        for scale in (1e-150, 1e150):
            close(
                model.hessian_vector_product(X, s, scale * v) / scale,
                model.hessian_vector_product(X, s, v),
                1e-14,
            )
            mixed = model.mixed_derivative_product
            close(mixed(X, s, scale * v) / scale, mixed(X, s, v), 1e-13)


def test_energy_and_gradient_alone_give_every_gradient() -> None:
    bare, valley = Bare(), Valley()
    free = eq.free_phase(bare, X, solver=PRECISE)
    side = eq.recurrent_backpropagation(bare, free, Y, linear_solver=LINEAR).parameters
    close(side, implicit(valley, X, Y), 1e-9)
    close(eq.equilibrium_propagation(bare, free, Y, nudging=eq.exact_limit()).parameters, side, 1e-10)


def test_complex_nudging_needs_a_parameter_gradient_for_complex_states() -> None:
    bare = Bare()
    free = eq.free_phase(bare, X)
    with pytest.raises(ValueError, match=r"^\[holomorphic\] .* Received Bare"):
        eq.equilibrium_propagation(bare, free, Y, nudging=eq.holomorphic(0.2, 4))
    with pytest.raises(
        TypeError, match=r"^\[Energy\] Complex nudging needs .* Received one by complex steps"
    ):
        bare.parameter_gradient(X, free.state + 0j)


@pytest.mark.parametrize("points", [2, 4, 6])
def test_the_error_of_complex_nudging_falls_as_the_radius_to_the_number_of_points(points: int) -> None:
    valley = Valley()
    free = eq.free_phase(valley, X, solver=PRECISE)
    exact = eq.equilibrium_propagation(valley, free, Y, nudging=eq.exact_limit()).parameters
    wide, narrow = (
        distance(
            eq.equilibrium_propagation(valley, free, Y, nudging=eq.holomorphic(r, points)).parameters, exact
        )
        for r in (0.4, 0.2)
    )
    assert wide / narrow == pytest.approx(2**points, rel=0.3)


def test_many_points_of_complex_nudging_reach_the_exact_limit() -> None:
    valley = Valley()
    free = eq.free_phase(valley, X, solver=PRECISE)
    exact = eq.equilibrium_propagation(valley, free, Y, nudging=eq.exact_limit()).parameters
    close(
        eq.equilibrium_propagation(valley, free, Y, nudging=eq.holomorphic(0.2, 24)).parameters, exact, 1e-11
    )


class Kinked(eq.Energy):
    """E = |s|^2/2 + k sum max(s, 0)^2/2 + (a.s)^2/2 - x.s, by methods that refuse complex states."""

    accepts_complex = False

    def split(self, *states: np.ndarray) -> tuple[float, np.ndarray]:
        assert not any(np.iscomplexobj(state) for state in states)
        return self.parameters[0], self.parameters[1:]

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        k, a = self.split(s)
        return ((s**2 + k * np.maximum(s, 0) ** 2) / 2 - x * s).sum(axis=1) + (s @ a) ** 2 / 2

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        k, a = self.split(s)
        return s + k * np.maximum(s, 0) + np.outer(s @ a, a) - x

    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        _, a = self.split(s)
        return np.concatenate([[(np.maximum(s, 0) ** 2).sum() / 2], (s @ a) @ s])

    def hessian_vector_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        k, a = self.split(s, v)
        return v + k * np.where(s > 0, v, 0) + np.outer(v @ a, a)

    def mixed_derivative_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        _, a = self.split(s, v)
        return np.concatenate([[(np.maximum(s, 0) * v).sum()], (v @ a) @ s + (s @ a) @ v])


KINKED = Kinked(3, 2, np.array([2.0, 0.4, -0.3, 0.5]))
X3 = np.array([[0.9, -0.7, 0.4], [-0.3, 0.5, -0.8]])


def test_written_derivatives_do_for_an_energy_of_real_states() -> None:
    free = eq.free_phase(KINKED, X3, solver=PRECISE)
    assert (free.state > 0.1).any()
    assert (free.state < -0.1).any()
    k, a = KINKED.split()
    adjoint = np.zeros_like(X3)
    for j, s in enumerate(free.state):
        force = np.concatenate([[0.0], s[1:] - Y[j]])
        adjoint[j] = np.linalg.solve(np.diag(1 + k * (s > 0)) + np.outer(a, a), force)
    expected = -KINKED.mixed_derivative_product(X3, free.state, adjoint) / len(X3)
    side = eq.recurrent_backpropagation(KINKED, free, Y, linear_solver=LINEAR)
    limit = eq.equilibrium_propagation(KINKED, free, Y, nudging=eq.exact_limit())
    close(side.parameters, expected, 1e-12)
    close(limit.parameters, expected, 1e-10)
    with pytest.raises(ValueError, match=r"^\[holomorphic\] .* Received Kinked"):
        eq.equilibrium_propagation(KINKED, free, Y, nudging=eq.holomorphic(0.2, 4))


@pytest.mark.parametrize(
    "method", ["parameter_gradient", "hessian_vector_product", "mixed_derivative_product"]
)
def test_an_energy_of_real_states_has_no_derivatives_but_those_written(method: str) -> None:
    default = type("Default", (Kinked,), {method: getattr(eq.Energy, method)})(3, 2, KINKED.parameters)
    arguments = [X3] * (2 if method == "parameter_gradient" else 3)
    with pytest.raises(TypeError, match=r"^\[Energy\] .* Received accepts_complex = False: override"):
        getattr(default, method)(*arguments)


def test_the_exact_limit_of_methods_that_drop_the_imaginary_part_is_refused() -> None:
    free = eq.free_phase(Rough(), X)
    with pytest.raises(TypeError, match=r"^\[Energy\] .* Received a real array from gradient: override"):
        eq.equilibrium_propagation(Rough(), free, Y, nudging=eq.exact_limit())
    half = type("Half", (Rough,), {"gradient": Valley.gradient})()
    free = eq.free_phase(half, X)
    for nudging in (eq.exact_limit(), eq.holomorphic(0.2, 4)):
        with pytest.raises(TypeError, match="Received a real array from parameter_gradient: override"):
            eq.equilibrium_propagation(half, free, Y, nudging=nudging)


class Deaf(Bare):
    """An energy that reads its parameters once, so that changes of them have no effect."""

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return Valley(self.num_units, self.num_outputs, x.shape[1]).energy(x, s)


def test_parameters_that_are_not_read_are_missed() -> None:
    with pytest.raises(TypeError, match=r"^\[Energy\] .* Received a real array from Deaf"):
        Deaf().parameter_gradient(X, np.ones((2, 3)))


class Named(Valley):
    @property
    def block_slices(self) -> dict[str, slice]:
        return {"a": slice(0, self.num_units), "B": slice(self.num_units, len(self.parameters))}


def test_parameters_may_have_blocks_with_names() -> None:
    named = Named()
    named.blocks["a"][:] = [0.1, 0.2, 0.3]
    np.testing.assert_array_equal(named.parameters[:3], [0.1, 0.2, 0.3])
    gradient = eq.recurrent_backpropagation(named, eq.free_phase(named, X), Y)
    np.testing.assert_array_equal(gradient.blocks["B"], gradient.parameters[3:])
    before = named.parameters.copy()
    trainer = eq.Trainer(named, optimizer=eq.SGD({"a": 0.0, "B": 0.1}), batch_size=2)
    trainer.fit(eq.Dataset(X, Y), epochs=1)
    np.testing.assert_array_equal(named.blocks["a"], before[:3])
    assert (named.blocks["B"] != before[3:]).all()


def test_models_are_told_apart_by_identity() -> None:
    valley = Valley()
    assert valley == valley
    assert valley != Valley()
    assert repr(valley) == "Valley(3 units, 9 parameters)"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused(bad: float) -> None:
    valley = Valley(3, 2, 2, 0)
    x, y = np.ones((2, 2)), np.zeros((2, 2))
    trainer, free, good = eq.Trainer(valley), eq.free_phase(valley, x), valley.parameters.copy()
    valley.parameters[1] = bad
    rule = rf"^\[clamp\] All parameters are finite\. Received parameters\[1\] = {bad}\. If training diverged,"
    for call in (
        lambda: trainer.predict(x),
        lambda: trainer.evaluate(eq.Dataset(x, y)),
        lambda: trainer.step(x, y),
        lambda: eq.free_phase(valley, x),
        lambda: eq.equilibrium_propagation(valley, free, y),
        lambda: eq.equilibrium_propagation(valley, free, y, nudging=eq.exact_limit()),
        lambda: eq.recurrent_backpropagation(valley, free, y),
        lambda: eq.verify.derivatives(valley, x),
        lambda: eq.verify.equivalence(valley, x, y),
        lambda: valley.clamp_dual(x),
        lambda: valley.clamp_complex(x),
    ):
        with pytest.raises(ValueError, match=rule):
            call()
    valley.parameters[:] = good
    np.testing.assert_array_equal(eq.free_phase(valley, x).state, free.state)
