"""Networks as functions of JAX (extra ``jax``): jit, vmap and grad through their fixed points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

import numpy as np

from equiprop.arrays import Array, as_array
from equiprop.checks import check_type, require
from equiprop.energies import OwnModel
from equiprop.implicit import ImplicitFunction, States
from equiprop.models import HopfieldNetwork
from equiprop.overlap import updating
from equiprop.second_phase import EquilibriumPropagation, RecurrentBackpropagation
from equiprop.solvers import FreeSolver

try:
    import jax
    import jax.numpy as jnp
except ImportError as _error:
    raise ImportError(
        "[equiprop.jax] JAX is not installed. Install it with pip install 'equiprop[jax]'."
    ) from _error

Network = HopfieldNetwork | OwnModel
Params = Any
_WHERE = "fixed_point_layer"


def fixed_point_layer(
    network: Network,
    *,
    second_phase: EquilibriumPropagation | RecurrentBackpropagation | None = None,
    solver: FreeSolver | None = None,
    on_failure: str = "warn",
) -> Callable[[Params, Any], jax.Array]:
    """Return a pure function ``apply(params, x)``: the outputs of a network at its fixed point.

    The function can be transformed by ``jit``, ``vmap``, ``grad`` and ``vjp``; docs/jax.md has more. params
    is a dictionary with the names and shapes of ``network.blocks``, or a flat array in the layout of
    ``network.parameters``; x is (..., inputs), or images (..., channels, height, width); the outputs
    are (..., outputs). The function has a copy of the network.

    Parameters
    ----------
    network : HopfieldNetwork, Energy or VectorField
    second_phase : EquilibriumPropagation or RecurrentBackpropagation, optional
        Method of derivatives; by default RecurrentBackpropagation by ConjugateGradient(), or by GMRES() for a
        model without an energy. EquilibriumPropagation nudges the outputs by beta times each cotangent,
        divided by its largest entry.
    solver : BlockUpdate, FixedPointIteration or Euler, optional
        Solver of the free phase, by default that of `free_phase`.
    on_failure : {"warn", "nan"}
        Result of a sample that does not converge: what the solver reached, and a ConvergenceWarning at each
        computation; or NaN. A sample that diverges, or has numbers that are not finite, is always NaN.

    Raises
    ------
    TypeError, ValueError
        If arguments are of wrong types or do not fit together. By the function, while it is traced: if params
        or x do not fit the network, a network in float64 is used without ``jax_enable_x64``, or a derivative
        does not exist.

    Examples
    --------
    >>> import equiprop as eq
    >>> import equiprop.jax
    >>> import jax
    >>> net = eq.HopfieldNetwork([2, 5, 1], activation="tanh", seed=0)
    >>> apply, params = eq.jax.fixed_point_layer(net), eq.jax.parameters_of(net)
    >>> def loss(params, x, y):
    ...     return ((apply(params, x) - y) ** 2).mean()
    >>> x, y = jax.numpy.array([[0.5, 1.0]]), jax.numpy.array([[1.0]])
    >>> slopes = jax.jit(jax.grad(loss))(params, x, y)
    >>> {name: slope.shape for name, slope in slopes.items()}
    {'W1': (2, 5), 'W2': (5, 1), 'b1': (5,), 'b2': (1,)}
    """
    function = ImplicitFunction(network, second_phase, solver, on_failure, _WHERE)
    outputs = _differentiable(function)

    def apply(params: Params, x: Any) -> jax.Array:
        """Return the outputs (..., outputs) at the fixed point of each input."""
        _check_precision(function.model)
        theta, rows = _flat(function.model, params, _WHERE), _converted(x, function.model, "x")
        lead, rows = _rows(function.model, rows)
        return outputs(theta, rows).reshape(*lead, function.model.num_outputs)

    return apply


def parameters_of(network: Network) -> dict[str, jax.Array]:
    """Return a copy of the parameters of a network as arrays of JAX, by the names of ``network.blocks``.

    Examples
    --------
    >>> import equiprop as eq
    >>> import equiprop.jax
    >>> eq.jax.parameters_of(eq.HopfieldNetwork([2, 5, 1]))["W1"].shape
    (2, 5)
    """
    where = "parameters_of"
    _check_network(network, where)
    _check_precision(network, where)
    return {name: jnp.array(block, copy=True) for name, block in network.blocks.items()}


def assign(network: Network, params: Params) -> None:
    """Set the parameters of a network, for example to save it, or to check it with `equiprop.verify`.

    Parameters
    ----------
    network : HopfieldNetwork, Energy or VectorField
    params : dict of str to array, or flat array
        Parameters as those of the function that `fixed_point_layer` returns.

    Raises
    ------
    TypeError, ValueError
        If params have wrong names, types or shapes, or numbers that are not finite. The network is then
        unchanged.

    Examples
    --------
    >>> import equiprop as eq
    >>> import equiprop.jax
    >>> net = eq.HopfieldNetwork([2, 5, 1])
    >>> params = eq.jax.parameters_of(net)
    >>> eq.jax.assign(net, {**params, "b2": params["b2"] + 1})
    >>> net.blocks["b2"].tolist()
    [1.0]
    """
    where = "assign"
    _check_network(network, where)
    _check_precision(network, where)
    flat = np.asarray(_flat(network, params, where))
    require(bool(np.isfinite(flat).all()), where, "params are finite", "NaN or infinity")
    with updating(network, where):
        network.parameters[:] = flat


def _check_network(network: Any, where: str) -> None:
    rule = "network is a HopfieldNetwork, an Energy or a VectorField"
    check_type(network, Network, where, rule)


def _check_precision(network: Network, where: str = _WHERE) -> None:
    if jax.dtypes.canonicalize_dtype(network.dtype) != network.dtype:
        cure = " or use network.astype('float32')" if isinstance(network, HopfieldNetwork) else ""
        raise ValueError(
            f"[{where}] A network in float64 needs arrays of this type. Received JAX without them: call "
            f"jax.config.update('jax_enable_x64', True){cure}."
        )


def _converted(value: Any, network: Network, name: str, where: str = _WHERE) -> jax.Array:
    """Return an argument as an array of the type of the network; raise TypeError for other than reals."""
    if not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value)):
        with np.errstate(over="ignore"):
            return jnp.asarray(as_array(value, where, name).astype(network.dtype))
    array = jnp.asarray(value)
    if jnp.iscomplexobj(array):
        raise TypeError(f"[{where}] `{name}` holds real numbers. Received dtype {array.dtype}.")
    return array.astype(network.dtype)


def _rows(network: Network, x: jax.Array) -> tuple[tuple[int, ...], jax.Array]:
    """Return the leading axes of inputs, and the inputs as (samples, inputs)."""
    one = (network.num_inputs,)
    shapes = dict.fromkeys([one, tuple(getattr(network, "input_shape", one))])
    for shape in shapes:
        if x.ndim >= len(shape) and x.shape[x.ndim - len(shape) :] == shape:
            lead = x.shape[: x.ndim - len(shape)]
            return lead, x.reshape(math.prod(lead), network.num_inputs)
    names = " or ".join(f"(..., {', '.join(map(str, shape))})" for shape in shapes)
    raise ValueError(f"[{_WHERE}] `x` has shape {names}. Received shape {x.shape}.")


def _flat(network: Network, params: Params, where: str) -> jax.Array:
    """Return parameters as one flat array in the layout of the network."""
    size = len(network.parameters)
    if not isinstance(params, Mapping):
        flat = _converted(params, network, "params", where)
        require(flat.shape == (size,), where, f"`params` has shape ({size},)", f"shape {flat.shape}")
        return flat
    blocks, at = network.blocks, network.block_slices
    names = sorted(blocks, key=lambda name: at[name].start)
    if set(params) != set(names):
        shown = ", ".join(names)
        raise ValueError(f"[{where}] `params` has the blocks {shown}. Received {sorted(params, key=str)}.")
    parts = []
    for name in names:
        part = _converted(params[name], network, f"params[{name!r}]", where)
        shape = blocks[name].shape
        require(part.shape == shape, where, f"params[{name!r}] has shape {shape}", f"shape {part.shape}")
        parts.append(part.ravel())
    rule = "The blocks of a dictionary are all parameters: pass a flat array"
    require(sum(part.size for part in parts) == size, where, rule, f"blocks of a model with {size}")
    return jnp.concatenate(parts)


def _differentiable(function: ImplicitFunction) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Return (theta, x) -> outputs, for theta (parameters,) and x (batch, inputs), with its derivatives."""
    count = function.model.num_outputs
    relaxed = _without_derivative(partial(_relaxed, function))
    pulled_back = _without_derivative(partial(_pulled_back, function))

    def outputs(theta: jax.Array, x: jax.Array) -> Any:
        return relaxed(theta, x).state[:, -count:]

    def forward(theta: Any, x: Any) -> tuple[jax.Array, tuple[Any, ...]]:
        if x.perturbed and not function.has_input_derivative:
            raise TypeError(
                f"[{_WHERE}] Derivatives with respect to x need a HopfieldNetwork: pass "
                f"jax.lax.stop_gradient(x). Received {function.model!r}."
            )
        states = relaxed(theta.value, x.value)
        return states.state[:, -count:], (theta.value, x.value, *states)

    def backward(saved: tuple[Any, ...], vector: jax.Array) -> Any:
        return pulled_back(*saved, vector)

    differentiable = jax.custom_vjp(outputs)
    differentiable.defvjp(forward, backward, symbolic_zeros=True)
    return differentiable


