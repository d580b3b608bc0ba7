"""What every check returns: rows of numbers with their limits, and advice where one is not kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from equiprop.verify.problem import Problem

if TYPE_CHECKING:
    from os import PathLike


@dataclass(frozen=True)
class Row:
    """One number of a check, and what it must lie between; without limits it is shown, not judged."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""

    @property
    def judged(self) -> bool:
        """Whether anything is promised of the value."""
        return self.low is not None or self.high is not None

    @property
    def passed(self) -> bool:
        """Whether the value keeps its limits; NaN keeps none."""
        above = self.low is None or self.value >= self.low
        return bool(above and (self.high is None or self.value <= self.high))

    @property
    def limit(self) -> str:
        """The limits in words."""
        if self.low is not None and self.high is not None:
            return f"{self.low:.6g} to {self.high:.6g}"
        if self.low is not None:
            return f">= {self.low:.3g}"
        return "" if self.high is None else f"<= {self.high:.3g}"

    def as_dict(self) -> dict[str, Any]:
        """Return the row for a machine; numbers that are not finite as text."""
        return {
            "label": self.label,
            "value": finite_only(float(self.value)),
            "low": finite_only(self.low),
            "high": finite_only(self.high),
            "passed": self.passed,
            "note": self.note,
        }

    def text(self, width: int) -> str:
        """Return the row as a line, its label padded to a width."""
        mark = "" if not self.judged else "ok" if self.passed else "FAILED"
        note = f"  {self.note}" if self.note else ""
        return f"{self.label:<{width}} {self.value:>10.3g}  {self.limit:<12} {mark:<6}{note}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of one check.

    Attributes
    ----------
    settings : dict
        The arguments that repeat it.
    rows : tuple of Row
        The figures.
    advice : tuple of str
        Where and why something does not hold, and what to do; empty if all is well.
    """

    claim: ClassVar[str]
    statement: ClassVar[str]

    settings: dict[str, Any] = field(repr=False, default_factory=dict)
    rows: tuple[Row, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every row keeps its limits."""
        return all(row.passed for row in self.rows)

    def __getitem__(self, label: str) -> float:
        """Return the value of the row with this label."""
        return next(row.value for row in self.rows if row.label == label)

    @property
    def name(self) -> str:
        """The key of the claim in `CLAIMS`."""
        return self.claim

    @property
    def summary(self) -> str:
        """The verdict in one sentence."""
        verdict = "holds" if self.passed else "DOES NOT HOLD"
        return f"{self.name}: {verdict}. {self.statement}"

    def all_advice(self) -> tuple[str, ...]:
        """Return everything there is to say about what does not hold."""
        return self.advice

    def explain(self) -> None:
        """Print the figures, and where and why the claim fails."""
        print(self)

    def __str__(self) -> str:
        width = max((len(row.label) for row in self.rows), default=0)
        lines = [self.summary, *(f"    {row.text(width)}" for row in self.rows)]
        lines += [f"    -> {sentence}" for sentence in self.all_advice()]
        return "\n".join(lines)

    def pictures(self) -> Iterator[tuple[str, Any]]:
        """Yield (title, draw(axes)) of each picture of this check."""
        from equiprop import plotting

        yield self.claim, lambda axes=None: plotting.margins(self, axes)

    def plot(self, axes: Any = None) -> Any:
        """Draw the check's first picture (extra ``plot``); return the matplotlib axes."""
        _, draw = next(self.pictures())
        return draw(axes)

    def series(self) -> dict[str, Any]:
        """Return what the pictures show, as lists of numbers."""
        return {}

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for a machine."""
        return {
            "claim": self.name,
            "statement": self.statement,
            "passed": self.passed,
            "summary": self.summary,
            "rows": [row.as_dict() for row in self.rows],
            "advice": list(self.all_advice()),
            "series": finite_only(self.series()),
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write a certificate of this check: a page if `path` ends in .html, figures if in .json."""
        from equiprop.verify.certificate import Case, Certificate

        Certificate((Case(None, (self,)),)).save(path)


@dataclass(frozen=True, kw_only=True)
class Report(Verdict):
    """The outcome of a check of a model at its fixed point.

    Attributes
    ----------
    problem : Problem
        What was checked.
    settings, rows, advice
        As of any `Verdict`.
    """

    problem: Problem = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether the fixed point was found and every row keeps its limits."""
        return self.problem.free.converged and all(row.passed for row in self.rows)

    def all_advice(self) -> tuple[str, ...]:
        """Return the advice of the check, after that on a free phase that did not converge."""
        if self.problem.free.converged:
            return self.advice
        from equiprop.verify.diagnosis import diagnose

        return (*diagnose(self.problem.free).advice, *self.advice)

    def explain(self) -> None:
        """Print the figures, where and why the claim fails, and the state of the fixed point."""
        from equiprop.verify.diagnosis import diagnose

        print(self)
        print(diagnose(self.problem.free))

    def save(self, path: str | PathLike[str]) -> None:
        """Write a certificate of this check: a page if `path` ends in .html, figures if in .json."""
        from equiprop.verify.certificate import Case, Certificate

        Certificate((Case(self.problem, (self,)),)).save(path)


def finite_only(value: Any) -> Any:
    """Return nested lists and dictionaries with numbers that are not finite as text, as JSON wants it."""
    if isinstance(value, dict):
        return {str(key): finite_only(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite_only(entry) for entry in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def relation(product: float, power: float, value_power: float) -> str:
    """Say in words how values relate to their references, given <v, r>, <r, r> and <v, v>."""
    if not (math.isfinite(power) and math.isfinite(value_power)):
        return "grows beyond all bounds"
    if power == 0 or value_power == 0:
        return "is missing" if power > 0 else "should be zero" if value_power > 0 else "is zero"
    factor, cosine = product / power, product / math.sqrt(power * value_power)
    if abs(cosine) < 0.999:
        return f"points elsewhere (cosine {cosine:.3f})"
    if abs(factor + 1) < 1e-3:
        return "has the opposite sign"
    return f"is {factor:.4g} times what it should be"
