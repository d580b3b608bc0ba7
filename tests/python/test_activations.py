"""Activations agree with their formulas and with central differences."""

from __future__ import annotations

import equiprop as eq
import numpy as np
import pytest
from equiprop.activations import activation_name
from hypothesis import given
from hypothesis import strategies as st

FORMULAS = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "steep_sigmoid": lambda x: 1 / (1 + np.exp(-4 * (x - 0.5))),
    "hard_sigmoid": lambda x: np.clip(x, 0, 1),
    "half_hard_sigmoid": lambda x: np.clip(x / 2, 0, 1),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
    "softplus": lambda x: np.log1p(np.exp(x)),
}
points = st.lists(st.floats(-5, 5), max_size=9).map(np.array)


def test_every_name_has_a_formula() -> None:
    assert sorted(FORMULAS) == sorted(eq.ACTIVATIONS)


@given(st.sampled_from(sorted(FORMULAS)), points)
def test_values_follow_the_formula(name: str, x: np.ndarray) -> None:
    np.testing.assert_allclose(eq.activation(name).value(x), FORMULAS[name](x), rtol=1e-14, atol=1e-15)


@given(st.sampled_from(sorted(FORMULAS)), points)
def test_derivatives_are_central_differences(name: str, x: np.ndarray) -> None:
    rho, h = eq.activation(name), 1e-5
    away = x[(np.abs(x) > 1e-3) & (np.abs(x - 1) > 1e-3) & (np.abs(x - 2) > 1e-3)]  # no kinks
    first = (rho.value(away + h) - rho.value(away - h)) / (2 * h)
    second = (rho.derivative(away + h) - rho.derivative(away - h)) / (2 * h)
    np.testing.assert_allclose(rho.derivative(away), first, rtol=0, atol=1e-8)
    np.testing.assert_allclose(rho.second_derivative(away), second, rtol=0, atol=1e-7)


def test_a_clip_is_held_at_and_beyond_its_bounds() -> None:
    rho = eq.activation("hard_sigmoid")
    assert rho.derivative([-1.0, 0.0, 0.5, 1.0, 2.0]).tolist() == [0, 0, 1, 0, 0]


@given(st.floats(0.1, 10), st.floats(-2, 2), points)
def test_gain_and_shift_stretch_and_move(gain: float, shift: float, x: np.ndarray) -> None:
    own = eq.Activation("logistic", gain=gain, shift=shift)
    expected = eq.activation("sigmoid").value(gain * (x - shift))
    np.testing.assert_allclose(own.value(x), expected, rtol=1e-13, atol=1e-15)
    clip = eq.Activation("clip", gain=gain, lower=shift, upper=shift + 1)
    np.testing.assert_array_equal(clip.value(x), np.clip(gain * x, shift, shift + 1))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (4, 1, 2), (0,)])
def test_shapes_are_kept(shape: tuple[int, ...]) -> None:
    x = np.linspace(-1, 1, int(np.prod(shape))).reshape(shape)
    for method in ("value", "derivative", "second_derivative"):
        assert getattr(eq.activation("tanh"), method)(x).shape == shape
    np.testing.assert_allclose(eq.activation("tanh").value(x), np.tanh(x), rtol=1e-15)


def test_smooth_functions_are_holomorphic_and_clipped_ones_are_not() -> None:
    answers = {name: rho.holomorphic for name, rho in eq.ACTIVATIONS.items()}
    assert {name for name, answer in answers.items() if answer} == {
        "tanh",
        "sigmoid",
        "steep_sigmoid",
        "softplus",
        "linear",
    }


def test_names_and_functions_are_interchangeable() -> None:
    for name, rho in eq.ACTIVATIONS.items():
        assert eq.activation(name) is rho
        assert eq.activation(rho) is rho
        assert activation_name(rho) == activation_name(name) == name
    assert "gain=3" in activation_name(eq.Activation("logistic", gain=3.0))
