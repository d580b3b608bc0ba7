"""The command ``equiprop verify``, which checks the claims of the theory, and repeats certificates."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from equiprop import plotting
from equiprop.activations import ACTIVATIONS
from equiprop.checkpoint import load_network
from equiprop.cli.console import say, say_json
from equiprop.cli.data import DATA, add_folder, load_data, user_path
from equiprop.cli.options import COSTS, Condition, Options
from equiprop.cli.verdicts import lines_of
from equiprop.models import HopfieldNetwork
from equiprop.verify.certificate import Case, Certificate
from equiprop.verify.problem import prepare
from equiprop.verify.replay import replay
from equiprop.verify.suite import CLAIMS, check_claims, examine, networks, random_samples
from equiprop.verify.verdict import Report
from equiprop.verify.watch import Clock, seconds

#: The claims that have the settings --steps and --step-size.
_PROCESSES = ("equality", "runge-kutta")
_NEW = Condition("without --replay", lambda o: o.replay is None)
_RANDOM_NETWORKS = Condition("without --model", lambda o: o.model is None)
_KNOWN_INPUTS = Condition("with --layers or --model", lambda o: o.layers is not None or o.model is not None)
_RANDOM = Condition("without --model or without --data", lambda o: o.model is None or o.data is None)
_PROCESS_CLAIMS = Condition(
    f"with --claims {' or '.join(_PROCESSES)}", lambda o: not set(_PROCESSES).isdisjoint(o.claims or CLAIMS)
)


def add_verify(command: argparse.ArgumentParser, options: Options) -> None:
    """Declare the arguments of the command."""
    options.add(
        "--replay",
        type=user_path,
        metavar="FILE",
        help="repeat a .json certificate, and compare all numbers",
    )
    options.add(
        "--verbose",
        Condition("without --json", lambda o: not o.json),
        short="-v",
        action="store_true",
        help="print every figure",
    )
    options.section("claims", _NEW)
    options.add(
        "--claims", nargs="+", metavar="CLAIM", help=f"claims to check (default: all): {', '.join(CLAIMS)}"
    )
    options.add(
        "--steps", _PROCESS_CLAIMS, default=200, type=int, help="number of steps of both second phases"
    )
    options.add(
        "--step-size",
        _PROCESS_CLAIMS,
        type=float,
        help="step size of both second phases (default: 0.3, or less if that is not stable)",
    )
    options.add(
        "--time-limit", type=float, metavar="SECONDS", help="leave out claims that have not ended by then"
    )
    _add_problem(options)
    options.section("output", _NEW)
    options.add(
        "--report", type=user_path, nargs="+", metavar="FILE", help="certificates to write (.html or .json)"
    )
    options.add(
        "--plot",
        type=user_path,
        metavar="FILE",
        help="picture of both second phases of the first network to write",
    )
    command.set_defaults(run=run_verify)


def _add_problem(options: Options) -> None:
    options.section("networks and samples", _NEW)
    options.add("--model", type=user_path, metavar="FILE", help="check a saved model, not random networks")
    options.add(
        "--layers",
        _RANDOM_NETWORKS,
        type=int,
        nargs="+",
        metavar="UNITS",
        help="units of every layer, input first (default: networks with one, two and three hidden layers)",
    )
    options.add(
        "--activation",
        _RANDOM_NETWORKS,
        choices=sorted(ACTIVATIONS),
        help="activation of every layer (default: tanh, sigmoid and hard_sigmoid)",
    )
    potentials = ["legendre", "quadratic"]
    options.add(
        "--potential",
        _RANDOM_NETWORKS,
        default="quadratic",
        choices=potentials,
        help="Legendre potential of the activation, or quadratic leak",
    )
    options.add("--cost", default="squared-error", choices=sorted(COSTS), help="cost of the outputs")
    options.add("--samples", default=3, type=int, help="number of samples")
    options.add(
        "--data", _KNOWN_INPUTS, choices=sorted(DATA), help="use test images instead of random samples"
    )
    add_folder(options, "with --data and a set of images such as mnist")
    options.add("--seed", _RANDOM, default=0, type=int, help="seed of random networks and samples")


def run_verify(options: argparse.Namespace) -> int:
    """Check the claims, write certificates and picture, print the results, and return the exit status."""
    if options.replay:
        return _replay(options)
    claims = options.claims or list(CLAIMS)
    check_claims(claims)
    _check_outputs(options)
    model = load_network(options.model) if options.model else None
    samples, clock = _samples(options), Clock(seconds(options.time_limit, "verify"))
    cases, progress = [], sys.stderr is not None and sys.stderr.isatty() and not options.json
    for net in networks(model, options.layers, options.activation, options.potential, options.seed):
        problem = prepare("verify", net, *samples(net), COSTS[options.cost](), None)
        _say(options, problem.model)
        settings = {"steps": options.steps, "step_size": options.step_size}
        each = {name: settings for name in _PROCESSES}
        cases.append(examine(problem, claims, each, partial(_show, options), progress, clock))
        _say_short(options, cases[-1])
    certificate = Certificate(tuple(cases), _repeating(options))
    for path in options.report or ():
        certificate.save(path)
    if options.plot:
        _plot(cases, options.plot)
    return _conclude(options, certificate)


def _check_outputs(options: argparse.Namespace) -> None:
    """Raise an error, before the claims are checked, if a file could not be written afterwards."""
    for path in options.report or ():
        if path.suffix not in (".html", ".json"):
            raise ValueError(f"[verify] A certificate is a .html or a .json file. Received {str(path)!r}.")
    if options.plot or any(path.suffix == ".html" for path in options.report or ()):
        plotting.require_matplotlib("verify")
    for path in (*(options.report or ()), *([options.plot] if options.plot else ())):
        if not path.parent.is_dir():
            raise ValueError(f"[verify] The folder of a file exists. Received {str(path)!r}.")


def _samples(options: argparse.Namespace) -> Callable[[HopfieldNetwork], tuple[Any, Any]]:
    """Return a function that returns inputs and targets for a network."""
    if options.data is None:
        return lambda net: random_samples(net, options.samples, options.seed)
    _, test = load_data(options)
    batch = test.batch(np.arange(options.samples), "float64")
    return lambda _: batch


def _repeating(options: argparse.Namespace) -> str:
    """Return the command line that makes this certificate, with the default seed if none was given."""
    seeded = "seed" in options.given or not _RANDOM.holds(options)
    command: str = options.command_line
    return command if seeded else f"{command} --seed {options.seed}"


def _plot(cases: list[Case], path: Path) -> None:
    reports = [report for case in cases for report in case.reports]
    if not reports:
        raise ValueError("[verify] --plot needs a claim that applies to a network. Received none.")
    shown = next((report for report in reports if report.claim == "equality"), reports[0])
    plotting.save(shown.plot(), path)


def _replay(options: argparse.Namespace) -> int:
    result = replay(options.replay)
    for case in result.certificate.cases:
        _say(options, case if options.verbose else case.name)
        _say_short(options, case)
    _say(options, result)
    status = _conclude(options, result.certificate, {"replay": str(result), "identical": result.identical})
    return status if result.identical else 1


def _conclude(
    options: argparse.Namespace, certificate: Certificate, more: dict[str, Any] | None = None
) -> int:
    if options.json:
        say_json("verify", {**certificate.as_dict(), **(more or {})})
    else:
        say(certificate.verdict)
    return 0 if certificate.passed else 1


def _say(options: argparse.Namespace, text: Any) -> None:
    if not options.json:
        say(str(text))


def _say_short(options: argparse.Namespace, case: Case) -> None:
    if not options.verbose:
        for line in lines_of(case):
            _say(options, line)


def _show(options: argparse.Namespace, report: Report) -> None:
    if options.verbose:
        _say(options, _indented(report))


def _indented(text: Any) -> str:
    return "    " + "\n    ".join(str(text).splitlines())
