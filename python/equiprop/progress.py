"""Progress bars with the remaining time, which appear after two seconds (extra ``progress``)."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Any, TypeVar

from equiprop.checks import check_flag

T = TypeVar("T")

#: Seconds before a bar appears.
DELAY = 2.0
#: Label of the bars of `tracked` loops, or None if they show none.
_label: ContextVar[str | None] = ContextVar("label", default=None)


def on_terminal() -> bool:
    """Return True if a command should show bars: stderr is a terminal, and tqdm is installed."""
    return sys.stderr is not None and sys.stderr.isatty() and find_spec("tqdm") is not None


class Bar:
    """A bar on stderr, which appears once the loop has taken `DELAY` seconds.

    Parameters
    ----------
    kind : class, optional
        tqdm, or None to show nothing.
    total : int, optional
        Number of units of the whole loop; None if it is not known.
    label : str
        Text in front of the bar, which may be changed.
    options : mapping
        Further arguments of tqdm.
    """

    def __init__(self, kind: Any, total: int | None, label: str, options: dict[str, Any]) -> None:
        self.label: str = label
        self._kind, self._total, self._options = kind, total, options
        self._count = self._options.get("initial", 0)
        self._start = time.monotonic()
        self._bar: Any = None

    def advance(self, count: int = 1) -> None:
        """Count units that are done."""
        if self._kind is None:
            return
        self._count += count
        if self._bar is not None:
            self._bar.set_description(self.label, refresh=False)
            self._bar.update(count)
        elif (elapsed := time.monotonic() - self._start) >= DELAY:
            self._bar = self._kind(total=self._total, desc=self.label, leave=False, **self._options)
            self._bar.start_t -= elapsed  # so that rate and remaining time are those of the whole loop
            self._bar.n = self._count
            self._bar.refresh()

    def close(self) -> None:
        """Remove the bar from the screen."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress_bar(
    wanted: bool, total: int | None, label: str, unit: str = "batch", **options: Any
) -> Iterator[Bar]:
    """Show a bar in the block if `wanted` is True; raise ImportError if tqdm is then not installed."""
    check_flag(wanted, "progress", "progress")
    bar = Bar(_tqdm() if wanted else None, total, label, {"unit": unit, **options})
    try:
        yield bar
    finally:
        bar.close()


def _tqdm() -> Any:
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError(
            "[progress] progress=True needs tqdm, which is not installed. "
            "Install it with pip install 'equiprop[progress]'."
        ) from error
    return tqdm


@contextmanager
def shown(label: str, wanted: bool) -> Iterator[None]:
    """Let the `tracked` loops of the block show a bar with this label if `wanted` is True."""
    token = _label.set(label if wanted else None)
    try:
        yield
    finally:
        _label.reset(token)


def tracked(entries: Iterable[T], total: int | None, unit: str = "batch") -> Generator[T, None, None]:
    """Yield entries, and show how many of `total` are done if a block of `shown` wants it."""
    label = _label.get()
    with progress_bar(label is not None, total, label or "", unit) as bar:
        for entry in entries:
            yield entry
            bar.advance()


def beside_bars() -> AbstractContextManager[None]:
    """Return a context in which a line can be printed: it removes the bars, and then shows them again."""
    module = sys.modules.get("tqdm")
    return nullcontext() if module is None else module.tqdm.external_write_mode()
