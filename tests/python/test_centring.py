"""Steps in centred coordinates: exact gradients, units that stay at rest, deep networks that learn."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Dense, Layer
from equiprop.activations import activation
from equiprop.defaults import block_rates, centre_of, unit_of
from networks import blobs

X = np.random.default_rng(0).uniform(0, 1, (50, 4))


def graph(name: str = "hard_sigmoid", potential: str = "legendre", feedback: str = "tied") -> Any:
    """Return a network with skips, couplings within layers, and one whose source is above its target."""
    layers = [Layer(4), *[Layer(units, name) for units in (6, 5, 7, 4, 5)], Layer(3, "linear")]
    pairs = [(0, 1), (1, 2), (0, 3), (3, 2), (3, 4), (2, 4), (4, 5), (5, 6), (1, 6)]
    couplings: list[Any] = [Dense(a, b) for a, b in pairs]
    couplings[3:3] = [Dense(2, 2), eq.Identity(2, 5, 0.3), Dense(6, 6)]
    options: Any = {"potential": potential, "feedback": feedback, "dtype": "float64"}
    return eq.HopfieldNetwork(layers=layers, couplings=couplings, **options)


#: Images whose channels are constant over the positions.
IMAGES = np.random.default_rng(1).uniform(0, 1, (20, 2, 1, 1)) * np.ones((1, 1, 9, 9))


def images(pooled: Any = None, feedback: str = "tied", name: str = "hard_sigmoid") -> Any:
    """Return a network of images with strides, paddings, groups, pooling, a skip and dense couplings."""
    shapes = [(2, 9, 9), (4, 9, 9), (6, 4, 4), (6, 4, 4), (3, 2, 2)]
    layers = [Layer(shapes[0]), *[Layer(shape, name) for shape in shapes[1:]], Layer(7, name)]
    couplings: list[Any] = [
        eq.Convolution(1, 0, 3, padding=1),
        eq.Convolution(1, 2, 3, stride=2, groups=2),
        pooled or eq.Convolution(1, 3, 2, mean_pool=2),
        eq.Convolution(2, 3, (3, 1), padding=(1, 0), dilation=1),
        eq.Convolution(3, 3, 3, padding=1),
        eq.Convolution(3, 4, 2, mean_pool=1, stride=2),
        Dense(4, 5),
        Dense(2, 6),
        Dense(5, 6),
        eq.Convolution(0, 2, 3, stride=2),
    ]
    options: Any = {"feedback": feedback, "dtype": "float64"}
    return eq.HopfieldNetwork(layers=[*layers, Layer(3, "linear")], couplings=couplings, **options)


def moved(net: Any, step: Any, x: Any = X) -> Any:
    """Return the change of the parameters for a change of the centred coordinates."""
    centre = centre_of(net, x)
    assert centre is not None
    after = net.parameters + step
    centre.settle(after, centre.offsets(net.parameters, net.block_slices), net.block_slices)
    return after - net.parameters


NETWORKS = {
    "dense": (graph(), X),
    "dense, separate feedback": (graph(feedback="separate"), X),
    "images": (images(), IMAGES),
    "images, separate feedback": (images(feedback="separate"), IMAGES),
    "images, maxima": (images(eq.MaxPooled(1, 3, 2, pool=2)), IMAGES),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_centred_gradient_is_that_of_the_chain_rule(kind: str) -> None:
    """<g, d theta> = <g_centred, d phi>, if d theta is the change of theta for a change d phi."""
    (net, x), random = NETWORKS[kind], np.random.default_rng(1)
    centre = centre_of(net, x)
    assert centre is not None
    gradient, step = random.standard_normal((2, net.num_parameters))
    kept = gradient.copy()
    centred = centre.centred(gradient, net.block_slices)
    assert centred @ step == pytest.approx(gradient @ moved(net, step, x), rel=1e-12)
    np.testing.assert_array_equal(gradient, kept)
    assert np.linalg.norm(centred - gradient) > 0.1 * np.linalg.norm(gradient)


@pytest.mark.parametrize(
    ("name", "potential"), [("hard_sigmoid", "legendre"), ("softplus", "legendre"), ("sigmoid", "quadratic")]
)
def test_a_step_of_the_weights_leaves_resting_units_at_rest(name: str, potential: str) -> None:
    net = graph(name, potential)
    units = [unit_of(activation(layer.activation), potential) for layer in net.layers[1:]]
    rest = np.concatenate([np.full(n.units, u.state) for n, u in zip(net.layers[1:], units, strict=True)])
    mean = X.mean(axis=0, keepdims=True)
    before = net.clamp(mean).gradient(rest[None])
    step = np.random.default_rng(1).standard_normal(net.num_parameters)
    step[net.block_slices["b1"].start :] = 0
    net.parameters[:] += moved(net, step)
    np.testing.assert_allclose(net.clamp(mean).gradient(rest[None]), before, atol=1e-12)


def test_a_step_of_the_weights_leaves_the_mean_drive_of_resting_images() -> None:
    """Padding and strides change single positions, but not the mean over the positions of a channel."""
    net = images(name="tanh")
    net = net.variant(potential="quadratic")
    mean = IMAGES.mean(axis=0, keepdims=True).reshape(1, -1)
    rest = np.concatenate(
        [
            np.full(layer.units, unit_of(activation(layer.activation), "quadratic").state)
            for layer in net.layers[1:]
        ]
    )[None]
    before = net.clamp(mean).gradient(rest)
    step = np.random.default_rng(1).standard_normal(net.num_parameters)
    step[net.block_slices["b1"].start :] = 0
    step[net.block_slices["W5"]] = 0  # couplings within a layer of images are not centred
    net.parameters[:] += moved(net, step, IMAGES)
    change = (net.clamp(mean).gradient(rest) - before)[0]
    for layer, part in zip(net.layers[1:], net.layer_slices.values(), strict=True):
        np.testing.assert_allclose(change[part].reshape(-1, layer.shape[0]).mean(axis=0), 0, atol=1e-12)


def test_a_step_of_adam_is_adams_in_the_centred_coordinates() -> None:
    net, reference = graph(), graph()
    centre, random = centre_of(net, X), np.random.default_rng(2)
    assert centre is not None
    one, other = eq.Adam(0.1), eq.Adam(0.1)
    one._centre = centre
    for gradient in random.standard_normal((3, net.num_parameters)):
        one.step(net.parameters, gradient, net.block_slices)
        before = reference.parameters.copy()
        other.step(reference.parameters, centre.centred(gradient, net.block_slices), net.block_slices)
        change = reference.parameters - before
        reference.parameters[:] = before
        reference.parameters[:] += moved(reference, change)
    np.testing.assert_allclose(net.parameters, reference.parameters, rtol=1e-12)


def test_automatic_steps_of_deep_networks_are_centred() -> None:
    for hidden, expected in (([6] * 4, False), ([6] * 5, True)):
        trainer = eq.Trainer(eq.HopfieldNetwork([4, *hidden, 3]))
        trainer.prepare(blobs())
        assert (trainer.optimizer._centre is not None) is expected  # type: ignore[attr-defined]
    own = eq.Trainer(eq.HopfieldNetwork([4, *[6] * 5, 3]), optimizer=eq.Adam(1e-3))
    own.prepare(blobs())
    assert own.optimizer._centre is None  # type: ignore[attr-defined]


def test_rates_fall_with_the_depth_and_beyond_five_layers_with_its_square() -> None:
    """Equal shifts of all drives of a chain of n layers add up to n^2 / 4 of them in the middle."""
    for n, factor in ((1, 1.0), (2, 1 / 2), (5, 1 / 5), (10, 1 / 20), (20, 1 / 80)):
        net = eq.HopfieldNetwork([4, *[6] * n, 3])
        rates = block_rates(net, X, eq.SquaredError())
        assert rates["W1"] == pytest.approx(0.2 * factor * 0.5 / X.sum(axis=1).mean())
        chain = np.eye(n) - 0.5 * (np.eye(n, k=1) + np.eye(n, k=-1))
        assert np.linalg.solve(chain, np.ones(n)).max() <= (n + 1) ** 2 / 4 + 1e-9


@pytest.mark.parametrize("way", ["file", "copy"])
def test_a_stored_trainer_continues_with_the_same_bits(tmp_path: Path, way: str) -> None:
    data = blobs()
    trainer = eq.Trainer(eq.HopfieldNetwork([4, *[6] * 5, 3]))
    trainer.fit(data, epochs=1)
    if way == "file":
        eq.save(trainer, tmp_path / "trainer.safetensors")
        other = eq.load(tmp_path / "trainer.safetensors")
    else:
        other = copy.deepcopy(trainer)
    for t in (trainer, other):
        t.fit(data, epochs=1)
    np.testing.assert_array_equal(trainer.model.parameters, other.model.parameters)


@pytest.mark.filterwarnings("ignore::equiprop.ConvergenceWarning")  # single samples of a whole training
@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy()], ids=["squared", "entropy"])
@pytest.mark.parametrize("name", ["hard_sigmoid", "sigmoid", "tanh"])
def test_networks_of_eight_hidden_layers_learn_by_default(name: str, cost: Any) -> None:
    """Median error of three starts: a single one varies by several points."""
    data, errors = blobs(), []
    for seed in range(3):
        net = eq.HopfieldNetwork([4, *[32] * 8, 3], activation=name, seed=seed)
        trainer = eq.Trainer(net, cost=cost, batch_size=20)
        trainer.fit(data, epochs=16)
        errors.append(trainer.evaluate(data).error)
    assert np.median(errors) < 0.08
