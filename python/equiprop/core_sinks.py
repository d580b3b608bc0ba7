"""The steps of optimizers that the core takes, which are kept from step to step."""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import Any, TypeGuard

from equiprop import _core
from equiprop.arrays import Array
from equiprop.optimizers import SGD, Adam, Blocks, FusedOptimizer, Optimizer


def is_fused(optimizer: Optimizer) -> TypeGuard[SGD | Adam]:
    """Return True if the step of an optimizer, with its settings, is one that kernels take."""
    if getattr(type(optimizer), "step", None) not in (SGD.step, Adam.step):
        return False
    assert isinstance(optimizer, FusedOptimizer)
    return optimizer.is_fused


class CoreSinks:
    """Sinks of optimizers for the core; a sink is kept until something changes that it was made of."""

    def __init__(self) -> None:
        self._made_of: tuple[Any, ...] = (None, None, None, None)
        self._settings: tuple[Any, ...] = ()
        self._kept: _core.OptimizerSink | None = None

    def of(
        self, optimizer: Optimizer, parameters: Array, blocks: Blocks, factor: float
    ) -> _core.OptimizerSink | None:
        """Return the optimizer's step for the core, or None if Python must call its `step`.

        The core takes the steps of `SGD`, `Adam` and their subclasses, unless a subclass overrides `step`, or
        the settings need more than the core does; see `FusedOptimizer.is_fused`.
        """
        if not is_fused(optimizer):
            return None
        rate, kept = optimizer.learning_rate, self._made_of
        if not isinstance(rate, float) and isinstance(rate, Mapping):
            rate = dict(rate)  # so that a later change of an entry is seen
        settings = (factor, rate, optimizer._numbers())
        same = all(map(is_, kept, (optimizer, parameters, blocks, optimizer._buffers)))
        if same and settings == self._settings and parameters.flags.writeable:
            return self._kept
        self._kept = optimizer.sink(parameters, blocks, factor) if parameters.flags.c_contiguous else None
        self._made_of, self._settings = (optimizer, parameters, blocks, optimizer._buffers), settings
        return self._kept

    def finish(self, optimizer: Optimizer) -> None:
        """Count a step that the core took."""
        assert isinstance(optimizer, FusedOptimizer)
        optimizer.finish()
