"""Figures of a model at its fixed points, compared with the independent implementation of the energy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import analysis
from networks import POTENTIALS, Oracle, Valley, chain, inputs, labels, skip

ACTIVATIONS = ["tanh", "softplus", "hard_sigmoid"]


def one_hot(y: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[y]


# ---------------------------------------------------------------------------- energies


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_energies_are_those_of_the_recorded_states(activation: str, potential: str) -> None:
    net = chain(activation=activation, potential=potential)
    free = eq.free_phase(net, inputs(net), record=True)
    assert free.trajectory is not None
    expected = [Oracle(net).energy(free.x, state) for state in free.trajectory]
    found = analysis.energies(free)
    assert found.shape == (free.iterations.max() + 1, 3)
    np.testing.assert_allclose(found[1:], expected[1:], rtol=0, atol=1e-12)  # the first state is on a bound


def test_energies_of_single_precision_are_computed_in_double() -> None:
    net = chain(dtype="float32")
    free = eq.free_phase(net, inputs(net), record=True)
    assert free.trajectory is not None
    oracle, state = Oracle(net), np.asarray(free.trajectory[-1], np.float64)
    np.testing.assert_allclose(
        analysis.energies(free)[-1], oracle.energy(np.asarray(free.x, np.float64), state), rtol=0, atol=1e-12
    )


def test_a_free_phase_of_other_parameters_is_refused() -> None:
    net = chain()
    free = eq.free_phase(net, inputs(net), record=True)
    net.parameters[:] *= 0.9
    for function in (analysis.energies, analysis.eigenvalues):
        with pytest.raises(ValueError, match="Run free_phase again"):
            function(free)


def test_energies_need_a_recording_and_an_energy() -> None:
    net = chain()
    with pytest.raises(ValueError, match=r"record=True\)\. Received no states"):
        analysis.energies(eq.free_phase(net, inputs(net)))
    field = net.variant(feedback="separate")
    free = eq.free_phase(field, inputs(net), record=True)
    with pytest.raises(ValueError, match=r"has an energy\. Received a vector field"):
        analysis.energies(free)


# ---------------------------------------------------------------------------- eigenvalues


def complex_step_hessian(net: eq.HopfieldNetwork, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The dense Jacobian of dE/ds of one sample, by complex steps of the independent gradient."""
    columns = [Oracle(net).gradient(x, s + 1e-100j * e[None]).imag[0] / 1e-100 for e in np.eye(s.shape[1])]
    return np.stack(columns, axis=1)


def assert_equal_sets(found: np.ndarray, expected: np.ndarray, atol: float) -> None:
    assert found.shape == expected.shape
    for value in expected:
        assert np.abs(found - value).min() <= atol
    for value in found:
        assert np.abs(expected - value).min() <= atol


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_eigenvalues_are_those_of_the_dense_jacobian(activation: str, potential: str) -> None:
    net = skip(activation=activation, potential=potential)
    free = eq.free_phase(net, inputs(net))
    flow = analysis.eigenvalues(free)
    assert flow.of == "flow"
    for j, values in enumerate(flow.values):
        hessian = complex_step_hessian(net, free.x[j : j + 1], free.state[j : j + 1])
        assert_equal_sets(values, np.linalg.eigvals(-hessian), 1e-11)
        assert (np.diff(values.real) <= 0).all()


@pytest.mark.parametrize("potential", POTENTIALS)
def test_eigenvalues_of_the_map_are_those_of_its_jacobian(potential: str) -> None:
    net = chain(activation="tanh", potential=potential)
    free = eq.free_phase(net, inputs(net), solver=eq.BlockUpdate(tolerance=1e-15, max_iterations=500))
    oracle, h = Oracle(net), 1e-6
    for j, values in enumerate(analysis.eigenvalues(free, of="map").values):
        x, s = free.x[j : j + 1], free.state[j : j + 1]
        steps = h * np.eye(s.shape[1])
        columns = [(oracle.image(x, s + e) - oracle.image(x, s - e))[0] / (2 * h) for e in steps]
        assert_equal_sets(values, np.linalg.eigvals(np.stack(columns, axis=1)), 1e-7)


