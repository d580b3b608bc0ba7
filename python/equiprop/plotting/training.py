"""Plots of a training: errors and numbers of sweeps by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from equiprop.checks import check_flag, check_type, several
from equiprop.history import Epoch
from equiprop.plotting import style
from equiprop.plotting.figures import axes_of

#: Histories of several trainings by name, or that of one training.
Histories = Sequence[Epoch] | Mapping[str, Sequence[Epoch]]


def learning_curve(history: Histories, axes: Any = None, classification: bool = True) -> Any:
    """Draw training and validation error against epochs; return the matplotlib axes.

    Parameters
    ----------
    history : sequence of Epoch, or dict of them
        The result of `Trainer.fit`; or those of several trainings, by the names that the legend shows.
    axes : matplotlib Axes, optional
    classification : bool
        If True, errors are fractions of samples, drawn in percent; otherwise they are root mean squared
        errors, drawn in the unit of the targets.

    Examples
    --------
    >>> import equiprop as eq
    >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 4, 2]), batch_size=2)
    >>> history = trainer.fit([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=3)
    >>> eq.plotting.learning_curve(history).get_ylabel()
    'error (%)'
    """
    runs = _runs(history, "learning_curve")
    check_flag(classification, "learning_curve", "classification")
    axes, factor = axes_of(axes, "learning_curve"), 100 if classification else 1
    several_runs = len(runs) > 1 or isinstance(history, Mapping)
    for k, (name, records) in enumerate(runs.items()):
        prefix, number = (f"{name}, ", 2 * k) if several_runs else ("", 0)
        epochs = [record.epoch for record in records]
        training = [factor * record.train_error for record in records]
        axes.plot(epochs, training, **style.dotted_line(number), label=f"{prefix}training")
        held_out = [record.validation_error for record in records]
        if all(error is not None for error in held_out):
            errors = [factor * (error or 0) for error in held_out]
            axes.plot(epochs, errors, **style.dotted_line(number + 1), label=f"{prefix}held out")
    unit = "error (%)" if classification else "root mean squared error"
    style.dress(axes, "Learning curve", "epoch", unit)
    _by_epoch(axes)
    return axes


def sweeps(history: Histories, axes: Any = None) -> Any:
    """Draw the mean number of iterations of a sample in both phases against epochs; return the axes.

    An iteration of the free phase is a sweep of `BlockUpdate`, or a step of another solver. The second phase
    counts the iterations of all nudged phases, or those of the linear solver.

    Parameters
    ----------
    history : sequence of Epoch, or dict of them
        The result of `Trainer.fit`; or those of several trainings, by the names that the legend shows.
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 4, 2])
    >>> trainer = eq.Trainer(net, batch_size=2)
    >>> history = trainer.fit([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=3)
    >>> [line.get_label() for line in eq.plotting.sweeps(history).lines]
    ['free phase', 'second phase']
    """
    runs = _runs(history, "sweeps")
    axes = axes_of(axes, "sweeps")
    several_runs = len(runs) > 1 or isinstance(history, Mapping)
    for k, (name, records) in enumerate(runs.items()):
        prefix = f"{name}, " if several_runs else ""
        epochs = [record.epoch for record in records]
        for n, phase in enumerate(("free", "second")):
            numbers = [getattr(record, f"{phase}_iterations") for record in records]
            axes.plot(epochs, numbers, **style.dotted_line(2 * k + n), label=f"{prefix}{phase} phase")
    style.dress(axes, "Sweeps of the phases", "epoch", "sweeps per sample")
    _by_epoch(axes)
    return axes


def _runs(history: Any, where: str) -> Mapping[str, Sequence[Epoch]]:
    """Return checked histories by name; the name of a single history is empty."""
    runs = history if isinstance(history, Mapping) else {"": history}
    for name, records in runs.items():
        check_type(name, str, where, "a key of history is the name of a training")
        several(records, where, "history", _epoch)
    return runs


def _epoch(value: Any, where: str, name: str) -> Epoch:
    check_type(value, Epoch, where, f"{name} is an Epoch, which Trainer.fit returns")
    epoch: Epoch = value
    return epoch


def _by_epoch(axes: Any) -> None:
    """Let the vertical axis begin at 0, put ticks at whole epochs, and draw the legend."""
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(axes.lines):
        style.legend(axes)
