"""Reports of a certificate that cannot be measured again, rebuilt from their figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from equiprop.verify.black_box import BlackBoxReport
from equiprop.verify.encoding import decode
from equiprop.verify.verdict import JSON, Row, Verdict

#: Reports on devices, which a file does not contain, by claim.
MEASURED: Mapping[str, type[Verdict]] = MappingProxyType({BlackBoxReport.claim: BlackBoxReport})


@dataclass(frozen=True, kw_only=True)
class RecordedReport(Verdict):
    """A report whose figures come from a file; its verdicts are computed from them.

    Attributes
    ----------
    kind : type
        Class of the report that was saved.
    undecided : bool
        True if a report that does not pass is inconclusive.
    data : JSON
        Data of its pictures.
    """

    kind: type[Verdict] = field(repr=False)
    undecided: bool = False
    data: JSON = field(repr=False, default_factory=dict)

    @property
    def name(self) -> str:
        """The key of the claim."""
        return self.kind.claim

    @property
    def statement(self) -> str:  # type: ignore[override]
        """The claim in words."""
        return self.kind.statement

    @property
    def inconclusive(self) -> bool:
        """True if the check failed only because its data are not sufficient to decide."""
        return self.undecided and not self.passed

    def series(self) -> JSON:
        """Return the data of the pictures."""
        return self.data


def rebuilt(claim: Mapping[str, Any]) -> RecordedReport:
    """Return the report of a claim in a file."""
    return RecordedReport(
        kind=MEASURED[claim["claim"]],
        settings={name: decode(value) for name, value in claim["settings"].items() if name != "device"},
        rows=tuple(map(_row, claim["rows"])),
        advice=tuple(claim["advice"]),
        undecided="IS INCONCLUSIVE" in claim["summary"],
        data=claim["series"],
    )


def _row(row: Mapping[str, Any]) -> Row:
    value, low, high = (None if row[key] is None else float(row[key]) for key in ("value", "low", "high"))
    if value is None:
        raise TypeError(f"the row {row['label']!r} has no value")
    return Row(row["label"], value, low, high, row["note"])
