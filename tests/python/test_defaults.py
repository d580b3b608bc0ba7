"""Start values and learning rates under which networks learn: laws of the rules, and trainings by default."""

from __future__ import annotations

import copy
import math
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.activations import activation
from equiprop.clipping import Clipping
from equiprop.defaults import block_rates, start_values, unit_of
from networks import blobs, chain

NAMES = [name for name in eq.ACTIVATIONS if name != "linear"]
KINDS = [(name, "legendre") for name in NAMES] + [
    (name, "quadratic") for name in ("tanh", "sigmoid", "steep_sigmoid", "softplus")
]
X = np.random.default_rng(0).uniform(0, 1, (300, 12))


def network(name: str, potential: str, *hidden: int, feedback: str = "tied") -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork(
        [12, *hidden, 5], activation=name, potential=potential, feedback=feedback, dtype="float64"
    )


def hessian(net: eq.HopfieldNetwork, s: Any) -> Any:
    """Return d2E/ds2 at one state by complex steps of the core's gradient."""
    energy = net.clamp_complex(np.zeros((1, 12)))
    points = s + 1e-30j * np.eye(len(s))
    return np.array([energy.gradient(point[None])[0].imag / 1e-30 for point in points])


@pytest.mark.parametrize(("name", "potential"), KINDS)
@pytest.mark.parametrize("hidden", [(9,), (9, 7, 8)])
def test_couplings_are_orthogonal_and_below_the_loss_of_convexity(
    name: str, potential: str, hidden: tuple[int, ...]
) -> None:
    net = network(name, potential, *hidden)
    net.parameters[:] = start_values(net, X, 3)
    slopes = [unit_of(activation(layer.activation), potential).slope for layer in net.layers[1:]]
    total = np.zeros((sum(n.units for n in net.layers[1:]),) * 2)
    begin = 0
    for k in range(1, len(net.layers) - 1):
        w = net.blocks[f"W{k + 1}"]
        scaled = w * math.sqrt(slopes[k - 1] * slopes[k])
        np.testing.assert_allclose(np.linalg.svd(scaled, compute_uv=False), 0.5, rtol=1e-12)
        a, b = w.shape
        total[begin : begin + a, begin + a : begin + a + b] = scaled
        begin += a
    # Each layer of a chain, and the output with its cost, has two couplings: the norm is cos(pi / (n + 1)).
    largest = np.linalg.norm(total + total.T, 2)
    assert largest <= math.cos(math.pi / (len(hidden) + 2)) * (1 + 1e-12)


