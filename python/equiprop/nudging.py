"""Nudging: the betas and weights of Equilibrium Propagation, as data."""

from __future__ import annotations

from dataclasses import dataclass

from equiprop import _core
from equiprop.checks import real, whole

Nodes = tuple[tuple[float, float], ...]
ComplexNodes = tuple[tuple[complex, complex], ...]


@dataclass(frozen=True)
class Nudging:
    """How beta is varied: dJ/dtheta ~ sum_k w_k dF/dtheta(s^{beta_k}) over pairs (beta_k, w_k).

    Made by `one_sided`, `centered`, `random_sign`, `holomorphic` and `exact_limit`.

    Attributes
    ----------
    name : str
    beta : float
        Nudging factor, the radius of a circle of them; 0 for the exact limit.
    rules : tuple of tuples of pairs
        One is drawn for every step.
    seed : int
        Of the draws.
    circle : tuple of complex pairs
        Nodes in the complex plane, in place of `rules`.
    """

    name: str
    beta: float
    rules: tuple[Nodes, ...] = ()
    seed: int = 0
    circle: ComplexNodes = ()

    @property
    def exact(self) -> bool:
        """Whether this is the limit beta -> 0, taken with dual numbers."""
        return not self.rules and not self.circle

    def nodes(self, step: int) -> Nodes:
        """Return the pairs (beta_k, w_k) of a step, a function of the seed and the step alone."""
        if len(self.rules) == 1:
            return self.rules[0]
        draw = _core.uniform(1, self.seed, step)[0]
        return self.rules[int(draw * len(self.rules))]

    def __repr__(self) -> str:
        if self.exact:
            return self.name
        points = f", {2 * len(self.circle) - 2}" if self.circle else ""
        return f"{self.name}({self.beta:g}{points})"


def one_sided(beta: float) -> Nudging:
    """(dE/dtheta(s^beta) - dE/dtheta(s^0)) / beta: error O(beta) (Scellier & Bengio 2017).

    Both states are relaxed equally long from the free one, so an unfinished free phase cancels.
    """
    beta = real(beta, "one_sided", "beta")
    return Nudging("one_sided", beta, (_core.one_sided(beta),))


def centered(beta: float) -> Nudging:
    """(dE/dtheta(s^beta) - dE/dtheta(s^-beta)) / (2 beta): error O(beta^2) (Laborieux et al. 2021)."""
    beta = real(beta, "centered", "beta")
    return Nudging("centered", beta, (_core.centered(beta),))


def random_sign(beta: float, seed: int = 0) -> Nudging:
    """One-sided with a sign of beta drawn for every step, so that the O(beta) bias averages out.

    Scellier & Bengio (2017).
    """
    beta, seed = real(beta, "random_sign", "beta"), whole(seed, "random_sign", "seed", 0, 2**64 - 1)
    return Nudging("random_sign", beta, (_core.one_sided(beta), _core.one_sided(-beta)), seed)


def holomorphic(radius: float, points: int) -> Nudging:
    """Cauchy's integral over an even number of points on the circle |beta| = radius: error O(radius^points).

    Laborieux & Zenke (2022). The energy must be holomorphic, with smooth activations; the error falls as
    (radius / R)^points while the radius is below R, where the fixed point stops being analytic in beta.
    """
    radius, points = real(radius, "holomorphic", "radius"), whole(points, "holomorphic", "points", 2, 4096)
    return Nudging("holomorphic", radius, circle=_core.holomorphic(radius, points))


def exact_limit() -> Nudging:
    """Take the limit beta -> 0 itself, by relaxing on dual numbers beta = 0 + e in double precision.

    No truncation and no cancellation: equal to Recurrent Backpropagation to rounding.
    """
    return Nudging("exact_limit", 0.0)
