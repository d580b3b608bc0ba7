"""A training run of the command line: lines and files of each epoch, checkpoints, and every kind of end."""

from __future__ import annotations

import argparse
import copy
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from equiprop.arrays import Array
from equiprop.callbacks import Callback
from equiprop.checkpoint import save
from equiprop.checkpointing import Checkpoint
from equiprop.cli.console import error_text, say
from equiprop.cli.processes import Watcher, continue_command, follows, several, tell_begin
from equiprop.cli.run_folder import CHECKPOINT, MODEL, RESULT, WARNING, RunFolder
from equiprop.cli.settings import settings_of
from equiprop.cli.termination import Deferral, Terminated, deferred
from equiprop.dataset import Dataset
from equiprop.history import Epoch
from equiprop.models import HopfieldNetwork
from equiprop.results import ConvergenceError
from equiprop.sharding import agreed
from equiprop.training import Trainer


class RunLog:
    """Callback that prints and records each epoch.

    Attributes
    ----------
    records : list of dict
        Records of all epochs, with the test error.
    good : (parameters,) array, optional
        Parameters after the epoch with the lowest objective, if a later step measured their objective.
    """

    def __init__(self, test: Dataset, folder: RunFolder, quiet: bool) -> None:
        self.test: Dataset = test
        self.folder: RunFolder = folder
        self.quiet: bool = quiet
        self.records: list[dict[str, Any]] = []
        self.good: Array | None = None
        self._lowest = np.inf
        #: Steps and parameters after the last epoch, if its objective was the lowest.
        self._after_epoch: tuple[int, Array] | None = None

    def __call__(self, trainer: Trainer, epoch: Epoch) -> None:
        """Print and record an epoch."""
        record = {**epoch.as_dict(), "test_error": trainer.evaluate(self.test).error}
        self.records.append(record)
        self.folder.record(record)
        self.confirm(trainer, None)
        parameters = trainer.averaged_model.parameters
        if epoch.objective < self._lowest and np.isfinite(parameters).all():
            self._lowest, self._after_epoch = epoch.objective, (trainer.steps, parameters.copy())
        errors = [epoch.train_error, epoch.validation_error, record["test_error"]]
        percent = self.test.is_classification
        texts = [f"{100 * e:.2f}%" if percent else f"{e:.4g}" for e in errors if e is not None]
        columns = " ".join(f"{text:>9}" for text in texts)
        self.say(
            f"{epoch.epoch:>5} {columns} "
            f"{epoch.objective:>10.5f} {epoch.free_iterations:>8.1f} {epoch.second_iterations:>8.1f} "
            f"{epoch.residual:>9.1e} {epoch.seconds:>8.2f}"
        )

    def confirm(self, trainer: Trainer, error: BaseException | None) -> None:
        """Count the parameters after the last epoch as good, unless the training diverged right after it.

        The objective of an epoch is that of the parameters before its steps. The next step measures that of
        the parameters after it, and `trainer.steps` counts only steps that did not diverge.
        """
        if self._after_epoch is None:
            return
        steps, parameters = self._after_epoch
        if trainer.steps > steps or not isinstance(error, ConvergenceError):
            self.good = parameters
        self._after_epoch = None

    def say_header(self, run: str, validation: bool) -> None:
        """Print what is trained, and the names of the columns."""
        self.say(f"{run}; results go to {self.folder.folder}/")
        held_out = f" {'valid err':>9}" if validation else ""
        self.say(
            f"{'epoch':>5} {'train err':>9}{held_out} {'test err':>9} {'objective':>10} "
            f"{'free its':>8} {'2nd its':>8} {'residual':>9} {'seconds':>8}"
        )

    def say_best(self, epochs: int) -> None:
        """Print the epoch whose parameters early stopping has restored."""
        best = min(self.records, key=lambda record: record["validation_error"])
        stopped = (
            f"stopped early, after epoch {len(self.records)}"
            if len(self.records) < epochs
            else "all epochs done"
        )
        error = error_text(best["validation_error"], self.test.is_classification)
        self.say(f"{stopped}; the model is that of epoch {best['epoch']}, validation error {error}")

    @contextmanager
    def keeping_warnings(self) -> Iterator[None]:
        """Add each warning of the block to the log of the run, besides showing it."""
        with warnings.catch_warnings():
            show = warnings.showwarning

            def keep(message: Warning | str, *where: Any, **options: Any) -> None:
                self.folder.log(f"{WARNING}{' '.join(str(message).split())}")
                show(message, *where, **options)

            warnings.showwarning = keep
            yield

    def say(self, line: str, *, error: bool = False) -> None:
        """Print a line, and add it to the log of the run."""
        if error or not self.quiet:
            say(line, error=error)
        self.folder.log(line)


