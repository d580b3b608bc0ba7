"""Hopfield networks have the energy of the literature, and their parameters are memory of the core."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Activation, Dense, HopfieldNetwork, Layer, checks
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import CLIPPED, POTENTIALS, SMOOTH, Oracle, chain, inputs, skip

ACTIVATIONS = SMOOTH + CLIPPED
sizes = st.lists(st.integers(1, 6), min_size=2, max_size=5)
few = settings(max_examples=30, deadline=None, derandomize=True)


def states(net: HopfieldNetwork, batch: int, seed: int) -> np.ndarray:
    """Return states within the bounds and the range of every activation."""
    return np.random.default_rng(seed).uniform(0.05, 0.95, (batch, net.num_units))


def check_against_the_oracle(net: HopfieldNetwork, seed: int) -> None:
    x, s, h, oracle = inputs(net, 3, seed), states(net, 3, seed), 1e-100, Oracle(net)
    v = np.random.default_rng(seed).normal(size=s.shape)
    core = net.clamp(x)
    exact: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(core.energy(s), oracle.energy(x, s), **exact)
    np.testing.assert_allclose(core.gradient(s), oracle.gradient(x, s), **exact)
    np.testing.assert_allclose(core.fixed_point_map(s), oracle.image(x, s), **exact)
    residual = np.abs(oracle.image(x, s) - s).max(axis=1)
    np.testing.assert_allclose(core.residual(s), residual, **exact)
    np.testing.assert_allclose(core.parameter_gradient(s), oracle.parameter_gradient(x, s), **exact)
    product = oracle.gradient(x, s + 1j * h * v).imag / h
    np.testing.assert_allclose(core.hessian_vector_product(s, v), product, **exact)
    mixed = [
        (oracle.gradient(x, s + 0j, oracle.theta + 1j * h * e).imag * v).sum() / h
        for e in np.eye(len(oracle.theta))
    ]
    np.testing.assert_allclose(core.mixed_derivative_product(s, v), mixed, **exact)


@few
@given(
    sizes,
    st.sampled_from(ACTIVATIONS),
    st.sampled_from(ACTIVATIONS),
    st.sampled_from(POTENTIALS),
    st.integers(0, 99),
)
def test_every_derivative_of_a_chain_is_the_oracles(
    units: list[int], activation: str, output: str, potential: str, seed: int
) -> None:
    net = chain(*units, activation=activation, output=output, potential=potential, seed=seed)
    check_against_the_oracle(net, seed)


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_derivative_of_a_graph_with_skips_is_the_oracles(activation: str, potential: str) -> None:
    check_against_the_oracle(skip(activation, potential), 0)


@pytest.mark.parametrize("potential", POTENTIALS)
def test_the_oracles_gradient_is_the_slope_of_its_energy(potential: str) -> None:
    """The gradient of the oracle agrees with complex steps of its energy."""
    for activation in ("tanh", "steep_sigmoid", "half_hard_sigmoid"):
        net = skip(activation, potential)
        x, s, h, oracle = inputs(net), states(net, 3, 0), 1e-100, Oracle(net)
        slopes = [oracle.energy(x, s + 1j * h * e).imag / h for e in np.eye(net.num_units)]
        np.testing.assert_allclose(oracle.gradient(x, s), np.transpose(slopes), rtol=1e-12, atol=1e-13)


def test_layers_may_have_their_own_activations() -> None:
    net = chain(3, 4, 5, 2, activation=["tanh", "hard_sigmoid"], output="sigmoid")
    assert [layer.activation for layer in net.layers[1:]] == [
        eq.activation(name) for name in ("tanh", "hard_sigmoid", "sigmoid")
    ]
    check_against_the_oracle(net, 1)
    own = Activation("logistic", gain=2.0, shift=-0.5)
    check_against_the_oracle(chain(3, 4, 2, activation=own, output=Activation("clip", 2.0, 0, -1, 3)), 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_are_the_memory_the_core_computes_with(dtype: str) -> None:
    net = chain(dtype=dtype)
    x = inputs(net)
    before = eq.free_phase(net, x).outputs
    net.blocks["b2"][...] += 1
    after = eq.free_phase(net, x).outputs
    assert (after > before + 0.5).all()
    net.parameters[:] = 0
    assert (eq.free_phase(net, x).state == 0).all()
    memory = net.parameters
    del net
    memory[:] = 1  # the array remains valid after the network is deleted
    assert memory.sum() == len(memory)


@few
@given(sizes, st.booleans())
def test_blocks_and_layers_tile_parameters_and_state(units: list[int], graph: bool) -> None:
    net = skip() if graph else chain(*units)
    covered = np.zeros(net.num_parameters, int)
    for name, block in net.blocks.items():
        assert np.shares_memory(block, net.parameters)
        assert net.parameters[net.block_slices[name]].size == block.size
        np.testing.assert_array_equal(net.parameters[net.block_slices[name]], block.ravel())
        covered[net.block_slices[name]] += 1
    assert (covered == 1).all()
    places = [i for s in net.layer_slices.values() for i in range(s.start, s.stop)]
    assert places == list(range(net.num_units))
    assert list(net.layer_slices) == [layer.name for layer in net.layers[1:]]
    if not graph:
        shapes = {f"W{k}": pair for k, pair in enumerate(pairwise(units), start=1)}
        shapes |= {f"b{k}": (n,) for k, n in enumerate(units[1:], start=1)}
        assert {name: block.shape for name, block in net.blocks.items()} == shapes
        assert net.num_parameters == sum(a * b + b for a, b in pairwise(units))
        assert (net.num_inputs, net.num_outputs, net.num_units) == (units[0], units[-1], sum(units[1:]))


def test_a_coupling_to_the_input_is_one_from_it() -> None:
    pair = [Layer(2), Layer(3, "tanh")]
    there, back = (HopfieldNetwork(layers=pair, couplings=[c]) for c in (Dense(0, 1), Dense(1, 0)))
    assert there.couplings == back.couplings == (Dense(0, 1),)
    np.testing.assert_array_equal(there.blocks["W1"], back.blocks["W1"])


@few
@given(st.integers(0, 2**64 - 1), st.floats(0.01, 2))
def test_a_seed_fixes_the_weights_and_single_precision_rounds_them(seed: int, gain: float) -> None:
    double, again, single = (
        HopfieldNetwork([5, 7, 2], seed=seed, gain=gain, dtype=dtype)
        for dtype in ("float64", "float64", "float32")
    )
    np.testing.assert_array_equal(double.parameters, again.parameters)
    np.testing.assert_array_equal(single.parameters, double.parameters.astype(np.float32))
    assert (double.blocks["b1"] == 0).all()
    bound = gain * np.sqrt(6 / (5 + 7))
    assert (np.abs(double.blocks["W1"]) <= bound).all()
    again.initialize(seed, gain / 2)
    np.testing.assert_allclose(again.parameters, double.parameters / 2, rtol=1e-15, atol=0)


def test_weights_fill_their_range_and_seeds_differ() -> None:
    net, other = (HopfieldNetwork([100, 100], seed=seed, gain=1, dtype="float64") for seed in (0, 1))
    weights = net.blocks["W1"] / np.sqrt(6 / 200)
    assert abs(weights.mean()) < 4 / np.sqrt(3 * weights.size)
    assert weights.std() == pytest.approx(1 / np.sqrt(3), rel=0.05)
    assert weights.max() > 0.99
    assert (net.blocks["W1"] != other.blocks["W1"]).all()


@pytest.mark.parametrize("build", [chain, skip])
def test_astype_copies_in_another_precision(build: Any) -> None:
    net = build()
    single = net.astype("float32")
    np.testing.assert_array_equal(single.parameters, net.parameters.astype(np.float32))
    assert (single.layers, single.couplings, single.potential) == (net.layers, net.couplings, net.potential)
    same = net.astype(np.float64)
    assert not np.shares_memory(same.parameters, net.parameters)
    np.testing.assert_array_equal(same.parameters, net.parameters)
    expected = eq.free_phase(net, inputs(net)).outputs
    np.testing.assert_allclose(eq.free_phase(single, inputs(net)).outputs, expected, atol=1e-4)


def test_a_network_describes_itself() -> None:
    assert repr(chain(4, 6, 3)) == "HopfieldNetwork(4-6-3, linear, tanh, legendre, float64)"
    assert repr(chain(2, 1, activation="tanh", potential="quadratic", dtype="float32")).endswith(
        "quadratic, float32)"
    )
    assert "gain=2" in repr(chain(2, 2, 1, activation=Activation("logistic", gain=2.0)))


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_a_network_can_do_follows_from_its_units(activation: str, potential: str) -> None:
    net = chain(3, 4, 2, activation=activation, potential=potential)
    assert net.holomorphic == (activation in SMOOTH or activation == "linear")
    rest = np.zeros((2, 4)) if potential == "quadratic" else net.layers[1].activation.value(np.zeros((2, 4)))
    np.testing.assert_allclose(net.initial_state(2)[:, :4], rest, rtol=0, atol=1e-15)


@pytest.mark.parametrize("feedback", ["tied", "separate"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_are_refused_by_the_first_byte_that_memory_lacks(
    dtype: str, feedback: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = HopfieldNetwork(
        layers=[Layer(3), Layer(5), Layer(4), Layer(2)],
        couplings=[Dense(0, 1), Dense(2, 1), Dense(2, 3), Dense(0, 3)],
        feedback=feedback,
        dtype=dtype,
    )
    size = net.parameters.nbytes
    monkeypatch.setattr(checks, "physical_memory", lambda: size)
    net.variant()
    monkeypatch.setattr(checks, "physical_memory", lambda: size - 1)
    message = rf"cannot allocate {size / 1e9:.3g} GB for {dtype} .* layers 3-5-4-2: this machine has"
    with pytest.raises(MemoryError, match=message):
        net.variant()


LIMITED = """
import resource
import equiprop as eq
from equiprop import checks
from equiprop.cli import main

