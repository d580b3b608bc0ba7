"""Training: loops over mini-batches, measures, stops early, and can be interrupted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array, as_array, as_contiguous
from equiprop.checks import check_type, real, whole
from equiprop.costs import Cost, SquaredError, bind_cost, core_cost
from equiprop.data import Dataset, checked_scale, scaled
from equiprop.early_stopping import BestEpoch
from equiprop.history import Epoch, Evaluation, Metrics, summarise
from equiprop.models import HopfieldNetwork, Model
from equiprop.optimizers import SGD, Optimizer, constant, sink_of
from equiprop.progress import progress_bar
from equiprop.results import (
    ConvergenceError,
    ConvergenceWarning,
    FixedPoint,
    Outcome,
    Status,
    advise,
)
from equiprop.second_phase import EquilibriumPropagation, FreeState, SecondPhase, core_options
from equiprop.solvers import FREE_SOLVER_RULE, BlockUpdate, FreeSolver, default_solver, free_phase, start_of

#: Streams of the seed's random numbers; epochs use 0, 1, 2, ...
_SPLIT_STREAM = 2**40
_EVALUATION_BATCH = 1000
_SHALLOW = 2  # free layers: one hidden, and the outputs
_GROWTH = 1.5  # of the largest parameter, beyond which a divergence is laid to training
_DIVERGED, _FIXED_STEPS = int(Status.DIVERGED), int(Status.FIXED_STEPS)


Callback = Callable[["Trainer", Epoch], None]


@dataclass
class Trainer:
    """Trains a model by free phase, second phase and in-place update.

    Parameters
    ----------
    model : HopfieldNetwork or Energy
    second_phase : EquilibriumPropagation or RecurrentBackpropagation
    optimizer : SGD or Adam
    cost : SquaredError or CrossEntropy
    solver : FreeSolver, optional
        Of the free phase, and of the nudged phases unless `second_phase` names its own.
    schedule : callable
        Factor of the learning rate at a progress in [0, 1].
    batch_size : int
    seed : int
        Of the order of samples and of random signs.
    callbacks : callables
        Each called as ``callback(trainer, epoch)`` after every epoch.

    Attributes
    ----------
    history : list of Epoch
        Records of all epochs so far.
    steps : int
        Mini-batches taken so far.
    scale : float
        That of the Dataset last given to `fit`, for `predict`; 1 before.

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
        self._largest_at_start = _largest(self.model)
        self._core_step: tuple[Model, _core.TrainingStep] | None = None

    def step(self, x: Any, y: Any, *, progress: float = 0.0) -> Metrics:
        """Take one mini-batch: free phase, second phase, update in place.

        Parameters
        ----------
        x : (batch, inputs) array
        y : (batch, outputs) array, or (batch,) integer labels
        progress : float
            In [0, 1], for the schedule.

        Raises
        ------
        ConvergenceError
            If a sample diverged; the parameters are then untouched.
        """
        factor = self.schedule(progress)
        options = core_options(self.second_phase, self.model, self._solver, self.steps)
        if options is None:
            metrics = self._step_by_own_phase(x, y, factor)
        else:
            metrics = self._step_in_core(x, y, options, factor)
        self.steps += 1
        return metrics

    def _step_in_core(
        self, x: Any, y: Any, options: _core.NudgedPhases | _core.SideNetwork, factor: float
    ) -> Metrics:
        """Take a step in one call of the core; an optimiser that overrides `step` gets the summed gradient."""
        model, optimizer, where = self.model, self.optimizer, "Trainer.step"
        step = self._stepper()
        network = isinstance(model, HopfieldNetwork)
        x = as_contiguous(x, model.dtype, where, "x") if network else model.as_input(x, where)
        targets, cost = core_cost(self.cost, model, y, len(x), where)
        parameters = model.parameters
        sink = sink_of(optimizer, parameters, model.block_slices, factor)
        result = step.take(x, targets, cost, self._solver.core, options, sink)
        if result is None:
            raise self._divergence(step)
        objective, error, free, second, residual, failed, gradient = result
        if gradient is None:
            optimizer.finish()  # type: ignore[attr-defined]
        else:
            optimizer.step(parameters, gradient, model.block_slices, factor)
        advice = self._advice(step) if failed else ()
        return Metrics(objective, error, free, second, residual, failed, advice)

    def _stepper(self) -> _core.TrainingStep:
        """Return the core's training step of the model, which keeps its memory from step to step."""
        if self._core_step is None or self._core_step[0] is not self.model:
            network = self.model.core_network if isinstance(self.model, HopfieldNetwork) else None
            self._core_step = (self.model, self.model.core.TrainingStep(self.model, network))
        return self._core_step[1]

    def _outcomes(self, step: _core.TrainingStep) -> tuple[Outcome, Outcome | None]:
        """Return how the phases of the last step ended; None for a second phase that did not begin."""
        model, solver = self.model, self._solver
        free = Outcome(*step.free, advice=advise(step.free[0], partial(solver.cure, model=model)))
        if not len(step.second[0]):
            return free, None
        cure = partial(self.second_phase.cure, model, solver)  # type: ignore[attr-defined]
        return free, Outcome(*step.second, advice=advise(step.second[0], cure))

    def _advice(self, step: _core.TrainingStep) -> tuple[str, ...]:
        free, second = self._outcomes(step)
        return tuple(dict.fromkeys((*free.advice, *(second.advice if second else ()))))

    def _divergence(self, step: _core.TrainingStep) -> ConvergenceError:
        free, second = self._outcomes(step)
        return self._refusal("free phase", free) if second is None else self._refusal("second phase", second)

    def _step_by_own_phase(self, x: Any, y: Any, factor: float) -> Metrics:
        """Take a step whose second phase is an object with a `gradient` of its own."""
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
            _error(_errors(outputs, labels, labels.ndim == 1), labels.ndim == 1),
            int(free.iterations.sum()) / len(x),
            int(gradient.iterations.sum()) / len(x),
            float(free.residual.max()),
            int(failed.sum()),
            tuple(dict.fromkeys((*free.advice, *gradient.advice))),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_core_step": None}

    def _refuse_divergence(self, phase: str, outcome: Outcome) -> None:
        if outcome.status.max() == _DIVERGED:  # the worst
            raise self._refusal(phase, outcome)

    def _refusal(self, phase: str, outcome: Outcome) -> ConvergenceError:
        outcome = replace(outcome, advice=(*self._if_training_diverges(), *outcome.advice))
        return ConvergenceError(
            f"[Trainer.step] The {phase} diverged; the parameters were left as they are. "
            f"Received {outcome.summary()}",
            outcome,
        )

    def _if_training_diverges(self) -> list[str]:
        """Return the advice to lower the learning rate, if it is training that made the parameters large."""
        largest = _largest(self.model)
        if largest <= _GROWTH * self._largest_at_start:
            return []
        rate = getattr(self.optimizer, "learning_rate", None)
        return [
            f"Lower the learning rate{'' if rate is None else f' ({rate})'} and begin anew: the largest "
            f"parameter grew from {self._largest_at_start:.2g} to {largest:.2g} in {self.steps} steps."
        ]

    def fit(
        self,
        data: Dataset,
        *,
        epochs: int,
        validation: Dataset | float | None = None,
        patience: int | None = None,
        progress: bool = False,
    ) -> list[Epoch]:
        """Train for some epochs and return their records, which are also kept in `history`.

        Ctrl-C raises KeyboardInterrupt between or inside steps; parameters and history stay usable.

        Parameters
        ----------
        data : Dataset
        epochs : int
        validation : Dataset or float, optional
            Held-out data, or the fraction of `data` to hold out.
        patience : int, optional
            Stop after this many epochs without a lower validation error, and restore the parameters of
            the best one.
        progress : bool
            Show a tqdm progress bar (extra ``progress``).
        """
        epochs = whole(epochs, "Trainer.fit", "epochs", 1)
        _check_data(data, "Trainer.fit", "`data`")
        self.scale = data.scale
        data, validation = self._split(data, validation)
        if patience is not None:
            patience = whole(patience, "Trainer.fit", "patience", 1)
            _check_data(validation, "Trainer.fit", "patience needs validation data, which")
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
        """Return error and mean cost on `data`, by free phases alone.

        Warns (`ConvergenceWarning`) of samples that the trainer's solver did not bring to rest.
        """
        _check_data(data, "Trainer.evaluate", "`data`")
        errors, objectives, phases = [], [], []
        for x, y in _batches(data, self.model.dtype):
            free = self._free(x)
            cost = bind_cost(self.cost, self.model, y, len(x), "Trainer.evaluate")
            objectives.append(cost.value(np.ascontiguousarray(free.outputs)))
            errors.append(_errors(free.outputs, y, data.is_classification))
            phases.append(free)
        outcome = _joined(phases)
        outcome.report_failure("Trainer.evaluate", "warn")
        return Evaluation(
            _error(np.concatenate(errors), data.is_classification),
            float(np.concatenate(objectives).mean(dtype=np.float64)),
            int((outcome.status > Status.FIXED_STEPS).sum()),
        )

    def predict(self, x: Any, *, scale: float | None = None) -> Array:
        """Return the outputs of the free phase, (samples, outputs).

        Warns (`ConvergenceWarning`) of samples that the trainer's solver did not bring to rest.

        `evaluate` and `predict` present a Dataset in the same way. The numbers of an array are multiplied by
        `scale`, so that ``predict(data)`` and ``predict(data.x, scale=data.scale)`` are equal.

        Parameters
        ----------
        x : Dataset, or array (samples, inputs)
        scale : float, optional
            Factor from the numbers of an array to presented inputs; 1 for inputs that `Dataset.batch`
            returned. By default that of the training data, `Trainer.scale`, for integers and booleans.
            Floats can be stored or presented ones: they need no factor if that of the training data is 1.

        Raises
        ------
        ValueError
            `x` holds floats without `scale`, and the training data have a scale other than 1; or `x` is a
            Dataset, which has a scale, and `scale` is given.

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
            _check_data(x, "Trainer.predict", "`x`")
            if scale is not None:
                raise ValueError(f"[Trainer.predict] A Dataset has its own scale. Received scale={scale}.")
            parts = [part for part, _ in _batches(x, self.model.dtype)]
        else:
            presented = self.model.as_input(self._presented(x, scale), "Trainer.predict")
            parts = np.array_split(presented, _batch_count(len(presented)))
        phases = [self._free(part) for part in parts]
        _joined(phases).report_failure("Trainer.predict", "warn")
        return np.concatenate([free.outputs for free in phases])

    def _presented(self, x: Any, scale: float | None) -> Any:
        """Return the inputs that an array given to `predict` stands for."""
        where = "Trainer.predict"
        array = as_array(x, where, "x")
        if scale is None:
            if array.dtype.kind == "f" and self.scale != 1:
                raise ValueError(
                    f"[{where}] An array of floats needs its `scale`: {self.scale:g}, as in training, or 1 "
                    "for inputs from Dataset.batch; or give a Dataset. "
                    f"Received {array.dtype} and no scale, after training with scale {self.scale:g}."
                )
            scale = self.scale
        scale = checked_scale(where, real(scale, where, "scale"))
        return array if scale == 1 else scaled(array, scale, self.model.dtype)

    @property
    def _solver(self) -> FreeSolver:
        assert self.solver is not None
        return self.solver

    def _free(self, x: Any) -> FixedPoint:
        return free_phase(self.model, x, solver=self._solver, on_failure="ignore")

    def _split(self, data: Dataset, validation: Dataset | float | None) -> tuple[Dataset, Dataset | None]:
        """Return training and validation data."""
        if isinstance(validation, float):
            data, validation = data.split(validation, _core.permutation(len(data), self.seed, _SPLIT_STREAM))
        if validation is not None:
            for part in (data, validation):
                _check_data(part, "Trainer.fit", "Each of training and validation data")
        # An int, which is a float to type checkers, was refused.
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
        _warn_unconverged(steps, len(data), epoch)
        error = None if validation is None else self.evaluate(validation).error
        return summarise(epoch, steps, np.array(weights), error, seconds)


def _check_data(data: Any, where: str, name: str) -> None:
    check_type(data, Dataset, where, f"{name} is a Dataset")
    if len(data) == 0:
        raise ValueError(f"[{where}] {name} holds at least one sample. Received none.")


def _batch_count(samples: int) -> int:
    return max(1, -(-samples // _EVALUATION_BATCH))


def _batches(data: Dataset, dtype: np.dtype[Any]) -> Iterator[tuple[Array, Array]]:
    """Yield the inputs and labels or targets of all samples, in order."""
    for indices in np.array_split(np.arange(len(data)), _batch_count(len(data))):
        yield data.batch(indices, dtype)


def training_solver(model: Model) -> FreeSolver:
    """Return the free-phase solver a `Trainer` uses when none is named.

    Block updates to the largest residual that leaves the cosine between the gradient of a mini-batch and the
    fully relaxed one above 0.998 (docs/performance.md, "Fewer steps"): 5e-3 with one hidden layer, and with
    more 2e-3 and Anderson acceleration, which is worth its price there.
    """
    if not model.has_block_update:
        return default_solver(model)
    if len(model.layer_slices) <= _SHALLOW:
        return BlockUpdate(tolerance=5e-3, max_iterations=200)
    return BlockUpdate(tolerance=2e-3, max_iterations=200, anderson=1)


def _errors(outputs: Array, y: Array, classification: bool) -> NDArray[np.float64]:
    """Return 0 or 1 per sample, or mean squared errors."""
    if classification:
        return np.asarray(outputs.argmax(axis=1) != y, dtype=np.float64)
    return np.asarray(((outputs.astype(np.float64) - y) ** 2).mean(axis=1))


def _error(errors: NDArray[np.float64], classification: bool) -> float:
    mean = float(errors.mean())
    return mean if classification else mean**0.5


def _largest(model: Model) -> float:
    return float(np.abs(model.parameters).max(initial=0))


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome of several batches as that of one."""
    return Outcome(
        np.concatenate([o.status for o in outcomes]),
        np.concatenate([o.iterations for o in outcomes]),
        np.concatenate([o.residual for o in outcomes]),
        np.concatenate([o.fallbacks for o in outcomes]),
        advice=tuple(dict.fromkeys(sentence for o in outcomes for sentence in o.advice)),
    )


def _warn_unconverged(steps: Sequence[Metrics], samples: int, epoch: int) -> None:
    unconverged = sum(m.unconverged for m in steps)
    if unconverged:
        advice = dict.fromkeys(sentence for m in steps for sentence in m.advice)
        warnings.warn(
            f"[Trainer] In epoch {epoch}, {unconverged} of {samples} samples did not converge: "
            f"their gradients are approximate. {' '.join(advice)}",
            ConvergenceWarning,
            stacklevel=4,
        )