def _without_derivative(function: Callable[..., Any]) -> Any:
    """Return a function of JAX that raises a TypeError when it is differentiated."""

    def refuse(*_: Any) -> NoReturn:
        raise TypeError(
            f"[{_WHERE}] Derivatives have order one, in reverse mode. Received a derivative of a derivative."
        )

    guarded = jax.custom_jvp(function)
    guarded.defjvp(refuse)
    return guarded


def _relaxed(function: ImplicitFunction, theta: jax.Array, x: jax.Array) -> Any:
    """Return the `States` of a batch as arrays of JAX."""
    model, batch = function.model, len(x)
    shapes = (
        _shape((batch, model.num_units), model.dtype),
        _shape((batch,), np.int8),
        _shape((batch,), model.dtype),
    )

    def relax(theta: Array, x: Array) -> States:
        return function.relax(theta, x)

    def together(theta: Any, x: Any) -> tuple[Array, ...]:
        theta, x = np.asarray(theta), np.asarray(x)
        if math.prod(theta.shape[:-1]) != 1:
            return _one_by_one(relax, shapes, (theta, 1), (x, 2))
        states = relax(theta.ravel(), x.reshape(-1, x.shape[-1]))
        return tuple(part.reshape(*x.shape[:-1], *part.shape[1:]) for part in states)

    return States(*jax.pure_callback(together, shapes, theta, x, vmap_method="expand_dims"))


