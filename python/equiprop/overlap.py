"""Refuses calls that overlap on one model: two trainings, or a phase while the parameters change."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


class OverlapError(RuntimeError):
    """Raised if a call would change the parameters of a model in use, or use a model while they change."""


@dataclass
class _Uses:
    """The calls that use one model at present.

    Attributes
    ----------
    readers : dict of int to int
        Number of running phases of each thread.
    thread, owner, depth
        Thread and trainer that may change the parameters, and the number of its nested calls; 0 for none.
    """

    readers: dict[int, int] = field(default_factory=dict)
    thread: int = 0
    owner: Any = None
    depth: int = 0

    @property
    def is_over(self) -> bool:
        return not self.readers and self.depth == 0


_lock = threading.Lock()
_uses: dict[int, _Uses] = {}


class _Claim:
    """Use of a model until the end of a with-block; also until the object is deleted, after an interrupt."""

    _held = False

    def __init__(self, model: Any, where: str) -> None:
        # A Python network is one of several that may share the parameters of a network of the core.
        self._model = getattr(model, "core_network", model)
        self._where, self._thread = where, threading.get_ident()

    def __enter__(self) -> None:
        with _lock:
            uses = _uses.get(id(self._model))
            if uses is None:
                uses = _uses[id(self._model)] = _Uses()
            reason = self._refusal(uses)
            if reason is None:
                self._held = True
                self._take(uses)
            elif uses.is_over:
                del _uses[id(self._model)]
        if reason is not None:
            raise OverlapError(f"[{self._where}] {reason}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def __del__(self) -> None:
        self._release()

    def _release(self) -> None:
        if not self._held:
            return
        with _lock:
            self._held = False
            uses = _uses.get(id(self._model))
            if uses is not None:
                self._give_back(uses)
                if uses.is_over:
                    del _uses[id(self._model)]

    def _refusal(self, uses: _Uses) -> str | None:
        raise NotImplementedError

    def _take(self, uses: _Uses) -> None:
        raise NotImplementedError

    def _give_back(self, uses: _Uses) -> None:
        raise NotImplementedError


class reading(_Claim):
    """Claim of a call that needs parameters that stay as they are, such as a phase; threads may share it.

    Raises
    ------
    OverlapError
        If another thread trains the model.
    """

    def _refusal(self, uses: _Uses) -> str | None:
        if uses.depth and uses.thread != self._thread:
            return (
                "The parameters of a model stay as they are during a call. Received a model that another "
                "thread trains: call this after its training, or give the thread a copy of the model."
            )
        return None

    def _take(self, uses: _Uses) -> None:
        uses.readers[self._thread] = uses.readers.get(self._thread, 0) + 1

    def _give_back(self, uses: _Uses) -> None:
        left = uses.readers.pop(self._thread, 1) - 1
        if left:
            uses.readers[self._thread] = left


class updating(_Claim):
    """Claim of a call that changes parameters, for one owner, such as a trainer, in one thread.

    Without an owner, the call may be part of that of any owner in the same thread.

    Raises
    ------
    OverlapError
        If a phase of the model is running, or another owner or another thread trains it.
    """

    def __init__(self, model: Any, where: str, owner: Any = None) -> None:
        super().__init__(model, where)
        self._owner = owner

    def _refusal(self, uses: _Uses) -> str | None:
        rule = "One training at a time changes the parameters of a model. Received a model"
        if uses.depth and uses.thread != self._thread:
            return f"{rule} that another thread trains: call this after its training, or train a copy."
        if uses.depth and self._owner is not None and uses.owner is not self._owner:
            return f"{rule} that another trainer is training: call this after its training, or train a copy."
        if uses.readers:
            return (
                "Parameters change only while no phase uses them. Received a model with a phase that is "
                "running: call this after the phase, or train a copy of the model."
            )
        return None

    def _take(self, uses: _Uses) -> None:
        owner = self._owner if uses.depth == 0 else uses.owner
        uses.thread, uses.owner, uses.depth = self._thread, owner, uses.depth + 1

    def _give_back(self, uses: _Uses) -> None:
        uses.depth -= 1
        if uses.depth == 0:
            uses.thread, uses.owner = 0, None


def _after_fork() -> None:
    """Forget, in a child process, the calls of the threads that it does not have."""
    global _lock
    _lock, me = threading.Lock(), threading.get_ident()
    for key, uses in list(_uses.items()):
        uses.readers = {thread: count for thread, count in uses.readers.items() if thread == me}
        if uses.thread != me:
            uses.thread, uses.owner, uses.depth = 0, None, 0
        if uses.is_over:
            del _uses[key]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
