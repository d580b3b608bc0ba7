"""Certificates as HTML pages without scripts or external files: a summary of one page, then folded claims."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np

from equiprop.config import config
from equiprop.verify.certificate import Case, Certificate
from equiprop.verify.claims import CLAIMS
from equiprop.verify.style import head
from equiprop.verify.svg import figure
from equiprop.verify.verdict import Row, Verdict

#: The verdict on all models in words.
_WORDS = {"holds": "Verified", "fails": "Not verified", "incomplete": "Incomplete"}
#: Marks of the verdicts in the table of claims.
_MARKS = {
    "holds": "&#10003;",
    "fails": "&#10007;",
    "inconclusive": "?",
    "left out": "&hellip;",
    "not claimed": "&ndash;",
}
_LEGEND = (
    "A number is that of a model. &#10003; holds, &#10007; fails, ? inconclusive, &hellip; left out, "
    "&ndash; not claimed, because it does not apply. A mark leads to the figures of its claim."
)


def page(certificate: Certificate) -> str:
    """Return the certificate as an HTML page (extra ``plot``)."""
    several = len(certificate.cases) > 1
    parts = [
        *head(f"{_WORDS[certificate.outcome]}: equiprop certificate"),
        '<section aria-label="Summary">',
        *_header(certificate),
        *_troubles(certificate),
        *_claims(certificate),
        *_contents(certificate),
        "</section><main>",
    ]
    for number, case in enumerate(certificate.cases, 1):
        parts += _case(case, number, several)
    parts += [*_repeating(certificate), "</main>"]
    return "\n".join([*parts, "</body></html>", ""])


def _header(certificate: Certificate) -> Iterator[str]:
    outcome = certificate.outcome
    shown = certificate.date.replace("T", " ").replace("+00:00", " UTC")
    yield f'<header class="verdict {outcome}">'
    yield (
        f'<h1><strong class="{outcome}">{_WORDS[outcome]}.</strong> {escape(certificate.verdict)}</h1>'
        f'<p>equiprop {escape(str(config()["version"]))}, <time datetime="{escape(certificate.date)}">'
        f"{escape(shown)}</time></p></header>"
    )


def _troubles(certificate: Certificate, most: int = 4) -> Iterator[str]:
    """Yield the first claims that do not hold, each with the first sentence of advice."""
    failed = [
        (number, report)
        for number, case in enumerate(certificate.cases, 1)
        for report in case.reports
        if not report.passed
    ]
    if not failed:
        return
    yield '<h2>What does not hold</h2><ul class="advice">'
    for number, report in failed[:most]:
        text = next(iter(report.all_advice()), _telling(report))
        link = f'<a href="#{_anchor(number, report.name)}">{escape(report.name)}</a>'
        yield f"<li>{link} of model {number}: {escape(text)}</li>"
    if len(failed) > most:
        yield f"<li>and {len(failed) - most} more, which the table shows</li>"
    yield "</ul>"


def _claims(certificate: Certificate) -> Iterator[str]:
    """Yield the table of all claims, with a mark for each model."""
    reports = [report for case in certificate.cases for report in case.reports]
    statements = {report.name: report.statement for report in reports}
    unchecked = {name: reason for case in certificate.cases for name, reason in case.unchecked.items()}
    statements = unchecked | statements
    several = len(certificate.cases) > 1
    kind = "claims several" if several else "claims"
    yield f'<h2>Claims</h2><table class="{kind}"><thead><tr><th scope="col">claim</th>'
    yield f'<th scope="col">{"models" if several else "verdict"}</th>'
    yield '<th scope="col" class="statement">statement</th></tr></thead><tbody>'
    for name in sorted(statements, key=lambda name: [*CLAIMS, name].index(name)):
        marks = " ".join(_mark(case, k, name, several) for k, case in enumerate(certificate.cases, 1))
        yield f'<tr><th scope="row">{escape(name)}</th><td class="marks">{marks}</td>'
        yield f'<td class="statement">{escape(statements[name])}</td></tr>'
    yield "</tbody></table>"
    if several:
        yield f'<p class="quiet">{_LEGEND}</p>'


def _mark(case: Case, number: int, name: str, several: bool) -> str:
    """Return the mark of a claim on a model, or nothing if the claim was not asked for."""
    report = next((report for report in case.reports if report.name == name), None)
    if report is None and name not in case.unchecked:
        return ""
    if report is not None:
        outcome, target = report.outcome, _anchor(number, name)
    else:
        outcome, target = ("left out" if name in case.left_out else "not claimed"), f"model-{number}"
    label = escape(f"model {number}, {name}: {outcome}", quote=True)
    css = outcome.replace(" ", "-")
    text = f"{number}&#8288;{_MARKS[outcome]}" if several else f"{_MARKS[outcome]} {outcome}"
    return f'<a class="mark {css}" href="#{target}" aria-label="{label}" title="{label}">{text}</a>'


def _contents(certificate: Certificate) -> Iterator[str]:
    yield '<nav aria-label="Contents"><h2>Contents</h2><ol class="contents">'
    for number, case in enumerate(certificate.cases, 1):
        held = sum(report.passed for report in case.reports)
        count = f"{held} of {len(case.reports)} claims hold"
        yield f'<li><a href="#model-{number}">{escape(case.name)}</a> <span class="quiet">{count}</span></li>'
    yield '</ol><a href="#repeat">How to repeat this verification</a></nav>'


def _case(case: Case, number: int, several: bool) -> Iterator[str]:
    heading = f"{number}. {escape(case.name)}" if several else escape(case.name)
    outcome = f'<span class="{case.outcome}">{case.outcome}</span>'
    yield f'<section><h2 id="model-{number}">{heading} {outcome}</h2>'
    if case.problem is not None:
        samples = "1 sample" if len(case.problem.x) == 1 else f"{len(case.problem.x)} samples"
        cost, solver = type(case.problem.cost).__name__, repr(case.problem.solver)
        yield f'<p class="quiet">{samples}, cost {escape(cost)}, fixed point by {escape(solver)}</p>'
    for report in case.reports:
        shown = not report.passed or (not several and report.name == "equality")
        yield from _report(report, _anchor(number, report.name), shown)
    for name, reason in case.unchecked.items():
        yield f'<p class="quiet">{escape(name)}: {escape(reason)}</p>'
    yield "</section>"


def _anchor(number: int, name: str) -> str:
    return f"model-{number}-{escape(name, quote=True)}"


def _report(report: Verdict, anchor: str, shown: bool) -> Iterator[str]:
    """Yield a claim with its figures; the anchor is inside the fold, so that a link to it opens the fold."""
    yield f"<details{' open' if shown else ''}><summary><b>{escape(report.name)}</b> "
    yield f'<span class="{report.outcome}">{report.outcome}</span>'
    yield f'<span class="quiet">{escape(_telling(report))}</span></summary>'
    yield f'<div id="{anchor}"><p>{escape(report.statement)}</p>'
    if report.all_advice():
        yield '<ul class="advice">'
        yield from (f"<li>{escape(sentence)}</li>" for sentence in report.all_advice())
        yield "</ul>"
    if report.series():
        pictures = enumerate(report.pictures(), 1)
        drawn = [figure(picture, f"{anchor}-picture{k}-") for k, picture in pictures]
        yield f'<div class="pictures">{"".join(drawn)}</div>'
    yield '<div class="wide"><table class="figures"><thead><tr><th scope="col">figure</th>'
    yield '<th scope="col">value</th><th scope="col">limit</th><th scope="col">verdict</th></tr></thead>'
    yield "<tbody>"
    yield from map(_row, report.rows)
    yield "</tbody></table></div>"
    settings = ", ".join(f"{name} = {_setting(value)}" for name, value in report.settings.items())
    yield f'<p class="quiet">Settings: {escape(settings) or "none"}</p></div></details>'


def _telling(report: Verdict) -> str:
    """Return the first figure outside its limits, or that which uses most of its limit."""
    judged = [row for row in report.rows if row.judged]
    failed = [row for row in judged if not row.passed]
    upper = [row for row in judged if row.low is None and row.high]
    if failed or upper:
        row = failed[0] if failed else max(upper, key=lambda row: row.value / (row.high or 1.0))
        return f"{row.label}: {row.value:.2g}, limit {row.limit}"
    return f"{len(judged)} figures within their limits" if judged else ""


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


def _repeating(certificate: Certificate) -> Iterator[str]:
    """Yield the command that repeats the verification, and the folded environment."""
    yield '<section><h2 id="repeat">How to repeat this verification</h2>'
    yield f"<p><code>{escape(certificate.command)}</code></p>"
    yield "<details><summary><b>Environment</b></summary><div><table>"
    for name, value in config().items():
        yield f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>'
    yield "</table></div></details></section>"
