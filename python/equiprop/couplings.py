"""Couplings of layers: dense weights, convolutions with and without pooling, and identities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import check_type, real, require, whole

#: A number for both directions, or a pair (vertical, horizontal).
Pair: TypeAlias = "int | tuple[int, int]"
#: Channels, rows and columns of a layer.
Shape: TypeAlias = tuple[int, int, int]
#: What the core reads: kind, source, target, and the geometry of a convolution or the gain of an identity.
Fields: TypeAlias = tuple[str, int, int, "tuple[Any, ...] | float | None"]


_LARGEST_GAIN = 2.0**20


@dataclass(frozen=True)
class Dense:
    """All-to-all weights W between two layers, which add -<u_source, W u_target> to the energy.

    Within a layer (source = target) they add -1/2 <u, W u>, where W is the symmetric part of the weights with
    a zero diagonal. With separate feedback the weights within a layer need not be symmetric.

    Parameters
    ----------
    source, target : int
        Positions of the layers; 0 is the input.

    Examples
    --------
    >>> import equiprop as eq
    >>> layers = [eq.Layer(4), eq.Layer(6), eq.Layer(3, "linear")]
    >>> couplings = [eq.Dense(0, 1), eq.Dense(1, 1), eq.Dense(1, 2)]
    >>> net = eq.HopfieldNetwork(layers=layers, couplings=couplings)
    >>> bool((net.blocks["W2"] == net.blocks["W2"].T).all())
    True
    """

    source: int
    target: int

    def __post_init__(self) -> None:
        """Check the positions."""
        _ends(self)

    @property
    def fields(self) -> Fields:
        """The coupling as the core reads it."""
        return ("dense", *_ends(self), None)

    def num_weights(self, source: Shape, target: Shape) -> int:
        """Return the number of weights between layers of these shapes."""
        return _size(source) * _size(target)


@dataclass(frozen=True)
class Identity:
    """A coupling without weights, which adds -gain <u_source, u_target> to the energy: a residual link.

    It has no block of parameters, and the numbers of the other blocks count it: of the couplings [Dense,
    Identity, Dense], the weights are W1 and W3. With separate feedback, both directions have the gain.

    Parameters
    ----------
    source, target : int
        Positions of two layers of one shape; 0 is the input.
    gain : float
        Factor of the signals, between -2^20 and 2^20.

    Examples
    --------
    >>> import equiprop as eq
    >>> layers = [eq.Layer(4), eq.Layer(6), eq.Layer(6), eq.Layer(3, "linear")]
    >>> couplings = [eq.Dense(0, 1), eq.Dense(1, 2), eq.Identity(1, 2, gain=0.25), eq.Dense(2, 3)]
    >>> list(eq.HopfieldNetwork(layers=layers, couplings=couplings).blocks)
    ['W1', 'W2', 'W4', 'b1', 'b2', 'b3']
    """

    source: int
    target: int
    gain: float = 1.0

    def __post_init__(self) -> None:
        """Check the positions and the gain, and store the gain as a float."""
        _ends(self)
        gain = real(self.gain, "Identity", "gain")
        if not abs(gain) <= _LARGEST_GAIN:
            raise ValueError(f"[Identity] The gain is a number between -2^20 and 2^20. Received {gain}.")
        object.__setattr__(self, "gain", gain)

    @property
    def fields(self) -> Fields:
        """The coupling as the core reads it."""
        return ("identity", *_ends(self), self.gain)

    def num_weights(self, _source: Shape, _target: Shape) -> int:
        """Return 0, the number of weights."""
        return 0


@dataclass(frozen=True)
class _Images:
    """A convolution a = w * u_source, which adds -<u_target, pool(a)> to the energy."""

    source: int
    target: int
    kernel: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1

    def __post_init__(self) -> None:
        """Check the geometry, and store pairs of equal numbers as one number."""
        where = type(self).__name__
        _ends(self)
        for name in ("kernel", "stride", "padding", "dilation"):
            y, x = _pair(getattr(self, name), where, name, 0 if name == "padding" else 1)
            object.__setattr__(self, name, y if y == x else (y, x))
        whole(self.groups, where, "groups", 1)
        whole(self._pooling, where, "The pooling window", 1)
        rule = "The sharpness is positive and at most 2^20"
        require(not isinstance(self, SoftPooled) or 0 < self._sharp <= 2**20, where, rule, self._sharp)

    @property
    def fields(self) -> Fields:
        """The coupling as the core reads it."""
        where = type(self).__name__
        pairs = [_pair(getattr(self, n), where, n) for n in ("kernel", "stride", "padding", "dilation")]
        groups = whole(self.groups, where, "groups", 1)
        geometry = (*pairs, groups, whole(self._pooling, where, "The pooling window", 1), self._sharp)
        return (_KINDS[type(self)], *_ends(self), geometry)

    @property
    def _pooling(self) -> int:
        raise NotImplementedError

    @property
    def _sharp(self) -> float:
        return 0.0

    def num_weights(self, source: Shape, target: Shape) -> int:
        """Return the number of weights between layers of these shapes."""
        y, x = _pair(self.kernel, type(self).__name__, "kernel")
        return target[0] * (source[0] // max(self.groups, 1)) * y * x

    def size(self, source: Shape) -> tuple[int, int]:
        """Return the rows and columns of the target of a source of this shape; 0 if no kernel fits."""
        where = type(self).__name__
        pairs = [_pair(getattr(self, n), where, n) for n in ("kernel", "stride", "padding", "dilation")]
        first, second = (
            max(0, (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
            for n, kernel, stride, padding, dilation in zip(source[1:], *pairs, strict=True)
        )
        return first // self._pooling, second // self._pooling


@dataclass(frozen=True)
class Convolution(_Images):
    """A convolution between two images, followed by a mean over windows if `mean_pool` > 1.

    It adds -<u_target, mean(w * u_source)> to the energy. The weights are (target channels, source channels
    / groups, kernel height, kernel width), in the order of PyTorch.

    If the target is the input, the source layer is driven by the transposed convolution of the input, as by
    ``torch.nn.ConvTranspose2d``, and may have more rows and columns than the input.

    Within a layer (source = target) the stride is 1, there is no pooling, and the padding keeps the size. It
    then adds -1/2 <u, W u>, where W is the symmetric part of the convolution, (w* + w*^T) / 2, without the
    centre of the kernel between a channel and itself.

    Parameters
    ----------
    source, target : int
        Positions of the layers; 0 is the input. The rows and columns of the target are those of the result.
    kernel, stride, padding, dilation : int or (int, int)
        Geometry, as in ``torch.nn.Conv2d``: one number, or one for each direction.
    groups : int
        Number of groups of channels; a group of the target reads one group of the source.
    mean_pool : int
        Size of the windows of the mean; rows and columns that do not fill a window are left out.

    Examples
    --------
    >>> import equiprop as eq
    >>> layers = [eq.Layer((1, 8, 8)), eq.Layer((4, 3, 3)), eq.Layer(3, "linear")]
    >>> couplings = [eq.Convolution(0, 1, 3, mean_pool=2), eq.Dense(1, 2)]
    >>> net = eq.HopfieldNetwork(layers=layers, couplings=couplings)
    >>> net.blocks["W1"].shape
    (4, 1, 3, 3)
    """

    mean_pool: int = 1

    @property
    def _pooling(self) -> int:
        return self.mean_pool


@dataclass(frozen=True)
class MaxPooled(_Images):
    """A convolution between two images, followed by the maximum over windows.

    It adds -<u_target, max(w * u_source)> to the energy. The winners of the windows are those of the present
    signals of the source; where no window is tied, all derivatives are those of the winners. The target is a
    free layer, not the input.

    Parameters
    ----------
    source, target, kernel, stride, padding, dilation, groups
        See `Convolution`.
    pool : int
        Size of the windows of the maximum; rows and columns that do not fill a window are left out.
    """

    pool: int = 2

    @property
    def _pooling(self) -> int:
        return self.pool


@dataclass(frozen=True)
class SoftPooled(_Images):
    """A convolution a = w * u_source, followed by sum a e^(c a) / sum e^(c a) over windows.

    The pooling is complex-differentiable, as holomorphic Equilibrium Propagation requires (Laborieux & Zenke
    2022); it approaches the maximum for a large sharpness c, and the mean for a small one. The target is a
    free layer, not the input.

    Parameters
    ----------
    source, target, kernel, stride, padding, dilation, groups
        See `Convolution`.
    pool : int
        Size of the windows; rows and columns that do not fill a window are left out.
    sharpness : float
        Factor c of the exponents.
    """

    pool: int = 2
    sharpness: float = 4.0

    @property
    def _pooling(self) -> int:
        return self.pool

    @property
    def _sharp(self) -> float:
        return real(self.sharpness, "SoftPooled", "sharpness")


#: Every kind of coupling with weights.
Weighted: TypeAlias = "Dense | Convolution | MaxPooled | SoftPooled"
#: Every kind of coupling.
Coupling: TypeAlias = "Weighted | Identity"

_KINDS: dict[type, str] = {
    Convolution: "convolution",
    MaxPooled: "max_pooled",
    SoftPooled: "soft_pooled",
}


def coupling_fields(couplings: Sequence[Coupling]) -> list[Fields]:
    """Return checked couplings as the core reads them."""
    for coupling in couplings:
        check_type(
            coupling,
            Dense | Identity | _Images,
            "HopfieldNetwork",
            "`couplings` lists objects Dense(source, target)",
        )
    return [coupling.fields for coupling in couplings]


def is_lateral(coupling: Coupling) -> bool:
    """Return True for a coupling within a layer."""
    return coupling.source == coupling.target


def driven_by_input(coupling: Coupling) -> int:
    """Return the position of the layer that a coupling joins with the input; 0 if it joins free layers."""
    ends = coupling.source, coupling.target
    return max(ends) if 0 in ends else 0


def copy_weights(
    couplings: Sequence[Coupling],
    source: Mapping[str, NDArray[Any]],
    target: Mapping[str, NDArray[Any]],
    symmetric: bool,
) -> None:
    """Copy blocks of parameters by name; feedback weights B that the source lacks are its weights W.

    With `symmetric`, weights within a layer become their symmetric part, which alone has an energy.
    """
    for name, block in target.items():
        block[...] = source[name] if name in source else source["W" + name[1:]]
    for i, coupling in enumerate(couplings, start=1):
        if symmetric and is_lateral(coupling):
            symmetrize(coupling, target[f"W{i}"])


def symmetrize(coupling: Coupling, weights: NDArray[Any]) -> None:
    """Replace the weights of a coupling within a layer by their symmetric part without the diagonal.

    They are changed in place. The transpose of a convolution has its channels exchanged, within each group,
    and its rows and columns reversed. The diagonal is the centre of a kernel between a channel and itself.
    """
    groups = 1 if isinstance(coupling, Dense | Identity) else coupling.groups
    kernel = weights.reshape(groups, len(weights) // groups, -1, *(weights.shape[2:] or (1, 1)))
    kernel[...] = (kernel + kernel.transpose(0, 2, 1, 3, 4)[..., ::-1, ::-1]) / 2
    rows, columns = kernel.shape[3:]
    if rows % 2 and columns % 2:
        each = np.arange(kernel.shape[1])
        kernel[:, each, each, rows // 2, columns // 2] = 0


def diagonal(coupling: Coupling, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which weights (shape) of a coupling within a layer are on the diagonal: they never act."""
    ones = np.ones(shape)
    symmetrize(coupling, ones)
    zeros: NDArray[np.bool_] = ones == 0
    return zeros


