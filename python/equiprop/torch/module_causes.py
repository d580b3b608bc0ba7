"""Causes of a wrong gradient of a module that relaxes, from the Jacobian of its last step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from equiprop.torch.recording import MOST_UNITS, Relaxation
from equiprop.torch.slopes import Slopes

#: Relative distance at which a gradient counts as the one that a cause predicts.
_CLOSE = 1e-3
#: Largest number of terms of a truncated series that is tried.
_TERMS = 50


def jacobian(relaxation: Relaxation) -> torch.Tensor | None:
    """Return df/dz at the last state, (batch, units, units), or None if it is too large."""
    z = relaxation.state.requires_grad_()
    units = z[0].numel()
    if units > MOST_UNITS:
        return None
    with torch.enable_grad():
        value = relaxation(z).reshape(len(z), units)
        rows = [torch.autograd.grad(value[:, k].sum(), z, retain_graph=True)[0] for k in range(units)]
    return torch.stack([row.reshape(len(z), units) for row in rows], dim=1)


def causes(
    slopes: Sequence[Slopes],
    gradients: Mapping[str, torch.Tensor],
    relaxation: Relaxation | None,
    pulls: Sequence[torch.Tensor],
    tolerance: float,
    settled: bool,
) -> Iterator[str]:
    """Yield a sentence on each cause of slopes that differ by more than `tolerance`.

    Parameters
    ----------
    slopes, gradients
        See `compare`.
    relaxation : Relaxation, optional
    pulls : sequence of (batch, units) tensors
        Candidates for the gradient of the loss by the state.
    tolerance : float
    settled : bool
        False if the state is no fixed point, which alone makes a gradient wrong.
    """
    largest = max((s.size for s in slopes), default=0.0)
    kinked = [s.name for s in slopes if s.error > tolerance and s.is_kinked]
    if kinked:
        yield (
            f"Kink: the loss is not smooth in {', '.join(kinked)}: its slopes on both sides differ, so no "
            "gradient is right. Check the module with other parameters, or with a smooth function."
        )
        slopes = [s for s in slopes if s.name not in kinked]
    names = {kind: [s.name for s in slopes if getattr(s, f"is_{kind}")(largest)] for kind in ("idle", "cut")}
    if names["idle"]:
        yield (
            f"Without influence: {', '.join(names['idle'])} changes neither the outputs nor the gradient. "
            "Use it in forward, or remove it."
        )
    if names["cut"]:
        yield (
            f"Detached: {', '.join(names['cut'])} changes the loss, but its gradient is zero. The graph is "
            "cut between it and the outputs (detach, no_grad, .data): apply the step once more with the "
            "graph at the fixed point."
        )
    wrong = [s for s in slopes if s.error > tolerance and s.name not in names["idle"] + names["cut"]]
    named = _named(wrong, gradients, relaxation, pulls) if wrong else None
    if named is not None:
        yield named
    elif wrong and settled:
        worst = max(wrong, key=lambda s: s.error)
        yield (
            f"Wrong gradient: that of {worst.name} differs from finite differences by {worst.error:.1e}. "
            "Compare the backward pass with (df/dtheta)^T v, (I - J^T) v = dL/dz, at the fixed point. Causes "
            "inside of it are named if one step of the relaxation is a submodule that forward calls with the "
            "state as an argument."
        )


def _named(
    wrong: Sequence[Slopes],
    gradients: Mapping[str, torch.Tensor],
    relaxation: Relaxation | None,
    pulls: Sequence[torch.Tensor],
) -> str | None:
    """Return a sentence on the cause of wrong slopes, or None if no known cause predicts them."""
    worst = max(wrong, key=lambda s: s.error)
    evidence = f"the gradient of {worst.name} differs from finite differences by {worst.error:.1e}"
    factors = [s.factor for s in wrong]
    if all(f is not None and abs(f + 1) < _CLOSE for f in factors):
        return f"Wrong sign: {evidence}; both have opposite signs. Negate the backward pass."
    if None not in factors and max(factors) - min(factors) < _CLOSE * abs(max(factors)):  # type: ignore[type-var, operator, arg-type]
        return (
            f"Wrong scale: {evidence}; it is {factors[0]:.6g} times as large for all of {len(wrong)} tensors."
        )
    named = None if relaxation is None else _predicted(gradients, relaxation, pulls)
    return None if named is None else f"{named} ({evidence})."


def _predicted(
    gradients: Mapping[str, torch.Tensor], relaxation: Relaxation, pulls: Sequence[torch.Tensor]
) -> str | None:
    """Return the cause whose gradient of the step's parameters is that of the module, or None."""
    j = jacobian(relaxation)
    own = {f"{relaxation.name}.{name}": p for name, p in relaxation.step.named_parameters()}
    own = {name: p for name, p in own.items() if name in gradients}
    if j is None or not own:
        return None
    target = torch.cat([gradients[name].flatten() for name in own])
    for pull in pulls:
        for sentence, v in _adjoints(j, pull.reshape(len(j), -1)):
            predicted = _by_parameters(relaxation, list(own.values()), v)
            if float((predicted - target).norm()) <= _CLOSE * float(target.norm()):
                return sentence
    return None


def _by_parameters(
    relaxation: Relaxation, parameters: Sequence[torch.Tensor], v: torch.Tensor
) -> torch.Tensor:
    """Return (df/dtheta)^T v, flat."""
    z = relaxation.state
    with torch.enable_grad():
        found = torch.autograd.grad(relaxation(z), parameters, v.reshape(z.shape), allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(p) if f is None else f).flatten() for p, f in zip(parameters, found, strict=True)]
    )


def _adjoints(j: torch.Tensor, pull: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield sentences on wrong backward passes, with the vector v that each computes, (batch, units)."""
    unit = torch.eye(j.shape[1], dtype=j.dtype, device=j.device)
    g = pull[:, :, None]
    yield (
        "One-step gradient: the backward pass is that of the last step alone, (df/dtheta)^T dL/dz, also "
        "known as Jacobian-free backpropagation. Solve (I - J^T) v = dL/dz",
        pull,
    )
    untransposed = torch.linalg.solve(unit - j, g)
    yield (
        "Missing transpose: the backward pass solves (I - J) v = dL/dz. Use J^T, a vector-Jacobian product",
        untransposed[:, :, 0],
    )
    yield (
        "Wrong sign of the Jacobian: the backward pass solves (I + J^T) v = dL/dz",
        torch.linalg.solve(unit + j.mT, g)[:, :, 0],
    )
    terms = g
    for k in range(2, _TERMS + 1):
        terms = g + j.mT @ terms
        yield (
            f"Truncated gradient: the backward pass takes {k} steps of v <- J^T v + dL/dz. Take more of them",
            terms[:, :, 0],
        )
