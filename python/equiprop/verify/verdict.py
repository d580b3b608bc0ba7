"""The result of every check: rows of figures with their limits, and advice if a figure is outside of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from os import PathLike
from typing import Any, ClassVar, NamedTuple, TypedDict

from equiprop.checks import whole
from equiprop.markup import html
from equiprop.verify.cause_sentences import sentences
from equiprop.verify.problem import Problem

#: Content of a JSON file.
JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]


class RowRecord(TypedDict):
    """A `Row` in a JSON file."""

    label: str
    value: float | str
    low: float | str | None
    high: float | str | None
    passed: bool
    note: str


class VerdictRecord(TypedDict):
    """A `Verdict` in a JSON file; `series` contains the data of its pictures."""

    claim: str
    statement: str
    passed: bool
    summary: str
    rows: list[RowRecord]
    advice: list[str]
    series: JSON


@dataclass(frozen=True)
class Row:
    """One figure of a check with its limits.

    Attributes
    ----------
    label : str
        Name of the figure.
    value : float
    low, high : float, optional
        Limits of the value; a row without limits always passes.
    note : str
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""

    @property
    def judged(self) -> bool:
        """True if the value has a limit."""
        return self.low is not None or self.high is not None

    @property
    def passed(self) -> bool:
        """True if the value is within its limits; NaN is not within any limit."""
        above = self.low is None or self.value >= self.low
        return bool(above and (self.high is None or self.value <= self.high))

    @property
    def limit(self) -> str:
        """The limits as text."""
        if self.low is not None and self.high is not None:
            return f"{self.low:.6g} to {self.high:.6g}"
        if self.low is not None:
            return f">= {self.low:.3g}"
        return "" if self.high is None else f"<= {self.high:.3g}"

    def as_dict(self) -> RowRecord:
        """Return the row for JSON, with numbers that are not finite as text."""
        return {
            "label": self.label,
            "value": _number(float(self.value)),
            "low": None if self.low is None else _number(self.low),
            "high": None if self.high is None else _number(self.high),
            "passed": self.passed,
            "note": self.note,
        }

    def text(self, width: int) -> str:
        """Return the row as a line of text, with the label padded to `width` characters."""
        whole(width, "Row.text", "width", 0, 10**6)
        mark = "" if not self.judged else "ok" if self.passed else "FAILED"
        note = f"  {self.note}" if self.note else ""
        return f"{self.label:<{width}} {self.value:>10.3g}  {self.limit:<12} {mark:<6}{note}".rstrip()


