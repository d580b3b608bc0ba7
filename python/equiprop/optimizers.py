"""Optimizers that update a flat parameter vector in place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.centring import Blocks as Blocks
from equiprop.centring import Centre
from equiprop.checks import check_flag, enough_memory, real, require
from equiprop.nesterov import nesterov_update
from equiprop.optimizer_arguments import (
    Decay,
    Piece,
    Rate,
    check_cover,
    check_decay,
    check_gradient,
    check_range,
    check_rates,
    checked_pieces,
)
from equiprop.schedules import Schedule as Schedule
from equiprop.schedules import constant as constant
from equiprop.schedules import cosine as cosine
from equiprop.schedules import cosine_restarts as cosine_restarts
from equiprop.schedules import exponential as exponential
from equiprop.schedules import warm_up as warm_up

__all__ = [
    "SGD",
    "Adam",
    "Blocks",
    "Decay",
    "Optimizer",
    "Rate",
    "Schedule",
    "constant",
    "cosine",
    "cosine_restarts",
    "exponential",
    "warm_up",
]

#: Learning rates that a `Trainer` computes from the network and its first data.
AUTO = "auto"
_Array = NDArray[Any]


class Optimizer(Protocol):
    """Interface of an optimizer: the method `step` updates the parameters in place.

    Examples
    --------
    >>> choices: dict[str, Optimizer] = {"sgd": SGD(0.1), "adam": Adam()}
    """

    def step(self, parameters: _Array, gradient: _Array, blocks: Blocks, factor: float = 1.0) -> None:
        """Update ``parameters`` in place; see :meth:`equiprop.SGD.step`."""


#: Averages are cleaned of numbers near zero after so many steps.
_FLUSH_INTERVAL = 64
#: Metadata of a field that files of trainers do not contain.
_UNSAVED = {"saved": False}


@dataclass
class FusedOptimizer:
    """Common base of SGD and Adam: averages of gradients, and steps that the core takes."""

    learning_rate: Any
    _buffers: _Array | None = field(default=None, init=False, repr=False, compare=False)
    _steps: int = field(default=0, init=False, repr=False, compare=False)
    _vector: _Array | None = field(default=None, init=False, repr=False, compare=False, metadata=_UNSAVED)

    #: Learning rates that a trainer has computed, and the parameter vector for which they are.
    _computed: Any = field(default=None, init=False, repr=False, compare=False, metadata=_UNSAVED)
    _rated: _Array | None = field(default=None, init=False, repr=False, compare=False, metadata=_UNSAVED)

    num_averages: ClassVar[int]

    @property
    def is_fused(self) -> bool:
        """True if the core can take the step while it sums a gradient."""
        return not isinstance(self._weight_decay(), Mapping)

    def set_automatic(self, rates: Rate, parameters: _Array) -> None:
        """Set learning rates in place of "auto" that are for one parameter vector, and for no other."""
        self.learning_rate = self._computed = rates
        self._rated = parameters

    def needs_rates(self, parameters: _Array) -> bool:
        """Return True if the rates are "auto", or were computed for another vector before the first step."""
        if not self._is_automatic():
            return isinstance(self.learning_rate, str)
        return not self._steps and (self._rated is None or not _is_same_memory(parameters, self._rated))

    def _is_automatic(self) -> bool:
        return self._computed is not None and self.learning_rate is self._computed

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy, which continues with the first parameter vector that it updates."""
        return {**self.__dict__, "_vector": None, "_rated": None}

    def _prepare(
        self, where: str, parameters: _Array, blocks: Blocks, factor: float, *, has_cover: bool = True
    ) -> list[Piece]:
        """Check the arguments of a step, allocate the averages at the first one, and return the pieces."""
        require(parameters.flags.writeable, where, "parameters are updated in place", "a read-only array")
        kept, vector = (self._buffers, self._vector) if self._steps else (None, None)
        fits = kept is None or (kept.dtype, kept.shape[1]) == (parameters.dtype, parameters.size)
        rated = self._rated if self._is_automatic() else None
        if not fits or not all(v is None or _is_same_memory(parameters, v) for v in (vector, rated)):
            rule = "An optimizer updates one parameter vector; create a new optimizer for another one"
            require(False, where, rule, f"another vector, {parameters.dtype} {parameters.shape}")
        if not has_cover:
            check_cover(where, blocks, parameters.size)
        pieces = checked_pieces(where, self.learning_rate, self._weight_decay(), blocks, factor)
        if kept is None:
            size, what = self.num_averages * parameters.nbytes, f"{self.num_averages} averages of gradients"
            with enough_memory(size, where, what):
                self._buffers = np.zeros((self.num_averages, parameters.size), dtype=parameters.dtype)
        if vector is None:
            self._vector = parameters
        return pieces

    def sink(self, parameters: _Array, blocks: Blocks, factor: float = 1.0) -> _core.OptimizerSink:
        """Return the optimizer step that the core takes while it sums a gradient.

        Needs `is_fused`. Call `finish` after the step. Arguments and errors are those of :meth:`SGD.step`
        without the gradient; `blocks` are the block slices of a model.
        """
        return self._new_sink(parameters, self.rates(parameters, blocks, factor))

    def rates(self, parameters: _Array, blocks: Blocks, factor: float = 1.0) -> tuple[tuple[int, float], ...]:
        """Return the first parameter and the learning rate of each piece; arguments are those of `sink`."""
        pieces = self._prepare(f"{type(self).__name__}.step", parameters, blocks, factor)
        return tuple((piece.begin, piece.rate) for piece in pieces)

    def _new_sink(self, parameters: _Array, rates: tuple[tuple[int, float], ...]) -> _core.OptimizerSink:
        raise NotImplementedError

    def _weight_decay(self) -> Decay:
        raise NotImplementedError

    def _numbers(self) -> tuple[Any, ...]:
        """Return the numbers of the next step in the core's order."""
        raise NotImplementedError

    def finish(self) -> None:
        """Count a step that the core took, and set averages that are near zero to zero."""
        self._steps += 1
        if self._steps % _FLUSH_INTERVAL == 0:
            assert self._buffers is not None
            for average in self._buffers:
                _flush_small(average)


