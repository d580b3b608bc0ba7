"""The outputs at the fixed point as a function, and its vector-Jacobian products by every second phase."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.implicit import ImplicitFunction
from networks import Oracle, Valley, chain, inputs, skip

TIGHT: Any = {"tolerance": 1e-15, "max_iterations": 3000}
RBP = eq.RecurrentBackpropagation(eq.ConjugateGradient(tolerance=1e-15))


class Growing(eq.Energy):
    """E = (x - 1) s^2 / 2 - theta s: samples with x < 1 have no minimum, and their states grow."""

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return ((x - 1) * s**2 / 2 - self.parameters * s).sum(axis=1)

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return (x - 1) * s - self.parameters


def function(model: Any, phase: Any = RBP, solver: Any = None, on_failure: str = "warn") -> ImplicitFunction:
    return ImplicitFunction(model, phase, solver, on_failure, "test")


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("net", [chain(), chain(activation="hard_sigmoid"), skip(potential="quadratic")])
def test_products_are_those_of_the_implicit_function_theorem(net: eq.HopfieldNetwork) -> None:
    """The oracle solves dense systems with the Hessian by complex steps, for targets o - g."""
    x, vector, oracle = inputs(net), draw(3, 3), Oracle(net)
    f = function(net, solver=eq.BlockUpdate(**TIGHT))
    states = f.relax(net.parameters, x)
    by_parameters, by_x = f.pull_back(net.parameters, x, states, vector)
    expected, expected_x, _ = oracle.implicit(x, oracle.relax(x)[:, -3:] - vector)
    assert np.abs(by_parameters - 3 * expected).max() < 1e-12 * np.abs(expected).max()
    assert np.abs(by_x - 3 * expected_x).max() < 1e-12 * np.abs(expected_x).max()


PHASES = [
    (eq.RecurrentBackpropagation(eq.GMRES(tolerance=1e-14)), 1e-11),
    (eq.RecurrentBackpropagation(eq.Richardson(step_size=0.5, tolerance=1e-13)), 1e-11),
    (eq.RecurrentBackpropagation(eq.Neumann(tolerance=1e-13)), 1e-11),
    (eq.EquilibriumPropagation(eq.exact_limit()), 1e-11),
    (eq.EquilibriumPropagation(eq.holomorphic(0.1, 12), eq.BlockUpdate(**TIGHT)), 1e-9),
    (eq.EquilibriumPropagation(eq.centered(1e-3), eq.BlockUpdate(**TIGHT)), 1e-5),
    (eq.EquilibriumPropagation(eq.one_sided(1e-4), eq.BlockUpdate(**TIGHT)), 1e-3),
    (eq.EquilibriumPropagation(), 0.2),
    (None, 1e-9),
]


@pytest.mark.parametrize(("phase", "accuracy"), PHASES)
def test_every_second_phase_gives_the_same_products(phase: Any, accuracy: float) -> None:
    net, vector = chain(), draw(5, 3)
    x = inputs(net, 5)
    exact, other = (function(net, p, eq.BlockUpdate(**TIGHT)) for p in (RBP, phase))
    states = exact.relax(net.parameters, x)
    for a, b in zip(*(f.pull_back(net.parameters, x, states, vector) for f in (exact, other)), strict=True):
        assert np.abs(a - b).max() < accuracy * np.abs(a).max()


@pytest.mark.parametrize(
    "phase", [RBP, eq.EquilibriumPropagation(), eq.EquilibriumPropagation(eq.exact_limit())]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_are_homogeneous_for_vectors_of_all_sizes(phase: Any, dtype: str) -> None:
    """A gradient of 1e-30 is as accurate as one of 1, and a sample's size does not disturb another one."""
    net = chain(dtype=dtype)
    x, vector = inputs(net, 2).astype(dtype), draw(2, 3).astype(dtype)
    f, factors = function(net, phase), np.array([[1e-20], [1e8]], dtype)
    states = f.relax(net.parameters, x)
    one, large = (f.pull_back(net.parameters, x, states, v)[1] for v in (vector, factors * vector))
    assert np.abs(large / factors - one).max() < 8 * np.finfo(dtype).eps * np.abs(one).max()


def test_products_are_sums_over_samples() -> None:
    net, vector = chain(), draw(4, 3)
    x, f = inputs(net, 4), function(net, solver=eq.BlockUpdate(**TIGHT))
    states = f.relax(net.parameters, x)
    total, by_x = f.pull_back(net.parameters, x, states, vector)
    parts = [
        f.pull_back(net.parameters, x[k : k + 1], f.relax(net.parameters, x[k : k + 1]), vector[k : k + 1])
        for k in range(4)
    ]
    assert np.abs(sum(part for part, _ in parts) - total).max() < 1e-13 * np.abs(total).max()
    assert np.abs(np.concatenate([part for _, part in parts]) - by_x).max() < 1e-13 * np.abs(by_x).max()


