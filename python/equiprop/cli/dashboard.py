"""The command ``equiprop dashboard``, which writes one page on all runs below a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from equiprop.checks import require
from equiprop.cli.console import say, say_json
from equiprop.cli.dashboard_page import page
from equiprop.cli.data import user_path
from equiprop.cli.markup import printable
from equiprop.cli.options import Options
from equiprop.cli.run_reader import (
    Run,
    StoredCertificate,
    folders_below,
    is_run,
    read_certificate,
    read_run,
)
from equiprop.files import write_text
from equiprop.paths import file_errors
from equiprop.progress import tracked


def add_dashboard(command: argparse.ArgumentParser, options: Options) -> None:
    """Declare the arguments of the command."""
    command.add_argument(
        "folder", type=user_path, help="folder with run folders and certificates, at any depth"
    )
    options.add(
        "--output",
        short="-o",
        type=user_path,
        metavar="FILE",
        help="page to write (default: dashboard.html in the folder)",
    )
    command.set_defaults(run=run_dashboard)


def run_dashboard(options: argparse.Namespace) -> int:
    """Write the page, print its path, and return the exit status."""
    folder: Path = options.folder
    require(folder.is_dir(), "dashboard", "FOLDER is a folder", repr(str(folder)))
    target: Path = folder / "dashboard.html" if options.output is None else options.output
    rule = "--output is a .html file in an existing folder"
    require(target.suffix == ".html" and target.parent.is_dir(), "dashboard", rule, repr(str(target)))
    runs, certificates, faults = _found(folder)
    text = page(folder.resolve().name or str(folder), runs, certificates)
    with file_errors(target, "dashboard", "write"):
        write_text(target, text, "dashboard")
    faults |= {run.name: run.faults for run in runs if run.faults}
    if options.json:
        names = {"runs": [run.name for run in runs], "certificates": [c.name for c in certificates]}
        say_json("dashboard", {"page": str(target), **names, "faults": faults})
    else:
        for name, sentences in faults.items():
            say(f"{printable(name)}: {' '.join(sentences)}")
        say(f"{len(runs)} runs, {len(certificates)} certificates: {target}")
    return 0


def _found(folder: Path) -> tuple[list[Run], list[StoredCertificate], dict[str, list[str]]]:
    """Return runs and certificates below a folder, and sentences on the folders that cannot be read."""
    runs: list[Run] = []
    certificates: list[StoredCertificate] = []
    closed: dict[str, list[str]] = {}
    places = list(folders_below(folder, closed))
    for path, name, files in tracked(places, len(places), "folder"):
        if is_run(path):
            runs.append(read_run(path, name))
        for file in files:
            stored = read_certificate(path / file, (path / file).relative_to(folder).as_posix())
            if stored is not None:
                certificates.append(stored)
    return runs, certificates, closed
