"""Optimisers that update a flat parameter vector in place, and schedules of their learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from equiprop import _core

__all__ = ["SGD", "Adam", "Blocks", "Optimizer", "Rate", "Schedule", "constant", "cosine", "exponential"]

#: Contiguous pieces of the parameter vector by name, which cover it without overlap.
Blocks = Mapping[str, slice]
#: One learning rate for all parameters, or one for each block by name.
Rate = float | Mapping[str, float]
#: Maps the progress of training, 0 at the start and 1 at the end, to a factor of the learning rate.
Schedule = Callable[[float], float]
_Array = NDArray[Any]


class Optimizer(Protocol):
    """What a trainer asks of an optimiser: one method, which updates the parameters in place.

    Examples
    --------
    >>> choices: dict[str, Optimizer] = {"sgd": SGD(0.1), "adam": Adam()}
    """

    def step(self, parameters: _Array, gradient: _Array, blocks: Blocks, factor: float = 1.0) -> None:
        """Update ``parameters`` in place; see :meth:`SGD.step`."""


#: An optimiser's step as the core takes it while it sums a gradient: its name, its arrays and its numbers.
Sink = tuple[Any, ...]


@dataclass
class _Fused:
    """What SGD and Adam have in common: averages of gradients, and steps that the core takes."""

    learning_rate: Rate
    _buffers: _Array | None = field(default=None, init=False, repr=False, compare=False)
    _steps: int = field(default=0, init=False, repr=False, compare=False)

    num_averages: ClassVar[int]

    def _prepare(
        self, where: str, parameters: _Array, blocks: Blocks, factor: float, *, check_cover: bool = False
    ) -> list[tuple[int, int, float]]:
        """Check the arguments of a step, make the averages if there are none, and return the rates."""
        _require(parameters.flags.writeable, where, "parameters are updated in place", "a read-only array")
        kept = self._buffers
        if kept is not None and (kept.dtype, kept.shape[1]) != (parameters.dtype, parameters.size):
            rule = "An optimizer keeps to one vector; make a new one for another"
            _require(False, where, rule, f"{parameters.dtype} {parameters.shape}")
        if check_cover:
            _check_cover(where, blocks, parameters.size)
        rates = _checked_rates(where, self.learning_rate, blocks, factor)
        if kept is None:
            self._buffers = np.zeros((self.num_averages, parameters.size), dtype=parameters.dtype)
        return rates

    def finish(self) -> None:
        """Count a step."""
        assert self._buffers is not None
        self._steps += 1
        for average in self._buffers:
            _clear_faint(self._steps, average)


@dataclass
class SGD(_Fused):
    r"""Stochastic gradient descent with momentum :math:`\mu` (Polyak 1964) and L2 decay :math:`\lambda`.

    .. math:: v \leftarrow \mu v + g + \lambda\theta, \qquad \theta \leftarrow \theta - f \eta\, v

    with the schedule's factor :math:`f` and the learning rate :math:`\eta` of the parameter's block. The
    decay is part of the gradient, so momentum averages it too.

    Parameters
    ----------
    learning_rate : float or mapping from block name to float, not negative
        One rate for all parameters, or one for each block; a mapping names every block. 0 freezes a block.
    momentum : float in [0, 1)
        Share of the previous direction that is kept.
    weight_decay : float, not negative
        Strength of the L2 penalty.

    Raises
    ------
    ValueError
        A number is out of range.

    Examples
    --------
    >>> theta, blocks = np.zeros(2), {"w": slice(0, 1), "b": slice(1, 2)}
    >>> optimizer = SGD(learning_rate={"w": 0.1, "b": 1.0}, momentum=0.5)
    >>> for factor in (1.0, 0.5):
    ...     optimizer.step(theta, np.ones(2), blocks, factor)
    >>> theta.round(3).tolist()
    [-0.175, -1.75]
    """

    learning_rate: Rate = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0

    num_averages: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_rates("SGD", self.learning_rate)
        _check_range("SGD", "momentum", self.momentum, 1.0)
        _check_range("SGD", "weight_decay", self.weight_decay)

    def step(self, parameters: _Array, gradient: _Array, blocks: Blocks, factor: float = 1.0) -> None:
        """Update ``parameters`` in place from ``gradient``.

        Parameters
        ----------
        parameters : array, shape (parameters,), float32 or float64
            Flat parameter vector, overwritten.
        gradient : array, same shape and type
            Gradient of the loss to be lowered.
        blocks : mapping from block name to slice
            Contiguous pieces that cover the vector without overlap.
        factor : float, not negative
            The schedule's factor of the learning rate.

        Raises
        ------
        TypeError, ValueError
            The gradient is not finite, or arrays, blocks, rates and earlier calls do not fit together.
            Parameters and state are then as they were.
        """
        _check_gradient("SGD.step", parameters, gradient)
        rates = self._prepare("SGD.step", parameters, blocks, factor, check_cover=True)
        assert self._buffers is not None
        (velocity,) = self._buffers
        core = _core.f32 if parameters.dtype == np.float32 else _core.f64
        with _contiguous(parameters) as theta:
            for begin, count, rate in rates:
                core.momentum_update(
                    theta, gradient, velocity, begin, count, rate, self.momentum, self.weight_decay
                )
        self.finish()

    def sink(self, parameters: _Array, blocks: Blocks, factor: float = 1.0) -> Sink:
        """Return the step that the core takes while it sums a gradient; `finish` counts it afterwards.

        Arguments and errors are those of :meth:`step` without the gradient. `blocks` are those of a model.
        """
        rates = self._prepare("SGD.sink", parameters, blocks, factor)
        assert self._buffers is not None
        velocity = self._buffers[0] if self.momentum > 0 else None
        return ("sgd", parameters, velocity, _pieces(rates), self.momentum, self.weight_decay)


@dataclass
class Adam(_Fused):
    r"""Adam (Kingma & Ba 2015) with decoupled weight decay (AdamW, Loshchilov & Hutter 2019).

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \\
        \theta \leftarrow \theta - f \eta \left( \frac{m / (1 - \beta_1^t)}
        {\sqrt{v / (1 - \beta_2^t)} + \epsilon} + \lambda\theta \right)

    at step t = 1, 2, ..., with the schedule's factor :math:`f` and the learning rate :math:`\eta` of the
    parameter's block. The decay bypasses m and v.

    Parameters
    ----------
    learning_rate : float or mapping from block name to float, not negative
        As for :class:`SGD`.
    beta1, beta2 : float in [0, 1)
        Decay per step of the averages m of g and v of its square.
    epsilon : float, positive
        Added to the denominator.
    weight_decay : float, not negative
        Strength of the decay.

    Raises
    ------
    ValueError
        A number is out of range.

    Examples
    --------
    >>> theta = np.array([1.0, 1.0])
    >>> Adam(learning_rate=0.1).step(theta, np.array([3.0, -0.01]), {"w": slice(0, 2)})
    >>> theta.round(3).tolist()
    [0.9, 1.1]
    """

    learning_rate: Rate = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    num_averages: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_rates("Adam", self.learning_rate)
        _check_range("Adam", "beta1", self.beta1, 1.0)
        _check_range("Adam", "beta2", self.beta2, 1.0)
        _check_range("Adam", "weight_decay", self.weight_decay)
        _require(0 < self.epsilon < math.inf, "Adam", "epsilon is positive and finite", self.epsilon)

    def step(self, parameters: _Array, gradient: _Array, blocks: Blocks, factor: float = 1.0) -> None:
        """Update ``parameters`` in place from ``gradient``; arguments and errors as in :meth:`SGD.step`."""
        _check_gradient("Adam.step", parameters, gradient)
        rates = self._prepare("Adam.step", parameters, blocks, factor, check_cover=True)
        assert self._buffers is not None
        mean, square = self._buffers
        core = _core.f32 if parameters.dtype == np.float32 else _core.f64
        with _contiguous(parameters) as theta:
            for begin, count, rate in rates:
                core.adam_update(theta, gradient, mean, square, begin, count, rate, *self._numbers())
        self.finish()

    def sink(self, parameters: _Array, blocks: Blocks, factor: float = 1.0) -> Sink:
        """Return the step that the core takes while it sums a gradient; see :meth:`SGD.sink`."""
        rates = self._prepare("Adam.sink", parameters, blocks, factor)
        assert self._buffers is not None
        return ("adam", parameters, *self._buffers, _pieces(rates), *self._numbers())

    def _numbers(self) -> tuple[float, ...]:
        """Return the numbers of the next step in the core's order."""
        step = self._steps + 1
        corrections = (1 - self.beta1**step, 1 - self.beta2**step)
        return (self.beta1, self.beta2, self.epsilon, self.weight_decay, *corrections)


