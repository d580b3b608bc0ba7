"""Random directions of the parameters of large models without derivatives by them: power, words, replay."""

from __future__ import annotations

import time
from pathlib import Path

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from equiprop.verify.directions import MOST, EnergyAlong, along_directions
from networks import TanhHopfield, Valley

X = np.random.default_rng(1).normal(size=(2, 10))
Y = 0.1 * X


class OneEntry(TanhHopfield):
    """The gradient reads one entry of U with a relative error of 1e-4."""

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        slope, entry = super().gradient(x, s), self.matrices[1][3, 5]
        slope[:, 3] -= 1e-4 * (1 - np.tanh(s[:, 3]) ** 2) * x[:, 5] * entry
        return slope


class Product(TanhHopfield):
    """A model with its own mixed derivative, of which that by one entry of U has the wrong sign."""

    wrong = True

    def mixed_derivative_product(self, x: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
        r, slope = np.tanh(s), v * (1 - np.tanh(s) ** 2)
        outer = -(r.T @ slope + slope.T @ r) / 2
        drive = -(slope.T @ x)
        if self.wrong:
            drive[3, 5] *= -1
        return np.concatenate([outer.ravel(), drive.ravel()])


class RightProduct(Product):
    wrong = False


class Copied(TanhHopfield):
    """A model that reads a copy of U."""

    def __init__(self) -> None:
        super().__init__()
        self.copy = super().matrices[1].copy()

    @property
    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        weights, _ = super().matrices
        return weights, self.copy


class Spin(eq.VectorField):
    """ds/dt = x M^T - s + tanh(s A^T), A not symmetric, without a derivative by the parameters."""

    def __init__(self) -> None:
        super().__init__(20, 10, 0.05 * np.random.default_rng(0).normal(size=400), num_inputs=10)

    def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.concatenate([x, x], axis=1) - s + np.tanh(s @ self.parameters.reshape(20, 20).T)


@pytest.mark.parametrize("kind", [TanhHopfield, RightProduct, Spin])
def test_a_right_model_passes_and_its_verdict_names_the_directions(
    kind: type[eq.Energy], tmp_path: Path
) -> None:
    model = kind()  # type: ignore[call-arg]
    kept = model.parameters.copy()
    certificate = verify.certify(model, X, Y, claims=["derivatives", "limit"])
    assert certificate.passed, str(certificate)
    each = 6 // len(model.block_slices)
    words = f"along 6 random directions, {each} for each block, seed 0: the model does not compute the"
    assert words in certificate.verdict
    assert "along 6 random directions of the parameters (seed 0)" in str(certificate)
    report = certificate.cases[0].reports[0]
    assert report["random directions of the parameters"] == 6
    np.testing.assert_array_equal(model.parameters, kept)
    certificate.save(tmp_path / "report.json")
    replayed = verify.replay(tmp_path / "report.json")
    assert replayed.identical, str(replayed)


@pytest.mark.parametrize("kind", [OneEntry, Product])
def test_directions_see_one_wrong_entry_and_name_its_block(kind: type[TanhHopfield]) -> None:
    report = verify.derivatives(kind(), X)
    assert not report.passed
    advice = "\n".join(report.all_advice())
    assert "of U the value is" in advice, advice
    assert "of W the value is" not in advice


def test_a_block_without_effect_is_named() -> None:
    report = verify.derivatives(Copied(), X)
    assert not report.passed
    assert report.advice[0].startswith("No parameter of block U has an effect")


def test_the_gradient_along_directions_is_that_by_all_parameters() -> None:
    """A product of all complex steps with the directions is the oracle."""
    model = TanhHopfield(20)
    along = along_directions(model)
    assert isinstance(along, EnergyAlong)
    s = np.random.default_rng(2).normal(size=(2, 20))
    for function in ("parameter_gradient", "mixed_derivative_product"):
        arguments = (X, s) if function == "parameter_gradient" else (X, s, s**2)
        value = getattr(along, function)(*arguments)
        expected = along.along(getattr(model, function)(*arguments))
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    along.parameters[2] = 0.25
    at, direction = along.directions[2]
    moved = TanhHopfield(20)
    moved.parameters[at] += 0.25 * direction
    np.testing.assert_array_equal(along.energy(X, s), moved.energy(X, s))
    np.testing.assert_array_equal(model.parameters, TanhHopfield(20).parameters)


def test_small_models_and_those_with_derivatives_are_checked_by_all_parameters() -> None:
    for model in (Valley(), eq.HopfieldNetwork([20, 40, 10])):
        assert along_directions(model) is model
    assert len(TanhHopfield(13).parameters) <= MOST < len(TanhHopfield(14).parameters)
    small, large = TanhHopfield(13), TanhHopfield(14)
    assert along_directions(small) is small
    assert along_directions(large) is not large


@pytest.mark.slow
def test_a_certificate_of_1000_units_takes_a_minute() -> None:
    x, begin = X[:1], time.process_time()
    certificate = verify.certify(TanhHopfield(1000), x, 0.1 * x)
    assert time.process_time() - begin < 90  # 50 s were measured on a busy machine
    assert certificate.passed, str(certificate)


class Bound(TanhHopfield):
    """A model that reads real views of its parameters, which complex steps do not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.views = super().matrices

    @property
    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        return self.views


def test_a_model_that_does_not_read_its_parameters_is_refused() -> None:
    with pytest.raises(TypeError, match="need methods that read `parameters` at each call"):
        verify.limit(Bound(), X, Y)
