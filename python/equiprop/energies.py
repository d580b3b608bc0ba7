"""Base classes of models that a user writes in Python: energies and vector fields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from equiprop import _core
from equiprop.array_arguments import as_flat, check_vector, num_states
from equiprop.arrays import Array, as_array, as_contiguous, as_states
from equiprop.checks import whole
from equiprop.complex_steps import COMPLEX_ADVICE, COMPLEX_RULE, STEP, as_complex, parameter_slopes, returned
from equiprop.scaling import Scaling


@dataclass(repr=False, eq=False)
class OwnModel(ABC):
    """Common base of energies and vector fields that a user writes in Python.

    Parameters
    ----------
    num_units, num_outputs : int
        Number of units of a state, and number of outputs, which are its last units.
    parameters : (parameters,) array of float64
        theta as a flat array; the methods read it, and optimizers update it in place.
    num_inputs : int, optional
        Number of inputs; needed by checks that draw a random x.
    """

    num_units: int
    num_outputs: int
    parameters: Array = field(default_factory=lambda: np.zeros(0))
    num_inputs: int | None = None
    #: Scaling of raw inputs, which `Trainer.fit` sets; the methods receive scaled inputs.
    scaling: Scaling | None = field(default=None, init=False)
    #: Class that each output stands for, which `Trainer.fit` sets; None if it is not known.
    classes: Array | None = field(default=None, init=False)

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float64)
    core: ClassVar[_core.Precision] = _core.f64
    has_block_update: ClassVar[bool] = False
    conservative: ClassVar[bool] = True
    #: True if the methods accept complex states. Otherwise set it to False, and override the derivatives.
    accepts_complex: ClassVar[bool] = True
    #: Attributes that are computed from others when they are needed, and not stored.
    _DERIVED: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        where = type(self).__name__
        self.num_units = whole(self.num_units, where, "num_units", 1)
        self.num_outputs = whole(self.num_outputs, where, "num_outputs", 0, self.num_units)
        if self.num_inputs is not None:
            self.num_inputs = whole(self.num_inputs, where, "num_inputs", 0)
        check_vector(self.parameters, where)

    @abstractmethod
    def gradient(self, x: Array, s: Array) -> Array:
        """Return dE/ds, (batch, units); for a vector field, minus the velocity."""

    @abstractmethod
    def energy(self, x: Array, s: Array) -> Array:
        """Return E of each sample, (batch,); for a vector field, NaN."""

    @abstractmethod
    def parameter_gradient(self, x: Array, s: Array) -> Array:
        """Return dE/dtheta summed over the batch, (parameters,)."""

    @abstractmethod
    def hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return the product (d gradient / ds) v, (batch, units)."""

    @abstractmethod
    def mixed_derivative_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return <v, d gradient / dtheta> summed over the batch, (parameters,)."""

    @property
    def holomorphic(self) -> bool:
        """True if `holomorphic` nudging, with complex beta, can be used."""
        return self.accepts_complex

    @property
    def block_slices(self) -> dict[str, slice]:
        """Slice of `parameters` for each named block; override this property to name blocks."""
        return {"theta": slice(0, len(self.parameters))}

    @property
    def layer_slices(self) -> dict[str, slice]:
        """Slice of a state for each named layer; override this property to name layers."""
        return {"s": slice(0, self.num_units)}

    @property
    def blocks(self) -> dict[str, Array]:
        """Views of `parameters` by name."""
        return self.block_views(self.parameters)

    def block_views(self, flat: Array) -> dict[str, Array]:
        """Return named views of an array with the layout of `parameters`."""
        flat = as_flat(flat, len(self.parameters), "block_views")
        return {name: flat[where] for name, where in self.block_slices.items()}

    def as_input(self, x: Any, where: str) -> Array:
        """Return x as a checked array (batch, inputs); `where` names the caller in errors."""
        array = np.atleast_2d(as_array(x, where, "x"))
        return as_states(array, self.num_inputs or array.shape[1], self.dtype, where, "x")

    def initial_state(self, batch: int) -> Array:
        """Return the initial state of a free phase, (batch, units): zero."""
        return np.zeros((num_states(batch, self.num_units, self.dtype), self.num_units))

    def clamp(self, x: Array) -> _core.Energy:
        """Return the core's energy of this model with x (batch, inputs) clamped.

        Raises
        ------
        ValueError
            If a parameter is NaN or infinite.
        """
        return _core.f64.python_energy(self, self._clamped(x), *self._sizes())

    def clamp_dual(self, x: Array) -> _core.DualEnergy:
        """Return the core's energy with x clamped and states of dual numbers."""
        return _core.dual.python_energy(_Complexified(self), self._clamped(x), *self._sizes())

    def clamp_complex(self, x: Array) -> _core.Energy:
        """Return the core's energy with x clamped and complex states, which the methods receive."""
        return _core.c128.python_energy(_Complexified(self), self._clamped(x), *self._sizes())

    def _clamped(self, x: Array) -> Array:
        return as_contiguous(x, self.dtype, "clamp", "x")

    def _sizes(self) -> tuple[int, int, int]:
        """Return the numbers of units, outputs and parameters, after a check that these are finite."""
        finite = np.isfinite(self.parameters)
        if not finite.all():
            bad = int(np.argmin(finite))
            raise ValueError(
                f"[clamp] All parameters are finite. Received parameters[{bad}] = {self.parameters[bad]}. "
                "If training diverged, lower the learning rate."
            )
        return self.num_units, self.num_outputs, len(self.parameters)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_units} units, {len(self.parameters)} parameters)"

    def _slopes_by_parameters(self, function: Callable[[Any, Array], Array], s: Array) -> Array:
        """Return d function(model, s) / dtheta, (parameters,), by one complex step for each parameter."""
        self._check_accepts_complex()
        return parameter_slopes(self, function, s, ((i, 1.0) for i in range(len(self.parameters))))

    def _slope_along(self, function: Callable[[Array, Array], Array], x: Array, s: Array, v: Array) -> Array:
        """Return the derivative of function(x, s) with respect to s along v, to machine precision.

        v is scaled to a largest entry of 1, so that the complex step does not overflow for any v.
        """
        self._check_accepts_complex()
        scale = float(np.abs(v).max(initial=0.0)) or 1.0
        value = as_complex(function(x, s + 1j * STEP * (v / scale)), getattr(function, "__name__", "it"))
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(np.imag(value) / STEP * scale)

    def _check_accepts_complex(self) -> None:
        if not self.accepts_complex:
            raise TypeError(f"{COMPLEX_RULE} Received accepts_complex = False: {COMPLEX_ADVICE}.")


