"""Couplings within layers and identity couplings: blocks, files, trainings, refusals."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Convolution, Dense, Identity, Layer
from equiprop.network_files import describe, rebuild
from networks import Oracle, blobs


def dense(**options: Any) -> eq.HopfieldNetwork:
    """Return 4-6-6-3 with couplings within two layers and an identity."""
    activation = options.pop("activation", "tanh")
    layers = [Layer(4), Layer(6, activation), Layer(6, activation), Layer(3, "linear")]
    couplings = [Dense(0, 1), Dense(1, 1), Identity(1, 2, 0.25), Dense(1, 2), Dense(2, 3), Dense(3, 3)]
    return eq.HopfieldNetwork(layers=layers, couplings=couplings, **options)


def images(**options: Any) -> eq.HopfieldNetwork:
    """Return a network of images with convolutions within layers, one of them grouped, and an identity."""
    layers = [Layer((1, 8, 8)), Layer((6, 4, 4)), Layer((6, 4, 4)), Layer(10, "linear")]
    couplings = [
        Convolution(0, 1, 3, padding=1, mean_pool=2),
        Convolution(1, 1, 3, padding=1),
        Identity(1, 2, 0.25),
        Convolution(1, 2, 3, padding=1),
        Convolution(2, 2, (1, 3), padding=(0, 1), groups=2),
        Dense(2, 3),
    ]
    return eq.HopfieldNetwork(layers=layers, couplings=couplings, **options)


def digits() -> tuple[eq.Dataset, eq.Dataset]:
    """Return scikit-learn's digits in [0, 1], shuffled, for training and test."""
    x, y = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(y))
    return tuple(eq.Dataset(x[part] / 16, y[part]) for part in (rows[:1000], rows[1000:]))  # type: ignore[return-value]


