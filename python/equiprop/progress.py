"""Progress bars of long loops (extra ``progress``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def progress_bar(steps: Iterable[int], label: str, wanted: bool) -> Iterator[int]:
    """Return an iterator over ``steps``, with a bar on the screen if it is wanted."""
    if not wanted:
        return iter(steps)
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError(
            "[Trainer.fit] A progress bar needs tqdm. Install it with pip install 'equiprop[progress]'."
        ) from error
    return iter(tqdm(steps, desc=label, leave=False, unit="batch"))
