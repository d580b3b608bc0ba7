"""Start values and learning rates of networks with images, measured on the network itself.

The rules are those of `equiprop.defaults`, stated for the linear map of a coupling in place of a matrix: a
coupling between free layers has the spectral norm 1 / sqrt(d_a d_b L_a L_b), and biases let units rest in the
middle of their slope. Pooling and sharing of weights are part of the linear map, so its norm is measured with
products of the Hessian. See docs/images.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array
from equiprop.couplings import Convolution, Coupling, Dense, Pair, Weighted
from equiprop.layers import Layer
from equiprop.models import HopfieldNetwork

#: Number of samples on which drives are measured.
SAMPLES = 32
#: Number of products from which the norm of a coupling is estimated.
_POWERS = 12

_Floats = NDArray[np.float64]


def kernel_reads(coupling: Weighted, source: Layer) -> tuple[int, int]:
    """Return how many positions and channels of the source one number of a convolution reads.

    A dense coupling counts as one of a single position.
    """
    if isinstance(coupling, Dense):
        return 1, source.units
    y, x = _pair(coupling.kernel)
    return y * x, source.shape[0] // coupling.groups


def input_reads(coupling: Weighted, inputs: Layer) -> float:
    """Return how many numbers of the input drive one unit.

    With the input as the target of a convolution, a unit is read by every stride-th tap of a kernel, and the
    mean over windows divides the weights.
    """
    taps, channels = kernel_reads(coupling, inputs)
    if isinstance(coupling, Dense) or coupling.target > 0:
        return taps * channels
    sides = zip(_pair(coupling.kernel), _pair(coupling.stride), strict=True)
    mean = coupling.mean_pool**2 if isinstance(coupling, Convolution) else 1
    return channels * math.prod(math.ceil(kernel / stride) for kernel, stride in sides) / mean


def tap_shares(coupling: Weighted, source: Layer) -> Array | None:
    """Return how often each tap of a convolution reads the source, per position: 1 without padding.

    None for a dense coupling.
    """
    if isinstance(coupling, Dense):
        return None
    pairs = (coupling.kernel, coupling.stride, coupling.padding, coupling.dilation)
    sides = zip(source.shape[1:], *(_pair(pair) for pair in pairs), strict=True)
    rows, columns = (_shares_of_side(*side) for side in sides)
    return np.outer(rows, columns)


def _shares_of_side(size: int, kernel: int, stride: int, padding: int, dilation: int) -> _Floats:
    """Return the part of the outputs of a convolution for which each tap lies inside, along one side."""
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    read = np.arange(outputs)[:, None] * stride + np.arange(kernel) * dilation - padding
    return np.asarray(((read >= 0) & (read < size)).mean(axis=0))


def orthogonal(random: np.random.Generator, shape: tuple[int, ...]) -> _Floats:
    """Return random weights that are a matrix (shape[0], other entries) whose singular values are all 1."""
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(random.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))
    return (q if rows >= columns else q.T).reshape(shape)


def step_norm(coupling: Weighted, shape: tuple[int, ...]) -> float:
    """Return the spectral norm of a coupling whose weights are all of size 1, as those of a step of Adam are.

    A dense coupling has sqrt(entries). The taps t of a kernel are taken as incoherent, because signals vary
    over an image: C channels are multiplied by sqrt(t C C'), and a stride or a mean over windows, which keeps
    one position of n, divides by sqrt(n).
    """
    if isinstance(coupling, Dense):
        return math.sqrt(math.prod(shape))
    y, x = _pair(coupling.stride)
    kept = y * x * (coupling.mean_pool**2 if isinstance(coupling, Convolution) else 1)
    return math.sqrt(math.prod(shape) / kept)


def _pair(numbers: Pair) -> tuple[int, int]:
    """Return the numbers of both directions."""
    return (numbers, numbers) if isinstance(numbers, int) else numbers


class Probe:
    """Drives and norms of a network of images, measured with the derivatives of its energy.

    Parameters
    ----------
    net : HopfieldNetwork
        Its parameters are not changed.
    x : (samples, inputs) array
    states : list of (float, float)
        Resting state of each free layer, and the largest deviation from it at which drives are measured.
    """

    def __init__(
        self,
        net: HopfieldNetwork,
        x: Array,
        states: list[tuple[float, float]],
        random: np.random.Generator,
    ) -> None:
        self.net: HopfieldNetwork = net.astype("float64")
        self.bare: HopfieldNetwork = net.astype("float64")
        self.bare.parameters[:] = 0
        self.random = random
        chosen = np.linspace(0, len(x) - 1, min(len(x), SAMPLES)).astype(np.intp)
        self.x: _Floats = np.asarray(x, dtype=np.float64)[chosen]
        self.states: _Floats = np.empty((len(self.x), net.num_units))
        for (rest, width), where in zip(states, net.layer_slices.values(), strict=True):
            size = where.stop - where.start
            self.states[:, where] = rest + width * random.uniform(-1, 1, (len(self.x), size))

    def drives(self, parameters: Array, layer: int) -> _Floats:
        """Return the drive (samples, units) of a free layer (counted from 1) at the states of the probe."""
        leak, gradient = self._gradient(0 * parameters), self._gradient(parameters)
        unit = self._gradient(self._unit_bias(layer))
        where = list(self.net.layer_slices.values())[layer - 1]
        result: _Floats = ((leak - gradient) / np.where(leak == unit, 1.0, leak - unit))[:, where]
        return result

    def norm(self, parameters: Array, coupling: Coupling) -> float:
        """Return an estimate of the spectral norm of the linear map of the only coupling with weights."""
        self.net.parameters[:] = parameters
        state, where = self.states[:1], list(self.net.layer_slices.values())[coupling.source - 1]
        full, bare = self.net.clamp(self.x[:1]), self.bare.clamp(self.x[:1])
        v = np.zeros_like(state)
        v[:, where] = self.random.standard_normal(v[:, where].shape)
        size = 0.0
        for _ in range(_POWERS):
            v /= max(float(np.linalg.norm(v)), 1e-300)
            for _ in range(2):
                v = bare.hessian_vector_product(state, v) - full.hessian_vector_product(state, v)
            size = math.sqrt(float(np.linalg.norm(v)))
        return size

    def _gradient(self, parameters: Array) -> _Floats:
        self.net.parameters[:] = parameters
        gradient: _Floats = self.net.clamp(self.x).gradient(self.states)
        return gradient

    def _unit_bias(self, layer: int) -> _Floats:
        """Return parameters that are 0 but for the biases of a layer, which are 1."""
        parameters = np.zeros(self.net.num_parameters)
        parameters[self.net.block_slices[f"b{layer}"]] = 1
        return parameters
