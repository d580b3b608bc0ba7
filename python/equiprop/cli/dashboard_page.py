"""The page of ``equiprop dashboard``: runs, curves, settings that differ, health and certificates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from equiprop.cli.chart import COLOURS, Line, chart, stroke
from equiprop.cli.compare import value_text
from equiprop.cli.markup import text_of
from equiprop.cli.run_reader import Run, StoredCertificate, settings_that_differ
from equiprop.config import __version__
from equiprop.verify.style import STYLE, head

_STYLE = "\n".join(
    [
        STYLE,
        "body { max-width: 80rem; } .charts { display: grid; gap: 1rem; ",
        "  grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }",
        ".charts figure { margin: 0; } .charts .chart { width: 100%; max-width: none; height: auto; }",
        ".chart { font-size: 12px; }",
        ".chart text { fill: var(--ink); } .grid { stroke: var(--faint); stroke-width: .6; }",
        ".line { fill: none; stroke-width: 1.8; } .chart g:hover .line { stroke-width: 4; }",
        ".wide table { width: auto; min-width: 100%; } .wide td { white-space: nowrap; }",
        ".wide th { vertical-align: bottom; overflow-wrap: normal; }",
        ".wide td.name { white-space: normal; min-width: 9rem; } .swatch { vertical-align: middle; }",
        *(f".c{k} {{ stroke: var(--series{k}); }}" for k in range(COLOURS)),
        *(f".dot.c{k} {{ fill: var(--series{k}); }}" for k in range(COLOURS)),
    ]
)
#: Curves: name in the history, title, caption.
_CURVES = (
    ("test_error", "Test error", "Error on the test data after each epoch."),
    ("train_error", "Training error", "Mean error of the steps of each epoch."),
    ("validation_error", "Validation error", "Error on the held-out data after each epoch."),
    ("objective", "Objective", "Mean cost of the free states in each epoch."),
)
#: Style of the state of a run.
_STATES = {"finished": "holds", "failed": "fails", "not finished": "incomplete"}
#: Results in the table of runs, and their headings.
_RESULTS = {
    "epochs": "epochs",
    "test_error": "test error",
    "train_error": "training error",
    "validation_error": "best validation error",
    "best_epoch": "best epoch",
    "objective": "objective",
    "seconds": "seconds",
    "unconverged": "unconverged samples",
    "warnings": "warnings",
}


def page(folder: str, runs: Sequence[Run], certificates: Sequence[StoredCertificate]) -> str:
    """Return the page on all runs and certificates below a folder, one HTML file without scripts."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    shown = now.replace("T", " ").replace("+00:00", " UTC")
    count = f"{len(runs)} run{'s' if len(runs) != 1 else ''}"
    parts = [
        *head(f"{count} in {text_of(folder)}: equiprop dashboard", _STYLE, strict=True),
        f'<main><header class="verdict"><h1>{count} in {text_of(folder)}</h1>',
        f'<p>equiprop {__version__}, <time datetime="{now}">{shown}</time></p></header>',
        *_runs(runs),
        *_curves(runs),
        *_settings(runs),
        *_health(runs),
        *_certificates(certificates),
        "</main></body></html>",
        "",
    ]
    return "\n".join(parts)


def _table(headings: Sequence[str], rows: Iterator[str]) -> Iterator[str]:
    cells = "".join(f'<th scope="col">{text_of(heading)}</th>' for heading in headings)
    yield f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>'
    yield from rows
    yield "</tbody></table></div>"


def _name(k: int, run: Run) -> str:
    """Return the cells with the line and the name of a run."""
    swatch = '<svg class="swatch" width="30" height="10" aria-hidden="true">'
    line = f'{swatch}<line {stroke(k)} x1="0" x2="30" y1="5" y2="5"/></svg>'
    return f'<td>{k + 1} {line}</td><td class="name">{text_of(run.name)}</td>'


def _runs(runs: Sequence[Run]) -> Iterator[str]:
    yield "<h2>Runs</h2>"
    if not runs:
        yield "<p>The folder holds no run: no settings.json, history.jsonl or result.json.</p>"
        return
    rows = (_row(k, run) for k, run in enumerate(runs))
    yield from _table(["", "run", "state", *_RESULTS.values()], rows)
    yield (
        '<p class="quiet">Errors are fractions of misclassified samples, or root mean squared errors of real '
        "targets. The best epoch has the lowest validation error, or without one the lowest objective.</p>"
    )


def _row(k: int, run: Run) -> str:
    summary = run.summary()
    cells = [f'<td class="number">{text_of(value_text(summary[name]))}</td>' for name in _RESULTS]
    state = f'<td class="{_STATES[summary["state"]]}">{summary["state"]}</td>'
    return f"<tr>{_name(k, run)}{state}{''.join(cells)}</tr>"


def _curves(runs: Sequence[Run]) -> Iterator[str]:
    drawn = [
        chart(title, [Line(k, run.name, run.curve(name)) for k, run in enumerate(runs)], caption)
        for name, title, caption in _CURVES
    ]
    if any(drawn):
        yield f'<h2>Learning curves</h2><div class="charts">{"".join(drawn)}</div>'


def _settings(runs: Sequence[Run]) -> Iterator[str]:
    values = settings_that_differ(runs)
    yield "<h2>Settings that differ</h2>"
    if not values:
        yield "<p>None.</p>"
        return
    rows = (
        f"<tr>{_name(k, run)}{''.join(f'<td>{_setting(row[k])}</td>' for row in values.values())}</tr>"
        for k, run in enumerate(runs)
    )
    yield from _table(["", "run", *values], rows)


def _setting(value: Any) -> str:
    return text_of("-" if value is None else value if isinstance(value, str) else json.dumps(value))


def _health(runs: Sequence[Run]) -> Iterator[str]:
    """Yield what went wrong: the end of runs that were not completed, warnings, and damaged files."""
    yield "<h2>Health</h2>"
    ill = [(k, run) for k, run in enumerate(runs) if run.end or run.warnings or run.faults]
    if not ill:
        yield "<p>No run has a warning, an error or a damaged file.</p>"
        return
    yield '<ul class="advice">'
    for k, run in ill:
        for text in (*filter(None, [run.end]), *run.warnings, *run.faults):
            yield f"<li><b>{k + 1}: {text_of(run.name)}</b>: {text_of(text)}</li>"
    yield "</ul>"


def _certificates(certificates: Sequence[StoredCertificate]) -> Iterator[str]:
    yield "<h2>Certificates</h2>"
    if not certificates:
        yield "<p>The folder holds no certificate in a .json file.</p>"
        return
    rows = map(_certificate, certificates)
    yield from _table(["file", "outcome", "verdict", "date"], rows)
    yield '<p class="quiet">As stored. <code>equiprop verify --replay FILE</code> repeats the checks.</p>'


def _certificate(certificate: StoredCertificate) -> str:
    outcome = {True: "holds", False: "fails", None: "damaged"}[certificate.passed]
    css = "holds" if certificate.passed else "fails"
    cells = [f'<td class="name">{text_of(certificate.name)}</td>', f'<td class="{css}">{outcome}</td>']
    cells += [f'<td class="name">{text_of(certificate.verdict)}</td><td>{text_of(certificate.date)}</td>']
    return f"<tr>{''.join(cells)}</tr>"