class Picture(NamedTuple):
    """A picture of a check.

    Attributes
    ----------
    title : str
    draw : callable
        Function that draws it on matplotlib axes and returns them.
    caption : str
        What to see in it.
    """

    title: str
    draw: Callable[..., Any]
    caption: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of one check.

    Attributes
    ----------
    settings : dict
        The arguments of the check, which are sufficient to repeat it.
    rows : tuple of Row
        The figures.
    advice : tuple of str
        Sentences on where and why the claim does not hold, with cures; empty if it holds.
    left_out : str
        Sentence on what was not checked because the time was up; empty if the check is complete.
    """

    claim: ClassVar[str]
    statement: ClassVar[str]

    settings: Mapping[str, Any] = field(repr=False, default_factory=dict)
    rows: tuple[Row, ...] = ()
    advice: tuple[str, ...] = ()
    left_out: str = ""

    @property
    def passed(self) -> bool:
        """True if every row is within its limits, and nothing was left out."""
        return self.within_limits and not self.left_out

    @property
    def within_limits(self) -> bool:
        """True if every row is within its limits."""
        return all(row.passed for row in self.rows)

    @property
    def inconclusive(self) -> bool:
        """True if the check failed only because its data are not sufficient to decide."""
        return False

    @property
    def outcome(self) -> str:
        """The verdict in one word: holds, fails, inconclusive or incomplete."""
        if self.left_out and self.within_limits:
            return "incomplete"
        return "holds" if self.passed else "inconclusive" if self.inconclusive else "fails"

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
        words = {"holds": "holds", "fails": "DOES NOT HOLD", "incomplete": "IS INCOMPLETE"}
        verdict = words.get(self.outcome, "IS INCONCLUSIVE")
        return f"{self.name}: {verdict}. {self.statement}"

    def all_advice(self) -> tuple[str, ...]:
        """Return the advice of the check and of its free phase."""
        return self.advice

    def explain(self) -> None:
        """Print the figures, and advice on where and why the claim does not hold."""
        print(self)

    def __str__(self) -> str:
        width = max((len(row.label) for row in self.rows), default=0)
        lines = [self.summary, *(f"    {row.text(width)}" for row in self.rows)]
        return "\n".join([*lines, *self.remarks()])

    def remarks(self) -> list[str]:
        """Return the lines of text below the figures: the advice, and what was left out."""
        lines = [f"    -> {sentence}" for sentence in self.all_advice()]
        return [*lines, f"    {self.left_out}"] if self.left_out else lines

    def _repr_html_(self) -> str:
        return html(self)

    def pictures(self) -> Iterator[Picture]:
        """Yield the pictures of this check (extra ``plot``); a check that was ended early has none.

        Raises
        ------
        ValueError
            If the time was up before the check was complete.
        """
        if self.left_out:
            raise ValueError(
                f"[plot] A picture needs a complete check. Received {self.name}. {self.left_out}"
            )
        return pictures(self)

    def plot(self, axes: Any = None) -> Any:
        """Draw the first picture of this check (extra ``plot``); return the matplotlib axes."""
        return next(self.pictures()).draw(axes)

    def series(self) -> JSON:
        """Return the data of the pictures as lists of numbers."""
        return {}

    def as_dict(self) -> VerdictRecord:
        """Return the verdict for JSON."""
        return {
            "claim": self.name,
            "statement": self.statement,
            "passed": self.passed,
            "summary": self.summary,
            "rows": [row.as_dict() for row in self.rows],
            "advice": list(self.all_advice()),
            "series": {} if self.left_out else finite_only(self.series()),
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write a certificate of this check to a .html or .json file; see `Certificate.save`.

        A check that was ended by its time limit is a claim that the certificate left out, without figures,
        because a replay could not repeat them.
        """
        write(self, path)


@dataclass(frozen=True, kw_only=True)
class Report(Verdict):
    """The outcome of a check of a model at its fixed point.

    Attributes
    ----------
    problem : Problem
        The model, its samples and its fixed point.
    settings, rows, advice
        See `Verdict`.
    """

    problem: Problem = field(repr=False)

    @property
    def passed(self) -> bool:
        """True if the free phase converged, every row is within its limits, and nothing was left out."""
        return self.problem.free.converged and super().passed

    def all_advice(self) -> tuple[str, ...]:
        """Return causes inside the model, advice on a free phase that did not converge, and on the check.

        Causes are looked for only if the check failed.
        """
        if self.passed or self.outcome == "incomplete":
            return self.advice
        phase = () if self.problem.free.converged else self.problem.diagnosis.advice
        return sentences(self.problem.causes, (*phase, *self.advice))

    def explain(self) -> None:
        """Print the figures, advice on where and why the claim does not hold, and the diagnosis."""
        print(self)
        print(self.problem.diagnosis)


@singledispatch
def pictures(verdict: object) -> Iterator[Picture]:
    """Yield the pictures of a verdict; `equiprop.plotting` registers one function for each type."""
    raise TypeError(f"[pictures] `verdict` is the result of a check. Received {type(verdict).__name__}.")


@singledispatch
def write(verdict: object, path: str | PathLike[str]) -> None:
    """Write a verdict or a certificate; `equiprop.verify.saving` registers one function for each type."""
    raise TypeError(
        f"[save] The object for {str(path)!r} is the result of a check or a certificate. "
        f"Received {type(verdict).__name__}."
    )


def finite_only(value: JSON) -> JSON:
    """Return nested lists and dictionaries with text for numbers that are not finite, as JSON requires."""
    if isinstance(value, Mapping):
        return {str(key): finite_only(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite_only(entry) for entry in value]
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)
