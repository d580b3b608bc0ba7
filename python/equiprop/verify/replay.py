"""Repetition of the checks of a saved certificate, and comparison with its content."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from typing import Any

from equiprop.config import config
from equiprop.json_text import parse
from equiprop.paths import file_errors, path_of
from equiprop.progress import tracked
from equiprop.verify.certificate import FORMAT, Case, CaseRecord, Certificate, CertificateRecord
from equiprop.verify.claims import CLAIMS, REPEATED
from equiprop.verify.comparison import differences
from equiprop.verify.encoding import decode
from equiprop.verify.fingerprints import KEY, Alteration, alterations
from equiprop.verify.problem import Problem
from equiprop.verify.problem_records import decode_problem, encoded_again, reading
from equiprop.verify.recorded import MEASURED
from equiprop.verify.remeasured import DEVICE, Again, checked_again
from equiprop.verify.schema import faults
from equiprop.verify.verdict import Verdict

#: Entries that may differ between two certificates, because they describe where and when each was made. Their
#: digests, and those of all other entries, show whether they were changed afterwards.
_CIRCUMSTANCES = ("date", "environment", "repeat_with", KEY)


@dataclass(frozen=True)
class Replay:
    """The result of repeating a certificate.

    Attributes
    ----------
    certificate : Certificate
        The repeated checks.
    alterations : tuple of str
        Sentences on every entry that was changed, removed or added after the certificate was written, as the
        digests in the file show.
    differences : tuple of str
        Texts on every entry of the file that is missing, added, or not equal in every bit: claims, rows,
        limits, verdicts, settings, samples, parameters and their SHA-256.
    environment : dict of str to (recorded, present)
        Entries of the environment that differ.
    compared : int
        Number of figures in the file, which are the values of all rows.
    changed_figures : int
        Number of figures that are not equal in every bit.
    measured : tuple of str
        A sentence for each claim on a device: how it was compared, or why it was not measured again.
    """

    certificate: Certificate
    alterations: tuple[str, ...]
    differences: tuple[str, ...]
    environment: Mapping[str, tuple[Any, Any]]
    compared: int
    changed_figures: int
    measured: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """True if the file is as it was written, and equals the repeated checks in every bit."""
        return not self.differences and not self.alterations

    def __str__(self) -> str:
        if not self.differences:
            lines = [f"replayed: all {self.compared} figures are equal in every bit"]
        else:
            others = len(self.differences) - self.changed_figures
            counts = [f"{self.changed_figures} of {self.compared} figures differ"]
            counts += [f"{others} other entries differ"] if others else []
            lines = [f"replayed: {', '.join(counts)}", *_first(self.differences)]
        lines += self.measured
        if self.alterations:
            lines += [f"{len(self.alterations)} entries were changed in the file", *_first(self.alterations)]
        if not self.identical:
            lines += [f"{name} was {old}, is {new}" for name, (old, new) in self.environment.items()]
        return "\n    ".join(lines)


def _first(sentences: tuple[str, ...], most: int = 20) -> list[str]:
    """Return at most `most` sentences, and the number of the others."""
    rest = [f"and {len(sentences) - most} more"] if len(sentences) > most else []
    return [*sentences[:most], *rest]


def replay(path: str | PathLike[str]) -> Replay:
    """Repeat the checks of a saved JSON certificate, and compare all of its content bit for bit.

    A model, cost or function that the user wrote is imported by the path in the file, after a comparison of
    its source files with the hashes in the file. This runs the code of those modules: replay only
    certificates that you trust. A device whose functions can be imported is measured again. If its
    relaxations repeat, all bits are compared; otherwise verdicts and slopes are, within the limits of both
    measurements. The verdicts on other devices are computed from their figures.

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
        If the file is not a certificate or is damaged, a model, a sample or a setting in it was changed, or
        code that the user wrote is not found or has changed.
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
    altered = tuple(alterations(recorded))
    _refuse_other_inputs(altered, path)
    claims = [claim for case in recorded["cases"] for claim in case["claims"]]
    devices: list[Again] = []
    with closing(tracked(claims, len(claims), "claim")) as marks:
        cases = tuple(_repeat(case, devices, marks) for case in recorded["cases"])
    certificate = Certificate(cases, recorded["repeat_with"])
    content = certificate.as_dict()
    for case, old in zip(content["cases"], recorded["cases"], strict=True):
        if old["problem"] is not None:
            case["problem"] = encoded_again(old["problem"], old["network"])
        _keep_devices(case, old)
    repeated = json.loads(json.dumps(content))
    found = tuple(differences(_findings(recorded), _findings(repeated)))
    noisy = tuple(text for again in devices for text in again.differences)
    return Replay(
        certificate,
        tuple(alteration.text for alteration in altered),
        (*(difference.text for difference in found), *noisy),
        _changes(recorded["environment"], config()),
        compared=sum(len(claim["rows"]) for claim in claims),
        changed_figures=sum(difference.is_figure for difference in found),
        measured=tuple(_how(again) for again in devices),
    )


