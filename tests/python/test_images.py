"""Networks of images in training: inputs of every form, defaults, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.activations import activation
from equiprop.data_files import load_files, load_inputs
from equiprop.defaults import unit_of
from equiprop.network_files import describe, rebuild

#: Kinds of pooling with the activation that a user would choose.
KINDS = [("max", "hard_sigmoid"), ("mean", "hard_sigmoid"), ("mean", "tanh"), ("soft", "sigmoid")]


def bars(count: int, seed: int) -> tuple[Any, Any]:
    """Return images (count, 2, 8, 8) of a horizontal, a vertical or no bar, and their classes."""
    rng = np.random.default_rng(seed)
    x, y = 0.2 * rng.random((count, 2, 8, 8)), rng.integers(0, 3, count)
    for image, kind, place in zip(x, y, rng.integers(0, 8, count), strict=True):
        if kind == 0:
            image[0, place] += 0.8
        elif kind == 1:
            image[1, :, place] += 0.8
    return x, y


def network(pooling: str = "max", activation: str = "hard_sigmoid", **options: Any) -> eq.HopfieldNetwork:
    """Return a small convolutional network for `bars`."""
    return eq.networks.chain_of_images(
        (2, 8, 8), [6, 8], 3, kernel=3, padding=1, pooling=pooling, activation=activation, **options
    )


@pytest.mark.parametrize(("pooling", "activation"), KINDS)
@pytest.mark.parametrize("phase", [None, eq.RecurrentBackpropagation()])
@pytest.mark.parametrize("cost", [None, eq.CrossEntropy()])
def test_networks_of_images_learn_by_default(pooling: str, activation: str, phase: Any, cost: Any) -> None:
    """Every kind of pooling learns bars with both second phases and both costs, without tuning."""
    options = {} if phase is None else {"second_phase": phase}
    if cost is not None:
        options["cost"] = cost
    trainer = eq.Trainer(network(pooling, activation), batch_size=20, **options)
    trainer.fit(*bars(300, 0), epochs=15)
    assert trainer.evaluate(*bars(200, 1)).error <= 0.1


@pytest.mark.parametrize("pooling", ["mean", "soft"])
def test_holomorphic_propagation_learns(pooling: str) -> None:
    """Linear and soft pooling are complex-differentiable, a maximum is not."""
    phase = eq.EquilibriumPropagation(eq.holomorphic(0.2, 4))
    trainer = eq.Trainer(network(pooling, "sigmoid", dtype="float64"), phase, batch_size=20)
    trainer.fit(*bars(100, 0), epochs=2)
    assert trainer.history[-1].objective < trainer.history[0].objective
    with pytest.raises(ValueError, match="holomorphic"):
        eq.Trainer(network("max", "sigmoid", dtype="float64"), phase).step(*bars(10, 0))


def test_images_of_every_form_give_the_same_bits() -> None:
    """Four dimensions, flat arrays, a Dataset and channels last are one input."""
    x, y = bars(12, 3)
    first, last = network(seed=4), network(seed=4, image_format="channels_last")
    states = [
        eq.free_phase(first, x).state,
        eq.free_phase(first, x.reshape(12, -1)).state,
        eq.free_phase(first, x.tolist()).state,
        eq.free_phase(last, np.moveaxis(x, 1, -1)).state,
    ]
    for state in states[1:]:
        assert (state == states[0]).all()
    outputs = []
    for net, images in ((first, x), (first, x.reshape(12, -1)), (last, np.moveaxis(x, 1, -1))):
        trainer = eq.Trainer(net.variant(), batch_size=4)
        trainer.fit(eq.Dataset(images, y), epochs=1)
        trainer.step(images[:4], y[:4])
        outputs.append(trainer.predict(images))
    for output in outputs[1:]:
        assert (output == outputs[0]).all()


def test_images_of_another_shape_are_refused_everywhere() -> None:
    """An image with its dimensions in another order has the right size, and is refused by its shape."""
    x, y = bars(8, 0)
    wrong, trainer = np.moveaxis(x, 1, -1), eq.Trainer(network(), batch_size=4)
    rule = r"`x` has shape \(batch, 2, 8, 8\). Received shape \((batch|8), 8, 8, 2\)"
    for call in (
        lambda: eq.free_phase(trainer.model, wrong),
        lambda: trainer.step(wrong, y),
        lambda: trainer.fit(wrong, y, epochs=1),
        lambda: trainer.fit(eq.Dataset(wrong, y), epochs=1),
        lambda: trainer.predict(wrong),
        lambda: trainer.predict(eq.Dataset(wrong, y)),
        lambda: eq.Dataset(wrong, y).augmented(eq.data.Augmentation((2, 8, 8), flip=True)),
        lambda: trainer.evaluate(wrong, y),
    ):
        with pytest.raises(ValueError, match=rule):
            call()


def test_a_trainer_of_images_is_saved_and_explained(tmp_path: Path, capsys: Any) -> None:
    """A saved trainer goes on with equal bits; the table of `explain` has a row for each block."""
    x, y = bars(60, 0)
    whole, half = (eq.Trainer(network(), batch_size=20) for _ in range(2))
    whole.fit(x, y, epochs=4)
    half.fit(x, y, epochs=2)
    eq.save(half, tmp_path / "trainer.safetensors")
    loaded = eq.load(tmp_path / "trainer.safetensors")
    loaded.fit(x, y, epochs=2)
    assert (loaded.model.parameters == whole.model.parameters).all()
    whole.explain(x, y)
    table = capsys.readouterr().out
    assert "W1" in table
    assert "6x2x3x3" in table


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: eq.Layer((3, 4)), "a shape"),
        (lambda: eq.Layer((3, 0, 4)), "at least 1"),
        (lambda: eq.Convolution(0, 1, (3, 3, 3)), "one number, or a pair"),
        (lambda: network(image_format="NCHW"), "image_format is"),
        (lambda: eq.Convolution(0, 1, 3, stride=0), "at least 1"),
        (lambda: eq.MaxPooled(0, 1, 3, pool=0), "at least 1"),
        (lambda: eq.networks.chain_of_images((1, 4, 4), [2, 2, 2], 3, kernel=3), "fits into its image"),
        (lambda: network(pooling="min"), "`pooling` is"),
        (
            lambda: eq.HopfieldNetwork(
                layers=[eq.Layer((1, 8, 8)), eq.Layer((2, 5, 5))], couplings=[eq.Convolution(0, 1, 3)]
            ),
            "The target has the size of the result, 6 x 6",
        ),
    ],
)
def test_wrong_geometries_are_refused(make: Any, rule: str) -> None:
    """The error names the rule where the choice is made."""
    with pytest.raises(ValueError, match=rule):
        make()


@pytest.mark.parametrize("pooling", ["max", "mean", "soft"])
def test_separate_feedback_of_images_trains(pooling: str) -> None:
    """Start values give both directions of an inner kernel their norm, and the objective falls."""
    trainer = eq.Trainer(network(pooling, feedback="separate"), batch_size=20)
    trainer.fit(*bars(200, 0), epochs=6)
    assert trainer.history[-1].objective < 0.75 * trainer.history[0].objective


@pytest.mark.parametrize("potential", ["legendre", "quadratic"])
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softplus", "hard_sigmoid"])
def test_inner_kernels_start_with_the_norm_of_the_rule(potential: str, name: str) -> None:
    """The linear map of a kernel has the spectral norm 1 / sqrt(d_a d_b L_a L_b), by its dense matrix."""
    net = network("mean", name, potential=potential, dtype="float64")
    x, _ = bars(50, 0)
    eq.Trainer(net).prepare(eq.Dataset(x, np.arange(50) % 3))
    plain = network("mean", dtype="float64")
    plain.parameters[:] = 0
    plain.blocks["W2"][...] = net.blocks["W2"]
    energy, where = plain.clamp(x[:1].reshape(1, -1)), list(plain.layer_slices.values())
    state, units = np.full((1, plain.num_units), 0.5), np.eye(plain.num_units)[where[0]]
    matrix = np.stack([energy.hessian_vector_product(state, u[None])[0, where[1]] for u in units])
    slope = unit_of(activation(name), potential).slope
    assert np.linalg.norm(matrix, 2) == pytest.approx(1 / (2 * slope), rel=0.05)


def test_the_bound_of_couplings_leaves_kernels_alone() -> None:
    """A bound on dense couplings does not fail on kernels of four dimensions."""
    trainer = eq.Trainer(network(), batch_size=20, coupling_norm=0.3)
    trainer.fit(*bars(40, 0), epochs=1)
    assert np.linalg.norm(trainer.model.blocks["W3"], 2) <= 0.3 * (1 + 1e-5)


def test_files_of_images_keep_their_shape(tmp_path: Path) -> None:
    """An NPZ file of images in another order is refused as arrays are."""
    x, y = bars(30, 0)
    np.savez(tmp_path / "last.npz", x=np.moveaxis(x, 1, -1), y=y)
    with pytest.raises(ValueError, match=r"`x` has shape \(batch, 2, 8, 8\)"):
        eq.Trainer(network()).evaluate(load_files(tmp_path / "last.npz")[0])
    with pytest.raises(ValueError, match=r"`x` has shape \(batch, 2, 8, 8\)"):
        eq.Trainer(network()).predict(load_inputs(tmp_path / "last.npz", 128))


def test_no_images_and_the_place_of_a_missing_number() -> None:
    """Empty arrays get the sentence of flat ones; the place of NaN has all its indices."""
    x, y = bars(4, 0)
    with pytest.raises(ValueError, match="at least one sample"):
        eq.free_phase(network(), x[:0])
    x[1, 0, 3, 2] = np.nan
    with pytest.raises(ValueError, match=r"sample 1, position \(0, 3, 2\)"):
        eq.Dataset(x, y)


@pytest.mark.parametrize("image_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 8, 8)])
def test_the_order_of_images_is_kept(image_format: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    """Saving, copying and converting keep `image_format` and `input_shape`."""
    net = eq.networks.chain_of_images(shape, [2], 3, kernel=3, image_format=image_format)
    eq.save(net, tmp_path / "net.safetensors")
    for other in (eq.load(tmp_path / "net.safetensors"), copy.deepcopy(net), net.astype("float64")):
        assert (other.image_format, other.input_shape) == (net.image_format, net.input_shape)
    assert eq.HopfieldNetwork([4, 3]).variant().image_format == "channels_first"


@pytest.mark.parametrize(
    ("remove", "add"),
    [("stride", {"sharpness": 2.0}), ("kernel", {}), ("pool", {}), ("layers", {"layer": [0, 1]})],
)
def test_descriptions_without_a_member_are_refused(remove: str, add: dict[str, Any]) -> None:
    """No member of a coupling in a file has a default."""
    net = network()
    description = describe(net)
    del description["couplings"][0][remove]
    description["couplings"][0].update(add)
    with pytest.raises(ValueError, match="A coupling of images has"):
        rebuild(description, net.num_parameters)
    description = describe(net)
    layer = description["layers"][1]
    del layer["activation"]
    layer["units"] = 96
    with pytest.raises(ValueError, match="A layer has a name"):
        rebuild(description, net.num_parameters)


def test_the_advice_where_block_updates_cycle_with_soft_pooling_helps() -> None:
    """The energy is not concave in the source of soft pooling: block updates can cycle."""
    rng = np.random.default_rng(0)
    layers = [eq.Layer((1, 4, 4)), eq.Layer((2, 4, 4)), eq.Layer((2, 2, 2)), eq.Layer(3, "linear")]
    couplings = [eq.Convolution(0, 1, 3, padding=1), eq.SoftPooled(1, 2, 3, padding=1), eq.Dense(2, 3)]
    net = eq.HopfieldNetwork(layers=layers, couplings=couplings, dtype="float64")
    options = {"max_iterations": 2000, "tolerance": 1e-6}
    cycling = 0
    for _ in range(40):
        net.parameters[:] = rng.normal(size=net.num_parameters)
        x = rng.normal(size=(4, 16))
        free = eq.free_phase(net, x, solver=eq.BlockUpdate(**options), on_failure="ignore")
        if free.converged:
            continue
        cycling += 1
        (advice,) = free.advice
        assert "If the residual still does not fall, use Euler() with a small step_size" in advice
        for solver in (
            eq.Euler(step_size=0.1, tolerance=1e-6, max_iterations=20000),
            eq.BlockUpdate(anderson=2, **options),
        ):
            assert eq.free_phase(net, x, solver=solver).converged
    assert cycling > 0
