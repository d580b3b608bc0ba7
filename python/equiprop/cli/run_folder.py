"""Files of a training run; only a complete run replaces an existing model."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equiprop.checkpoint import save
from equiprop.models import HopfieldNetwork


class RunFolder:
    """The folder of a run, with model.safetensors and history.jsonl of the last complete run.

    During a run, its history is written to unfinished.jsonl, or to unfinished-2.jsonl and so on if earlier
    runs left such files. The first file is written after the first epoch.

    Parameters
    ----------
    folder : Path
        The folder; it is created with the first file.

    Raises
    ------
    ValueError
        If the folder cannot be created or written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model: Path = folder / "model.safetensors"
        self.history: Path = folder / "history.jsonl"
        self._running: Path | None = None  # history of this run
        _check_writable(folder)

    def record(self, epoch: Mapping[str, Any]) -> None:
        """Append an epoch to the history of this run."""
        if self._running is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._running = self._unused().with_suffix(".jsonl")
        with self._running.open("a") as stream:
            stream.write(json.dumps(epoch) + "\n")

    def complete(self, net: HopfieldNetwork) -> None:
        """Save the model, and rename the history, as those of a complete run."""
        save(net, self.model)
        if self._running is not None:
            self._running.replace(self.history)

    def keep(self, net: HopfieldNetwork | None, *, beside: bool) -> list[Path]:
        """Save the results of an incomplete run, and return their files.

        Parameters
        ----------
        net : HopfieldNetwork, optional
            Model to save; None to save the history only.
        beside : bool
            If True, use other names than those of a complete run. If False, use the names of a complete run
            unless one of these files exists.
        """
        model, history = self.model, self.history
        if beside or model.exists() or history.exists():
            history = self._running or self._unused().with_suffix(".jsonl")
            model = history.with_suffix(".safetensors")
        files = []
        if net is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            files.append(save(net, model))
        if self._running is not None:
            files.append(self._running.replace(history))
        return files

    def _unused(self) -> Path:
        """Return a path without suffix for which neither a model nor a history exists."""
        for number in itertools.count(1):
            path = self.folder / ("unfinished" if number == 1 else f"unfinished-{number}")
            if not any(path.with_suffix(suffix).exists() for suffix in (".safetensors", ".jsonl")):
                return path
        raise AssertionError


def _check_writable(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        reason = "cannot be written to" if existing.is_dir() else "is a file"
        raise ValueError(
            "[train] --output is a folder that can be created and written to. "
            f"Received {str(folder)!r}, but {str(existing)!r} {reason}."
        )
