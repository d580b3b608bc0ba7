"""Costs agree with their formulas, and act on the outputs only."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import chain

NET = chain(4, 6, 3)
few = settings(max_examples=50, deadline=None)
outputs = st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=4).map(np.array)


def softmax(o: np.ndarray) -> np.ndarray:
    e = np.exp(o - o.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def full(o: np.ndarray) -> np.ndarray:
    """Return a state with these outputs."""
    return np.concatenate([np.ones((len(o), 6)), o], axis=1)


@few
@given(outputs, st.integers(0, 99))
def test_the_squared_error_is_half_the_squared_distance(o: np.ndarray, seed: int) -> None:
    y = np.random.default_rng(seed).normal(size=o.shape)
    cost = eq.SquaredError().bind(NET, y, "")
    np.testing.assert_allclose(cost.value(o), ((o - y) ** 2).sum(axis=1) / 2, rtol=1e-14)
    np.testing.assert_array_equal(cost.state_gradient(full(o)), full(o - y) * ([0] * 6 + [1] * 3))


@few
@given(outputs, st.integers(0, 99))
def test_the_cross_entropy_is_that_of_the_softmax(o: np.ndarray, seed: int) -> None:
    y = np.random.default_rng(seed).dirichlet(np.ones(3), len(o))
    cost = eq.CrossEntropy().bind(NET, y, "")
    expected = -(y * np.log(softmax(o))).sum(axis=1)
    np.testing.assert_allclose(cost.value(o), expected, rtol=1e-12, atol=1e-12)
    slopes = cost.state_gradient(full(o))
    np.testing.assert_allclose(slopes[:, 6:], softmax(o) - y, rtol=0, atol=1e-14)
    assert (slopes[:, :6] == 0).all()


def test_huge_outputs_do_not_overflow_the_softmax() -> None:
    cost = eq.CrossEntropy().bind(NET, np.array([0, 1]), "")
    o = np.array([[1e6, 0.0, 0.0], [1e6, 0.0, 0.0]])
    np.testing.assert_array_equal(cost.value(o), [0, 1e6])
    np.testing.assert_array_equal(cost.state_gradient(full(o))[:, 6:], [[0, 0, 0], [1, -1, 0]])


@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy()])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels_are_one_hot(cost: Any, dtype: str) -> None:
    net, o = NET.astype(dtype), np.random.default_rng(0).normal(size=(3, 3)).astype(dtype)
    by_label, by_target = (cost.bind(net, y, "") for y in (np.array([2, 0, 1]), np.eye(3)[[2, 0, 1]]))
    np.testing.assert_array_equal(by_label.value(o), by_target.value(o))
    assert by_label.value(o).dtype == np.dtype(dtype)
    assert (by_label.batch, by_label.num_rows) == (3, 3)


def test_soft_labels_may_be_rounded_to_single_precision() -> None:
    y = np.random.default_rng(0).dirichlet(np.ones(3), 100).astype(np.float32)
    assert eq.CrossEntropy().bind(NET, y, "").batch == 100


def test_targets_are_copied_when_they_are_bound() -> None:
    y, o = np.zeros((1, 3)), np.ones((1, 3))
    cost = eq.SquaredError().bind(NET, y, "")
    y[:] = 100
    assert cost.value(o).tolist() == [1.5]


def test_weights_belong_to_a_cost_and_change_no_other_number_of_it() -> None:
    cost, o = eq.SquaredError().bind(NET, np.array([0, 1]), ""), np.ones((2, 3))
    weighted = cost.weighted(np.array([2.0, 0.5]))
    assert cost.sample_weight is None
    assert weighted.sample_weight.tolist() == [2.0, 0.5]
    assert (weighted.value(o) == cost.value(o)).all()
    assert (weighted.state_gradient(full(o)) == cost.state_gradient(full(o))).all()
    with pytest.raises(ValueError, match=r"\[sample_weight\] Each sample has one weight"):
        cost.weighted(np.ones(3))


class Smoothed:
    """A cost of the user's own: the cross-entropy of labels that are smoothed, which may have own weights."""

    weights: Any = None

    def bind(self, model: Any, y: Any, where: str) -> Any:
        cost = eq.CrossEntropy(2.0).bind(model, 0.9 * np.eye(3)[y] + 0.1 / 3, where)
        return cost if self.weights is None else cost.weighted(self.weights)


@pytest.mark.parametrize("weights", [None, np.array([3.0, 0.0, 0.5])])
@pytest.mark.parametrize(
    "nudging", [eq.centered(0.1), eq.exact_limit(), eq.holomorphic(0.1, 4)], ids=lambda n: n.name
)
def test_a_step_follows_the_gradient_of_a_cost_of_the_users_own(nudging: Any, weights: Any) -> None:
    net, cost, y = chain(4, 6, 3), Smoothed(), np.array([2, 0, 1])
    cost.weights = weights
    x = np.random.default_rng(0).normal(size=(3, 4))
    solver = eq.BlockUpdate(tolerance=1e-12, max_iterations=1000)
    free = eq.free_phase(net, x, solver=solver)
    gradient = eq.equilibrium_propagation(net, free, y, cost=cost, nudging=nudging)
    before = np.array(net.parameters)
    trainer = eq.Trainer(net, eq.EquilibriumPropagation(nudging), eq.SGD(0.1), cost, solver)
    assert trainer.step(x, y).objective == pytest.approx(gradient.objective, rel=1e-12)
    np.testing.assert_allclose(before - net.parameters, 0.1 * gradient.parameters, rtol=0, atol=1e-13)