@pytest.mark.parametrize(("name", "potential"), KINDS)
def test_units_rest_in_mid_slope(name: str, potential: str) -> None:
    """If the input is its mean and no unit is moved, the resting state is the fixed point."""
    net = network(name, potential, 9, 7)
    net.parameters[:] = start_values(net, X, 3)
    units = [unit_of(activation(layer.activation), potential) for layer in net.layers[1:]]
    moved = (
        net.blocks["b1"] + X.mean(axis=0) @ net.blocks["W1"] + net.blocks["W2"] @ np.full(7, units[1].signal)
    )
    assert (np.abs(moved - units[0].drive) <= units[0].half_width * (1 + 1e-12)).all()
    net.blocks["b1"][...] += units[0].drive - moved
    state = np.concatenate([np.full(n.units, u.state) for n, u in zip(net.layers[1:], units, strict=True)])
    energy = net.clamp(X.mean(axis=0, keepdims=True))
    np.testing.assert_allclose(energy.gradient(state[None]), 0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_input_weights_give_drives_of_one_half_width_for_features_of_any_scale(scale: float) -> None:
    net = network("tanh", "legendre", 200)
    net.parameters[:] = start_values(net, scale * X, 0)
    assert (scale * X @ net.blocks["W1"]).std(axis=0).mean() == pytest.approx(1.0, rel=1e-12)
    rates = block_rates(net, scale * X, eq.SquaredError())
    assert rates["W1"] * np.abs(scale * X).sum(axis=1).mean() == pytest.approx(0.2)


def test_the_quadratic_slope_is_the_largest_weight_of_a_coupling_in_the_hessian() -> None:
    """H_ij = -rho'_i W_ij rho'_j beside the own curvature 1 - rho'' s / rho': the ratio is L."""
    for name, slope in {"tanh": 1.0, "sigmoid": 1 / 16, "softplus": 1.06, "steep_sigmoid": 1.41}.items():
        assert unit_of(activation(name), "quadratic").slope == pytest.approx(slope, rel=0.01)


def test_feedback_weights_begin_tied() -> None:
    net = network("tanh", "legendre", 9, feedback="separate")
    net.parameters[:] = start_values(net, X, 0)
    np.testing.assert_array_equal(net.blocks["B2"], net.blocks["W2"])
    assert set(block_rates(net, X, eq.SquaredError())) == set(net.blocks)


def test_only_a_network_as_drawn_gets_start_values() -> None:
    data = blobs()
    for change in (
        lambda net: None,
        lambda net: net.initialize(0),
        lambda net: net.blocks["W1"].__setitem__((0, 0), 2.0),
    ):
        net = eq.HopfieldNetwork([4, 6, 3], seed=5)
        change(net)
        kept, fresh = net.parameters.copy(), net.fresh_seed
        eq.Trainer(net).prepare(data)
        assert (fresh is None) == np.array_equal(net.parameters, kept)
    assert eq.HopfieldNetwork([4, 6, 3], gain=0.5).fresh_seed is None


@pytest.mark.parametrize(
    "change", [copy.deepcopy, lambda net: net.astype("float64"), lambda net: net.variant()]
)
def test_a_copy_of_a_fresh_network_is_fresh(change: Any) -> None:
    net = eq.HopfieldNetwork([4, 6, 3], seed=5)
    assert change(net).fresh_seed == 5
    net.parameters[0] += 1
    assert change(net).fresh_seed is None


def test_prepare_and_fit_and_the_first_step_set_the_same_rates_once() -> None:
    data = blobs()
    one, other = (eq.Trainer(eq.HopfieldNetwork([4, 6, 3], seed=1), batch_size=20) for _ in range(2))
    one.prepare(data)
    rates = one.optimizer.learning_rate  # type: ignore[attr-defined]
    assert set(rates) == set(one.model.block_slices)
    one.fit(data, epochs=1)
    assert one.optimizer.learning_rate == rates  # type: ignore[attr-defined]
    other.fit(data, epochs=1)
    np.testing.assert_array_equal(one.model.parameters, other.model.parameters)
    with pytest.raises(ValueError, match=r"\[Adam.step\] learning_rate is a number"):
        eq.Adam("auto").step(np.ones(2), np.ones(2), {"w": slice(0, 2)})


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_cost_and_nudging_fit_the_slope_of_the_outputs(gain: float) -> None:
    output = eq.Activation("clip", gain=gain)
    net = eq.HopfieldNetwork([4, 6, 3], output_activation=output)
    entropy = eq.Trainer(net, cost=eq.CrossEntropy())
    assert entropy.cost.scale**2 * gain == pytest.approx(16)  # type: ignore[attr-defined]
    assert entropy.second_phase.rule.beta == pytest.approx(1 / 64)  # type: ignore[attr-defined]
    squared = eq.Trainer(net)
    assert squared.second_phase.rule.beta == pytest.approx(0.25 / gain)  # type: ignore[attr-defined]
    given = eq.Trainer(net, eq.EquilibriumPropagation(eq.one_sided(0.1)), cost=eq.CrossEntropy(2.0))
    assert given.cost == eq.CrossEntropy(2.0)
    assert given.second_phase == eq.EquilibriumPropagation(eq.one_sided(0.1))


@pytest.mark.parametrize(
    ("potential", "hidden", "scale"), [("legendre", 5, 4), ("quadratic", 4, 4), ("quadratic", 5, 8)]
)
def test_the_logit_scale_of_a_trainer_depends_on_depth_and_potential(
    potential: str, hidden: int, scale: float
) -> None:
    net = eq.HopfieldNetwork([4, *[6] * hidden, 3], activation="steep_sigmoid", potential=potential)
    trainer = eq.Trainer(net, cost=eq.CrossEntropy())
    assert trainer.cost == eq.CrossEntropy(logit_scale=float(scale))
    assert trainer.second_phase == eq.EquilibriumPropagation(eq.centered(1 / (4 * scale**2)))
    assert eq.Trainer(net, cost=eq.CrossEntropy(2.0)).cost == eq.CrossEntropy(2.0)


def test_a_logit_scale_is_a_gain_of_the_outputs() -> None:
    """E = o^2 / (2 g) with cost CE(o) is E = v^2 / 2 with weights sqrt(g) W and cost CE(sqrt(g) v)."""
    small, steep = chain(4, 6, 3), chain(4, 6, 3)
    output = eq.Activation("clip", gain=16.0)
    layers = (*steep.layers[:-1], eq.Layer(3, output))
    steep = eq.HopfieldNetwork(layers=layers, couplings=small.couplings, dtype="float64")
    for name, block in steep.blocks.items():
        block[...] = small.blocks[name] / (4 if name in ("W2", "b2") else 1)
    x, y = blobs().x[:7], blobs().y[:7]
    solver = eq.BlockUpdate(tolerance=1e-13, max_iterations=5000)
    gradients = []
    for net, cost in ((small, eq.CrossEntropy(4.0)), (steep, eq.CrossEntropy())):
        free = eq.free_phase(net, x, solver=solver)
        gradient = eq.equilibrium_propagation(
            net, free, y, cost=cost, nudging=eq.centered(1 / 64), solver=solver
        )
        gradients.append(net.block_views(gradient.parameters))
        assert gradient.objective == pytest.approx(2.0, rel=1)
    for name, block in gradients[0].items():
        factor = 4 if name in ("W2", "b2") else 1
        np.testing.assert_allclose(factor * block, gradients[1][name], atol=1e-10)


def test_a_gradient_is_cut_at_a_multiple_of_the_running_norm() -> None:
    clipping = Clipping(3.0)
    assert clipping.largest_norm == math.inf
    clipping.record(2.0)
    assert clipping.largest_norm == pytest.approx(6.0)
    clipping.record(100.0)
    assert (clipping.count, clipping.mean) == (1, pytest.approx(0.95 * 2 + 0.05 * 6))
    np.testing.assert_allclose(np.linalg.norm(clipping.cut(np.full(4, 50.0), 100.0)), clipping.largest_norm)
    with pytest.raises(ValueError, match=r"\[Trainer\] clip is positive"):
        eq.Trainer(chain(4, 6, 3), clip=0.0)


def test_a_coupling_is_scaled_back_to_the_largest_norm() -> None:
    net = eq.HopfieldNetwork([4, 9, 3], activation="relu", dtype="float64", gain=3.0)
    before = {name: block.copy() for name, block in net.blocks.items()}
    trainer = eq.Trainer(net, optimizer=eq.SGD(0.0))
    eq.Trainer(net, coupling_norm=math.inf)._guard.apply()
    np.testing.assert_array_equal(net.blocks["W2"], before["W2"])
    trainer._guard.apply()
    assert np.linalg.norm(net.blocks["W2"], 2) == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(net.blocks["W2"] / before["W2"], (net.blocks["W2"] / before["W2"])[0, 0])
    np.testing.assert_array_equal(net.blocks["W1"], before["W1"])
    for other in ("tanh", "hard_sigmoid"):
        assert eq.Trainer(eq.HopfieldNetwork([4, 9, 3], activation=other))._guard.limit == math.inf
    assert eq.Trainer(eq.HopfieldNetwork([4, 9, 9, 3], activation="relu"))._guard.limit == math.inf
    with pytest.raises(ValueError, match=r"\[Trainer\] coupling_norm is positive"):
        eq.Trainer(net, coupling_norm=0.0)


class Outside(eq.EquilibriumPropagation):
    """A second phase with its own `gradient`, so that Python takes the step."""

    def gradient(self, free: Any) -> Any:
        return super().gradient(free)


@pytest.mark.parametrize(
    "optimizer", [lambda: eq.SGD(0.05), lambda: eq.SGD(0.05, 0.9), lambda: eq.Adam(1e-3)]
)
def test_the_core_and_python_cut_the_same_gradients(optimizer: Any) -> None:
    trainers = [
        eq.Trainer(chain(4, 6, 3), phase, optimizer(), clip=0.9)
        for phase in (eq.EquilibriumPropagation(), Outside())
    ]
    for k in range(8):
        one, other = (t.step(blobs().x[5 * k :][:5], blobs().y[5 * k :][:5]) for t in trainers)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-12)
    assert trainers[0]._clipping.count == trainers[1]._clipping.count > 0
    np.testing.assert_allclose(trainers[0].model.parameters, trainers[1].model.parameters, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::equiprop.ConvergenceWarning")  # single samples of a whole training
@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy()], ids=["squared", "entropy"])
@pytest.mark.parametrize(
    "phase", [eq.EquilibriumPropagation(), eq.RecurrentBackpropagation()], ids=["ep", "rbp"]
)
@pytest.mark.parametrize(("name", "potential"), KINDS)
def test_every_activation_learns_by_default(name: str, potential: str, phase: Any, cost: Any) -> None:
    data = blobs()
    for hidden in ([12], [12, 12, 12]):
        net = eq.HopfieldNetwork([4, *hidden, 3], activation=name, potential=potential)
        trainer = eq.Trainer(net, phase, cost=cost, batch_size=20)
        trainer.fit(data, epochs=10)
        assert trainer.evaluate(data).error < 0.08, (hidden, trainer.evaluate(data))


