"""Training on mini-batches, with records of every epoch and early stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.arrays import Array, as_contiguous
from equiprop.checks import check_type, whole
from equiprop.costs import Cost, SquaredError, bind_cost, core_cost
from equiprop.data import Dataset
from equiprop.early_stopping import BestEpoch
from equiprop.evaluation import (
    array_batches,
    check_data,
    dataset_batches,
    mean_error,
    measure,
    predict,
    sample_errors,
    scaled_input,
)
from equiprop.history import Epoch, Evaluation, Metrics, summarise
from equiprop.models import Model, clamped_by_core
from equiprop.optimizers import SGD, CoreSinks, Optimizer, constant
from equiprop.overflow import growth_advice, largest_size, overflow_error
from equiprop.progress import progress_bar
from equiprop.results import (
    ConvergenceError,
    Outcome,
    Status,
    advise,
    warn_of_epoch,
)
from equiprop.second_phase import CoreOptions, EquilibriumPropagation, FreeState, SecondPhase, judged
from equiprop.solvers import FREE_SOLVER_RULE, FreeSolver, start_of, training_solver

#: Stream of random numbers for the split of the data; epochs use the streams 0, 1, 2, ...
_SPLIT_STREAM = 2**40
_DIVERGED, _FIXED_STEPS = int(Status.DIVERGED), int(Status.FIXED_STEPS)


Callback = Callable[["Trainer", Epoch], None]


@dataclass
class Trainer:
    """Trains a model; each step is a free phase, a second phase, and an update of the parameters in place.

    Parameters
    ----------
    model : HopfieldNetwork, Energy or VectorField
    second_phase : EquilibriumPropagation, RecurrentBackpropagation or another `SecondPhase`
        Method that computes the gradient.
    optimizer : SGD, Adam or another `Optimizer`
    cost : SquaredError or CrossEntropy
    solver : FreeSolver, optional
        Solver of the free phase, and of the nudged phases if `second_phase` has no solver; by default
        block updates if the model supports them, otherwise Euler.
    schedule : callable
        Function from the progress of training in [0, 1] to a factor of the learning rate.
    batch_size : int
        Number of samples of a step.
    seed : int
        Seed of the order of samples.
    callbacks : sequence of callables
        Functions that are called as ``callback(trainer, epoch)`` after every epoch.

    Attributes
    ----------
    history : list of Epoch
        Records of all epochs so far.
    steps : int
        Number of training steps so far.
    scale : float
        Scale of the Dataset of the last call of `fit`, which `predict` uses; 1 before the first call.

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
    optimizer: Optimizer = field(default_factory=lambda: SGD(learning_rate=0.05, momentum=0.9))
    cost: Cost = field(default_factory=SquaredError)
    solver: FreeSolver | None = None
    schedule: Callable[[float], float] = field(default_factory=constant)
    batch_size: int = 50
    seed: int = 0
    callbacks: Sequence[Callback] = ()
    history: list[Epoch] = field(default_factory=list, init=False)
    steps: int = field(default=0, init=False)
    scale: float = field(default=1.0, init=False)
    _largest_at_start: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        self.batch_size = whole(self.batch_size, "Trainer", "batch_size", 1)
        self.seed = whole(self.seed, "Trainer", "seed", 0, 2**64 - 1)
        if self.solver is None:
            self.solver = training_solver(self.model)
        check_type(self.solver, FreeSolver, "Trainer", FREE_SOLVER_RULE)
        self._largest_at_start = largest_size(self.model.parameters)
        self._core_step: tuple[Model, _core.TrainingStep, bool] | None = None
        self._core_options, self._core_sinks = CoreOptions(), CoreSinks()

    def step(self, x: Any, y: Any, *, progress: float = 0.0) -> Metrics:
        """Take a training step on one mini-batch: free phase, second phase, update of the parameters.

        Parameters
        ----------
        x : (batch, inputs) array
        y : (batch, outputs) array, or (batch,) integer labels
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
            parameter infinite or NaN.
        """
        factor = self.schedule(progress)
        options = self._core_options.of(self.second_phase, self.model, self._solver, self.steps)
        try:
            if options is None:
                metrics = self._step_by_own_phase(x, y, factor)
            else:
                metrics = self._step_in_core(x, y, options, factor)
        except ValueError:
            if self.steps and not np.isfinite(self.model.parameters).all():
                raise overflow_error(self._if_training_diverges()) from None
            raise
        self.steps += 1
        return metrics

    def _step_in_core(
        self, x: Any, y: Any, options: _core.NudgedPhases | _core.SideNetwork, factor: float
    ) -> Metrics:
        """Take a step in one call of the core; then call an optimizer that is not SGD or Adam."""
        model, optimizer, where = self.model, self.optimizer, "Trainer.step"
        step, network = self._stepper()
        x = as_contiguous(x, model.dtype, where, "x") if network else model.as_input(x, where)
        targets, cost = core_cost(self.cost, model, y, len(x), where)
        parameters = model.parameters
        sink = self._core_sinks.of(optimizer, parameters, model.block_slices, factor)
        result = step.take(x, targets, cost, self._solver.core, options, sink)
        if result is None:
            raise self._divergence(step)
        objective, error, free, second, residual, failed, gradient_error, inaccurate, gradient = result
        if gradient is None:
            optimizer.finish()  # type: ignore[attr-defined]
        else:
            optimizer.step(parameters, gradient, model.block_slices, factor)
        advice = self._advice(step) if failed else ()
        numbers = (objective, error, free, second, residual, failed, gradient_error, inaccurate)
        return Metrics(*numbers, advice)

    def _stepper(self) -> tuple[_core.TrainingStep, bool]:
        """Return the core's training step of the model, and whether the core clamps the model itself.

        The training step reuses its memory from step to step.
        """
        if self._core_step is None or self._core_step[0] is not self.model:
            network = clamped_by_core(self.model)
            step = self.model.core.TrainingStep(self.model, network)
            self._core_step = (self.model, step, network is not None)
        return self._core_step[1:]

    def _outcomes(self, step: _core.TrainingStep) -> tuple[Outcome, Outcome | None]:
        """Return the outcomes of both phases of the last step; None for a second phase that was not run."""
        model, solver = self.model, self._solver
        free = Outcome(*step.free, advice=advise(step.free[0], partial(solver.cure, model=model)))
        if not len(step.second[0]):
            return free, None
        cure = partial(self.second_phase.cure, model, solver)  # type: ignore[attr-defined]
        return free, Outcome(*step.second, advice=advise(step.second[0], judged(step.second, cure)))

    def _advice(self, step: _core.TrainingStep) -> tuple[str, ...]:
        free, second = self._outcomes(step)
        return tuple(dict.fromkeys((*free.advice, *(second.advice if second else ()))))

    def _divergence(self, step: _core.TrainingStep) -> ConvergenceError:
        free, second = self._outcomes(step)
        return self._refusal("free phase", free) if second is None else self._refusal("second phase", second)

    def _step_by_own_phase(self, x: Any, y: Any, factor: float) -> Metrics:
        """Take a step whose second phase defines its own `gradient`."""
        model, solver = self.model, self._solver
        x = model.as_input(x, "Trainer.step")
        cost = bind_cost(self.cost, model, y, len(x), "Trainer.step")
        energy = model.clamp(x)
        start = start_of(model, len(x))
        state, outcome, *_ = model.core.relax(energy, solver.core, start, samples=len(x))
        free = Outcome(*outcome, advice=advise(outcome[0], partial(solver.cure, model=model)))
        self._refuse_divergence("free phase", free)
        gradient = self.second_phase.gradient(
            FreeState(model, energy, x, state, cost, solver, self.steps, False)
        )
        self._refuse_divergence("second phase", gradient)
        self.optimizer.step(model.parameters, gradient.parameters, model.block_slices, factor)
        outputs, labels = state[:, -model.num_outputs :], np.asarray(y)
        failed = np.maximum(free.status, gradient.status) > _FIXED_STEPS
        return Metrics(
            gradient.objective,
            mean_error(sample_errors(outputs, labels, labels.ndim == 1), labels.ndim == 1),
            int(free.iterations.sum()) / len(x),
            int(gradient.iterations.sum()) / len(x),
            float(free.residual.max()),
            int(failed.sum()),
            float(gradient.error_estimate.max()),
            int((gradient.status == Status.INACCURATE).sum()),
            tuple(dict.fromkeys((*free.advice, *gradient.advice))),
        )

    def __getstate__(self) -> dict[str, Any]:
        kept = {"_core_step": None, "_core_options": CoreOptions(), "_core_sinks": CoreSinks()}
        return {**self.__dict__, **kept}

    def _refuse_divergence(self, phase: str, outcome: Outcome) -> None:
        if outcome.status.max() == _DIVERGED:  # the largest value of Status
            raise self._refusal(phase, outcome)

    def _refusal(self, phase: str, outcome: Outcome) -> ConvergenceError:
        outcome = replace(outcome, advice=(*self._if_training_diverges(), *outcome.advice))
        return ConvergenceError(
            f"[Trainer.step] The {phase} diverged; the parameters were not changed. {outcome.summary()}",
            outcome,
        )

    def _if_training_diverges(self) -> tuple[str, ...]:
        rate = getattr(self.optimizer, "learning_rate", None)
        return growth_advice(self._largest_at_start, largest_size(self.model.parameters), self.steps, rate)

    def fit(
        self,
        data: Dataset,
        *,
        epochs: int,
        validation: Dataset | float | None = None,
        patience: int | None = None,
        progress: bool = False,
    ) -> list[Epoch]:
        """Train for a number of epochs, and return their records, which are also appended to `history`.

        Ctrl-C raises KeyboardInterrupt, also during a step; model and history remain valid.

        Parameters
        ----------
        data : Dataset
        epochs : int
            Number of passes over the data.
        validation : Dataset or float, optional
            Validation data, or the fraction of `data` that is used for it.
        patience : int, optional
            Stop after this many epochs without a lower validation error, and restore the parameters of the
            best epoch.
        progress : bool
            Show a tqdm progress bar (extra ``progress``).

        Returns
        -------
        list of Epoch

        Raises
        ------
        TypeError, ValueError
            If an argument has a wrong type or is out of range.
        ConvergenceError
            If a sample diverged.
        """
        epochs = whole(epochs, "Trainer.fit", "epochs", 1)
        check_data(data, "Trainer.fit", "`data`")
        self.scale = data.scale
        data, validation = self._split(data, validation)
        if patience is not None:
            patience = whole(patience, "Trainer.fit", "patience", 1)
            check_data(validation, "Trainer.fit", "`validation`, which patience needs,")
        best = BestEpoch(patience)
        records: list[Epoch] = []
        for epoch in range(1, epochs + 1):
            records.append(self._epoch(data, validation, epoch, epochs, progress))
            self.history.append(records[-1])
            for callback in self.callbacks:
                callback(self, records[-1])
            if best.should_stop(records[-1], self.model):
                break
        best.restore(self.model)
        return records

    def evaluate(self, data: Dataset) -> Evaluation:
        """Return error and mean cost on `data`, from free phases with the trainer's solver.

        Emits a `ConvergenceWarning` if some samples do not converge.
        """
        check_data(data, "Trainer.evaluate", "`data`")
        evaluation, outcome = measure(self.model, self.cost, self._solver, data)
        outcome.report_failure("Trainer.evaluate", "warn")
        return evaluation

    def predict(self, x: Any, *, scale: float | None = None) -> Array:
        """Return the outputs (samples, outputs) of free phases with the trainer's solver.

        Emits a `ConvergenceWarning` if some samples do not converge. ``predict(data)`` equals
        ``predict(data.x, scale=data.scale)``.

        Parameters
        ----------
        x : Dataset, or array (samples, inputs)
        scale : float, optional
            Factor by which an array is multiplied; 1 for inputs that `Dataset.batch` returned. The default
            for integers and booleans is the scale of the training data, `Trainer.scale`. Floats may have been
            scaled already, so they need `scale` unless that of the training data is 1.

        Raises
        ------
        ValueError
            `x` is an array of floats, `scale` is not given, and that of the training data is not 1; or `x` is
            a Dataset, and `scale` is given.

        Examples
        --------
        >>> import equiprop as eq
        >>> pixels, labels = np.array([[0, 255], [255, 0]] * 20, dtype=np.uint8), np.array([0, 1] * 20)
        >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 2], seed=1))
        >>> history = trainer.fit(eq.Dataset(pixels, labels, scale=1 / 255), epochs=1)
        >>> trainer.predict(pixels).shape
        (40, 2)
        """
        if isinstance(x, Dataset):
            check_data(x, "Trainer.predict", "`x`")
            if scale is not None:
                raise ValueError(
                    f"[Trainer.predict] scale is for arrays; a Dataset has one. Received {scale}."
                )
            batches = [part for part, _ in dataset_batches(x, self.model.dtype)]
        else:
            presented = scaled_input(x, scale, self.scale, self.model.dtype)
            batches = array_batches(self.model.as_input(presented, "Trainer.predict"))
        outputs, outcome = predict(self.model, self._solver, batches)
        outcome.report_failure("Trainer.predict", "warn")
        return outputs

    @property
    def _solver(self) -> FreeSolver:
        assert self.solver is not None
        return self.solver

    def _split(self, data: Dataset, validation: Dataset | float | None) -> tuple[Dataset, Dataset | None]:
        """Return training and validation data."""
        if isinstance(validation, float):
            data, validation = data.split(validation, _core.permutation(len(data), self.seed, _SPLIT_STREAM))
        if validation is not None:
            for part in (data, validation):
                check_data(part, "Trainer.fit", "Each of training and validation data")
        # Type checkers take an int for a float; `check_data` refused it.
        return data, validation  # pyright: ignore[reportReturnType]

    def _epoch(
        self, data: Dataset, validation: Dataset | None, epoch: int, epochs: int, progress: bool
    ) -> Epoch:
        order = _core.permutation(len(data), self.seed, len(self.history))
        count = -(-len(data) // self.batch_size)
        start = time.perf_counter()
        steps: list[Metrics] = []
        weights: list[int] = []
        for k in progress_bar(range(count), f"epoch {epoch}/{epochs}", progress):
            indices = order[k * self.batch_size : (k + 1) * self.batch_size]
            x, y = data.batch(indices, self.model.dtype)
            steps.append(self.step(x, y, progress=((epoch - 1) * count + k) / (epochs * count)))
            weights.append(len(indices))
        seconds = time.perf_counter() - start
        unconverged = sum(m.unconverged for m in steps)
        if unconverged:
            warn_of_epoch(epoch, unconverged, len(data), [a for m in steps for a in m.advice])
        error = None if validation is None else self.evaluate(validation).error
        return summarise(epoch, steps, np.array(weights), error, seconds)
