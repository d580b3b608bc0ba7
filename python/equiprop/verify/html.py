"""Certificates as HTML pages without scripts or external files, for light and dark screens and for print."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np

from equiprop.config import config
from equiprop.verify.certificate import Case, Certificate
from equiprop.verify.verdict import Row, Verdict

#: Colours of the pictures, which the page replaces by its variables.
_SERIES = [f"#a0b0c{k:x}" for k in range(8)]
_COLOURS = {
    **{colour: f"var(--series{k})" for k, colour in enumerate(_SERIES)},
    "#000000": "var(--ink)",
    "#b3b3b3": "var(--faint)",
    "#cccccc": "var(--faint)",
}

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --paper: #ffffff; --faint: #b9c0c8; --card: #f4f6f8;
  --good: #116329; --bad: #b3261e; --series0: #0b62b8; --series1: #c2500a; --series2: #22763b;
  --series3: #b3261e; --series4: #7a3db8; --series5: #80572e; --series6: #b0387f; --series7: #4d5660; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ed; --paper: #14181d; --faint: #58616c;
  --card: #1e242b; --good: #6fd08c; --bad: #ff8a80; --series0: #6cb2f5; --series1: #f5a262;
  --series2: #6fd08c; --series3: #ff8a80; --series4: #c79bf0; --series5: #d0a878; --series6: #f08cc4;
  --series7: #aab4bf; } }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
.verdict { border-left: .4rem solid var(--good); background: var(--card); padding: .8rem 1.2rem; }
.verdict.fails { border-color: var(--bad); } .verdict strong { color: var(--good); }
.verdict.fails strong { color: var(--bad); }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; flex: 1 1 26rem; max-width: 30rem; } figure svg { width: 100%; height: auto; }
figure svg, figure svg text { fill: var(--ink); }
figcaption { font-size: .9rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid var(--faint);
  vertical-align: top; } td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.holds { color: var(--good); } .fails { color: var(--bad); }
.verdict.fails, .verdict.holds { color: var(--ink); }
ul.advice { border-left: .3rem solid var(--bad); margin: .5rem 0; padding: .3rem 1rem .3rem 2rem; }
code { font-size: .9em; overflow-wrap: anywhere; }
@media print { :root { --ink: #000; --paper: #fff; --faint: #999; --card: #fff; --good: #000; --bad: #000;
  --series0: #0b62b8; --series1: #c2500a; --series2: #22763b; --series3: #b3261e; --series4: #7a3db8;
  --series5: #80572e; --series6: #b0387f; --series7: #4d5660; }
  body { max-width: none; padding: 0; } figure, tr, .verdict { break-inside: avoid; } }
"""


def page(certificate: Certificate) -> str:
    """Return the certificate as an HTML page (extra ``plot``)."""
    state = "holds" if certificate.passed else "fails"
    word = "Verified" if certificate.passed else "Not verified"
    reports = [report for case in certificate.cases for report in case.reports]
    telling = sorted(reports, key=lambda report: (report.passed, report.claim != "equality"))
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{word}: equiprop certificate</title><style>{_STYLE}</style></head><body>",
        f'<header class="verdict {state}"><h1><strong>{word}.</strong> {escape(certificate.verdict)}</h1>',
        f"<p>{escape(telling[0].summary) if telling else ''}</p></header>",
    ]
    for number, case in enumerate(certificate.cases):
        parts += _case(case, number, len(certificate.cases) > 1)
    parts += [
        "<h2>How to repeat this verification</h2>",
        f"<p><code>{escape(certificate.command)}</code></p>",
        *_environment(),
    ]
    return "\n".join([*parts, "</body></html>", ""])


def _case(case: Case, number: int, named: bool) -> Iterator[str]:
    mark = "holds" if case.passed else "fails"
    heading = escape(case.name) if named else f"Network: {escape(case.name)}"
    yield f'<section><h2>{heading} <span class="{mark}">{mark}</span></h2>'
    yield f'<div class="pictures">{"".join(_pictures(case, number))}</div>'
    yield '<h3>Claims</h3><div class="wide"><table>'
    yield "<tr><th>claim</th><th>verdict</th><th>statement</th></tr>"
    for report in case.reports:
        state, text = "holds" if report.passed else "fails", escape(report.statement)
        cells = f'<td class="{state}">{report.outcome}</td><td>{text}</td>'
        yield f"<tr><td>{escape(report.name)}</td>{cells}</tr>"
    for name, reason in case.skipped.items():
        yield f"<tr><td>{escape(name)}</td><td>not claimed</td><td>{escape(reason)}</td></tr>"
    yield "</table></div>"
    for report in case.reports:
        yield from _report(report)
    if case.problem is not None:
        yield f"<p>{len(case.problem.x)} samples, cost {escape(type(case.problem.cost).__name__)}, "
        yield f"fixed point by {escape(repr(case.problem.solver))}.</p>"
    yield "</section>"


def _report(report: Verdict) -> Iterator[str]:
    yield f"<h3>{escape(report.name)}</h3>"
    if report.all_advice():
        yield '<ul class="advice">'
        yield from (f"<li>{escape(sentence)}</li>" for sentence in report.all_advice())
        yield "</ul>"
    yield '<div class="wide"><table class="figures">'
    yield "<tr><th>figure</th><th>value</th><th>limit</th><th></th></tr>"
    yield from map(_row, report.rows)
    yield "</table></div>"
    settings = ", ".join(f"{name} = {_setting(value)}" for name, value in report.settings.items())
    yield f"<p><small>{escape(settings)}</small></p>"


def _setting(value: Any) -> str:
    """Return a setting as text, with the shape of an array in place of its numbers."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_setting(entry)}" for key, entry in value.items()) + "}"
    return f"array of shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)


def _row(row: Row) -> str:
    state = "" if not row.judged else "holds" if row.passed else "fails"
    note = " ".join(part for part in (state, row.note) if part)
    return (
        f'<tr><td>{escape(row.label)}</td><td class="number">{row.value:.3g}</td>'
        f'<td class="number">{escape(row.limit)}</td><td class="{state}">{escape(note)}</td></tr>'
    )


def _environment() -> Iterator[str]:
    yield '<div class="wide"><table>'
    yield from (
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in config().items()
    )
    yield "</table></div>"


def _pictures(case: Case, number: int) -> Iterator[str]:
    """Yield the pictures of the claims that have data to draw; the other claims have tables only."""
    k = 0
    for report in case.reports:
        if not report.series():
            continue
        for title, draw in report.pictures():
            k += 1
            picture = _svg(draw, f"picture{number}-{k}-")
            yield f"<figure>{picture}<figcaption>{escape(title)}</figcaption></figure>"


def _svg(draw: Any, prefix: str) -> str:
    """Return a picture as SVG in the colours of the page; `prefix` makes its ids unique."""
    try:
        import cycler
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "[save] A .html certificate needs matplotlib, which is not installed. Install it with "
            "pip install 'equiprop[plot]', or save a .json certificate."
        ) from error
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "equiprop",
        "axes.prop_cycle": cycler.cycler(color=_SERIES),
        "font.family": "sans-serif",
        "legend.framealpha": 0,
        "savefig.transparent": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        draw(figure.subplots())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}")
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg
