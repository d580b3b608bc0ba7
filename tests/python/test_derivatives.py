"""`eq.verify.derivatives` accepts correct models, and names the derivative that is wrong in others."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from networks import CLIPPED, POTENTIALS, SMOOTH, Valley, chain, inputs, skip

X = np.array([[0.5, -1.0], [0.2, 0.3]])
Y = np.array([[0.3, -0.2], [0.1, 0.4]])


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("activation", SMOOTH + CLIPPED)
@pytest.mark.parametrize("build", [chain, skip])
def test_every_network_passes(build: Any, activation: str, potential: str) -> None:
    report = verify.derivatives(build(activation=activation, potential=potential))
    assert report.passed, str(report)
    assert len(report.rows) == 12
    assert report["parameters without effect"] == 0
    assert report.advice == ()


def test_separate_feedback_is_checked_as_a_vector_field() -> None:
    net = chain(4, 6, 5, 3, potential="quadratic").variant(feedback="separate")
    net.blocks["B2"][:] += 0.1
    report = verify.derivatives(net)
    assert report.passed, str(report)
    assert report["asymmetry |J - J^T| / |J|"] > 0.01
    labels = [row.label for row in report.rows]
    assert "jacobian_vector_product = d velocity / ds . v" in labels
    assert "parameter_vector_product = d <v, velocity> / dtheta" in labels


def test_the_right_energy_passes() -> None:
    report = verify.derivatives(Valley(), X)
    assert report.passed
    exact = [row for row in report.rows if row.high == 1e-12]
    assert len(exact) >= 5  # by complex steps
    assert max(row.value for row in exact) < 1e-14


class RealOnly(Valley):
    """`Valley` without complex states, so that differences replace complex steps."""

    accepts_complex = False

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        assert not np.iscomplexobj(s)
        return super().gradient(x, s)

    def hessian_vector_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        a = self.parameters[: self.num_units]
        return v + 3 * s**2 * v + np.outer(v @ a, a)

    def mixed_derivative_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        a = self.parameters[: self.num_units]
        return np.concatenate([(v @ a) @ s + (s @ a) @ v, -(v.T @ x).ravel()])


def test_a_real_model_is_judged_by_differences() -> None:
    report = verify.derivatives(RealOnly(), X)
    assert report.passed, str(report)
    assert report["gradient = dE/ds"] < 1e-10


class WrongHessian(Valley):
    """The cubic term of the Hessian has the wrong sign."""

    def hessian_vector_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        return super().hessian_vector_product(x, s, v) - 6 * s**2 * v


class Lopsided(Valley):
    """A force that is not the gradient of any energy."""

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return super().gradient(x, s) + 0.2 * np.roll(s, 1, axis=1) * [[1, 0, 0]]


class ConstantForce(Valley):
    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return super().gradient(x, s) + 0.3


class HalvedParameterGradient(Valley):
    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return super().parameter_gradient(x, s) * ([0.5] * 3 + [1] * 6)


class WrongMixed(Valley):
    def mixed_derivative_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        return -super().mixed_derivative_product(x, s, v)


class BatchMates(Valley):
    """The gradient of a sample depends on the other samples of the batch."""

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return super().gradient(x, s) + 1e-6 * (s.mean(axis=0) - s)


MISTAKES: list[tuple[type[Valley], list[str]]] = [
    (WrongHessian, ["hessian_vector_product = d gradient / ds . v: for s["]),
    (Lopsided, ["gradient = dE/ds: for s[0]", "The Jacobian is not symmetric", "within s"]),
    (ConstantForce, ["gradient = dE/ds: for s[", "a constant force is missing or is added, such as a bias"]),
    (HalvedParameterGradient, ["parameter_gradient = dE/dtheta: for theta[", "should be"]),
    (
        WrongMixed,
        ["mixed_derivative_product = d parameter_gradient / ds . v: block theta has the opposite sign"],
    ),
    (BatchMates, ["gradient: a batch equals its samples: for s["]),
]


@pytest.mark.parametrize(("mistake", "words"), MISTAKES, ids=lambda v: getattr(v, "__name__", ""))
def test_each_mistake_is_named(mistake: type[Valley], words: list[str]) -> None:
    report = verify.derivatives(mistake(), X)
    assert not report.passed
    assert "DOES NOT HOLD" in str(report)
    text = "\n".join(report.advice)
    for word in words:
        assert word in text, text


@pytest.mark.parametrize("mistake", [WrongHessian, Lopsided, WrongMixed])
def test_the_theorem_fails_on_it_too(mistake: type[Valley]) -> None:
    report = verify.equivalence(mistake(), X, Y, steps=50)
    assert not report.passed
    assert report.all_advice()


@pytest.mark.parametrize(
    "mistake", [WrongHessian, Lopsided, ConstantForce, HalvedParameterGradient, WrongMixed]
)
def test_a_certificate_of_it_fails(mistake: type[Valley]) -> None:
    certificate = verify.certify(mistake(), X, Y, claims=["derivatives", "gradients"])
    assert not certificate.passed
    assert "FAIL" in str(certificate)


class Deaf(Valley):
    """The methods read some parameters from a copy that is made once."""

    def __init__(self, ignored: slice) -> None:
        super().__init__()
        self.ignored, self.copy = ignored, self.parameters.copy()

    @property
    def block_slices(self) -> dict[str, slice]:
        return {"a": slice(0, 3), "B": slice(3, 9)}

    def read(self) -> np.ndarray:
        theta = self.parameters.copy()
        theta[self.ignored] = self.copy[self.ignored]
        return theta

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        a, b = self.read()[:3], self.read()[3:].reshape(3, 2)
        return (s**2 / 2 + s**4 / 4 - s * (x @ b.T)).sum(axis=1) + (s @ a) ** 2 / 2

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        a, b = self.read()[:3], self.read()[3:].reshape(3, 2)
        return s + s**3 + np.outer(s @ a, a) - x @ b.T

    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        slopes = np.concatenate([(s @ self.read()[:3]) @ s, -(s.T @ x).ravel()])
        slopes[self.ignored] = 0
        return slopes


@pytest.mark.parametrize(
    ("ignored", "count", "words"),
    [
        (
            slice(0, 9),
            9,
            "No parameter has an effect: a change does not change any bit of energy and gradient",
        ),
        (slice(3, 9), 6, "No parameter of block B has an effect"),
        (slice(0, 3), 3, "No parameter of block a has an effect"),
        (slice(4, 5), 1, "Parameters without effect are B[1]:"),
        (slice(2, 4), 2, "Parameters without effect are a[2], B[0]:"),
    ],
)
def test_parameters_that_nothing_depends_on_are_named(ignored: slice, count: int, words: str) -> None:
    report = verify.derivatives(Deaf(ignored), X)
    assert report["parameters without effect"] == count
    assert [row.label for row in report.rows if not row.passed] == ["parameters without effect"]
    assert report.advice[0].startswith(words)
    assert "not a copy of them" in report.advice[0]


def test_a_small_block_among_many_parameters_is_looked_at_as_a_whole() -> None:
    report = verify.derivatives(Deaf(slice(0, 3)), X, max_parameters=1)
    assert report["parameters without effect"] == 3


class DeafField(eq.VectorField):
    def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return x - s + 0.3 * np.tanh(np.roll(s, 1, axis=1))


def test_a_vector_field_that_ignores_its_parameters_is_named() -> None:
    report = verify.derivatives(DeafField(3, 1, np.array([0.1, 0.2]), 3))
    assert not report.passed
    rule = "No parameter has an effect: a change does not change any bit of the velocity"
    assert report.advice[0].startswith(rule)


def test_weights_of_an_input_that_is_always_zero_have_an_effect() -> None:
    net = chain(4, 6, 3)
    x = inputs(net)
    x[:, 1] = 0
    kept = net.parameters.copy()
    assert verify.derivatives(net, x).passed
    np.testing.assert_array_equal(net.parameters, kept)


@pytest.mark.parametrize("seed", [24, 27, 29, 30, 34, 35])
@pytest.mark.parametrize("activation", CLIPPED)
def test_a_state_near_the_end_of_a_range_is_no_mistake(activation: str, seed: int) -> None:
    """Near saturation the fifth derivative may be so large that the differences need a smaller step."""
    report = verify.derivatives(skip(activation=activation, potential="legendre"), seed=seed)
    assert report.passed, str(report)


class WrongTranspose(eq.VectorField):
    def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return x - s + 0.3 * np.tanh(np.roll(s, 1, axis=1))

    def vector_jacobian_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self.jacobian_vector_product(x, s, v)


def test_a_transpose_that_is_none_is_named() -> None:
    report = verify.derivatives(WrongTranspose(3, 1, num_inputs=3))
    assert not report.passed
    assert "vector_jacobian_product is not the transpose of jacobian_vector_product." in report.advice


def test_the_state_may_be_given_and_is_checked() -> None:
    net = chain(4, 6, 3)
    state = np.full((2, 9), 0.1)
    assert verify.derivatives(net, inputs(net, 2), state=state).passed
    with pytest.raises(ValueError, match=r"\[derivatives\] `state` has shape \(batch, 9\)"):
        verify.derivatives(net, inputs(net, 2), state=state[:, :5])


def test_an_input_is_needed_where_none_can_be_invented() -> None:
    with pytest.raises(ValueError, match=r"\[derivatives\] An input x, or a model with num_inputs"):
        verify.derivatives(Valley())
