"""Solvers of linear side networks H^T lambda = g for tensors; each sample is a system of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch

from equiprop.linear_solvers import GMRES, ConjugateGradient, LinearSolver, Richardson
from equiprop.results import Status
from equiprop.solvers import Solver
from equiprop.torch.search import Search, Solved, tolerance_of

Product = Callable[[torch.Tensor], torch.Tensor]


def solve(product: Product, g: torch.Tensor, solver: LinearSolver) -> Solved:
    """Solve ``product(value) = g`` from 0, until |g - product(value)|_2 <= tolerance |g|_2."""
    if isinstance(solver, ConjugateGradient):
        return _conjugate_gradients(product, g, solver)
    if isinstance(solver, GMRES):
        return _gmres(product, g, solver)
    return richardson(product, g, solver, solver.step_size if isinstance(solver, Richardson) else 1.0)


def richardson(product: Product, g: torch.Tensor, solver: Solver, step_size: float) -> Solved:
    """Take steps value + step_size (g - product(value)); see `Richardson` and `Neumann`."""
    value, rest = torch.zeros_like(g), g
    search, relative = _search(g, solver)
    while search.goes_on(relative(rest)):
        value = search.moved(value, step_size * rest)
        rest = g - product(value)
    return search.result(value)


def _search(g: torch.Tensor, solver: Solver) -> tuple[Search, Product]:
    """Return the loop of a solver, and the function that gives the relative residual of each sample."""
    size = g.norm(dim=1)
    scale = torch.where(size > 0, size, torch.ones_like(size))
    return Search(g, solver, tolerance_of(solver, g.dtype)), lambda rest: rest.norm(dim=1) / scale


def _conjugate_gradients(product: Product, g: torch.Tensor, solver: Solver) -> Solved:
    """Hestenes & Stiefel (1952), without a preconditioner; a sample with negative curvature stops."""
    value, rest, direction = torch.zeros_like(g), g, g
    search, relative = _search(g, solver)
    while search.goes_on(relative(rest)):
        image = product(direction)
        power, curvature = (rest * rest).sum(dim=1), (direction * image).sum(dim=1)
        search.stop(curvature < 0, Status.INDEFINITE)
        step = torch.where(search.active & (curvature > 0), power / curvature, 0)[:, None]
        value, rest = value + step * direction, rest - step * image
        growth = torch.where(search.active & (power > 0), (rest * rest).sum(dim=1) / power, 0)[:, None]
        direction = rest + growth * direction
    return search.result(value)


def _gmres(product: Product, g: torch.Tensor, solver: GMRES) -> Solved:
    """Restarted GMRES (Saad & Schultz 1986): a cycle minimises |g - product(value)| over its Krylov space."""
    value, rest = torch.zeros_like(g), g
    size = min(solver.restart, g.shape[1])
    search, relative = _search(g, solver)
    while search.goes_on(relative(rest)):
        basis, images = _krylov(product, rest, size)
        step = basis @ (torch.linalg.pinv(images) @ rest[:, :, None])
        value = search.moved(value, step[:, :, 0])
        rest = g - product(value)
        search.count(size - 1)
    return search.result(value)


def _krylov(product: Product, rest: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return orthonormal vectors of the Krylov space of `rest`, and their images, (batch, units, size)."""
    basis, images, vector = list[torch.Tensor](), list[torch.Tensor](), rest
    for _ in range(size):
        for _ in range(2):  # the second pass removes the rounding errors of the first
            for earlier in basis:
                vector = vector - (earlier * vector).sum(dim=1, keepdim=True) * earlier
        norm = vector.norm(dim=1, keepdim=True)
        basis.append(torch.where(norm > 0, vector / norm, 0))
        vector = product(basis[-1])
        images.append(vector)
    return torch.stack(basis, dim=2), torch.stack(images, dim=2)
