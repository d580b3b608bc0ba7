"""Settings of a run as a file: written for every run, and read by ``--config``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from equiprop.checks import require
from equiprop.cli.data import DATA, user_path
from equiprop.config import __version__
from equiprop.json_text import not_too_deep, parse
from equiprop.paths import file_errors

#: Options of one call of the command, which are no settings of the run.
_OF_THE_CALL = {"output", "overwrite", "resume", "config", "json"}


def settings_of(options: argparse.Namespace, trainer: Any) -> dict[str, Any]:
    """Return the settings of a run for its settings.json.

    Parameters
    ----------
    options : Namespace
    trainer : Trainer
        Its parts are described for the reader; ``--config`` does not read this.
    """
    values: Mapping[str, Any] = {"data": _data(options.data), **options.effective}
    own = {name: _plain(value) for name, value in values.items() if name not in _OF_THE_CALL}
    parts = ("model", "second_phase", "optimizer", "cost", "solver")
    return {
        "command": options.command,
        "version": __version__,
        "options": own,
        "trainer": {name: repr(getattr(trainer, name)) for name in parts},
    }


def _data(name: str) -> str:
    """Return the name of a data set, or the absolute path of a file, which is valid in every folder."""
    return name if name in DATA else str(user_path(name).absolute())


def _plain(value: Any) -> Any:
    return str(value.absolute()) if isinstance(value, Path) else value


def words_of(path: Path) -> list[str]:
    """Return the words of a command line for the settings in a file, JSON or TOML.

    The file has the names of the options as keys, with ``_`` or ``-``, at the top or below ``options``.

    Raises
    ------
    ValueError
        If the file is neither JSON nor TOML, or is not of this form.
    OSError
        If the file cannot be read.
    """
    content = _content(path)
    options = content.get("options", content) if isinstance(content, dict) else None
    require(isinstance(options, dict), "train", "--config holds options by name", f"'{path}'")
    assert isinstance(options, dict)
    data = options.get("data")
    words = [] if data is None else [str(data)]
    for name, value in options.items():
        if name != "data":
            words += _option(name, value, path)
    return words


def _option(name: str, value: Any, path: Path) -> list[str]:
    known = name.replace("-", "_") not in _OF_THE_CALL and isinstance(
        value, bool | int | float | str | list | None
    )
    require(known, "train", "--config holds settings of a run", f"{name} = {value!r} in '{path}'")
    flag = f"--{name.replace('_', '-')}"
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    return [flag, *map(str, value)] if isinstance(value, list) else [f"{flag}={value}"]


def _content(path: Path) -> Any:
    with file_errors(path, "train"):
        content = path.read_bytes()
    read: Any = parse
    if path.suffix == ".toml":
        try:
            from tomllib import loads
        except ImportError:
            rule = "[train] Python 3.11 or later reads TOML."
            raise ValueError(f"{rule} Received '{path}'; write it as JSON.") from None
        read = partial(not_too_deep, loads)
    try:
        return read(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"[train] --config is a JSON or .toml file. Received '{path}': {error}.") from error
