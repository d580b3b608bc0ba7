"""Networks of images on a CUDA device: phases, gradients and trainings are those of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from emulated_cuda import ON_EMULATED_DEVICE, PRECISIONS, ROUNDING, SWEEPS, close
from equiprop import cuda_package

pytestmark = ON_EMULATED_DEVICE

_RANDOM = np.random.default_rng(0)
X, Y = _RANDOM.random((6, 2, 8, 8)), _RANDOM.integers(0, 3, 6)


def maxima(dtype: str) -> eq.HopfieldNetwork:
    layers = [eq.Layer((2, 8, 8)), eq.Layer((4, 3, 3)), eq.Layer((5, 2, 2)), eq.Layer(3, "linear")]
    couplings = [eq.MaxPooled(0, 1, kernel=3), eq.Convolution(1, 2, kernel=2), eq.Dense(2, 3)]
    return eq.HopfieldNetwork(layers=layers, couplings=couplings, dtype=dtype, seed=1)


def means(dtype: str) -> eq.HopfieldNetwork:
    shapes = [(3, 8, 8), (3, 8, 8), (4, 4, 4), 3]
    layers = [eq.Layer((2, 8, 8)), *(eq.Layer(shape, "tanh") for shape in shapes)]
    couplings = [
        eq.Convolution(0, 1, kernel=3, padding=1),
        eq.Identity(1, 2, gain=0.5),
        eq.Convolution(1, 2, kernel=3, padding=1),
        eq.Convolution(2, 3, kernel=3, padding=1, mean_pool=2),
        eq.Dense(3, 4),
    ]
    options: dict[str, Any] = {"potential": "quadratic", "image_format": "channels_last"}
    return eq.HopfieldNetwork(layers=layers, couplings=couplings, dtype=dtype, seed=2, **options)


NETWORKS = pytest.mark.parametrize("make", [maxima, means])


def inputs_of(net: eq.HopfieldNetwork) -> Any:
    return X if net.image_format == "channels_first" else np.moveaxis(X, 1, -1)


@PRECISIONS
@NETWORKS
def test_free_phases_and_gradients_are_those_of_the_cpu(
    dtype: str, make: Callable[[str], eq.HopfieldNetwork]
) -> None:
    net, results = make(dtype), []
    for n in (net, net.to("cuda")):
        free = eq.free_phase(n, inputs_of(net), solver=SWEEPS)
        names: dict[str, Any] = {"nudging": eq.centered(0.2), "on_failure": "ignore"}
        results.append((free, eq.equilibrium_propagation(n, free, Y, **names)))
    (host, of_host), (device, of_device) = results
    close(device.state, host.state, dtype)
    amplified = ROUNDING[dtype] / 0.2  # of states of size 1
    np.testing.assert_allclose(of_device.parameters, of_host.parameters, rtol=0, atol=amplified)
    np.testing.assert_allclose(of_device.inputs, of_host.inputs, rtol=0, atol=amplified / len(X))


@NETWORKS
def test_gradients_of_rbp_are_those_of_the_cpu(make: Callable[[str], eq.HopfieldNetwork]) -> None:
    net, gradients = make("float64"), []
    for n in (net, net.to("cuda")):
        free = eq.free_phase(n, inputs_of(net), solver=eq.BlockUpdate(tolerance=1e-12))
        linear = eq.ConjugateGradient(tolerance=1e-13)
        gradients.append(eq.recurrent_backpropagation(n, free, Y, linear_solver=linear))
    np.testing.assert_allclose(gradients[1].parameters, gradients[0].parameters, rtol=0, atol=1e-10)


@PRECISIONS
@NETWORKS
def test_trainings_reach_the_parameters_of_the_cpu(
    dtype: str, make: Callable[[str], eq.HopfieldNetwork]
) -> None:
    host = make(dtype)
    device = host.to("cuda")
    for net in (host, device):
        second = eq.EquilibriumPropagation(eq.random_sign(0.2), solver=SWEEPS)
        trainer = eq.Trainer(net, second, eq.Adam(0.01), solver=SWEEPS, batch_size=4)
        trainer.fit(inputs_of(net), Y, epochs=2)
    np.testing.assert_allclose(device.parameters, host.parameters, rtol=0, atol=20 * ROUNDING[dtype])


def test_the_defaults_of_a_trainer_are_supported() -> None:
    trainer = eq.Trainer(maxima("float32").to("cuda"), batch_size=6)
    trainer.fit(X, Y, epochs=1)
    assert trainer.predict(X).shape == (6, 3)


def test_dense_weights_read_an_image_in_its_order() -> None:
    layers = [eq.Layer((2, 3, 4)), eq.Layer(7), eq.Layer(3)]
    couplings = [eq.Dense(0, 1), eq.Dense(1, 2)]
    net = eq.HopfieldNetwork(layers=layers, couplings=couplings, dtype="float64", seed=1)
    x = np.random.default_rng(1).random((5, 2, 3, 4))
    host, device = (eq.free_phase(n, x, solver=SWEEPS) for n in (net, net.to("cuda")))
    close(device.state, host.state, "float64")


def soft() -> eq.HopfieldNetwork:
    layers = [eq.Layer((1, 6, 6)), eq.Layer((2, 2, 2)), eq.Layer(3)]
    return eq.HopfieldNetwork(layers=layers, couplings=[eq.SoftPooled(0, 1, kernel=3), eq.Dense(1, 2)])


def large_windows() -> eq.HopfieldNetwork:
    layers = [eq.Layer((1, 9, 9)), eq.Layer((2, 1, 1)), eq.Layer(3)]
    couplings = [eq.MaxPooled(0, 1, kernel=1, pool=9), eq.Dense(1, 2)]
    return eq.HopfieldNetwork(layers=layers, couplings=couplings)


def within() -> eq.HopfieldNetwork:
    layers = [eq.Layer((1, 6, 6)), eq.Layer((2, 6, 6)), eq.Layer(3)]
    couplings = [eq.Convolution(0, 1, 3, padding=1), eq.Convolution(1, 1, 3, padding=1), eq.Dense(1, 2)]
    return eq.HopfieldNetwork(layers=layers, couplings=couplings)


def many_from_the_input() -> eq.HopfieldNetwork:
    layers = [eq.Layer((1, 4, 4)), eq.Layer((1, 4, 4)), eq.Layer(3)]
    couplings = [eq.Convolution(0, 1, kernel=1) for _ in range(33)]
    return eq.HopfieldNetwork(layers=layers, couplings=[*couplings, eq.Dense(1, 2)])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (many_from_the_input, "The kernels support at most 32 couplings with the input. Received 33."),
        (
            soft,
            "The kernels support dense couplings, convolutions with mean or maximum pooling, and identities. "
            "Received soft_pooled.",
        ),
        (large_windows, "The kernels support windows of a maximum of up to 8 x 8 positions. Received 9."),
        (within, "The kernels support no couplings within a layer. Received 1 -> 1."),
    ],
)
def test_couplings_that_the_kernels_do_not_support_are_refused(
    make: Callable[[], eq.HopfieldNetwork], sentence: str
) -> None:
    with pytest.raises(ValueError, match="kernels support") as refusal:
        make().to("cuda")
    assert str(refusal.value) == f"[cuda] {sentence}"
    assert cuda_package.device_state().startswith("available")