def sink_of(optimizer: Optimizer, parameters: _Array, blocks: Blocks, factor: float) -> Sink | None:
    """Return the optimiser's step as the core takes it, or None if its `step` takes the summed gradient.

    A subclass of `SGD` or `Adam` is taken by the core unless it overrides `step`.
    """
    if getattr(type(optimizer), "step", None) not in (SGD.step, Adam.step):
        return None
    assert isinstance(optimizer, SGD | Adam)
    return optimizer.sink(parameters, blocks, factor) if parameters.flags.c_contiguous else None


def constant() -> Schedule:
    """Return the schedule f(p) = 1.

    Examples
    --------
    >>> constant()(0.3)
    1.0
    """
    return exponential(1.0)


def cosine(final: float = 0.0) -> Schedule:
    r"""Return the schedule :math:`f(p) = c + (1 - c)(1 + \cos \pi p)/2` (Loshchilov & Hutter 2017).

    Parameters
    ----------
    final : float, not negative
        Factor c at the end of training; it is 1 at the start.

    Returns
    -------
    callable
        Maps progress p in [0, 1] to the factor and raises ValueError outside. It can be pickled.

    Raises
    ------
    ValueError
        ``final`` is negative or not finite.

    Examples
    --------
    >>> [round(cosine(0.2)(progress), 3) for progress in (0, 0.5, 1)]
    [1.0, 0.6, 0.2]
    """
    _check_range("cosine", "final", final)
    return partial(_cosine, final)


