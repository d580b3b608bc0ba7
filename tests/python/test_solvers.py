"""Every solver of free phases finds the fixed point of the oracle, and reports its residual."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import CLIPPED, POTENTIALS, SMOOTH, Oracle, Valley, chain, inputs, skip

TOLERANCE = {"float32": 1e-5, "float64": 1e-13}
few = settings(max_examples=20, deadline=None, derandomize=True)


def solvers(net: eq.HopfieldNetwork, tolerance: float | None, limit: int = 20_000) -> list[Any]:
    """Return every solver that can relax the network, without and with acceleration."""
    common = {"tolerance": tolerance, "max_iterations": limit}
    damped = eq.FixedPointIteration(**common, damping=0.5)
    plain = [eq.BlockUpdate(**common), damped, eq.Euler(**common, step_size=0.02)]
    return [*plain, *(replace(solver, anderson=3) for solver in plain)]


@few
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.sampled_from(SMOOTH + CLIPPED),
    st.sampled_from(POTENTIALS),
    st.sampled_from(sorted(TOLERANCE)),
    st.integers(0, 99),
)
def test_every_solver_reaches_the_oracles_fixed_point(
    sizes: list[int], activation: str, potential: str, dtype: str, seed: int
) -> None:
    net = chain(*sizes, activation=activation, potential=potential, seed=seed, dtype=dtype)
    x = inputs(net, seed=seed).astype(dtype)
    expected = Oracle(net).relax(x.astype(np.float64))
    for solver in solvers(net, TOLERANCE[dtype]):
        free = eq.free_phase(net, x, solver=solver)
        assert free.converged
        assert free.state.dtype == free.outputs.dtype == np.dtype(dtype)
        # |s - s*| is at most the residual over the smallest eigenvalue, above 1/50 in these networks
        np.testing.assert_allclose(free.state, expected, rtol=0, atol=50 * TOLERANCE[dtype])
        np.testing.assert_array_equal(free.outputs, free.state[:, -net.num_outputs :])


@pytest.mark.parametrize("dtype", sorted(TOLERANCE))
@pytest.mark.parametrize("neighbours", [4, 5, 8, 9, 13])
@pytest.mark.parametrize("activation", ["hard_sigmoid", "tanh"])
def test_a_layer_may_have_any_number_of_neighbours(activation: str, neighbours: int, dtype: str) -> None:
    hidden = range(1, neighbours + 1)
    net = eq.HopfieldNetwork(
        layers=[eq.Layer(6), *(eq.Layer(8, activation) for _ in hidden), eq.Layer(5, "linear")],
        couplings=[eq.Dense(0, k) for k in hidden] + [eq.Dense(k, neighbours + 1) for k in hidden],
        seed=0,
        dtype=dtype,
        gain=0.4 / np.sqrt(neighbours),
    )
    x = inputs(net).astype(dtype)
    expected = Oracle(net).relax(x.astype(np.float64))
    for solver in (eq.BlockUpdate(), eq.BlockUpdate(anderson=2), eq.FixedPointIteration(damping=0.3)):
        free = eq.free_phase(net, x, solver=replace(solver, tolerance=TOLERANCE[dtype]))
        assert free.converged
        assert free.iterations.max() < 150
        np.testing.assert_allclose(free.state, expected, rtol=0, atol=50 * TOLERANCE[dtype])


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid", "relu"])
def test_every_solver_agrees_on_a_graph_with_skips(activation: str, potential: str) -> None:
    net = skip(activation, potential)
    x = inputs(net)
    expected = Oracle(net).relax(x)
    for solver in solvers(net, 1e-13):
        state = eq.free_phase(net, x, solver=solver).state
        np.testing.assert_allclose(state, expected, rtol=0, atol=1e-11)


@few
@given(
    st.sampled_from(SMOOTH + CLIPPED),
    st.sampled_from(POTENTIALS),
    st.integers(1, 40),
    st.sampled_from([None, 0.0, 1e-3, 1e-9]),
    st.integers(0, 99),
)
def test_status_iterations_and_residual_are_the_truth(
    activation: str, potential: str, limit: int, tolerance: float | None, seed: int
) -> None:
    net = chain(3, 5, 4, 2, activation=activation, potential=potential, seed=seed)
    x = inputs(net, 4, seed)
    promised = np.finfo(np.float64).eps ** (2 / 3) if tolerance is None else tolerance
    for solver in solvers(net, tolerance, limit):
        free = eq.free_phase(net, x, solver=solver, on_failure="ignore")
        residual = np.abs(Oracle(net).image(x, free.state) - free.state).max(axis=1)
        np.testing.assert_allclose(free.residual, residual, rtol=1e-9, atol=1e-14)
        assert (free.iterations <= limit).all()
        if tolerance == 0:
            assert (free.status == eq.Status.FIXED_STEPS).all()
            assert (free.iterations == limit).all()
        else:
            converged = free.status == eq.Status.CONVERGED
            assert (free.residual[converged] <= promised).all()
            assert (free.residual[~converged] > promised).all()
            assert (free.status[~converged] == eq.Status.MAX_ITERATIONS).all()
            assert (free.iterations[~converged] == limit).all()
        assert free.converged == bool((free.status <= eq.Status.FIXED_STEPS).all())


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_zero_tolerance_runs_the_steps_of_the_definition(steps: int) -> None:
    net = chain(3, 5, 2, activation="tanh", potential="quadratic")
    x, oracle = inputs(net), Oracle(net)
    start = np.random.default_rng(0).uniform(-1, 1, (3, net.num_units))
    by_euler = by_map = start
    for _ in range(steps):
        by_euler = by_euler - 0.3 * oracle.gradient(x, by_euler)
        by_map = 0.75 * oracle.image(x, by_map) + 0.25 * by_map
    fixed: dict[str, Any] = {"tolerance": 0.0, "max_iterations": steps}
    for solver, expected in [
        (eq.Euler(**fixed, step_size=0.3), by_euler),
        (eq.FixedPointIteration(**fixed, damping=0.25), by_map),
    ]:
        state = eq.free_phase(net, x, solver=solver, initial=start).state
        np.testing.assert_allclose(state, expected, rtol=0, atol=1e-13)


def test_a_block_update_minimises_over_even_then_odd_layers_and_never_raises_the_energy() -> None:
    net = chain(3, 5, 4, 2, activation="hard_sigmoid")
    x, oracle = inputs(net), Oracle(net)
    state = np.random.default_rng(0).uniform(0, 1, (3, net.num_units))
    first, second, last = (slice(s.start, s.stop) for s in net.layer_slices.values())
    for _ in range(6):
        solver = eq.BlockUpdate(tolerance=0.0, max_iterations=1)
        swept = eq.free_phase(net, x, solver=solver, initial=state).state
        expected = state.copy()
        for group in ([first, last], [second]):
            image = oracle.image(x, expected)
            for layer in group:
                expected[:, layer] = image[:, layer]
        np.testing.assert_allclose(swept, expected, rtol=0, atol=1e-14)
        assert (oracle.energy(x, swept) <= oracle.energy(x, state) + 1e-14).all()
        state = swept


def test_what_happens_at_the_iteration_limit_is_the_callers_choice() -> None:
    net = chain()
    x, hurried = inputs(net), eq.BlockUpdate(tolerance=1e-14, max_iterations=2)
    with pytest.warns(eq.ConvergenceWarning, match="3 did not reach the tolerance") as caught:
        warned = eq.free_phase(net, x, solver=hurried)
    assert caught[0].filename == __file__
    with pytest.raises(eq.ConvergenceError, match=r"^\[free_phase\] 3 samples") as failure:
        eq.free_phase(net, x, solver=hurried, on_failure="raise")
    ignored = eq.free_phase(net, x, solver=hurried, on_failure="ignore")
    for free in (warned, failure.value.outcome):
        assert isinstance(free, eq.FixedPoint)
        np.testing.assert_array_equal(free.state, ignored.state)
    assert not ignored.converged


@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
@pytest.mark.parametrize("dtype", sorted(TOLERANCE))
def test_divergence_is_noticed_within_16_iterations(tolerance: float, dtype: str) -> None:
    net = chain(4, 6, 3, activation="tanh", potential="quadratic", dtype=dtype)
    solver = eq.Euler(step_size=1e300 if dtype == "float64" else 1e35, tolerance=tolerance)
    with pytest.warns(eq.ConvergenceWarning, match="3 diverged to infinity or NaN"):
        free = eq.free_phase(net, inputs(net), solver=solver)
    assert (free.status == eq.Status.DIVERGED).all()
    assert (free.iterations <= 16).all()
    assert np.isfinite(free.state).all() or tolerance == 0


def test_one_diverging_sample_leaves_the_others_alone() -> None:
    valley = Valley()
    x = np.array([[0.1, 0.2], [1e60, 0.0], [0.3, 0.1]])
    with np.errstate(over="ignore", invalid="ignore"):
        free = eq.free_phase(valley, x, solver=eq.Euler(step_size=0.1), on_failure="ignore")
    assert free.status.tolist() == [eq.Status.CONVERGED, eq.Status.DIVERGED, eq.Status.CONVERGED]
    kept = [0, 2]
    assert np.abs(valley.gradient(x[kept], free.state[kept])).max() < 1e-10


@few
@given(st.sampled_from([*SMOOTH, *CLIPPED]), st.sampled_from(sorted(TOLERANCE)), st.integers(2, 150))
def test_a_sample_does_not_depend_on_its_batch_mates(activation: str, dtype: str, batch: int) -> None:
    net = chain(4, 7, 3, activation=activation, dtype=dtype)
    x = inputs(net, batch)
    others = np.random.default_rng(1).uniform(-3, 3, x.shape)
    kept = batch // 2
    others[kept] = x[kept]
    for solver in solvers(net, None):
        alone, mixed = (eq.free_phase(net, at, solver=solver, on_failure="ignore") for at in (x, others))
        np.testing.assert_array_equal(alone.state[kept], mixed.state[kept])
        assert alone.iterations[kept] == mixed.iterations[kept]
        assert alone.residual[kept] == mixed.residual[kept]


def test_a_trace_records_the_residual_of_every_iteration() -> None:
    net = chain()
    x = inputs(net)
    free = eq.free_phase(net, x, trace=True)
    trace = free.residual_trace
    assert trace is not None
    assert trace.shape == (free.iterations.max() + 1, 3)
    np.testing.assert_array_equal(trace[-1], free.residual)
    for n in (0, 1, 4):
        solver = eq.BlockUpdate(tolerance=0.0, max_iterations=n)
        np.testing.assert_array_equal(trace[n], eq.free_phase(net, x, solver=solver).residual)
    plain = eq.free_phase(net, x)
    assert plain.residual_trace is None
    np.testing.assert_array_equal(plain.state, free.state)


def test_a_free_phase_starts_where_it_is_told() -> None:
    net = chain(4, 6, 3, activation="hard_sigmoid")
    x = inputs(net)
    found = eq.free_phase(net, x)
    again = eq.free_phase(net, x, initial=found.state)
    assert (again.iterations <= 1).all()
    nowhere = eq.BlockUpdate(tolerance=0.0, max_iterations=0)
    rest = eq.free_phase(net, x, solver=nowhere).state
    np.testing.assert_array_equal(rest, net.initial_state(3))
    outside = np.full((3, net.num_units), -5.0)
    hidden = net.layer_slices["hidden1"]
    projected = eq.free_phase(net, x, solver=nowhere, initial=outside).state
    assert (projected[:, hidden] == 0).all()
    assert (outside == -5).all()


class OnlyDLPack:
    """An array of another library that supports only DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("dtype", sorted(TOLERANCE))
