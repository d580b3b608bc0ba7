"""Networks of the literature as functions: layers, couplings and gains of the papers.

All take the keyword arguments of `HopfieldNetwork` but `layers` and `couplings`, such as `dtype`,
`potential`, `feedback`, `seed` and `gain`, the scale of the initial weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from equiprop.activations import Activation
from equiprop.checks import check_choice, several, whole
from equiprop.couplings import Convolution, Coupling, Dense, Identity, MaxPooled, SoftPooled
from equiprop.layers import Layer
from equiprop.models import HopfieldNetwork

__all__ = ["chain_of_images", "convolutional28", "dchn32", "dense", "hopfield_resnet", "vgg5"]


def dense(sizes: Sequence[int], **options: Any) -> HopfieldNetwork:
    """Return a chain of dense layers, ``HopfieldNetwork(sizes, **options)``.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.networks.dense([784, 512, 10])
    HopfieldNetwork(784-512-10, hard_sigmoid, linear, legendre, float32)
    """
    return HopfieldNetwork(sizes, **options)


def chain_of_images(
    image: tuple[int, int, int],
    channels: Sequence[int],
    outputs: int,
    *,
    kernel: int,
    padding: int = 0,
    pool: int = 2,
    pooling: str = "max",
    activation: str | Activation = "hard_sigmoid",
    output_activation: str | Activation = "linear",
    **options: Any,
) -> HopfieldNetwork:
    """Return a chain of convolutions, each followed by pooling, and a dense output layer.

    Parameters
    ----------
    image : (int, int, int)
        Channels, height and width of the input.
    channels : sequence of int
        Channels of each hidden layer.
    outputs : int
        Number of outputs.
    kernel, padding : int
        Size of the kernels, and zeros around each image.
    pool : int
        Size of the pooling windows; 1 for none.
    pooling : {"max", "mean", "soft"}
        Kind of pooling; "soft" is complex-differentiable.
    activation, output_activation : str or Activation
        Activations of the hidden layers and of the outputs.
    **options
        Arguments of `HopfieldNetwork`.

    Raises
    ------
    ValueError
        If `pooling` is not known, or an image becomes smaller than a kernel.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.networks.chain_of_images((1, 8, 8), [8, 16], 10, kernel=3, padding=1)
    >>> [layer.shape for layer in net.layers]
    [(1, 8, 8), (8, 4, 4), (16, 2, 2), (10, 1, 1)]
    """
    layers, couplings = [Layer(image)], list[Coupling]()
    channels, pool = _channels(channels), whole(pool, "networks", "pool", 1)
    for k, count in enumerate(channels):
        step = _coupling(k, kernel, padding, pooling, pool)
        couplings.append(step)
        layers.append(Layer((count, *_size_after(step, layers)), activation))
    couplings.append(Dense(len(channels), len(channels) + 1))
    layers.append(Layer(outputs, output_activation))
    return HopfieldNetwork(layers=layers, couplings=couplings, **options)


def _channels(given: Any) -> list[int]:
    return several(given, "networks", "channels", partial(whole, low=1))


def _coupling(
    source: int, kernel: int, padding: int, pooling: str, pool: int
) -> Convolution | MaxPooled | SoftPooled:
    """Return the coupling of a layer to the next."""
    check_choice(pooling, "networks", "`pooling`", "max", "mean", "soft")
    if pooling == "mean" or pool == 1:
        return Convolution(source, source + 1, kernel, padding=padding, mean_pool=pool)
    pooled = MaxPooled if pooling == "max" else SoftPooled
    return pooled(source, source + 1, kernel, padding=padding, pool=pool)


def _size_after(coupling: Convolution | MaxPooled | SoftPooled, layers: Sequence[Layer]) -> tuple[int, int]:
    """Return the rows and columns of the image that a coupling from the last layer leads to."""
    height, width = coupling.size(layers[-1].shape)
    if min(height, width) < 1:
        raise ValueError(
            "[networks] Each kernel and pooling window fits into its image. "
            f"Received an image {layers[-1].size} in front of layer {len(layers)}."
        )
    return height, width


def convolutional28(pooling: str = "max", **options: Any) -> HopfieldNetwork:
    """Return the network 1-32-64 for 28 x 28 images: 5 x 5 kernels, windows of 2 x 2, 10 outputs.

    Ernoult et al. 2019 (arXiv 1905.13633) and Laborieux et al. 2021 (arXiv 2006.03824) train it on MNIST.

    Examples
    --------
    >>> import equiprop as eq
    >>> print(eq.networks.convolutional28())
    HopfieldNetwork(1x28x28-32x12x12-64x4x4-10, hard_sigmoid, linear, legendre, float32)
    <BLANKLINE>
    layer    shape     units  biases  colour
    input    1x28x28   784
    hidden1  32x12x12  4608   32      0
    hidden2  64x4x4    1024   64      1
    output   10        10     10      0
    <BLANKLINE>
    block  coupling                     from     to       weights
    W1     MaxPooled, kernel 5, pool 2  input    hidden1  32x1x5x5
    W2     MaxPooled, kernel 5, pool 2  hidden1  hidden2  64x32x5x5
    W3     dense                        hidden2  output   1024x10
    <BLANKLINE>
    62346 parameters; block updates in 2 colours
    """
    return chain_of_images((1, 28, 28), [32, 64], 10, kernel=5, pooling=pooling, **options)


def dchn32(pooling: str = "max", outputs: int = 10, **options: Any) -> HopfieldNetwork:
    """Return the network 3-128-256-512-512 for 32 x 32 images: 3 x 3 kernels, padding 1, windows of 2 x 2.

    Scellier et al. 2023 (arXiv 2312.15103) call it a deep convolutional Hopfield network (DCHN), and train it
    on CIFAR-10, CIFAR-100 and SVHN.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.networks.dchn32(outputs=100)
    HopfieldNetwork(3x32x32-128x16x16-256x8x8-512x4x4-512x2x2-100, hard_sigmoid, linear, legendre, float32)
    """
    return chain_of_images(
        (3, 32, 32), [128, 256, 512, 512], outputs, kernel=3, padding=1, pooling=pooling, **options
    )


def vgg5(outputs: int = 10, **options: Any) -> HopfieldNetwork:
    """Return the network of `dchn32` with smooth units and soft pooling, which is complex-differentiable.

    Laborieux & Zenke 2022 (arXiv 2209.00530) train a network of these sizes by holomorphic Equilibrium
    Propagation. The units are logistic, of gain 4 around 1/2.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.networks.vgg5().holomorphic
    True
    """
    steep = Activation("logistic", gain=4.0, shift=0.5)
    return dchn32(pooling="soft", outputs=outputs, **{"activation": steep, **options})


def hopfield_resnet(
    image: tuple[int, int, int] = (3, 32, 32),
    channels: Sequence[int] = (64, 128, 256, 512),
    outputs: int = 10,
    *,
    identity_gain: float = 0.5,
    pooling: str = "max",
    activation: str | Activation = "hard_sigmoid",
    output_activation: str | Activation = "linear",
    **options: Any,
) -> HopfieldNetwork:
    """Return a residual network after arXiv 2509.26003; 13 of its couplings have weights by default.

    Each number of channels is a stage of three convolutions, 3 x 3 with padding 1. The first one is followed
    by pooling over windows of 2 x 2; an identity coupling joins the first and the last layer of the stage. A
    dense coupling leads to the outputs. The Hopfield-ResNet13 of the paper (Elayedam & Srinivasan 2025) has
    residual links and clipped ReLU, of which the hard sigmoid is the one with the bound 1. Sizes of the
    layers and the gain of the links are chosen here.

    Parameters
    ----------
    image : (int, int, int)
        Channels, height and width of the input.
    channels : sequence of int
        Channels of each stage.
    outputs : int
        Number of outputs.
    identity_gain : float
        Gain of the identities: their part of the norm 1 that the couplings of a layer may have together for
        a convex energy. Start values share the rest, but at least a quarter: above 3/4 a training can fail.
    pooling : {"max", "mean", "soft"}
        Kind of pooling.
    activation, output_activation : str or Activation
        Activations of the hidden layers and of the outputs.
    **options
        Arguments of `HopfieldNetwork`.

    Raises
    ------
    ValueError
        If `pooling` is not known, or an image becomes smaller than a window.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.networks.hopfield_resnet((1, 8, 8), [4], 3)
    >>> net.couplings[3]
    Identity(source=1, target=3, gain=0.5)
    """
    layers, couplings = [Layer(image)], list[Coupling]()
    for count in _channels(channels):
        first = len(layers)
        entry = _coupling(first - 1, 3, 1, pooling, 2)
        layers += [Layer((count, *_size_after(entry, layers)), activation)] * 3
        couplings.append(entry)
        couplings += [Convolution(k, k + 1, 3, padding=1) for k in (first, first + 1)]
        couplings.append(Identity(first, first + 2, identity_gain))
    couplings.append(Dense(len(layers) - 1, len(layers)))
    layers.append(Layer(outputs, output_activation))
    return HopfieldNetwork(layers=layers, couplings=couplings, **options)
