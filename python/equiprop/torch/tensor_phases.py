"""Both phases of a layer that contains a model in PyTorch: tensors of any precision on any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import torch

from equiprop.checks import require
from equiprop.gradients import judged_by_its_start
from equiprop.linear_solvers import ConjugateGradient
from equiprop.results import Outcome, Status, advise
from equiprop.second_phase import EquilibriumPropagation, RecurrentBackpropagation, SecondPhase
from equiprop.solvers import Euler, FreeSolver
from equiprop.torch.linear import richardson, solve
from equiprop.torch.models import TorchEnergy, TorchVectorField, energies_of, velocities_of
from equiprop.torch.network_phases import WHERE, with_defaults
from equiprop.torch.ops import FreeTensors
from equiprop.torch.search import Search, Solved, tolerance_of

Field = Callable[[torch.Tensor], torch.Tensor]
Pair = tuple[torch.Tensor, list[torch.Tensor]]


class TensorPhases:
    """The free phase of a `TorchEnergy` or `TorchVectorField`, and its second phase, in PyTorch alone.

    EqProp uses the cost C = <g, o> / |g|_max, which is linear in the outputs o, and weights samples by
    |g|_max, so beta has the same meaning for every size of g.

    Parameters
    ----------
    model : TorchEnergy or TorchVectorField
        Its function and the names of its parameters are used.
    second_phase : EquilibriumPropagation or RecurrentBackpropagation, optional
    solver : Euler, optional
    on_failure : {"warn", "raise", "ignore"}

    Attributes
    ----------
    last, last_backward, steps
        See `NetworkPhases`.
    """

    on_failure: str
    names: tuple[str, ...]
    num_units: int
    num_outputs: int
    solver: Euler
    second_phase: EquilibriumPropagation | RecurrentBackpropagation
    steps: int

    def __init__(
        self,
        model: TorchEnergy | TorchVectorField,
        second_phase: SecondPhase | None,
        solver: FreeSolver | None,
        on_failure: str,
    ) -> None:
        self.model: Any = model
        self.on_failure = on_failure
        self.names = tuple(model.block_shapes)
        self.num_units, self.num_outputs = model.num_units, model.num_outputs
        self.solver = _checked_solver(Euler() if solver is None else solver)
        self.second_phase = self.checked(second_phase)
        self.last: Outcome | None = None
        self.last_backward: Outcome | None = None
        self.steps = 0

    def checked(self, phase: SecondPhase | None) -> EquilibriumPropagation | RecurrentBackpropagation:
        """Return a second phase with its defaults; raise an error for one that does not suit the model."""
        return _checked_phase(phase, self.model.conservative)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of one input, or None if the model does not tell its number of inputs."""
        return None if self.model.num_inputs is None else (self.model.num_inputs,)

    def __call__(self, x: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the state of the free phase, (batch, units), with the second phase as its derivative."""
        state: torch.Tensor = _fixed_point(self, x, *parameters)
        return state

    def in_precision(self, dtype: torch.dtype) -> None:
        """Do nothing: the tensors determine the precision."""

    def relax(self, x: torch.Tensor, parameters: Sequence[torch.Tensor]) -> FreeTensors:
        """Return the free phase from the states 0."""
        for name, tensor in zip(("x", *self.names), (x, *parameters), strict=True):
            require(bool(torch.isfinite(tensor).all()), WHERE, f"`{name}` holds finite numbers", "others")
        start = x.new_zeros(len(x), self.num_units)
        slope = self._slope(x, parameters)
        free = descend(slope, start, self.solver, tolerance_of(self.solver, x.dtype))
        outcome = free.outcome()
        self.last = _advised(outcome, lambda failure: self.solver.cure(failure, self.model))
        self.last.report_failure(WHERE, self.on_failure)
        return FreeTensors(free.value, free.status, free.error)

    def pull(
        self, g: torch.Tensor, x: torch.Tensor, free: FreeTensors, parameters: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        """Return the products of g (batch, units) with dstate/dx and with dstate/dparameters.

        Numbers in g that are not finite make all products NaN, as in other modules of PyTorch.
        """
        if not bool(torch.isfinite(g).all()):
            return [torch.full_like(tensor, torch.nan) for tensor in (x, *parameters)]
        phase = self.second_phase
        if isinstance(phase, RecurrentBackpropagation):
            products, found = self._recurrent(phase, g, x, free.state, parameters)
            outcome = found.outcome()
            cured = _advised(outcome, lambda failure: phase.linear_solver.cure(failure, self.model))
        else:
            products, found = self._nudged(phase, g, x, free.state, parameters)
            outcome = found.outcome()
            cured = _advised(
                outcome, lambda failure: phase.cure(self.model, self.solver, failure, outcome.error_estimate)
            )
        largest = free.state.abs().amax(dim=1)
        judged = judged_by_its_start(cured, *map(_array, (largest, free.status, free.error)))
        self.last_backward, self.steps = judged, self.steps + 1
        judged.report_failure(f"{WHERE}.backward", self.on_failure)
        return products

    def _slope(self, x: torch.Tensor, parameters: Sequence[torch.Tensor], graph: bool = False) -> Field:
        """Return the function s -> dE/ds, or minus the velocity; with `graph`, it can be differentiated."""
        function = self.model.function
        x, *parameters = [x, *parameters] if graph else [tensor.detach() for tensor in (x, *parameters)]
        params = dict(zip(self.names, parameters, strict=True))

        def slope(s: torch.Tensor) -> torch.Tensor:
            with torch.set_grad_enabled(graph):
                if isinstance(self.model, TorchVectorField):
                    return -velocities_of(function, x, s, params)
            with torch.enable_grad():
                s = s if graph else _leaf(s)
                total = energies_of(function, x, s, params).sum()
                return torch.autograd.grad(total, s, create_graph=graph)[0]

        return slope

    def _recurrent(
        self,
        phase: RecurrentBackpropagation,
        g: torch.Tensor,
        x: torch.Tensor,
        state: torch.Tensor,
        parameters: Sequence[torch.Tensor],
    ) -> tuple[list[torch.Tensor], Solved]:
        """Return -<lambda, d2E/dtheta ds> for the solution of H^T lambda = g."""
        at, (x, *parameters) = _leaf(state), [_leaf(tensor) for tensor in (x, *parameters)]
        slope = self._slope(x, parameters, graph=True)(at)
        found = solve(lambda v: _pulled(slope, [at], v)[0], g, phase.linear_solver)
        return _pulled(slope, [x, *parameters], -found.value), found

    def _nudged(
        self,
        phase: EquilibriumPropagation,
        g: torch.Tensor,
        x: torch.Tensor,
        state: torch.Tensor,
        parameters: Sequence[torch.Tensor],
    ) -> tuple[list[torch.Tensor], Solved]:
        """Return sum_k w_k dE/dtheta(s^{beta_k}), or its limit beta -> 0."""
        solver = phase.solver or self.solver
        assert isinstance(solver, Euler)
        size = g.abs().amax(dim=1, keepdim=True)
        unit = g / torch.where(size > 0, size, torch.ones_like(size))
        at, (x, *parameters) = _leaf(state), [_leaf(tensor) for tensor in (x, *parameters)]
        if phase.rule.exact:
            force = self._slope(x, parameters, graph=True)(at)
            found = richardson(lambda v: _pulled(force, [at], v)[0], unit, solver, solver.step_size)
            return _pulled(force, [x, *parameters], -size * found.value), found
        slope, results = self._slope(x, parameters), list[Solved]()
        params, contrast = dict(zip(self.names, parameters, strict=True)), x.new_zeros(())
        with torch.enable_grad():
            for beta, weight in phase.rule.nodes(self.steps):
                tolerance = _nudged_tolerance(solver, state, beta)
                results.append(descend(_plus(slope, beta * unit), state, solver, tolerance))
                energies = energies_of(self.model.function, x, results[-1].value, params)
                contrast = contrast + (weight * size[:, 0] * energies).sum()
        return _pulled(contrast, [x, *parameters]), _worst(results)


class _FixedPoint(torch.autograd.Function):
    """The free phase as a function of tensors, with the second phase as its derivative."""

    @staticmethod
    def forward(ctx: Any, phases: TensorPhases, x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            free = phases.relax(x, parameters)
        ctx.phases = phases
        ctx.save_for_backward(x, *free, *parameters)
        return free.state

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        with torch.no_grad():
            none, *products = _pull(ctx, *grad_outputs)
        return (none, *(_once(products) if torch.is_grad_enabled() else products))


class _Once(torch.autograd.Function):
    """The identity of tensors, without a derivative."""

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:  # noqa: ARG004
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> NoReturn:  # noqa: ARG004
        raise RuntimeError(f"[{WHERE}] Derivatives have order one. Received a derivative of a derivative.")


def _once(products: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
    """Return equal tensors whose backward pass raises an error, whatever g requires."""
    anchor = torch.zeros((), requires_grad=True)
    refusing: tuple[torch.Tensor, ...] = _Once.apply(anchor, *products)  # type: ignore[no-untyped-call]
    return list(refusing)


def _pull(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, state, status, error, *parameters = [tensor.detach() for tensor in ctx.saved_tensors]
    with torch.autocast(x.device.type, enabled=False):
        return None, *ctx.phases.pull(g, x, FreeTensors(state, status, error), parameters)


#: The free phase with its derivative; ``torch.compile`` leaves it out: its number of steps depends on data.
_fixed_point: Any = torch.compiler.disable(lambda *arguments: _FixedPoint.apply(*arguments))  # type: ignore[no-untyped-call]


def descend(slope: Field, start: torch.Tensor, solver: Euler, tolerance: float) -> Solved:
    """Take Euler steps s - step_size slope(s) until max |slope(s)| <= tolerance, sample by sample.

    A sample that diverges is returned with the state from which it started.
    """
    state, force = start, slope(start)
    search = Search(start, solver, tolerance)
    while search.goes_on(force.abs().amax(dim=1)):
        state = search.moved(state, -solver.step_size * force)
        force = slope(state)
    found = search.result(state)
    lost = (found.status == int(Status.DIVERGED))[:, None]
    return replace(found, value=torch.where(lost, start, state))


def _nudged_tolerance(solver: Euler, state: torch.Tensor, beta: float) -> float:
    """Return |beta| times the tolerance of a solver, but no less than rounding errors of the state."""
    if solver.tolerance == 0:
        return 0.0
    rounding = 16 * torch.finfo(state.dtype).eps * max(1.0, float(state.abs().max()))
    return max(abs(beta) * tolerance_of(solver, state.dtype), rounding)


def _plus(slope: Field, force: torch.Tensor) -> Field:
    """Return the slope of a nudged energy; `force` (batch, units) is beta dC/ds."""
    return lambda s: slope(s) + force


def _worst(results: Sequence[Solved]) -> Solved:
    """Return figures of nudged phases: the worst status and the largest numbers of each sample."""

    def most(name: str) -> torch.Tensor:
        return torch.stack([getattr(result, name) for result in results]).amax(dim=0)

    return Solved(results[-1].value, *map(most, ("residual", "iterations", "status", "error")))


def _leaf(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().requires_grad_()


def _pulled(
    value: torch.Tensor, inputs: Sequence[torch.Tensor], v: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Return the products of v with the derivatives of a value by its inputs; 0 for one without influence."""
    found = torch.autograd.grad(value, inputs, v, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(i) if f is None else f.detach() for i, f in zip(inputs, found, strict=True)]


def _array(tensor: torch.Tensor) -> Any:
    return tensor.cpu().numpy()


def _advised(outcome: Outcome, cure: Callable[[Status], str]) -> Outcome:
    return replace(outcome, advice=advise(outcome.status, cure))


def _checked_solver(solver: Any) -> Euler:
    if not isinstance(solver, Euler):
        rule = "A layer of a model in PyTorch relaxes by Euler()"
        raise TypeError(f"[{WHERE}] {rule}. Received {solver!r}.")
    if solver.anderson:
        rule = "A layer of a model in PyTorch relaxes without acceleration, anderson=0"
        raise ValueError(f"[{WHERE}] {rule}. Received {solver.anderson!r}.")
    _ = solver.core  # checks the options
    return solver


def _checked_phase(
    phase: SecondPhase | None, conservative: bool
) -> EquilibriumPropagation | RecurrentBackpropagation:
    phase = with_defaults(phase, conservative)
    if isinstance(phase, RecurrentBackpropagation):
        if isinstance(phase.linear_solver, ConjugateGradient) and not conservative:
            rule = "A vector field needs GMRES(), Richardson() or Neumann()"
            raise ValueError(f"[{WHERE}] {rule}. Received {phase.linear_solver!r}.")
        _ = phase.linear_solver.core  # checks the options
        return phase
    if not isinstance(phase, EquilibriumPropagation):
        rule = "The second phase of a layer of a model in PyTorch is an EquilibriumPropagation() or a "
        raise TypeError(f"[{WHERE}] {rule}RecurrentBackpropagation(). Received {phase!r}.")
    if phase.solver is not None:
        _checked_solver(phase.solver)
    if not conservative:
        rule = "The second phase of a vector field in a layer is RecurrentBackpropagation(GMRES())"
        raise ValueError(f"[{WHERE}] {rule}. Received {phase!r}.")
    if phase.rule.circle:
        rule = "A layer of a model in PyTorch has real states: use centered(beta) or exact_limit()"
        raise ValueError(f"[{WHERE}] {rule}. Received {phase.rule!r}.")
    return phase
