"""The command ``equiprop train``, which trains a network and saves the model and its history."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from equiprop import plotting
from equiprop.arrays import Array
from equiprop.cli.data import DATA, add_data, load_data
from equiprop.cli.options import Options
from equiprop.cli.run_folder import RunFolder
from equiprop.cli.trainer import add_trainer, build_trainer
from equiprop.dataset import Dataset
from equiprop.history import Epoch
from equiprop.models import HopfieldNetwork
from equiprop.solvers import default_solver, free_phase
from equiprop.training import Trainer


def add_train(command: argparse.ArgumentParser, options: Options) -> None:
    """Declare the arguments of the command."""
    add_data(command, options)
    options.add("--output", type=Path, metavar="DIR", help="folder of the results (default: equiprop-DATA)")
    options.add("--plot", action="store_true", help="also write learning_curve.png and relaxation.png")
    add_trainer(options)
    command.set_defaults(run=run_train)


def run_train(options: argparse.Namespace) -> int:
    """Train a network, save it, print its test error, and return the exit status."""
    train, test = load_data(options)
    trainer = build_trainer(options, train)
    folder = RunFolder(options.output or Path(f"equiprop-{options.data}"))
    if options.plot:
        plotting.require_matplotlib("train")
    trainer.prepare(train)
    log = _Log(test, folder, trainer.model.parameters, quiet=options.json)
    trainer.callbacks = [log]
    log.say_header(f"{trainer.model} on {len(train)} {options.data}, {options.second_phase}")
    _fit(trainer, train, options, log)
    error = trainer.evaluate(test).error
    if options.plot:
        _plot(trainer, log, test, folder.folder)
    if options.json:
        result = {"command": "train", "data": options.data, "test_error": error, "history": log.records}
        print(json.dumps({**result, "model": str(folder.model)}))
    else:
        print(f"test error {100 * error:.2f} % ({100 * (1 - error):.2f} % accuracy)")
    return 0


class _Log:
    """Callback that prints a line for each epoch, and records the history and the last finite parameters."""

    def __init__(self, test: Dataset, folder: RunFolder, start: Array, quiet: bool) -> None:
        self.test, self.folder, self.quiet = test, folder, quiet
        self.records: list[dict[str, Any]] = []
        self.start = start.copy()
        self.finite = self.start  # parameters after the last epoch at whose end they were finite

    def __call__(self, trainer: Trainer, epoch: Epoch) -> None:
        record = {**epoch.as_dict(), "test_error": trainer.evaluate(self.test).error}
        self.records.append(record)
        self.folder.record(record)
        if np.isfinite(trainer.model.parameters).all():
            self.finite = trainer.model.parameters.copy()
        self.say(
            f"{epoch.epoch:>5} {100 * epoch.train_error:>8.2f}% {100 * record['test_error']:>8.2f}% "
            f"{epoch.objective:>10.5f} {epoch.free_iterations:>8.1f} {epoch.second_iterations:>8.1f} "
            f"{epoch.residual:>9.1e} {epoch.seconds:>8.2f}"
        )

    def say_header(self, run: str) -> None:
        self.say(f"{run}; results go to {self.folder.folder}/")
        self.say(
            f"{'epoch':>5} {'train err':>9} {'test err':>9} {'objective':>10} "
            f"{'free its':>8} {'2nd its':>8} {'residual':>9} {'seconds':>8}"
        )

    def say(self, line: str) -> None:
        if not self.quiet:
            print(line, flush=True)

    def keep_unfinished(self, model: HopfieldNetwork, *, beside: bool) -> None:
        """Save the results of an incomplete run, and print the names of the files."""
        if not np.isfinite(model.parameters).all():
            model.parameters[:] = self.finite
        trained = bool((model.parameters != self.start).any())
        files = self.folder.keep(model if trained else None, beside=beside)
        if files:
            kept, old = " and ".join(map(str, files)), self.folder.model
            unchanged = f"; {old} is unchanged" if old.exists() and old not in files else ""
            print(f"training was not completed; its results are in {kept}{unchanged}", file=sys.stderr)


def _fit(trainer: Trainer, data: Dataset, options: argparse.Namespace, log: _Log) -> None:
    """Train and save the model; if an exception ends the training, save the results so far."""
    model = trainer.model
    assert isinstance(model, HopfieldNetwork)
    epochs = DATA[options.data].epochs if options.epochs is None else options.epochs
    try:
        trainer.fit(data, epochs=epochs, validation=options.validation, patience=options.patience)
        log.folder.complete(model)
    except BaseException as error:
        log.keep_unfinished(model, beside=not isinstance(error, KeyboardInterrupt))
        raise


def _plot(trainer: Trainer, log: _Log, test: Dataset, folder: Path) -> None:
    history = [
        replace(epoch, validation_error=record["test_error"])
        for epoch, record in zip(trainer.history, log.records, strict=True)
    ]
    plotting.save(plotting.learning_curve(history), folder / "learning_curve.png")
    x, _ = test.batch(np.arange(min(100, len(test))), trainer.model.dtype)
    free = free_phase(trainer.model, x, solver=default_solver(trainer.model), trace=True, on_failure="ignore")
    plotting.save(plotting.relaxation(free), folder / "relaxation.png")
