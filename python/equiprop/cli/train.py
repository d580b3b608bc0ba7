"""The command ``equiprop train``, which trains a network and keeps all of the run in a folder."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from equiprop import plotting
from equiprop.callbacks import Callback, TensorBoardLogger
from equiprop.checkpointing import read_trainer
from equiprop.checks import require
from equiprop.cli.console import error_text, say, say_json
from equiprop.cli.data import add_data, load_data, name_of_data, user_path
from equiprop.cli.options import Condition, Options
from equiprop.cli.processes import folder_of_first, follows, join, several, shards_of
from equiprop.cli.run_folder import CHECKPOINT, CURVE, MODEL, RELAXATION, SETTINGS, RunFolder
from equiprop.cli.trainer import add_trainer, build_trainer, epochs_of
from equiprop.cli.training_run import RunLog, fit
from equiprop.dataset import Dataset
from equiprop.models import HopfieldNetwork
from equiprop.progress import on_terminal
from equiprop.scaling import as_scaling
from equiprop.solvers import default_solver, free_phase
from equiprop.training import Trainer

_NEW = Condition("without --resume", lambda o: o.resume is None)
_NAMED = Condition("with --output", lambda o: o.output is not None)


def add_train(command: argparse.ArgumentParser, options: Options) -> None:
    """Declare the arguments of the command."""
    options.section("run")
    options.add("--resume", type=user_path, metavar="DIR", help="continue the unfinished run in this folder")
    options.restrict(_NEW)
    add_data(command, options, optional=True)
    options.add(
        "--scaling",
        metavar="RULE",
        help="scaling of the inputs, which is saved with the network: standardise, min_max, or a number such "
        "as 1/255 (default: 1/16 for digits, 1/255 for bytes, else none)",
    )
    options.add(
        "--config", type=user_path, metavar="FILE", help="settings of a run, settings.json or a .toml file"
    )
    options.add(
        "--output",
        type=user_path,
        metavar="DIR",
        help="folder of the run (default: a new one, equiprop-DATA-N)",
    )
    options.add(
        "--overwrite",
        _NAMED,
        action="store_true",
        help="replace the run in the folder by this one at its end",
    )
    options.add("--checkpoint-steps", type=int, metavar="N", help="save a checkpoint every N steps")
    options.add(
        "--checkpoint-seconds",
        default=60.0,
        type=float,
        metavar="S",
        help="save a checkpoint every S seconds",
    )
    options.add(
        "--tensorboard",
        type=user_path,
        metavar="DIR",
        help="also write the numbers of each epoch to this folder, as event files for TensorBoard",
    )
    options.add("--plot", action="store_true", help="also write learning_curve.png and relaxation.png")
    add_trainer(options)
    options.add(
        "--shards",
        type=int,
        metavar="N",
        help="parts of each batch, a power of two, that up to N processes of mpirun compute with equal bits "
        "(default: with mpirun 8, or the number of processes if larger, else none)",
    )
    command.set_defaults(run=run_train, settings_file=_settings_file)


def _settings_file(options: argparse.Namespace) -> Path | None:
    """Join the processes of mpirun, and return the file from which options that are not given are read."""
    group = options.group = join()
    if options.resume is None:
        path: Path | None = options.config
        if options.data is None and path is None:
            options.usage_error("the following arguments are required: data")
        return path
    options.refuse_restricted(options)
    if options.data is not None:
        raise ValueError(f"[train] A data set is an argument only without --resume. Received {options.data}.")
    options.run_folder = folder_of_first(group, lambda: RunFolder.existing(options.resume))
    return Path(options.run_folder.work / SETTINGS)


def run_train(options: argparse.Namespace) -> int:
    """Train a network, save it, print its test error, and return the exit status."""
    if options.resume is not None and options.run_folder.completed:
        if not follows(options.group):
            _say_completed(options)
        return 0
    options.effective["shards"] = options.shards = shards_of(options.group, options.shards)
    data, test = _scaled(*load_data(options), options.scaling)
    trainer = build_trainer(options, data)
    folder = options.run_folder = _folder(options)
    if options.resume is not None:
        trainer = _resumed(trainer, folder)
    if options.plot:
        plotting.require_matplotlib("train")
    trainer.prepare(data)
    follower = follows(options.group)
    log = RunLog(test, folder, quiet=options.json or follower)
    watchers = [] if follower else _watchers(options, log)
    title = f"{trainer.model} on {len(data)} {name_of_data(options)}, {options.second_phase}"
    if several(options.group):
        title += f", {options.group.size} processes"
    options.effective |= {"layers": _hidden(trainer), "epochs": epochs_of(options)}
    names = {"validation": options.validation, "patience": options.patience}
    fit_options = {"epochs": epochs_of(options), "progress": on_terminal() and not follower, **names}
    with log.keeping_warnings():
        fit(
            trainer,
            data,
            log,
            watchers,
            title,
            options,
            fit_options,
            lambda: _finish(trainer, test, log, options),
        )
    return 0


def _watchers(options: argparse.Namespace, log: RunLog) -> list[Callback]:
    """Return the callbacks that the options name, which follow that of the log."""
    if options.tensorboard is None:
        return []
    return [
        TensorBoardLogger(options.tensorboard, more=lambda _: {"test_error": log.records[-1]["test_error"]})
    ]


def _scaled(data: Dataset, test: Dataset, rule: str | None) -> tuple[Dataset, Dataset]:
    """Return training and test data with the scaling of a rule, which is fitted on the training data."""
    if rule is None:
        return data, test
    scaling = as_scaling(rule, data.x, "train")
    fits = data.scale is None or not scaling.is_none
    require(fits, "train", f"--scaling none is for data without a scale, here {data.scale}", rule)
    return data.with_scale(scaling), test.with_scale(scaling)


def _folder(options: argparse.Namespace) -> RunFolder:
    if options.resume is not None:
        folder: RunFolder = options.run_folder
        return folder
    return folder_of_first(options.group, lambda: _new_folder(options))


def _new_folder(options: argparse.Namespace) -> RunFolder:
    if options.output is not None:
        return RunFolder(options.output, overwrite=bool(options.overwrite))
    return RunFolder(Path(f"equiprop-{name_of_data(options)}"), numbered=True)


def _hidden(trainer: Trainer) -> list[int]:
    """Return the units of each hidden layer."""
    assert isinstance(trainer.model, HopfieldNetwork)
    return [layer.units for layer in trainer.model.layers[1:-1]]


def _resumed(new: Trainer, folder: RunFolder) -> Trainer:
    """Return the trainer of the last checkpoint, or `new` if the run was ended before the first one.

    A trainer without an unfinished training took its last step before the run was ended.
    """
    path = folder.work / CHECKPOINT
    if not path.exists():
        return new
    trainer = read_trainer(path, Trainer, "train", on_device=True)
    if trainer.unfinished is not None:
        trainer = Trainer.resume(path)
    same = repr(trainer.model) == repr(new.model)
    rule = "The network of a checkpoint is that of the settings of its run"
    require(same, "train", rule, f"{trainer.model} for {new.model} in '{folder.work}'")
    return trainer


def _finish(trainer: Trainer, test: Dataset, log: RunLog, options: argparse.Namespace) -> None:
    """Evaluate the model, and complete the folder."""
    if options.patience is not None:
        log.say_best(epochs_of(options))
    folder = log.folder
    error = trainer.evaluate(test).error
    if options.plot:
        _plot(trainer, log, test, folder.work)
    result = {"command": "train", "data": options.data, "test_error": error}
    accuracy = f" ({100 * (1 - error):.2f} % accuracy)" if test.is_classification else ""
    log.say(f"test error {error_text(error, test.is_classification)}{accuracy}")
    folder.complete({**result, "epochs": len(log.records), "steps": trainer.steps})
    if options.json:
        _say_json(result, log.records, folder)


def _say_completed(options: argparse.Namespace) -> None:
    """Print the result of a run that needed no further step."""
    folder = options.run_folder
    if options.json:
        stored = folder.result()
        result = {name: stored[name] for name in ("command", "data", "test_error")}
        _say_json(result, folder.records(), folder)
    else:
        say(f"the run in {folder.folder} is complete")


def _say_json(result: Mapping[str, Any], history: list[dict[str, Any]], folder: RunFolder) -> None:
    say_json("train", {**result, "history": history, "model": str(folder.folder / MODEL)})


def _plot(trainer: Trainer, log: RunLog, test: Dataset, folder: Path) -> None:
    history = [
        replace(epoch, validation_error=record["test_error"])
        for epoch, record in zip(trainer.history, log.records, strict=True)
    ]
    curve = plotting.learning_curve(history, classification=test.is_classification)
    plotting.save(curve, folder / CURVE)
    x, _ = test.batch(np.arange(min(100, len(test))), trainer.model.dtype)
    model = trainer.averaged_model
    assert isinstance(model, HopfieldNetwork)
    model = model.to("cpu")  # which records every iteration
    free = free_phase(model, x, solver=default_solver(model), trace=True, on_failure="ignore")
    plotting.save(plotting.relaxation(free), folder / RELAXATION)
