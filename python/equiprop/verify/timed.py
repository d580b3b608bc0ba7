"""Claims that show progress, end at a limit of time or at Ctrl-C, and say what they left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

from equiprop.checks import check_flag
from equiprop.costs import Cost
from equiprop.model_interface import Model
from equiprop.solvers import FreeSolver
from equiprop.verify.directions import Along
from equiprop.verify.model_parts import kept_parameters
from equiprop.verify.own_methods import named_shapes
from equiprop.verify.problem import Problem, prepare
from equiprop.verify.verdict import Report, Row, Verdict
from equiprop.verify.watch import Clock, Parts, TimeUp, parts_of_check, progress_lines, seconds

_V = TypeVar("_V", bound=Verdict)
_R = TypeVar("_R", bound=Report)
#: Function that appends the rows of a check as they are computed, and returns the other fields of its report.
Work = Callable[[list[Row]], Mapping[str, Any]]
#: Largest number of parts in a sentence.
_SHOWN = 6


class Timed:
    """The time of one claim: its limit, which counts from now on, and lines of progress on stderr.

    Parameters
    ----------
    where : str
        Name of the claim's function.
    time_limit : float, optional
        Seconds; None for no limit.
    progress : bool
    """

    def __init__(self, where: str, time_limit: float | None, progress: bool) -> None:
        self.where: str = where
        check_flag(progress, where, "progress")
        self.progress: bool = progress
        self.clock: Clock = Clock(seconds(time_limit, where))

    def prepared(
        self, model: Model | Problem, x: Any, y: Any, cost: Cost, solver: FreeSolver | None
    ) -> Problem:
        """Return the model at its fixed point; see `prepare`.

        Raises
        ------
        TimeoutError
            If the time is up before the free phase has ended, so that nothing can be reported.
        """
        with self.begun():
            return prepare(self.where, model, x, y, cost, solver)

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Raise TimeoutError if the time is up in the block, which computes the free phase."""
        try:
            with self.clock.running():
                yield
        except TimeUp:
            raise TimeoutError(
                f"[{self.where}] The time limit of {self.clock.limit:g} s was reached in the free phase, "
                "before a claim was checked. Raise time_limit, or choose fewer samples."
            ) from None

    def report(
        self,
        kind: type[_R],
        problem: Problem,
        settings: Mapping[str, Any],
        work: Work,
        unknown: Mapping[str, Any] = MappingProxyType({}),
    ) -> _R:
        """Return the report of a check of a problem; see `verdict`."""

        def whole(rows: list[Row]) -> Mapping[str, Any]:
            with named_shapes(problem.model, problem.x), problem.overflowing():
                fields = work(rows)
            rows += _directions(problem)
            return fields

        given = {"problem": problem, "settings": settings}
        return self.verdict(kind, kept_parameters(problem.model), given, whole, unknown)

    def verdict(
        self,
        kind: type[_V],
        kept: AbstractContextManager[None],
        given: Mapping[str, Any],
        work: Work,
        unknown: Mapping[str, Any] = MappingProxyType({}),
    ) -> _V:
        """Return the result of a check; after the limit of time, that with the rows that are finished.

        Parameters
        ----------
        kind : type
            Class of the result.
        kept : context manager
            Restores at every end what the check may change, such as the parameters.
        given : mapping of str to value
            Fields that are known before the check, such as its settings.
        work : callable
            The check.
        unknown : mapping of str to value
            Values, in an incomplete result, of the fields that `work` would have returned.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C; its text names the figures that were finished.
        """
        rows: list[Row] = []
        with parts_of_check() as parts, kept:
            try:
                with progress_lines(self.where, self.progress) as end, self.clock.running():
                    fields = work(rows)
                    result = kind(**given, **fields, rows=tuple(rows))
                    end(result.outcome)
                    return result
            except TimeUp:
                if self.clock.limit is None:  # the limit of a check that this one is a part of
                    raise
                left_out = self._left_out(rows, parts)
            except KeyboardInterrupt as error:
                if parts is not None:
                    error.args = (*error.args, _interrupted(self.where, rows))
                raise
        return kind(**given, **unknown, rows=tuple(rows), left_out=left_out)

    def _left_out(self, rows: list[Row], parts: Parts | None) -> str:
        names = [] if parts is None or parts.left is None else parts.left()
        if not names:
            left = "what follows the figures above" if rows else "all figures"
        else:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            left = f"{', '.join(names[:_SHOWN])}{more}"
        return f"The time limit of {self.clock.limit:g} s was reached, and this was left out: {left}."


def _directions(problem: Problem) -> list[Row]:
    """Return a row on the random directions of the parameters, if there are any."""
    model = problem.model
    if not isinstance(model, Along):
        return []
    return [Row("random directions of the parameters", len(model.directions), note=model.note)]


def _interrupted(where: str, rows: list[Row]) -> str:
    finished = ", ".join(row.label for row in rows[-_SHOWN:]) or "none"
    more = f"{len(rows) - _SHOWN} and " if len(rows) > _SHOWN else ""
    return f"[{where}] interrupted; finished figures: {more}{finished}"
