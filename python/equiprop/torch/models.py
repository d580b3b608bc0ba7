"""Models that a user writes in PyTorch; PyTorch computes their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch

from equiprop.array_arguments import as_flat
from equiprop.arrays import Array, as_array, as_contiguous
from equiprop.checks import check_type
from equiprop.energies import Energy, OwnModel, VectorField

Tensors = dict[str, "torch.Tensor"]
Function = Callable[["torch.Tensor", "torch.Tensor", Tensors], "torch.Tensor"]


class _TorchModel(OwnModel):
    """A model that is defined by a function of tensors; its named parameters are views of one flat array."""

    accepts_complex: ClassVar[bool] = False
    _DERIVED: ClassVar[frozenset[str]] = frozenset({"_shared"})
    _shared: tuple[Array, Tensors] | None = None

    def __init__(
        self,
        function: Function,
        num_units: int,
        num_outputs: int,
        params: Mapping[str, Any],
        num_inputs: int | None = None,
    ) -> None:
        if not isinstance(params, Mapping) or not params:
            raise TypeError(f"[{type(self).__name__}] `params` maps names to tensors. Received {params!r}.")
        if not callable(function) or isinstance(function, type):
            raise TypeError(
                f"[{type(self).__name__}] `function` is a function of tensors. Received {function!r}."
            )
        arrays = {name: _parameter(p, type(self).__name__, name) for name, p in params.items()}
        self.block_shapes: dict[str, tuple[int, ...]] = {name: array.shape for name, array in arrays.items()}
        flat = np.concatenate([array.ravel() for array in arrays.values()])
        super().__init__(num_units, num_outputs, flat, num_inputs)
        self.function = function

    @property
    def block_slices(self) -> dict[str, slice]:
        """The slice of `parameters` that holds each tensor."""
        slices, at = {}, 0
        for name, shape in self.block_shapes.items():
            size = int(np.prod(shape, dtype=np.int64))
            slices[name] = slice(at, at + size)
            at += size
        return slices

    def block_views(self, flat: Array) -> dict[str, Array]:
        """Return named views of an array with the layout of `parameters`."""
        flat = as_flat(flat, len(self.parameters), "block_views")
        return {name: flat[at].reshape(self.block_shapes[name]) for name, at in self.block_slices.items()}

    @property
    def params(self) -> Tensors:
        """The parameters as tensors that share the memory of `parameters`."""
        # Each step of a relaxation reads them; they are made again if `parameters` is another array.
        if self._shared is None or self._shared[0] is not self.parameters:
            views = self.block_views(self.parameters)
            self._shared = self.parameters, {name: torch.from_numpy(view) for name, view in views.items()}
        return dict(self._shared[1])

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for `pickle` and `copy`, without tensors that share memory with them."""
        return {name: value for name, value in vars(self).items() if name not in self._DERIVED}

    def _tensors(self, x: Array, s: Array, *v: Array) -> tuple[torch.Tensor, ...]:
        """Return an input, a state and directions as tensors, after a check of their types and shapes."""
        where = type(self).__name__
        given = as_contiguous(x, self.dtype, where, "x")
        if given.ndim != 2 or self.num_inputs not in (None, given.shape[1]):
            width = "inputs" if self.num_inputs is None else self.num_inputs
            raise ValueError(f"[{where}] `x` has shape (batch, {width}). Received shape {given.shape}.")
        shape, tensors = (len(given), self.num_units), [_tensor(given)]
        for name, value in zip("sv", (s, *v), strict=False):
            array = as_contiguous(value, self.dtype, where, name)
            if array.shape != shape:
                raise ValueError(f"[{where}] `{name}` has shape {shape}. Received shape {array.shape}.")
            tensors.append(_tensor(array))
        return tuple(tensors)


class TorchEnergy(_TorchModel, Energy):
    """An energy that a PyTorch function defines, in double precision.

    Parameters
    ----------
    function : callable
        ``energy(x, s, params)`` returns E of each sample, (batch,), for tensors x (batch, inputs) and
        s (batch, units) and a dictionary of tensors. ``torch.func`` must be able to differentiate it.
    num_units, num_outputs : int
        Number of units of a state, and number of outputs, which are its last units.
    params : mapping of str to tensor
        Initial parameters. They are copied into one flat array, `parameters`, which optimizers update.
    num_inputs : int, optional
        Number of inputs; needed by checks that draw a random x.

    Examples
    --------
    >>> import torch
    >>> import equiprop as eq
    >>> from equiprop.torch import TorchEnergy
    >>> def energy(x, s, params):
    ...     return (s**2 / 2 - torch.log(torch.cosh(s * params["w"] + x))).sum(dim=1)
    >>> model = TorchEnergy(energy, 3, 1, {"w": torch.tensor([0.1, 0.2, 0.3])}, num_inputs=3)
    >>> free = eq.free_phase(model, [[0.5, -0.1, 0.2]])
    >>> eq.equilibrium_propagation(model, free, [[1.0]]).blocks["w"].shape
    (3,)
    """

    def energy(self, x: Array, s: Array) -> Array:
        """Return E of each sample, (batch,)."""
        with torch.no_grad():
            given, at = self._tensors(x, s)
            return _array(self._energies(given, at, self.params))

    def gradient(self, x: Array, s: Array) -> Array:
        """Return dE/ds, (batch, units)."""
        # Every step of a relaxation calls this method: torch.autograd takes half the time of torch.func.
        given, at = self._tensors(x, s)
        at.requires_grad_()
        with torch.enable_grad():
            total = self._energies(given, at, self.params).sum()
        return _array(torch.autograd.grad(total, at)[0])

    def hessian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return d2E/ds2 . v, (batch, units)."""
        given, at, along = self._tensors(x, s, v)
        pull: Any = torch.func.vjp(self._slope(given, self.params), at)[1]
        return _array(pull(along)[0])

    def parameter_gradient(self, x: Array, s: Array) -> Array:
        """Return dE/dtheta summed over the batch, (parameters,)."""
        given, at = self._tensors(x, s)
        return _flat(torch.func.grad(lambda params: self._energies(given, at, params).sum())(self.params))

    def mixed_derivative_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return <v, d2E/dtheta ds> summed over the batch, (parameters,)."""
        given, at, along = self._tensors(x, s, v)

        def work(params: Tensors) -> torch.Tensor:
            return (along * self._slope(given, params)(at)).sum()

        return _flat(torch.func.grad(work)(self.params))

    def _slope(self, x: torch.Tensor, params: Tensors) -> Callable[[torch.Tensor], torch.Tensor]:
        slope: Callable[[torch.Tensor], torch.Tensor]
        slope = torch.func.grad(lambda s: self._energies(x, s, params).sum())
        return slope

    def _energies(self, x: torch.Tensor, s: torch.Tensor, params: Tensors) -> torch.Tensor:
        return energies_of(self.function, x, s, params)


