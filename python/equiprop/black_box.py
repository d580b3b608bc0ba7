"""Devices and simulators that are known only by their relaxations, as models that a `Trainer` can train.

A learning rule for a device needs two measurements: the states at two nudging factors, and at these states
the derivative of the energy with respect to each parameter, the contrast, which is local to a coupling.
"""

from __future__ import annotations

import reprlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.array_arguments import check_slices, check_vector
from equiprop.arrays import Array, as_array, as_states
from equiprop.checks import require, whole
from equiprop.cuda_fields import DeviceCost
from equiprop.results import Status
from equiprop.scaling import Scaling

_Floats = NDArray[np.float64]
_WHERE = "BlackBox"


@dataclass(repr=False, eq=False)
class BlackBox:
    """A relaxing system of which only the trajectories are known, such as a device or a simulator.

    `Trainer` trains it by Equilibrium Propagation on measured states, and `equiprop.verify.black_box` checks
    whether its contrasts give the gradient.

    Parameters
    ----------
    relax : callable
        ``relax(x, beta, y)`` returns the states (steps + 1, batch, units) of a relaxation that beta nudges
        towards the targets y (batch, outputs), one-hot for labels; beta = 0 is a free phase, which ignores
        y. The last state is the fixed point, and the only one that is needed; the last units are outputs.
    contrast : callable
        ``contrast(x, s)`` returns dE/dtheta(s), summed over the batch, (parameters,). The learning rule
        measures it on the device; `equiprop.contrasts` has those of resistors and of products of signals.
    parameters : (parameters,) array of float64
        Parameters that `relax` reads. Optimizers update them in place; the check changes one entry at a time
        and restores it.
    num_outputs : int
        Number of outputs.
    parameters_changed : callable, optional
        Function that receives `parameters` before each relaxation, and sends them to the device.
    block_slices : mapping of str to slice
        Names for parts of the parameters, which together are all of them; by default one part, "theta".
    num_inputs : int, optional
        Number of inputs, if it is to be checked.

    Examples
    --------
    >>> import equiprop as eq
    >>> def relax(x, beta, y):  # a linear unit: E = s^2 / 2 - theta x s, C = (s - y)^2 / 2
    ...     return ((x @ theta[:, None] + beta * y) / (1 + beta))[None]
    >>> theta = np.array([0.0, 0.0])
    >>> box = eq.BlackBox(relax, lambda x, s: -(s * x).sum(axis=0), theta, num_outputs=1)
    >>> trainer = eq.Trainer(box, optimizer=eq.SGD(0.5))
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> history = trainer.fit(x, x @ [1.0, -2.0], epochs=50)
    >>> theta.round(3).tolist()
    [1.0, -2.0]
    """

    relax: Callable[[Array, float, Array], Array]
    contrast: Callable[[Array, Array], Array]
    parameters: Array
    num_outputs: int
    parameters_changed: Callable[[Array], None] | None = None
    block_slices: Mapping[str, slice] = field(default_factory=dict)
    num_inputs: int | None = None
    #: Scaling of raw inputs, which `Trainer.fit` sets; `relax` and `contrast` receive scaled inputs.
    scaling: Scaling | None = field(default=None, init=False)
    #: Class that each output stands for, which `Trainer.fit` sets; None if it is not known.
    classes: Array | None = field(default=None, init=False)
    _units: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name in ("relax", "contrast", "parameters_changed"):
            function = getattr(self, name)
            if not callable(function) and not (function is None and name == "parameters_changed"):
                raise TypeError(f"[{_WHERE}] `{name}` is a function. Received {reprlib.repr(function)}.")
        check_vector(self.parameters, _WHERE)
        theta = self.parameters
        require(theta.flags.writeable, _WHERE, "parameters can be changed in place", "a read-only array")
        finite = theta.size > 0 and bool(np.isfinite(theta).all())
        require(finite, _WHERE, "parameters are finite, at least one", "others")
        self.num_outputs = whole(self.num_outputs, _WHERE, "num_outputs", 1)
        check_slices(self.block_slices, _WHERE, "block_slices")
        self.block_slices = dict(self.block_slices) or {"theta": slice(0, len(theta))}

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of parameters and states, float64."""
        return np.dtype(np.float64)

    @property
    def core(self) -> Any:
        """The functions that phases call."""
        return _CORE

    @property
    def conservative(self) -> bool:
        """False: nothing is known of the Hessian of a device."""
        return False

    @property
    def holomorphic(self) -> bool:
        """False: a device has no complex states."""
        return False

    @property
    def has_block_update(self) -> bool:
        """False: a device relaxes by itself."""
        return False

    def trajectory(self, x: Array, beta: float, y: Array) -> _Floats:
        """Return the checked states of one relaxation, (steps + 1, batch, units)."""
        if self.parameters_changed is not None:
            self.parameters_changed(self.parameters)
        states = as_array(self.relax(x, beta, y), _WHERE, "relax").astype(np.float64)
        fits = states.ndim == 3 and len(states) > 0 and states.shape[1] == len(x)
        if not fits or states.shape[2] < self.num_outputs:
            raise ValueError(
                f"[{_WHERE}] relax returns states (steps + 1, {len(x)}, units) with at least "
                f"{self.num_outputs} units. Received shape {states.shape}."
            )
        if not np.isfinite(states).all():
            raise ValueError(
                f"[{_WHERE}] relax returns finite states. Received nan or infinity at beta={beta:g}."
            )
        self._units = states.shape[2]
        return states

    def contrast_of(self, x: Array, state: _Floats) -> _Floats:
        """Return the checked contrast dE/dtheta of states (batch, units), summed over the batch."""
        slopes = as_array(self.contrast(x, state), _WHERE, "contrast").astype(np.float64)
        if slopes.shape != self.parameters.shape or not np.isfinite(slopes).all():
            received = "nan or infinity" if slopes.shape == self.parameters.shape else f"shape {slopes.shape}"
            raise ValueError(
                f"[{_WHERE}] contrast returns finite numbers of shape {self.parameters.shape}, the sum over "
                f"the batch. Received {received}."
            )
        return slopes

    @property
    def num_units(self) -> int:
        """Number of units that the last relaxation returned; 0 before the first one."""
        return self._units

    @property
    def blocks(self) -> dict[str, Array]:
        """Views of `parameters` by name."""
        return self.block_views(self.parameters)

    @property
    def layer_slices(self) -> dict[str, slice]:
        """Slice of a state: all units together."""
        return {"s": slice(0, self._units)}

    def block_views(self, flat: Array) -> dict[str, Array]:
        """Return named views of an array with the layout of `parameters`."""
        return {name: flat[where] for name, where in self.block_slices.items()}

    def as_input(self, x: Any, where: str) -> Array:
        """Return x as a checked array (batch, inputs); `where` names the caller in errors."""
        array = np.atleast_2d(as_array(x, where, "x"))
        return as_states(array, self.num_inputs or array.shape[1], self.dtype, where, "x")

    def initial_state(self, batch: int) -> Array:
        """Return states without units, (batch, 0): the device chooses where its relaxations start."""
        return np.zeros((batch, 0))

    def clamp(self, x: Array) -> _core.Energy:
        """Return the device with x (batch, inputs) as its input, for phases."""
        energy: Any = MeasuredEnergy(self, x)
        return energy  # type: ignore[no-any-return]

    def clamp_dual(self, x: Array) -> NoReturn:  # noqa: ARG002
        """Raise ValueError: a device has no states of dual numbers."""
        _refuse("exact_limit()", "centered(beta) or one_sided(beta)")

    def clamp_complex(self, x: Array) -> NoReturn:  # noqa: ARG002
        """Raise ValueError: a device has no complex states."""
        _refuse("holomorphic(radius, points)", "centered(beta) or one_sided(beta)")

    def __deepcopy__(self, memo: dict[int, Any]) -> BlackBox:
        """Return the same device with a copy of the parameters."""
        other = replace(self, parameters=self.parameters.copy())
        other.scaling, other.classes, other._units = self.scaling, self.classes, self._units
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_outputs} outputs, {len(self.parameters)} parameters)"


def _refuse(received: str, instead: str) -> NoReturn:
    """Raise ValueError: a device has only relaxations and contrasts."""
    raise ValueError(
        f"[{_WHERE}] A device is trained from its relaxations and contrasts, by Equilibrium Propagation with "
        f"a finite beta: use {instead}. Received {received}."
    )


class MeasuredEnergy:
    """A device with an input x (batch, inputs); it has the part of an energy that can be measured."""

    def __init__(self, box: BlackBox, x: Array) -> None:
        self.box: BlackBox = box
        self.x: Array = x

    def residual(self, s: Array) -> _Floats:
        """Return a number that tells the present parameters from others, for each sample."""
        return np.full(len(s), float(zlib.crc32(np.ascontiguousarray(self.box.parameters).data)))

    def mobility(self, s: Array) -> Array:
        """Return 1 for each unit: no bound of a device is known."""
        return np.ones_like(s)

    def symmetrized(self, s_star: Array) -> NoReturn:  # noqa: ARG002
        """Raise ValueError: the antisymmetric term needs the Jacobian."""
        _refuse("symmetrize=True", "symmetrize=False")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ValueError(
            f"[{_WHERE}] A device has relaxations and contrasts, and no derivatives of an energy. Received a "
            f"call that needs {name}; equiprop.verify.black_box checks a device."
        )


class MeasuredCore:
    """The functions that phases call, with the names of the core; see `_core.pyi` for their arguments."""

    def bind_cost(self, kind: _core.CostKind, y: Array) -> DeviceCost:
        """Return a cost with targets."""
        return DeviceCost(kind.logit_scale, y, _core.f64.bind_cost(kind, y))

    def bind_layer_costs(self, rows: int, layers: object) -> NoReturn:  # noqa: ARG002
        """Raise ValueError: a device nudges its outputs only."""
        _refuse("LayerCosts", "a cost of the outputs")

    def relax(
        self,
        energy: MeasuredEnergy,
        solver: object,  # noqa: ARG002
        start: Array,
        trace: bool = False,
        record: bool = False,
        samples: int = 0,  # noqa: ARG002
    ) -> tuple[Array, tuple[Any, ...], None, Array | None]:
        """Return the state of a free phase of the device, its report, and all states with `record`.

        The status is FIXED_STEPS, because the device itself decides when it ends. The residual is the largest
        change of a state in the last step, which is unknown, and 0, if only one state was recorded.
        """
        if start.shape[1]:
            _refuse("an initial state", "the initial state of the device")
        if trace:
            _refuse("trace=True", "record=True")
        box, x = energy.box, energy.x
        path = box.trajectory(x, 0.0, np.zeros((len(x), box.num_outputs)))
        return path[-1], _report([path]), None, path if record else None

    def equilibrium_propagation(
        self,
        energy: MeasuredEnergy,
        cost: DeviceCost,
        state: Array,
        nodes: Sequence[tuple[float, float]],
        solver: object,  # noqa: ARG002
        inputs: bool,  # noqa: ARG002
    ) -> tuple[Array, Array, float, tuple[Any, ...]]:
        """Return sum_k w_k dE/dtheta(s^beta_k) / batch from measured states, with the measured free state.

        The device is relaxed once for each beta other than 0.
        """
        box, x, weights = energy.box, energy.x, cost.host.sample_weight
        gradient, paths = np.zeros(len(box.parameters)), []
        for beta, weight in nodes:
            if beta:
                paths.append(box.trajectory(x, beta, cost.targets))
            gradient += weight * _contrast(box, x, paths[-1][-1] if beta else state, weights)
        values = np.asarray(cost.host.value(np.ascontiguousarray(state[:, -box.num_outputs :])))
        objective = float(values.mean() if weights is None else (weights * values).mean())
        return gradient / len(x), np.zeros((len(x), 0)), objective, _report(paths)

    def equilibrium_propagation_limit(self, *arguments: object) -> NoReturn:  # noqa: ARG002
        """Raise ValueError: see `BlackBox.clamp_dual`."""
        _refuse("exact_limit()", "centered(beta) or one_sided(beta)")

    def holomorphic_equilibrium_propagation(self, *arguments: object) -> NoReturn:  # noqa: ARG002
        """Raise ValueError: see `BlackBox.clamp_complex`."""
        _refuse("holomorphic(radius, points)", "centered(beta) or one_sided(beta)")

    def recurrent_backpropagation(self, *arguments: object) -> NoReturn:  # noqa: ARG002
        """Raise ValueError: the side network needs products with the Hessian."""
        _refuse("RecurrentBackpropagation()", "EquilibriumPropagation()")

    def backpropagation_through_time(self, *arguments: object) -> NoReturn:  # noqa: ARG002
        """Raise ValueError: a sweep back in time needs the derivatives of a step."""
        _refuse("backpropagation_through_time", "equilibrium_propagation")


_CORE = MeasuredCore()


def _contrast(box: BlackBox, x: Array, state: Array, weights: Array | None) -> _Floats:
    """Return the contrast of a batch; with weights, the weighted sum of those of its samples."""
    if weights is None:
        return box.contrast_of(x, state)
    each = (box.contrast_of(x[j : j + 1], state[j : j + 1]) for j in range(len(x)))
    return sum((w * part for w, part in zip(weights, each, strict=True)), np.zeros(len(box.parameters)))


def _report(paths: Sequence[_Floats]) -> tuple[Any, ...]:
    """Return the report of relaxations: status, steps, residual, fallbacks and error of each sample."""
    samples = paths[0].shape[1]
    changes = [np.abs(p[-1] - p[-2]).max(axis=1) if len(p) > 1 else np.zeros(samples) for p in paths]
    steps = np.full(samples, sum(len(path) - 1 for path in paths), np.int64)
    status = np.full(samples, int(Status.FIXED_STEPS), np.int8)
    none = np.zeros(samples, np.int64)
    return status, steps, np.max(changes, axis=0), none, np.zeros(samples)
