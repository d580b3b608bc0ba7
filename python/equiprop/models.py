"""Models: what phases ask of one, and the Hopfield network on a graph of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from equiprop import _core
from equiprop.activations import Activation, activation, activation_name
from equiprop.arrays import Array, as_states
from equiprop.checks import check_type, enough_memory, real, whole

_CORES: Mapping[str, _core.Precision] = {"float32": _core.f32, "float64": _core.f64}
_POTENTIALS = {"legendre": _core.Potential.LEGENDRE, "quadratic": _core.Potential.QUADRATIC}


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Parameters
    ----------
    units : int
        Number of units.
    activation : str or Activation
        Ignored for the input layer, whose units are clamped.
    name : str
        Empty for a name by position.
    """

    units: int
    activation: str | Activation = "hard_sigmoid"
    name: str = ""


@dataclass(frozen=True)
class Dense:
    """All-to-all weights between two different layers, given by position; -<u_source, W u_target> in E."""

    source: int
    target: int


class Model(Protocol):
    """What free and second phases ask of a model."""

    @property
    def num_units(self) -> int: ...  # noqa: D102
    @property
    def num_outputs(self) -> int: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    @property
    def core(self) -> _core.Precision: ...  # noqa: D102
    @property
    def parameters(self) -> Array: ...  # noqa: D102
    @property
    def blocks(self) -> Mapping[str, Array]: ...  # noqa: D102
    @property
    def block_slices(self) -> Mapping[str, slice]: ...  # noqa: D102
    @property
    def layer_slices(self) -> Mapping[str, slice]: ...  # noqa: D102
    @property
    def conservative(self) -> bool: ...  # noqa: D102
    @property
    def holomorphic(self) -> bool: ...  # noqa: D102
    @property
    def has_block_update(self) -> bool: ...  # noqa: D102
    def block_views(self, flat: Array) -> dict[str, Array]: ...  # noqa: D102
    def as_input(self, x: Any, where: str) -> Array: ...  # noqa: D102
    def initial_state(self, batch: int) -> Array: ...  # noqa: D102
    def clamp(self, x: Array) -> _core.Energy: ...  # noqa: D102
    def clamp_dual(self, x: Array) -> _core.DualEnergy: ...  # noqa: D102
    def clamp_complex(self, x: Array) -> _core.Energy: ...  # noqa: D102


