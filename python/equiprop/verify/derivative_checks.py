"""The comparisons of the claim `derivatives`, one method for each derivative."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.results import Status
from equiprop.verify.cause_sentences import of_arguments, of_values
from equiprop.verify.complex_states import (
    COMPLEX_STEP,
    ComplexError,
    complex_errors,
    five_points,
    of_complex_states,
)
from equiprop.verify.confidence import certain
from equiprop.verify.diagnosis import of_symmetry
from equiprop.verify.directions import original
from equiprop.verify.far_states import far_error
from equiprop.verify.inert import find_inert
from equiprop.verify.model_parts import parameter_name, unit_name
from equiprop.verify.own_methods import PARAMETERS, changed_arrays, not_finite
from equiprop.verify.problem import Problem
from equiprop.verify.reference import spread
from equiprop.verify.relation import described, figures
from equiprop.verify.spectrum import symmetry
from equiprop.verify.verdict import Row
from equiprop.verify.watch import tracked

_Floats = NDArray[np.float64]

#: Step h of five-point differences: their truncation error is h^4 f^(5) / 30, about 1e-13, their rounding
#: error about 1e-12.
_STEP, _DIFFERENCES = 1e-3, 1e-9
#: Limit of derivatives by a complex step, which has no truncation and no cancellation error.
_EXACT = 1e-12
#: Number of random inputs and states at which a parameter without effect is examined again.
_POINTS = 8


def interior_state(problem: Problem, random: np.random.Generator) -> _Floats:
    """Return a random state between the initial state and the fixed point, different from both."""
    rest = problem.model.initial_state(len(problem.x))
    diverged = (problem.free.status == Status.DIVERGED)[:, None]
    end = np.where(diverged | ~np.isfinite(problem.state), rest, problem.state)
    noise = 0.05 * random.uniform(-1, 1, end.shape)
    return np.ascontiguousarray(0.4 * rest + 0.6 * end + noise * np.abs(end - rest + 0.1))


class DerivativeChecks:
    """Checks the derivatives of one model, and collects the rows and the advice of the report.

    Parameters
    ----------
    problem : Problem
    state : (batch, units)
        State at which the derivatives are checked.
    most : int
        Largest number of parameters for which differences are computed.
    random : numpy.random.Generator
        Generator of the directions.
    rows : list of Row
        The list to which the rows are appended.
    """

    def __init__(
        self, problem: Problem, state: _Floats, most: int, random: np.random.Generator, rows: list[Row]
    ) -> None:
        self.problem: Problem = problem
        self.model: Model = problem.model
        self.energy: _core.Energy = problem.energy
        self.x: _Floats = problem.x
        self.state: _Floats = state
        self.u: _Floats
        self.v: _Floats
        self.u, self.v = random.standard_normal((2, *state.shape))
        self.rows: list[Row] = rows
        self.advice: list[str] = []
        #: Functions whose values at complex states are wrong, with the largest error.
        self.real_only: dict[str, ComplexError] = {}
        #: Advice on methods that change the parameters.
        self.of_writers: list[str] = []
        self.most: int = most
        self.chosen: NDArray[np.int64] = spread(len(self.model.parameters), most)

    def run(self, random: np.random.Generator) -> None:
        """Check all derivatives that the model supplies, those of lowest order first."""
        if not self._all_finite():
            return
        points = [(self.x, self.state), *(self._point(random) for _ in range(_POINTS))]
        model = original(self.model)
        inert = find_inert(model, points, spread(len(model.parameters), self.most))
        some_act = inert.count < len(model.parameters)
        parts = {
            "complex states": (self._complex_states, True),
            "dE/ds": (self._gradient, self.model.conservative),
            "dE/ds at far states": (lambda: self._far_from_rest(random), self.model.conservative),
            "products with the Hessian": (self._hessian, True),
            "symmetry of the Hessian": (self._symmetry, True),
            "derivatives by parameters": (self._by_parameters, some_act),
            "derivatives by inputs": (self._by_inputs, True),
            "changes of the parameters": (self._writers, True),
            "batches": (self._batch, True),
            "batches of derivatives by parameters": (self._batch_of_parameters, some_act),
        }
        for name in tracked([name for name, (_, applies) in parts.items() if applies], str):
            parts[name][0]()
        if len(self.chosen):
            self.rows.append(Row("parameters without effect", float(inert.count), high=0.0))
        # Causes stand before their effects.
        self.advice = [*self.of_writers, *inert.advice(model), *self._of_complex_states(), *self.advice]

    def _writers(self) -> None:
        """Add a row that fails if methods of a user's model change the parameters."""
        changed = changed_arrays(self.model, self.x, self.state)
        writers = {name: arrays for name, arrays in changed.items() if PARAMETERS in arrays}
        if writers:
            self.rows.append(Row("methods that change the parameters", float(len(writers)), high=0.0))
            self.of_writers = [of_arguments(name, arrays).sentence for name, arrays in writers.items()]

    def _all_finite(self) -> bool:
        """Return True if gradient and energy are finite at the state; otherwise add a row that fails."""
        energy, sign = self.energy, 1 if self.model.conservative else -1
        values = {"gradient" if sign > 0 else "velocity": sign * energy.gradient(self.state)}
        if self.model.conservative:
            values["energy"] = energy.energy(self.state)
        for name, value in values.items():
            text = not_finite(self.model, name, value)
            if text:
                count, note = float((~np.isfinite(value)).sum()), "the derivatives were not compared"
                self.rows.append(Row(f"numbers of {name} that are not finite", count, high=0.0, note=note))
                self.advice.append(of_values(text).sentence)
                return False
        return True

    def _complex_states(self) -> None:
        """Compare complex steps of each function of a user's model with differences of real states."""
        for name, found in complex_errors(self.model, self.x, self.state, self.v):
            line = f"{name} at complex states: a complex step equals differences"
            if found is None:
                self.rows.append(Row(line, np.nan, note="not judged: differences are too inexact"))
                continue
            self.rows.append(Row(line, found.error, high=found.limit))
            if not self.rows[-1].passed:
                self.real_only[name] = found

    def _of_complex_states(self) -> list[str]:
        """Return advice on the functions whose values at complex states are wrong."""
        passed = {row.label for row in self.rows if row.passed}
        return [of_complex_states(name, found, passed) for name, found in self.real_only.items()]

    def _point(self, random: np.random.Generator) -> tuple[_Floats, _Floats]:
        """Return random inputs in the range of the given ones and of [0, 1], and a state of the model."""
        low, high = min(0.0, self.x.min(initial=0.0)), max(1.0, self.x.max(initial=1.0))
        return random.uniform(low, high, self.x.shape), interior_state(self.problem, random)

    def _judge(
        self,
        line: str,
        value: _Floats,
        expected: _Floats,
        limit: float,
        name: Callable[[int], str],
        groups: Mapping[str, NDArray[Any]],
    ) -> None:
        """Add a row; if it fails, add advice with the largest error and the relation of each group."""
        scale = max(float(np.abs(expected).max(initial=0.0)), float(np.abs(value).max(initial=0.0))) or 1.0
        gap = np.abs(value - expected)
        error = float(gap.max(initial=0.0)) / scale
        self.rows.append(Row(line, error, high=limit))
        if error <= limit:
            return
        at = int(np.where(np.isfinite(gap), gap, np.inf).argmax())
        texts = figures(float(value.flat[at]), float(expected.flat[at]))
        self.advice.append(f"{line}: for {name(at)} the value is {texts[0]}; it should be {texts[1]}.")
        if not np.isfinite(gap).all():
            return
        for group, mask in groups.items():
            a, b = value.ravel()[mask], expected.ravel()[mask]
            if np.abs(a - b).max(initial=0.0) > limit * scale:
                self.advice.append(described(f"{line}: {group}", float(a @ b), float(b @ b), float(a @ a)))

    def _layers(self) -> dict[str, NDArray[Any]]:
        units = np.tile(np.arange(self.state.shape[1]), len(self.state))
        return {
            f"layer {name}": (units >= at.start) & (units < at.stop)
            for name, at in self.model.layer_slices.items()
        }

    def _blocks(self) -> dict[str, NDArray[Any]]:
        return {
            f"block {name}": (self.chosen >= at.start) & (self.chosen < at.stop)
            for name, at in self.model.block_slices.items()
        }

    def _unit(self, flat: int) -> str:
        sample, unit = divmod(flat, self.state.shape[1])
        return f"{unit_name(self.model, unit)} of sample {sample}"

    def _parameter(self, flat: int) -> str:
        return parameter_name(self.model, int(self.chosen[flat]))

    def _along(self, name: str, v: _Floats, value: _Floats, scale: float) -> tuple[_Floats, float]:
        """Return the derivative of a function of the state along v, and its accuracy.

        If the differences differ from `value`, whose largest entry is `scale`, they are computed again with a
        quarter of the step: near the saturation of an activation the fifth derivative may be too large for
        the first step.
        """

        def function(energy: Any, s: Any) -> Any:
            return getattr(energy, name)(s)

        if self._by_complex_step(name):
            image = function(self.model.clamp_complex(self.x), self.state + 1j * COMPLEX_STEP * v)
            return np.asarray(image.imag) / COMPLEX_STEP, _EXACT
        slope = value
        for step in (_STEP, _STEP / 4):
            images = [function(self.energy, self.state + k * step * v) for k in (-2, -1, 1, 2)]
            slope = five_points(images, step)
            if np.abs(slope - value).max(initial=0.0) <= _DIFFERENCES * scale:
                break
        return slope, _DIFFERENCES

    def _by_complex_step(self, name: str) -> bool:
        """Return True if the derivative of a function is computed by a complex step."""
        wrong = self.real_only.keys() | ({"gradient"} if "velocity" in self.real_only else set())
        return self.model.holomorphic and name not in wrong

    def _gradient(self) -> None:
        value = self.energy.gradient(self.state)
        expected, limit = np.zeros_like(self.state), _EXACT
        for unit in range(self.state.shape[1]):
            direction = np.zeros_like(self.state)
            direction[:, unit] = 1
            expected[:, unit], limit = self._along("energy", direction, value[:, unit], _largest(value))
        self._judge("gradient = dE/ds", value, expected, limit, self._unit, self._layers())
        self._constant_difference(value - expected)

    def _far_from_rest(self, random: np.random.Generator) -> None:
        """Compare the gradient of a user's model with its energy at states far from the fixed point."""
        if isinstance(self.model, HopfieldNetwork):
            return
        exact, near = self._by_complex_step("energy"), self.rows[-1].passed
        found = far_error(self.model, self.x, self.state, random, exact)
        if found is None:
            return
        line = "gradient = dE/ds at far states"
        self.rows.append(Row(line, found.error, high=_EXACT if exact else _DIFFERENCES))
        if near and not self.rows[-1].passed:
            value, expected = figures(found.value, found.expected)
            self.advice.append(
                certain(
                    f"{line}: along a random direction from a state of sample {found.sample} the value is "
                    f"{value}; it should be {expected}. The gradient is right near the fixed point, so a "
                    "mask, a clip or a threshold is in only one of energy and gradient."
                )
            )

    def _constant_difference(self, gap: _Floats) -> None:
        """Add advice if the error of the gradient does not depend on the state, as for a missing bias."""
        if self.rows[-1].passed:
            return
        other = np.ascontiguousarray(0.5 * self.state)
        direction, expected = np.zeros_like(other), np.zeros_like(other)
        for unit in range(other.shape[1]):
            direction[:] = 0
            direction[:, unit] = 1
            values = [self.energy.energy(other + k * _STEP * direction) for k in (-2, -1, 1, 2)]
            expected[:, unit] = five_points(values, _STEP)
        elsewhere = self.energy.gradient(other) - expected
        if np.abs(elsewhere - gap).max() < 1e-6 * np.abs(gap).max():
            self.advice.append(
                certain(
                    "gradient = dE/ds: the difference is the same at every state, so a constant force is "
                    "missing or is added, such as a bias b or the drive by the input."
                )
            )

    def _hessian(self) -> None:
        if self.model.conservative:
            line = "hessian_vector_product = d gradient / ds . v"
        else:
            line = "jacobian_vector_product = d velocity / ds . v"
        value = self.energy.hessian_vector_product(self.state, self.v)
        expected, limit = self._along("gradient", self.v, value, _largest(value))
        self._judge(line, value, expected, limit, self._unit, self._layers())
        if self.model.conservative:
            return
        product = self.energy.transposed_hessian_vector_product(self.state, self.u)
        left, right = (product * self.v).sum(axis=1), (self.u * value).sum(axis=1)
        scale = np.abs(product).max() * np.abs(self.v).max() * self.state.shape[1]
        error = float(np.abs(left - right).max()) / (scale or 1.0)
        self.rows.append(Row("vector_jacobian_product: <u J, v> = <u, J v>", error, high=_EXACT))
        if not error <= _EXACT:
            self.advice.append("vector_jacobian_product is not the transpose of jacobian_vector_product.")

    def _symmetry(self) -> None:
        even = symmetry(self.energy, self.state, self.model.layer_slices)
        if not self.model.conservative:
            note = "not claimed for a vector field"
            self.rows.append(Row("asymmetry |J - J^T| / |J|", even.asymmetry, note=note))
            return
        limit = 1e-10 if even.exact else 1e-7
        self.rows.append(Row("the Hessian is symmetric, |H - H^T| / |H|", even.asymmetry, high=limit))
        self.advice = [*of_symmetry(self.model, even), *self.advice]  # causes stand before their effects

    def _by_parameters(self) -> None:
        product = self.energy.mixed_derivative_product(self.state, self.v)
        mixed = product[self.chosen]
        name, blocks = self._parameter, self._blocks()
        slopes = self._slopes(lambda e: (self.v * e.gradient(self.state)).sum())
        if not self.model.conservative:
            line = "parameter_vector_product = d <v, velocity> / dtheta"
            self._judge(line, -mixed, -slopes, _DIFFERENCES, name, blocks)
            return
        value = self.energy.parameter_gradient(self.state)
        expected = self._slopes(lambda e: e.energy(self.state).sum())
        self._judge(
            "parameter_gradient = dE/dtheta", value[self.chosen], expected, _DIFFERENCES, name, blocks
        )
        along, limit = self._along("parameter_gradient", self.v, product, _largest(product))
        line = "mixed_derivative_product = d parameter_gradient / ds . v"
        self._judge(line, mixed, along[self.chosen], limit, name, blocks)
        line = "mixed_derivative_product = d <v, gradient> / dtheta"
        self._judge(line, mixed, slopes, _DIFFERENCES, name, blocks)
        for block, mask in blocks.items():
            if not self.rows[-1].passed and mixed[mask].any() and not slopes[mask].any():
                text = f"gradient has no term with {block}, but parameter_gradient, dE/dtheta, has one."
                self.advice.insert(0, certain(text))

    def _by_inputs(self) -> None:
        """Check the derivatives with respect to x if the model supplies them."""
        inputs = self.energy.num_inputs
        if not (inputs and self.model.conservative):
            return

        def slopes(function: Callable[[_core.Energy], _Floats]) -> _Floats:
            out = np.empty((len(self.x), inputs))
            for i in range(inputs):
                shift = _STEP * np.eye(inputs)[i]
                values = [function(self.model.clamp(self.x + k * shift)) for k in (-2, -1, 1, 2)]
                out[:, i] = five_points(values, _STEP)
            return out

        def name(flat: int) -> str:
            return f"input {flat % inputs} of sample {flat // inputs}"

        value, expected = self.energy.input_gradient(self.state), slopes(lambda e: e.energy(self.state))
        self._judge("input_gradient = dE/dx", value, expected, _DIFFERENCES, name, {})
        value = self.energy.mixed_input_product(self.state, self.v)
        expected = slopes(lambda e: (self.v * e.gradient(self.state)).sum(axis=1))
        line = "mixed_input_product = d <v, gradient> / dx"
        self._judge(line, value, expected, _DIFFERENCES, name, {})

    def _slopes(self, function: Callable[[_core.Energy], Any]) -> _Floats:
        """Return five-point differences with respect to the chosen parameters."""
        theta, slopes = self.model.parameters, np.empty(len(self.chosen))
        for k, i in enumerate(self.chosen):
            kept, values = theta[i], []
            try:
                for step in (-2, -1, 1, 2):
                    theta[i] = kept + step * _STEP
                    values.append(function(self.model.clamp(self.x)))
            finally:
                theta[i] = kept
            slopes[k] = five_points(values, _STEP)
        return slopes

    def _batch(self) -> None:
        """Compare the result of each sample alone with its row of the batch."""
        if len(self.x) < 2:
            return
        alone = self._alone()
        rows = {
            "gradient": (
                self.energy.gradient(self.state),
                np.concatenate([e.gradient(s) for e, s, _ in alone]),
            ),
            "hessian_vector_product": (
                self.energy.hessian_vector_product(self.state, self.v),
                np.concatenate([e.hessian_vector_product(s, v) for e, s, v in alone]),
            ),
        }
        for line, (value, expected) in rows.items():
            self._judge(
                f"{line}: a batch equals its samples", value, expected, _EXACT, self._unit, self._layers()
            )

    def _alone(self) -> list[tuple[_core.Energy, _Floats, _Floats]]:
        """Return energy, state and v of each sample, as batches of one sample."""
        samples = [slice(j, j + 1) for j in range(len(self.x))]
        return [(self.model.clamp(self.x[j]), self.state[j], self.v[j]) for j in samples]

    def _batch_of_parameters(self) -> None:
        """Compare the sum over the batch with the sum over its samples."""
        if len(self.x) < 2:
            return
        value = self.energy.mixed_derivative_product(self.state, self.v)[self.chosen]
        summed = sum(e.mixed_derivative_product(s, v)[self.chosen] for e, s, v in self._alone())
        line = "mixed_derivative_product: a batch equals the sum of its samples"
        self._judge(line, value, np.asarray(summed), _EXACT, self._parameter, self._blocks())


def _largest(values: _Floats) -> float:
    return float(np.abs(values).max(initial=0.0))
