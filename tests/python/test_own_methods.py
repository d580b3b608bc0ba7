"""Methods of energies that a user writes: arrays in place, missing results, dropped imaginary parts."""

from __future__ import annotations

import equiprop as eq
import numpy as np
import pytest
from networks import Valley

X = np.array([[0.5, -1.0], [0.2, 0.3]])


class Bare(Valley):
    """`Valley` with energy and gradient only."""

    parameter_gradient = eq.Energy.parameter_gradient


@pytest.mark.parametrize("state", [0.0, 1.0])
def test_a_view_of_the_parameters_from_the_constructor_is_missed(state: float) -> None:
    """Also where the derivative by the parameters is zero, as it is at s = 0."""
    bare = Bare()
    bare.energy = lambda x, s, theta=bare.parameters: (theta[:3] * s**2).sum(axis=1)  # type: ignore[method-assign,misc]
    with pytest.raises(TypeError, match=r"need methods that read `parameters` at each call"):
        bare.parameter_gradient(X, np.full((2, 3), state))


class InPlace(eq.Energy):
    """E = |s|^2 / 2 - theta x s_0, whose gradient is computed in an array like s."""

    def __init__(self, copies: bool = True) -> None:
        super().__init__(2, 1, np.array([1.5]), num_inputs=1)
        self.copies = copies

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return (s**2).sum(axis=1) / 2 - (self.parameters * x * s[:, :1]).sum(axis=1)

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        g = s.copy() if self.copies else np.empty_like(s)
        if self.copies:
            g[:, :1] -= self.parameters * x
        else:
            g[:, :1], g[:, 1:] = s[:, :1] - self.parameters * x, s[:, 1:]
        return g


@pytest.mark.parametrize("copies", [True, False])
def test_a_gradient_may_be_written_into_an_array_like_the_state(copies: bool) -> None:
    model, x, v = InPlace(copies), np.array([[0.3], [0.2]]), np.array([[1.0, 2.0], [4.0, 3.0]])
    assert model.mixed_derivative_product(x, v, v) == pytest.approx(-(0.3 * 1 + 0.2 * 4), rel=1e-15)
    assert model.mixed_derivative_product(x, v, np.zeros((2, 2))).tolist() == [0.0]
    report = eq.verify.derivatives(model)
    assert report.passed, str(report)
    assert eq.verify.gradients(model, x, np.array([[0.1], [0.4]])).passed


class NoReturn(Bare):
    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:  # type: ignore[return]
        super().energy(x, s)

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:  # type: ignore[return]
        super().gradient(x, s)


def test_a_missing_return_is_named() -> None:
    model, v = NoReturn(), np.ones((2, 3))
    words = r"^\[Energy\] {} returns an array\. Received None: is a return missing\?$"
    with pytest.raises(TypeError, match=words.format("energy")):
        model.parameter_gradient(X, v)
    for product in (model.hessian_vector_product, model.mixed_derivative_product):
        with pytest.raises(TypeError, match=words.format("gradient")):
            product(X, v, v)
    with pytest.raises(TypeError, match=words.format("gradient")):
        eq.verify.gradients(model, X, X)


def test_an_energy_that_drops_imaginary_parts_is_named() -> None:
    """Its gradient is right, so its derivatives are not blamed."""
    valley = Valley()
    whole = valley.energy
    valley.energy = lambda x, s: whole(x, s.real)  # type: ignore[method-assign]
    with pytest.raises(TypeError, match=r"^\[Energy\] .* Received a real array from energy: override"):
        eq.verify.derivatives(valley, X)


class Opposite(Valley):
    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return -super().parameter_gradient(x, s)


def test_gradients_name_the_check_that_finds_a_wrong_derivative() -> None:
    report = eq.verify.gradients(Opposite(), X, X)
    assert report.outcome == "fails"
    (sentence,) = report.advice
    assert sentence.startswith("The gradients of central finite differences differ from")
    assert "eq.verify.derivatives(model) compares each of them" in sentence
    named = (
        "parameter_gradient = dE/dtheta: block theta has the opposite sign. "
        "Confidence: it explains more than 99.99 % of the difference."
    )
    assert named in eq.verify.derivatives(Opposite(), X).advice
    assert eq.verify.gradients(Valley(), X, X).advice == ()


class Moving(Valley):
    """The gradient moves the state that it receives."""

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        s += 0.1
        return super().gradient(x, s)


class MovingAtRandom(Moving):
    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return super().gradient(x, s) + 1e-3 * np.random.default_rng().normal(size=s.shape)


class Scaled(Valley):
    """The energy scales the input that it receives."""

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        x *= 1.01
        return super().energy(x, s)


class Doubling(Valley):
    """The gradient doubles the input that it receives, and so does the gradient that it is compared with."""

    in_place = True

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        if self.in_place:
            x *= 2
        else:
            x = 2 * x
        return super().gradient(x, s)


def test_a_method_that_writes_into_x_changes_no_array_of_the_caller() -> None:
    x, writing, other = X.copy(), Doubling(), Doubling()
    other.in_place = False
    free = eq.free_phase(writing, x)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(free.state, eq.free_phase(other, X).state)


def test_a_method_that_changes_its_arguments_is_named_before_its_effects() -> None:
    state = "gradient changes s, which it receives"
    for claim in (eq.verify.derivatives(Moving(), X), eq.verify.gradients(Moving(), X, X)):
        assert claim.outcome == "fails"
        assert claim.all_advice()[0].startswith(state)
    rough = eq.Euler(tolerance=1e-2, step_size=0.3)
    problem = eq.verify.prepare("test", MovingAtRandom(), X, X, eq.SquaredError(), rough)
    noise, moved, remark, *_ = eq.verify.derivatives(problem).all_advice()
    assert noise.startswith("Noise inside gradient")
    assert moved.startswith(state)
    assert remark.startswith("Repair this first")
    problem = eq.verify.prepare("test", Scaled(), X.copy(), X, eq.SquaredError(), None)
    assert "energy changes x" in [cause.sentence.split(",")[0] for cause in problem.causes]
    sound = eq.verify.prepare("test", Valley(), X, X, eq.SquaredError(), None)
    assert sound.causes == ()
