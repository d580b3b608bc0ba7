"""Spectra and symmetry agree with dense linear algebra, and following the advice cures the failure."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from equiprop.verify import spectrum
from networks import chain, inputs, labels
from numpy.testing import assert_allclose

X = np.array([[0.3, -0.8, 0.5], [1.0, 0.2, -0.4]])


class Linear(eq.VectorField):
    """ds/dt = x - M s for any M."""

    def __init__(self, matrix: np.ndarray) -> None:
        super().__init__(len(matrix), 1, num_inputs=len(matrix))
        self.matrix = matrix

    def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return x - s @ self.matrix.T


@pytest.mark.parametrize("seed", range(5))
def test_ritz_values_are_the_eigenvalues_of_small_problems(seed: int) -> None:
    random = np.random.default_rng(seed)
    n = int(random.integers(1, 9))
    matrix = random.standard_normal((n, n))
    energy = Linear(matrix).clamp(np.zeros((2, n)))
    values = spectrum.ritz_values(energy, np.zeros((2, n)), np.ones((2, n))).values
    for found in values:
        assert_allclose(np.sort_complex(found), np.sort_complex(np.linalg.eigvals(matrix)), atol=1e-9)


def test_held_units_do_not_take_part() -> None:
    matrix = np.diag([1.0, 2.0, 50.0])
    found = spectrum.ritz_values(Linear(matrix).clamp(X), np.zeros((2, 3)), np.array([[1.0, 1, 0]] * 2))
    assert found.largest == pytest.approx(2, abs=1e-12)
    assert found.smallest == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("skew", [0.0, 0.7])
def test_the_largest_stable_step_is_just_stable(skew: float) -> None:
    matrix = np.array([[1.0, skew, 0.0], [-skew, 1.5, 0.2], [0.0, 0.2, 0.8]])
    found = spectrum.ritz_values(Linear(matrix).clamp(X), np.zeros((2, 3)), np.ones((2, 3)))
    step = found.largest_stable_step
    assert found.rate(step) == pytest.approx(1, abs=1e-9)
    assert max(abs(np.linalg.eigvals(np.eye(3) - step * matrix))) == pytest.approx(1, abs=1e-9)
    for factor, converges in ((0.97, True), (1.03, False)):
        solver = eq.Euler(tolerance=1e-10, max_iterations=5000, step_size=factor * step)
        free = eq.free_phase(Linear(matrix), X, solver=solver, on_failure="ignore")
        assert free.converged == converges


@pytest.mark.parametrize("probed", [False, True])
def test_asymmetry_is_measured_and_located(probed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    n = 40
    symmetric = random.standard_normal((n, n))
    matrix = symmetric + symmetric.T
    matrix[10:20, 25:40] += 0.3 * random.standard_normal((10, 15))
    if probed:
        monkeypatch.setattr(spectrum, "DENSE", 0)
    layers = {"a": slice(0, 10), "b": slice(10, 25), "c": slice(25, 40)}
    energy = Linear(matrix).clamp(np.zeros((4, n)))
    found = spectrum.symmetry(energy, np.zeros((4, n)), layers)
    exact = np.linalg.norm(matrix - matrix.T) / np.linalg.norm(matrix)
    assert found.asymmetry == pytest.approx(exact, rel=0.25 if probed else 1e-12)
    assert max(found.blocks, key=lambda pair: found.blocks[pair]) == ("b", "c")
    others = [v for pair, v in found.blocks.items() if pair != ("b", "c")]
    assert max(others) <= (1e-7 if probed else 1e-12)
    a, s = (matrix - matrix.T) / 2, (matrix + matrix.T) / 2
    score = np.linalg.norm(s) / (np.linalg.norm(s) + np.linalg.norm(a))
    assert found.score == pytest.approx(score, rel=0.05 if probed else 1e-12)


def test_factors_that_make_a_matrix_symmetric_are_found() -> None:
    random = np.random.default_rng(4)
    symmetric = random.standard_normal((6, 6))
    symmetric += symmetric.T
    factors = random.uniform(0.2, 1.0, 6)
    energy = Linear(symmetric * factors).clamp(np.zeros((1, 6)))
    found = spectrum.symmetry(energy, np.zeros((1, 6)), {"s": slice(0, 6)})
    assert found.factors is not None
    assert_allclose(found.factors, factors / factors.max(), rtol=1e-9)
    plain = spectrum.symmetry(Linear(symmetric).clamp(np.zeros((1, 6))), np.zeros((1, 6)), {"s": slice(0, 6)})
    assert plain.factors is None


def test_a_sound_fixed_point_needs_no_advice(capsys: pytest.CaptureFixture[str]) -> None:
    net = chain(4, 6, 3, potential="quadratic")
    free = eq.free_phase(net, inputs(net), solver=eq.Euler(step_size=0.3, max_iterations=2000))
    diagnosis = verify.diagnose(free)
    assert diagnosis.advice == ()
    assert diagnosis.on_a_kink == ()
    free.explain()
    text = capsys.readouterr().out
    for words in ("largest stable Euler step", "symmetry score 1 ", "units on a kink: none"):
        assert words in text


def test_float_networks_are_examined_in_double() -> None:
    net = chain(4, 6, 3, dtype="float32")
    assert verify.diagnose(eq.free_phase(net, inputs(net))).advice == ()


def follow(free: Any, solver: Any) -> Any:
    return eq.free_phase(free.model, free.x, solver=solver, on_failure="ignore")


def test_the_advised_damping_works() -> None:
    net = chain(4, 8, 3).variant(feedback="separate")
    net.blocks["B2"][:] = -4 * net.blocks["W2"]
    free = eq.free_phase(net, inputs(net), solver=eq.FixedPointIteration(), on_failure="ignore")
    if free.converged:
        pytest.fail("the example must not converge undamped")
    (sentence,) = [s for s in verify.diagnose(free).advice if "raise the damping above" in s]
    damping = float(sentence.split("above ")[1].split(",")[0])
    assert 0 < damping < 0.9
    patient = eq.FixedPointIteration(damping=damping + 0.1, max_iterations=20_000)
    assert follow(free, patient).converged


def test_units_on_a_kink_are_named() -> None:
    net = eq.HopfieldNetwork([1, 2, 1], activation="hard_sigmoid", dtype="float64")
    net.parameters[:] = 0
    net.blocks["b1"][:] = [1.0, 0.5]  # the first unit rests exactly on its upper bound
    free = eq.free_phase(net, [[0.3]])
    diagnosis = verify.diagnose(free)
    assert diagnosis.on_a_kink == ("sample 0: hidden1[0]",)
    assert any(
        "Units on a kink of their activation: sample 0: hidden1[0]" in sentence
        for sentence in diagnosis.advice
    )


def test_a_saddle_is_no_stable_fixed_point() -> None:
    saddle = Linear(np.diag([1.0, -0.5, 2.0]))
    free = eq.free_phase(saddle, np.zeros((1, 3)), solver=eq.Euler(step_size=0.1))
    assert any("the fixed point is not stable" in sentence for sentence in verify.diagnose(free).advice)


def test_reports_explain_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    net = chain(4, 6, 3, potential="quadratic")
    verify.limit(net, inputs(net), labels(net)).explain()
    text = capsys.readouterr().out
    assert "gradient by dual numbers" in text
    assert "eigenvalues of the Hessian" in text
