"""The check of a module of PyTorch that relaxes: its fixed point, its gradient, and what is wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch

from equiprop.arrays import as_array
from equiprop.checks import check_choice, check_type, positive, require, several
from equiprop.nudging import exact_limit
from equiprop.second_phase import EquilibriumPropagation
from equiprop.torch.layer import FixedPointLayer
from equiprop.torch.models import TorchVectorField
from equiprop.torch.module_causes import causes, jacobian
from equiprop.torch.recording import MOST_UNITS, AsField, Relaxation, recorded, relaxation_of
from equiprop.torch.slopes import compare
from equiprop.verify.cause_sentences import of_precision
from equiprop.verify.certificate import Certificate
from equiprop.verify.claims import CLAIMS
from equiprop.verify.repeats import variation
from equiprop.verify.roughness import roughness
from equiprop.verify.suite import certify
from equiprop.verify.verdict import Row, Verdict

_WHERE = "verify"
#: Largest relative difference of a sample alone from that sample in its batch.
_COUPLED = 1e-9
#: Relative rounding errors above this are not those of double precision.
_ROUGH = 1e-12


@dataclass(frozen=True, kw_only=True)
class ModuleReport(Verdict):
    """The outcome of a check of a module.

    Attributes
    ----------
    relaxation : str or None
        Name of the submodule that is one step of the relaxation; None if there is none.
    certificate : Certificate or None
        The claims of the theory on this step; None if there is no step, or a row has not passed.
    settings, rows, advice
        See `Verdict`.
    """

    claim: ClassVar[str] = "module"
    statement: ClassVar[str] = (
        "The module computes a fixed point in double precision, sample by sample, and its backward pass "
        "gives the gradient of the loss there: autograd equals finite differences."
    )

    relaxation: str | None = field(repr=False)
    certificate: Certificate | None = field(repr=False, default=None)

    @property
    def passed(self) -> bool:
        """True if every row is within its limits, and the claims hold that were checked."""
        return super().passed and (self.certificate is None or self.certificate.passed)

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.certificate is None else f"{text}\n{self.certificate}"


def verify(
    module: torch.nn.Module,
    x: Any,
    y: Any,
    *,
    tolerance: float = 1e-5,
    claims: Sequence[str] = ("limit",),
) -> ModuleReport:
    """Check the fixed point and the gradient of any module that relaxes, and name what is wrong.

    The module is copied and converted to float64. The loss is the mean over samples of |o - y|^2 / 2. One
    step z <- f(z) of the relaxation is found if it is a submodule that `forward` calls again and again with
    the state. Causes inside of the backward pass are then named from its Jacobian, and claims of the theory
    are checked on the vector field f(z) - z.

    Parameters
    ----------
    module : torch.nn.Module
        A module with outputs (batch, ...) for an input (batch, ...), such as a deep-equilibrium model, or a
        model that contains a `FixedPointLayer`.
    x : (batch, ...) tensor or array
    y : tensor or array of the shape of the outputs, or (batch,) integer labels of outputs (batch, classes)
    tolerance : float
        Limit of relative errors of the gradient, and of the relative residual of the fixed point.
    claims : sequence of str
        Keys of `equiprop.verify.CLAIMS`; each takes seconds to minutes.

    Returns
    -------
    ModuleReport
        `passed` is True if all figures are within their limits; `advice` names causes.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape, or the module does not return a tensor (batch, ...).

    Examples
    --------
    >>> import equiprop as eq
    >>> import torch
    >>> from equiprop.torch import FixedPointLayer, verify
    >>> layer = FixedPointLayer(eq.HopfieldNetwork([4, 6, 3], activation="tanh"))
    >>> verify(torch.nn.Sequential(torch.nn.Linear(2, 4), layer), torch.rand(3, 2), [0, 1, 2]).passed
    True
    """
    check_type(module, torch.nn.Module, _WHERE, "module is a torch.nn.Module")
    tolerance = positive(tolerance, _WHERE, "tolerance")
    names = several(claims, _WHERE, "claims", _claim)
    probe = _Probe(copy.deepcopy(module).double(), _as_tensor(x, "x"), y)
    with np.errstate(all="ignore"):
        return probe.report(tolerance, names)


class _Probe:
    """A copy of a module in double precision, with an input and targets."""

    def __init__(self, module: torch.nn.Module, x: torch.Tensor, y: Any) -> None:
        self.module = module
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        self.x = x.to(device).requires_grad_()
        self.targets = _targets(y, self._first_outputs()).to(device)

    def _first_outputs(self) -> torch.Tensor:
        """Return the outputs of x; raise ValueError with its error if the module does not accept x."""
        try:
            value: Any = self.module(self.x)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            rule = "The module accepts x as float64"
            raise ValueError(f"[{_WHERE}] {rule}. Received {type(error).__name__}: {error}") from error
        if not isinstance(value, torch.Tensor) or value.shape[:1] != self.x.shape[:1]:
            kind = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise TypeError(f"[{_WHERE}] The module returns a tensor (batch, ...). Received {kind}.")
        finite = bool(torch.isfinite(value).all())
        require(finite, _WHERE, "The outputs of the module are finite", "NaN or infinity")
        return value

    def outputs(self, x: torch.Tensor | None = None) -> torch.Tensor:
        """Return the outputs of an input, by default x."""
        value: torch.Tensor = self.module(self.x if x is None else x)
        return value

    def loss(self) -> torch.Tensor:
        """Return the mean over samples of |o - y|^2 / 2."""
        return self._loss_of(self.outputs())

    def _loss_of(self, outputs: torch.Tensor) -> torch.Tensor:
        loss = (outputs.double() - self.targets).square().sum() / (2 * len(self.x))
        # without a graph, as of outputs that forward has detached, all gradients are 0
        return loss if loss.requires_grad else loss + 0 * self.x.flatten()[0]

    def report(self, tolerance: float, claims: Sequence[str]) -> ModuleReport:
        """Return the figures, and causes of those that are outside of their limits."""
        basic, basic_causes = self._basics()
        relaxation, pulls = self._relaxation()
        rest, rest_causes = self._fixed_point(relaxation, tolerance)
        slopes, gradients = compare(self.loss, self._tensors())
        idle = [s.name for s in slopes if s.is_idle(max(s.size for s in slopes))]
        worst = max(slopes, key=lambda s: s.error)
        rows = (
            *basic,
            *rest,
            Row("gradient, against finite differences", worst.error, high=tolerance, note=worst.name),
            Row("tensors without influence", len(idle), high=0, note=", ".join(idle)),
        )
        known = list(causes(slopes, gradients, relaxation, pulls, tolerance, not rest_causes))
        if known and worst.error > tolerance:
            known = self._bias(tolerance) or known
        found = basic_causes or [*rest_causes, *known]
        sound = relaxation is not None and claims and all(row.passed for row in rows)
        return ModuleReport(
            settings={"tolerance": tolerance, "claims": list(claims)},
            rows=rows,
            advice=tuple(found),
            relaxation=None if relaxation is None else relaxation.name,
            certificate=_certificate(relaxation, pulls, claims) if sound and relaxation else None,
        )

    def _bias(self, tolerance: float) -> list[str]:
        """Return a sentence on the nudgings of layers if the limit beta -> 0 makes the gradient right."""
        layers = [part for part in self.module.modules() if isinstance(part, FixedPointLayer)]
        rules = {}
        for layer in layers:
            phase = layer.second_phase
            if isinstance(phase, EquilibriumPropagation) and not phase.rule.exact:
                rules[layer] = phase
                layer.second_phase = replace(phase, nudging=exact_limit())
        if not rules or max(s.error for s in compare(self.loss, self._tensors())[0]) > tolerance:
            return []
        named = ", ".join(sorted({repr(phase.rule) for phase in rules.values()}))
        return [
            f"Bias of a finite nudge: {named} has an error that vanishes with beta. Lower beta, or use "
            "exact_limit() or RecurrentBackpropagation(), which have none."
        ]

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Return the input and the parameters with a gradient, by name."""
        return {"x": self.x, **{n: p for n, p in self.module.named_parameters() if p.requires_grad}}

    @torch.no_grad()
    def _basics(self) -> tuple[list[Row], list[str]]:
        """Return rows on repeats, precision and samples, with sentences on those that fail."""
        value = self.outputs()
        scale = float(value.abs().max()) or 1.0
        shifted = self.x + 0.5
        varied = variation(self._numbers(self.x), self._numbers(shifted))
        coupled = self._coupling(value) / scale
        direction = torch.sin(torch.arange(self.x.numel(), dtype=torch.float64)).reshape(self.x.shape)
        along = direction.to(self.x.device)
        rough = roughness(lambda t: self._numbers(self.x + t * along)()) / scale
        rows = [
            Row("difference of equal calls", varied.relative if varied else 0.0, high=0),
            Row("difference of a sample alone", coupled, high=_COUPLED),
            Row("rounding errors of the outputs", rough, high=_ROUGH),
        ]
        found = []
        if varied:
            found.append(
                f"Equal calls differ ({varied.kind}): remove random numbers such as dropout (module.eval()), "
                "and buffers that change in forward."
            )
        if not varied and not rows[1].passed:
            found.append("Samples depend on their batch: remove batch normalisation, or call module.eval().")
        precision = None if varied else of_precision({"forward": (rough * scale, rough)})
        return rows, [*found, *([precision.sentence] if precision else [])]

    def _coupling(self, value: torch.Tensor) -> float:
        """Return the largest difference of a sample alone from that in the batch, whose outputs are `value`.

        Infinity if the module refuses a single sample, as batch normalisation does.
        """
        try:
            alone = torch.cat([self.outputs(self.x[i : i + 1]) for i in range(len(self.x))])
        except (RuntimeError, ValueError):
            return math.inf
        return float((alone - value).abs().max())

    def _numbers(self, x: torch.Tensor) -> Callable[[], Any]:
        return lambda: self.outputs(x).detach().cpu().numpy()

    def _relaxation(self) -> tuple[Relaxation | None, list[torch.Tensor]]:
        """Return the relaxation, and candidates for the gradient of the loss by its state."""
        with recorded(self.module) as record:
            value = self.outputs()
            if value.requires_grad:
                value.retain_grad()
            loss: Any = self._loss_of(value)  # backward has no types
            loss.backward()
        found = relaxation_of(self.module, record)
        self.module.zero_grad()
        self.x.grad = None
        if found is None:
            return None, []
        pulls = list(found.gradients[:1])
        if value.grad is not None and value.numel() == found.state.numel():
            pulls.append(value.grad.detach())
        return found, pulls

    def _fixed_point(self, relaxation: Relaxation | None, tolerance: float) -> tuple[list[Row], list[str]]:
        """Return rows on the fixed point, with sentences on those that fail."""
        own = [part for part in self.module.modules() if isinstance(part, FixedPointLayer)]
        lost = [layer.last for layer in own if layer.last is not None and not layer.last.converged]
        rows = [Row("layers that did not converge", len(lost), high=0)] if own else []
        found = [sentence for outcome in lost for sentence in outcome.advice]
        if relaxation is None:
            return rows, found
        rest = Row("residual of the fixed point", relaxation.residual, high=tolerance, note=relaxation.name)
        rows.append(rest)
        if not rest.passed:
            found.append(
                f"Too few steps: after {relaxation.steps} calls of {relaxation.name}, |f(z) - z| / |z| is "
                f"{rest.value:.1e}. Raise the number of steps, or lower the tolerance of the solver."
            )
        j = jacobian(relaxation)
        if j is not None:
            speed = float(torch.linalg.eigvals(j).abs().max())
            velocity = j - torch.eye(j.shape[1], dtype=j.dtype, device=j.device)
            odd = float((j - j.mT).norm() / velocity.norm())
            rows += [
                Row("largest |eigenvalue| of the step's Jacobian", speed),
                Row("|A - A^T| / |A|, A the Jacobian of f(z) - z", odd, note="0 for an energy"),
            ]
        return rows, found


