"""Rules under which networks learn without tuning: start values and learning rates from a batch of inputs.

The rules and their derivation are in docs/training.md. The slope L of a layer is the largest weight that
its units give to a coupling in the Hessian of the energy, relative to their own curvature. A chain whose
couplings between free layers have singular values 1 / sqrt(d_a d_b L_a L_b), with d the number of couplings
of a layer, has a convex energy, and its signals fall only as 1 / depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiprop.activations import Activation, activation
from equiprop.arrays import Array
from equiprop.centring import Centre, CentredCoupling
from equiprop.costs import Cost, logit_scale, terms_of
from equiprop.couplings import Coupling, Dense, Identity, diagonal, driven_by_input, is_lateral, symmetrize
from equiprop.image_defaults import Probe, input_reads, kernel_reads, orthogonal, step_norm, tap_shares
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.optimizers import Adam, Optimizer

#: Spectral size of the first steps of Adam, relative to the slopes, for one hidden layer.
RATE = 0.2
#: Number of hidden layers from which steps are centred, and fall with the square of the number.
DEEP = 5

#: Norm of couplings within a layer, relative to that of couplings between layers.
_WITHIN = 0.5
#: Least part of the norm of a layer's couplings that identities leave to those with weights.
_LEAST_REST = 0.25
#: Learning rate of Adam for a model that is not a Hopfield network.
_OTHER_RATE = 1e-3

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Unit:
    """Where the units of a layer rest, and how steep they are.

    Attributes
    ----------
    state, drive : float
        State of a unit in the middle of its slope, and the drive (weighted signals plus bias) that holds it.
    signal : float
        Signal that a unit in this state sends to its neighbours.
    slope : float
        Largest slope L, see the module.
    half_width : float
        Half the width, in the drive, of the region where the slope is useful.
    """

    state: float
    drive: float
    signal: float
    slope: float
    half_width: float

    @property
    def size(self) -> float:
        """Typical size of the signal."""
        return max(abs(self.signal), 0.5 * self.slope * self.half_width)


def unit_of(rho: Activation, potential: str) -> Unit:
    """Return the resting unit of an activation under a potential."""
    drive, half_width = _middle(rho)
    if potential == "legendre":
        slope = {"tanh": 1.0, "logistic": rho.gain / 4}.get(rho.kind, rho.gain)
        value = float(rho.value([drive])[0])
        return Unit(value, drive, value, slope, half_width)
    state = drive  # the state is the argument of rho, and rho'(state) times the drive holds it
    first = float(rho.derivative([state])[0])
    return Unit(
        state, state / first, float(rho.value([state])[0]), _quadratic_slope(rho, half_width), half_width
    )


def _middle(rho: Activation) -> tuple[float, float]:
    """Return the middle of the useful slope of rho, and half its width."""
    if rho.kind == "tanh":
        return 0.0, 1.0
    if rho.kind == "logistic":
        return rho.shift, 2 / rho.gain
    if rho.kind == "softplus":
        return 1 / rho.gain, 2 / rho.gain
    if np.isfinite(rho.lower) and np.isfinite(rho.upper):
        return (rho.lower + rho.upper) / 2 / rho.gain, (rho.upper - rho.lower) / 2 / rho.gain
    return (0.5 / rho.gain if np.isfinite(rho.lower) else 0.0), 1 / rho.gain


def _quadratic_slope(rho: Activation, half_width: float) -> float:
    """Return the maximum of rho'^2 / (1 - rho'' s / rho') over states s, for the quadratic potential."""
    middle = _middle(rho)[0]
    s = middle + half_width * np.linspace(-4, 4, 801)
    first, second = rho.derivative(s), rho.second_derivative(s)
    inside = first > 1e-6 * first.max()
    curvature = 1 - second[inside] * s[inside] / first[inside]
    return float((first[inside] ** 2 / np.maximum(curvature, 1e-3))[curvature > 0].max())


def _units(net: HopfieldNetwork) -> list[Unit]:
    """Return the resting units of all layers; the input has slope 1 and signal 0."""
    free = [unit_of(activation(layer.activation), net.potential) for layer in net.layers[1:]]
    return [Unit(0.0, 0.0, 0.0, 1.0, 1.0), *free]


def _degrees(net: HopfieldNetwork) -> _Floats:
    """Return the number d of couplings of each layer, plus one for the output (its cost), at least 2.

    Couplings within a layer count half. Identities of gain g between free layers take |g| sqrt(L_a L_b) of
    the norm 1 that all couplings of a layer have together, and the others share the rest, at least a quarter:
    d is divided by it.
    """
    count, rest, units = np.zeros(len(net.layers)), np.ones(len(net.layers)), _units(net)
    for coupling in net.couplings:
        a, b = coupling.source, coupling.target
        if not isinstance(coupling, Identity):
            count[[a, b]] += _WITHIN if a == b else 1
        elif 0 not in (a, b):
            rest[[a, b]] -= abs(coupling.gain) * math.sqrt(units[a].slope * units[b].slope)
    count[-1] += 1
    degrees: _Floats = np.maximum(count, 2) / np.maximum(rest, _LEAST_REST)
    return degrees


def _named(net: HopfieldNetwork) -> list[tuple[int, Coupling]]:
    """Return the couplings with their numbers, counted from 1 as in the names of their blocks."""
    return list(enumerate(net.couplings, start=1))


def _spread(drives: _Floats) -> float:
    """Return the standard deviation of drives (samples, units); their size if the samples are equal."""
    size = float(np.sqrt(np.square(drives).mean()))
    deviation = float(drives.std(axis=0).mean())
    return deviation if deviation > 1e-3 * size else size or 1.0


def start_values(net: HopfieldNetwork, x: Array, seed: int) -> Array:
    """Return parameters from which `net` learns on inputs like x (samples, inputs).

    Couplings between free layers are orthogonal with singular values 1 / sqrt(d_a d_b L_a L_b), and couplings
    within a layer are symmetric with a norm of at most 1 / (2 d L); see `_degrees` for d. Weights from
    the input are Gaussian, scaled so that they give drives of standard deviation h, the half width of the
    slope, or 0 if they reach the outputs. Biases let every unit rest in the middle of its slope; those of
    hidden layers that the input reaches are then moved by up to h, so that units bend at different places.
    """
    if has_images(net):
        return _image_values(net, x, seed)
    random, x = np.random.default_rng(seed), np.asarray(x, dtype=np.float64)
    theta: Array = np.zeros(net.num_parameters, dtype=net.dtype)
    blocks, units, degrees = net.block_views(theta), _units(net), _degrees(net)
    mean = [
        x.mean(axis=0),
        *(np.full(n.units, u.signal) for n, u in zip(net.layers[1:], units[1:], strict=True)),
    ]
    for k, (layer, unit) in enumerate(zip(net.layers[1:], units[1:], strict=True), start=1):
        blocks[f"b{k}"][...] = unit.drive
        if k < len(net.layers) - 1 and k in map(driven_by_input, net.couplings):
            blocks[f"b{k}"][...] += unit.half_width * random.uniform(-1, 1, layer.units)
    for i, coupling in _named(net):
        a, b = coupling.source, coupling.target
        if isinstance(coupling, Identity):
            blocks[f"b{b}"][...] -= coupling.gain * mean[a]
            if a > 0:
                blocks[f"b{a}"][...] -= coupling.gain * mean[b]
            continue
        shape = blocks[f"W{i}"].shape
        if a == 0 and b == len(net.layers) - 1:
            w = np.zeros(shape)  # the cost is convex in them
        elif a == 0:
            w = random.standard_normal(shape)
            w *= units[b].half_width / _spread(x @ w)
        else:
            w = _inner_weights(random, coupling, shape)
            w /= np.sqrt(degrees[a] * degrees[b] * units[a].slope * units[b].slope)
            if a != b:
                blocks[f"b{a}"][...] -= w @ mean[b]
        blocks[f"W{i}"][...] = w
        if f"B{i}" in blocks:
            blocks[f"B{i}"][...] = w
        blocks[f"b{b}"][...] -= mean[a] @ w
    return theta


def _inner_weights(random: np.random.Generator, coupling: Coupling, shape: tuple[int, ...]) -> _Floats:
    """Return weights of a coupling between free layers of norm 1: an orthogonal matrix, as that of a kernel.

    Within a layer, the symmetric part of one without its diagonal; dense ones have a norm of at most 1/2.
    """
    w = orthogonal(random, shape)
    if is_lateral(coupling):
        largest = float(np.abs(w[diagonal(coupling, shape)]).max(initial=0.0))
        symmetrize(coupling, w)
        w *= _WITHIN / (1 + largest)
    return w


def has_images(net: HopfieldNetwork) -> bool:
    """Return True if a layer is an image, or a coupling is neither dense nor an identity."""
    plain = all(isinstance(c, Dense | Identity) for c in net.couplings)
    return not plain or any(layer.is_image for layer in net.layers)


def _image_values(net: HopfieldNetwork, x: Array, seed: int) -> Array:
    """Return start values of a network with images, by the rules of `start_values` for its linear maps.

    Kernels are orthogonal as matrices (target channels, numbers that one of them reads), and scaled to the
    norm of their linear map. Drives are measured on samples, with states around their rest, so that biases
    meet the mean of maxima too.
    """
    random, units, degrees = np.random.default_rng(seed), _units(net), _degrees(net)
    theta = np.zeros(net.num_parameters)
    blocks = net.block_views(theta)
    probe, last = Probe(net, x, _probe_states(net), random), len(net.layers) - 1
    maps = probe  # its signals are its states, so its Hessian is the linear map
    if net.potential == "quadratic":
        straight = net.variant(potential="legendre")
        maps = Probe(straight, x, _probe_states(straight), random)
    for i, coupling in _named(net):
        if isinstance(coupling, Identity):
            continue
        a, b, block = coupling.source, coupling.target, blocks[f"W{i}"]
        alone = np.zeros_like(theta)
        w = net.block_views(alone)[f"W{i}"]
        if not (driven := driven_by_input(coupling)):
            w[...] = _inner_weights(random, coupling, w.shape)
            norm = np.sqrt(degrees[a] * degrees[b] * units[a].slope * units[b].slope)
            if f"B{i}" in blocks:
                net.block_views(alone)[f"B{i}"][...] = w
            if not isinstance(coupling, Dense):
                norm *= max(maps.norm(alone, coupling), 1e-30) / (_WITHIN if a == b else 1.0)
            w /= norm
        elif driven < last:
            w[...] = random.standard_normal(w.shape)
            w *= units[driven].half_width / _spread(probe.drives(alone, driven))
        block[...] = w
        if f"B{i}" in blocks:
            blocks[f"B{i}"][...] = w
    offsets, given = {}, _identity_drives(net, x)
    for k, (layer, unit) in enumerate(zip(net.layers[1:], units[1:], strict=True), start=1):
        channels = layer.shape[0]
        drives = probe.drives(theta, k).reshape(-1, channels).mean(axis=0)
        offsets[f"b{k}"] = unit.drive - drives - given[k]
        if k < last and k in map(driven_by_input, net.couplings):
            offsets[f"b{k}"] += unit.half_width * random.uniform(-1, 1, channels)
    for name, offset in offsets.items():
        blocks[name][...] = offset
    return theta.astype(net.dtype)


def _identity_drives(net: HopfieldNetwork, x: Array) -> list[_Floats]:
    """Return the mean drive that identities give to each layer with the others at rest, by channel."""
    channels = [layer.shape[0] for layer in net.layers]
    rest = [_channels_last(net, x).reshape(-1, channels[0]).mean(axis=0)]
    rest += [np.full(c, unit.signal) for c, unit in zip(channels[1:], _units(net)[1:], strict=True)]
    drives = [np.zeros(c) for c in channels]
    for coupling in net.couplings:
        if isinstance(coupling, Identity):
            drives[coupling.target] += coupling.gain * rest[coupling.source]
            drives[coupling.source] += coupling.gain * rest[coupling.target]
    return drives


def _probe_states(net: HopfieldNetwork) -> list[tuple[float, float]]:
    """Return the resting state of each free layer, and the largest deviation from it for a `Probe`."""
    steep = net.potential == "legendre"
    return [(u.state, (u.slope if steep else 1.0) * u.half_width / 2) for u in _units(net)[1:]]


def block_rates(net: HopfieldNetwork, x: Array, cost: Cost) -> dict[str, float]:
    """Return Adam's learning rate for each block, for inputs like x (samples, inputs).

    A step of Adam moves every entry by about its rate, so a step of a coupling has spectral size rate *
    sqrt(entries): the rate c / sqrt(entries L_a L_b) makes it c relative to the slopes, with c = 0.2 / n for
    n <= 5 hidden layers, and 1 / n^2 for more; `step_norm` says what replaces sqrt(entries) for a
    convolution. If all entries move in one direction, a drive moves by the rate times the sum of all signals,
    which in wide layers is limited to 1.25 c h; for the input, by the rate times sum_i |x_i| over what a unit
    reads, which is c h. The taps of inner kernels are taken as incoherent. Couplings within a layer have half
    the rate. The rate of a bias is c h / 40;
    that of a layer with a cross-entropy is also divided by its logit scale.
    """
    units = _units(net)
    hidden = max(len(net.layers) - 2, 1)
    size = RATE / max(hidden, hidden**2 / DEEP)
    with np.errstate(over="ignore"):  # inputs near the largest number; the step says that they are too large
        mean = float(np.abs(np.asarray(x, dtype=np.float64)).mean()) or 1.0  # zeros have no size
    rates = {f"b{k}": size * unit.half_width / 40 for k, unit in enumerate(units[1:], start=1)}
    for term in terms_of(cost, net, "Trainer"):
        rates[f"b{term.position % len(units)}"] /= logit_scale(term.cost)
    blocks, layers = net.blocks, net.layers
    for i, coupling in _named(net):
        if isinstance(coupling, Identity):
            continue
        a, b = coupling.source, coupling.target
        if driven := driven_by_input(coupling):
            reads = input_reads(coupling, layers[0])
            rates[f"W{i}"] = size * units[driven].half_width / max(reads * mean, 1e-12)
        else:
            taps, channels = kernel_reads(coupling, layers[a])
            coherent = max(math.sqrt(taps) * channels * units[a].size / units[b].half_width, 1e-12)
            norm = step_norm(coupling, blocks[f"W{i}"].shape)
            spectral = norm * math.sqrt(units[a].slope * units[b].slope)
            rates[f"W{i}"] = (_WITHIN if a == b else 1.0) * size / max(spectral, coherent / 1.25)
        if f"B{i}" in blocks:
            rates[f"B{i}"] = rates[f"W{i}"]
    return rates


def centre_of(net: HopfieldNetwork, x: Array) -> Centre | None:
    """Return the resting signals for steps of Adam on inputs like x (samples, inputs).

    None for fewer than five hidden layers, in which centring brings nothing: the core then updates the
    parameters while it sums the gradient.
    """
    if not is_deep(net):
        return None
    couplings = tuple(
        CentredCoupling(i, c.source, c.target, tap_shares(c, net.layers[c.source]))
        for i, c in _named(net)
        if not isinstance(c, Identity)
    )
    mean = _channels_last(net, x).mean(axis=0).ravel().astype(net.dtype)
    positions = tuple(math.prod(layer.shape[1:]) for layer in net.layers)
    return Centre(mean, tuple(unit.signal for unit in _units(net)[1:]), positions, couplings)


def _channels_last(net: HopfieldNetwork, x: Array) -> _Floats:
    """Return inputs (samples, ..., channels) in the order of the units of the input layer."""
    images = np.asarray(x, dtype=np.float64).reshape(len(x), *net.input_shape)
    channel = 1 if net.image_format == "channels_first" or images.ndim == 2 else images.ndim - 1
    return np.moveaxis(images, channel, -1)


def is_deep(model: Model) -> bool:
    """Return True for a network with five or more hidden layers."""
    return isinstance(model, HopfieldNetwork) and len(model.layers) - 2 >= DEEP


def start(model: Model, optimizer: Optimizer, cost: Cost, x: Array) -> bool:
    """Give a fresh network start values for inputs x (samples, inputs), and an optimizer its "auto" rates.

    With automatic rates, the steps for a network of five or more hidden layers are centred. Rates that were
    computed for another network, before the first step of the optimizer, are replaced. Returns True if the
    rates are automatic.
    """
    network = model if isinstance(model, HopfieldNetwork) else None
    if network is not None and network.fresh_seed is not None:
        network.parameters[:] = start_values(network, x, network.fresh_seed)
    if not isinstance(optimizer, Adam) or not optimizer.needs_rates(model.parameters):
        return False
    rates = _OTHER_RATE if network is None else block_rates(network, x, cost)
    optimizer.set_automatic(rates, model.parameters)
    optimizer._centre = None if network is None else centre_of(network, x)
    return True
