"""Couplings between two layers: dense weights, and convolutions with and without pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from equiprop.checks import check_type, real, whole

#: A number for both directions, or a pair (vertical, horizontal).
Pair: TypeAlias = "int | tuple[int, int]"
#: Channels, rows and columns of a layer.
Shape: TypeAlias = tuple[int, int, int]
#: What the core reads: kind, source, target, and the geometry of a coupling of images.
Fields: TypeAlias = tuple[str, int, int, "tuple[Any, ...] | None"]


@dataclass(frozen=True)
class Dense:
    """All-to-all weights W between two different layers, which add -<u_source, W u_target> to the energy.

    Parameters
    ----------
    source, target : int
        Positions of the layers; 0 is the input.
    """

    source: int
    target: int

    @property
    def fields(self) -> Fields:
        """The coupling as the core reads it."""
        return ("dense", _position(self.source), _position(self.target), None)

    def num_weights(self, source: Shape, target: Shape) -> int:
        """Return the number of weights between layers of these shapes."""
        return _size(source) * _size(target)


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
        for name in ("kernel", "stride", "padding", "dilation"):
            y, x = _pair(getattr(self, name), where, name, 0 if name == "padding" else 1)
            object.__setattr__(self, name, y if y == x else (y, x))
        whole(self.groups, where, "groups", 1)
        whole(self._pooling, where, "The pooling window", 1)

    @property
    def fields(self) -> Fields:
        """The coupling as the core reads it."""
        where = type(self).__name__
        pairs = [_pair(getattr(self, n), where, n) for n in ("kernel", "stride", "padding", "dilation")]
        groups = whole(self.groups, where, "groups", 1)
        geometry = (*pairs, groups, whole(self._pooling, where, "The pooling window", 1), self._sharp)
        return (_KINDS[type(self)], _position(self.source), _position(self.target), geometry)

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
    signals of the source; where no window is tied, all derivatives are those of the winners.

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
    2022); it approaches the maximum for a large sharpness c, and the mean for a small one.

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


#: Every kind of coupling.
Coupling: TypeAlias = "Dense | Convolution | MaxPooled | SoftPooled"

_KINDS: dict[type, str] = {
    Convolution: "convolution",
    MaxPooled: "max_pooled",
    SoftPooled: "soft_pooled",
}


def coupling_fields(couplings: Sequence[Coupling]) -> list[Fields]:
    """Return checked couplings as the core reads them."""
    for coupling in couplings:
        check_type(
            coupling, Dense | _Images, "HopfieldNetwork", "`couplings` lists objects Dense(source, target)"
        )
    return [coupling.fields for coupling in couplings]


def coupling_of(kind: str, source: int, target: int, geometry: tuple[Any, ...] | None) -> Coupling:
    """Return the coupling that the core describes by these fields."""
    if geometry is None:
        return Dense(source, target)
    kernel, stride, padding, dilation, groups, pool, sharpness = geometry
    if kind == "max_pooled":
        return MaxPooled(source, target, kernel, stride, padding, dilation, groups, pool)
    if kind == "soft_pooled":
        return SoftPooled(source, target, kernel, stride, padding, dilation, groups, pool, sharpness)
    return Convolution(source, target, kernel, stride, padding, dilation, groups, pool)


def _position(layer: Any) -> int:
    return whole(layer, "HopfieldNetwork", "The position of a layer", 0)


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
