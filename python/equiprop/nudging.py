"""Nudging: the nudging factors beta of Equilibrium Propagation and the weights of their phases."""

from __future__ import annotations

import math
from dataclasses import dataclass

from equiprop import _core
from equiprop.checks import real, require, whole

Nodes = tuple[tuple[float, float], ...]
ComplexNodes = tuple[tuple[complex, complex], ...]


@dataclass(frozen=True)
class Nudging:
    """A difference rule in beta: dJ/dtheta ~ sum_k w_k dE/dtheta(s^{beta_k}) over pairs (beta_k, w_k).

    `one_sided`, `centered`, `random_sign`, `holomorphic` and `exact_limit` return objects of this class.

    Attributes
    ----------
    name : str
        Name of the function that made the object.
    beta : float
        Nudging factor, dimensionless; the radius of the circle for `holomorphic`, 0 for the exact limit.
    rules : tuple of tuples of pairs
        Rules with real beta. If there is more than one, each training step draws one at random.
    seed : int
        Seed of the draws.
    circle : tuple of complex pairs
        Pairs (beta_k, w_k) with complex beta; `rules` is then empty.
    """

    name: str
    beta: float
    rules: tuple[Nodes, ...] = ()
    seed: int = 0
    circle: ComplexNodes = ()

    @property
    def exact(self) -> bool:
        """True for the limit beta -> 0, which is computed with dual numbers."""
        return not self.rules and not self.circle

    def nodes(self, step: int) -> Nodes:
        """Return the pairs (beta_k, w_k) of a training step; they depend only on the seed and the step."""
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
    """Return the rule (dE/dtheta(s^beta) - dE/dtheta(s^0)) / beta, with a bias of O(beta).

    The core relaxes s^0 and s^beta for the same number of steps from the free state, so the error of a free
    phase that did not converge cancels. Source: Scellier & Bengio (2017).

    Parameters
    ----------
    beta : float, not 0

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.one_sided(0.5).nodes(step=0)
    ((0.0, -2.0), (0.5, 2.0))
    """
    beta = real(beta, "one_sided", "beta")
    return Nudging("one_sided", beta, (_core.one_sided(beta),))


def centered(beta: float) -> Nudging:
    """Return the rule (dE/dtheta(s^beta) - dE/dtheta(s^-beta)) / (2 beta), with a bias of O(beta^2).

    Source: Laborieux et al. (2021).

    Parameters
    ----------
    beta : float, not 0

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.centered(0.5).nodes(step=0)
    ((-0.5, -1.0), (0.5, 1.0))
    """
    beta = real(beta, "centered", "beta")
    return Nudging("centered", beta, (_core.centered(beta),))


def random_sign(beta: float, seed: int = 0) -> Nudging:
    """Return the one-sided rule with a random sign of beta at each step; the O(beta) bias averages out.

    Source: Scellier & Bengio (2017).

    Parameters
    ----------
    beta : float, not 0
    seed : int
        Seed of the signs.

    Examples
    --------
    >>> import equiprop as eq
    >>> sorted({eq.random_sign(0.5).nodes(step)[1][0] for step in range(20)})
    [-0.5, 0.5]
    """
    beta, seed = real(beta, "random_sign", "beta"), whole(seed, "random_sign", "seed", 0, 2**64 - 1)
    rule = "beta is a finite number other than 0"
    require(math.isfinite(beta) and beta != 0, "random_sign", rule, f"{beta:g}")
    return Nudging("random_sign", beta, (_core.one_sided(beta), _core.one_sided(-beta)), seed)


def holomorphic(radius: float, points: int) -> Nudging:
    """Return Cauchy's integral formula for the derivative by beta, with points on the circle |beta| = radius.

    The bias is O((radius / R)^points), where R > radius is the distance from 0 to the nearest beta at which
    the fixed point is not analytic in beta. Source: Laborieux & Zenke (2022).

    Parameters
    ----------
    radius : float, positive
    points : int
        Even number of points, 2 to 4096. The model must be holomorphic: its activations must be smooth.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.holomorphic(0.5, points=4)
    holomorphic(0.5, 4)
    """
    radius, points = real(radius, "holomorphic", "radius"), whole(points, "holomorphic", "points", 2, 4096)
    require(radius > 0, "holomorphic", "radius is positive", f"{radius:g}")
    return Nudging("holomorphic", radius, circle=_core.holomorphic(radius, points))


def exact_limit() -> Nudging:
    """Return the limit beta -> 0: the nudged phase relaxes dual numbers, beta = 0 + e with e^2 = 0.

    The derivative by beta has no truncation error and no cancellation: it equals Recurrent Backpropagation
    up to rounding errors. States and parameters are in double precision.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.exact_limit().exact
    True
    """
    return Nudging("exact_limit", 0.0)