class TorchVectorField(_TorchModel, VectorField):
    """Dynamics ds/dt = mu(x, s) that a PyTorch function defines, in double precision; no energy is required.

    Parameters
    ----------
    function : callable
        ``velocity(x, s, params)`` returns mu, (batch, units), for arguments as in `TorchEnergy`.
    num_units, num_outputs, params, num_inputs
        See `TorchEnergy`.

    Examples
    --------
    >>> import torch
    >>> import equiprop as eq
    >>> from equiprop.torch import TorchVectorField
    >>> field = TorchVectorField(lambda x, s, p: x - p["a"] * s, 2, 1, {"a": torch.tensor([1.0, 2.0])})
    >>> eq.free_phase(field, [[0.5, 1.0]]).state.round(6).tolist()
    [[0.5, 0.5]]
    """

    def velocity(self, x: Array, s: Array) -> Array:
        """Return mu, (batch, units)."""
        with torch.no_grad():
            given, at = self._tensors(x, s)
            return _array(self._velocities(given, at, self.params))

    def jacobian_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return dmu/ds . v, (batch, units)."""
        # Two reverse sweeps: forward mode loads parts of PyTorch that emit deprecation warnings.
        given, at, along = self._tensors(x, s, v)
        velocity = partial(self._velocities, given, params=self.params)
        pull: Any = torch.func.vjp(velocity, at)[1]
        push: Any = torch.func.vjp(lambda u: pull(u)[0], torch.zeros_like(at))[1]
        return _array(push(along)[0])

    def vector_jacobian_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return (dmu/ds)^T v, (batch, units)."""
        given, at, along = self._tensors(x, s, v)
        pull: Any = torch.func.vjp(partial(self._velocities, given, params=self.params), at)[1]
        return _array(pull(along)[0])

    def parameter_vector_product(self, x: Array, s: Array, v: Array) -> Array:
        """Return <v, dmu/dtheta> summed over the batch, (parameters,)."""
        given, at, along = self._tensors(x, s, v)
        pull: Any = torch.func.vjp(partial(self._velocities, given, at), self.params)[1]
        return _flat(pull(along)[0])

    def _velocities(self, x: torch.Tensor, s: torch.Tensor, params: Tensors) -> torch.Tensor:
        return velocities_of(self.function, x, s, params)


def energies_of(function: Function, x: torch.Tensor, s: torch.Tensor, params: Tensors) -> torch.Tensor:
    """Return the value of an energy, (batch,); raise an error if its type or its shape is wrong."""
    rule = "[TorchEnergy] The function returns E of each sample"
    return _checked(function(x, s, params), s.shape[:1], s.dtype, rule)


def velocities_of(function: Function, x: torch.Tensor, s: torch.Tensor, params: Tensors) -> torch.Tensor:
    """Return the value of a field, (batch, units); raise an error if its type or its shape is wrong."""
    rule = "[TorchVectorField] The function returns mu"
    return _checked(function(x, s, params), s.shape, s.dtype, rule)


def _parameter(value: Any, where: str, name: Any) -> Array:
    """Return an initial parameter, a tensor or numbers, as an array of float64."""
    check_type(name, str, where, "`params` has names")
    value = value.detach().cpu() if isinstance(value, torch.Tensor) else value
    return as_array(value, where, f"params[{name!r}]").astype(np.float64)


def _tensor(array: Array) -> torch.Tensor:
    """Return a tensor that shares the memory of an array, or a copy of an array that is read-only."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _array(tensor: Any) -> Array:
    return np.asarray(tensor.detach().numpy())


def _flat(tensors: Mapping[str, Any]) -> Array:
    return np.concatenate([_array(tensor).ravel() for tensor in tensors.values()])


def _checked(value: Any, shape: tuple[int, ...], dtype: torch.dtype, rule: str) -> torch.Tensor:
    """Return the value of a user's function; raise an error if its type, precision or shape is wrong.

    The derivatives are those of the sum of the value, so they alone would not show a wrong shape.
    """
    rule = f"{rule}: a tensor {tuple(shape)} of {dtype}."
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{rule} Received {type(value).__name__}.")
    if value.dtype != dtype:
        raise TypeError(f"{rule} Received {value.dtype}: do not convert x, s or params.")
    if value.shape != shape:
        raise ValueError(f"{rule} Received shape {tuple(value.shape)}.")
    return value
