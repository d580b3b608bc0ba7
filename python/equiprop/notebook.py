"""Representations in notebooks: networks, fixed points, gradients, histories and verdicts as HTML."""

from __future__ import annotations

import numpy as np

from equiprop.history import History
from equiprop.markup import html, lines, panel, table
from equiprop.models import HopfieldNetwork
from equiprop.network_table import network_rows
from equiprop.results import MEANING, FixedPoint, Gradient, Outcome, Status
from equiprop.verify.verdict import Verdict

#: Number of sentences of advice that are shown.
_SENTENCES = 8


@html.register
def _(network: HopfieldNetwork) -> str:
    shapes = {name: block.shape for name, block in network.blocks.items()}
    colors = network.core_network.colors
    layers, blocks = network_rows(network.layers, network.couplings, shapes, colors)
    total = f"{network.num_parameters} parameters; block updates in {len(colors)} colours"
    return panel(repr(network), table(*layers, (2, 3, 4)), table(*blocks, (4,)), lines([total]))


@html.register
def _(free: FixedPoint) -> str:
    return panel(f"Free phase of {free.model!r}", _outcome(free))


@html.register
def _(gradient: Gradient) -> str:
    blocks = [
        [name, "x".join(map(str, block.shape)), f"{float(np.linalg.norm(block.astype(np.float64))):.3g}"]
        for name, block in gradient.blocks.items()
    ]
    return panel(
        f"Gradient of {gradient.model!r}",
        lines([f"objective {gradient.objective:.6g}"]),
        _outcome(gradient),
        table(["block", "shape", "norm"], blocks, (1, 2)),
    )


@html.register
def _(history: History) -> str:
    header = ["epoch", "training error", "validation error", "objective"]
    header += ["free iterations", "second iterations", "unconverged", "seconds"]
    rows = [
        [
            str(e.epoch),
            f"{e.train_error:.4g}",
            "" if e.validation_error is None else f"{e.validation_error:.4g}",
            f"{e.objective:.4g}",
            f"{e.free_iterations:.1f}",
            f"{e.second_iterations:.1f}",
            str(e.unconverged),
            f"{e.seconds:.2f}",
        ]
        for e in history
    ]
    return panel(f"History of {len(history)} epochs", table(header, rows, range(len(header))))


@html.register
def _(verdict: Verdict) -> str:
    rows = [
        [row.label, f"{row.value:.3g}", row.limit, _mark(row.judged, row.passed), row.note]
        for row in verdict.rows
    ]
    advice = verdict.all_advice()[:_SENTENCES]
    return panel(verdict.summary, table(["figure", "value", "limit", "", "note"], rows, (1,)), lines(advice))


def _mark(judged: bool, passed: bool) -> str:
    return "" if not judged else "✓ ok" if passed else "✗ failed"


def _outcome(outcome: Outcome) -> str:
    """Return the counts of each status, iterations, residual and advice of a phase."""
    counts = [(MEANING[s], int((outcome.status == s).sum())) for s in Status]
    rows = [["samples", str(len(outcome.status))], *([name, str(n)] for name, n in counts if n)]
    if len(outcome.status):
        mean, most = outcome.iterations.mean(), outcome.iterations.max()
        rows.append(["iterations", f"{mean:.1f} on average, {most} at most"])
        rows.append(["largest residual", f"{outcome.residual.max():.1e}"])
        rows.append(["largest estimated error", f"{outcome.error_estimate.max():.1e}"])
    return table(["figure", "value"], rows, (1,)) + lines(outcome.advice[:_SENTENCES])