def exponential(final: float) -> Schedule:
    r"""Return the schedule :math:`f(p) = c^p` from 1 to c = ``final``, positive; else as :func:`cosine`.

    Examples
    --------
    >>> [round(exponential(0.01)(progress), 3) for progress in (0, 0.5, 1)]
    [1.0, 0.1, 0.01]
    """
    _require(0 < final < math.inf, "exponential", "final is positive; to end at 0 take cosine()", final)
    return partial(_exponential, final)


def _cosine(final: float, progress: float) -> float:
    _require(0 <= progress <= 1, "cosine", "progress lies in [0, 1]", progress)
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def _exponential(final: float, progress: float) -> float:
    _require(0 <= progress <= 1, "exponential", "progress lies in [0, 1]", progress)
    return float(final**progress)


@contextmanager
def _contiguous(parameters: _Array) -> Iterator[_Array]:
    """Lend the parameters to the core, which takes contiguous memory: a strided vector by way of a copy."""
    if parameters.flags.c_contiguous:
        yield parameters
    else:
        copy = np.ascontiguousarray(parameters)
        yield copy
        parameters[:] = copy


def _clear_faint(steps: int, average: _Array) -> None:
    """Set what has faded below 1e-31 (1e-292 in double precision) to zero, every 64 steps.

    An average of gradients that have become zero, such as those of a dark pixel, decays until it is
    subnormal, and stays there: processors then take three times as long for every step.
    """
    if steps % 64 == 0:
        limits = np.finfo(average.dtype)
        np.copyto(average, 0, where=np.abs(average) < limits.tiny / limits.eps)


def _require(holds: bool, where: str, rule: str, received: object) -> None:
    if not holds:
        raise ValueError(f"[{where}] {rule}. Received {received}.")


def _check_range(where: str, name: str, value: float, bound: float = math.inf) -> None:
    _require(0 <= value < bound, where, f"{name} lies in [0, {bound})", value)


def _check_rates(where: str, learning_rate: Rate) -> None:
    for rate in learning_rate.values() if isinstance(learning_rate, Mapping) else (learning_rate,):
        _check_range(where, "learning_rate", rate)


def _checked_rates(
    where: str, learning_rate: Rate, blocks: Blocks, factor: float
) -> list[tuple[int, int, float]]:
    """Return (begin, count, rate) of each piece that has one rate."""
    _check_range(where, "factor", factor)
    if not isinstance(learning_rate, Mapping):
        return [(0, max((block.stop for block in blocks.values()), default=0), float(learning_rate * factor))]
    missing, unknown = sorted(blocks.keys() - learning_rate), sorted(learning_rate.keys() - blocks)
    rule = "A learning_rate mapping names every block and no other"
    _require(not missing and not unknown, where, rule, f"missing {missing}, unknown {unknown}")
    return [
        (block.start, block.stop - block.start, float(learning_rate[name] * factor))
        for name, block in blocks.items()
    ]


def _pieces(rates: list[tuple[int, int, float]]) -> tuple[tuple[int, float], ...]:
    return tuple((begin, rate) for begin, _, rate in rates)


def _check_gradient(where: str, theta: _Array, gradient: _Array) -> None:
    given = f"{theta.dtype} {theta.shape}, {gradient.dtype} {gradient.shape}"
    if theta.dtype not in (np.float32, np.float64) or gradient.dtype != theta.dtype:
        raise TypeError(f"[{where}] parameters and gradient are both float32 or float64. Received {given}.")
    same = theta.ndim == 1 and gradient.shape == theta.shape
    _require(same, where, "parameters and gradient are vectors of one length", given)
    # The extremes carry NaN and infinity along and, unlike isfinite, need no temporary of the same length.
    with np.errstate(invalid="ignore"):
        low, high = float(gradient.min(initial=0)), float(gradient.max(initial=0))
    finite = math.isfinite(low) and math.isfinite(high)
    _require(finite, where, "gradient is finite; lower the learning rate", f"values from {low} to {high}")


def _check_cover(where: str, blocks: Blocks, size: int) -> None:
    bounded = [block for block in blocks.values() if block.step in (None, 1) and block.start is not None]
    pieces = sorted((block.start, block.stop) for block in bounded if block.stop is not None)
    starts, stops = [piece[0] for piece in pieces], [piece[1] for piece in pieces]
    covers = len(pieces) == len(blocks) and [*starts, size] == [0, *stops] and stops == sorted(stops)
    _require(covers, where, f"blocks cover 0 .. {size} without gap or overlap", blocks)
