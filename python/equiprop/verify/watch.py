"""Limits of time, and lines of progress, for checks that take long."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

#: Seconds between two texts on the progress of a loop.
_PAUSE = 0.5


class TimeUp(BaseException):
    """Raised in a computation when its time is up."""


class Clock:
    """A limit of the time from now on.

    In the main thread a computation ends at the limit, like at Ctrl-C, by `TimeUp`. In other threads, to
    which Python delivers no signals, `up` is the only sign.

    Parameters
    ----------
    limit : float, optional
        Seconds; None for no limit.
    """

    def __init__(self, limit: float | None) -> None:
        self.limit: float | None = limit
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._running = self._sent = self._received = False

    @property
    def up(self) -> bool:
        """True once the time is up."""
        return self.limit is not None and time.monotonic() - self._start >= self.limit

    @contextmanager
    def running(self) -> Iterator[None]:
        """Raise `TimeUp` in the block at the limit."""
        if self.limit is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        kept: Any = signal.getsignal(signal.SIGINT)
        timer = threading.Timer(max(0.0, self.limit - (time.monotonic() - self._start)), self._send)
        self._running, self._sent, self._received = True, False, False
        signal.signal(signal.SIGINT, lambda number, frame: self._receive(kept, number, frame))
        try:
            try:
                timer.start()
                yield
            finally:
                with self._lock:  # the last point at which the handler can raise
                    self._running = False
        finally:
            self._running = False
            timer.cancel()
            while self._sent and not self._received:  # the handler has still to run
                time.sleep(1e-3)
            signal.signal(signal.SIGINT, signal.SIG_DFL if kept is None else kept)

    def _send(self) -> None:
        with self._lock:
            if self._running:
                self._sent = True
                _thread.interrupt_main()

    def _receive(self, kept: Any, number: int, frame: Any) -> None:
        """Raise `TimeUp` for the signal of the timer; treat any other as it was treated before."""
        if self._sent and not self._received:
            self._received = True
            if self._running:
                raise TimeUp
        elif callable(kept):
            kept(number, frame)
        elif kept is signal.SIG_DFL:
            raise KeyboardInterrupt


#: Function of (finished, all) that shows the progress of the innermost loop, or None.
_shown: ContextVar[Callable[[int, int], None] | None] = ContextVar("shown", default=None)


def tracked(entries: Sequence[T]) -> Iterator[T]:
    """Yield the entries, and show how many are finished if a `progress_lines` block is active."""
    show = _shown.get()
    for k, entry in enumerate(entries):
        if show is not None:
            show(k, len(entries))
        yield entry


@contextmanager
def progress_lines(name: str, wanted: bool) -> Iterator[Callable[[str], None]]:
    """Show on stderr that a check runs, and in its loops the remaining time; yield a function of the result.

    Parameters
    ----------
    name : str
        Name of the check.
    wanted : bool
        If False, nothing is shown.
    """
    if not wanted:
        yield lambda _: None
        return
    line, start = _Line(name), time.monotonic()
    token = _shown.set(line.show)
    line.write("...")
    try:
        yield lambda result: line.write(f"{result}, {time.monotonic() - start:.1f} s")
    finally:
        _shown.reset(token)
        line.end()


class _Line:
    """One line on stderr that is written again and again."""

    def __init__(self, name: str) -> None:
        self._name, self._width, self._begun, self._last = name, 0, 0.0, 0.0

    def show(self, finished: int, number: int) -> None:
        now = time.monotonic()
        if not finished:
            self._begun = now
        elif now - self._last >= _PAUSE:
            self._last = now
            left = (now - self._begun) / finished * (number - finished)
            self.write(f"{finished} of {number}, about {left:.0f} s left in this loop")

    def write(self, text: str) -> None:
        line = f"{self._name}: {text}"
        sys.stderr.write(f"\r{line:<{self._width}}")
        sys.stderr.flush()
        self._width = len(line)

    def end(self) -> None:
        sys.stderr.write("\n")
        sys.stderr.flush()