@pytest.mark.parametrize(
    "convert",
    [
        np.ndarray.tolist,
        np.asfortranarray,
        OnlyDLPack,
        lambda x: OnlyDLPack(np.asfortranarray(x)),
        lambda x: np.stack([x, x], axis=2)[:, :, 0],
        lambda x: x.astype(">f8"),
        np.float64,
    ],
)
def test_every_kind_of_array_is_understood(convert: Any, dtype: str) -> None:
    net = chain(dtype=dtype)
    x = np.round(inputs(net) * 64) / 64  # exact in both precisions
    plain = eq.free_phase(net, x.astype(dtype))
    other = eq.free_phase(net, convert(x), initial=convert(np.zeros((3, net.num_units))))
    np.testing.assert_array_equal(other.state, eq.free_phase(net, x, initial=0 * plain.state).state)
    by_label = eq.equilibrium_propagation(net, plain, convert(np.eye(3)))
    np.testing.assert_array_equal(
        by_label.parameters, eq.equilibrium_propagation(net, plain, np.arange(3)).parameters
    )


def test_integers_and_booleans_are_numbers() -> None:
    net = chain()
    bits = np.array([[0, 1, 1, 0]])
    expected = eq.free_phase(net, bits.astype(np.float64)).state
    for kind in (np.bool_, np.uint8, np.int32):
        np.testing.assert_array_equal(eq.free_phase(net, bits.astype(kind)).state, expected)


