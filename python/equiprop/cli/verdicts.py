"""Short text on the results of `equiprop verify`: one line for each group of claims of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType

from equiprop.verify.certificate import Case
from equiprop.verify.verdict import Row, Verdict

#: Groups of claims: what the code of a model computes, the processes of both second phases, the gradient that
#: they arrive at, and the error of finite nudging.
GROUPS = MappingProxyType(
    {
        "model": ("derivatives",),
        "processes": ("equality", "runge-kutta", "discrete-time", "bounded"),
        "gradient": ("limit", "gradients", "asymmetry"),
        "finite beta": ("orders", "surrogate", "unconverged", "projected-cost"),
    }
)


def lines_of(case: Case) -> Iterator[str]:
    """Yield a line for each group of claims that were checked, the claims left out, and those that fail."""
    for group, names in GROUPS.items():
        reports = [report for report in case.reports if report.name in names]
        if reports:
            yield f"    {group:<11} {_summary(reports)}"
    for name, reason in case.left_out.items():
        yield f"    {name}: left out, {reason}"
    for report in case.reports:
        if not report.passed:
            yield from (f"    {line}" for line in str(report).splitlines())


def _summary(reports: Sequence[Verdict]) -> str:
    held = sum(report.passed for report in reports)
    rows = [row for report in reports for row in report.rows if row.judged]
    used = [share for row in rows if (share := _used(row)) is not None]
    end = f", the largest is {100 * max(used):.2g} % of its limit" if used else ""
    noun = "claim holds" if len(reports) == 1 else "claims hold"
    return f"{held} of {len(reports)} {noun}; figures with a limit: {len(rows)}{end}"


def _used(row: Row) -> float | None:
    """Return value / limit of a row with an upper limit only, or None."""
    return row.value / row.high if row.low is None and row.high else None
