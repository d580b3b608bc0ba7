"""Bounds of the norm of couplings count identities, and the weights that act."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Dense, Identity, Layer
from equiprop.coupling_guard import spectral_norm


def test_the_bound_of_the_norm_counts_identities() -> None:
    """Relu and linear units with an identity of gain 1/2: the coupling beside it gets the norm 1/2."""
    net = eq.HopfieldNetwork(
        layers=[Layer(4), Layer(3, "relu"), Layer(3, "linear")],
        couplings=[Dense(0, 1), Dense(1, 2), Identity(1, 2, 0.5)],
    )
    net.blocks["W2"][:] = 0.95 * np.eye(3)
    eq.Trainer(net)._guard.apply()
    assert np.linalg.norm(net.blocks["W2"], 2) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("feedback", "acting"),
    [
        ("tied", lambda w: 0.5 * (w + w.T) - np.diag(np.diag(w))),
        ("separate", lambda w: w - np.diag(np.diag(w))),
    ],
)
def test_the_bound_of_the_norm_is_that_of_the_weights_that_act(feedback: str, acting: Any) -> None:
    """The diagonal and, with an energy, the antisymmetric part do not act; B acts like W."""
    net = eq.HopfieldNetwork(
        layers=[Layer(4), Layer(3, "tanh"), Layer(3, "linear")],
        couplings=[Dense(0, 1), Dense(1, 1), Dense(1, 2)],
        feedback=feedback,
    )
    net.blocks["W2"][:] = 0.2 * np.ones((3, 3)) + 100 * np.eye(3)
    if feedback == "separate":
        net.blocks["B3"][:] = 5 * np.eye(3)
    before = net.blocks["W2"].copy()
    guarded = eq.Trainer(net, optimizer=eq.SGD(1e-9), coupling_norm=0.5)
    guarded.step(np.ones((2, 4)) * 0.1, np.zeros((2, 3)))
    assert np.linalg.norm(acting(before), 2) < 0.5
    np.testing.assert_allclose(acting(net.blocks["W2"]), acting(before), atol=1e-6)
    if feedback == "separate":
        assert np.linalg.norm(net.blocks["B3"], 2) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("shape", [(4, 7), (7, 4)])
def test_the_norm_is_that_of_the_singular_values_at_any_size(size: float, shape: tuple[int, int]) -> None:
    w = (size * np.random.default_rng(0).normal(size=shape)).astype(np.float32)
    expected = float(np.linalg.svd(w.astype(np.float64), compute_uv=False)[0])
    assert spectral_norm(w) == pytest.approx(expected, rel=1e-5)
    assert spectral_norm(0 * w) == 0


def test_an_update_beyond_all_numbers_is_a_divergence() -> None:
    x = np.random.default_rng(0).random((37, 5), dtype=np.float32)
    net = eq.HopfieldNetwork([5, 8, 3], activation="relu", seed=0)
    with pytest.raises(eq.ConvergenceError, match=r"[Ll]ower the learning rate"):
        eq.Trainer(net, optimizer=eq.SGD(1e30), batch_size=10).fit(x, np.arange(37) % 3, epochs=3)
    assert abs(net.parameters).max() < 100
