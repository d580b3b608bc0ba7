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
    """The claims on one model at present.

    Attributes
    ----------
    readers, writers : dict of object to int
        Threads of the claims of phases, and of calls that may change the parameters, by the claims' tokens.
    owner
        Trainer of the writers, all of which are in one thread.
    """

    readers: dict[object, int] = field(default_factory=dict)
    writers: dict[object, int] = field(default_factory=dict)
    owner: Any = None

    @property
    def is_over(self) -> bool:
        return not (self.readers or self.writers)

    def are_written_elsewhere(self, thread: int) -> bool:
        return any(writer != thread for writer in self.writers.values())


#: A claim may be deleted, and so released, within a block of the same thread that holds the lock.
_lock = threading.RLock()
_models: dict[int, _Uses] = {}


class _Claim:
    """Use of a model until the end of a with-block; also until the object is deleted, after an interrupt.

    A release that has failed, such as for want of memory, can be repeated.
    """

    _uses: _Uses | None = None

    def __init__(self, model: Any, where: str) -> None:
        # A Python network is one of several that may share the parameters of a network of the core.
        self._model = getattr(model, "core_network", model)
        self._key, self._token = id(self._model), object()
        self._where, self._thread = where, threading.get_ident()

    def __enter__(self) -> None:
        with _lock:
            uses = _models.get(self._key)
            if uses is None:
                uses = _models[self._key] = _Uses()
            self._uses = uses
            reason = self._refusal(uses)
            if reason is None:
                self._take(uses)
        if reason is not None:
            self._release()
            raise OverlapError(f"[{self._where}] {reason}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def __del__(self) -> None:
        self._release()

    def _release(self) -> None:
        uses = self._uses
        if uses is None:
            return
        with _lock:
            uses.readers.pop(self._token, None)
            uses.writers.pop(self._token, None)
            if not uses.writers:
                uses.owner = None
            if uses.is_over and _models.get(self._key) is uses:
                del _models[self._key]
            self._uses = None

    def _refusal(self, uses: _Uses) -> str | None:
        raise NotImplementedError

    def _take(self, uses: _Uses) -> None:
        raise NotImplementedError


class reading(_Claim):
    """Claim of a call that needs parameters that stay as they are, such as a phase; threads may share it.

    Raises
    ------
    OverlapError
        If another thread trains the model.
    """

    def _refusal(self, uses: _Uses) -> str | None:
        if uses.are_written_elsewhere(self._thread):
            return (
                "The parameters of a model stay as they are during a call. Received a model that another "
                "thread trains: call this after its training, or give the thread a copy of the model."
            )
        return None

    def _take(self, uses: _Uses) -> None:
        uses.readers[self._token] = self._thread


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
        if uses.are_written_elsewhere(self._thread):
            return f"{rule} that another thread trains: call this after its training, or train a copy."
        if uses.writers and self._owner is not None and uses.owner is not self._owner:
            return f"{rule} that another trainer is training: call this after its training, or train a copy."
        if uses.readers:
            return (
                "Parameters change only while no phase uses them. Received a model with a phase that is "
                "running: call this after the phase, or train a copy of the model."
            )
        return None

    def _take(self, uses: _Uses) -> None:
        if not uses.writers:
            uses.owner = self._owner
        uses.writers[self._token] = self._thread


def _after_fork() -> None:
    """Forget, in a child process, the calls of the threads that it does not have."""
    global _lock
    _lock, me = threading.RLock(), threading.get_ident()
    for key, uses in list(_models.items()):
        for claims in (uses.readers, uses.writers):
            for token in [token for token, thread in claims.items() if thread != me]:
                del claims[token]
        if not uses.writers:
            uses.owner = None
        if uses.is_over:
            del _models[key]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
