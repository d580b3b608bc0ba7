"""One training step on a mini-batch: free phase, second phase, update of the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array, as_codes_or_targets, as_contiguous
from equiprop.black_box import BlackBox
from equiprop.clipping import Clipping, norm_of
from equiprop.core_sinks import CoreSinks
from equiprop.costs import Cost, bind_cost, core_cost, core_weights
from equiprop.evaluation import mean_error, sample_errors
from equiprop.history import Metrics
from equiprop.kept_states import KeptStates
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.optimizers import Optimizer
from equiprop.results import Gradient, Outcome, Report, Status, advise, judged_together, ran_away, report_of
from equiprop.second_phase import CoreOptions, FreeState, SecondPhase, judged
from equiprop.solvers import FreeSolver, start_of
from equiprop.weights import as_sample_weight

_WHERE = "Trainer.step"
#: Advice for a failure of samples with these estimated errors.
Cure = Callable[[Status, NDArray[np.float64]], str]
_DIVERGED, _FIXED_STEPS = int(Status.DIVERGED), int(Status.FIXED_STEPS)


class Settings(NamedTuple):
    """The settings of one step; `number` is its number in the training, `factor` that of the schedule.

    `kept` has the start states of a step of `Trainer.fit`.
    """

    model: Model
    second_phase: SecondPhase
    optimizer: Optimizer
    cost: Cost
    solver: FreeSolver
    clipping: Clipping
    number: int
    factor: float
    kept: KeptStates


class PhaseDivergence(Exception):
    """A sample diverged in a phase; no parameter was changed."""

    def __init__(self, phase: str, outcome: Outcome) -> None:
        super().__init__(phase)
        self.phase: str = phase
        self.outcome: Outcome = outcome


class Part(NamedTuple):
    """The part of a step that some of its samples give.

    Attributes
    ----------
    gradient : (parameters,) array, or None
        Derivative of the objective of these samples; None if one diverged.
    objective, error : float
        Those of these samples; see `Metrics`.
    free, second : Report, or None
        Reports of the phases; None for a phase that is not known because the other one diverged.
    """

    gradient: Array | None
    objective: float
    error: float
    free: Report | None
    second: Report | None


class Stepper:
    """Takes training steps, and keeps the core's memory between them. A copy begins without memory."""

    def __init__(self) -> None:
        self._core_step: tuple[Model, _core.TrainingStep, bool] | None = None
        self._options, self._sinks = CoreOptions(), CoreSinks()

    def __reduce__(self) -> tuple[type[Stepper], tuple[()]]:
        return Stepper, ()

    def take(self, settings: Settings, x: Any, y: Any, sample_weight: Any = None) -> Metrics:
        """Take a step on inputs x and targets y; raise PhaseDivergence if a sample diverged."""
        s = settings
        options = self._options.of(s.second_phase, s.model, s.solver, s.number)
        if options is None or isinstance(s.model, BlackBox):
            return self._by_own_phase(s, x, y, sample_weight)
        return self._in_core(s, x, y, sample_weight, options)

    def _in_core(
        self,
        s: Settings,
        x: Any,
        y: Any,
        sample_weight: Any,
        options: _core.NudgedPhases | _core.SideNetwork,
    ) -> Metrics:
        """Take a step in one call of the core; then call an optimizer that is not SGD or Adam.

        A gradient whose norm is not finite is not applied. The norm is always measured in float64, in which
        that of finite numbers may be infinite.
        """
        model, optimizer, parameters = s.model, s.optimizer, s.model.parameters
        step, arguments = self.core_step(model)[0], self._core_arguments(s, x, y, sample_weight)
        sinks, limit = getattr(step, "sinks", self._sinks), s.clipping.largest_norm
        sink = sinks.of(optimizer, parameters, model.block_slices, s.factor)
        if math.isnan(limit) and (sink is None or model.dtype == np.float64):
            limit = math.inf
        x, targets, cost, weights = arguments
        start = s.kept.starts(model)
        result = step.take(x, targets, cost, s.solver.core, options, sink, limit, weights, start)
        if result is None:
            free, second = _outcomes(s, step)
            raise PhaseDivergence("free phase" if second is None else "second phase", second or free)
        objective, error, free_steps, second_steps, residual, failed = result[:6]
        norm, inexact, inaccurate, gradient = result[6:]
        if not (math.isnan(limit) or math.isfinite(norm)):
            raise _run_away(s, step.second)
        if s.kept.is_visited:
            s.kept.keep(step.free_state, step.free[0], step.second[0])
        if gradient is None:
            sinks.finish(optimizer)
        else:
            optimizer.step(parameters, gradient, model.block_slices, s.factor)
        s.clipping.record(norm)
        advice: tuple[str, ...] = ()
        if failed:
            free, second = _outcomes(s, step)
            advice = tuple(dict.fromkeys((*free.advice, *(second.advice if second else ()))))
        phases = (free_steps, second_steps, residual, failed)
        norm = math.nan if s.clipping.factor == math.inf else norm
        return Metrics(objective, error, *phases, norm, inexact, inaccurate, advice)

    def _core_arguments(self, s: Settings, x: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any, Any]:
        """Return inputs, targets, cost and weights for the core, checked."""
        model = s.model
        if isinstance(model, HopfieldNetwork) and self.core_step(model)[1]:
            x = as_contiguous(model.flat(x, _WHERE), model.dtype, _WHERE, "x")
        else:
            x = model.as_input(x, _WHERE)
        targets, cost = core_cost(s.cost, model, y, len(x), _WHERE)
        return x, targets, cost, core_weights(sample_weight, model, len(x), _WHERE)

    def core_step(self, model: Model) -> tuple[_core.TrainingStep, bool]:
        """Return the core's training step of a model, and whether the core clamps the model itself.

        The training step reuses its memory from step to step.
        """
        if self._core_step is None or self._core_step[0] is not model:
            network = _clamped_by_core(model)
            step = model.core.TrainingStep(model, network)
            self._core_step = (model, step, network is not None)
        return self._core_step[1:]

    def part(self, settings: Settings, x: Any, y: Any, sample_weight: Any) -> Part:
        """Return the part of a step that some of its samples give; no parameter is changed.

        Parameters
        ----------
        settings : Settings
        x, y, sample_weight
            Those of these samples; see `Trainer.step`.
        """
        s = settings
        options = self._options.of(s.second_phase, s.model, s.solver, s.number)
        if options is None:
            return self._own_part(s, x, y, sample_weight)
        step, arguments = self.core_step(s.model)[0], self._core_arguments(s, x, y, sample_weight)
        x, targets, cost, weights = arguments
        result = step.take(x, targets, cost, s.solver.core, options, None, math.nan, weights, None)
        objective, error, gradient = (0.0, 0.0, None) if result is None else (*result[:2], result[-1])
        return Part(gradient, objective, error, step.free, step.second)

    def _own_part(self, s: Settings, x: Any, y: Any, sample_weight: Any) -> Part:
        try:
            free, gradient, error = self._own_gradient(s, x, y, sample_weight)
        except PhaseDivergence as failure:
            is_free, report = failure.phase == "free phase", report_of(failure.outcome)
            return Part(None, 0.0, 0.0, report if is_free else None, None if is_free else report)
        second = (judged_together(gradient)[1], *report_of(gradient)[1:])
        return Part(gradient.parameters, gradient.objective, error, report_of(free), second)

    def _by_own_phase(self, s: Settings, x: Any, y: Any, sample_weight: Any) -> Metrics:
        """Take a step whose second phase defines its own `gradient`."""
        free, gradient, error = self._own_gradient(s, x, y, sample_weight)
        norm = norm_of(gradient.parameters)
        if not math.isfinite(norm):
            raise PhaseDivergence("second phase", replace(gradient, status=ran_away(gradient.status)))
        cut = s.clipping.cut(gradient.parameters, norm)
        s.optimizer.step(s.model.parameters, cut, s.model.block_slices, s.factor)
        s.clipping.record(norm)
        inexact, status = judged_together(gradient)
        failed = np.maximum(free.status, status) > _FIXED_STEPS
        return Metrics(
            gradient.objective,
            error,
            float(free.iterations.mean()),
            float(gradient.iterations.mean()),
            float(free.residual.max()),
            int(failed.sum()),
            norm,
            inexact,
            int((status == Status.INACCURATE).sum()),
            tuple(dict.fromkeys((*free.advice, *gradient.advice))),
        )

    def _own_gradient(
        self, s: Settings, x: Any, y: Any, sample_weight: Any
    ) -> tuple[Outcome, Gradient, float]:
        """Return the outcome of the free phase, the gradient of the second phase, and the error."""
        model, solver = s.model, s.solver
        x = model.as_input(x, _WHERE)
        cost = bind_cost(s.cost, model, y, len(x), _WHERE, sample_weight)
        weights = None if sample_weight is None else as_sample_weight(sample_weight, _WHERE)
        energy = model.clamp(x)
        start = s.kept.starts(model)
        start = start_of(model, len(x)) if start is None else start
        state, outcome, *_ = model.core.relax(energy, solver.core, start, False, False, len(x))
        free = Outcome(*outcome, advice=advise(outcome[0], partial(solver.cure, model=model)))
        _refuse_divergence("free phase", free)
        gradient = s.second_phase.gradient(FreeState(model, energy, x, state, cost, solver, s.number, False))
        _refuse_divergence("second phase", gradient)
        if s.kept.is_visited:
            s.kept.keep(state, free.status, gradient.status)
        outputs = state[:, -model.num_outputs :]
        labels = as_codes_or_targets(y, model.num_outputs, model.dtype, _WHERE)
        return (
            free,
            gradient,
            mean_error(sample_errors(outputs, labels, labels.ndim == 1), labels.ndim == 1, weights),
        )


