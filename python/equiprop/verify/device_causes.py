"""Causes of wrong figures of a device: noise, parameters, precision, nudge, batch, factor, in this order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from equiprop.verify.cause_sentences import Coupled, of_coupling, of_precision
from equiprop.verify.confidence import certain, explaining
from equiprop.verify.device import Compared, Measured
from equiprop.verify.relation import described, relation
from equiprop.verify.repeats import Variation, variation
from equiprop.verify.roughness import roughness

_Floats = NDArray[np.float64]

#: Number of repeats from which standard deviations are computed, and of lines on which precision is examined.
_REPEATS, _LINES = 8, 3
#: Errors up to this multiple of the expected standard deviation are explained by noise.
_MARGIN = 5.0
#: Relative difference between samples alone and in a batch that is more than a different order of a sum.
_COUPLED = 1e-9
#: Limit of that difference for a device with noise.
_NOISY = 0.05
#: Largest number of parameters in a sentence.
_SHOWN = 6
#: A response to the nudge that ends below this part of its largest value has fallen.
_FALLEN = 0.7
#: Error of EqProp that a relaxation may have that ends early.
_SMALL = 0.2
#: Tolerance from which the comparison tells a device that responds hardly from one that does not.
_NO_TEST = 0.5


def advice_on(measured: Measured, compared: Compared) -> tuple[str, ...]:
    """Return sentences on the causes of a failed check, with evidence and cures; none if it passed.

    The device is relaxed some hundred times more. If its noise explains all errors, nothing else is said.
    """
    if all(row.passed for row in compared.rows):
        return ()
    probe = _Probe(measured, compared)
    noise = probe.noise()
    if noise and noise.explains_all:
        return (noise.sentence,)
    found = [noise.sentence] if noise else [*probe.parameters(), *probe.precision()]
    found += probe.nudge(noise is not None)
    found += probe.batch(noise is not None)
    found += probe.factor()
    found += probe.ends(noise is not None)
    if not compared.lowers_cost:
        found.append(
            certain(
                "Nudging does not lower the cost: the nudge has the wrong sign, or another target than y."
            )
        )
    return tuple(found) or (compared.remainder,)


@dataclass(frozen=True)
class _Noise:
    sentence: str
    explains_all: bool


class _Probe:
    """Relaxes a device again to find the cause of a failed check."""

    def __init__(self, measured: Measured, compared: Compared) -> None:
        self.measured, self.compared = measured, compared
        self.factors = 1.0  # of causes that were found
        self.comparable = True  # False after a cause that changes EqProp in ways without a simple relation

    @cached_property
    def paths(self) -> tuple[_Floats, _Floats, _Floats]:
        """Relaxations at -beta, 0 and beta."""
        below, free, above = (self._path(b * self.compared.beta) for b in (-1, 0, 1))
        return below, free, above

    def _path(self, beta: float) -> _Floats:
        return self.measured.trajectory(beta)

    def noise(self) -> _Noise | None:
        """Return the cause if equal relaxations, or equal contrasts, differ."""
        measured, beta = self.measured, self.compared.beta
        ends = [path[-1] for path in self.paths]
        parts = {
            "relaxations end": variation(lambda: self._path(beta)[-1], lambda: self._path(-beta)),
            "contrasts are": variation(
                lambda: measured.contrast(ends[2]), lambda: measured.contrast(ends[0])
            ),
        }
        found = {name: part for name, part in parts.items() if part}
        if not found:
            return None
        name = max(found, key=lambda key: found[key].relative)
        sizes = f"{found[name].size:.1e} apart ({found[name].relative:.1e} relative)"
        evidence = f"two {name} {sizes} for equal arguments"
        size = parts["relaxations end"].size if parts["relaxations end"] else 0.0
        if found[name].kind != "noise":
            self.comparable = False
            return _Noise(certain(of_memory(found[name], evidence)), False)
        return self._of_noise(evidence, size)

    def _of_noise(self, evidence: str, size: float) -> _Noise:
        """Compare the errors with those that the noise gives."""
        compared, beta = self.compared, self.compared.beta
        costs = [self.measured.cost(0.0) for _ in range(_REPEATS)]
        estimates = [self.measured.centered(beta)[compared.chosen] for _ in range(_REPEATS)]
        # The largest of some normal deviates is 2 to 3 deviations; extrapolated differences of means of eight
        # costs have 0.4 deviations of a cost.
        expected = (np.std(costs) / compared.step + 2.5 * np.std(estimates, axis=0).max()) / compared.scale
        whole = max(float(np.abs(path[-1] - path[0]).max()) for path in self.paths) or 1.0
        restless = 0.0 if compared.unrest.passed else compared.unrest.value
        explains = bool(
            compared.error.value <= _MARGIN * expected
            and restless * whole <= 3 * size
            and compared.lowers_cost
            and compared.has_effect
        )
        needed = max(2 * expected, 2 * restless / beta, 2 * compared.error.value if explains else 0.0)
        text = f"Noise: {evidence}. It gives errors of about {expected:.1e} in this comparison, "
        return _Noise(certain(text + _cure(needed, compared.tolerance)), explains)

    def parameters(self) -> Iterator[str]:
        """Yield a sentence if the device does not resolve, or does not read, its parameters."""
        theta, step = self.measured.box.parameters, self.compared.step
        direction = np.random.default_rng(0).uniform(-1, 1, len(theta)) * max(1.0, float(np.abs(theta).max()))
        free = self.paths[1][-1]

        def moves(size: float) -> bool:
            return not np.array_equal(self._end_at(size * direction), free)

        sizes = [step * 10.0**k for k in range(-2, 4)]
        acting = next((size for size in sizes if moves(size)), None)
        if acting is not None and acting > sizes[0]:
            self.comparable = False
            yield certain(
                "The device does not resolve small changes of its parameters: a change of "
                f"{acting / 10:.1e} has no effect, one of {acting:.1e} has. The parameters are quantised "
                f"(too few bits), so differences with step={step:.1e} are not derivatives. Use a step of "
                f"several {acting:.1e}, or finer parameters."
            )
        elif not self.compared.has_effect:
            yield certain(
                "No parameter that was examined changes the cost: `relax` does not read `parameters`, or "
                "`parameters_changed` does not send them to the device."
            )

    def _end_at(self, change: _Floats) -> _Floats:
        """Return the end of a free phase after a change of all parameters, which are then restored."""
        theta = self.measured.box.parameters
        kept = theta.copy()
        try:
            theta[:] = kept + change
            return np.asarray(self._path(0.0)[-1])
        finally:
            theta[:] = kept

    def precision(self) -> Iterator[str]:
        """Yield a sentence if the end of a relaxation has larger rounding errors than double precision."""
        random, size = np.random.default_rng(1), len(self.measured.box.parameters)
        end = self.paths[1][-1]
        errors = []
        for _ in range(_LINES):
            direction = random.uniform(-1, 1, size)
            errors.append(roughness(lambda t, d=direction: self._end_at(t * d)))  # type: ignore[misc]
        scale, error = float(np.abs(end).max(initial=0.0)) or 1.0, float(np.median(errors))
        remark = "A solver that stops at a tolerance has the same effect."
        cause = of_precision({"the relaxation": (error, error / scale)}, remark)
        if cause:
            yield cause.sentence

    def nudge(self, noisy: bool) -> Iterator[str]:
        """Yield sentences on a nudge that fades, acts for one sign or is not proportional to beta."""
        below, free, above = self.paths
        faded = self._faded(below, above)
        if faded:
            self.comparable = False
            yield faded
        elif not self.compared.unrest.passed and not noisy:
            yield certain(
                "The device had not reached a fixed point: its state still changed in the last step. "
                "Relax it for more steps; the error of the gradient is the remaining change divided by beta."
            )
        up, down = (float(np.abs(path[-1] - free[-1]).max()) for path in (above, below))
        if self.compared.error.passed or faded or not max(up, down):
            return
        if min(up, down) < 0.3 * max(up, down):
            self.comparable = False
            yield certain(
                f"The nudge does not act equally for both signs of beta: the state moves by {up:.1e} at beta "
                f"and by {down:.1e} at -beta. Nudge with beta dC/ds for either sign, or use a smaller beta."
            )
            return
        beta = self.compared.beta
        half = float(np.abs(self._path(beta / 2)[-1] - free[-1]).max())
        if not 1.4 < up / max(half, 1e-300) < 2.8:
            self.comparable = False
            yield certain(
                f"The nudge is not proportional to beta: the state moves by {up:.1e} at beta = {beta:g} and "
                f"by {half:.1e} at half of it. Nudge with beta dC/ds, without a limit or a fixed size, or "
                "use a smaller beta."
            )

    def _faded(self, below: _Floats, above: _Floats) -> str:
        if len(below) != len(above) or self.compared.error.passed or self.compared.factor > 0.95:
            return ""
        distances = np.abs(above - below).max(axis=(1, 2))
        top = int(distances.argmax())
        if distances[top] == 0:
            return certain(
                "The states at beta and -beta are equal: the device does not respond. Check that the nudge "
                "reaches it."
            )
        if distances[-1] > _FALLEN * distances[top] or distances[-1] > distances[-1 - len(distances) // 10]:
            return ""
        return certain(
            f"The nudge fades and is not held: the states at beta and -beta were {distances[top]:.1e} apart "
            f"at step {top} of {len(distances) - 1}, and {distances[-1]:.1e} at the end, on the way back to "
            "the free state. Hold the nudge until the end of the relaxation."
        )

    def batch(self, noisy: bool) -> Iterator[str]:
        """Yield sentences if contrast or relaxation of a sample alone differ from those in the batch."""
        if len(self.measured.x) < 2:
            return
        limit = _NOISY if noisy else _COUPLED
        pairs = _attempt(self._contrasts) | ({} if noisy else _attempt(self._states))
        pairs = {name: pair for name, pair in pairs.items() if not pair.gap <= limit}
        self.factors = float(np.prod([1 / pair.batch for pair in pairs.values() if pair.averaged]))
        for cause in of_coupling(pairs):
            yield cause.sentence

    def _contrasts(self) -> dict[str, Coupled]:
        """Return the contrast of the batch with the sum of those of its samples."""
        measured, end = self.measured, self.paths[2][-1]
        alone = [measured.sample(j).contrast(end[j : j + 1]) for j in range(len(end))]
        return {"contrast": Coupled(measured.contrast(end), np.sum(alone, axis=0), len(end))}

    def _states(self) -> dict[str, Coupled]:
        """Return the free state with those of samples alone; if they are equal, the response to a nudge."""
        free, beta = self.paths[1][-1], 1e-3 * self.compared.beta  # so small that the response is linear
        samples = [self.measured.sample(j) for j in range(len(free))]
        rest = np.concatenate([sample.trajectory(0.0)[-1] for sample in samples])
        at_rest = Coupled(free, rest, len(free))
        if at_rest.gap > _COUPLED or not self.comparable:
            return {"the free state": at_rest}
        nudged = np.concatenate([sample.trajectory(beta)[-1] for sample in samples])
        response = self._path(beta)[-1] - free
        return {"the response to the nudge": Coupled(response, nudged - rest, len(free))}

    def factor(self) -> Iterator[str]:
        """Yield a sentence on a common factor of EqProp, or one for each block of parameters."""
        compared = self.compared
        if compared.error.passed or not self.comparable:
            return
        factor = compared.factor / self.factors
        if compared.aligned:
            if abs(factor - 1) > 10 * compared.beta**2:
                yield explaining(
                    f"EqProp is {factor:.3g} times the gradient for all parameters: the device is nudged by "
                    f"{factor:.3g} times the given cost (such as |o - y|^2 instead of |o - y|^2 / 2), or by "
                    f"{factor:.3g} times the given beta.{self._fitting(factor)}",
                    compared.explained,
                )
                return
            if self.factors != 1:
                return
        box = self.measured.box
        for name, at in (dict(box.block_slices) or {"theta": slice(0, len(box.parameters))}).items():
            here = (compared.chosen >= at.start) & (compared.chosen < at.stop)
            a, b = compared.estimate[here], compared.differences[here]
            if len(a) and np.abs(a - b).max() > 1e-3 * np.abs(compared.differences).max():
                flipped = _flipped(a, b)
                if flipped.any():
                    yield _of_flipped(name, a, b, flipped, compared.chosen[here])
                else:
                    yield described(f"EqProp of {name}", float(a @ b), float(b @ b), float(a @ a))

    def ends(self, noisy: bool) -> Iterator[str]:
        """Yield a sentence on a small error of a device that may not be at rest: its paths have one state."""
        if (
            noisy
            or len(self.paths[1]) > 1
            or not _SMALL > self.compared.error.value > self.compared.tolerance
        ):
            return
        yield (
            "The relaxations show their last state only, which may not be a fixed point. A remaining change "
            "has such effects too. Relax for more steps, or to a smaller tolerance of the solver."
        )

    def _fitting(self, factor: float) -> str:
        """Return texts on numbers of samples and outputs that give this factor."""
        samples, outputs = len(self.measured.x), self.measured.box.num_outputs
        texts = {
            "1 / (number of samples): a mean over the batch, in the cost or in the contrast": 1 / samples,
            "1 / (number of outputs): a mean of the cost over the outputs": 1 / outputs,
            "2 / (number of outputs): the mean squared error over the outputs": 2 / outputs,
            "2 / (samples x outputs): the mean squared error over batch and outputs": 2 / (samples * outputs),
        }
        fits = [text for text, value in texts.items() if value != 1 and abs(factor / value - 1) < 0.01]
        return f" It is also {', or '.join(fits)}." if fits else ""


def _cure(needed: float, limit: float) -> str:
    """Return the end of a sentence on noise that needs a tolerance, and what to do about it.

    A tolerance from 1 on would pass a device that does not respond, whose error is 1.
    """
    if needed <= limit:
        return f"which are within the limit of {limit:.1e}."
    count = int(np.ceil((needed / limit) ** 2))
    wider = f"Use tolerance={needed:.1e}, or average" if needed < _NO_TEST else "Average"
    return (
        f"and the limit is {limit:.1e}. {wider} about {count:.1e} relaxations; repeats=8 judges by "
        "statistics instead."
    )


def _flipped(estimate: _Floats, differences: _Floats) -> NDArray[np.bool_]:
    """Return the parameters whose EqProp has the opposite sign, if only some of them have."""
    large = np.abs(differences) > 1e-3 * np.abs(differences).max(initial=0.0)
    flipped = large & (estimate * differences < -0.5 * differences**2)
    return flipped if not flipped[large].all() else np.zeros_like(flipped)


def _of_flipped(
    name: str, estimate: _Floats, differences: _Floats, flipped: NDArray[np.bool_], chosen: NDArray[np.int64]
) -> str:
    names = ", ".join(str(int(i)) for i in chosen[flipped][:_SHOWN])
    more = " ..." if flipped.sum() > _SHOWN else ""
    text = relation(
        float(estimate @ differences), float(differences @ differences), float(estimate @ estimate)
    )
    rest = np.where(flipped, -estimate, estimate) - differences
    gap = estimate - differences
    return explaining(
        f"EqProp of {name} {text}; the sign is opposite for the parameters {names}{more}.",
        1 - float(rest @ rest) / float(gap @ gap),
    )


def _attempt(function: Callable[[], dict[str, Coupled]]) -> dict[str, Coupled]:
    """Return the result, or nothing if the device cannot process a single sample."""
    try:
        return function()
    except Exception:  # a user's device may raise anything for another size of the batch
        return {}


def of_memory(found: Variation, evidence: str) -> str:
    """Return a sentence on results that depend on earlier calls."""
    if found.kind == "drift":
        return (
            f"Drift: {evidence}, more with each call. The device changes in time (temperature, charge, "
            "a counter): "
            "calibrate or reset it before each relaxation."
        )
    return (
        f"Memory: {evidence}, if another relaxation is between them. The device keeps its last state: "
        "reset the "
        "state before each relaxation."
    )
