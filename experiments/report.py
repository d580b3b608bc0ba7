"""Write docs/results.md from the files in experiments/results: python experiments/report.py."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ernoult2019_mnist
import laborieux2021_cifar10
import laborieux_zenke2022_cifar10
import scellier2017_mnist
import scellier2023_cifar10
from common import RESULTS, Case, Experiment, result_file
from equiprop.files import write_text

EXPERIMENTS: list[Experiment] = [
    module.EXPERIMENT
    for module in (
        scellier2017_mnist,
        ernoult2019_mnist,
        laborieux2021_cifar10,
        laborieux_zenke2022_cifar10,
        scellier2023_cifar10,
    )
]
DOCUMENT = Path(__file__).parents[1] / "docs" / "results.md"

COLUMNS = ["case", "network", "nudging", "batch", "data", "epochs", "training error", "test error", "s"]

HEAD = """# Experiments of the literature

`experiments/` has one program for each paper, with the settings of its table. A full run needs the
published data; a quick run (`--quick`) takes 2000 images, for most cases fewer epochs, and small networks in
place of the largest ones.
It needs no data: without `--data` it trains on the digits of scikit-learn. Errors of quick runs show
whether the settings learn; they are no results of the papers. `python experiments/report.py` writes this
page from the files in `experiments/results`.

"Published" are test errors that the abstract of a paper or the logs of its authors state. Seconds are
processor time.
"""


def write(results: Path = RESULTS, document: Path = DOCUMENT) -> None:
    """Write the page."""
    write_text(document, page(results), "report")


def page(results: Path = RESULTS) -> str:
    """Return the text of the page."""
    sections = [part for experiment in EXPERIMENTS for part in section(experiment, results)]
    return "\n".join([HEAD, *sections, *not_run(results)])


def section(experiment: Experiment, results: Path) -> Iterator[str]:
    """Yield the parts of the page about one experiment."""
    yield f"## {experiment.paper}\n\n`experiments/{experiment.name}.py`. {experiment.known}\n"
    yield "\n".join(f"- {sentence}" for sentence in experiment.differences) + "\n"
    published = [f"{case.name}: {case.published}" for case in experiment.cases if case.published]
    if published:
        yield f"Published: {'; '.join(published)}.\n"
    for quick in (False, True):
        content = stored(experiment, quick, results)
        if content is not None:
            yield from runs(experiment, content)


def stored(experiment: Experiment, quick: bool, results: Path) -> dict[str, Any] | None:
    """Return the content of a file of results, or None if there is none."""
    file = result_file(experiment, quick, results)
    return json.loads(file.read_text()) if file.exists() else None


def runs(experiment: Experiment, content: dict[str, Any]) -> Iterator[str]:
    """Yield the table of a file of results, and what it says about failures and warnings."""
    machine, options = content["machine"], content["options"]
    kind = "Quick run" if options["quick"] else "Full run"
    yield (
        f"{kind}, seed {options['seed']}, {machine['processor']}, {machine['threads']} thread"
        f"{'s' if machine['threads'] > 1 else ''}, equiprop {machine['version']}:\n"
    )
    cases = {case.name: case for case in experiment.cases}
    head = [
        "case",
        "network",
        "nudging",
        "batch",
        "data",
        "epochs",
        "training error",
        "test error",
        "s",
    ]
    yield table([head, *(row(run, cases[run["case"]]) for run in content["runs"])])
    for run in content["runs"]:
        if run["failure"]:
            yield f"{run['case']} ended with an error: {run['failure']}\n"
    notes = [
        f"- {run['case']}: {first_sentence(text)}" for run in content["runs"] for text in run["warnings"]
    ]
    if notes:
        yield "Warnings of these runs:\n\n" + "\n".join(notes) + "\n"


def first_sentence(text: str) -> str:
    """Return the first sentence of a warning."""
    return text.splitlines()[0].split(". ")[0].removesuffix(".") + "."


def row(run: dict[str, Any], case: Case) -> list[str]:
    """Return the cells of one run."""
    settings, data, last = run["settings"], run["data"], (run["epochs"] or [None])[-1]
    images = f"{data['name']}{' (substitute)' if data['substitute'] else ''}, {data['train']}"
    errors = (
        ["", ""] if last is None else [f"{100 * last[name]:.2f} %" for name in ("train_error", "test_error")]
    )
    return [
        run["case"],
        settings["network"].removeprefix("HopfieldNetwork(").split(",")[0],
        settings["nudging"],
        str(settings["batch_size"]),
        images,
        f"{len(run['epochs'])} of {case.epochs}",
        *errors,
        f"{run['seconds']:.0f}",
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of rows of equal length; the first one is its head."""
    assert len(set(map(len, rows))) == 1
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def not_run(results: Path) -> Iterator[str]:
    """Yield the list of what was not run."""
    yield "## What was not run\n"
    for experiment in EXPERIMENTS:
        for quick in (False, True):
            content = stored(experiment, quick, results)
            done = [] if content is None else [run["case"] for run in content["runs"] if finished(run)]
            rest = [case.name for case in experiment.cases if case.name not in done]
            if rest:
                kind = "quick" if quick else "full"
                yield f"- `{experiment.name}`, {kind}: {'; '.join(rest)}."
    yield ""


def finished(run: dict[str, Any]) -> bool:
    """Return True if a run took all of its epochs."""
    return run["failure"] is None and len(run["epochs"]) == run["settings"]["epochs"]


if __name__ == "__main__":
    argparse.ArgumentParser(description="Write docs/results.md from the stored results.").parse_args()
    write()
