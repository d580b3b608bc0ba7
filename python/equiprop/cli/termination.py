"""Signals that end a command: at once by an exception, or, during training, at the end of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: The signals: Ctrl-C, `kill` or a job scheduler, and the end of a terminal (not on Windows).
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(KeyboardInterrupt):
    """Raised when the process receives one of the signals.

    Attributes
    ----------
    number : int
        Number of the signal.
    together : bool
        True if all processes that train together end after one step.
    """

    def __init__(self, number: int, *, together: bool = False) -> None:
        super().__init__(number)
        self.number = number
        self.together = together

    def __str__(self) -> str:
        return {"SIGINT": "interrupted", "SIGHUP": "the terminal was closed"}.get(
            signal.Signals(self.number).name, "terminated"
        )


class Deferral:
    """A request to end that waits for a point at which nothing is lost.

    Attributes
    ----------
    number : int, optional
        Number of the first signal that was received.
    saving : bool
        True while results are saved, so that no signal interrupts it.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.saving = False


#: The innermost `Deferral`; a handler of signals has no other access to it.
_deferrals: list[Deferral] = []


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` at the first of the signals; ignore further ones, which would interrupt the saving.

    A signal that the parent of the process ignores, as nohup does, stays ignored. Python handles signals in
    the main thread only; in another thread the block runs unchanged.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {n: signal.getsignal(n) for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN}
    ended: list[int] = []
    for number in kept:
        signal.signal(number, lambda received, _: _handle(received, ended))
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _handle(number: int, ended: list[int]) -> None:
    deferral = _deferrals[-1] if _deferrals else None
    if deferral is not None and (deferral.number is None or deferral.saving):
        deferral.number = deferral.number or number
        return
    if not ended or deferral is not None:
        ended.append(number)
        raise Terminated(number)


@contextmanager
def deferred() -> Iterator[Deferral]:
    """Note the first signal in the `Deferral` that is returned; a second one raises `Terminated` at once."""
    deferral = Deferral()
    _deferrals.append(deferral)
    try:
        yield deferral
    finally:
        _deferrals.remove(deferral)


def exit_status(error: KeyboardInterrupt) -> int:
    """Return the exit status of a process that ended by a signal: 128 + its number, as shells have it."""
    return 128 + (error.number if isinstance(error, Terminated) else int(signal.SIGINT))


def reason(error: KeyboardInterrupt) -> str:
    """Return the reason of the end as a word, with what the command had finished, without a dot."""
    word = str(error) if isinstance(error, Terminated) else "interrupted"
    texts = [text for text in error.args if isinstance(text, str) and text != word]
    return ": ".join([word, *texts])