def test_automatic_rates_fall_with_the_steps_and_others_stay() -> None:
    data = blobs()
    one = eq.Trainer(eq.HopfieldNetwork([4, 6, 3]))
    for _ in range(3):
        one.step(data.x, data.y)
    assert one.rate_factor(0.0) == pytest.approx(1 / math.sqrt(1 + 3 / 200))
    other = eq.Trainer(eq.HopfieldNetwork([4, 6, 3]), optimizer=eq.Adam(1e-3))
    other.step(data.x, data.y)
    assert other.rate_factor(0.0) == 1


def test_without_clipping_the_core_updates_while_it_sums() -> None:
    """The bits are those of the fused step; the norm of the gradient is not known."""
    nets = [chain(4, 6, 3, dtype="float32") for _ in range(2)]
    trainers = [eq.Trainer(net, optimizer=eq.SGD(0.05, 0.9), clip=math.inf) for net in nets]
    for k in range(4):
        x, y = blobs().x[9 * k :][:9], blobs().y[9 * k :][:9]
        assert math.isnan(trainers[0].step(x, y).gradient_norm)
        free = eq.free_phase(nets[1], x, solver=trainers[1].solver)
        gradient = eq.equilibrium_propagation(
            nets[1], free, y, nudging=eq.centered(0.25), solver=trainers[1].solver
        )
        trainers[1].optimizer.step(nets[1].parameters, gradient.parameters, nets[1].block_slices)
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=1e-4, atol=1e-6)


