"""Certificates: the claims that were checked, their figures, and the data that repeats the checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from os import PathLike
from types import MappingProxyType
from typing import Any, TypedDict

from equiprop.config import config
from equiprop.verify.claims import CLAIMS
from equiprop.verify.directions import Along
from equiprop.verify.encoding import encode
from equiprop.verify.fingerprints import fingerprints
from equiprop.verify.problem import Problem
from equiprop.verify.problem_records import ProblemRecord, encode_problem
from equiprop.verify.remeasured import encode_device
from equiprop.verify.verdict import JSON, Verdict, VerdictRecord, write

#: Name and version of the JSON form.
FORMAT = "equiprop-certificate-3"


class ClaimRecord(VerdictRecord):
    """A claim in a JSON file: its verdict, and the settings that repeat the check."""

    settings: dict[str, JSON]


class CaseRecord(TypedDict):
    """A `Case` in a JSON file; each claim is in `claims`, `not_claimed`, `left_out` or `not_asked_for`."""

    network: str
    passed: bool
    claims: list[ClaimRecord]
    not_claimed: dict[str, str]
    left_out: dict[str, str]
    not_asked_for: list[str]
    problem: ProblemRecord | None


class CertificateRecord(TypedDict):
    """A `Certificate` in a JSON file; `sha256` has a digest of each entry, see `fingerprints`."""

    format: str
    date: str
    passed: bool
    verdict: str
    repeat_with: str
    environment: dict[str, Any]
    cases: list[CaseRecord]
    sha256: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """The reports on one model.

    Attributes
    ----------
    problem : Problem, optional
        The model with its samples; None for a black box.
    reports : tuple of Verdict
    skipped : mapping of str to str
        Claims that do not apply to the model, with the reason.
    left_out : mapping of str to str
        Claims that were not checked because the time was up, with the reason.
    """

    problem: Problem | None
    reports: tuple[Verdict, ...]
    skipped: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    left_out: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def name(self) -> str:
        """The model in words."""
        return "black box" if self.problem is None else repr(self.problem.model)

    @property
    def directions(self) -> str:
        """A sentence on the random directions of the parameters, if there are any, with a space before it."""
        model = None if self.problem is None else self.problem.model
        if not isinstance(model, Along):
            return ""
        count = len(model.directions)
        return f" Derivatives by parameters were checked along {count} random directions, {model.note}."

    @property
    def passed(self) -> bool:
        """True if every claim holds, and none was left out."""
        return all(report.passed for report in self.reports) and not self.left_out

    @property
    def outcome(self) -> str:
        """The verdict in one word: holds, fails or incomplete."""
        if not all(report.passed for report in self.reports):
            return "fails"
        return "incomplete" if self.left_out else "holds"

    @property
    def _decided(self) -> set[str]:
        """Names of the claims that were checked, do not apply, or were left out."""
        return {report.name for report in self.reports} | set(self.unchecked)

    @property
    def unchecked(self) -> dict[str, str]:
        """The claims that do not apply or were left out, with the reason in words."""
        skipped = {name: f"not claimed, {reason}" for name, reason in self.skipped.items()}
        return skipped | {name: f"left out, {reason}" for name, reason in self.left_out.items()}

    def as_dict(self) -> CaseRecord:
        """Return the case for JSON."""
        return {
            "network": self.name,
            "passed": self.passed,
            "claims": [_claim(report) for report in self.reports],
            "not_claimed": dict(self.skipped),
            "left_out": dict(self.left_out),
            "not_asked_for": [name for name in CLAIMS if name not in self._decided],
            "problem": None if self.problem is None else encode_problem(self.problem),
        }

    def __str__(self) -> str:
        mark = {"holds": "PASS", "fails": "FAIL"}.get(self.outcome, "INCOMPLETE")
        parts = [f"{mark}  {self.name}"]
        parts += [str(report) for report in self.reports]
        parts += [f"{name}: {reason}" for name, reason in self.unchecked.items()]
        return "\n    ".join("\n".join(parts).splitlines()) + "\n"


@dataclass(frozen=True)
class Certificate:
    """The outcome of a verification.

    Attributes
    ----------
    cases : tuple of Case
    command : str
        Command that repeats the verification.
    date : str
        Time at which the checks ended, in UTC (ISO 8601).
    """

    cases: tuple[Case, ...]
    command: str = "equiprop verify --replay report.json"
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    @property
    def passed(self) -> bool:
        """True if at least one claim was checked, all checked claims hold, and none was left out."""
        made = any(case.reports for case in self.cases)
        return made and all(case.passed for case in self.cases)

    @property
    def outcome(self) -> str:
        """The verdict in one word: holds, fails or incomplete."""
        outcomes = {case.outcome for case in self.cases}
        if "fails" in outcomes or not any(case.reports or case.left_out for case in self.cases):
            return "fails"
        return "incomplete" if "incomplete" in outcomes else "holds"

    @property
    def verdict(self) -> str:
        """The outcome in one sentence, and the number of claims that were left out."""
        reports = [report for case in self.cases for report in case.reports]
        held = sum(report.passed for report in reports)
        models = f"{len(self.cases)} model{'s' if len(self.cases) != 1 else ''}"
        omitted = sum(len(case.left_out) for case in self.cases)
        rest = f" {omitted} claims were left out: the time was up." if omitted > 1 else ""
        rest = " 1 claim was left out: the time was up." if omitted == 1 else rest
        if not reports:
            return f"No claim was checked, on {models}.{rest}"
        number = f"All {len(reports)}" if held == len(reports) else f"{held} of {len(reports)}"
        rest += "".join(case.directions for case in self.cases)
        return f"{number} claims{' that were checked' if omitted else ''} hold, on {models}.{rest}"

    def explain(self) -> None:
        """Print every claim that does not hold, with its causes, and the verdict."""
        for case in self.cases:
            for report in case.reports:
                if not report.passed:
                    report.explain()
        print(self.verdict)

    def as_dict(self) -> CertificateRecord:
        """Return the certificate for JSON."""
        record: CertificateRecord = {
            "format": FORMAT,
            "date": self.date,
            "passed": self.passed,
            "verdict": self.verdict,
            "repeat_with": self.command,
            "environment": config(),
            "cases": [case.as_dict() for case in self.cases],
            "sha256": {},
        }
        record["sha256"] = fingerprints(record)
        return record

    def save(self, path: str | PathLike[str]) -> None:
        """Write the certificate to a file: a self-contained page (.html; extra ``plot``), or data (.json).

        The JSON file contains network, samples and settings, so that ``equiprop verify --replay`` can repeat
        the checks. An existing file is replaced only when the new one is complete.

        Raises
        ------
        ValueError
            If the name of the file does not end in .html or .json.
        OSError
            If the file cannot be written.
        """
        write(self, path)

    def __str__(self) -> str:
        return "\n".join([*(str(case) for case in self.cases), self.verdict])


def _claim(report: Verdict) -> ClaimRecord:
    settings = {name: encode(value) for name, value in report.settings.items()}
    return {**report.as_dict(), "settings": settings | encode_device(report)}