def test_the_default_solver_fits_the_model() -> None:
    for potential in POTENTIALS:
        net = chain(potential=potential)
        assert eq.free_phase(net, inputs(net)).solver == eq.BlockUpdate()
    assert eq.free_phase(Valley(), [[1.0, 2.0]]).solver == eq.Euler()


@pytest.mark.parametrize("dtype", sorted(TOLERANCE))
@pytest.mark.parametrize("kind", [eq.BlockUpdate, eq.FixedPointIteration, eq.Euler])
def test_acceleration_saves_steps_on_a_slow_network(kind: Any, dtype: str) -> None:
    net = eq.HopfieldNetwork([1, 6, 6], activation="linear", dtype=dtype)
    net.parameters[:] = 0
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))
    net.blocks["W2"][:] = q * np.linspace(0.5, 0.98, 6)  # the map's spectral radius is 0.98
    net.blocks["b2"][:] = 1
    plain = kind(tolerance=TOLERANCE[dtype] * 10, max_iterations=10_000)
    slow = eq.free_phase(net, [[1.0]], solver=plain)
    fast = eq.free_phase(net, [[1.0]], solver=replace(plain, anderson=4))
    assert 3 * fast.iterations.max() < slow.iterations.max()
    assert (slow.fallbacks == 0).all()
    np.testing.assert_allclose(fast.state, slow.state, rtol=0, atol=2000 * TOLERANCE[dtype])