class RunCheckpoint(Checkpoint):
    """Checkpoint of a run, which creates the folder of the run, and ends the training after a signal."""

    def __init__(
        self, folder: RunFolder, log: RunLog, title: str, deferral: Deferral, options: argparse.Namespace
    ) -> None:
        super().__init__(folder.work / CHECKPOINT, options.checkpoint_steps, options.checkpoint_seconds)
        self._folder, self._log, self._title, self._deferral = folder, log, title, deferral
        self._options = options
        self._watcher: Watcher | None = None

    def begin(self, trainer: Trainer) -> None:
        """Start the run: all arguments have been checked."""
        if self._options.resume is None:
            self._folder.start(settings_of(self._options, trainer))
        else:
            self._log.records = self._folder.resume(len(trainer.history))
            if not trainer.steps:
                self._log.say(f"{self._folder.work} has no {CHECKPOINT}; the run starts from the beginning")
        self.path: str | os.PathLike[str] = self._folder.work / CHECKPOINT
        super().begin(trainer)
        self._log.say_header(self._title, self._options.validation is not None)
        group = self._options.group
        if group is not None:
            tell_begin(group, self._folder)
        if several(group) and not follows(group) and os.name == "posix":
            self._watcher = Watcher(
                "equiprop train: a process has ended before the others, and the run with it; "
                f"{continue_command(self._folder, group)} continues it from its last checkpoint"
            )

    def end(self) -> None:
        """Let other trainings write to the file; the run can say itself how it ends."""
        if self._watcher is not None:
            self._watcher.dismiss()
            self._watcher = None
        super().end()

    def after_step(self, trainer: Trainer) -> None:
        """Save the trainer if it is time; after a signal, save it and raise `Terminated`.

        Several processes end after the step in which all of them learn of the signal.
        """
        number, together = self._deferral.number, several(self._options.group)
        if together:
            number = agreed(trainer, number)
        if number is None:
            super().after_step(trainer)
            return
        self._deferral.saving = True
        if not follows(self._options.group):
            self.write(trainer)
        raise Terminated(number, together=together)


def fit(
    trainer: Trainer,
    data: Dataset,
    log: RunLog,
    watchers: Sequence[Callback],
    title: str,
    options: argparse.Namespace,
    fit_options: Mapping[str, Any],
    finish: Callable[[], None],
) -> None:
    """Train, save the model, and call `finish`; if the run ends early, save what there is and say so.

    `watchers` are callbacks besides the log.

    Raises
    ------
    Terminated
        After a signal: the run can be resumed at the step that was its last.
    ConvergenceError, OSError
        The training failed, or a file cannot be written. The files of earlier runs are not changed.
    """
    with deferred() as deferral:
        try:
            checkpoint = RunCheckpoint(log.folder, log, title, deferral, options)
            _try_step(trainer, data)
            trainer.callbacks = [log, *watchers]
            if options.resume is not None and trainer.steps and trainer.unfinished is None:
                log.records = log.folder.resume(len(trainer.history))  # only the end is missing
            else:
                trainer.fit(data, checkpoint=checkpoint, group=options.group, **fit_options)
            if follows(options.group):
                return
            deferral.saving = True
            save(_network_of(trainer), log.folder.work / MODEL)
            save(trainer, log.folder.work / CHECKPOINT)
            finish()
        except BaseException as error:
            deferral.saving = True
            if log.folder.started:
                log.confirm(trainer, error)
                _keep(_network_of(trainer), log, error)
            raise


def _network_of(trainer: Trainer) -> HopfieldNetwork:
    """Return the network that the run evaluates."""
    model = trainer.averaged_model
    assert isinstance(model, HopfieldNetwork)
    return model


def _try_step(trainer: Trainer, data: Dataset) -> None:
    """Take a step of a copy, so that options that do not fit are refused before a file is written."""
    x, y = data.batch(np.arange(min(trainer.batch_size, len(data))), trainer.model.dtype)
    copy.deepcopy(trainer).step(x, y)


def _keep(model: HopfieldNetwork, log: RunLog, error: BaseException) -> None:
    """Save the model of a run that ended early, and print how to go on.

    After a signal it is the last model; after a failure it is the good one, because training may have spoilt
    the last one.
    """
    folder, parts = log.folder, []
    if folder.finished:
        pending = folder.work != folder.folder and (folder.work / RESULT).exists()
        rest = f"; {folder.resume_command} moves its files from {folder.work}" if pending else ""
        log.say(f"the run is complete{rest}", error=True)
        return
    interrupted = isinstance(error, KeyboardInterrupt)
    last = interrupted and bool(np.isfinite(model.parameters).all())
    if not last and log.good is not None:
        model.parameters[:] = log.good
    if last or log.good is not None:
        try:
            parts.append(f"its model is in {folder.keep(model, good=last)}")
        except OSError as refusal:
            parts.append(f"its model is not saved: {refusal}")
    if interrupted or isinstance(error, OSError):  # a run that diverged would diverge again
        parts.append(f"{folder.resume_command} continues it")
    if folder.work != folder.folder:
        parts.append(f"the earlier run in {folder.folder} is unchanged")
    log.say("; ".join(["training was not completed", *parts]), error=True)
