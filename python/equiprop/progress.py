"""Progress bars of long loops (extra ``progress``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from equiprop.checks import check_flag

T = TypeVar("T")


def progress_bar(steps: Iterable[T], label: str, wanted: bool, unit: str = "batch") -> Iterator[T]:
    """Return an iterator over ``steps`` that shows a tqdm bar named ``label`` if ``wanted`` is true."""
    check_flag(wanted, "progress", "progress")
    if not wanted:
        return iter(steps)
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError(
            "[progress] progress=True needs tqdm, which is not installed. "
            "Install it with pip install 'equiprop[progress]'."
        ) from error
    return iter(tqdm(steps, desc=label, leave=False, unit=unit))