def assert_symmetric(net: eq.HopfieldNetwork) -> None:
    """Assert that weights within layers are symmetric to the last bit, with a zero diagonal."""
    for i, coupling in enumerate(net.couplings, start=1):
        if coupling.source != coupling.target:
            continue
        w = net.blocks[f"W{i}"]
        groups = getattr(coupling, "groups", 1)
        kernel = w.reshape(groups, len(w) // groups, w.shape[1], *(w.shape[2:] or (1, 1)))
        np.testing.assert_array_equal(kernel, kernel.transpose(0, 2, 1, 3, 4)[..., ::-1, ::-1])
        centre = kernel[..., kernel.shape[3] // 2, kernel.shape[4] // 2]
        assert (np.diagonal(centre, axis1=1, axis2=2) == 0).all()
        assert (w != 0).any()


def matrix_within(w: Any, shape: tuple[int, int, int], dilation: tuple[int, int]) -> Any:
    """Return W of a convolution within a layer as a matrix of its units (y, x, channel), by loops."""
    channels, height, width = shape
    full = np.zeros((height, width, channels) * 2)
    each, middle = w.shape[1], (w.shape[2] // 2, w.shape[3] // 2)
    for o, c, i, j in np.ndindex(w.shape):
        source = o // each * each + c
        if (i, j) == middle and source == o:
            continue
        for y, x in np.ndindex(height, width):
            v, h = y + (i - middle[0]) * dilation[0], x + (j - middle[1]) * dilation[1]
            if 0 <= v < height and 0 <= h < width:
                full[y, x, o, v, h, source] += w[o, c, i, j]
    flat = full.reshape(channels * height * width, -1)
    return 0.5 * (flat + flat.T)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "kernel", "dilation", "groups"),
    [
        ((1, 3, 1), (3, 3), (1, 1), 1),  # as many weights as a matrix of its units has
        ((2, 3, 1), (3, 3), (2, 1), 1),
        ((2, 1, 1), (1, 1), (1, 1), 1),
        ((4, 1, 1), (1, 1), (1, 1), 2),
        ((2, 2, 1), (5, 3), (1, 1), 2),
        ((3, 4, 5), (3, 1), (2, 1), 3),
    ],
    ids=str,
)
def test_a_convolution_within_a_layer_is_its_matrix(
    shape: tuple[int, int, int], kernel: tuple[int, int], dilation: tuple[int, int], groups: int, dtype: str
) -> None:
    """Gradient and block update, which the packed kernels compute, against W by loops; also large kernels."""
    padding = (dilation[0] * (kernel[0] // 2), dilation[1] * (kernel[1] // 2))
    within = Convolution(1, 1, kernel, padding=padding, dilation=dilation, groups=groups)
    layers = [Layer(shape), Layer(shape, "linear"), Layer(2, "linear")]
    couplings = [Identity(0, 1), within, Dense(1, 2)]
    net = eq.HopfieldNetwork(layers=layers, couplings=couplings, dtype=dtype, image_format="channels_last")
    rng = np.random.default_rng(0)
    net.parameters[:] = 0
    net.blocks["W2"][:] = 0.3 * rng.standard_normal(net.blocks["W2"].shape)
    w = matrix_within(net.blocks["W2"], shape, dilation)
    x, s = rng.standard_normal((2, 5, len(w))).astype(dtype)
    state = np.hstack([s, np.zeros((5, 2), dtype)])
    expected = s - s @ w - x
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(net.clamp(x).gradient(state)[:, : len(w)], expected, atol=tolerance)
    free = eq.free_phase(net, x, solver=eq.BlockUpdate(tolerance=tolerance, max_iterations=5000))
    fixed = np.linalg.solve(np.eye(len(w)) - w, x.T).T
    assert (np.linalg.eigvalsh(w) < 1).all()
    np.testing.assert_allclose(free.state[:, : len(w)], fixed, atol=300 * tolerance)


def test_an_identity_has_no_block_and_counts_in_the_numbers() -> None:
    """W3 is left out; with separate feedback, couplings within layers have no weights of their own."""
    assert list(dense().blocks) == ["W1", "W2", "W4", "W5", "W6", "b1", "b2", "b3"]
    separate = dense(feedback="separate")
    assert list(separate.blocks) == ["W1", "W2", "W4", "W5", "W6", "B4", "B5", "b1", "b2", "b3"]
    assert separate.num_parameters == sum(block.size for block in separate.blocks.values())
    assert "identity, gain 0.25" in str(dense())
    assert repr(dense()) in str(dense())


@pytest.mark.parametrize("make", [dense, images])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_within_layers_start_and_stay_symmetric(make: Any, dtype: str) -> None:
    """Both start values, and every step of both optimizers, are symmetric."""
    assert_symmetric(make(dtype=dtype))
    rng = np.random.default_rng(0)
    x, y = rng.random((60, make().num_inputs)), rng.integers(0, 3, 60)
    for optimizer in (eq.Adam, lambda: eq.SGD(0.01, momentum=0.9)):
        for phase in (eq.EquilibriumPropagation(), eq.RecurrentBackpropagation()):
            net = make(dtype=dtype)
            before = net.parameters.copy()
            trainer = eq.Trainer(net, phase, optimizer=optimizer(), batch_size=20)
            trainer.fit(x, y, epochs=2)
            assert_symmetric(net)
            assert (net.parameters != before).any()


@pytest.mark.parametrize("make", [dense, images])
def test_files_and_copies_hold_the_couplings(make: Any, tmp_path: Path) -> None:
    """A saved, loaded, pickled, copied and cast network has the couplings and the bits of the original."""
    net = make(seed=3)
    eq.save(net, tmp_path / "net.safetensors")
    for other in (eq.load(tmp_path / "net.safetensors"), pickle.loads(pickle.dumps(net)), copy.copy(net)):
        assert other.couplings == net.couplings
        np.testing.assert_array_equal(other.parameters, net.parameters)
    assert net.astype("float64").couplings == net.couplings


@pytest.mark.parametrize(
    "change", [{"gain": None}, {"pool": 2}, {"kind": "convolution"}, {"kind": "other"}, {"layers": None}]
)
def test_a_file_of_an_identity_has_exactly_its_members(change: dict[str, Any]) -> None:
    """A missing, foreign or wrong member is refused by its rule."""
    net = dense()
    description = describe(net)
    assert description["couplings"][2] == {"gain": 0.25, "kind": "identity", "layers": [1, 2]}
    for name, value in change.items():
        description["couplings"][2].pop(name, None)
        if value is not None:
            description["couplings"][2][name] = value
    with pytest.raises(ValueError, match="A coupling"):
        rebuild(description, net.num_parameters)


@pytest.mark.parametrize(
    ("couplings", "rule"),
    [
        (
            [eq.MaxPooled(1, 1, 3, padding=1)],
            "dense, or a convolution without pooling. Received max_pooled 1 -> 1",
        ),
        ([eq.SoftPooled(1, 1, 3, padding=1)], "dense, or a convolution without pooling"),
        ([Identity(1, 1)], "dense, or a convolution without pooling. Received identity 1 -> 1"),
        ([Convolution(1, 1, 3, padding=1, mean_pool=2)], "the stride 1 and no pooling"),
        ([Convolution(1, 1, 3, padding=1, stride=2)], "the stride 1 and no pooling"),
        ([Convolution(1, 1, 3)], "The target has the size of the result, 4 x 4. Received 6 x 6"),
        ([Convolution(1, 1, 1, groups=2)], "joins different units of it: a channel with another"),
        ([Dense(0, 0)], "The input is clamped"),
        ([Identity(0, 1)], "An identity coupling joins layers of one shape"),
    ],
)
def test_what_does_not_exist_is_refused(couplings: list[Any], rule: str) -> None:
    """The error names the rule and the layer."""
    layers = [Layer(4), Layer((2, 6, 6)), Layer((2, 6, 6))]
    with pytest.raises(ValueError, match=rule):
        eq.HopfieldNetwork(layers=layers, couplings=[Dense(0, 1), Dense(1, 2), *couplings])
    with pytest.raises(TypeError, match="gain is a number"):
        Identity(0, 1, "1")  # type: ignore[arg-type]


@pytest.mark.parametrize("gain", [float("inf"), float("nan"), 1e39, -(2.0**20) - 1])
def test_a_gain_that_no_precision_holds_is_refused(gain: float) -> None:
    with pytest.raises(ValueError, match=r"\[Identity\] The gain is a number between -2\^20 and 2\^20"):
        Identity(1, 2, gain)


def test_a_table_of_separate_feedback_has_all_parameters() -> None:
    net = dense(feedback="separate")
    printed = str(net)
    for name, block in net.blocks.items():
        if name[0] in "WB":
            assert f"\n{name} " in printed
            assert "x".join(map(str, block.shape)) in printed


def test_a_network_takes_lists_and_generators_and_refuses_activations_that_would_not_act() -> None:
    layers, couplings = [Layer(4), Layer(6, "tanh"), Layer(3, "linear")], [Dense(0, 1), Dense(1, 2)]
    net = eq.HopfieldNetwork(layers=iter(layers), couplings=iter(couplings))  # type: ignore[arg-type]
    assert repr(net) == repr(eq.HopfieldNetwork(layers=layers, couplings=couplings))
    for options in ({"activation": "tanh"}, {"output_activation": "linear"}):
        with pytest.raises(
            ValueError, match="are those of a chain of `sizes`; in a graph, each Layer has its"
        ):
            eq.HopfieldNetwork(layers=layers, couplings=couplings, **options)  # type: ignore[arg-type]
    for wrong in ({"couplings": Dense(0, 1)}, {"couplings": 3}, {"layers": 3}):
        with pytest.raises(TypeError, match=r"\[HopfieldNetwork\] `(couplings|layers)` lists"):
            eq.HopfieldNetwork(**{"layers": layers, "couplings": couplings, **wrong})  # type: ignore[arg-type]


def test_a_residual_network_has_its_activations_and_gains() -> None:
    net = eq.networks.hopfield_resnet(
        (1, 8, 8), [4], 3, identity_gain=0.25, output_activation="tanh", gain=0.1
    )
    assert net.couplings[3] == Identity(1, 3, 0.25)
    assert net.layers[-1].activation == eq.Activation("tanh")
    assert net.fresh_seed is None  # the scale of the initial weights was given


@pytest.mark.parametrize("make", [dense, images])
def test_separate_feedback_of_equal_weights_has_the_same_dynamics(make: Any) -> None:
    """A vector field uses the weights within a layer as they are; a variant receives their symmetric part."""
    net, rng = make(dtype="float64"), np.random.default_rng(1)
    net.parameters[:] = 0.3 * rng.standard_normal(net.num_parameters)
    x, s = rng.random((2, net.num_inputs)), rng.random((2, net.num_units))
    field = net.variant(feedback="separate")
    gradients = [other.clamp(x).gradient(s) for other in (net, field)]
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=0, atol=1e-12)
    field.blocks["W2"][...] = net.blocks["W2"]
    assert np.abs(field.clamp(x).gradient(s) - gradients[0]).max() > 1e-2
    hessian = np.stack(
        [field.clamp(x[:1]).hessian_vector_product(s[:1], v[None])[0] for v in np.eye(s.shape[1])]
    )
    transposed = field.clamp(x[:1]).transposed_hessian_vector_product
    other = np.stack([transposed(s[:1], v[None])[0] for v in np.eye(s.shape[1])])
    np.testing.assert_allclose(hessian.T, other, rtol=0, atol=1e-12)


def test_an_identity_is_a_dense_coupling_with_a_multiple_of_the_unit_matrix() -> None:
    """Also from the input, in both directions, and for the energy, against an independent energy in NumPy."""
    layers = [Layer(4), Layer(4, "tanh"), Layer(4, "sigmoid"), Layer(3, "linear")]
    pairs = [(0, 1), (1, 2), (2, 0), (2, 3)]
    rng = np.random.default_rng(2)
    plain = eq.HopfieldNetwork(layers=layers, couplings=[Dense(a, b) for a, b in pairs], dtype="float64")
    couplings = [Identity(0, 1, 0.5), Identity(1, 2, -0.25), Identity(2, 0), Dense(2, 3)]
    net = eq.HopfieldNetwork(layers=layers, couplings=couplings, dtype="float64")
    plain.parameters[:] = rng.standard_normal(plain.num_parameters)
    for name, gain in (("W1", 0.5), ("W2", -0.25), ("W3", 1.0)):
        plain.blocks[name][...] = gain * np.eye(4)
    for name, block in net.blocks.items():
        block[...] = plain.blocks[name]
    x, s = rng.random((3, 4)), rng.uniform(0.1, 0.9, (3, net.num_units))
    clamped, oracle = net.clamp(x), Oracle(plain)
    np.testing.assert_allclose(clamped.energy(s), oracle.energy(x, s), atol=1e-12)
    np.testing.assert_allclose(clamped.gradient(s), oracle.gradient(x, s), atol=1e-12)
    for name in ("input_gradient", "fixed_point_map"):
        np.testing.assert_allclose(getattr(clamped, name)(s), getattr(plain.clamp(x), name)(s), atol=1e-12)
    states = [eq.free_phase(n, x, solver=eq.BlockUpdate(tolerance=1e-13)).state for n in (net, plain)]
    np.testing.assert_allclose(states[0], states[1], atol=1e-11)


@pytest.mark.parametrize(
    "phase", [eq.EquilibriumPropagation(), eq.RecurrentBackpropagation(eq.GMRES(tolerance=1e-3))]
)
@pytest.mark.parametrize("feedback", ["tied", "separate"])
def test_deep_networks_learn_with_them(phase: Any, feedback: str) -> None:
    """Six hidden layers, whose steps are centred."""
    layers = [Layer(4), *[Layer(8, "tanh") for _ in range(6)], Layer(3, "linear")]
    couplings = [Dense(k, k + 1) for k in range(7)] + [Dense(2, 2), Identity(3, 6, 0.3), Dense(5, 5)]
    net = eq.HopfieldNetwork(layers=layers, couplings=couplings, feedback=feedback)
    trainer = eq.Trainer(net, phase, batch_size=20)
    trainer.fit(blobs(), epochs=10)
    assert trainer.evaluate(blobs()).error < 0.1
    if feedback == "tied":
        assert_symmetric(net)


@pytest.mark.parametrize(
    ("make", "epochs"),
    [
        (
            lambda: eq.HopfieldNetwork(
                layers=[Layer(64), Layer(48), Layer(10, "linear")],
                couplings=[Dense(0, 1), Dense(1, 1), Dense(1, 2), Dense(2, 2)],
            ),
            6,
        ),
        (
            lambda: eq.HopfieldNetwork(
                layers=[Layer((1, 8, 8)), Layer((8, 4, 4)), Layer(10, "linear")],
                couplings=[
                    Convolution(0, 1, 3, padding=1, mean_pool=2),
                    Convolution(1, 1, 3, padding=1),
                    Dense(1, 2),
                ],
            ),
            5,
        ),
        (lambda: eq.networks.hopfield_resnet((1, 8, 8), [8], 10), 12),
    ],
    ids=["dense", "images", "resnet"],
)
def test_digits_are_learned_by_default(make: Any, epochs: int) -> None:
    """A net with couplings within layers, a net of images, and a small residual net: below 12 % error."""
    train, test = digits()
    trainer = eq.Trainer(make(), batch_size=25)
    trainer.fit(train, epochs=epochs)
    assert trainer.evaluate(test).error < 0.12


@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid"])
@pytest.mark.parametrize("feedback", ["tied", "separate"])
def test_the_claims_of_the_theory_hold(activation: str, feedback: str) -> None:
    """Derivatives, the theorem at 1e-12, and the error of asymmetric couplings within a layer."""
    net = dense(activation=activation, feedback=feedback, dtype="float64", seed=1)
    rng = np.random.default_rng(3)
    x, y = rng.random((3, 4)), np.array([0, 1, 2])
    assert eq.verify.derivatives(net, x).passed
    theorem = eq.verify.equivalence(net, x, y)
    assert theorem.passed, str(theorem)
    assert theorem.tolerance <= 1e-12
    only = eq.HopfieldNetwork(
        layers=[Layer(4), Layer(3, "tanh")], couplings=[Dense(0, 1), Dense(1, 1)], dtype="float64"
    )
    report = eq.verify.asymmetry(only, x, y)
    assert report.passed, str(report)
    assert max(row.value for row in report.rows if row.label.startswith("|A - A^T|")) > 1e-3


def test_unbounded_units_keep_a_convex_energy() -> None:
    """With one hidden layer of relu units, the norm of all couplings together stays below 1 by default."""
    layers = [Layer(4), Layer(16, "relu"), Layer(3, "linear")]
    net = eq.HopfieldNetwork(layers=layers, couplings=[Dense(0, 1), Dense(1, 1), Dense(1, 2)])
    trainer = eq.Trainer(net, cost=eq.CrossEntropy(), batch_size=20)
    trainer.fit(blobs(), epochs=20)
    w, v = net.blocks["W2"], net.blocks["W3"]
    norms = [np.linalg.norm(part, 2) for part in (w, v, np.block([[w, v], [v.T, np.zeros((3, 3))]]))]
    assert norms[2] <= 1 + 1e-5
    assert max(norms[:2]) == pytest.approx(2 / (1 + 5**0.5), rel=0.02)  # the bound acts
    assert trainer.evaluate(blobs()).error < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("feedback", ["tied", "separate"])
@pytest.mark.parametrize(("activation", "potential"), [("tanh", "legendre"), ("sigmoid", "quadratic")])
def test_every_claim_holds(activation: str, potential: str, feedback: str) -> None:
    """The claims of `eq.verify` hold for dense and for convolutional couplings within layers."""
    layers = [
        Layer((1, 4, 4)),
        Layer((2, 4, 4), activation),
        Layer((2, 4, 4), activation),
        Layer(3, "linear"),
    ]
    couplings = [
        Convolution(0, 1, 3, padding=1),
        Convolution(1, 1, 3, padding=1),
        Identity(1, 2, 0.25),
        Convolution(2, 2, 3, padding=2, dilation=2, groups=2),
        Dense(2, 3),
        Dense(3, 3),
    ]
    options: Any = {"potential": potential, "feedback": feedback, "dtype": "float64", "gain": 0.25}
    rng = np.random.default_rng(0)
    for net in (
        eq.HopfieldNetwork(layers=layers, couplings=couplings, **options),
        dense(activation=activation, **options),
    ):
        x, y = rng.random((3, net.num_inputs)), rng.integers(0, 3, 3)
        certificate = eq.verify.certify(net, x, y)
        assert certificate.passed, str(certificate)