class Energy(OwnModel):
    r"""Base class of an energy E(x, s) that a user writes in Python; all solvers and checks accept it.

    Define `energy` and `gradient` in a subclass, in NumPy, and pass the object in place of a network. The
    base class computes the other derivatives by complex steps, to machine precision: second derivatives from
    `gradient`, and `parameter_gradient` from `energy`. The methods must then accept complex arrays, without
    ``abs``, ``maximum`` or comparisons of s; if they do not, set ``accepts_complex = False`` and override the
    derivatives. `parameter_gradient` by complex steps takes one evaluation for each parameter: override it if
    there are more than a few. The methods must read theta from `parameters` at each call, because optimizers
    and complex steps change it.

    Parameters
    ----------
    num_units, num_outputs : int
        Number of units of a state, and number of outputs, which are its last units.
    parameters : (parameters,) array of float64
        theta as a flat array; the methods read it, and optimizers update it in place.
    num_inputs : int, optional
        Number of inputs; needed by checks that draw a random x.

    Examples
    --------
    >>> import equiprop as eq
    >>> class Spring(eq.Energy):
    ...     def energy(self, x, s):
    ...         return (self.parameters * s**2 / 2 + s**4 / 4 - x * s).sum(axis=1)
    ...     def gradient(self, x, s):
    ...         return self.parameters * s + s**3 - x
    >>> spring = Spring(2, 1, np.array([1.0, 2.0]), num_inputs=2)
    >>> eq.verify.derivatives(spring).passed
    True
    """

    @abstractmethod
    def energy(self, x: Array, s: Array) -> Array:
        """Return E of each sample, (batch,), for x (batch, inputs) and s (batch, units)."""

    @abstractmethod
    def gradient(self, x: Array, s: Array) -> Array:
        """Return dE/ds, (batch, units)."""

    def parameter_gradient(self, x: Array, s: Array) -> Array:
        """Return dE/dtheta summed over the batch, (parameters,), by complex steps of `energy`."""
        if np.iscomplexobj(s):
            raise TypeError(
                "[Energy] Complex nudging needs a parameter_gradient that the model defines for complex "
                "states. Received one by complex steps of the parameters: override parameter_gradient."
            )
        return self._slopes_by_parameters(lambda m, at: returned(m.energy(x, at), "energy").sum(), s)

    def hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return the product (d2E/ds2) v, (batch, units), as Im gradient(s + i h v) / h."""
        return self._slope_along(self.gradient, x, s, v)

    def mixed_derivative_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return <v, d2E/dtheta ds> summed over the batch, (parameters,), by complex steps."""
        if self._has_parameter_gradient:
            return self._slope_along(self.parameter_gradient, x, s, v)
        return self._slopes_by_parameters(
            lambda m, at: (v * returned(m.gradient(x, at), "gradient")).sum(), s
        )

    @property
    def _has_parameter_gradient(self) -> bool:
        return type(self).parameter_gradient is not Energy.parameter_gradient

    @property
    def holomorphic(self) -> bool:
        """True if `holomorphic` nudging, with complex beta, can be used."""
        return self.accepts_complex and self._has_parameter_gradient