checks.physical_memory = lambda: None  # as on a system that does not say
resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
try:
    eq.HopfieldNetwork([64, 10**8, 10])
except MemoryError as error:
    print(error)
print(main("train digits --layers 100000000".split()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")
def test_an_allocation_that_fails_names_its_purpose(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LIMITED], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    message = (
        "[HopfieldNetwork] cannot allocate 30 GB for float32 parameters of layers 64-100000000-10: "
        "not enough memory is free. Choose smaller layers."
    )
    assert run.stdout.splitlines() == [message, "2"]
    assert run.stderr == f"equiprop train: error: {message}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("couplings", "message"),
    [
        ([(0, 1), (0, 0), (1, 2)], r"The input is clamped, .* 0 -> 0, within layer 'input'"),
        ([(0, 1), (1, 1), (1, 2), (1, 1)], r"At most one dense coupling .* 1 -> 1, .* 'hidden1'"),
        ([(0, 1), (1, 2), (1, 2)], r"At most one dense coupling .* 1 -> 2, .* 'hidden1' and 'output'"),
        ([(0, 1), (1, 2), (2, 1)], r"At most one dense coupling .* 2 -> 1, .* 'output' and 'hidden1'"),
        ([(0, 1), (0, 1), (1, 2)], r"At most one dense coupling .* 0 -> 1, .* 'input' and 'hidden1'"),
        ([(0, 1), (1, 0), (1, 2)], r"At most one dense coupling .* 1 -> 0, .* 'hidden1' and 'input'"),
    ],
)
def test_a_graph_couples_layers_at_most_once(couplings: Any, message: str) -> None:
    layers = [eq.Layer(3), eq.Layer(4), eq.Layer(2)]
    with pytest.raises(ValueError, match=rf"^\[Topology\] .*{message}\.$"):
        eq.HopfieldNetwork(layers=layers, couplings=[eq.Dense(a, b) for a, b in couplings])


def test_the_input_may_be_coupled_to_every_layer() -> None:
    """All pairs of layers are coupled; the reference is the oracle's energy of that graph."""
    layers = [eq.Layer(3), eq.Layer(4), eq.Layer(5), eq.Layer(2, "linear")]
    couplings = [eq.Dense(a, b) for a in range(4) for b in range(a)]
    net = eq.HopfieldNetwork(layers=layers, couplings=couplings, dtype="float64", seed=0, gain=0.3)
    x = inputs(net)
    free = eq.free_phase(net, x, solver=eq.BlockUpdate(tolerance=1e-14))
    np.testing.assert_allclose(free.state, Oracle(net).relax(x), rtol=0, atol=1e-12)
