"""Certificates: what was checked, what held, and all that is needed to check it again."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from equiprop.arrays import Array
from equiprop.checkpoint import describe, rebuild
from equiprop.config import config
from equiprop.costs import Cost, CrossEntropy, SquaredError
from equiprop.models import HopfieldNetwork
from equiprop.nudging import Nudging, centered, exact_limit, one_sided
from equiprop.solvers import BlockUpdate, Euler, FixedPointIteration, FreeSolver
from equiprop.verify.problem import Problem, prepare
from equiprop.verify.report import Report, Verdict, finite_only

_FORMAT = "equiprop-certificate-1"
_COSTS: Mapping[str, Cost] = {"SquaredError": SquaredError(), "CrossEntropy": CrossEntropy()}
_SOLVERS: Mapping[str, type[FreeSolver]] = {
    kind.__name__: kind for kind in (BlockUpdate, FixedPointIteration, Euler)
}
_NUDGINGS: Mapping[str, Any] = {"one_sided": one_sided, "centered": centered}


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

    def as_dict(self) -> dict[str, Any]:
        """Return the case for a machine."""
        return {
            "network": self.name,
            "passed": self.passed,
            "claims": [{**r.as_dict(), "settings": _encode(r.settings)} for r in self.reports],
            "not_claimed": dict(self.skipped),
            "problem": None if self.problem is None else _encode_problem(self.problem),
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
        """Whether every claim holds of every model."""
        return bool(self.cases) and all(case.passed for case in self.cases)

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        reports = [report for case in self.cases for report in case.reports]
        held = sum(report.passed for report in reports)
        models = f"{len(self.cases)} model{'s' if len(self.cases) != 1 else ''}"
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
            "format": _FORMAT,
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
        path = Path(path)
        if path.suffix == ".html":
            from equiprop.verify.html import page

            text = page(self)
        elif path.suffix == ".json":
            text = json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n"
        else:
            raise ValueError(f"[save] A certificate is a .html or a .json file. Received {str(path)!r}.")
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def __str__(self) -> str:
        return "\n".join([*(str(case) for case in self.cases), self.verdict])


@dataclass(frozen=True)
class Replay:
    """A certificate made again.

    Attributes
    ----------
    certificate : Certificate
    differences : tuple of str
        Figures that are not the same to the last bit.
    environment : dict of str to (recorded, present)
        What differs in the environment.
    compared : int
        How many figures were compared.
    """

    certificate: Certificate
    differences: tuple[str, ...]
    environment: Mapping[str, tuple[Any, Any]]
    compared: int

    @property
    def identical(self) -> bool:
        """Whether every figure has the same bits."""
        return not self.differences

    def __str__(self) -> str:
        if self.identical:
            return f"replayed: the bits of all {self.compared} figures agree"
        lines = [
            f"replayed: {len(self.differences)} of {self.compared} figures differ",
            *self.differences[:20],
        ]
        lines += [f"{name} was {old}, is {new}" for name, (old, new) in self.environment.items()]
        return "\n    ".join(lines)


def replay(path: str | PathLike[str]) -> Replay:
    """Repeat the checks of a saved JSON certificate, and compare every figure bit for bit."""
    recorded = _read(path)
    try:
        repeated = [_repeat(case, path) for case in recorded["cases"]]
        here = config()
        changed = {k: (v, here.get(k)) for k, v in recorded["environment"].items() if here.get(k) != v}
        command = str(recorded["repeat_with"])
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        if str(error).startswith("["):
            raise
        raise ValueError(
            f"[replay] The certificate holds a network, samples and figures. Received a damaged '{path}'."
        ) from error
    differences = tuple(line for _, lines, _ in repeated for line in lines)
    certificate = Certificate(tuple(case for case, _, _ in repeated), command)
    return Replay(certificate, differences, changed, sum(count for _, _, count in repeated))


def _repeat(case: Mapping[str, Any], path: str | PathLike[str]) -> tuple[Case, list[str], int]:
    """Return the case made again, the figures that differ in words, and how many were compared."""
    from equiprop.verify.suite import CLAIMS

    problem = _decode_problem(case, path)
    reports: list[Report] = []
    differences, compared = [], 0
    for claim in case["claims"]:
        if claim["claim"] not in CLAIMS:
            raise ValueError(f"[replay] A claim is one of {', '.join(CLAIMS)}. Received {claim['claim']!r}.")
        report = CLAIMS[claim["claim"]].check(problem, **_decode(claim["settings"]))
        reports.append(report)
        now = {row["label"]: row["value"] for row in report.as_dict()["rows"]}
        for row in claim["rows"]:
            compared += 1
            label, old, new = row["label"], row["value"], now.get(row["label"])
            if new != old:
                where = f"{case['network']}, {claim['claim']}, {label}"
                differences.append(f"{where}: was {old}, is {new}")
    return Case(problem, tuple(reports), dict(case["not_claimed"])), differences, compared


def _read(path: str | PathLike[str]) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise type(error)(f"[replay] The certificate can be read. Received {error}.") from error
    except UnicodeDecodeError:
        text = ""
    recorded: Any = None
    try:
        recorded = json.loads(text)
        complete = recorded["format"] == _FORMAT and isinstance(recorded["cases"], list)
    except (ValueError, KeyError, TypeError, RecursionError):
        complete = False
    if not complete:
        raise ValueError(f"[replay] The file is a certificate saved as JSON ({_FORMAT}). Received '{path}'.")
    return dict(recorded)


def _encode_problem(problem: Problem) -> dict[str, Any]:
    parameters = problem.model.parameters
    digest = hashlib.sha256(np.ascontiguousarray(parameters).tobytes()).hexdigest()
    own = not isinstance(problem.model, HopfieldNetwork)
    return {
        "model": None if own else describe(problem.model),  # type: ignore[arg-type]
        "parameters": None if own else _encode_array(parameters),
        "parameters_sha256": digest,
        "x": _encode_array(problem.x),
        "y": _encode_array(np.asarray(problem.y)),
        "cost": type(problem.cost).__name__,
        "solver": {"name": type(problem.solver).__name__, **asdict(problem.solver)},
    }


def _decode_problem(case: Mapping[str, Any], path: str | PathLike[str]) -> Problem:
    stored = case["problem"]
    if stored is None or stored["model"] is None:
        raise ValueError(
            "[replay] A network can be replayed; a model of one's own needs its code. "
            f"Received a certificate of {case['network']} in '{path}'."
        )
    parameters = _decode_array(stored["parameters"])
    net = rebuild(stored["model"], parameters.size)
    net.parameters[:] = parameters
    options = dict(stored["solver"])
    solver = _SOLVERS[options.pop("name")](**options)
    x, y = _decode_array(stored["x"]), _decode_array(stored["y"])
    return prepare("replay", net, x, y, _COSTS[stored["cost"]], solver)


def _encode_array(array: Array) -> dict[str, Any]:
    array = np.ascontiguousarray(array)
    array = array.astype(array.dtype.newbyteorder("<"))
    return {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "data": base64.b64encode(array.tobytes()).decode("ascii"),
    }


def _decode_array(stored: Mapping[str, Any]) -> Array:
    dtype = np.dtype(stored["dtype"])
    if dtype.kind not in "iuf":
        raise TypeError("numbers")
    array = np.frombuffer(base64.b64decode(stored["data"]), dtype).reshape(stored["shape"])
    return array.astype(dtype.newbyteorder("="))


def _encode(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _encode_value(value) for name, value in settings.items()}


def _encode_value(value: Any) -> Any:
    if isinstance(value, Nudging):
        return {"nudging": value.name, "beta": value.beta}
    return finite_only(value)


def _decode(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _decode_value(value) for name, value in settings.items()}


def _decode_value(value: Any) -> Any:
    if isinstance(value, dict):
        name = value.get("nudging")
        return exact_limit() if name == "exact_limit" else _NUDGINGS[str(name)](value["beta"])
    return value