@dataclass
class SGD(FusedOptimizer):
    r"""Stochastic gradient descent with momentum :math:`\mu` (Polyak 1964) and L2 decay :math:`\lambda`.

    .. math:: v \leftarrow \mu v + g + \lambda\theta, \qquad \theta \leftarrow \theta - f \eta\, v

    with the schedule's factor :math:`f` and the learning rate :math:`\eta` of the parameter's block. The
    decay is part of the gradient, so momentum averages it too. While :math:`\mu = 0`, v is not kept, and it
    is 0 when :math:`\mu` is raised. Nesterov's momentum (Sutskever et al. 2013, as in PyTorch) moves by the
    direction that the next step would begin with,

    .. math:: \theta \leftarrow \theta - f \eta\, (g + \lambda\theta + \mu v)

    Parameters
    ----------
    learning_rate : float or mapping from block name to float, not negative
        One rate for all parameters, or a mapping with one for every block. A rate of 0 freezes a block.
    momentum : float in [0, 1)
        Factor mu of the previous direction v.
    weight_decay : float or mapping from block name to float, not negative
        Factor lambda of the L2 penalty, for all parameters or for each block; blocks that a mapping does not
        name do not decay.
    nesterov : bool
        Use Nesterov's momentum, which needs a momentum above 0.

    Raises
    ------
    TypeError, ValueError
        A number is out of range, or nesterov is given without momentum.

    Notes
    -----
    With `nesterov`, or a mapping of decays, the core does not take the step while it sums the gradient, which
    takes more time (docs/performance.md).

    Examples
    --------
    >>> theta, blocks = np.zeros(2), {"w": slice(0, 1), "b": slice(1, 2)}
    >>> optimizer = SGD(learning_rate={"w": 0.1, "b": 1.0}, momentum=0.5)
    >>> for factor in (1.0, 0.5):
    ...     optimizer.step(theta, np.ones(2), blocks, factor)
    >>> theta.round(3).tolist()
    [-0.175, -1.75]
    """

    learning_rate: Rate = 0.01
    momentum: float = 0.0
    weight_decay: Decay = 0.0
    nesterov: bool = False

    num_averages: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_rates("SGD", self.learning_rate)
        check_range("SGD", "momentum", self.momentum, 1.0)
        check_decay("SGD", self.weight_decay)
        check_flag(self.nesterov, "SGD", "nesterov")
        needed = self.momentum > 0 or not self.nesterov
        require(needed, "SGD", "nesterov=True needs a momentum above 0", f"momentum={self.momentum}")

    @property
    def is_fused(self) -> bool:  # noqa: D102
        return super().is_fused and not self.nesterov

    def step(self, parameters: _Array, gradient: _Array, blocks: Blocks, factor: float = 1.0) -> None:
        """Update ``parameters`` in place from ``gradient``.

        Parameters
        ----------
        parameters : array, shape (parameters,), float32 or float64
            Flat parameter vector, which is overwritten.
        gradient : array, same shape and type
            Gradient of the objective that the optimizer minimises.
        blocks : mapping from block name to slice
            Contiguous pieces that cover the vector without overlap.
        factor : float, not negative
            The schedule's factor of the learning rate.

        Raises
        ------
        TypeError, ValueError
            The gradient is not finite, or the arrays, blocks or rates do not match each other or those of
            earlier calls. Parameters and averages are not changed.
        """
        check_gradient("SGD.step", parameters, gradient)
        pieces = self._prepare("SGD.step", parameters, blocks, factor, has_cover=False)
        assert self._buffers is not None
        (velocity,) = self._buffers
        update = nesterov_update if self.nesterov else _core_of(parameters).momentum_update
        with _contiguous(parameters) as theta:
            for begin, count, rate, decay in pieces:
                update(theta, gradient, velocity, begin, count, rate, self.momentum, decay)
        if self.momentum == 0:
            velocity.fill(0)
        self.finish()

    def _new_sink(self, parameters: _Array, rates: tuple[tuple[int, float], ...]) -> _core.OptimizerSink:
        assert self._buffers is not None
        velocity = self._buffers[0] if self.momentum > 0 else None
        if velocity is None:
            self._buffers.fill(0)
        return _core_of(parameters).OptimizerSink.sgd(parameters, velocity, rates, *self._numbers())

    def _weight_decay(self) -> Decay:
        return self.weight_decay

    def _numbers(self) -> tuple[Any, ...]:
        return (self.momentum, self.weight_decay)


