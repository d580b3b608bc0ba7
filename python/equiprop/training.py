"""Training on mini-batches, with records of every epoch and early stopping."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, is_
from typing import Any

import numpy as np

from equiprop.averaging import Average
from equiprop.black_box import BlackBox
from equiprop.checkpointing import Checkpoint, read_unfinished
from equiprop.checks import check_type, real, whole
from equiprop.clipping import Clipping
from equiprop.cost_defaults import training_cost, training_phase
from equiprop.costs import Cost, SquaredError
from equiprop.coupling_guard import CouplingGuard
from equiprop.cuda import check_supported, on_host
from equiprop.dataset import Dataset
from equiprop.device_training import check_device
from equiprop.fitting import during_fit, refusal, run_epochs
from equiprop.health import Health
from equiprop.history import Epoch, History, Metrics
from equiprop.kept_states import KeptStates, check_free_start
from equiprop.model_interface import Model, check_model
from equiprop.optimizers import Adam, Optimizer
from equiprop.overflow import largest_size, overflow_error
from equiprop.overlap import updating
from equiprop.position import Position
from equiprop.processes import Communicator
from equiprop.scaling import Scaling
from equiprop.second_phase import EquilibriumPropagation, SecondPhase
from equiprop.sharding import ShardedStepper, sharded
from equiprop.solvers import FREE_SOLVER_RULE, FreeSolver, training_solver
from equiprop.starting import Starter
from equiprop.stepping import PhaseDivergence, Settings, Stepper
from equiprop.trainable import check_callbacks, check_parts, check_targets, check_trainable
from equiprop.training_data import fit_data
from equiprop.watching import Callback

#: The settings of a step, which `Trainer.check_settings` checks again if one of them is another object.
_SETTINGS = attrgetter(
    "model",
    "second_phase",
    "optimizer",
    "cost",
    "solver",
    "schedule",
    "clip",
    "coupling_norm",
    "averaging",
    "shards",
)
EpochFunction = Callable[["Trainer", Epoch], None]
StepCallback = Callable[["Trainer", Metrics], None]


@dataclass
class Trainer(Starter):
    """Trains a model; each step is a free phase, a second phase, and an update of the parameters in place.

    Parameters
    ----------
    model : HopfieldNetwork, Energy, VectorField or BlackBox
    second_phase : EquilibriumPropagation, RecurrentBackpropagation or another `SecondPhase`
        Method that computes the gradient.
    optimizer : SGD, Adam or another `Optimizer`
        By default Adam with one rate for each block, computed from the network and its first data.
    cost : SquaredError, CrossEntropy or LayerCosts
    solver : FreeSolver, optional
        Solver of the free phase, and of the nudged phases if `second_phase` has no solver; by default
        block updates if the model supports them, otherwise damped fixed-point iteration for a
        HopfieldNetwork and Euler for other models.
    schedule : callable, optional
        Function from the progress of training in [0, 1] to a factor of the learning rate. By default
        1 / sqrt(1 + steps / 200) if the rates are automatic, which does not depend on the number of epochs,
        and otherwise 1.
    batch_size : int
        Number of samples of a step.
    seed : int
        Seed of the order of samples.
    callbacks : sequence of callables, or of `Callback`
        Functions that are called as ``callback(trainer, epoch)`` after every epoch, and objects of
        `equiprop.callbacks`, which see steps, epochs and the end of `fit`.
    clip : float, positive
        A gradient larger than `clip` times the running mean of earlier norms is scaled to this size; infinity
        for no clipping.
    coupling_norm : float, positive, optional
        Largest norm of a coupling between free layers; see `CouplingGuard`. By default 1 for one hidden
        layer of relu, softplus or linear units, otherwise infinity.
    averaging : float in [0, 1), optional
        Decay of a moving average of the parameters over steps, such as 0.999; see `Average`. `evaluate` and
        `predict`, validation and early stopping then use the averaged parameters.
    step_callbacks : sequence of callables
        Functions that `fit` calls as ``callback(trainer, metrics)`` after every step. A callback of either
        kind may call `stop`.
    free_start : {"rest", "last"}
        State at which `fit` starts the free phase of a sample: the initial state of the model, or the free
        state of the sample in the epoch before; docs/training.md, "Free phases that start at the last free
        state". `step`, `evaluate` and `predict` start at the initial state.
    shards : int, optional
        Number of parts of each batch, a power of two, whose gradients are computed one by one and summed in a
        fixed binary tree, so that 1, 2, 4, ... processes give the same bits; see `fit` and docs/scaling.md.

    Attributes
    ----------
    history : History
        Records of all epochs so far.
    steps : int
        Number of training steps so far.
    scaling : Scaling
        Scaling of raw inputs, which `fit` sets and `predict` applies; it is that of the model.
    classes : array, or None
        The class that each output stands for, which `fit` sets; it is that of the model. None before the
        first call of `fit`, and for real targets.
    unfinished : Position, optional
        Position of a `fit` that is not finished: during a call with a checkpoint, and after `resume`.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 8, 2], seed=1)
    >>> data = eq.Dataset(np.array([[0.0, 1.0], [1.0, 0.0]] * 20), np.array([0, 1] * 20))
    >>> history = eq.Trainer(net, batch_size=10).fit(data, epochs=20)
    >>> eq.Trainer(net).evaluate(data).error
    0.0
    """

    model: Model
    second_phase: SecondPhase = field(default_factory=EquilibriumPropagation)
    optimizer: Optimizer = field(default_factory=lambda: Adam("auto"))
    cost: Cost = field(default_factory=SquaredError)
    solver: FreeSolver | None = None
    schedule: Callable[[float], float] | None = None
    batch_size: int = 50
    seed: int = 0
    callbacks: Sequence[EpochFunction | Callback] = ()
    clip: float = 3.0
    coupling_norm: float | None = None
    averaging: float | None = None
    step_callbacks: Sequence[StepCallback] = ()
    free_start: str = "rest"
    shards: int | None = None
    history: History = field(default_factory=History, init=False)
    steps: int = field(default=0, init=False)
    _has_classes: bool = field(default=True, init=False, repr=False)
    unfinished: Position | None = field(default=None, init=False, repr=False)
    _largest_at_start: float = field(default=0.0, init=False, repr=False)
    _started: bool = field(default=False, init=False, repr=False)
    _automatic: bool = field(default=False, init=False, repr=False)
    _clipping: Clipping = field(default_factory=lambda: Clipping(math.inf), init=False, repr=False)
    _average: Average = field(default_factory=lambda: Average(None), init=False, repr=False)
    _kept: KeptStates = field(default_factory=KeptStates, init=False, repr=False)
    _health: Health = field(default_factory=Health, init=False, repr=False)
    _stepper: Stepper = field(default_factory=Stepper, init=False, repr=False, metadata={"saved": False})
    _sharded: ShardedStepper | None = field(default=None, init=False, repr=False, metadata={"saved": False})
    _guard: CouplingGuard = field(init=False, repr=False, metadata={"saved": False})
    _stopping: bool = field(default=False, init=False, repr=False, compare=False, metadata={"saved": False})
    _fitting: bool = field(default=False, init=False, repr=False, compare=False, metadata={"saved": False})
    _checked: tuple[Any, ...] = field(
        default=(), init=False, repr=False, compare=False, metadata={"saved": False}
    )

    def __post_init__(self) -> None:
        self.check_settings()
        self._largest_at_start = largest_size(self.model.parameters)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fitting": False, "_stopping": False}

    def check_settings(self) -> None:
        """Check all settings, which may have been changed since the construction, and act on them."""
        if self._checked and self._checked[0] is not self.model:
            self._health, self._started = Health(), False  # another model starts as at the construction
            self._average, self._kept = Average(None), KeptStates()
            self._largest_at_start = largest_size(self.model.parameters)
        check_model(self.model, "Trainer")
        self.batch_size = whole(self.batch_size, "Trainer", "batch_size", 1)
        self.seed = whole(self.seed, "Trainer", "seed", 0, 2**64 - 1)
        if self.solver is None:
            self.solver = training_solver(self.model)
        check_type(self.solver, FreeSolver, "Trainer", FREE_SOLVER_RULE)
        check_parts(self.second_phase, self.optimizer, self.cost, self.schedule)
        check_callbacks(self.callbacks, self.step_callbacks)
        check_free_start(self.free_start)
        check_device(self)
        self._sharded = sharded(self)
        self.cost = training_cost(self.model, self.cost)
        self.second_phase = training_phase(self.model, self.cost, self.second_phase)
        check_trainable(self.model, self.cost, self.second_phase)
        check_supported(self.model, self.second_phase, self._solver, self.cost)
        self._clipping.factor = Clipping(self.clip).factor
        self.averaging = None if self.averaging is None else real(self.averaging, "Trainer", "averaging")
        self._average = self._average.with_decay(self.averaging)
        self._guard = CouplingGuard(self.model, self.coupling_norm)
        self._checked = _SETTINGS(self)

    def _check_changes(self) -> None:
        """Check all settings if one was changed since they were checked last."""
        if not all(map(is_, _SETTINGS(self), self._checked)):
            self.check_settings()

    @property
    def averaged_model(self) -> Model:
        """Model that `evaluate` and `predict` use: a copy with averaged parameters, or `model` without any.

        Later steps update its parameters. `model` has the parameters of the last step.
        """
        self._check_changes()
        return self._average.model_of(self.model)

    def step(self, x: Any, y: Any, sample_weight: Any = None, *, progress: float = 0.0) -> Metrics:
        """Take a training step on one mini-batch: free phase, second phase, update of the parameters.

        The objective is sum_i w_i C_i / batch, with the weight w_i of sample i. Fixed points, nudges,
        statuses and error estimates do not depend on the weights.

        Parameters
        ----------
        x : (batch, inputs) array
        y : (batch, outputs) array, or (batch,) class codes in 0 .. outputs - 1
        sample_weight : (batch,) array, optional
            Weights, at least 0; by default 1. Over all batches their mean should be 1.
        progress : float
            Argument of the schedule, in [0, 1].

        Returns
        -------
        Metrics

        Raises
        ------
        TypeError, ValueError
            If x or y has a wrong type or shape, or numbers that are not finite.
        ConvergenceError
            If a sample diverged; the parameters are not changed. Also if the update of an earlier step made a
            parameter infinite or NaN, or if the objective is not finite or more than ten times its start.
        """
        with updating(self.model, "Trainer.step", self):
            self._check_changes()
            y, sample_weight = on_host(self.model, "Trainer.step", y=y, sample_weight=sample_weight)
            if not self._started:
                self._start(self.model.as_input(x, "Trainer.step"))
            if self._health.kept is None:
                self._health.begin(self.model, self.cost, y)
            parts = (self.model, self.second_phase, self.optimizer, self.cost, self._solver, self._clipping)
            settings = Settings(*parts, self.steps, self.rate_factor(progress), self._kept)
            try:
                metrics = (self._sharded or self._stepper).take(settings, x, y, sample_weight)
            except PhaseDivergence as failure:
                raise refusal(self, failure) from None
            except ValueError:
                if self.steps and not np.isfinite(self.model.parameters).all():
                    raise overflow_error(self.growth_advice()) from None
                raise
            self._guard.apply()
            self.judge(metrics, y, sample_weight)
            self.steps += 1
            self._average.after_step(self.model.parameters)
            self._health.after_step(self.model, self.steps)
            return metrics

    def fit(
        self,
        data: Any,
        y: Any = None,
        *,
        epochs: int,
        sample_weight: Any = None,
        class_weight: Any = None,
        validation: Dataset | tuple[Any, ...] | float | None = None,
        patience: int | None = None,
        progress: bool = False,
        checkpoint: Checkpoint | None = None,
        scaling: Scaling | float | str | None = None,
        group: Communicator | None = None,
    ) -> History:
        """Train for a number of epochs, and return their records, which are also appended to `history`.

        Ctrl-C raises KeyboardInterrupt; model and history remain valid. A call emits each `TrainingWarning`
        (scales, chance, faults that `explain` shows) and `ConvergenceWarning` (many samples fail) once.

        Parameters
        ----------
        data : Dataset, array (samples, inputs), or iterable of batches such as a DataLoader
            Each batch is a pair (x, y), or a triple (x, y, sample_weight) with weights of mean 1 in all data.
        y : array, optional
            Labels or targets of an array: ``fit(x, y)`` is ``fit(Dataset(x, y))``, but numbers in one
            dimension are targets of a model with one output.
        epochs : int
            Number of passes over the data.
        sample_weight : array (samples,), optional
            Weights w_i >= 0 of samples that have none: the objective is sum_i w_i C_i / sum_i w_i.
        class_weight : mapping from class to float, or "balanced", optional
            Factors of the weights of their samples, by default 1; "balanced" gives all classes equal sums.
        validation : Dataset, pair (x, y), triple (x, y, sample_weight), or float, optional
            Validation data, or the fraction of the samples that is held out for it, the same of each class.
        patience : int, optional
            Stop after this many epochs without a lower validation error, and restore the best parameters.
        progress : bool
            Show a tqdm progress bar (extra ``progress``).
        checkpoint : Checkpoint, optional
            File to which the trainer is saved from time to time, unless `data` are batches; see `resume`.
        scaling : Scaling, float, or {"none", "standardise", "min_max"}, optional
            Scaling of raw inputs, fitted on the training data if it is given by name, which the model keeps
            and validation data get. By default that of a Dataset, or of the model.
        group : Communicator, optional
            Processes that call `fit` with equal arguments and train together; see `equiprop.mpi.world`.

        Raises
        ------
        TypeError, ValueError
            If an argument has a wrong type or is out of range.
        OverlapError
            If another call trains the model, or a phase of it is running.
        ConvergenceError
            If a sample or the objective diverged. The model has its last good parameters again.
        """
        with updating(self.model, "Trainer.fit", self), during_fit(self, group):
            given = (scaling, sample_weight, class_weight)
            arguments = self._arguments(data, y, given, validation, epochs, patience, checkpoint)
            return run_epochs(self, *arguments, progress, checkpoint)

    def _arguments(
        self,
        data: Any,
        y: Any,
        given: tuple[Any, Any, Any],
        validation: Any,
        epochs: Any,
        patience: Any,
        checkpoint: Any,
    ) -> tuple[Any, Dataset | None, int, int | None]:
        """Return training data, validation data, epochs and patience of a call of `fit`, checked.

        Also store what all data represent, check the targets of a Dataset, and set start values that fit it.
        """
        check_type(checkpoint, Checkpoint | None, "Trainer.fit", "checkpoint is a Checkpoint(path)")
        self.check_settings()
        epochs = whole(epochs, "Trainer.fit", "epochs", 1)
        data, y, weights = on_host(self.model, "Trainer.fit", x=data, y=y, sample_weight=given[1])
        given = (given[0], weights, given[2])
        given_data = (data, y, validation, given, epochs)
        data, training, held_out = fit_data(*given_data, self.model, self.classes, self.seed)
        if patience is not None:
            patience = whole(patience, "Trainer.fit", "patience", 1)
            check_type(held_out, Dataset, "Trainer.fit", "`validation`, which patience needs, is given")
        self._represent(data, stacklevel=5)
        if isinstance(training, Dataset):
            check_targets(self.model, self.cost, training.y)
            self._prepare(training, "Trainer.fit")
        return training, held_out, epochs, patience

    def stop(self) -> None:
        """Let the running `fit` end after the current step.

        The steps of the current epoch are evaluated and recorded as an epoch. Without a running `fit` there
        is no effect.
        """
        self._stopping = self._fitting

    @classmethod
    def resume(cls, path: str | os.PathLike[str], model: BlackBox | None = None) -> Trainer:
        """Return a trainer that continues the training which wrote a checkpoint.

        Call `fit` with the same data and settings: it takes the remaining steps, and ends with the bits of an
        uninterrupted training. `fit` refuses other data or settings, and a trainer that was changed or has
        taken a step since. Callbacks are not part of a checkpoint. A `BlackBox`, whose functions are in no
        file, is passed as `model`, and gets the parameters of the file.

        Raises
        ------
        TypeError
            If the training is that of a BlackBox and `model` is missing, or of a network and it is given.
        ValueError
            If the file is not a checkpoint of an unfinished training, was written by another version of
            equiprop, or is damaged.
        OSError
            If the file cannot be read.

        Examples
        --------
        >>> import equiprop as eq, tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.safetensors"
        >>> data = eq.Dataset(np.array([[0.0, 1.0], [1.0, 0.0]] * 20), np.array([0, 1] * 20))
        >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 2], seed=1))
        >>> history = trainer.fit(data, epochs=3, checkpoint=eq.Checkpoint(path, steps=2))
        >>> len(eq.Trainer.resume(path).fit(data, epochs=3))
        3
        """
        return read_unfinished(path, cls, model)
