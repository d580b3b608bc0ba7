"""Certificates: what was checked, what held, and all that is needed to check it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from types import MappingProxyType
from typing import Any

from equiprop.config import config
from equiprop.verify.claims import CLAIMS
from equiprop.verify.encoding import encode, encode_problem
from equiprop.verify.problem import Problem
from equiprop.verify.verdict import Verdict, write

#: Name and version of the JSON form.
FORMAT = "equiprop-certificate-2"


@dataclass(frozen=True)
class Case:
    """The reports on one model; `skipped` says which claims were not made of it, and why."""

    problem: Problem | None
    reports: tuple[Verdict, ...]
    skipped: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def name(self) -> str:
        """The model in words."""
        return "black box" if self.problem is None else repr(self.problem.model)

    @property
    def passed(self) -> bool:
        """Whether every claim holds."""
        return all(report.passed for report in self.reports)

    @property
    def _decided(self) -> set[str]:
        """Names of the claims that were made, or left out for a reason."""
        return {report.name for report in self.reports} | set(self.skipped)

    def as_dict(self) -> dict[str, Any]:
        """Return the case for a machine."""
        return {
            "network": self.name,
            "passed": self.passed,
            "claims": [_claim(report) for report in self.reports],
            "not_claimed": dict(self.skipped),
            "not_asked_for": [name for name in CLAIMS if name not in self._decided],
            "problem": None if self.problem is None else encode_problem(self.problem),
        }

    def __str__(self) -> str:
        parts = [f"{'PASS' if self.passed else 'FAIL'}  {self.name}"]
        parts += [str(report) for report in self.reports]
        parts += [f"{name}: not claimed, {reason}" for name, reason in self.skipped.items()]
        return "\n    ".join("\n".join(parts).splitlines()) + "\n"


@dataclass(frozen=True)
class Certificate:
    """The outcome of a verification.

    Attributes
    ----------
    cases : tuple of Case
    command : str
        That repeats it.
    """

    cases: tuple[Case, ...]
    command: str = "equiprop verify --replay report.json"

    @property
    def passed(self) -> bool:
        """Whether a claim was made, and every claim holds of every model."""
        made = any(case.reports for case in self.cases)
        return made and all(case.passed for case in self.cases)

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        reports = [report for case in self.cases for report in case.reports]
        held = sum(report.passed for report in reports)
        models = f"{len(self.cases)} model{'s' if len(self.cases) != 1 else ''}"
        if not reports:
            return f"No claim was made, on {models}."
        outcome = "All" if held == len(reports) else f"{held} of"
        return f"{outcome} {len(reports)} claims hold, on {models}."

    def explain(self) -> None:
        """Print every claim that does not hold, with where and why; then the verdict."""
        for case in self.cases:
            for report in case.reports:
                if not report.passed:
                    report.explain()
        print(self.verdict)

    def as_dict(self) -> dict[str, Any]:
        """Return the certificate for a machine."""
        return {
            "format": FORMAT,
            "passed": self.passed,
            "verdict": self.verdict,
            "repeat_with": self.command,
            "environment": config(),
            "cases": [case.as_dict() for case in self.cases],
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write a self-contained page (.html; extra ``plot``) or the figures (.json), all of it or nothing.

        The JSON holds network, samples and settings, so that ``equiprop verify --replay`` repeats it.
        """
        write(self, path)

    def __str__(self) -> str:
        return "\n".join([*(str(case) for case in self.cases), self.verdict])


def _claim(report: Verdict) -> dict[str, Any]:
    settings = {name: encode(value) for name, value in report.settings.items()}
    return {**report.as_dict(), "settings": settings}