@dataclass
class Adam(FusedOptimizer):
    r"""Adam (Kingma & Ba 2015) with decoupled weight decay (AdamW, Loshchilov & Hutter 2019).

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \\
        \theta \leftarrow \theta - f \eta \left( \frac{m / (1 - \beta_1^t)}
        {\sqrt{v / (1 - \beta_2^t)} + \epsilon} + \lambda\theta \right)

    at step t = 1, 2, ..., with the schedule's factor :math:`f` and the learning rate :math:`\eta` of the
    parameter's block. The weight decay is not part of m and v.

    Parameters
    ----------
    learning_rate : float or mapping from block name to float, not negative, or "auto"
        See :class:`SGD`. With "auto", the default of a `Trainer`, the trainer replaces it by one rate for
        each block, computed from the network and its first data (docs/training.md).
    beta1, beta2 : float in [0, 1)
        Factors by which the averages m of g and v of its square decay at each step.
    epsilon : float, positive
        Number that is added to the denominator.
    weight_decay : float or mapping from block name to float, not negative
        Factor lambda of the decay; see :class:`SGD`.

    Raises
    ------
    TypeError, ValueError
        A number is out of range.

    Examples
    --------
    >>> theta = np.array([1.0, 1.0])
    >>> Adam(learning_rate=0.1).step(theta, np.array([3.0, -0.01]), {"w": slice(0, 2)})
    >>> theta.round(3).tolist()
    [0.9, 1.1]
    """

    learning_rate: Rate | Literal["auto"] = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: Decay = 0.0
    #: Coordinates of the steps, which a `Trainer` sets with automatic rates; None for the parameters' own.
    _centre: Centre | None = field(default=None, init=False, repr=False, compare=False)

    num_averages: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not isinstance(self.learning_rate, str) or self.learning_rate != AUTO:
            check_rates("Adam", self.learning_rate)  # type: ignore[arg-type]
        check_range("Adam", "beta1", self.beta1, 1.0)
        check_range("Adam", "beta2", self.beta2, 1.0)
        check_decay("Adam", self.weight_decay)
        epsilon = real(self.epsilon, "Adam", "epsilon")
        require(0 < epsilon < math.inf, "Adam", "epsilon is positive and finite", self.epsilon)

    def step(self, parameters: _Array, gradient: _Array, blocks: Blocks, factor: float = 1.0) -> None:
        """Update ``parameters`` in place from ``gradient``; see :meth:`SGD.step` for arguments and errors."""
        check_gradient("Adam.step", parameters, gradient)
        pieces = self._prepare("Adam.step", parameters, blocks, factor, has_cover=False)
        assert self._buffers is not None
        mean, square = self._buffers
        core, centre, offsets = _core_of(parameters), self._centre, None
        if centre is not None:
            gradient, offsets = centre.centred(gradient, blocks), centre.offsets(parameters, blocks)
        with _contiguous(parameters) as theta:
            for begin, count, rate, decay in pieces:
                numbers = self._numbers(decay)
                core.adam_update(theta, gradient, mean, square, begin, count, rate, *numbers)
        if centre is not None and offsets is not None:
            centre.settle(parameters, offsets, blocks)
        self.finish()

    def _new_sink(self, parameters: _Array, rates: tuple[tuple[int, float], ...]) -> _core.OptimizerSink:
        assert self._buffers is not None
        mean, square = self._buffers
        return _core_of(parameters).OptimizerSink.adam(parameters, mean, square, rates, self._numbers())

    @property
    def is_fused(self) -> bool:  # noqa: D102
        return super().is_fused and self._centre is None

    def _weight_decay(self) -> Decay:
        return self.weight_decay

    def _numbers(self, decay: Decay | None = None) -> tuple[Any, ...]:
        decay = self.weight_decay if decay is None else decay
        return (self.beta1, self.beta2, self.epsilon, decay, *self.corrections(self._steps + 1))

    def corrections(self, step: int) -> tuple[float, float]:
        """Return the divisors of m and v at a step, which is 1 or more."""
        return 1 - self.beta1**step, 1 - self.beta2**step


def _core_of(parameters: _Array) -> _core.Precision:
    return _core.f32 if parameters.dtype == np.float32 else _core.f64


@contextmanager
def _contiguous(parameters: _Array) -> Iterator[_Array]:
    """Yield the parameters as contiguous memory for the core: themselves, or a copy that is copied back."""
    if parameters.flags.c_contiguous:
        yield parameters
    else:
        copy = np.ascontiguousarray(parameters)
        yield copy
        parameters[:] = copy


def _is_same_memory(a: _Array, b: _Array) -> bool:
    """Return True if two vectors of one type and length are the same numbers in memory."""
    return a is b or (a.ctypes.data == b.ctypes.data and a.strides == b.strides)


def _flush_small(average: _Array) -> None:
    """Set entries below 1e-31 (1e-292 in double precision) to zero.

    An average of gradients that are zero, such as those of a pixel that is always dark, decays to a subnormal
    number; steps with subnormal numbers take three times as long.
    """
    limits = np.finfo(average.dtype)
    np.copyto(average, 0, where=np.abs(average) < limits.tiny / limits.eps)
