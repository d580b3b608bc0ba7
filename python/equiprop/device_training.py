"""Refuses settings of a `Trainer` that a device, of which only relaxations are known, cannot have."""

from __future__ import annotations

from typing import Protocol

from equiprop.black_box import BlackBox
from equiprop.checks import require
from equiprop.costs import Cost, CrossEntropy, SquaredError
from equiprop.model_interface import Model
from equiprop.second_phase import EquilibriumPropagation, SecondPhase
from equiprop.solvers import FreeSolver, training_solver


class _Settings(Protocol):
    """The settings of a `Trainer` that are checked."""

    model: Model
    second_phase: SecondPhase
    cost: Cost
    solver: FreeSolver | None
    coupling_norm: float | None
    averaging: float | None
    free_start: str


def check_device(trainer: _Settings) -> None:
    """Raise ValueError if the model is a `BlackBox` and a setting needs more than its relaxations."""
    box, phase = trainer.model, trainer.second_phase
    if not isinstance(box, BlackBox):
        return
    known = isinstance(phase, EquilibriumPropagation) and bool(phase.rule.rules)
    rule = "A BlackBox is trained by EquilibriumPropagation with centered, one_sided or random_sign nudging"
    require(known, "Trainer", rule, phase.rule if isinstance(phase, EquilibriumPropagation) else phase)
    rules = (
        ("A BlackBox relaxes by itself, so `solver` is not given", "solver", training_solver(box)),
        ("A BlackBox starts its relaxations itself, so free_start is 'rest'", "free_start", "rest"),
        ("The couplings of a BlackBox are not known, so `coupling_norm` is not given", "coupling_norm", None),
    )
    for rule, name, value in rules:
        given = getattr(trainer, name)
        require(given == value, "Trainer", rule, given)
    assert isinstance(phase, EquilibriumPropagation)
    require(phase.solver is None, "Trainer", rules[0][0], phase.solver)
    rule = "The antisymmetric term needs the Jacobian, which a BlackBox does not have: symmetrize=False"
    require(not phase.symmetrize, "Trainer", rule, phase.symmetrize)
    _check_cost(trainer.cost)
    rule = "Averaged parameters reach a BlackBox by `parameters_changed`, so it is given"
    reached = trainer.averaging is None or box.parameters_changed is not None
    require(reached, "Trainer", rule, f"averaging={trainer.averaging} and no parameters_changed")


def _check_cost(cost: Cost) -> None:
    """Raise ValueError unless the cost of a device is one of its outputs, with all of its numbers."""
    rule = "The cost of a BlackBox is the one in its nudge: SquaredError(), or CrossEntropy(logit_scale=a)"
    unscaled = isinstance(cost, CrossEntropy) and cost.logit_scale is None
    known = isinstance(cost, SquaredError | CrossEntropy) and not unscaled
    require(known, "Trainer", rule, cost)