class HopfieldNetwork:
    r"""A network of layers that relaxes to a minimum of the Hopfield energy.

    .. math:: E = \sum_k \mathrm{leak}(s_k) - \sum_{edges} u_a^T W u_b - \sum_k b_k^T u_k

    with u = s and leak the Legendre potential of rho (``potential="legendre"``, Ernoult et al. 2019,
    Scellier et al. 2023), or u = rho(s) and leak = s^2 / 2 (``"quadratic"``, Scellier & Bengio 2017,
    2019). For clipping activations the two are the same network. Networks can be pickled and copied; every
    copy has parameters of its own.

    Parameters
    ----------
    sizes : sequence of int, optional
        Units of each layer of a chain, input first. Give either this or `layers` and `couplings`.
    activation : str, Activation, or one per hidden layer
        Activation of the hidden layers of a chain.
    output_activation : str or Activation
        Activation of the last layer of a chain. Linear outputs keep a nudge from vanishing at a bound.
    layers, couplings : sequence of Layer, of Dense
        A graph: any two different layers, the input among them, may be coupled, at most once in either
        direction, and every layer is coupled. The first layer is the clamped input, the last one the output.
    potential : {"legendre", "quadratic"}
        The energy's convention.
    feedback : {"tied", "separate"}
        With "separate", each coupling between free layers pulls its source by weights B of their own,
        which start equal to W. Where they differ, the dynamics have no energy: they are the vector field
        of Scellier et al. (2018), whose Jacobian is not symmetric.
    dtype : {"float32", "float64"}
        Train in single, verify in double precision.
    seed : int
        Weights are uniform on +-gain sqrt(6 / (fan in + fan out)) (Glorot & Bengio 2010), biases zero;
        the same on every platform.
    gain : float
        Scale of the weights. At 1 a network with linear units excites itself; at 1/2 it usually relaxes
        to one fixed point.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], dtype="float64", seed=0)
    >>> {name: block.shape for name, block in net.blocks.items()}
    {'W1': (4, 6), 'W2': (6, 3), 'b1': (6,), 'b2': (3,)}
    >>> eq.free_phase(net, [[0.1, 0.2, 0.3, 0.4]]).outputs.shape
    (1, 3)
    """

    #: Attributes that follow from the structure and the parameters.
    _DERIVED = frozenset(
        {"_network", "layers", "couplings", "potential", "feedback", "dtype", "core", "_block_slices"}
    )

    def __init__(
        self,
        sizes: Sequence[int] | None = None,
        *,
        activation: str | Activation | Sequence[str | Activation] = "hard_sigmoid",
        output_activation: str | Activation = "linear",
        layers: Sequence[Layer] | None = None,
        couplings: Sequence[Dense] | None = None,
        potential: str = "legendre",
        feedback: str = "tied",
        dtype: str | np.dtype[Any] | type = "float32",
        seed: int = 0,
        gain: float = 0.5,
    ) -> None:
        if (sizes is None) == (layers is None) or (layers is None) != (couplings is None):
            raise ValueError(
                "[HopfieldNetwork] Give either `sizes` of a chain, or `layers` and `couplings` of a graph. "
                f"Received sizes={sizes}, layers={layers}, couplings={couplings}."
            )
        if sizes is not None:
            layers = _chain_layers(sizes, activation, output_activation)
            couplings = [Dense(k, k + 1) for k in range(len(layers) - 1)]
        assert layers is not None
        assert couplings is not None
        if potential not in tuple(_POTENTIALS):
            raise ValueError(
                f"[HopfieldNetwork] potential is 'legendre' or 'quadratic'. Received {potential!r}."
            )
        if feedback not in ("tied", "separate"):
            raise ValueError(f"[HopfieldNetwork] feedback is 'tied' or 'separate'. Received {feedback!r}.")
        named, pairs, precision = _named(layers), _pairs(couplings), _checked_dtype(dtype)
        separate = feedback == "separate"
        size = _num_parameters(named, pairs, separate) * precision.itemsize
        units = "-".join(str(layer.units) for layer in named)
        with enough_memory(size, "HopfieldNetwork", f"{precision.name} parameters of layers {units}"):
            self._adopt(
                _CORES[precision.name].HopfieldNetwork(
                    [_layer_core(layer) for layer in named],
                    pairs,
                    _POTENTIALS[potential],
                    separate,
                )
            )
        self.initialize(seed, gain)

    def _adopt(self, network: _core.HopfieldNetwork) -> None:
        self._network = network
        self.layers: tuple[Layer, ...] = tuple(
            Layer(units, Activation(*fields), name) for name, units, fields in network.layers
        )
        self.couplings: tuple[Dense, ...] = tuple(
            Dense(source, target) for source, target in network.couplings
        )
        self.potential = network.potential.name.lower()
        self.feedback = "separate" if network.separate_feedback else "tied"
        self.dtype: np.dtype[Any] = network.parameters.dtype
        self.core: _core.Precision = _CORES[self.dtype.name]
        self._block_slices = MappingProxyType(
            {
                name: slice(offset, offset + rows * columns)
                for name, offset, rows, columns in network.parameter_blocks
            }
        )

    @classmethod
    def from_core(cls, network: _core.HopfieldNetwork) -> HopfieldNetwork:
        """Return the network whose structure and parameters the core holds."""
        net = cls.__new__(cls)
        net._adopt(network)
        return net

    def __getstate__(self) -> dict[str, Any]:
        """Return what `pickle` and `copy` keep: the structure as JSON, the parameters, other attributes."""
        own = {name: value for name, value in vars(self).items() if name not in self._DERIVED}
        return {**own, "description": self._network.description(), "parameters": self.parameters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the network anew, so that a copy never shares memory with the original."""
        own = dict(state)
        description, parameters = own.pop("description"), own.pop("parameters")
        self._adopt(_core.network_of(description, len(parameters)))
        self.parameters[:] = parameters
        vars(self).update(own)

    def initialize(self, seed: int, gain: float = 0.5) -> None:
        """Draw the weights anew from `seed` and set the biases to zero."""
        seed = whole(seed, "HopfieldNetwork", "seed", 0, 2**64 - 1)
        self._network.initialize(seed, real(gain, "HopfieldNetwork", "gain"))

    @property
    def core_network(self) -> _core.HopfieldNetwork:
        """The network of the C++ core that this object stands for."""
        return self._network

    @property
    def parameters(self) -> Array:
        """All parameters theta, flat: the memory the core computes with, so writing to it is an update."""
        return self._network.parameters

    @property
    def blocks(self) -> dict[str, Array]:
        """Views of `parameters` by name: W1, W2, ... (source, target), b1, b2, ... (units,).

        Separate feedback weights are B2, ... (source, target), as W2, ... are.
        """
        return self.block_views(self.parameters)

    @property
    def block_slices(self) -> Mapping[str, slice]:
        """Where each block lies in `parameters`."""
        return self._block_slices

    @property
    def layer_slices(self) -> dict[str, slice]:
        """Where the units of each free layer lie in a state."""
        return {name: slice(offset, offset + units) for name, offset, _, units in self._network.state_blocks}

    @property
    def num_inputs(self) -> int:
        """Units of the input layer."""
        return self.layers[0].units

    @property
    def num_outputs(self) -> int:
        """Units of the output layer."""
        return self.layers[-1].units

    @property
    def num_units(self) -> int:
        """Free units, those of a state."""
        return sum(layer.units for layer in self.layers[1:])

    @property
    def num_parameters(self) -> int:
        """Length of `parameters`."""
        return len(self.parameters)

    @property
    def has_block_update(self) -> bool:
        """Whether `BlockUpdate` can relax this network."""
        return self._network.has_block_update

    @property
    def holomorphic(self) -> bool:
        """Whether every activation is complex-differentiable."""
        return self._network.holomorphic

    @property
    def conservative(self) -> bool:
        """Whether there is an energy: feedback weights are tied to the forward ones."""
        return self.feedback == "tied"

    def block_views(self, flat: Array) -> dict[str, Array]:
        """Return named views of an array laid out like `parameters`."""
        views = {}
        for name, offset, rows, columns in self._network.parameter_blocks:
            block = flat[offset : offset + rows * columns]
            views[name] = block if rows == 1 and name.startswith("b") else block.reshape(rows, columns)
        return views

    def as_input(self, x: Any, where: str) -> Array:
        """Return x as a checked array (batch, inputs) of the network's dtype."""
        return as_states(x, self.num_inputs, self.dtype, where, "x")

    def initial_state(self, batch: int) -> Array:
        """Return the state (batch, units) a free phase starts from: the response to no drive."""
        return self._network.initial_state(batch)

    def clamp(self, x: Array) -> _core.Energy:
        """Return the core's energy with x (batch, inputs) fixed; the input's drive is computed here, once."""
        return self._network.clamp(x)

    def clamp_dual(self, x: Array) -> _core.DualEnergy:
        """Return the same on dual numbers; a network in double precision shares its parameters."""
        return self._network.clamp_dual(np.ascontiguousarray(x, dtype=np.float64))

    def clamp_complex(self, x: Array) -> _core.Energy:
        """Return the same with complex states."""
        return self._network.clamp_complex(np.ascontiguousarray(x, dtype=np.float64))

    def astype(self, dtype: str | np.dtype[Any] | type) -> HopfieldNetwork:
        """Return a copy in another precision."""
        return self.variant(dtype=dtype)

    def variant(
        self,
        *,
        potential: str | None = None,
        feedback: str | None = None,
        dtype: str | np.dtype[Any] | type | None = None,
    ) -> HopfieldNetwork:
        """Return a copy with the same parameters and another convention, feedback or precision."""
        other = HopfieldNetwork(
            layers=self.layers,
            couplings=self.couplings,
            potential=potential or self.potential,
            feedback=feedback or self.feedback,
            dtype=self.dtype if dtype is None else dtype,
        )
        mine = self.blocks
        for name, block in other.blocks.items():
            block[...] = mine[name] if name in mine else mine["W" + name[1:]]
        return other

    def __repr__(self) -> str:
        sizes = "-".join(str(layer.units) for layer in self.layers)
        names = ", ".join(sorted({activation_name(layer.activation) for layer in self.layers[1:]}))
        feedback = "" if self.feedback == "tied" else ", separate feedback"
        return f"HopfieldNetwork({sizes}, {names}, {self.potential}{feedback}, {self.dtype.name})"


def _chain_layers(
    sizes: Sequence[int],
    hidden: str | Activation | Sequence[str | Activation],
    output: str | Activation,
) -> list[Layer]:
    check_type(sizes, Iterable, "HopfieldNetwork", "`sizes` lists the units of every layer")
    sizes = list(sizes)
    if len(sizes) < 2:
        raise ValueError(
            f"[HopfieldNetwork] `sizes` holds an input size and at least one more. Received {sizes}."
        )
    count = len(sizes) - 2
    each = [hidden] * count if isinstance(hidden, str) or not isinstance(hidden, Iterable) else list(hidden)
    if len(each) != count:
        raise ValueError(
            f"[HopfieldNetwork] `activation` is one for all or one for each of the {count} hidden layers. "
            f"Received {len(each)}."
        )
    return [Layer(units, act) for units, act in zip(sizes, ["linear", *each, output], strict=True)]


def _named(layers: Sequence[Layer]) -> list[Layer]:
    def name(k: int) -> str:
        return "input" if k == 0 else "output" if k == len(layers) - 1 else f"hidden{k}"

    for layer in layers:
        check_type(layer, Layer, "HopfieldNetwork", "`layers` lists objects Layer(units, ...)")
        check_type(layer.name, str, "HopfieldNetwork", "The name of a layer is text")
    return [
        Layer(_whole(layer.units), activation(layer.activation), layer.name or name(k))
        for k, layer in enumerate(layers)
    ]


def _pairs(couplings: Sequence[Dense]) -> list[tuple[int, int]]:
    for coupling in couplings:
        check_type(coupling, Dense, "HopfieldNetwork", "`couplings` lists objects Dense(source, target)")
    return [(_position(coupling.source), _position(coupling.target)) for coupling in couplings]


def _num_parameters(layers: Sequence[Layer], couplings: Sequence[tuple[int, int]], separate: bool) -> int:
    """Return how many parameters a network has, from couplings that the core has not checked yet."""
    units = [layer.units for layer in layers]
    count = sum(units[1:])
    for pair in couplings:
        if max(pair) < len(units):
            count += units[pair[0]] * units[pair[1]] * (2 if separate and 0 not in pair else 1)
    return count


def _position(layer: Any) -> int:
    return whole(layer, "HopfieldNetwork", "The position of a layer", 0)


def _layer_core(layer: Layer) -> _core.Layer:
    units = whole(layer.units, "HopfieldNetwork", "The size of a layer", 1)
    return _core.Layer(layer.name, units, activation(layer.activation).core)


def _whole(units: Any) -> int:
    if isinstance(units, bool) or not isinstance(units, (int, np.integer)):
        raise TypeError(f"[HopfieldNetwork] The size of a layer is a whole number. Received {units!r}.")
    if units < 1:
        raise ValueError(f"[HopfieldNetwork] A layer has at least one unit. Received {units}.")
    return int(units)


def _checked_dtype(dtype: str | np.dtype[Any] | type) -> np.dtype[Any]:
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in _CORES:
        raise ValueError(f"[HopfieldNetwork] dtype is 'float32' or 'float64'. Received {dtype!r}.")
    return np.dtype(name)