def _keep_devices(case: CaseRecord, old: Mapping[str, Any]) -> None:
    """Give claims on devices those of the file, whose attributes the measurements may have changed."""
    for claim, stored in zip(case["claims"], old["claims"], strict=True):
        if DEVICE in stored["settings"]:
            claim["settings"][DEVICE] = stored["settings"][DEVICE]


def _how(again: Again) -> str:
    if again.how == "bits":
        return "a device was measured again, and its relaxations repeat: all bits were compared"
    if again.how == "statistics":
        return (
            "a device with noise was measured again: the verdicts were compared, and the slopes within the "
            "limits of both measurements"
        )
    return f"a device was not measured again, but judged again by its figures: {again.how}"


def _refuse_other_inputs(altered: Sequence[Alteration], path: str | PathLike[str]) -> None:
    """Raise ValueError if a model, a sample or a setting is not the recorded one."""
    texts = tuple(alteration.text for alteration in altered if alteration.of_input)
    if texts:
        raise ValueError(
            f"[replay] The models, samples and settings of a certificate are those that were checked. "
            f"Received '{path}': {'; '.join(_first(texts, 5))}."
        )


def _findings(certificate: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry for key, entry in certificate.items() if key not in _CIRCUMSTANCES}


def _changes(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = [*recorded, *(name for name in present if name not in recorded)]
    values = {name: (recorded.get(name), present.get(name)) for name in names}
    return {name: pair for name, pair in values.items() if pair[0] != pair[1]}


def _repeat(case: Mapping[str, Any], devices: list[Again], marks: Iterator[Any]) -> Case:
    """Run the claims of a stored case again, with its problem and settings; take one of `marks` for each."""
    _refuse_unknown_claims(case)
    problem = None if case["problem"] is None else decode_problem(case["problem"], case["network"])
    claims = zip(case["claims"], marks, strict=False)
    reports = tuple(_checked_again(claim, problem, case["network"], devices) for claim, _ in claims)
    if problem is None:
        return Case(None, reports, left_out=case["left_out"])
    reasons = {name: CLAIMS[name].excluded(problem) for name in case["not_claimed"]}
    skipped = {name: reason for name, reason in reasons.items() if reason is not None}
    checked = {claim["claim"] for claim in case["claims"]} | set(skipped)
    left_out = {name: reason for name, reason in case["left_out"].items() if name not in checked}
    return Case(problem, reports, skipped, left_out)


def _refuse_unknown_claims(case: Mapping[str, Any]) -> None:
    checked = MEASURED if case["problem"] is None else REPEATED
    known = {"claims": checked, "left_out": checked}
    names = {
        "claims": [claim["claim"] for claim in case["claims"]],
        "not_claimed": list(case["not_claimed"]),
        "left_out": list(case["left_out"]),
    }
    for key, found in names.items():
        among = known.get(key, CLAIMS)
        for name in found:
            if name not in among:
                raise ValueError(
                    f"[replay] A claim is one of {', '.join(among)}. "
                    f"Received {name!r} in {case['network']}, {key}."
                )


def _checked_again(
    claim: Mapping[str, Any], problem: Problem | None, network: str, devices: list[Again]
) -> Verdict:
    with reading(f"{network}, {claim['claim']}"):
        if problem is None:
            devices.append(checked_again(claim))
            return devices[-1].report
    settings = {}
    for name, value in claim["settings"].items():
        with reading(f"{network}, {claim['claim']}, settings, {name}"):
            settings[name] = decode(value)
    with reading(f"{network}, {claim['claim']}, settings"):
        return REPEATED[claim["claim"]].check(problem, **settings)


def _read(path: str | PathLike[str]) -> dict[str, Any]:
    """Return the content of a file after a comparison with the form of a certificate."""
    path = path_of(path, "replay")
    try:
        with file_errors(path, "replay"):
            text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _no_certificate(path, "it is not UTF-8 text") from error
    try:
        recorded = parse(
            text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite, parse_int=_integer
        )
    except ValueError as error:
        raise _no_certificate(path, str(error)) from error
    if not isinstance(recorded, dict) or "format" not in recorded:
        raise _no_certificate(path, "it has no entry 'format'")
    if recorded["format"] != FORMAT:
        raise _no_certificate(
            path, f"its format is {recorded['format']!r}; certify again with this version of equiprop"
        )
    fault = next(faults(CertificateRecord, recorded), None)
    if fault is not None:
        raise _no_certificate(path, fault)
    return recorded


def _no_certificate(path: str | PathLike[str], reason: str) -> ValueError:
    return ValueError(
        f"[replay] The file is a certificate saved as JSON ({FORMAT}). Received '{path}': {reason}."
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the entry {twice!r} occurs twice in an object")
    return content


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _integer(text: str) -> int:
    if len(text) > 40:
        raise ValueError(f"{text[:12]}... is a whole number of {len(text)} digits")
    return int(text)
