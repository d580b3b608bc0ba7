"""Faults of a user's model that make figures meaningless are named, without an error of NumPy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from planted import Pair

Array = Any
X = np.random.default_rng(1).normal(size=(3, 3))
Y = np.random.default_rng(2).normal(size=(3, 2))


@pytest.fixture(autouse=True)
def without_warnings_of_the_free_phase() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        yield


def failed(report: verify.Report) -> list[str]:
    return [row.label for row in report.rows if not row.passed]


def advice(model: Any) -> str:
    return "\n".join(verify.derivatives(model, X).all_advice())


class Shrinking(Pair):
    """The gradient changes the parameters; with `replaces`, it replaces their array."""

    replaces, factor = False, 0.999

    def gradient(self, x: Array, s: Array) -> Array:
        if self.replaces:
            self.parameters = self.factor * self.parameters
        else:
            self.parameters *= self.factor
        return super().gradient(x, s)


@pytest.mark.parametrize("factor", [0.999, 1 - 1e-15])
@pytest.mark.parametrize("replaces", [False, True])
def test_a_gradient_that_changes_the_parameters_is_named_first(replaces: bool, factor: float) -> None:
    model = Shrinking()
    model.replaces, model.factor = replaces, factor
    array, kept = model.parameters, model.parameters.copy()
    report = verify.derivatives(model, X)
    assert "methods that change the parameters" in failed(report)
    first, *others = report.all_advice()
    assert first.startswith("gradient changes the parameters: after a call self.parameters has other numbers")
    assert not any(sentence.startswith(("Drift", "Memory", "Noise")) for sentence in others)
    assert model.parameters is array
    np.testing.assert_array_equal(array, kept)


class Symmetrising(Pair):
    """Symmetrises V in the array of the parameters; a V that is symmetric already does not change."""

    def __init__(self) -> None:
        super().__init__()
        self.tie()

    def tie(self) -> None:
        v = self.parameters[12:].reshape(4, 4)
        v[:] = (v + v.T) / 2

    def parameter_gradient(self, x: Array, s: Array) -> Array:
        self.tie()
        return super().parameter_gradient(x, s)


def test_a_projection_of_the_parameters_inside_a_method_is_named() -> None:
    report = verify.derivatives(Symmetrising(), X)
    assert failed(report) == ["methods that change the parameters"]
    assert report.all_advice()[0].startswith("parameter_gradient changes the parameters")


def test_a_product_that_changes_its_arguments_is_named() -> None:
    class Writing(Pair):
        def hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
            v *= 2
            return super().hessian_vector_product(x, s, v)

    assert "hessian_vector_product changes v, which it receives" in advice(Writing())


def with_nan(method: str) -> Pair:
    def changed(self: Pair, x: Array, s: Array) -> Array:
        value = getattr(Pair, method)(self, x, s).copy()
        value[..., -1] = np.nan
        return value

    return type("Undefined", (Pair,), {method: changed})()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("method", "where"),
    [
        ("gradient", "s[3] of sample 0"),
        ("energy", "sample 2"),
        ("parameter_gradient", "theta[27]"),
    ],
)
def test_a_value_that_is_not_finite_is_named(method: str, where: str) -> None:
    report = verify.derivatives(with_nan(method), X)
    assert not report.passed
    first = report.all_advice()[0]
    assert first.startswith(f"{method} is not finite: for {where} the value is nan")
    assert "other samples of their batch" not in "\n".join(report.all_advice())


def test_a_product_that_is_not_finite_fails_its_row() -> None:
    class Undefined(Pair):
        def hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
            return super().hessian_vector_product(x, s, v) * [[1, 1, np.nan, 1]]

    report = verify.derivatives(Undefined(), X)
    assert "hessian_vector_product = d gradient / ds . v" in failed(report)
    assert "for s[2] of sample 0 the value is nan; it should be" in "\n".join(report.advice)


class Unbounded(eq.Energy):
    """E = -theta s^2 / 2 - x s, which has no minimum."""

    def energy(self, x: Array, s: Array) -> Array:
        return (-self.parameters * s**2 / 2 - x * s).sum(axis=1)

    def gradient(self, x: Array, s: Array) -> Array:
        return -self.parameters * s - x


class Reversed(eq.VectorField):
    """Returns minus the velocity."""

    sign = -1

    def velocity(self, x: Array, s: Array) -> Array:
        return self.sign * (x - s + np.tanh(s @ self.parameters.reshape(3, 3)))


def unstable(kind: str) -> tuple[Any, Any]:
    if kind == "energy":
        return Unbounded(
            3, 2, np.array([0.3, 0.4, 0.5]), 3
        ), "The free phase diverged, and steps along +dE/ds"
    theta = 0.3 * np.random.default_rng(0).normal(size=9)
    return Reversed(
        3, 2, theta, 3
    ), "The free phase diverged, and it relaxes to a fixed point with the opposite"


@pytest.mark.parametrize("kind", ["energy", "field"])
def test_a_wrong_sign_is_named_where_the_free_phase_diverges(kind: str) -> None:
    model, words = unstable(kind)
    report = verify.derivatives(model, X)
    assert failed(report) == ["samples whose free phase diverged"]
    assert report.all_advice()[0].startswith(words)
    assert "No parameter has an effect" not in "\n".join(report.all_advice())
    assert verify.derivatives(model, X, state=np.full((3, 3), 0.1)).passed


@pytest.mark.parametrize("kind", ["energy", "field", "nan"])
def test_a_certificate_without_a_fixed_point_fails_without_an_error(kind: str) -> None:
    model = with_nan("gradient") if kind == "nan" else unstable(kind)[0]
    certificate = verify.certify(model, X, Y)
    assert not certificate.passed
    assert not any(report.passed for report in certificate.cases[0].reports)
    text = str(certificate)
    assert "because it is above 0" not in text
    assert "No parameter has an effect" not in text


def test_a_field_that_diverges_in_both_directions_has_no_wrong_sign() -> None:
    class Saddle(eq.VectorField):
        def velocity(self, x: Array, s: Array) -> Array:
            return x + s * np.array([1.0, -1.0, 1.0]) * self.parameters

    report = verify.derivatives(Saddle(3, 2, np.ones(3), 3), X)
    assert "samples whose free phase diverged" in failed(report)
    assert "opposite sign" not in "\n".join(report.all_advice())


def at_complex(change: Any) -> Any:
    """Return a `Pair` whose gradient is right at real states; `change` computes the signals."""

    class Changed(Pair):
        def gradient(self, x: Array, s: Array) -> Array:
            _, w, v = self.parts(s)
            u = change(np.tanh(s))
            return s - (1 - u**2) * (x @ w + u @ v)

    return Changed()


def cast(u: Array) -> Array:
    return np.array([[math.tanh(math.atanh(a.real)) for a in row] for row in u])


REAL_ONLY = {
    "conj": np.conj,
    "real": np.real,
    "math": cast,
    "branch": lambda u: 0.9 * u.real + 1j * u.imag if np.iscomplexobj(u) else u,
}


@pytest.mark.parametrize("name", REAL_ONLY)
def test_a_gradient_that_is_wrong_at_complex_states_is_named(name: str) -> None:
    report = verify.derivatives(at_complex(REAL_ONLY[name]), X)
    assert "gradient at complex states: a complex step equals differences" in failed(report)
    assert "gradient = dE/ds" not in failed(report)
    words = "gradient is right at real states, and wrong at complex ones: the derivative by a complex step"
    assert report.advice[0].startswith(words)
    assert "implement hessian_vector_product" in report.advice[0]


def test_an_energy_that_is_wrong_at_complex_states_does_not_blame_the_gradient() -> None:
    class Real(Pair):
        def energy(self, x: Array, s: Array) -> Array:
            return super().energy(x, s) - 0.3 * (s - np.real(s)).sum(axis=1)

    report = verify.derivatives(Real(), X)
    assert failed(report) == ["energy at complex states: a complex step equals differences"]
    assert report.advice[0].startswith("energy is right at real states, and wrong at complex ones")
    assert len(report.advice) == 1


def test_a_velocity_that_is_wrong_at_complex_states_is_named() -> None:
    class Real(Reversed):
        sign = 1

        def velocity(self, x: Array, s: Array) -> Array:
            return x - s + np.tanh(np.real(s) @ self.parameters.reshape(3, 3))

    report = verify.derivatives(Real(3, 2, 0.3 * np.random.default_rng(0).normal(size=9), 3), X)
    assert "velocity at complex states: a complex step equals differences" in failed(report)
    assert report.advice[0].startswith("velocity is wrong at complex states")


@pytest.mark.parametrize("steepness", [1.0, 300.0, 1e4, 1e7])
def test_differences_that_are_too_inexact_judge_no_complex_step(steepness: float) -> None:
    class Steep(eq.Energy):
        def energy(self, x: Array, s: Array) -> Array:
            a = steepness
            return (s**2 / 2 - x * s + 1e-3 * self.parameters * np.log(np.cosh(a * (s - 0.3))) / a).sum(1)

        def gradient(self, x: Array, s: Array) -> Array:
            return s - x + 1e-3 * self.parameters * np.tanh(steepness * (s - 0.3))

        def parameter_gradient(self, x: Array, s: Array) -> Array:
            return (1e-3 * np.log(np.cosh(steepness * (s - 0.3))) / steepness).sum(axis=0)

    state = 0.3 + np.random.default_rng(3).normal(size=(3, 3)) / steepness
    with np.errstate(over="ignore"):
        report = verify.derivatives(Steep(3, 2, np.array([0.3, 0.4, 0.5]), 3), X, state=state)
    rows = [row for row in report.rows if "complex states" in row.label]
    assert len(rows) == 3
    assert all(row.passed for row in rows), rows


class Caching(Pair):
    """Keeps a value of the first call with states of each shape."""

    method = ""

    def kept(self, s: Array) -> Array:
        self.values = getattr(self, "values", {})
        return self.values.setdefault((s.shape, s.dtype), s.copy())

    def gradient(self, x: Array, s: Array) -> Array:
        if self.method != "gradient":
            return super().gradient(x, s)
        u, w, v = self.parts(s)
        return s - (1 - np.tanh(self.kept(s)) ** 2) * (x @ w + u @ v)

    def parameter_gradient(self, x: Array, s: Array) -> Array:
        return super().parameter_gradient(x, self.kept(s) if self.method == "parameter_gradient" else s)


@pytest.mark.parametrize("method", ["gradient", "parameter_gradient"])
def test_a_cache_is_told_from_batch_normalisation(method: str) -> None:
    model = Caching()
    model.method = method
    text = advice(model)
    assert text.startswith(f"A batch of another size changes {method} by ")
    assert (
        "a value of an earlier call with the same shape is kept (a cache), or the batch size enters" in text
    )
    assert "other samples of their batch" not in text


@pytest.mark.parametrize("centred", ["x", "s"])
def test_a_mean_inside_a_sum_over_the_batch_is_a_coupling(centred: str) -> None:
    class Centred(Pair):
        def parameter_gradient(self, x: Array, s: Array) -> Array:
            if centred == "x":
                return super().parameter_gradient(x - x.mean(axis=0), s)
            return super().parameter_gradient(x, s - s.mean(axis=0))

    assert (
        "Samples depend on the other samples of their batch: alone they change parameter_gradient"
        in advice(Centred())
    )


def test_a_mask_is_named_only_where_the_gradient_is_right_near_the_fixed_point() -> None:
    class Doubled(Pair):
        def gradient(self, x: Array, s: Array) -> Array:
            return 2 * super().gradient(x, s)

    report = verify.derivatives(Doubled(), X)
    assert {"gradient = dE/ds", "gradient = dE/ds at far states"} <= set(failed(report))
    assert "a mask, a clip or a threshold is in only one" not in "\n".join(report.advice)


SHAPES = {
    "gradient": (lambda value: value.T, r"\(batch, units\): here \(3, 4\)\. Received \(4, 3\)"),
    "energy": (lambda value: value[:, None], r"\(batch,\): here \(3,\)\. Received \(3, 1\)"),
    "parameter_gradient": (
        lambda value: np.stack([value, value]),
        r"\(parameters,\), summed over the batch: here \(28,\)\. Received \(2, 28\)",
    ),
}


@pytest.mark.parametrize("method", SHAPES)
def test_a_wrong_shape_names_the_method_and_the_expected_shape(method: str) -> None:
    change, words = SHAPES[method]

    def changed(self: Pair, x: Array, s: Array) -> Array:
        return change(getattr(Pair, method)(self, x, s))

    model = type("Transposed", (Pair,), {method: changed})()
    rule = rf"^\[{method}\] {method} of Transposed returns an array of shape {words}\.$"
    with pytest.raises(ValueError, match=rule):
        verify.derivatives(model, X)


def test_figures_that_differ_have_enough_digits_to_show_it() -> None:
    class Decaying(Pair):
        def gradient(self, x: Array, s: Array) -> Array:
            return super().gradient(x, s) + 1e-9 * s

    (line,) = [text for text in verify.derivatives(Decaying(), X).advice if "for s[" in text]
    value, expected = line.rstrip(".").split("the value is ")[1].split("; it should be ")
    assert value != expected


def test_no_step_size_is_advised_where_none_is_stable() -> None:
    class Kinked(Pair):
        """The complex step through sign is 1 / |s|, which is 1e100 at the initial state."""

        def energy(self, x: Array, s: Array) -> Array:
            return super().energy(x, s) + 0.1 * np.abs(s).sum(axis=1)

        def gradient(self, x: Array, s: Array) -> Array:
            return super().gradient(x, s) + 0.1 * s / np.where(s == 0, 1, np.abs(s))

    solver = eq.Euler(tolerance=1e-14, max_iterations=200)
    problem = verify.prepare("test", Kinked(), X, Y, eq.SquaredError(), solver)
    assert verify.prepare("test", Kinked(), X, Y, eq.SquaredError(), None).solver.step_size > 1e-3
    text = "\n".join((*verify.equivalence(problem, steps=5).all_advice(), *problem.diagnosis.advice))
    assert "e-99" not in text
    assert "e-100" not in text
    assert "above 0" not in text
