"""The Hopfield network on a graph of layers."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from equiprop import _core
from equiprop.activations import Activation, activation_name
from equiprop.array_arguments import as_flat, num_states
from equiprop.arrays import Array, as_contiguous, as_states, flat_input, network_dtype
from equiprop.checks import check_choice, check_type, enough_memory, real, whole
from equiprop.couplings import Coupling, copy_weights, coupling_fields, coupling_of
from equiprop.devices import DEVICES, checked_precision
from equiprop.labels import classes_of_outputs
from equiprop.layers import Layer, core_layer, count_parameters, graph_of, named_layers, slices_of
from equiprop.markup import html
from equiprop.network_table import is_plain, network_table
from equiprop.overlap import updating
from equiprop.scaling import Scaling

_CORES: Mapping[str, _core.Precision] = {"float32": _core.f32, "float64": _core.f64}
_POTENTIALS = {"legendre": _core.Potential.LEGENDRE, "quadratic": _core.Potential.QUADRATIC}


class HopfieldNetwork:
    r"""A network of layers that relaxes to a minimum of the Hopfield energy.

    .. math:: E = \sum_k \mathrm{leak}(s_k) - \sum_{edges} u_a^T W u_b - \sum_k b_k^T u_k

    An edge within a layer counts half. With ``potential="legendre"``, u = s, and leak is the Legendre
    potential of rho (Ernoult et al. 2019, Scellier et al. 2023); with ``"quadratic"``, u = rho(s) and
    leak = s^2 / 2 (Scellier & Bengio 2017, 2019). For clipping activations both give the same network. A
    network can be pickled and copied; a copy does not share parameters with the original.

    Parameters
    ----------
    sizes : sequence of int, optional
        Number of units of each layer of a chain, input first. Give either `sizes`, or `layers` and
        `couplings`.
    activation : str, Activation, or a sequence of them, optional
        Activation of all hidden layers of a chain, or of each of them; by default "hard_sigmoid".
    output_activation : str or Activation, optional
        Activation of the last layer of a chain, by default "linear": a nudge is then never lost at a bound.
    layers : sequence of Layer
        Layers of a graph. The first one is the input, which is clamped; the last one is the output.
    couplings : sequence of Dense, Convolution, MaxPooled, SoftPooled or Identity
        Couplings of a graph. At most one dense coupling connects two layers, or a layer with itself; every
        layer is coupled to another one.
    potential : {"legendre", "quadratic"}
        Convention of the energy.
    feedback : {"tied", "separate"}
        With "separate", each coupling between two free layers has separate weights B from its target to its
        source, which initially equal W. If B differs from W, the dynamics have no energy: they are the vector
        field of Scellier et al. (2018), whose Jacobian is not symmetric. Weights within a layer have no B,
        and need not be symmetric.
    dtype : {"float32", "float64"}
        Precision of parameters and states. Checks of the theory need double precision.
    image_format : {"channels_first", "channels_last"}
        Order of input images: (batch, channels, height, width), as in PyTorch, or (batch, height, width,
        channels). Flat inputs (batch, inputs) have the same order. States are stored with the channels last.
    seed : int
        Seed of the initial weights, which are equal on every platform: uniform between
        +-gain sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010). Biases are zero.
    gain : float, optional
        Scale of the initial weights, by default 1/2, at which a network usually has one stable fixed point;
        at 1, the states of a network with linear units may grow without limit. If no gain is given, a
        `Trainer` replaces the initial weights by ones that fit its first data (docs/training.md), unless
        they were changed before.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    MemoryError
        If the parameters do not fit in memory.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], dtype="float64", seed=0)
    >>> {name: block.shape for name, block in net.blocks.items()}
    {'W1': (4, 6), 'W2': (6, 3), 'b1': (6,), 'b2': (3,)}
    >>> eq.free_phase(net, [[0.1, 0.2, 0.3, 0.4]]).outputs.shape
    (1, 3)
    """

    #: Seed and checksum of parameters that are as the constructor drew them.
    _drawn: tuple[int, int] | None

    #: Attributes that are computed from the network of the core.
    _DERIVED = frozenset({"_network", "_parameters", "_block_slices", "dtype", "core"}).union(
        {"layers", "couplings", "potential", "feedback", "image_format"}
    )

    def __init__(
        self,
        sizes: Sequence[int] | None = None,
        *,
        activation: str | Activation | Sequence[str | Activation] | None = None,
        output_activation: str | Activation | None = None,
        layers: Sequence[Layer] | None = None,
        couplings: Sequence[Coupling] | None = None,
        potential: str = "legendre",
        feedback: str = "tied",
        dtype: str | np.dtype[Any] | type = "float32",
        image_format: str = "channels_first",
        seed: int = 0,
        gain: float | None = None,
    ) -> None:
        layers, couplings = graph_of(sizes, activation, output_activation, layers, couplings)
        check_choice(potential, "HopfieldNetwork", "potential", *_POTENTIALS)
        check_choice(feedback, "HopfieldNetwork", "feedback", "tied", "separate")
        check_choice(image_format, "HopfieldNetwork", "image_format", "channels_first", "channels_last")
        named, pairs, precision = named_layers(layers), coupling_fields(couplings), network_dtype(dtype)
        separate = feedback == "separate"
        size = count_parameters(named, couplings, separate) * precision.itemsize
        units = "-".join(str(layer.units) for layer in named)
        with enough_memory(size, "HopfieldNetwork", f"{precision.name} parameters of layers {units}"):
            self._adopt(
                _CORES[precision.name].HopfieldNetwork(
                    [core_layer(layer) for layer in named],
                    pairs,
                    _POTENTIALS[potential],
                    separate,
                    image_format == "channels_first",
                )
            )
        self.initialize(seed, 0.5 if gain is None else gain)
        if gain is None:
            self._drawn = (seed, self._checksum())

    def _adopt(self, network: _core.HopfieldNetwork) -> None:
        self._network = network
        self.layers: tuple[Layer, ...] = tuple(
            Layer(shape, Activation(*fields), name) for name, shape, fields in network.layers
        )
        self.couplings: tuple[Coupling, ...] = tuple(coupling_of(*fields) for fields in network.couplings)
        # The file of a network whose input is no image has no format.
        first = network.channels_first or not self.layers[0].is_image
        self.image_format = "channels_first" if first else "channels_last"
        self.potential = network.potential.name.lower()
        self.feedback = "separate" if network.separate_feedback else "tied"
        self._parameters: Array = network.parameters
        self._drawn = None
        self._classes: Array | None = None
        self.dtype: np.dtype[Any] = self._parameters.dtype
        self.core: _core.Precision = _CORES[self.dtype.name]
        self._block_slices = MappingProxyType(slices_of(network.parameter_blocks))

    @classmethod
    def from_core(cls, network: _core.HopfieldNetwork) -> HopfieldNetwork:
        """Return the Python network of a network of the core; they share the parameters."""
        net = cls.__new__(cls)
        net._adopt(network)
        return net

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for `pickle` and `copy`: structure as JSON, parameters and other attributes."""
        own = {name: value for name, value in vars(self).items() if name not in self._DERIVED}
        own |= {"scaling": self.scaling, "parameters": self.parameters}
        return {**own, "description": self._network.description()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Construct a new network of the core, so that a copy does not share memory with the original."""
        own = dict(state)
        description, parameters = own.pop("description"), own.pop("parameters")
        self._adopt(_core.network_of(description, len(parameters)))
        self.parameters[:] = parameters
        self.scaling = own.pop("scaling", None)
        vars(self).update(own)

    def initialize(self, seed: int, gain: float = 0.5) -> None:
        """Draw new weights with `seed` and `gain`, and set the biases to zero."""
        seed = whole(seed, "HopfieldNetwork", "seed", 0, 2**64 - 1)
        with updating(self, "HopfieldNetwork.initialize"):
            self._network.initialize(seed, real(gain, "HopfieldNetwork", "gain"))
        self._drawn = None

    @property
    def fresh_seed(self) -> int | None:
        """The seed if all parameters are as the constructor drew them with the default gain, otherwise None.

        A `Trainer` gives such a network start values that fit its first data.
        """
        drawn = self._drawn
        return drawn[0] if drawn is not None and drawn[1] == self._checksum() else None

    def _checksum(self) -> int:
        return zlib.crc32(self.parameters.data)

    @property
    def core_network(self) -> _core.HopfieldNetwork:
        """The network of the C++ core that this object contains."""
        return self._network

    @property
    def parameters(self) -> Array:
        """All parameters theta as a flat array in the memory of the core, so assignment updates it."""
        return self._parameters

    @property
    def blocks(self) -> dict[str, Array]:
        """Views of `parameters` by name: W1, W2, ... of the couplings, b1, b2, ... (channels,) of the layers.

        Dense weights are (source, target); those of a convolution are (target channels, source channels /
        groups, kernel height, kernel width). Separate feedback weights B2, ... have the shapes of W2, ...;
        couplings within a layer have none. An identity coupling has no block, but counts in the numbers.
        """
        return self.block_views(self.parameters)

    @property
    def block_slices(self) -> Mapping[str, slice]:
        """Slice of `parameters` for each block."""
        return self._block_slices

    @property
    def scaling(self) -> Scaling | None:
        """`Scaling` of raw inputs, which `Trainer.fit` sets and `Trainer.predict` applies; None if not known.

        Phases and gradients receive scaled inputs, such as ``net.scaling(x)``. The scaling is saved.
        """
        numbers = self._network.scaling
        return None if numbers is None else Scaling(*numbers)

    @scaling.setter
    def scaling(self, scaling: Scaling | None) -> None:
        check_type(scaling, Scaling | None, "HopfieldNetwork", "scaling is a Scaling or None")
        self._network.scaling = None if scaling is None else (scaling.offset, scaling.factor)

    @property
    def classes(self) -> Array | None:
        """The class that each output stands for, which `Trainer.fit` sets; None if not known. It is saved."""
        return self._classes

    @classes.setter
    def classes(self, classes: Any) -> None:
        where = "HopfieldNetwork"
        self._classes = None if classes is None else classes_of_outputs(classes, self.num_outputs, where)

    @property
    def layer_slices(self) -> dict[str, slice]:
        """Slice of a state for each layer but the input."""
        return slices_of(self._network.state_blocks)

    @property
    def num_inputs(self) -> int:
        """Number of units of the input layer."""
        return self.layers[0].units

    @property
    def num_outputs(self) -> int:
        """Number of units of the output layer."""
        return self.layers[-1].units

    @property
    def num_units(self) -> int:
        """Number of units of a state: those of all layers but the input."""
        return sum(layer.units for layer in self.layers[1:])

    @property
    def num_parameters(self) -> int:
        """Number of parameters."""
        return len(self.parameters)

    @property
    def has_block_update(self) -> bool:
        """True: `BlockUpdate` can relax every network."""
        return True

    @property
    def holomorphic(self) -> bool:
        """True if every activation and every coupling is complex-differentiable; a maximum is not."""
        return self._network.holomorphic

    @property
    def conservative(self) -> bool:
        """True if the dynamics have an energy, which they have if the feedback weights are tied."""
        return self.feedback == "tied"

    def block_views(self, flat: Array) -> dict[str, Array]:
        """Return named views of an array with the layout of `parameters`."""
        flat = as_flat(flat, len(self.parameters), "block_views")
        places = self._network.parameter_blocks
        return {name: flat[at : at + math.prod(shape)].reshape(shape) for name, at, shape in places}

    def as_input(self, x: Any, where: str) -> Array:
        """Return x as a checked array (batch, inputs) of the network's dtype; `where` names the caller."""
        return as_states(self.flat(x, where), self.num_inputs, self.dtype, where, "x")

    def flat(self, x: Any, where: str) -> Any:
        """Return images, each of `input_shape`, as an array (batch, inputs), and any other x as it is.

        A single channel may be left out.

        Raises
        ------
        ValueError
            If x has more than two dimensions, and another shape.
        """
        return flat_input(x, self.input_shape, where)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (inputs,), or that of an image in the order `image_format`."""
        layer = self.layers[0]
        if not layer.is_image:
            return (layer.units,)
        channels, *place = layer.shape
        return (channels, *place) if self.image_format == "channels_first" else (*place, channels)

    def initial_state(self, batch: int) -> Array:
        """Return the initial state of a free phase, (batch, units): the response to zero drive."""
        return self._network.initial_state(num_states(batch, self.num_units, self.dtype))

    def clamp(self, x: Array) -> _core.Energy:
        """Return the core's energy with x (batch, inputs) clamped; this computes the drive by the input."""
        return self._network.clamp(as_contiguous(x, self.dtype, "clamp", "x"))

    def clamp_dual(self, x: Array) -> _core.DualEnergy:
        """Return the core's energy with x clamped and states of dual numbers, in double precision."""
        return self._network.clamp_dual(as_contiguous(x, np.dtype("float64"), "clamp_dual", "x"))

    def clamp_complex(self, x: Array) -> _core.Energy:
        """Return the core's energy with x clamped and complex states, in double precision."""
        return self._network.clamp_complex(as_contiguous(x, np.dtype("float64"), "clamp_complex", "x"))

    def astype(self, dtype: str | np.dtype[Any] | type) -> HopfieldNetwork:
        """Return a copy with another precision, "float32" or "float64"."""
        return self.variant(dtype=dtype)

    @property
    def device(self) -> str:
        """Name of the device on which phases run: "cpu"."""
        return "cpu"

    @property
    def precision(self) -> str:
        """How large products round their factors; "exact", which is not at all, on the CPU."""
        return "exact"

    def to(self, device: str, *, precision: str | None = None) -> HopfieldNetwork:
        """Return a network on a device with equal parameters, or the network itself if it is there.

        Parameters
        ----------
        device : {"cpu", "cuda"}
            "cuda" needs the package equiprop-cuda and an NVIDIA GPU: docs/gpu.md says what it supports.
        precision : {"exact", "tf32", "3xtf32", "bf16"}, optional
            Rounding of the factors of the large products on a device, for a network in float32. By default
            "exact" for a network on the CPU, and that of the network on a device.

        Raises
        ------
        ValueError
            If the device does not support the network or the precision.
        equiprop.cuda.DeviceError
            If the device cannot be used.
        """
        where = "HopfieldNetwork.to"
        precision = checked_precision(device, precision, self.precision, self.dtype, where)
        if (device, precision) == (self.device, self.precision):
            return self
        if device != "cpu":
            return cast(HopfieldNetwork, DEVICES[device](self, precision))
        net = HopfieldNetwork.__new__(HopfieldNetwork)
        net.__setstate__(HopfieldNetwork.__getstate__(self))
        return net

    def variant(
        self,
        *,
        potential: str | None = None,
        feedback: str | None = None,
        dtype: str | np.dtype[Any] | type | None = None,
    ) -> HopfieldNetwork:
        """Return a copy with equal parameters, and another potential, feedback or precision."""
        other = HopfieldNetwork(
            layers=self.layers,
            couplings=self.couplings,
            potential=self.potential if potential is None else potential,
            feedback=self.feedback if feedback is None else feedback,
            dtype=self.dtype if dtype is None else dtype,
            image_format=self.image_format,
        )
        other.scaling, other.classes = self.scaling, self.classes
        seed = self.fresh_seed
        copy_weights(self.couplings, self.blocks, other.blocks, self.conservative and not other.conservative)
        other._drawn = None if seed is None else (seed, other._checksum())
        return other

    def __str__(self) -> str:
        """Return `repr` for a chain of dense layers; otherwise a table of layers and couplings, too."""
        colors, shapes = self._network.colors, {name: block.shape for name, block in self.blocks.items()}
        if is_plain(self.layers, self.couplings, colors):
            return repr(self)
        total = f"{self.num_parameters} parameters; block updates in {len(colors)} colours"
        return "\n\n".join([repr(self), network_table(self.layers, self.couplings, shapes, colors), total])

    def _repr_html_(self) -> str:
        return html(self)

    def __repr__(self) -> str:
        sizes = "-".join(layer.size for layer in self.layers)
        names = ", ".join(sorted({activation_name(layer.activation) for layer in self.layers[1:]}))
        feedback = "" if self.feedback == "tied" else ", separate feedback"
        return f"HopfieldNetwork({sizes}, {names}, {self.potential}{feedback}, {self.dtype.name})"
