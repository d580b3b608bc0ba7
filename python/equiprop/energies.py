"""Models of your own: energies and vector fields written in Python."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from equiprop import _core
from equiprop.arrays import Array, as_array, as_states

#: Step of complex-step derivatives: so small that its square vanishes beside 1, far above underflow.
_STEP = 1e-100
_COMPLEX_RULE = "[Energy] Derivatives by complex step need methods that accept complex arrays."
_COMPLEX_ADVICE = "override the derivative that is missing"


@dataclass(repr=False, eq=False)
class OwnModel(ABC):
    """What energies and vector fields written in Python have in common.

    Parameters
    ----------
    num_units, num_outputs : int
        Length of a state; how many of its last entries the cost acts on.
    parameters : (parameters,) array of float64
        theta, flat; the methods read it, optimizers write to it.
    num_inputs : int, optional
        Length of x, where a check has to invent one.
    """

    num_units: int
    num_outputs: int
    parameters: Array = field(default_factory=lambda: np.zeros(0))
    num_inputs: int | None = None

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float64)
    core: ClassVar[_core.Precision] = _core.f64
    has_block_update: ClassVar[bool] = False
    conservative: ClassVar[bool] = True
    #: Whether the methods accept complex states; set it to False and override the derivatives if not.
    accepts_complex: ClassVar[bool] = True

    @abstractmethod
    def gradient(self, x: Array, s: Array) -> Array:
        """Return dE/ds, (batch, units); minus the velocity of a vector field."""

    @abstractmethod
    def energy(self, x: Array, s: Array) -> Array:
        """Return E of each sample, (batch,); NaN of a vector field."""

    @abstractmethod
    def parameter_gradient(self, x: Array, s: Array) -> Array:
        """Return dE/dtheta summed over the batch, (parameters,)."""

    @abstractmethod
    def hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return d gradient / ds . v, (batch, units)."""

    @abstractmethod
    def mixed_derivative_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return <v, d gradient / dtheta> summed over the batch, (parameters,)."""

    @property
    def holomorphic(self) -> bool:
        """Whether beta may be continued into the complex plane."""
        return self.accepts_complex

    @property
    def block_slices(self) -> dict[str, slice]:
        """Where each named block lies in `parameters`; override it to name them."""
        return {"theta": slice(0, len(self.parameters))}

    @property
    def layer_slices(self) -> dict[str, slice]:
        """Where each named group of units lies in a state; override it to name them."""
        return {"s": slice(0, self.num_units)}

    @property
    def blocks(self) -> dict[str, Array]:
        """Views of `parameters` by name."""
        return self.block_views(self.parameters)

    def block_views(self, flat: Array) -> dict[str, Array]:
        """Return named views of an array laid out like `parameters`."""
        return {name: flat[where] for name, where in self.block_slices.items()}

    def as_input(self, x: Any, where: str) -> Array:
        """Return x as a checked array (batch, inputs)."""
        array = np.atleast_2d(as_array(x, where, "x"))
        return as_states(array, self.num_inputs or array.shape[1], self.dtype, where, "x")

    def initial_state(self, batch: int) -> Array:
        """Return the state (batch, units) a free phase starts from: zero."""
        return np.zeros((batch, self.num_units))

    def clamp(self, x: Array) -> _core.Energy:
        """Return the core's view of this model with x fixed.

        Raises
        ------
        ValueError
            If a parameter is NaN or infinite.
        """
        return _core.f64.python_energy(self, x, *self._sizes())

    def clamp_dual(self, x: Array) -> _core.DualEnergy:
        """Return the same on dual numbers."""
        return _core.dual.python_energy(_Complexified(self), x, *self._sizes())

    def clamp_complex(self, x: Array) -> _core.Energy:
        """Return the same with complex states, which the methods then see."""
        return _core.c128.python_energy(_Complexified(self), x, *self._sizes())

    def _sizes(self) -> tuple[int, int, int]:
        """Return the lengths of state, outputs and parameters, which are checked to be finite."""
        finite = np.isfinite(self.parameters)
        if not finite.all():
            bad = int(np.argmin(finite))
            raise ValueError(
                "[clamp] All parameters are finite. Set them again; if training diverged, lower the learning "
                f"rate. Received parameters[{bad}] = {self.parameters[bad]}."
            )
        return self.num_units, self.num_outputs, len(self.parameters)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_units} units, {len(self.parameters)} parameters)"

    def _slopes_by_parameters(self, function: Callable[[Any], Array]) -> Array:
        """Return d function(model) / dtheta, (parameters,), one complex step for each parameter."""
        self._check_accepts_complex()
        probe, slopes = copy.copy(self), np.zeros(len(self.parameters))
        probe.parameters = self.parameters.astype(np.complex128)
        for i in range(len(slopes)):
            probe.parameters[i] += 1j * _STEP
            value = function(probe)
            if not np.iscomplexobj(value):
                raise TypeError(
                    "[Energy] Derivatives by complex step need methods that read `parameters` at each call, "
                    f"and keep their imaginary part. Received a real array from {type(self).__name__} for "
                    "complex parameters: read `parameters` there, or override the derivative that is missing "
                    "and set accepts_complex = False."
                )
            slopes[i] = np.imag(value) / _STEP
            probe.parameters[i] = self.parameters[i]
        return slopes

    def _slope_along(self, function: Callable[[Array, Array], Array], x: Array, s: Array, v: Array) -> Array:
        """Return the derivative of function(x, s) along v, to machine precision.

        It is linear in v, so v is scaled to 1: a diverging side network must not leave the step's range.
        """
        self._check_accepts_complex()
        scale = float(np.abs(v).max(initial=0.0)) or 1.0
        value = _complex(function(x, s + 1j * _STEP * (v / scale)), getattr(function, "__name__", "it"))
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(np.imag(value) / _STEP * scale)

    def _check_accepts_complex(self) -> None:
        if not self.accepts_complex:
            raise TypeError(f"{_COMPLEX_RULE} Received accepts_complex = False: {_COMPLEX_ADVICE}.")


class Energy(OwnModel):
    r"""An energy written in Python: the same solvers, second phases and checks apply to it.

    Subclass it, give `energy` and `gradient` as NumPy code, and pass the object wherever a network is
    expected. What is missing comes by complex steps, to machine precision, if the methods accept complex
    arrays (no ``abs``, ``maximum`` or comparisons of s): second derivatives from `gradient`, and
    `parameter_gradient` from `energy`, at one evaluation for each parameter, so write that one too for
    more than a few. Otherwise set ``accepts_complex = False`` and override the derivatives. Methods read
    theta from `parameters` at each call: a copy kept elsewhere would miss both steps and updates.

    Parameters
    ----------
    num_units, num_outputs : int
        Length of a state; how many of its last entries the cost acts on.
    parameters : (parameters,) array of float64
        theta, flat; the methods read it, optimizers write to it.
    num_inputs : int, optional
        Length of x, where a check has to invent one.

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
        """Return dE/dtheta summed over the batch, (parameters,); here by complex steps of `energy`."""
        if np.iscomplexobj(s):
            raise TypeError(
                "[Energy] Complex nudging needs parameter_gradient written out for complex states. Received "
                "one supplied by complex steps of the parameters."
            )
        return self._slopes_by_parameters(lambda model: model.energy(x, s).sum())

    def hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return d2E/ds2 . v, (batch, units); here Im gradient(s + i h v) / h."""
        return self._slope_along(self.gradient, x, s, v)

    def mixed_derivative_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return <v, d2E/dtheta ds> summed over the batch, (parameters,); here by a complex step."""
        if self._has_parameter_gradient:
            return self._slope_along(self.parameter_gradient, x, s, v)
        return self._slopes_by_parameters(lambda model: (v * model.gradient(x, s)).sum())

    @property
    def _has_parameter_gradient(self) -> bool:
        return type(self).parameter_gradient is not Energy.parameter_gradient

    @property
    def holomorphic(self) -> bool:
        """Whether beta may be continued into the complex plane."""
        return self.accepts_complex and self._has_parameter_gradient


