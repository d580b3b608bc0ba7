"""The ``equiprop`` command: train, evaluate, verify, info."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from equiprop import plotting
from equiprop.activations import ACTIVATIONS
from equiprop.checkpoint import load, save
from equiprop.config import config, set_num_threads
from equiprop.costs import Cost, CrossEntropy, SquaredError
from equiprop.data import Dataset, load_digits, load_mnist
from equiprop.history import Epoch
from equiprop.models import HopfieldNetwork
from equiprop.nudging import Nudging, centered, exact_limit, one_sided, random_sign
from equiprop.optimizers import SGD, Adam, Optimizer, constant, cosine
from equiprop.results import ConvergenceError
from equiprop.second_phase import EquilibriumPropagation, RecurrentBackpropagation, SecondPhase
from equiprop.solvers import (
    GMRES,
    BlockUpdate,
    ConjugateGradient,
    Euler,
    FixedPointIteration,
    FreeSolver,
    LinearSolver,
    Neumann,
    Richardson,
    default_solver,
    free_phase,
)
from equiprop.training import Trainer, training_solver
from equiprop.verify.certificate import Certificate, replay
from equiprop.verify.problem import prepare
from equiprop.verify.suite import CLAIMS, check_claims, examine, networks, random_samples

_SOLVERS: dict[str, type[FreeSolver]] = {
    "block": BlockUpdate,
    "fixed-point": FixedPointIteration,
    "euler": Euler,
}
_LINEAR: dict[str, type[LinearSolver]] = {
    "cg": ConjugateGradient,
    "gmres": GMRES,
    "richardson": Richardson,
    "neumann": Neumann,
}
_COSTS: dict[str, type[Cost]] = {"squared-error": SquaredError, "cross-entropy": CrossEntropy}
#: Hidden units and epochs unless told otherwise.
_DEFAULTS: dict[str, tuple[list[int], int]] = {"digits": ([256], 30), "mnist": ([512], 10)}
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 if a check failed, 2 for errors."""
    options = _parser().parse_args(arguments)
    options.command_line = shlex.join(["equiprop", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        if options.threads is not None:
            set_num_threads(options.threads)
        status: int = options.run(options)
        return status
    except (ValueError, TypeError, OSError, ImportError, MemoryError, ConvergenceError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.errno is not None:
            text = f"[{options.command}] Files and folders can be used. Received {text}."
        print(f"equiprop {options.command}: error: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"equiprop {options.command}: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="equiprop", description="Train and verify fixed-point recurrent networks."
    )
    parser.add_argument("--version", action="version", version=config()["version"])
    commands = parser.add_subparsers(dest="command", required=True)
    for add in (_add_train, _add_evaluate, _add_verify, _add_info):
        command = add(commands)
        command.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        command.add_argument("--threads", type=int, help="threads to use (default: all processors)")
    return parser


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", choices=sorted(_DEFAULTS), help="digits ship with scikit-learn")
    command.add_argument("--data-dir", type=Path, help="folder of the MNIST files (mnist only)")


def _add_solver(phases: Any) -> None:
    phases.add_argument("--solver", choices=sorted(_SOLVERS), help="of the relaxations (default: block)")
    phases.add_argument("--tolerance", type=float, help="of the residual; 0 for a fixed number of steps")
    phases.add_argument("--max-iterations", type=int, help="of each phase")


def _add_train(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a network; save the model and its history",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_data(command)
    network = command.add_argument_group("network")
    network.add_argument("--layers", type=int, nargs="+", metavar="UNITS", help="units of the hidden layers")
    network.add_argument("--activation", choices=sorted(ACTIVATIONS), default="hard_sigmoid")
    network.add_argument("--output-activation", choices=sorted(ACTIVATIONS), default="linear")
    network.add_argument("--potential", choices=["legendre", "quadratic"], default="legendre")
    network.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    phases = command.add_argument_group("phases")
    phases.add_argument("--second-phase", choices=["eqprop", "rbp"], default="eqprop")
    phases.add_argument(
        "--nudging", choices=["centered", "one_sided", "random_sign", "exact"], default="centered"
    )
    phases.add_argument("--beta", type=float, default=0.25, help="nudging factor")
    phases.add_argument("--cost", choices=sorted(_COSTS), default="squared-error")
    _add_solver(phases)
    phases.add_argument("--linear-solver", choices=sorted(_LINEAR), default="cg", help="of rbp")
    training = command.add_argument_group("training")
    training.add_argument("--epochs", type=int)
    training.add_argument("--batch-size", type=int, default=50)
    training.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd")
    training.add_argument("--learning-rate", type=float, help="default: 0.05 for sgd, 0.001 for adam")
    training.add_argument("--momentum", type=float, default=0.9, help="of sgd")
    training.add_argument("--weight-decay", type=float, default=0.0)
    training.add_argument("--schedule", choices=["cosine", "constant"], default="cosine")
    training.add_argument("--validation", type=float, help="fraction of the training data to hold out")
    training.add_argument("--patience", type=int, help="epochs without improvement; needs --validation")
    training.add_argument("--seed", type=int, default=0)
    command.add_argument("--output", type=Path, help="folder for model.safetensors and history.jsonl")
    command.add_argument("--plot", action="store_true", help="also write learning_curve.png, relaxation.png")
    command.set_defaults(run=_train)
    return command


def _add_evaluate(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser("evaluate", help="test error of a saved model")
    command.add_argument("model", type=Path)
    _add_data(command)
    _add_solver(command.add_argument_group("free phase"))
    command.set_defaults(run=_evaluate)
    return command


def _add_verify(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "verify",
        help="check every claim of the theory, on random networks or a saved one",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.add_argument("--claims", nargs="+", metavar="CLAIM", default=list(CLAIMS), help="which to check")
    network = command.add_argument_group("network and samples")
    network.add_argument("--model", type=Path, help="a saved model instead of random networks")
    network.add_argument(
        "--layers", type=int, nargs="+", metavar="UNITS", help="units of every layer, input first"
    )
    network.add_argument("--activation", choices=sorted(ACTIVATIONS), help="of every layer")
    network.add_argument("--potential", choices=["legendre", "quadratic"], default="quadratic")
    network.add_argument("--cost", choices=sorted(_COSTS), default="squared-error")
    network.add_argument("--samples", type=int, default=3)
    network.add_argument("--data", choices=sorted(_DEFAULTS), help="test images instead of random samples")
    network.add_argument("--data-dir", type=Path, help="folder of the MNIST files (mnist only)")
    network.add_argument("--seed", type=int, default=0)
    theorem = command.add_argument_group("the theorem")
    theorem.add_argument("--steps", type=int, default=200)
    theorem.add_argument("--step-size", type=float, help="default: 0.3 where that is stable")
    output = command.add_argument_group("output")
    output.add_argument("--report", type=Path, nargs="+", metavar="FILE", help="certificates: .html, .json")
    output.add_argument("--plot", type=Path, metavar="FILE", help="picture of the theorem, first network")
    output.add_argument("--replay", type=Path, metavar="FILE", help="repeat a .json certificate bit for bit")
    command.set_defaults(run=_verify)
    return command


def _add_info(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser("info", help="this build, or a saved model")
    command.add_argument("model", type=Path, nargs="?")
    command.set_defaults(run=_info)
    return command


def _load_data(options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    if options.data == "digits":
        return load_digits()
    if options.data_dir is None:
        raise ValueError(
            f"[{options.command} mnist] --data-dir names the folder of the four MNIST files. Received none; "
            "equiprop.download.fetch_mnist(folder) downloads them."
        )
    return load_mnist(options.data_dir)


def _network(options: argparse.Namespace, data: Dataset) -> HopfieldNetwork:
    hidden = options.layers or _DEFAULTS[options.data][0]
    return HopfieldNetwork(
        [data.num_features, *hidden, data.num_outputs],
        activation=options.activation,
        output_activation=options.output_activation,
        potential=options.potential,
        dtype=options.dtype,
        seed=options.seed,
    )


def _solver(options: argparse.Namespace, model: HopfieldNetwork) -> FreeSolver:
    default = training_solver(model)
    kind = _SOLVERS[options.solver] if options.solver else type(default)
    tolerance = default.tolerance if options.tolerance is None else options.tolerance
    limit = default.max_iterations if options.max_iterations is None else options.max_iterations
    return kind(tolerance=tolerance, max_iterations=limit)


def _nudging(options: argparse.Namespace) -> Nudging:
    if options.nudging == "exact":
        return exact_limit()
    if options.nudging == "random_sign":
        return random_sign(options.beta, options.seed)
    return {"centered": centered, "one_sided": one_sided}[options.nudging](options.beta)


def _second_phase(options: argparse.Namespace) -> SecondPhase:
    if options.second_phase == "rbp":
        return RecurrentBackpropagation(_LINEAR[options.linear_solver](tolerance=1e-2))
    return EquilibriumPropagation(_nudging(options))


def _optimizer(options: argparse.Namespace) -> Optimizer:
    if options.optimizer == "adam":
        rate = 1e-3 if options.learning_rate is None else options.learning_rate
        return Adam(rate, weight_decay=options.weight_decay)
    rate = 0.05 if options.learning_rate is None else options.learning_rate
    return SGD(rate, options.momentum, options.weight_decay)


class _Log:
    """Prints the table and writes the history as training goes on, so that stopping loses nothing."""

    def __init__(self, test: Dataset, path: Path, quiet: bool) -> None:
        self.test, self.path, self.quiet = test, path, quiet
        self.records: list[dict[str, Any]] = []
        path.write_text("")
        self._say(
            f"{'epoch':>5} {'train err':>9} {'test err':>9} {'objective':>10} "
            f"{'free its':>8} {'2nd its':>8} {'residual':>9} {'seconds':>8}"
        )

    def __call__(self, trainer: Trainer, epoch: Epoch) -> None:
        record = {**epoch.as_dict(), "test_error": trainer.evaluate(self.test).error}
        self.records.append(record)
        with self.path.open("a") as stream:
            stream.write(json.dumps(record) + "\n")
        self._say(
            f"{epoch.epoch:>5} {100 * epoch.train_error:>8.2f}% {100 * record['test_error']:>8.2f}% "
            f"{epoch.objective:>10.5f} {epoch.free_iterations:>8.1f} {epoch.second_iterations:>8.1f} "
            f"{epoch.residual:>9.1e} {epoch.seconds:>8.2f}"
        )

    def _say(self, line: str) -> None:
        if not self.quiet:
            print(line, flush=True)


def _train(options: argparse.Namespace) -> int:
    train, test = _load_data(options)
    model = _network(options, train)
    folder = options.output or Path(f"equiprop-{options.data}")
    folder.mkdir(parents=True, exist_ok=True)
    if not options.json:
        print(f"{model} on {len(train)} {options.data}, {options.second_phase}; results go to {folder}/")
    log = _Log(test, folder / "history.jsonl", options.json)
    trainer = Trainer(
        model,
        second_phase=_second_phase(options),
        optimizer=_optimizer(options),
        cost=_COSTS[options.cost](),
        solver=_solver(options, model),
        schedule=cosine() if options.schedule == "cosine" else constant(),
        batch_size=options.batch_size,
        seed=options.seed,
        callbacks=[log],
    )
    epochs = _DEFAULTS[options.data][1] if options.epochs is None else options.epochs
    path, start = folder / "model.safetensors", model.parameters.copy()
    try:
        trainer.fit(train, epochs=epochs, validation=options.validation, patience=options.patience)
    except BaseException:
        if (model.parameters != start).any() and np.isfinite(model.parameters).all():
            save(model, path)
            print(f"stopped; the model so far is in {path}", file=sys.stderr)
        raise
    save(model, path)
    error = trainer.evaluate(test).error
    if options.plot:
        _plot(trainer, log, test, folder)
    if options.json:
        result = {"command": "train", "data": options.data, "test_error": error, "history": log.records}
        print(json.dumps({**result, "model": str(path)}))
    else:
        print(f"test error {100 * error:.2f} % ({100 * (1 - error):.2f} % accuracy)")
    return 0


def _plot(trainer: Trainer, log: _Log, test: Dataset, folder: Path) -> None:
    history = [
        replace(epoch, validation_error=record["test_error"])
        for epoch, record in zip(trainer.history, log.records, strict=True)
    ]
    plotting.save(plotting.learning_curve(history), folder / "learning_curve.png")
    x, _ = test.batch(np.arange(min(100, len(test))), trainer.model.dtype)
    free = free_phase(trainer.model, x, solver=default_solver(trainer.model), trace=True, on_failure="ignore")
    plotting.save(plotting.relaxation(free), folder / "relaxation.png")


def _evaluate(options: argparse.Namespace) -> int:
    model = load(options.model)
    _, test = _load_data(options)
    named = any(value is not None for value in (options.solver, options.tolerance, options.max_iterations))
    result = Trainer(model, solver=_solver(options, model) if named else None).evaluate(test)
    if options.json:
        numbers = {"objective": result.objective, "unconverged": result.unconverged}
        print(json.dumps({"command": "evaluate", "test_error": result.error, **numbers}))
    else:
        print(f"{model}: test error {100 * result.error:.2f} % of {len(test)}, cost {result.objective:.5f}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    if options.replay:
        return _replay(options)
    check_claims(options.claims)
    model = load(options.model) if options.model else None
    if options.data and not (options.layers or options.model):
        raise ValueError("[verify] Samples of a data set need --layers or --model. Received neither.")
    settings = {"steps": options.steps, "step_size": options.step_size}
    cases = []
    for net in networks(model, options.layers, options.activation, options.potential, options.seed):
        x, y = _verify_samples(options, net)
        problem = prepare("verify", net, x, y, _COSTS[options.cost](), None)
        if not options.json:
            print(problem.model, flush=True)
        cases.append(
            examine(
                problem,
                options.claims,
                {name: settings for name in ("equality", "runge-kutta")},
                lambda report: None if options.json else print(_indented(report), flush=True),
            )
        )
    seed = "" if "--seed" in options.command_line else f" --seed {options.seed}"
    certificate = Certificate(tuple(cases), options.command_line + seed)
    for path in options.report or ():
        certificate.save(path)
    if options.plot:
        reports = [report for case in cases for report in case.reports]
        shown = next((report for report in reports if report.claim == "equality"), reports[0])
        plotting.save(shown.plot(), options.plot)
    return _conclude(options, certificate)


def _verify_samples(options: argparse.Namespace, net: HopfieldNetwork) -> tuple[Any, Any]:
    if options.data is None:
        return random_samples(net, options.samples, options.seed)
    _, test = _load_data(options)
    return test.batch(np.arange(options.samples), "float64")


def _replay(options: argparse.Namespace) -> int:
    result = replay(options.replay)
    if not options.json:
        print(result.certificate)
        print(result)
    status = _conclude(options, result.certificate, {"replay": str(result), "identical": result.identical})
    return status if result.identical else 1


def _conclude(
    options: argparse.Namespace, certificate: Certificate, more: dict[str, Any] | None = None
) -> int:
    if options.json:
        print(json.dumps({"command": "verify", **certificate.as_dict(), **(more or {})}))
    else:
        print(certificate.verdict)
    return 0 if certificate.passed else 1


def _indented(text: Any) -> str:
    return "    " + "\n    ".join(str(text).splitlines())


def _info(options: argparse.Namespace) -> int:
    facts = config()
    if options.model:
        model = load(options.model)
        facts = {
            "model": repr(model),
            "parameters": model.num_parameters,
            "blocks": {name: list(block.shape) for name, block in model.blocks.items()},
            "largest_parameter": float(np.abs(model.parameters).max()),
        }
    if options.json:
        print(json.dumps({"command": "info", **facts}))
    else:
        for name, value in facts.items():
            print(f"{name:<18} {value}")
    return 0