def _claim(value: Any, where: str, name: str) -> str:
    check_choice(value, where, name, *CLAIMS)
    return str(value)


def _certificate(
    relaxation: Relaxation, pulls: Sequence[torch.Tensor], claims: Sequence[str]
) -> Certificate | None:
    """Check claims on the field f(z) - z, with the cost |s - (z* - g)|^2 / 2 whose gradient at z* is g."""
    field, state = AsField(relaxation), relaxation.state.flatten(1)
    inputs, units = field.inputs, state.shape[1]
    if units > MOST_UNITS or not pulls or not field.parameters:
        return None
    force = pulls[-1].reshape(state.shape)
    target = state - force / (float(force.abs().max()) or 1.0)
    model: Any = TorchVectorField(field, units, units, field.parameters, inputs.shape[1])
    return certify(model, inputs.cpu().numpy(), target.cpu().numpy(), claims=claims)


def _as_tensor(value: Any, name: str) -> torch.Tensor:
    """Return a tensor or an array of numbers as a new tensor of float64."""
    value = value.detach().cpu() if isinstance(value, torch.Tensor) else value
    array = as_array(value, _WHERE, name)
    require(array.ndim > 0 and array.size > 0, _WHERE, f"{name} holds samples", f"shape {array.shape}")
    require(bool(np.isfinite(array).all()), _WHERE, f"{name} is finite", "NaN or infinity")
    return torch.from_numpy(np.array(array, np.float64, order="C"))


def _targets(y: Any, outputs: torch.Tensor) -> torch.Tensor:
    """Return targets of the shape of the outputs; integer labels are encoded as one-hot."""
    given = _as_tensor(y, "y")
    labels = given.long()
    if given.shape == outputs.shape[:1] and outputs.dim() == 2 and bool((labels == given).all()):
        inside = int(labels.min()) >= 0 and int(labels.max()) < outputs.shape[1]
        require(inside, _WHERE, f"Labels lie in 0 .. {outputs.shape[1] - 1}", labels.tolist())
        return torch.nn.functional.one_hot(labels, outputs.shape[1]).double()
    shape = tuple(outputs.shape)
    require(
        given.shape == outputs.shape, _WHERE, f"y has the shape of the outputs, {shape}", tuple(given.shape)
    )
    return given
