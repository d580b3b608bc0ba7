"""Writing of certificates to files, as HTML pages or as JSON data."""

from __future__ import annotations

import json
from os import PathLike

from equiprop.files import write_text
from equiprop.paths import path_of
from equiprop.verify.certificate import Case, Certificate
from equiprop.verify.html import page
from equiprop.verify.problem import Problem
from equiprop.verify.verdict import Report, Verdict, write


@write.register
def _(certificate: Certificate, path: str | PathLike[str]) -> None:
    """Write a certificate; an existing file is replaced only when the new one is complete."""
    path = path_of(path, "save")
    if path.suffix == ".html":
        text = page(certificate)
    elif path.suffix == ".json":
        text = json.dumps(certificate.as_dict(), indent=1, allow_nan=False) + "\n"
    else:
        raise ValueError(f"[save] A certificate is a .html or a .json file. Received {str(path)!r}.")
    write_text(path, text, "save")


@write.register
def _(verdict: Verdict, path: str | PathLike[str]) -> None:
    write(Certificate((_case(None, verdict),)), path)


@write.register
def _(report: Report, path: str | PathLike[str]) -> None:
    write(Certificate((_case(report.problem, report),)), path)


def _case(problem: Problem | None, report: Verdict) -> Case:
    """Return a case with one report; a check that was ended early is a claim that was left out."""
    if not report.left_out:
        return Case(problem, (report,))
    reason = f"because {report.left_out[0].lower()}{report.left_out[1:].rstrip('.')}"
    return Case(problem, (), left_out={report.name: reason})
