"""The part that all loggers of a training share: their rows, when they are written, and a full disk."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from os.path import realpath
from pathlib import Path
from typing import Any

from equiprop.checks import check_type, real, require, whole
from equiprop.history import Epoch, Metrics
from equiprop.paths import path_of
from equiprop.processes import group_of
from equiprop.watching import Callback, Ending

#: Seconds after which rows of steps are written, although the epoch has not ended.
_PAUSE = 1.0
Row = dict[str, Any]


class RowLogger(Callback, ABC):
    """Writes one row of numbers for each epoch, or for each N-th step.

    Parameters
    ----------
    path : path-like
    steps : int, optional
        N for a row of each N-th step; None for a row of each epoch.
    more : callable, optional
        Function of the trainer that returns further numbers of a row by name.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        steps: int | None = None,
        more: Callable[[Any], Mapping[str, float]] | None = None,
    ) -> None:
        where = type(self).__name__
        self.path: Path = path_of(path, where)
        self.steps: int | None = None if steps is None else whole(steps, where, "steps", 1)
        rule = "more is a function of the trainer, or None"
        require(more is None or callable(more), where, rule, repr(more))
        self.more: Callable[[Any], Mapping[str, float]] | None = more
        self._waiting: list[Row] = []
        self._told = False
        self._follows = False
        self._written = 0.0

    @property
    def watches_steps(self) -> bool:
        """True if rows are those of steps."""
        return self.steps is not None

    def on_start(self, trainer: Any) -> None:
        """Check the file, before anything is written.

        A training that continues keeps the rows of its steps, and drops those of steps that it takes again.
        Of several processes, the first one writes.

        Raises
        ------
        ValueError
            If the folder does not exist, the file is of another kind, or holds rows and the training is new.
            If two loggers have one path.
        OSError
            If the file cannot be read.
        """
        where = type(self).__name__
        self._waiting, self._told, self._follows = [], False, group_of(trainer).rank > 0
        if self._follows:
            return
        require(self.path.parent.is_dir(), where, "path is in an existing folder", repr(str(self.path)))
        places = [realpath(c.path) for c in trainer.callbacks if isinstance(c, RowLogger)]
        rule = "Each logger of a training has a path of its own"
        require(places.count(realpath(self.path)) == 1, where, rule, f"'{self.path}' for several")
        count = self.begin(trainer.steps, self._last_kept(trainer))
        if count and not trainer.steps:
            raise ValueError(
                f"[{where}] A new training writes to a path without rows of an earlier one. Received "
                f"'{self.path}', which has them. Choose another path, or remove it."
            )

    def _last_kept(self, trainer: Any) -> int:
        """Return the steps of the last row that is not written again.

        A checkpoint after the last step of an epoch is older than the row of the epoch.
        """
        position = trainer.unfinished
        again = self.steps is None and position is not None and position.metrics
        return int(trainer.steps) - bool(again)

    def on_step(self, trainer: Any, metrics: Metrics) -> None:
        """Add the row of each N-th step."""
        if self.steps is not None and trainer.steps % self.steps == 0:
            numbers = metrics._asdict()
            del numbers["advice"]
            self._add(trainer, numbers)
            if time.monotonic() - self._written >= _PAUSE:
                self._flush()

    def on_epoch(self, trainer: Any, epoch: Epoch) -> None:
        """Add the row of the epoch, and write all rows."""
        if self.steps is None:
            self._add(trainer, epoch.as_dict())
        self._flush()

    def on_end(self, trainer: Any, status: Ending) -> None:  # noqa: ARG002
        """Write the rows that are left."""
        self._flush()
        if self._waiting:
            warnings.warn(
                f"[{type(self).__name__}] {len(self._waiting)} rows are not in '{self.path}'.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _add(self, trainer: Any, numbers: Row) -> None:
        if self._follows:
            return
        where, more = type(self).__name__, {} if self.more is None else self.more(trainer)
        check_type(more, Mapping, where, "more returns numbers by name")
        own = {str(name): real(value, where, f"{name} of more") for name, value in more.items()}
        taken = sorted(own.keys() & {"steps", *numbers})
        require(not taken, where, "more returns names that a row does not have", ", ".join(taken))
        self._waiting.append({"steps": int(trainer.steps), **numbers, **own})

    def _flush(self) -> None:
        """Write the waiting rows; if the disk is full, keep them, warn once, and let the training go on."""
        self._written = time.monotonic()
        if not self._waiting:
            return
        try:
            self.write(self._waiting)
        except OSError as error:
            if not self._told:
                self._told = True
                warnings.warn(
                    f"{error} Training goes on, and the rows are written when the disk takes them.",
                    RuntimeWarning,
                    stacklevel=3,
                )
        else:
            self._waiting = []

    @abstractmethod
    def begin(self, steps: int, last: int) -> int:
        """Check what is at the path, and return how many rows of at most `last` steps it has.

        If `steps`, the number of steps of the training so far, is 0, return how many rows there are.
        """

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Write rows at the end of the file, or raise OSError and write nothing."""
