"""Reading of run folders and certificates for reports; what is damaged or missing becomes a sentence."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equiprop.cli.run_folder import HISTORY, LOG, RESULT, SETTINGS, WARNING
from equiprop.json_text import parse

#: Most bytes of a file that is read.
_MOST_BYTES = 2**26
#: The first key and the start of its value in a JSON certificate.
_CERTIFICATE = '"format": "equiprop-certificate-'
#: Start of the last line in the log of a run that was not completed.
_END = "equiprop train: "


@dataclass
class Run:
    """What the folder of a run holds.

    Attributes
    ----------
    name : str
        Its path below the folder of a report, or as the user gave it.
    options : dict
        Options of the command, with the version of equiprop.
    history : list of dict
        Records of epochs.
    result : dict
        Content of result.json, empty for a run that is not finished.
    warnings : list of str
        Warnings in the log.
    end : str
        Why the run was not completed, or an empty text.
    faults : list of str
        Sentences on what is missing or damaged.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    end: str = ""
    faults: list[str] = field(default_factory=list)

    def curve(self, name: str) -> list[tuple[float, float]]:
        """Return (epoch, value) for all epochs with a finite value of this name."""
        pairs = ((number(record, "epoch"), number(record, name)) for record in self.history)
        return [(x, y) for x, y in pairs if x is not None and y is not None]

    @property
    def state(self) -> str:
        """One of finished, failed, and not finished; a run of the last kind may still be running."""
        if self.result:
            return "finished"
        return "failed" if self.end.startswith("error:") else "not finished"

    def summary(self) -> dict[str, Any]:
        """Return the results by name; None for what is not known.

        The best epoch is that of the lowest validation error, or without one of the lowest objective.
        """
        last: Mapping[str, Any] = self.history[-1] if self.history else {}
        by_validation = self.curve("validation_error")
        best = min(by_validation or self.curve("objective"), key=lambda pair: pair[1], default=(None, None))
        test = number(self.result, "test_error")
        return {
            "state": self.state,
            "epochs": len(self.history),
            "test_error": number(last, "test_error") if test is None else test,
            "train_error": number(last, "train_error"),
            "validation_error": best[1] if by_validation else None,
            "objective": number(last, "objective"),
            "best_epoch": None if best[0] is None else int(best[0]),
            "seconds": sum((number(record, "seconds") or 0.0 for record in self.history), 0.0),
            "unconverged": int(sum(number(record, "unconverged") or 0.0 for record in self.history)),
            "warnings": len(self.warnings),
        }


@dataclass(frozen=True)
class StoredCertificate:
    """The verdict that a certificate holds.

    Attributes
    ----------
    name : str
        Path of the file below the folder of the report.
    passed : bool, optional
        None for a damaged file.
    verdict, date : str
    """

    name: str
    passed: bool | None
    verdict: str
    date: str


def number(record: Mapping[str, Any], name: str) -> float | None:
    """Return a finite number of a record, or None if it has none of this name."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 and math.isfinite(value) else None


def is_run(folder: Path) -> bool:
    """Return True if a folder has a file of a run, or does not allow to ask for one."""
    try:
        return any((folder / name).exists() for name in (SETTINGS, HISTORY, RESULT))
    except PermissionError:
        return True


def read_run(folder: Path, name: str) -> Run:
    """Return what the folder of a run holds; files that cannot be read are named in its faults."""
    run = Run(name)
    settings = _object(folder, SETTINGS, run.faults, required=True)
    options = settings.get("options", {})
    run.options = {"version": settings.get("version"), **(options if isinstance(options, dict) else {})}
    run.result = _object(folder, RESULT, run.faults, required=False)
    run.history = _records(folder, run.faults)
    lines = _lines(folder, LOG, run.faults)
    run.warnings = list(dict.fromkeys(line[len(WARNING) :] for line in lines if line.startswith(WARNING)))
    if lines and lines[-1].startswith(_END) and not run.result:
        run.end = lines[-1][len(_END) :]
    return run


def _text(folder: Path, name: str, faults: list[str], required: bool) -> str:
    path = folder / name
    try:
        if not path.exists() and not required:
            return ""
        if path.exists() and not path.is_file():
            faults.append(f"{name} is not a file.")
            return ""
        if path.stat().st_size > _MOST_BYTES:
            faults.append(f"{name} is not read: it has more than {_MOST_BYTES // 2**20} MB.")
            return ""
        return path.read_bytes().decode(errors="backslashreplace")
    except OSError as error:
        faults.append(f"{name} cannot be read: {error.strerror}.")
        return ""


def _object(folder: Path, name: str, faults: list[str], required: bool) -> dict[str, Any]:
    text = _text(folder, name, faults, required)
    content = _parsed(text) if text else {}
    if not isinstance(content, dict):
        faults.append(f"{name} is damaged: it holds no JSON object.")
        return {}
    return content


def _parsed(text: str) -> Any:
    """Return the value of a JSON text, or None if it is damaged."""
    try:
        return parse(text)
    except ValueError:
        return None


def _lines(folder: Path, name: str, faults: list[str]) -> list[str]:
    return _text(folder, name, faults, required=False).splitlines()


def _records(folder: Path, faults: list[str]) -> list[dict[str, Any]]:
    parsed = [_parsed(line) for line in _text(folder, HISTORY, faults, required=True).splitlines()]
    records = [entry for entry in parsed if isinstance(entry, dict) and number(entry, "epoch") is not None]
    if len(records) < len(parsed):
        faults.append(f"{len(parsed) - len(records)} of {len(parsed)} lines of {HISTORY} are damaged.")
    return records


def folders_below(folder: Path, closed: dict[str, list[str]]) -> Iterator[tuple[Path, str, list[str]]]:
    """Yield a folder and all folders below it: path, name for a report, and names of its JSON files.

    Links to folders are not followed. Sentences on folders that cannot be read are added to `closed`.
    """

    def note(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        closed[name] = [f"The folder cannot be read: {error.strerror}."]

    for place, inside, files in os.walk(folder, onerror=note):
        inside.sort()
        name = Path(place).relative_to(folder).as_posix()
        json_files = sorted(file for file in files if file.endswith(".json"))
        yield Path(place), folder.resolve().name if name == "." else name, json_files


def read_certificate(path: Path, name: str) -> StoredCertificate | None:
    """Return the verdict in a file, or None if it is not a JSON certificate."""
    faults: list[str] = []
    if path.name in (SETTINGS, RESULT) or _CERTIFICATE not in _start(path):
        return None
    content = _object(path.parent, path.name, faults, required=True)
    passed, verdict, date = (content.get(key) for key in ("passed", "verdict", "date"))
    if isinstance(passed, bool) and isinstance(verdict, str) and isinstance(date, str):
        return StoredCertificate(name, passed, verdict, date)
    return StoredCertificate(name, None, " ".join(faults) or f"{path.name} is damaged.", "")


def _start(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as stream:
            return stream.read(200).decode(errors="replace")
    except OSError:
        return ""


def settings_that_differ(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the values of each option, one for each run, that are not equal in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.options)
    values = {name: [run.options.get(name) for run in runs] for name in names}
    return {name: found for name, found in values.items() if len({json.dumps(v) for v in found}) > 1}