class VectorField(OwnModel):
    r"""Base class of dynamics ds/dt = mu(x, s) that a user writes in Python; no energy is required.

    Define `velocity` in a subclass, in NumPy. If it accepts complex arrays, the base class computes its
    derivatives by complex steps: `vector_jacobian_product` takes one evaluation for each unit, and
    `parameter_vector_product` one for each parameter; override them if there are more than a few. If dmu/ds
    is not symmetric, Equilibrium Propagation is biased (Scellier et al. 2018) unless ``symmetrize=True``, and
    Recurrent Backpropagation needs GMRES.

    Parameters
    ----------
    num_units, num_outputs, parameters, num_inputs
        See `Energy`.

    Examples
    --------
    >>> import equiprop as eq
    >>> class Decay(eq.VectorField):
    ...     def velocity(self, x, s):
    ...         return x - self.parameters * s
    >>> eq.free_phase(Decay(2, 1, np.array([1.0, 2.0])), [[0.5, 1.0]]).state.round(6).tolist()
    [[0.5, 0.5]]
    """

    conservative: ClassVar[bool] = False

    @abstractmethod
    def velocity(self, x: Array, s: Array) -> Array:
        """Return mu, (batch, units), for x (batch, inputs) and s (batch, units)."""

    def jacobian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return the product (dmu/ds) v, (batch, units), as Im mu(s + i h v) / h."""
        return self._slope_along(self.velocity, x, s, v)

    def vector_jacobian_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return the product (dmu/ds)^T v, (batch, units), from one column of the Jacobian after another."""
        columns = np.eye(self.num_units)
        images = [self.jacobian_vector_product(x, s, np.broadcast_to(e, s.shape)) for e in columns]
        return np.stack([(image * v).sum(axis=1) for image in images], axis=1)

    def parameter_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return <v, dmu/dtheta> summed over the batch, (parameters,), by complex steps."""
        return self._slopes_by_parameters(
            lambda m, at: (v * returned(m.velocity(x, at), "velocity")).sum(), s
        )

    def energy(self, x: Array, s: Array) -> Array:  # noqa: ARG002
        """Return NaN, because a vector field has no energy, (batch,)."""
        return np.full(len(s), np.nan)

    def gradient(self, x: Array, s: Array) -> Array:
        """Return minus the velocity, which the solvers use in place of dE/ds, (batch, units)."""
        return -returned(self.velocity(x, s), "velocity")

    def hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return -(dmu/ds) v, (batch, units)."""
        return -self.jacobian_vector_product(x, s, v)

    def transposed_hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return -(dmu/ds)^T v, (batch, units)."""
        return -self.vector_jacobian_product(x, s, v)

    def mixed_derivative_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return -<v, dmu/dtheta> summed over the batch, (parameters,)."""
        return -self.parameter_vector_product(x, s, v)

    def parameter_gradient(self, x: Array, s: Array) -> Array:  # noqa: ARG002
        """Raise ValueError, because a vector field has no energy."""
        raise ValueError(
            "[VectorField] parameter_gradient, dE/dtheta, needs an energy. Received a vector field, which "
            "has only parameter_vector_product(x, s, v)."
        )


class _Complexified:
    """A model with complex states; the core passes a dual state a + b e as a + i h b with h = 1e-100.

    If the model accepts complex states, its methods receive them: the derivative of `gradient` is then that
    of its code, and the model's second derivatives are not used. Otherwise the imaginary parts are computed
    with the model's second derivatives. Products with v are evaluated at real states, for both parts of v.
    """

    def __init__(self, model: OwnModel) -> None:
        self.model, self.conservative = model, model.conservative

    def energy(self, x: Array, s: Array) -> Array:
        if not self.conservative:
            return self.model.energy(x, s)
        if self.model.accepts_complex:
            return as_complex(self.model.energy(x, s), "energy")
        slope = (self.model.gradient(x, _real(s)) * _imag(s)).sum(axis=1)
        return np.asarray(self.model.energy(x, _real(s)) + 1j * slope)

    def gradient(self, x: Array, s: Array) -> Array:
        if self.model.accepts_complex:
            return as_complex(self.model.gradient(x, s), "gradient" if self.conservative else "velocity")
        slope = self.model.hessian_vector_product(x, _real(s), _imag(s))
        return np.asarray(self.model.gradient(x, _real(s)) + 1j * slope)

    def parameter_gradient(self, x: Array, s: Array) -> Array:
        if self.model.holomorphic:
            return as_complex(self.model.parameter_gradient(x, s), "parameter_gradient")
        slope = self.model.mixed_derivative_product(x, _real(s), _imag(s))
        return np.asarray(self.model.parameter_gradient(x, _real(s)) + 1j * slope)

    def hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        return self._linear(self.model.hessian_vector_product, x, s, v)

    def transposed_hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        product: Any = getattr(self.model, "transposed_hessian_vector_product")  # noqa: B009
        return self._linear(product, x, s, v)

    def mixed_derivative_product(self, x: Array, s: Array, v: Array) -> Array:
        return self._linear(self.model.mixed_derivative_product, x, s, v)

    @staticmethod
    def _linear(product: Callable[[Array, Array, Array], Array], x: Array, s: Array, v: Array) -> Array:
        at = _real(s)
        return np.asarray(product(x, at, _real(v)) + 1j * product(x, at, _imag(v)))


def _real(values: Array) -> Array:
    return np.ascontiguousarray(np.real(values))


def _imag(values: Array) -> Array:
    return np.ascontiguousarray(np.imag(values))
