"""Networks as functions of JAX: gradients, transformations, precisions, and a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import Valley, chain, inputs

jax: Any = pytest.importorskip("jax", reason="the extra 'jax' is not installed")
import equiprop.jax as eqj  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402
from jax_functions import RBP, SOLVER, close, double, layer, loss_of, same, sample  # noqa: E402

__all__ = ["double"]

# ---------------------------------------------------------------------------- values and gradients


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("net", [chain(), chain(activation="hard_sigmoid", potential="quadratic")])
def test_values_and_gradients_are_those_of_the_library(net: eq.HopfieldNetwork) -> None:
    (x, y), apply, params = sample(net), layer(net), eqj.parameters_of(net)
    free = eq.free_phase(net, x, solver=SOLVER)
    expected = eq.recurrent_backpropagation(net, free, y, linear_solver=RBP.linear_solver)
    assert (np.asarray(apply(params, x)) == free.outputs).all()
    by_params, by_x = jax.grad(loss_of(apply), (0, 1))(params, x, y)
    assert close(by_params, dict(expected.blocks))
    assert close(by_x, expected.inputs)
    flat = jax.grad(loss_of(apply))(jnp.asarray(net.parameters), x, y)
    assert close(flat, expected.parameters)


@pytest.mark.usefixtures("double")
def test_gradients_are_those_of_finite_differences() -> None:
    net = chain()
    x, _ = sample(net)
    arguments = (eqj.parameters_of(net), jnp.asarray(x))
    check_grads(layer(net), arguments, order=1, modes=["rev"], atol=1e-8, rtol=1e-8, eps=1e-5)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("phase", "accuracy"),
    [
        (None, 1e-8),
        (eq.RecurrentBackpropagation(eq.GMRES(tolerance=1e-14)), 1e-10),
        (eq.EquilibriumPropagation(eq.exact_limit()), 1e-10),
        (eq.EquilibriumPropagation(eq.centered(1e-3)), 1e-4),
        (eq.EquilibriumPropagation(), 0.2),
    ],
)
def test_every_second_phase_can_be_the_backward_pass(phase: Any, accuracy: float) -> None:
    net = chain()
    (x, y), params = sample(net), eqj.parameters_of(net)
    slopes = jax.grad(loss_of(layer(net, second_phase=phase)))(params, x, y)
    expected = jax.grad(loss_of(layer(net)))(params, x, y)
    assert close(slopes, expected, accuracy)
    assert phase is None or not same(slopes, expected)


def test_a_network_in_float32_needs_no_double_precision() -> None:
    net = chain(dtype="float32")
    x, y = sample(net)
    apply, params = eqj.fixed_point_layer(net), eqj.parameters_of(net)
    free = eq.free_phase(net, x)
    outputs = apply(params, x)
    assert outputs.dtype == np.float32
    assert (np.asarray(outputs) == free.outputs).all()
    expected = eq.recurrent_backpropagation(net, free, y)
    assert close(jax.grad(loss_of(apply))(params, x, y), dict(expected.blocks), 1e-4)


@pytest.mark.usefixtures("double")
def test_arrays_of_other_types_are_converted_and_their_gradients_back() -> None:
    net = chain()
    (x, y), apply = sample(net), layer(net)
    half = jax.tree.map(lambda block: block.astype(jnp.bfloat16), eqj.parameters_of(net))
    slopes = jax.grad(loss_of(apply))(half, x, y)
    assert {slope.dtype.name for slope in slopes.values()} == {"bfloat16"}
    assert same(apply(half, [[0, 1, 1, 0]]), apply(half, np.array([[0.0, 1, 1, 0]])))
    assert same(apply(half, np.array([[False, True, True, False]])), apply(half, [[0, 1, 1, 0]]))


@pytest.mark.usefixtures("double")
def test_inputs_have_any_leading_axes_and_images_their_shape() -> None:
    net = eq.networks.chain_of_images((2, 4, 4), [3], 2, kernel=3, padding=1, dtype="float64")
    images = np.random.default_rng(0).uniform(size=(2, 3, 2, 4, 4))
    apply, params = layer(net), eqj.parameters_of(net)
    expected = eq.free_phase(net, images.reshape(6, 2, 4, 4), solver=SOLVER).outputs.reshape(2, 3, 2)
    assert (np.asarray(apply(params, images)) == expected).all()
    assert (np.asarray(apply(params, images.reshape(2, 3, 32))) == expected).all()
    assert (np.asarray(apply(params, images[0, 0])) == expected[0, 0]).all()
    assert apply(params, images[:, :0]).shape == (2, 0, 2)


# ---------------------------------------------------------------------------- transformations


@pytest.mark.usefixtures("double")
def test_jit_changes_no_bit() -> None:
    net = chain()
    (x, y), apply, params = sample(net), layer(net), eqj.parameters_of(net)
    assert same(jax.jit(apply)(params, x), apply(params, x))
    slopes = jax.grad(loss_of(apply), (0, 1))
    assert same(jax.jit(slopes)(params, x, y), slopes(params, x, y))


@pytest.mark.usefixtures("double")
def test_vmap_is_a_loop() -> None:
    net = chain()
    (x, _), apply, params = sample(net), layer(net), eqj.parameters_of(net)
    one, two = params, {name: 0.5 * np.asarray(block) for name, block in params.items()}
    several = {name: np.stack([one[name], two[name]]) for name in params}
    by_params = np.stack([apply(one, x), apply(two, x)])
    assert same(jax.vmap(apply, (None, 0))(params, x), np.stack([apply(params, row) for row in x]))
    assert same(jax.vmap(apply, (0, None))(several, x), by_params)
    assert same(jax.jit(jax.vmap(jax.vmap(apply, (None, 0)), (0, None)))(several, x), by_params)
    swapped = jax.vmap(jax.vmap(apply, (0, None)), (None, 0))(several, x)
    assert same(swapped, by_params.swapaxes(0, 1))
    assert same(jax.vmap(apply)(several, np.stack([x, x])), by_params)


@pytest.mark.usefixtures("double")
def test_gradients_of_single_samples_are_a_loop() -> None:
    net = chain()
    (x, y), apply, params = sample(net), layer(net), eqj.parameters_of(net)
    slopes = jax.jit(jax.grad(loss_of(apply), (0, 1)))
    looped = [slopes(params, x[k : k + 1], y[k : k + 1]) for k in range(len(x))]
    mapped = jax.jit(jax.vmap(slopes, (None, 0, 0)))(params, x[:, None], y[:, None])
    assert same(mapped, jax.tree.map(lambda *parts: np.stack(parts), *looped))


@pytest.mark.usefixtures("double")
def test_samples_that_vmap_adds_over_x_are_one_call_of_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    net, sizes = chain(), []
    apply, params = layer(net), eqj.parameters_of(net)
    relax = eqj.ImplicitFunction.relax

    def counted(self: Any, theta: Any, x: Any) -> Any:
        sizes.append(len(x))
        return relax(self, theta, x)

    monkeypatch.setattr(eqj.ImplicitFunction, "relax", counted)
    jax.vmap(jax.vmap(apply, (None, 0)), (None, 0))(params, np.zeros((3, 5, 4))).block_until_ready()
    assert sizes == [15]


@pytest.mark.usefixtures("double")
def test_control_flow_and_rematerialisation() -> None:
    net = chain()
    (x, y), apply, params = sample(net), layer(net), eqj.parameters_of(net)
    slopes = jax.grad(loss_of(apply))(params, x, y)
    assert same(jax.grad(jax.checkpoint(loss_of(apply)))(params, x, y), slopes)

    def scanned(params: Any) -> Any:
        def add(total: Any, row: Any) -> Any:
            return total + ((apply(params, row[0]) - row[1]) ** 2).sum() / 2 / len(x), None

        return jax.lax.scan(add, 0.0, (jnp.asarray(x), jnp.asarray(y)))[0]

    assert close(jax.jit(jax.grad(scanned))(params), slopes)


@pytest.mark.usefixtures("double")
def test_two_layers_and_a_front_of_jax_have_the_chain_rule() -> None:
    first, second = chain(4, 6, 3), chain(3, 5, 2, seed=1)
    one, two = layer(first), layer(second)
    params = [jnp.eye(4) / 2, eqj.parameters_of(first), eqj.parameters_of(second)]

    def stacked(params: Any, x: Any) -> Any:
        return two(params[2], one(params[1], jnp.tanh(x @ params[0])))

    x = jnp.asarray(sample(first)[0])
    check_grads(stacked, (params, x), order=1, modes=["rev"], atol=1e-8, rtol=1e-8, eps=1e-5)


def test_large_arrays_do_not_block() -> None:
    """A callback that waited for its own thread would hang here, as arrays of megabytes are copied late."""
    net = eq.HopfieldNetwork([1000, 300, 10], seed=0)
    apply, params, x = eqj.fixed_point_layer(net), eqj.parameters_of(net), jnp.ones((200, 1000)) / 9

    @jax.jit
    def step(params: Any, x: Any) -> Any:
        slopes = jax.grad(lambda params: (apply(params, jnp.sin(x)) ** 2).mean())(params)
        return jax.tree.map(lambda block, slope: block - 0.1 * slope, params, slopes)

    for _ in range(5):
        params = step(params, x)
    assert all(bool(jnp.isfinite(block).all()) for block in params.values())


# ---------------------------------------------------------------------------- samples without a result


def unstable() -> eq.HopfieldNetwork:
    """A network of one linear unit with a weight of 2 on itself: its states grow without limit."""
    layers, couplings = [eq.Layer(1), eq.Layer(2, "linear")], [eq.Dense(0, 1), eq.Dense(1, 1)]
    net = eq.HopfieldNetwork(layers=layers, couplings=couplings)
    net.parameters[:] = 1
    net.blocks["W2"][...] = [[0, 2], [2, 0]]
    return net


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_a_sample_that_diverges_is_nan_with_a_warning(transform: Callable[..., Any]) -> None:
    net = unstable()
    apply, params = eqj.fixed_point_layer(net), eqj.parameters_of(net)
    with pytest.warns(eq.ConvergenceWarning, match=r"\[fixed_point_layer\] 2 samples: 2 diverged"):
        outputs = transform(apply)(params, np.ones((2, 1))).block_until_ready()
    assert bool(jnp.isnan(outputs).all())


@pytest.mark.parametrize("on_failure", ["warn", "nan"])
def test_a_sample_that_does_not_converge_is_not_silent(on_failure: str) -> None:
    net = chain(dtype="float32")
    few = eq.FixedPointIteration(max_iterations=1)
    apply = jax.jit(eqj.fixed_point_layer(net, solver=few, on_failure=on_failure))
    arguments = eqj.parameters_of(net), inputs(net, 2)
    if on_failure == "nan":
        assert bool(jnp.isnan(apply(*arguments)).all())
        return
    for _ in range(2):  # also at the second call, which is not traced
        with pytest.warns(eq.ConvergenceWarning, match="Raise max_iterations"):
            outputs = apply(*arguments).block_until_ready()
    assert bool(jnp.isfinite(outputs).all())


def test_nan_stays_in_its_sample() -> None:
    net = chain(dtype="float32")
    apply, params, x = eqj.fixed_point_layer(net), eqj.parameters_of(net), inputs(net, 3)
    x[1, 2] = np.nan

    def masked(params: Any, x: Any) -> Any:
        outputs = apply(params, x)
        return jnp.where(jnp.isnan(outputs), 0, outputs).sum()

    outputs, (by_params, by_x) = apply(params, x), jax.grad(masked, (0, 1))(params, x)
    assert jnp.isnan(outputs).all(axis=1).tolist() == [False, True, False]
    assert same(by_params, jax.grad(masked)(params, x[[0, 2]]))
    assert bool(jnp.isfinite(by_x).all())
    lost = jax.grad(lambda params: apply(params, x).sum())(params)
    assert all(bool(jnp.isnan(slope).all()) for slope in lost.values())


# ---------------------------------------------------------------------------- parameters


@pytest.mark.usefixtures("double")
def test_parameters_are_copied_in_both_directions() -> None:
    net = chain()
    params = eqj.parameters_of(net)
    net.parameters[:] = 0
    assert any(bool(block.any()) for block in params.values())
    eqj.assign(net, params)
    assert same(dict(net.blocks), params)
    eqj.assign(net, 2 * net.parameters)
    assert same(dict(net.blocks), jax.tree.map(lambda block: 2 * block, params))
    model = Valley()
    eqj.assign(model, {"theta": np.arange(9.0)})
    assert model.parameters.tolist() == list(range(9))


def test_parameters_that_are_not_finite_are_not_assigned() -> None:
    net = eq.HopfieldNetwork([2, 3, 1])
    before = net.parameters.copy()
    with pytest.raises(ValueError, match=r"\[assign\] params are finite. Received NaN or infinity"):
        eqj.assign(net, before * np.nan)
    assert (net.parameters == before).all()


# ---------------------------------------------------------------------------- a training


def test_a_front_of_jax_and_a_network_learn_the_digits_together() -> None:
    train, test = eq.load_digits()
    net = eq.HopfieldNetwork([32, 64, 10], seed=0)
    apply = eqj.fixed_point_layer(net, second_phase=eq.EquilibriumPropagation())
    front = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32) / 8
    params = {"front": jnp.asarray(front), "net": eqj.parameters_of(net)}

    def outputs(params: Any, x: Any) -> Any:
        return apply(params["net"], jnp.tanh(x / 16 @ params["front"]))

    def loss(params: Any, x: Any, y: Any) -> Any:
        return ((outputs(params, x) - jax.nn.one_hot(y, 10)) ** 2).sum(axis=1).mean()

    @jax.jit
    def step(params: Any, x: Any, y: Any) -> Any:
        return jax.tree.map(lambda p, slope: p - 0.05 * slope, params, jax.grad(loss)(params, x, y))

    order = np.random.default_rng(0).permutation(len(train.x))[:1400].reshape(28, 50)
    for rows in np.tile(order, (8, 1)):
        params = step(params, train.x[rows], train.y[rows])
    assert float((outputs(params, test.x).argmax(axis=1) != test.y).mean()) < 0.1
    assert not same(params["front"], front)