def coupling_of(kind: str, source: int, target: int, geometry: tuple[Any, ...] | float | None) -> Coupling:
    """Return the coupling that the core describes by these fields."""
    if geometry is None:
        return Dense(source, target)
    if not isinstance(geometry, tuple):
        return Identity(source, target, geometry)
    kernel, stride, padding, dilation, groups, pool, sharpness = geometry
    if kind == "max_pooled":
        return MaxPooled(source, target, kernel, stride, padding, dilation, groups, pool)
    if kind == "soft_pooled":
        return SoftPooled(source, target, kernel, stride, padding, dilation, groups, pool, sharpness)
    return Convolution(source, target, kernel, stride, padding, dilation, groups, pool)


def _ends(coupling: Dense | Identity | _Images) -> tuple[int, int]:
    """Return the positions of the layers; raise TypeError or ValueError if they are not whole numbers."""
    where = type(coupling).__name__
    source, target = (whole(getattr(coupling, name), where, name, 0) for name in ("source", "target"))
    return source, target


def _pair(value: Any, where: str, name: str, least: int = 0) -> tuple[int, int]:
    """Return a pair of whole numbers from one or two."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2:
            raise ValueError(f"[{where}] `{name}` is one number, or a pair. Received {value!r}.")
        return whole(value[0], where, name, least), whole(value[1], where, name, least)
    number = whole(value, where, name, least)
    return number, number


def _size(shape: Shape) -> int:
    return shape[0] * shape[1] * shape[2]
