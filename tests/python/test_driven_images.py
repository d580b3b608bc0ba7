"""Networks whose input is the target of a convolution: start values, rates, training and refusals."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.activations import activation
from equiprop.coupling_guard import CouplingGuard, graph_norm
from equiprop.defaults import RATE, block_rates, start_values, unit_of

#: Geometries, and the shape of the image that an input of 8 x 8 drives.
GEOMETRIES = [
    ({"kernel": 3, "padding": 1}, (8, 8, 8)),
    ({"kernel": 4, "stride": 2, "padding": 1}, (4, 16, 16)),
    ({"kernel": 2, "mean_pool": 2}, (4, 17, 17)),
]


def network(
    geometry: dict[str, Any], shape: tuple[int, int, int], units: str = "hard_sigmoid", **options: Any
) -> eq.HopfieldNetwork:
    """Return a network input - image - hidden - output."""
    return eq.HopfieldNetwork(
        layers=[
            eq.Layer((1, 8, 8)),
            eq.Layer(shape, units),
            eq.Layer(32, units),
            eq.Layer(10, "linear"),
        ],
        couplings=[eq.Convolution(1, 0, **geometry), eq.Dense(1, 2), eq.Dense(2, 3)],
        **options,
    )


def images(count: int) -> Any:
    return np.random.default_rng(0).random((count, 64))


def drives(net: eq.HopfieldNetwork, x: Any) -> Any:
    """Return what the input gives to each unit of the image, (samples, channels, rows, columns)."""
    bare = net.astype("float64").variant(potential="legendre")
    bare.parameters[bare.block_slices["W1"].stop :] = 0
    _, rows, columns = net.layers[1].shape
    gradient = bare.clamp(x).gradient(np.zeros((len(x), net.num_units)))  # of units whose drive at 0 is 0
    part = net.layer_slices["hidden1"]
    return -gradient[:, part].reshape(len(x), rows, columns, -1).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(("geometry", "shape"), GEOMETRIES)
def test_the_input_drives_an_image_by_the_transposed_convolution(
    geometry: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    torch = pytest.importorskip("torch")
    net, x = network(geometry, shape, dtype="float64"), images(3)
    weights, given = torch.tensor(net.blocks["W1"]), dict(geometry)
    pool = given.pop("mean_pool", 1)
    above = torch.tensor(x.reshape(3, 1, 8, 8))
    above = above.repeat_interleave(pool, 2).repeat_interleave(pool, 3) / pool**2
    del given["kernel"]
    expected = torch.nn.functional.conv_transpose2d(above, weights, **given).numpy()
    np.testing.assert_allclose(drives(net, x), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("geometry", "shape"), GEOMETRIES)
@pytest.mark.parametrize("potential", ["legendre", "quadratic"])
def test_start_values_give_drives_of_the_half_width(
    geometry: dict[str, Any], shape: tuple[int, int, int], potential: str
) -> None:
    net, x = network(geometry, shape, "tanh", potential=potential, dtype="float64"), images(32)
    net.parameters[:] = start_values(net, x, 1)
    half_width = unit_of(activation("tanh"), potential).half_width
    assert drives(net, x).std(axis=0).mean() == pytest.approx(half_width)
    assert np.ptp(net.blocks["b1"]) > 0.1 * half_width  # units bend at different places


@pytest.mark.parametrize(("geometry", "shape"), GEOMETRIES)
def test_a_step_at_the_automatic_rate_moves_a_drive_by_a_part_of_the_half_width(
    geometry: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    """If all weights move in one direction, the largest drive moves by the rate times what a unit reads."""
    net, x = network(geometry, shape, dtype="float64"), np.full((20, 64), 0.7)
    net.parameters[:] = 0
    net.blocks["W1"][...] = block_rates(net, x, eq.SquaredError())["W1"]
    half_width = unit_of(activation("hard_sigmoid"), "legendre").half_width
    assert drives(net, x).max() == pytest.approx(RATE / 2 * half_width)


@pytest.mark.parametrize(("geometry", "shape"), GEOMETRIES)
@pytest.mark.parametrize("phase", [eq.EquilibriumPropagation(), eq.RecurrentBackpropagation()])
def test_digits_are_learnt_by_default(
    geometry: dict[str, Any], shape: tuple[int, int, int], phase: Any
) -> None:
    x, y = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(y))
    train, test = (eq.Dataset(x[part] / 16, y[part]) for part in (rows[:1000], rows[1000:]))
    trainer = eq.Trainer(network(geometry, shape, seed=1), copy.deepcopy(phase))
    trainer.fit(train, epochs=10)
    assert trainer.evaluate(test).error < 0.1


@pytest.mark.parametrize("feedback", ["tied", "separate"])
def test_no_bit_depends_on_threads_or_on_the_other_samples(feedback: str) -> None:
    net, x = network(*GEOMETRIES[1], feedback=feedback), images(40).astype(np.float32)
    results = []
    for threads in (1, 2, 5):
        eq.set_num_threads(threads)
        free = eq.free_phase(net, x)
        gradient = eq.recurrent_backpropagation(net, free, np.arange(40) % 10, linear_solver=eq.GMRES())
        results.append((free.state, gradient.parameters, gradient.inputs))
    eq.set_num_threads(0)
    for other in results[1:]:
        for value, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(value, expected)
    alone = eq.free_phase(net, x[7:8])
    np.testing.assert_array_equal(alone.state[0], results[0][0][7])


def test_such_a_coupling_does_not_count_in_the_norm_of_the_couplings() -> None:
    """A coupling with the input adds no curvature, in whichever direction it is written."""
    forth = eq.Convolution(0, 1, 3, padding=1)
    nets = [
        eq.HopfieldNetwork(
            layers=[eq.Layer((1, 8, 8)), eq.Layer((1, 8, 8), "relu"), eq.Layer(10, "linear")],
            couplings=[coupling, eq.Dense(1, 1), eq.Dense(1, 2)],
        )
        for coupling in (forth, eq.Convolution(1, 0, 3, padding=1))
    ]
    assert graph_norm(nets[0], 0.3) == graph_norm(nets[1], 0.3)
    assert CouplingGuard(nets[0], None).limit == CouplingGuard(nets[1], None).limit < 1


def test_the_table_and_files_keep_the_direction(tmp_path: Path) -> None:
    net = network(*GEOMETRIES[1])
    assert "W1     Convolution, kernel 4, stride 2, padding 1  hidden1  input    1x4x4x4" in str(net)
    eq.save(net, tmp_path / "net.safetensors")
    for other in (eq.load(tmp_path / "net.safetensors"), pickle.loads(pickle.dumps(net))):
        assert other.couplings == net.couplings
        assert other.couplings[0].target == 0
        np.testing.assert_array_equal(other.parameters, net.parameters)


@pytest.mark.parametrize("kind", [eq.MaxPooled, eq.SoftPooled])
def test_pooled_couplings_with_the_input_as_their_target_are_refused(kind: Any) -> None:
    layers = [eq.Layer((1, 4, 4)), eq.Layer((2, 8, 8)), eq.Layer(3, "linear")]
    rule = rf"\[{kind.__name__}\] The target of a pooled coupling is a free layer; a Convolution can have"
    with pytest.raises(ValueError, match=rule):
        eq.HopfieldNetwork(layers=layers, couplings=[kind(1, 0, 3, padding=1), eq.Dense(1, 2)])
    pooled = eq.Convolution(1, 0, 3, padding=1, mean_pool=2)
    eq.HopfieldNetwork(layers=layers, couplings=[pooled, eq.Dense(1, 2)])


@pytest.mark.slow
@pytest.mark.parametrize(("geometry", "shape"), GEOMETRIES)
@pytest.mark.parametrize(
    ("units", "options"),
    [
        ("hard_sigmoid", {}),
        ("tanh", {"potential": "quadratic"}),
        ("sigmoid", {"feedback": "separate"}),
    ],
)
def test_every_claim_holds(
    geometry: dict[str, Any], shape: tuple[int, int, int], units: str, options: dict[str, Any]
) -> None:
    net = network(geometry, (2, *shape[1:]), units, dtype="float64", **options)
    net.parameters[:] *= 0.5  # far from a second fixed point
    certificate = eq.verify.certify(net, images(3), np.arange(3))
    assert certificate.passed, str(certificate)