def test_a_model_of_the_user_has_no_derivative_by_x() -> None:
    model = Valley(inputs=2)
    model.num_inputs = 2
    f = function(model, None)
    assert not f.has_input_derivative
    x, vector = draw(3, 2), draw(3, 2)
    states = f.relax(model.parameters, x)
    by_parameters, by_x = f.pull_back(model.parameters, x, states, vector)
    assert np.isnan(by_x).all()
    for i, e in enumerate(np.eye(len(by_parameters))[::2]):
        above, below = (f.relax(model.parameters + h * e, x).state[:, -2:] for h in (1e-5, -1e-5))
        slope = ((above - below) * vector).sum() / 2e-5
        assert slope == pytest.approx(by_parameters[2 * i], rel=1e-5, abs=1e-7)


# ---------------------------------------------------------------------------- purity


def test_calls_leave_the_network_as_it_is() -> None:
    for model in (chain(), Valley()):
        if isinstance(model, Valley):
            model.num_inputs = 2
        before = model.parameters.copy()
        f = function(model, None)
        f.relax(before + 0.1, np.zeros((1, f.model.num_inputs)))
        assert (model.parameters == before).all()
        model.parameters[:] = 0
        assert f.relax(before, np.ones((1, f.model.num_inputs))).state.any()


def test_calls_of_several_threads_do_not_mix_their_parameters() -> None:
    net = chain()
    f, x = function(net), inputs(net, 20)
    several = [net.parameters * factor for factor in np.linspace(0.2, 1, 16)]
    expected = [f.relax(theta, x).state for theta in several]
    with ThreadPoolExecutor(4) as pool:
        states = list(pool.map(lambda theta: f.relax(theta, x).state, several * 4))
    assert all((a == b).all() for a, b in zip(states, expected * 4, strict=True))


# ---------------------------------------------------------------------------- samples without a result


def growing(on_failure: str = "warn", **options: Any) -> ImplicitFunction:
    return function(Growing(1, 1, np.ones(1), 1), None, eq.Euler(**options), on_failure)


def test_a_sample_that_diverges_is_nan_and_says_so() -> None:
    f, theta, x = growing(max_iterations=5000), np.ones(1), np.array([[3.0], [0.0], [2.0]])
    with pytest.warns(eq.ConvergenceWarning, match=r"\[test\] 3 samples: .* 1 diverged to infinity or NaN"):
        states = f.relax(theta, x)
    assert np.isfinite(states.state[:, 0]).tolist() == [True, False, True]
    assert states.state[[0, 2], 0] == pytest.approx([0.5, 1.0])
    by_parameters, _ = f.pull_back(theta, x, states, np.ones((3, 1)))
    assert np.isnan(by_parameters).all()


def test_a_sample_that_nobody_asks_for_adds_nothing() -> None:
    f, theta, x = growing("nan", max_iterations=5000), np.ones(1), np.array([[3.0], [0.0], [2.0]])
    states = f.relax(theta, x)
    by_parameters, _ = f.pull_back(theta, x, states, np.array([[1.0], [0.0], [1.0]]))
    assert by_parameters == pytest.approx([1.5])
    by_parameters, by_x = f.pull_back(theta, x, states, np.zeros((3, 1)))
    assert not by_parameters.any()
    assert not by_x.any()


def test_a_sample_that_is_not_relaxed_is_kept_with_a_warning_or_nan() -> None:
    x = inputs(chain(), 2)
    few = eq.FixedPointIteration(max_iterations=2)
    with pytest.warns(eq.ConvergenceWarning, match="Raise max_iterations"):
        kept = function(chain(), solver=few).relax(chain().parameters, x)
    assert (kept.status == eq.Status.MAX_ITERATIONS).all()
    assert np.isfinite(kept.state).all()
    assert np.isnan(function(chain(), solver=few, on_failure="nan").relax(chain().parameters, x).state).all()


def test_products_that_are_not_solved_are_kept_with_a_warning_or_nan() -> None:
    net, one = chain(), eq.RecurrentBackpropagation(eq.Richardson(max_iterations=1))
    x, vector = inputs(net, 2), draw(2, 3)
    for on_failure in ("warn", "nan"):
        f = function(net, one, on_failure=on_failure)
        states = f.relax(net.parameters, x)
        if on_failure == "warn":
            with pytest.warns(eq.ConvergenceWarning, match=r"\[test, backward\] 2 samples: 2 did not reach"):
                products = f.pull_back(net.parameters, x, states, vector)
        else:
            products = f.pull_back(net.parameters, x, states, vector)
        assert all(np.isfinite(p).all() == (on_failure == "warn") for p in products)