def test_held_units_have_no_eigenvalue() -> None:
    net = chain(4, 6, 3, activation="hard_sigmoid")
    net.blocks["b1"][:2] = -9.0  # far below the lower bound
    free = eq.free_phase(net, inputs(net))
    hessian = complex_step_hessian(net, free.x[:1], free.state[:1])
    loose = np.flatnonzero((free.state[0, :6] > 0) & (free.state[0, :6] < 1))
    loose = np.concatenate([loose, np.arange(6, 9)])
    assert 0 not in loose
    expected = np.linalg.eigvals(-hessian[np.ix_(loose, loose)])
    assert_equal_sets(analysis.eigenvalues(free).values[0], expected, 1e-12)


def test_a_network_without_an_energy_has_complex_eigenvalues() -> None:
    net = chain(potential="quadratic").variant(feedback="separate")
    net.blocks["B2"][...] = -2 * net.blocks["W2"]
    free = eq.free_phase(net, inputs(net), solver=eq.Euler(step_size=0.2))
    values = analysis.eigenvalues(free).values[0]
    assert np.abs(values.imag).max() > 0.1
    assert_equal_sets(values, values.conj(), 1e-12)


def test_stability_is_judged_by_every_sample() -> None:
    net = chain()
    flow = analysis.eigenvalues(eq.free_phase(net, inputs(net)))
    assert flow.stable
    assert not replace(flow, values=(*flow.values, np.array([0.1 + 1j]))).stable
    by_map = replace(flow, values=(np.array([0.5j, -0.9]),), of="map")
    assert by_map.stable
    assert not replace(by_map, values=(np.array([-1.1 + 0j]),)).stable


def test_a_jacobian_of_many_units_is_refused() -> None:
    net = eq.networks.dense([2, 520, 1])
    with pytest.raises(ValueError, match=r"at most 512 units.* Received 521"):
        analysis.eigenvalues(eq.free_phase(net, [[0.1, 0.2]]))


# ---------------------------------------------------------------------------- filters


def test_filters_of_dense_weights_are_its_columns() -> None:
    net = eq.networks.dense([12, 5, 4])
    images = analysis.filters(net, "W1", (3, 4))
    assert images.shape == (5, 1, 3, 4)
    for unit in range(5):
        np.testing.assert_array_equal(images[unit, 0].ravel(), net.blocks["W1"][:, unit])
    images[...] = 7
    assert not (net.blocks["W1"] == 7).any()


def test_filters_of_dense_weights_of_an_image_respond_to_its_pixels() -> None:
    """The drive of a unit is the sum of pixels times its filter, in the order of the input's channels."""
    layers = [eq.Layer((2, 3, 4)), eq.Layer(5, "linear"), eq.Layer(2)]
    net = eq.HopfieldNetwork(layers=layers, couplings=[eq.Dense(0, 1), eq.Dense(1, 2)], dtype="float64")
    net.blocks["W2"][...] = 0
    x = np.random.default_rng(0).uniform(size=(1, 2, 3, 4))
    state = eq.free_phase(net, x).state[0, :5]
    np.testing.assert_allclose(state, (analysis.filters(net) * x[0]).sum(axis=(1, 2, 3)), rtol=0, atol=1e-14)


def test_filters_of_a_convolution_are_its_kernels() -> None:
    net = eq.networks.chain_of_images((2, 8, 8), [3], 4, kernel=3)
    np.testing.assert_array_equal(analysis.filters(net), net.blocks["W1"])
    with pytest.raises(ValueError, match="shape is an option of dense weights"):
        analysis.filters(net, "W1", (3, 3))


def test_filters_of_a_coupling_from_above_have_the_shape_of_their_source() -> None:
    net = skip()  # W4 leads from the output (3 units) to the first layer, W5 from the second one to the input
    assert analysis.filters(net, "W4", (1, 3)).shape == (6, 1, 1, 3)
    np.testing.assert_array_equal(analysis.filters(net, "W5")[:, 0].reshape(5, 4), net.blocks["W5"].T)