def test_the_guard_of_the_couplings_follows_the_model() -> None:
    options: Any = {"activation": "relu", "dtype": "float64", "gain": 0.5}
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 9, 3], **options), optimizer=eq.SGD(0.0), coupling_norm=0.5)
    other = eq.HopfieldNetwork([4, 7, 3], **options)
    other.blocks["W2"][...] *= 0.9 / np.linalg.norm(other.blocks["W2"], 2)
    trainer.model = other
    trainer.step(blobs().x[:20], blobs().y[:20])
    assert np.linalg.norm(other.blocks["W2"], 2) == pytest.approx(0.5, rel=1e-12)


def test_inputs_of_zeros_give_rates_of_inputs_of_size_one() -> None:
    x, y = np.random.default_rng(0).random((40, 5)), np.arange(40) % 3
    trainers = [eq.Trainer(eq.HopfieldNetwork([5, 8, 3], seed=0)) for _ in range(2)]
    for trainer, first in zip(trainers, (np.zeros_like(x), np.ones_like(x)), strict=True):
        trainer.fit(first, y, epochs=1)
    rates = [trainer.optimizer.learning_rate["W1"] for trainer in trainers]
    assert rates[0] == pytest.approx(rates[1])
    trainers[0].fit(x, y, epochs=3)


def test_images_enter_a_dense_network_everywhere() -> None:
    images, y = np.random.default_rng(0).random((30, 5, 5)), np.arange(30) % 3
    net = eq.HopfieldNetwork([25, 8, 3], seed=0)
    trainer = eq.Trainer(net)
    trainer.fit(images, y, epochs=1)
    flat = images.reshape(30, 25)
    np.testing.assert_array_equal(trainer.predict(images), trainer.predict(flat))
    np.testing.assert_array_equal(trainer.predict_classes(images), trainer.predict_classes(flat))
    np.testing.assert_array_equal(eq.free_phase(net, images).state, eq.free_phase(net, flat).state)
    trainer.step(images, y)
    with pytest.raises(ValueError, match=r"`x` has shape \(batch, 25\). Received shape \(batch, 5, 6\)"):
        trainer.predict(np.zeros((2, 5, 6)))