def test_products_from_a_state_far_from_the_fixed_point_are_marked() -> None:
    net = chain()
    f = function(net, solver=eq.FixedPointIteration(tolerance=0.5))
    x = inputs(net, 2)
    states = f.relax(net.parameters, x)
    assert (states.status == eq.Status.CONVERGED).all()
    with pytest.warns(eq.ConvergenceWarning, match="Lower the tolerance of the free phase"):
        f.pull_back(net.parameters, x, states, draw(2, 3))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_not_finite_give_nan_where_they_are(wrong: float) -> None:
    net = chain()
    f, theta, x = function(net), net.parameters, inputs(net, 3)
    clean = f.relax(theta, x).state
    x[1, 0] = wrong
    states = f.relax(theta, x)
    assert (states.state[[0, 2]] == clean[[0, 2]]).all()
    assert np.isnan(states.state[1]).all()
    broken = theta.copy()
    broken[0] = wrong
    assert np.isnan(f.relax(broken, x).state).all()
    vector = draw(3, 3)
    vector[1], vector[2, 0] = 0, wrong
    by_parameters, by_x = f.pull_back(theta, x, states, vector)
    assert np.isnan(by_parameters).all()
    assert np.isnan(by_x).all(axis=1).tolist() == [False, False, True]
    assert not by_x[1].any()


def test_an_empty_batch_has_products_of_zero() -> None:
    net = chain()
    f, x = function(net), np.zeros((0, 4))
    states = f.relax(net.parameters, x)
    by_parameters, by_x = f.pull_back(net.parameters, x, states, np.zeros((0, 3)))
    assert states.state.shape == (0, 9)
    assert not by_parameters.any()
    assert by_x.shape == (0, 4)


# ---------------------------------------------------------------------------- arguments


def test_what_does_not_fit_together_is_refused_where_it_is_made() -> None:
    net, field = chain(), chain().variant(feedback="separate")
    with pytest.raises(ValueError, match="ConjugateGradient needs a symmetric Hessian"):
        function(field, eq.RecurrentBackpropagation())
    with pytest.raises(ValueError, match=r"equal arguments: use centered\(beta\)"):
        function(net, eq.EquilibriumPropagation(eq.random_sign(0.1)))
    with pytest.raises(ValueError, match="Complex nudging needs a model"):
        function(chain(activation="relu"), eq.EquilibriumPropagation(eq.holomorphic(0.1, 4)))
    with pytest.raises(ValueError, match=r"\[test\] A nudge by -beta has a minimum only if beta < "):
        function(net, eq.EquilibriumPropagation(eq.centered(2.0)))
    with pytest.raises(ValueError, match="must have block updates"):
        function(field, eq.EquilibriumPropagation(symmetrize=True))
    with pytest.raises(ValueError, match=r"number of inputs: pass num_inputs. Received None"):
        function(Valley())
    with pytest.raises(ValueError, match=r"The model has outputs\. Received 0"):
        function(Growing(1, 0, np.ones(1), 1))


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"model": 3}, "network is a HopfieldNetwork"),
        ({"phase": eq.centered(0.1)}, "second_phase is an EquilibriumPropagation"),
        ({"solver": eq.GMRES()}, "A solver of phases is"),
        ({"on_failure": "raise"}, "on_failure is 'warn' or 'nan'"),
    ],
)
def test_arguments_of_wrong_types_are_refused(wrong: dict[str, Any], rule: str) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"\[test\] {rule}"):
        function(**{"model": chain(), **wrong})


def test_a_vector_field_is_solved_by_gmres_by_default() -> None:
    field = chain().variant(feedback="separate")
    field.blocks["B2"][...] += 0.1 * draw(*field.blocks["B2"].shape)
    x, vector = inputs(field, 2), draw(2, 3)
    f = function(field, None)
    states = f.relax(field.parameters, x)
    by_parameters, by_x = f.pull_back(field.parameters, x, states, vector)
    for at, slope in ((0, by_x[0, 0]), (1, by_x[1, 0])):
        move = np.zeros_like(x)
        move[at, 0] = 1e-5
        above, below = (f.relax(field.parameters, x + sign * move).state[:, -3:] for sign in (1, -1))
        assert ((above - below) * vector).sum() / 2e-5 == pytest.approx(slope, rel=1e-5)
    assert by_parameters[field.block_slices["B2"]].any()
