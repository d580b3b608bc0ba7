"""`Trainer.explain`: a table of the figures of a training, and its faults."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import numpy as np

from equiprop.arrays import Array
from equiprop.clipping import Clipping
from equiprop.costs import bind_cost
from equiprop.health import Health
from equiprop.health_probe import PROBED, Probe, probe
from equiprop.health_watch import CHANCE, NO_CAUSE, rows_of, run_of
from equiprop.history import History
from equiprop.optimizers import Optimizer
from equiprop.prediction import Predictor
from equiprop.results import Gradient
from equiprop.run_faults import Run, faults
from equiprop.second_phase import FreeState, SecondPhase
from equiprop.training_data import as_dataset

_WIDTH = 100
_WHERE = "Trainer.explain"
#: Number of rows of a table; the middle ones of more are left out.
_ROWS = 14


class Explainer(Predictor):
    """The part of a `Trainer` that explains its training."""

    second_phase: SecondPhase
    optimizer: Optimizer
    history: History
    steps: int
    _automatic: bool
    _clipping: Clipping
    _health: Health

    def growth_advice(self) -> tuple[str, ...]:  # noqa: D102
        raise NotImplementedError

    def check_settings(self) -> None:  # noqa: D102
        raise NotImplementedError

    def explain(self, data: Any = None, y: Any = None) -> None:
        """Print the figures of the training so far, its faults and their cures.

        For each layer: units, share of states that are held at a bound or saturated, and share of units that
        are silent, that is, do not respond to the input. For each block of parameters: root mean square of
        the entries, size of the update of one step relative to that of the block, and norm of the gradient.
        Then figures of the whole training. Units and gradients are measured now, on at most 100 samples.

        Parameters
        ----------
        data : Dataset, or array (samples, inputs), optional
            By default samples of the last call of `fit`; a trainer that was loaded has none.
        y : array, optional
            Labels or targets of an array.

        Examples
        --------
        >>> import equiprop as eq
        >>> data = eq.Dataset(np.array([[0.0, 1.0], [1.0, 0.0]] * 20), np.array([0, 1] * 20))
        >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 2], seed=1), batch_size=10)
        >>> history = trainer.fit(data, epochs=20)
        >>> trainer.explain()
        HopfieldNetwork(2-8-2, hard_sigmoid, linear, legendre, float32)
        80 steps, 20 epochs
        layer units held silent block shape size step gradient ...
        No fault was found.
        """
        self.check_settings()
        if data is None and y is None:
            samples = self._health.probe
        else:
            rows = self._presented(as_dataset(data, y, self.model, self.classes, _WHERE), _WHERE)
            samples = rows_of(rows, self.model, _WHERE)
        print(self._explanation(samples))

    def _explanation(self, samples: tuple[Array, Array] | None) -> str:
        assert self.solver is not None
        figures, gradient = None, None
        if samples is not None:
            figures = probe(self.model, self.solver, *samples, margins=PROBED)
            gradient = self._gradient(figures, samples[1])
        at_chance = CHANCE in self._health.said
        run = run_of(self, figures, at_chance)
        found = [f"-> {fault}" for fault in faults(run)]
        if self.steps and not found:
            found = [f"The error is at chance. {NO_CAUSE}" if at_chance else "No fault was found."]
        lines = [*_heading(run), *_table(run, gradient), *_of_steps(run, self._clipping), *_of_samples(run)]
        return "\n".join(
            [line[:_WIDTH].rstrip() for line in lines]
            + [part for text in found for part in textwrap.wrap(text, _WIDTH)]
        )

    def _gradient(self, figures: Probe, y: Array) -> Gradient:
        free, model = figures.free, self.model
        assert self.solver is not None
        cost = bind_cost(self.cost, model, y, len(free.x), _WHERE)
        energy = model.clamp(free.x)
        state = FreeState(model, energy, free.x, free.state, cost, self.solver, self.steps, False)
        return self.second_phase.gradient(state)


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _heading(run: Run) -> list[str]:
    lines = [repr(run.model), f"{_counted(run.steps, 'step')}, {_counted(len(run.history), 'epoch')}"]
    if run.probe is None:
        lines.append("Held and silent units and gradients are not measured: pass data to explain.")
    return lines


def _table(run: Run, gradient: Gradient | None) -> list[str]:
    """Return layers, matrices and other blocks as three tables side by side."""
    norms = {} if gradient is None else run.model.block_views(gradient.parameters)
    blocks = run.model.blocks.items()
    matrices = [_block(run, name, block, norms) for name, block in blocks if block.ndim >= 2]
    others = [_block(run, name, block, norms) for name, block in blocks if block.ndim < 2]
    tables = [
        _aligned(_LAYER, _layers(run)),
        _aligned(_BLOCK, matrices) if matrices else [],
        _aligned(_BLOCK[:1] + _BLOCK[2:], [row[:1] + row[2:] for row in others]) if others else [],
    ]
    widths = [max(map(len, table), default=0) for table in tables]
    lines = zip_longest(*tables, fillvalue="")
    return ["   ".join(part.ljust(w) for part, w in zip(line, widths, strict=True)) for line in lines]


_LAYER = ["layer", "units", "held", "silent"]
_BLOCK = ["block", "shape", "size", "step", "gradient"]


def _layers(run: Run) -> list[list[str]]:
    sizes = {name: where.stop - where.start for name, where in run.model.layer_slices.items()}
    measured = {} if run.probe is None else {layer.name: layer for layer in run.probe.layers}
    rows = []
    for name, units in sizes.items():
        layer = measured.get(name)
        shares = ["", ""] if layer is None else [f"{layer.held:.1%}", f"{layer.silent:.1%}"]
        rows.append([name[:10], str(units), *shares])
    return rows


def _block(run: Run, name: str, block: Array, norms: Mapping[str, Array]) -> list[str]:
    size = float(np.sqrt(np.square(block, dtype=np.float64).mean()))
    move = run.health.moves.get(name, math.nan)
    return [
        name[:8],
        "x".join(map(str, block.shape)),
        f"{size:.2g}",
        "" if math.isnan(move) else f"{100 * move:.2g}%",
        f"{float(np.linalg.norm(norms[name].astype(np.float64))):.1e}" if name in norms else "",
    ]


def _aligned(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a table, the first column to the left; the middle of many rows is left out."""
    if len(rows) > _ROWS:
        half = _ROWS // 2
        rows = [*rows[:half], ["...", *[""] * (len(header) - 1)], *rows[-half:]]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        " ".join([row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))]) for row in [header, *rows]
    ]


