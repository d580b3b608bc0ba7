"""Checks of several claims on a model, and the random networks that `equiprop verify` checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.checks import enough_memory, several, whole
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.solvers import FreeSolver
from equiprop.verify.certificate import Case, Certificate
from equiprop.verify.claims import CLAIMS as CLAIMS
from equiprop.verify.equivalence import equivalence
from equiprop.verify.frugal import frugal
from equiprop.verify.limit import limit
from equiprop.verify.problem import Problem
from equiprop.verify.timed import Timed
from equiprop.verify.verdict import Report
from equiprop.verify.watch import Clock, TimeUp, parts_of_check, progress_lines

_LAYERS = ([4, 6, 3], [4, 6, 5, 3], [4, 6, 5, 4, 3])
_ACTIVATIONS = ("tanh", "sigmoid", "hard_sigmoid")


def examine(
    problem: Problem,
    claims: Sequence[str] = tuple(CLAIMS),
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    show: Callable[[Report], None] = lambda _: None,
    progress: bool = False,
    clock: Clock | None = None,
) -> Case:
    """Check claims on one problem, and call `show` with each report.

    For a model without an energy, the claims `equality` and `limit` use ``symmetrize=True``. Large models
    that a user wrote are checked with the settings of `frugal`.

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
        Show a line for each claim on stderr.
    clock : Clock, optional
        Claims that have not ended when its time is up are left out.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C; its text names the claims that were finished.
    """
    clock = Clock(None) if clock is None else clock
    reports: list[Report] = []
    skipped, left_out, cheap = {}, {}, frugal(problem)
    for name in claims:
        reason = CLAIMS[name].excluded(problem)
        if reason is not None:
            skipped[name] = reason
        elif clock.up:
            left_out[name] = f"because the time limit of {clock.limit:g} s was reached before it began"
        else:
            options = {**cheap.get(name, {}), **settings.get(name, {})}
            try:
                with parts_of_check(), progress_lines(name, progress) as end, clock.running():
                    reports.append(_check(problem, name, options))
                    end(reports[-1].outcome)
            except TimeUp:
                left_out[name] = f"because the time limit of {clock.limit:g} s was reached while it ran"
                continue
            except KeyboardInterrupt as error:
                error.args = (*error.args, _progress_of(name, reports))
                raise
            show(reports[-1])
    return Case(problem, tuple(reports), skipped, left_out)


def _check(problem: Problem, name: str, settings: Mapping[str, Any]) -> Report:
    claim = CLAIMS[name]
    options = {**claim.settings, **settings}
    if not problem.model.conservative and claim.check in (equivalence, limit):
        options = {"symmetrize": True, **options}
    return claim.check(problem, **options)


def _progress_of(name: str, reports: Sequence[Report]) -> str:
    finished = ", ".join(f"{report.name} ({report.outcome})" for report in reports) or "none"
    return f"[verify] interrupted in the claim {name}; finished claims: {finished}"


def certify(
    model: Model,
    x: Any,
    y: Any,
    *,
    claims: Sequence[str] = tuple(CLAIMS),
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
    time_limit: float | None = None,
    progress: bool = False,
) -> Certificate:
    """Check every claim that applies to a model, and return the certificate.

    Ctrl-C ends the checks; the parameters of the model are then as they were, and the text of the
    KeyboardInterrupt names the claims that were finished. For large models that a user wrote, most claims
    take fewer steps, betas and differences, so that a model in NumPy with 1000 units takes about a minute;
    the certificate contains these settings.

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
    time_limit : float, positive, optional
        Seconds for the free phase and all claims. A claim that runs at the limit is stopped, in the main
        thread at once, and left out with those that follow. The certificate names them, and has not passed.
    progress : bool
        Show on stderr a line for each claim, and the remaining time of its loops.

    Returns
    -------
    Certificate

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape, or a claim is unknown.
    TimeoutError
        If the time is up before the free phase has ended.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")
    >>> certificate = eq.verify.certify(net, [[0.1, 0.5, 0.9, 0.3]], [2], claims=["equality", "limit"])
    >>> certificate.passed
    True
    """
    check_claims(claims)
    timed = Timed("certify", time_limit, progress)
    problem = timed.prepared(model, x, y, cost, solver)
    return Certificate((examine(problem, claims, progress=progress, clock=timed.clock),))


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