def _pulled_back(function: ImplicitFunction, *arguments: jax.Array) -> Any:
    """Return the products of `ImplicitFunction.pull_back` as arrays of JAX."""
    shapes = tuple(_shape(a.shape, a.dtype) for a in arguments[:2])

    def pull_back(theta: Array, x: Array, *rest: Array) -> tuple[Array, Array]:
        return function.pull_back(theta, x, States(*rest[:-1]), rest[-1])

    def each(*given: Any) -> Any:
        pairs = zip(given, arguments, strict=True)
        return _one_by_one(pull_back, shapes, *((np.asarray(a), b.ndim) for a, b in pairs))

    return jax.pure_callback(each, shapes, *arguments, vmap_method="expand_dims")


def _shape(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return the shape and the type of a result of a callback."""
    kind: Any = jax.ShapeDtypeStruct
    return kind(shape, dtype)


def _one_by_one(
    function: Callable[..., Any], shapes: Any, *arguments: tuple[Array, int]
) -> tuple[Array, ...]:
    """Return the results of `function` for each element of the leading axes, which ``vmap`` has added.

    Parameters
    ----------
    function : callable
    shapes : sequence
        Shape and type of each result for one element.
    *arguments : (array, int)
        Arguments with the number of their last axes that belong to one element.
    """
    arrays = [(array, array.shape[array.ndim - own :]) for array, own in arguments]
    lead = np.broadcast_shapes(*(a.shape[: a.ndim - len(own)] for a, own in arrays))
    full = [np.broadcast_to(array, (*lead, *own)) for array, own in arrays]
    results = tuple(np.empty((*lead, *shape.shape), shape.dtype) for shape in shapes)
    for at in np.ndindex(*lead):
        for result, value in zip(results, function(*(array[at] for array in full)), strict=True):
            result[at] = value
    return results