class VectorField(OwnModel):
    r"""Dynamics ds/dt = mu(x, s) written in Python that need not have an energy.

    Subclass it and give `velocity` as NumPy code. Its derivatives come by complex steps if it accepts
    complex arrays: `vector_jacobian_product` at one evaluation for each unit, `parameter_vector_product` at
    one for each parameter; override those for more than a few. Where dmu/ds is not symmetric,
    Equilibrium Propagation is biased (Scellier et al. 2018) unless ``symmetrize=True``, and Recurrent
    Backpropagation needs GMRES.

    Parameters
    ----------
    num_units, num_outputs, parameters, num_inputs
        As for `Energy`.
    """

    conservative: ClassVar[bool] = False

    @abstractmethod
    def velocity(self, x: Array, s: Array) -> Array:
        """Return mu, (batch, units), for x (batch, inputs) and s (batch, units)."""

    def jacobian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return dmu/ds . v, (batch, units); here Im mu(s + i h v) / h."""
        return self._slope_along(self.velocity, x, s, v)

    def vector_jacobian_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return (dmu/ds)^T v, (batch, units); here one column of the Jacobian after the other."""
        columns = np.eye(self.num_units)
        images = [self.jacobian_vector_product(x, s, np.broadcast_to(e, s.shape)) for e in columns]
        return np.stack([(image * v).sum(axis=1) for image in images], axis=1)

    def parameter_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return <v, dmu/dtheta> summed over the batch, (parameters,); here by complex steps."""
        return self._slopes_by_parameters(lambda model: (v * model.velocity(x, s)).sum())

    def energy(self, x: Array, s: Array) -> Array:  # noqa: ARG002
        """Return NaN: there is none."""
        return np.full(len(s), np.nan)

    def gradient(self, x: Array, s: Array) -> Array:
        """Return minus the velocity, which takes the place of dE/ds."""
        return -self.velocity(x, s)

    def hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return -dmu/ds . v."""
        return -self.jacobian_vector_product(x, s, v)

    def transposed_hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return -(dmu/ds)^T v."""
        return -self.vector_jacobian_product(x, s, v)

    def mixed_derivative_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return -<v, dmu/dtheta>."""
        return -self.parameter_vector_product(x, s, v)

    def parameter_gradient(self, x: Array, s: Array) -> Array:  # noqa: ARG002
        """Refuse: dE/dtheta belongs to an energy."""
        raise ValueError(
            "[VectorField] dE/dtheta belongs to an energy. Received a vector field, which has "
            "parameter_vector_product(x, s, v) alone."
        )