def _clamped_by_core(model: Model) -> _core.HopfieldNetwork | None:
    """Return the core's network if the core may clamp the model itself.

    None for a model of one's own, and for a subclass that overrides how inputs are clamped.
    """
    own = ("as_input", "clamp", "initial_state")
    if isinstance(model, HopfieldNetwork) and all(
        getattr(type(model), name) is getattr(HopfieldNetwork, name) for name in own
    ):
        return model.core_network
    return None


def _outcomes(s: Settings, step: _core.TrainingStep) -> tuple[Outcome, Outcome | None]:
    """Return the outcomes of the phases of the core's last step; None for a second phase that was not run."""
    of_free, of_second = phase_cures(s.model, s.solver, s.second_phase)
    free = Outcome(*step.free, advice=advise(step.free[0], of_free))
    if not len(step.second[0]):
        return free, None
    return free, Outcome(*step.second, advice=advise(step.second[0], judged(step.second, of_second)))


def phase_cures(model: Model, solver: FreeSolver, phase: SecondPhase) -> tuple[Callable[[Status], str], Cure]:
    """Return the functions that give advice for failures of the free phase, and of the second phase."""
    return partial(solver.cure, model=model), partial(phase.cure, model, solver)  # type: ignore[attr-defined]


def _run_away(s: Settings, second: Report) -> PhaseDivergence:
    """Return the divergence of a second phase whose gradient has a norm that is not finite."""
    status, cure = ran_away(second[0]), phase_cures(s.model, s.solver, s.second_phase)[1]
    report = (status, *second[1:])
    outcome = Outcome(*report, advice=advise(status, judged(report, cure)))
    return PhaseDivergence("second phase", outcome)


def _refuse_divergence(phase: str, outcome: Outcome) -> None:
    if outcome.status.max() == _DIVERGED:  # the largest value of Status
        raise PhaseDivergence(phase, outcome)
