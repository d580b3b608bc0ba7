"""The protocol of callbacks that watch a training, and the calls of it by `Trainer.fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, Protocol

from equiprop.history import Epoch, Metrics

#: How a training ended: all epochs or early stopping, `Trainer.stop`, Ctrl-C or a signal, or an exception.
Ending = Literal["finished", "stopped", "interrupted", "failed"]


class Callback:
    """Watches a training; a subclass overrides the methods that it needs.

    `Trainer.fit` calls the methods of each `Callback` in `Trainer.callbacks`. An exception in `on_start`,
    `on_step` or `on_epoch` ends the training, and `fit` raises it. Each method may call `trainer.stop()`.

    Examples
    --------
    >>> import equiprop as eq
    >>> class Printer(eq.callbacks.Callback):
    ...     def on_epoch(self, trainer, epoch):
    ...         print(epoch.epoch, trainer.steps)
    ...     def on_end(self, trainer, status):
    ...         print(status)
    >>> data = eq.Dataset([[0.0, 1.0], [1.0, 0.0]] * 20, [0, 1] * 20)
    >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 2], seed=1), callbacks=[Printer()])
    >>> history = trainer.fit(data, epochs=2)
    1 1
    2 2
    finished
    """

    def on_start(self, trainer: Any) -> None:
        """Act before the first step of a call of `fit`, also of one that continues an earlier training.

        Parameters
        ----------
        trainer : Trainer
            Its `steps` are those taken so far.
        """

    def on_step(self, trainer: Any, metrics: Metrics) -> None:
        """Act after a step, before a checkpoint of it is saved.

        Parameters
        ----------
        trainer : Trainer
        metrics : Metrics
            Of the mini-batch, under the parameters before the step.
        """

    def on_epoch(self, trainer: Any, epoch: Epoch) -> None:
        """Act after an epoch.

        Parameters
        ----------
        trainer : Trainer
        epoch : Epoch
            Record of the epoch, with its validation error.
        """

    def on_end(self, trainer: Any, status: Ending) -> None:
        """Act at the end of a call of `fit`, however it ends, if `on_start` was called.

        Parameters
        ----------
        trainer : Trainer
        status : {"finished", "stopped", "interrupted", "failed"}
            All epochs are done or early stopping ended them; `trainer.stop` was called; KeyboardInterrupt was
            raised; or another exception.
        """

    @property
    def watches_steps(self) -> bool:
        """True if `on_step` is overridden; otherwise a device takes many steps without the host."""
        return type(self).on_step is not Callback.on_step


class Watched(Protocol):
    """The part of a `Trainer` that callbacks need."""

    callbacks: Sequence[Any]
    step_callbacks: Sequence[Any]
    _stopping: bool


@contextmanager
def watching(trainer: Watched) -> Iterator[None]:
    """Call `on_start` of all callbacks, and `on_end` of those that were started when the block ends.

    Each `on_end` is called, also if another one fails.
    """
    with ExitStack() as stack:
        for callback in trainer.callbacks:
            if isinstance(callback, Callback):
                stack.push(partial(_end, trainer, callback))
                callback.on_start(trainer)
        yield


def _end(trainer: Watched, callback: Callback, kind: Any, _error: Any, _trace: Any) -> None:
    if kind is None:
        status: Ending = "stopped" if trainer._stopping else "finished"
    else:
        status = "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
    callback.on_end(trainer, status)


def after_epoch(trainer: Watched, epoch: Epoch) -> None:
    """Call the functions and objects in `callbacks` after an epoch."""
    for callback in trainer.callbacks:
        if isinstance(callback, Callback):
            callback.on_epoch(trainer, epoch)
        else:
            callback(trainer, epoch)


def step_functions(trainer: Watched) -> list[Callable[[Any, Metrics], None]]:
    """Return the functions to call after a step: `step_callbacks`, and `on_step` of the callbacks."""
    watchers = (c for c in trainer.callbacks if isinstance(c, Callback) and c.watches_steps)
    return [*trainer.step_callbacks, *(callback.on_step for callback in watchers)]