class _Complexified:
    """A model on complex arrays, as which the core hands over dual states a + i h b, h = 1e-100, too.

    Where the model accepts complex states they are handed through, so its `gradient` is differentiated
    itself and the second derivatives it supplies are not believed; elsewhere these are all there is.
    Products with v are asked for at real states only, and act on both parts of v.
    """

    def __init__(self, model: OwnModel) -> None:
        self.model, self.conservative = model, model.conservative

    def energy(self, x: Array, s: Array) -> Array:
        if self.model.accepts_complex:
            return self.model.energy(x, s)
        slope = (self.model.gradient(x, _real(s)) * _imag(s)).sum(axis=1)
        return np.asarray(self.model.energy(x, _real(s)) + 1j * slope)

    def gradient(self, x: Array, s: Array) -> Array:
        if self.model.accepts_complex:
            return _complex(self.model.gradient(x, s), "gradient" if self.conservative else "velocity")
        slope = self.model.hessian_vector_product(x, _real(s), _imag(s))
        return np.asarray(self.model.gradient(x, _real(s)) + 1j * slope)

    def parameter_gradient(self, x: Array, s: Array) -> Array:
        if self.model.holomorphic:
            return _complex(self.model.parameter_gradient(x, s), "parameter_gradient")
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


def _complex(value: Any, name: str) -> Array:
    """Return what a method made of a complex array, unless it dropped the imaginary part."""
    if not np.iscomplexobj(value) and np.size(value):
        raise TypeError(
            f"{_COMPLEX_RULE} Received a real array from {name}: {_COMPLEX_ADVICE}, "
            "and set accepts_complex = False."
        )
    return np.asarray(value)
