"""Checks of several claims on a model, and the random networks that `equiprop verify` checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.checks import check_flag, enough_memory, several, whole
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.progress import progress_bar
from equiprop.solvers import FreeSolver
from equiprop.verify.certificate import Case, Certificate
from equiprop.verify.claims import CLAIMS as CLAIMS
from equiprop.verify.equivalence import equivalence
from equiprop.verify.limit import limit
from equiprop.verify.problem import Problem, prepare
from equiprop.verify.verdict import Report

_LAYERS = ([4, 6, 3], [4, 6, 5, 3], [4, 6, 5, 4, 3])
_ACTIVATIONS = ("tanh", "sigmoid", "hard_sigmoid")


def examine(
    problem: Problem,
    claims: Sequence[str] = tuple(CLAIMS),
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    show: Callable[[Report], None] = lambda _: None,
    progress: bool = False,
) -> Case:
    """Check claims on one problem, and call `show` with each report.

    For a model without an energy, the claims `equality` and `limit` use ``symmetrize=True``.

    Parameters
    ----------
    problem : Problem
    claims : sequence of str
        Keys of `CLAIMS`.
    settings : mapping of str to mapping
        Arguments of a claim, by its key.
    show : callable
        Function of a report.
    progress : bool
        Show a progress bar of the claims on stderr (extra ``progress``).
    """
    reports, skipped = [], {}
    for name in progress_bar(claims, "verify", progress, "claim"):
        claim = CLAIMS[name]
        reason = claim.excluded(problem)
        if reason is not None:
            skipped[name] = reason
            continue
        options = {**claim.settings, **settings.get(name, {})}
        if not problem.model.conservative and claim.check in (equivalence, limit):
            options = {"symmetrize": True, **options}
        reports.append(claim.check(problem, **options))
        show(reports[-1])
    return Case(problem, tuple(reports), skipped)


def certify(
    model: Model,
    x: Any,
    y: Any,
    *,
    claims: Sequence[str] = tuple(CLAIMS),
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
    progress: bool = False,
) -> Certificate:
    """Check every claim that applies to a model, and return the certificate.

    Ctrl-C ends the checks; the parameters of the model are then as they were.

    Parameters
    ----------
    model : HopfieldNetwork, Energy or VectorField
    x : (batch, inputs) array
    y : (batch, outputs) array, or (batch,) integer labels
    claims : sequence of str
        Keys of `CLAIMS`.
    cost : SquaredError, CrossEntropy or LayerCosts
    solver : FreeSolver, optional
        Solver of the free phase; by default one that reaches a residual of 1e-14.
    progress : bool
        Show a progress bar of the claims on stderr (extra ``progress``).

    Returns
    -------
    Certificate

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape, or a claim is unknown.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")
    >>> certificate = eq.verify.certify(net, [[0.1, 0.5, 0.9, 0.3]], [2], claims=["equality", "limit"])
    >>> certificate.passed
    True
    """
    check_claims(claims)
    check_flag(progress, "certify", "progress")
    return Certificate((examine(prepare("certify", model, x, y, cost, solver), claims, progress=progress),))


def check_claims(claims: Sequence[str]) -> None:
    """Raise TypeError unless claims are a list, and ValueError for names that are not in `CLAIMS`."""
    names = [] if isinstance(claims, str) else several(claims, "verify", "claims", lambda name, *_: name)
    unknown = [name for name in names if not isinstance(name, str) or name not in CLAIMS]
    if unknown or isinstance(claims, str):
        raise ValueError(
            f"[verify] Claims are a list with entries of {', '.join(CLAIMS)}. Received {unknown or claims!r}."
        )


def networks(
    model: HopfieldNetwork | None,
    layers: Sequence[int] | None,
    activation: str | None,
    potential: str,
    seed: int,
) -> Iterator[HopfieldNetwork]:
    """Yield `model`; if it is None, random networks with the given or the default sizes and activations."""
    if model is not None:
        yield model
        return
    for sizes in [list(layers)] if layers else _LAYERS:
        for name in [activation] if activation else _ACTIVATIONS:
            yield random_network(sizes, name, potential, seed)


def random_network(sizes: Sequence[int], activation: str, potential: str, seed: int) -> HopfieldNetwork:
    """Return a network with random weights and biases, and one activation for all layers."""
    whole(seed, "verify", "seed", 0, 2**64 - 1)
    net = HopfieldNetwork(
        sizes,
        activation=activation,
        output_activation=activation,
        potential=potential,
        dtype="float64",
        seed=seed,
    )
    for k, name in enumerate(name for name in net.blocks if name.startswith("b")):
        net.blocks[name][:] = _core.uniform(net.blocks[name].size, seed, 100 + k) - 0.3
    return net


def random_samples(net: HopfieldNetwork, samples: int, seed: int) -> tuple[Any, Any]:
    """Return uniform inputs in [0, 1), (samples, inputs), and class labels (samples,)."""
    samples = whole(samples, "verify", "samples", 1)
    size = 8 * samples * (net.num_inputs + 10 * net.num_units)
    with enough_memory(size, "verify", f"{samples} samples and their states", cure="Choose fewer samples"):
        x = _core.uniform(samples * net.num_inputs, seed, 200).reshape(samples, net.num_inputs)
    labels = (_core.uniform(samples, seed, 201) * net.num_outputs).astype(np.int64)
    return x, labels
