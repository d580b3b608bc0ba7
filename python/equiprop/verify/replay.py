"""Repetition of the checks of a saved certificate, and comparison with its content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from equiprop.config import config
from equiprop.paths import file_errors, path_of
from equiprop.verify.certificate import FORMAT, Case, Certificate
from equiprop.verify.claims import CLAIMS, REPEATED
from equiprop.verify.comparison import differences
from equiprop.verify.encoding import decode, decode_problem

#: Entries of a certificate that may differ, because they describe where and how it was made.
_CIRCUMSTANCES = ("environment", "repeat_with")


@dataclass(frozen=True)
class Replay:
    """The result of repeating a certificate.

    Attributes
    ----------
    certificate : Certificate
        The repeated checks.
    differences : tuple of str
        Texts on every entry of the file that is missing, added, or not equal in every bit: claims, rows,
        limits, verdicts, settings, samples, parameters and their SHA-256.
    environment : dict of str to (recorded, present)
        Entries of the environment that differ.
    compared : int
        Number of figures in the file, which are the values of all rows.
    changed_figures : int
        Number of figures that are not equal in every bit.
    """

    certificate: Certificate
    differences: tuple[str, ...]
    environment: Mapping[str, tuple[Any, Any]]
    compared: int
    changed_figures: int

    @property
    def identical(self) -> bool:
        """True if the content of the file equals that of the repeated checks in every bit."""
        return not self.differences

    def __str__(self) -> str:
        if self.identical:
            return f"replayed: all {self.compared} figures are equal in every bit"
        others = len(self.differences) - self.changed_figures
        counts = [f"{self.changed_figures} of {self.compared} figures differ"]
        counts += [f"{others} other entries differ"] if others else []
        lines = [f"replayed: {', '.join(counts)}", *self.differences[:20]]
        lines += [f"and {len(self.differences) - 20} more"] if len(self.differences) > 20 else []
        lines += [f"{name} was {old}, is {new}" for name, (old, new) in self.environment.items()]
        return "\n    ".join(lines)


def replay(path: str | PathLike[str]) -> Replay:
    """Repeat the checks of a saved JSON certificate, and compare all of its content bit for bit.

    Parameters
    ----------
    path : path-like
        File that `Certificate.save` wrote.

    Returns
    -------
    Replay

    Raises
    ------
    ValueError
        If the file is not a certificate, is damaged, or is of a model that the user wrote.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import equiprop as eq, tempfile, pathlib
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "limit.json"
    >>> eq.verify.limit(net, [[0.1, 0.5, 0.9, 0.3]], [2]).save(path)
    >>> eq.verify.replay(path).identical
    True
    """
    recorded = _read(path)
    try:
        cases = tuple(_repeat(case) for case in recorded["cases"])
        compared = sum(len(claim["rows"]) for case in recorded["cases"] for claim in case["claims"])
        environment = _changes(recorded["environment"], config())
        certificate = Certificate(cases, str(recorded["repeat_with"]))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        if str(error).startswith("["):
            raise
        raise ValueError(
            f"[replay] A certificate contains a network, samples and figures. Received a damaged '{path}'."
        ) from error
    repeated = json.loads(json.dumps(certificate.as_dict()))
    found = tuple(differences(_findings(recorded), _findings(repeated)))
    return Replay(
        certificate,
        tuple(difference.text for difference in found),
        environment,
        compared,
        sum(difference.is_figure for difference in found),
    )


def _findings(certificate: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry for key, entry in certificate.items() if key not in _CIRCUMSTANCES}


def _changes(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = [*recorded, *(name for name in present if name not in recorded)]
    values = {name: (recorded.get(name), present.get(name)) for name in names}
    return {name: pair for name, pair in values.items() if pair[0] != pair[1]}


def _repeat(case: Mapping[str, Any]) -> Case:
    """Run the claims of a stored case again, with its problem and settings."""
    unknown = [name for name in _names(case) if name not in REPEATED]
    unknown += [name for name in case["not_claimed"] if name not in CLAIMS]
    if unknown:
        raise ValueError(f"[replay] A claim is one of {', '.join(REPEATED)}. Received {unknown[0]!r}.")
    problem = decode_problem(case["problem"], case["network"])
    reports = tuple(
        REPEATED[claim["claim"]].check(problem, **{name: decode(v) for name, v in claim["settings"].items()})
        for claim in case["claims"]
    )
    reasons = {name: CLAIMS[name].excluded(problem) for name in case["not_claimed"]}
    return Case(problem, reports, {name: reason for name, reason in reasons.items() if reason is not None})


def _names(case: Mapping[str, Any]) -> list[Any]:
    return [claim["claim"] for claim in case["claims"]]


def _read(path: str | PathLike[str]) -> dict[str, Any]:
    path = path_of(path, "replay")
    try:
        with file_errors(path, "replay"):
            text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        text = ""
    recorded: Any = None
    try:
        recorded = json.loads(text)
        complete = recorded["format"] == FORMAT and isinstance(recorded["cases"], list)
    except (ValueError, KeyError, TypeError, RecursionError):
        complete = False
    if not complete:
        raise ValueError(f"[replay] The file is a certificate saved as JSON ({FORMAT}). Received '{path}'.")
    return dict(recorded)