def test_fall_backs_are_counted_and_told() -> None:
    net = chain(activation="hard_sigmoid")
    # the fixed point is reached up to rounding
    accelerated = eq.BlockUpdate(tolerance=0, max_iterations=60, anderson=2)
    free = eq.free_phase(net, inputs(net), solver=accelerated)
    assert free.fallbacks.dtype == np.int64
    assert (free.fallbacks <= free.iterations).all()
    plain = eq.free_phase(net, inputs(net), solver=replace(accelerated, anderson=0))
    assert (plain.fallbacks == 0).all()
    np.testing.assert_allclose(free.state, plain.state, rtol=0, atol=1e-12)
    for result in (free, plain):
        assert ("fell back" in result.summary()) == bool(result.fallbacks.any())


@pytest.mark.parametrize("solver", [eq.BlockUpdate, eq.FixedPointIteration, eq.Euler, eq.ConjugateGradient])
def test_options_reach_the_core(solver: Any) -> None:
    options = solver(tolerance=0.25, max_iterations=np.int64(17))
    assert (options.core.tolerance, options.core.max_iterations) == (0.25, 17)
    assert solver().core.tolerance is None
    assert eq.Euler(step_size=0.125).core.step_size == 0.125
    assert eq.FixedPointIteration(damping=0.75).core.damping == 0.75
    for phase in (eq.BlockUpdate, eq.FixedPointIteration, eq.Euler):
        assert phase().core.anderson == phase().anderson == 0
        assert phase(anderson=np.int64(20)).core.anderson == 20
        assert phase(anderson=2) != phase()
        assert "anderson=2" in repr(phase(anderson=2))
    with pytest.raises(TypeError):
        solver(0.1)


@pytest.mark.parametrize("solver", [eq.BlockUpdate(tolerance=1e-3), eq.ConjugateGradient(max_iterations=7)])
def test_a_solver_that_has_been_used_can_be_copied_and_pickled(solver: Any) -> None:
    assert solver.core is solver.core
    for other in (pickle.loads(pickle.dumps(solver)), copy.deepcopy(solver), replace(solver)):
        assert other == solver
        assert other.core.max_iterations == solver.max_iterations