@pytest.mark.parametrize(
    ("block", "shape", "words"),
    [
        ("W9", None, "block is one of W1, W2. Received 'W9'"),
        ("b1", None, "block is one of W1, W2. Received 'b1'"),
        ("W1", None, "is a square. Received 12"),
        ("W1", (5, 2), "of the 12 units of the source"),
        ("W1", (12,), "of the 12 units of the source"),
    ],
)
def test_filters_that_do_not_exist_are_refused(block: str, shape: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        analysis.filters(eq.networks.dense([12, 5, 4]), block, shape)


# ---------------------------------------------------------------------------- cosines of gradients


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a.ravel() @ b.ravel() / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("net", [chain(), skip(), chain(activation="hard_sigmoid", potential="quadratic")])
def test_the_exact_limit_has_the_direction_of_rbp(net: eq.HopfieldNetwork) -> None:
    x, y = inputs(net), labels(net)
    found = analysis.gradient_cosines(net, x, y, rules=["exact_limit"], betas=[0.1])
    assert set(found.cosines["exact_limit"]) == {*net.block_slices, "all parameters"}
    for values in found.cosines["exact_limit"].values():
        assert abs(values[0] - 1) <= 1e-12


def test_cosines_are_those_of_the_independent_gradients() -> None:
    net = chain()
    x, y = inputs(net), labels(net)
    oracle, target = Oracle(net), one_hot(labels(net), 3)
    exact = net.block_views(oracle.implicit(x, target)[0])
    found = analysis.gradient_cosines(net, x, y, rules=["one_sided", "centered"], betas=[0.05, 0.4])
    np.testing.assert_array_equal(found.betas, [0.4, 0.05])
    for k, beta in enumerate(found.betas):
        nodes = {
            "one_sided": [(0.0, -1 / beta), (beta, 1 / beta)],
            "centered": [(-beta, -1 / (2 * beta)), (beta, 1 / (2 * beta))],
        }
        for rule, pairs in nodes.items():
            estimate = net.block_views(oracle.equilibrium_propagation(x, target, pairs))
            for block in net.blocks:
                expected = cosine(estimate[block], exact[block])
                assert abs(found.cosines[rule][block][k] - expected) <= 1e-11, (rule, block)


def test_small_angles_have_the_order_of_the_rule() -> None:
    net = chain()
    betas = [0.02, 0.01]
    rules = ("one_sided", "centered", "holomorphic")
    found = analysis.gradient_cosines(net, inputs(net), labels(net), rules=rules, betas=betas)
    for rule, order in (("one_sided", 2), ("centered", 4)):
        large, small = found.gaps[rule]["W1"]
        assert np.log2(large / small) == pytest.approx(order, abs=0.1)
    assert (found.gaps["holomorphic"]["W1"] < 1e-24).all()  # (0.02 / R)^16


def test_a_rule_that_does_not_apply_is_refused() -> None:
    net = chain(activation="hard_sigmoid")
    with pytest.raises(ValueError, match="'holomorphic' needs a holomorphic model"):
        analysis.gradient_cosines(net, inputs(net), labels(net), rules=["holomorphic"])
    with pytest.raises(ValueError, match=r"an entry of rules is 'one_sided' or .* Received 'two_sided'"):
        analysis.gradient_cosines(net, inputs(net), labels(net), rules=["two_sided"])
    with pytest.raises(ValueError, match="at least one rule and one beta"):
        analysis.gradient_cosines(net, inputs(net), labels(net), betas=[])


def test_a_phase_without_a_minimum_has_no_cosine() -> None:
    net = chain()
    found = analysis.gradient_cosines(net, inputs(net), labels(net), rules=["centered"], betas=[2.0])
    assert np.isnan(found.cosines["centered"]["W1"]).all()  # -2 |o - y|^2 / 2 + |o|^2 / 2 is concave


# ---------------------------------------------------------------------------- phase portrait


@pytest.mark.parametrize("potential", POTENTIALS)
def test_the_flow_is_minus_the_slope_of_the_energy(potential: str) -> None:
    net = chain(1, 1, 1, activation="sigmoid", potential=potential)
    x, y, h = np.array([[0.7]]), np.array([[0.9]]), 1e-5
    bounds = ((0.1, 0.9), (-0.5, 1.5))
    portrait = analysis.phase_portrait(net, x, y, 0.4, bounds=bounds, points=4)
    np.testing.assert_array_equal(portrait.first, np.linspace(0.1, 0.9, 4))
    np.testing.assert_array_equal(portrait.second, np.linspace(-0.5, 1.5, 4))
    oracle = Oracle(net)

    def total(state: np.ndarray, beta: float) -> float:
        return float(oracle.energy(x, state[None])[0] + beta * oracle.cost(state[None], y)[0])

    for beta, flow in ((0.0, portrait.free_flow), (0.4, portrait.nudged_flow)):
        for j, second in enumerate(portrait.second):
            for i, first in enumerate(portrait.first):
                s = np.array([first, second])
                slopes = [(total(s + e, beta) - total(s - e, beta)) / (2 * h) for e in h * np.eye(2)]
                np.testing.assert_allclose(flow[j, i], -np.array(slopes), rtol=0, atol=1e-8)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_nudged_phase_leads_from_one_fixed_point_to_the_other(activation: str) -> None:
    net = chain(1, 1, 1, activation=activation)
    x, y = np.array([[0.7]]), np.array([[0.9]])
    portrait = analysis.phase_portrait(net, x, y, 0.8)
    oracle = Oracle(net)
    np.testing.assert_allclose(portrait.free_state, oracle.relax(x)[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(portrait.nudged_state, oracle.relax(x, y, 0.8)[0], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(portrait.path[0], portrait.free_state)
    distance = np.abs(portrait.free_state - portrait.nudged_state).max()
    assert np.abs(portrait.path[-1] - portrait.nudged_state).max() <= 2e-3 * distance
    assert len(portrait.path) > 5
    inside = (portrait.first[0] < portrait.path[:, 0]) & (portrait.path[:, 0] < portrait.first[-1])
    assert inside.all()


def test_the_portrait_of_an_own_energy_and_of_a_vector_field() -> None:
    model = Valley(units=2, outputs=1, inputs=2)
    x, y, beta = np.array([[0.3, -0.2]]), np.array([[1.0]]), 0.5
    portrait = analysis.phase_portrait(model, x, y, beta)
    assert portrait.units == ("s[0]", "s[1]")
    grid = np.stack(np.meshgrid(portrait.first, portrait.second), axis=-1).reshape(-1, 2)
    nudge = np.stack([0 * grid[:, 0], grid[:, 1] - 1.0], axis=1)
    slope = model.gradient(np.repeat(x, len(grid), axis=0), grid)
    np.testing.assert_allclose(portrait.nudged_flow.reshape(-1, 2), -slope - beta * nudge, rtol=0, atol=1e-13)

    class Turning(eq.VectorField):
        def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
            return x - s @ np.array([[1.0, -2.0], [2.0, 1.0]])

    portrait = analysis.phase_portrait(Turning(2, 1, np.ones(1), 2), x, y, beta)
    grid = np.stack(np.meshgrid(portrait.first, portrait.second), axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(
        portrait.free_flow.reshape(-1, 2),
        x - grid @ np.array([[1.0, -2.0], [2.0, 1.0]]),
        rtol=0,
        atol=1e-13,
    )


@pytest.mark.parametrize(
    ("sizes", "samples", "options", "words"),
    [
        ((2, 3, 2), 1, {}, r"two free units. Received \(1, 5\)"),
        ((1, 1, 1), 2, {}, r"two free units. Received \(2, 2\)"),
        ((1, 1, 1), 1, {"bounds": ((1.0, 0.0), (0.0, 1.0))}, "each low below its high"),
        ((1, 1, 1), 1, {"bounds": ((0.0, 1.0),)}, "each low below its high"),
        ((1, 1, 1), 1, {"points": 1}, "points is 2 to 500"),
        ((1, 1, 1), 1, {"beta": np.nan}, "beta lies in"),
    ],
)
def test_portraits_of_other_models_and_grids_are_refused(
    sizes: tuple[int, ...], samples: int, options: dict[str, Any], words: str
) -> None:
    net = chain(*sizes)
    with pytest.raises(ValueError, match=words):
        analysis.phase_portrait(net, inputs(net, samples), np.zeros((samples, sizes[-1])), **options)
