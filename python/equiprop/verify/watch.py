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

from equiprop.checks import real, require

T = TypeVar("T")

#: Largest limit of time in seconds, about three years.
_LONGEST = 1e8
#: Seconds between two texts on the progress of a loop.
_PAUSE = 0.5


class TimeUp(BaseException):
    """Raised in a computation when its time is up."""


def seconds(time_limit: float | None, where: str) -> float | None:
    """Return a limit of time; raise ValueError if it is not positive."""
    if time_limit is None:
        return None
    limit = real(time_limit, where, "time_limit")
    rule = f"time_limit is a positive number of seconds, at most {_LONGEST:g}"
    require(0 < limit <= _LONGEST, where, rule, time_limit)
    return limit


class Clock:
    """A limit of the time from now on.

    In the main thread a computation ends at the limit, like at Ctrl-C, by `TimeUp`. In other threads, to
    which Python delivers no signals, `tracked` raises it before the next entry of a loop.

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
        if self.limit is None:
            yield
            return
        token = _clock.set(self)
        try:
            with self._interrupting():
                yield
        finally:
            _clock.reset(token)

    @contextmanager
    def _interrupting(self) -> Iterator[None]:
        """Raise `TimeUp` in a block of the main thread at the limit."""
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
                _signal_main()

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


def _signal_main() -> None:
    """Send SIGINT to the main thread; a real signal ends its waits, such as those for a device."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


class Parts:
    """The named parts of a check, of which the outermost named loop of `tracked` says which are left."""

    def __init__(self) -> None:
        #: Function that returns the names of the parts that are not finished; None before the first part.
        self.left: Callable[[], list[str]] | None = None
        self.counted: bool = False


#: The limit of time of the innermost block that has one.
_clock: ContextVar[Clock | None] = ContextVar("clock", default=None)
#: The parts of the check that runs, or None.
_parts: ContextVar[Parts | None] = ContextVar("parts", default=None)
#: Function of (finished, all) that shows the progress of the innermost loop, or None.
_shown: ContextVar[Callable[[int, int], None] | None] = ContextVar("shown", default=None)


def tracked(entries: Sequence[T], name: Callable[[T], str] | None = None) -> Iterator[T]:
    """Yield the entries of a loop of a check, end it at the limit of time, and show its progress.

    Parameters
    ----------
    entries : sequence
    name : callable, optional
        Function that returns the name of an entry, if the entries are parts of the check.
    """
    show, clock, parts = _shown.get(), _clock.get(), _parts.get()
    outermost = parts if name is not None and parts is not None and not parts.counted else None
    for k, entry in enumerate(entries):
        if outermost is not None and name is not None:
            outermost.counted = True
            outermost.left = lambda first=k: [name(other) for other in entries[first:]]
        if clock is not None and clock.up:
            raise TimeUp
        if show is not None:
            show(k, len(entries))
        yield entry
    if outermost is not None:
        outermost.left, outermost.counted = list, False


@contextmanager
def parts_of_check() -> Iterator[Parts | None]:
    """Yield the parts of the check in the block, which `tracked` fills; None for a check inside another."""
    outermost = _parts.get() is None
    parts = Parts()
    token = _parts.set(parts)
    try:
        yield parts if outermost else None
    finally:
        _parts.reset(token)


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
        _print(f"\r{line:<{self._width}}")
        self._width = len(line)

    def end(self) -> None:
        _print("\n")


def _print(text: str) -> None:
    if sys.stderr is not None:  # as it is if the shell has closed it
        sys.stderr.write(text)
        sys.stderr.flush()