def _of_steps(run: Run, clipping: Clipping) -> list[str]:
    """Return the lines on steps and epochs."""
    if not run.steps:
        return ["No step was taken: objective, steps and errors of gradients are not measured."]
    lines = [f"clipped steps: {clipping.count / run.steps:.1%}"]
    if run.health.moved:
        lines[0] += f"; step: change of the block by step {run.health.moved}, relative to its size"
    if run.history:
        first, last, zero = run.history[0], run.history[-1], run.health.start
        fall = f"objective: {first.objective:.3g} in the first epoch, {last.objective:.3g} in the last"
        lines.append(f"{fall}; start {zero:.3g}; error {first.train_error:.3g}, {last.train_error:.3g}")
    if run.health.samples:
        n, bad, rough = run.health.samples, run.health.unconverged, run.health.inaccurate
        lines.append(
            f"training samples: {bad / n:.2%} unconverged, {rough / n:.2%} with inaccurate gradients"
        )
    return lines


def _of_samples(run: Run) -> list[str]:
    """Return the lines on the samples on which the units were examined."""
    figures = run.probe
    if figures is None:
        return []
    lines = [
        f"examined samples: {figures.samples}, {figures.unconverged} unconverged; spread of outputs relative "
        f"to targets {figures.outputs:.2g}",
        f"largest root mean square of a feature {figures.features:.3g}",
    ]
    if len(figures.margins):
        low, half = figures.margins[0], float(np.median(figures.margins))
        lines.append(f"stability margin: {low:.2g} smallest, {half:.2g} median; 0 is the loss of stability")
    return lines
