"""The command ``equiprop compare``, which prints the settings and the results in which runs differ."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from equiprop.checks import require
from equiprop.cli.console import say, say_json
from equiprop.cli.data import user_path
from equiprop.cli.markup import printable
from equiprop.cli.options import Options
from equiprop.cli.run_reader import Run, is_run, read_run, settings_that_differ
from equiprop.progress import tracked


def add_compare(command: argparse.ArgumentParser, _: Options) -> None:
    """Declare the arguments of the command."""
    command.add_argument(
        "runs", type=user_path, nargs="+", metavar="RUN", help="folder of a run; two or more"
    )
    command.set_defaults(run=run_compare)


def run_compare(options: argparse.Namespace) -> int:
    """Print the comparison, and return the exit status."""
    folders: list[Path] = options.runs
    require(len(folders) > 1, "compare", "Two or more runs are compared", "one")
    for folder in folders:
        known = folder.is_dir() and is_run(folder)
        require(known, "compare", "RUN is the folder of a run", repr(str(folder)))
    read = tracked(folders, len(folders), "run")
    runs = [read_run(folder, str(folder)) for folder in read]
    if options.json:
        say_json("compare", {"runs": list(map(_as_dict, runs)), "settings": settings_that_differ(runs)})
    else:
        for line in _lines(runs):
            say(line)
    return 0


def _as_dict(run: Run) -> dict[str, Any]:
    texts = {"name": run.name, "end": run.end, "faults": run.faults, "options": run.options}
    return {**run.summary(), **texts, "warnings": run.warnings}


def _lines(runs: Sequence[Run]) -> Iterator[str]:
    numbers = [str(k) for k in range(1, len(runs) + 1)]
    for k, run in zip(numbers, runs, strict=True):
        yield f"{k}: {printable(run.name)}"
    differ = settings_that_differ(runs)
    settings = [
        (printable(name), [printable(_short(value)) for value in row]) for name, row in differ.items()
    ]
    summaries = [run.summary() for run in runs]
    results = [(name, [value_text(summary[name]) for summary in summaries]) for name in summaries[0]]
    for title, rows in (("settings that differ", settings), ("results", results)):
        yield ""
        if not rows:
            yield f"{title}: none"
            continue
        cells = [[title, *numbers], *([name, *values] for name, values in rows)]
        widths = [max(len(row[k]) for row in cells) for k in range(len(numbers) + 1)]
        for row in cells:
            first, *rest = zip(row, widths, strict=True)
            columns = [f"{text:>{width}}" for text, width in rest]
            yield "  ".join([f"{first[0]:<{first[1]}}", *columns])
    yield from _notes(runs)


def _notes(runs: Sequence[Run]) -> Iterator[str]:
    """Yield why runs were not completed, their warnings, and what is damaged."""
    for k, run in enumerate(runs, 1):
        for text in (*filter(None, [run.end]), *(f"warning: {text}" for text in run.warnings), *run.faults):
            yield f"\n{k}: {text}"


def value_text(value: Any) -> str:
    """Return a result as text; a dash stands for None."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
