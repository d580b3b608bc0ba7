"""Models and devices with planted faults, each with a word that the advice on it contains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equiprop as eq
import numpy as np
from equiprop import verify

Array = Any
Gradient = Callable[[Any, Array, Array], Array]


class Pair(eq.Energy):
    """|s|^2 / 2 - x W u - u V u / 2 with u = tanh(s) and a symmetric V; smooth, with complex states."""

    def __init__(self, seed: int = 5, inputs: int = 3, units: int = 4, outputs: int = 2) -> None:
        random = np.random.default_rng(seed)
        theta = 0.4 * random.normal(size=units * (inputs + units)) / np.sqrt(units / 4)
        super().__init__(units, outputs, theta, inputs)
        self.random, self.calls, self.last = random, 0, np.zeros((1, units))

    def parts(self, s: Array) -> tuple[Array, Array, Array]:
        at = self.num_inputs * self.num_units
        w = self.parameters[:at].reshape(self.num_inputs, self.num_units)
        v = self.parameters[at:].reshape(self.num_units, self.num_units)
        return self.response(s), w, (v + v.T) / 2

    def response(self, s: Array) -> Array:
        return np.tanh(s)

    def energy(self, x: Array, s: Array) -> Array:
        u, w, v = self.parts(s)
        return (s * s).sum(1) / 2 - (x @ w * u).sum(1) - (u @ v * u).sum(1) / 2

    def gradient(self, x: Array, s: Array) -> Array:
        u, w, v = self.parts(s)
        return s - (1 - np.tanh(s) ** 2) * (x @ w + u @ v)

    def parameter_gradient(self, x: Array, s: Array) -> Array:
        u, _, _ = self.parts(s)
        return np.concatenate([-(x.T @ u).ravel(), -(u.T @ u).ravel() / 2])


def single(values: Array) -> Array:
    return values.astype(np.complex64 if np.iscomplexobj(values) else np.float32).astype(values.dtype)


def half(values: Array) -> Array:
    rounded = values.real.astype(np.float16).astype(np.float64)
    return rounded.astype(values.dtype)  # a complex step is below the smallest number of half precision


def bits(values: Array) -> Array:
    """Round to 8 bits of mantissa, as bfloat16 does."""
    mantissa, exponent = np.frexp(values.real)
    return np.ldexp(np.round(mantissa * 256) / 256, exponent).astype(values.dtype)


def altered(method: str, change: Callable[[Pair, Array, Array, Array], Array]) -> Callable[[], Pair]:
    """Return a function that builds a `Pair` of which one method returns change(model, x, s, value)."""

    def changed(self: Pair, x: Array, s: Array) -> Array:
        return change(self, x, s, getattr(Pair, method)(self, x, s))

    return type("Altered", (Pair,), {method: changed})


def with_response(function: Callable[[Array], Array]) -> Callable[[], Pair]:
    return type("Responding", (Pair,), {"response": lambda self, s: function(np.tanh(s))})


def with_term(energy: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Callable[[], Pair]:
    """Return a function that builds a `Pair` with one more term in the energy."""

    class More(Pair):
        def energy(self, x: Array, s: Array) -> Array:
            return super().energy(x, s) + energy(s)

        def gradient(self, x: Array, s: Array) -> Array:
            return super().gradient(x, s) + slope(s)

    return More


def _drifting(model: Pair, x: Array, s: Array, value: Array) -> Array:
    model.calls += 1
    return value + 1e-7 * model.calls


def _in_place(model: Pair, x: Array, s: Array, _: Array) -> Array:
    s += 1e-3
    return Pair.gradient(model, x, s)


def _remembering(model: Pair, x: Array, s: Array, value: Array) -> Array:
    last, model.last = model.last, s.real.copy()
    return value + 1e-3 * (s - last) if last.shape == s.shape else value


def _by_differences(model: Pair, x: Array, s: Array, value: Array) -> Array:
    columns = [1e-5 * e for e in np.eye(s.shape[1])]
    return np.stack(
        [(Pair.energy(model, x, s + e) - Pair.energy(model, x, s - e)) / 2e-5 for e in columns], 1
    )


def _noise(size: float) -> Callable[[Pair, Array, Array, Array], Array]:
    return lambda m, x, s, value: value + size * m.random.standard_normal(value.shape)


def _dropout(model: Pair, x: Array, s: Array, value: Array) -> Array:
    return value * (model.random.random(value.shape) > 0.1)


#: name -> (function that builds the model, words of which the advice contains one)
MODELS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "noise 1e-3 in gradient": (altered("gradient", _noise(1e-3)), ("Noise inside gradient",)),
    "noise 1e-6 in gradient": (altered("gradient", _noise(1e-6)), ("Noise inside gradient",)),
    "noise 1e-9 in gradient": (altered("gradient", _noise(1e-9)), ("Noise inside gradient",)),
    "noise 1e-6 in energy": (altered("energy", _noise(1e-6)), ("Noise inside energy",)),
    "noise 1e-6 in parameter_gradient": (
        altered("parameter_gradient", _noise(1e-6)),
        ("Noise inside parameter_gradient",),
    ),
    "dropout": (altered("gradient", _dropout), ("Noise inside gradient",)),
    "counter": (altered("gradient", _drifting), ("Drift inside gradient",)),
    "state changed in place": (altered("gradient", _in_place), ("gradient changes s",)),
    "last state remembered": (altered("gradient", _remembering), ("Memory inside gradient",)),
    "float32 activations": (with_response(single), ("float32",)),
    "float32 gradient": (altered("gradient", lambda m, x, s, g: single(g)), ("float32",)),
    "float32 parameter_gradient": (
        altered("parameter_gradient", lambda m, x, s, g: single(g)),
        ("float32",),
    ),
    "float32 energy": (altered("energy", lambda m, x, s, e: single(e)), ("float32",)),
    "float16 activations": (with_response(half), ("float16",)),
    "bfloat16 activations": (with_response(bits), ("bfloat16",)),
    "cancellation": (altered("gradient", lambda m, x, s, g: (g + 1e5) - 1e5), ("Lost digits",)),
    "differences inside gradient": (altered("gradient", _by_differences), ("Lost digits",)),
    "kink of the energy": (
        with_term(
            lambda s: 0.3 * np.where(s.real > 0.1, s - 0.1, 0.1 - s).sum(1),
            lambda s: 0.3 * np.where(s.real > 0.1, 1, -1),
        ),
        ("gradient is not smooth: it jumps",),
    ),
    "mask in gradient": (
        altered("gradient", lambda m, x, s, g: np.where(s.real > 0.05, g, 1.2 * g)),
        ("gradient is not smooth: it jumps",),
    ),
    "threshold on a mean": (
        altered("gradient", lambda m, x, s, g: g + 0.2 * (s.real.mean(1, keepdims=True) > 0.02)),
        ("gradient is not smooth: it jumps",),
    ),
    "threshold in energy": (
        altered("energy", lambda m, x, s, e: e + 0.2 * s[:, 0] * (s.real.mean(1) > 0.02)),
        ("energy is not smooth: it jumps",),
    ),
    "rectifier in gradient": (
        altered("gradient", lambda m, x, s, g: g + 0.5 * np.where(s.real > 0.0, s, 0)),
        ("gradient is not smooth: it has a kink",),
    ),
    "rounded activations": (
        with_response(lambda u: np.round(u.real, 1) + (1j * u.imag if np.iscomplexobj(u) else 0)),
        ("it jumps", "coarse grid"),
    ),
    "batch normalisation": (with_response(lambda u: u - 0.3 * u.mean(0)), ("other samples of their batch",)),
    "maximum over the batch": (
        altered("gradient", lambda m, x, s, g: g / (1 + np.abs(s.real).max())),
        ("other samples of their batch",),
    ),
    "mean energy": (
        altered("energy", lambda m, x, s, e: np.repeat(e.mean(), len(e))),
        ("other samples of their batch",),
    ),
    "mean gradient": (
        altered("gradient", lambda m, x, s, g: g / len(g)),
        ("gradient: a mean over the batch",),
    ),
    "mean parameter_gradient": (
        altered("parameter_gradient", lambda m, x, s, g: g / len(s)),
        ("parameter_gradient: a mean over the batch",),
    ),
    "constant force": (
        altered("gradient", lambda m, x, s, g: g + 0.3),
        ("a constant force is missing or is added",),
    ),
    "asymmetric couplings": (
        altered("gradient", lambda m, x, s, g: g + 0.2 * np.roll(s, 1, axis=1) * [[1, 0, 0, 0]]),
        ("The Jacobian is not symmetric",),
    ),
    "gradient doubled": (altered("gradient", lambda m, x, s, g: 2 * g), ("is 2 times",)),
    "parameter_gradient of the wrong sign": (
        altered("parameter_gradient", lambda m, x, s, g: -g),
        ("parameter_gradient = dE/dtheta: block theta has the opposite sign",),
    ),
    "parameter_gradient missing": (
        altered("parameter_gradient", lambda m, x, s, g: 0 * g),
        ("parameter_gradient = dE/dtheta: block theta is missing",),
    ),
}


class Device:
    """A simulated device: gradient descent on the energy of a `Pair` and a nudge, with steps of 0.25."""

    steps = 300

    def __init__(self, fault: str = "", seed: int = 2, samples: int = 3) -> None:
        self.fault, self.model = fault, Pair(seed)
        self.random = np.random.default_rng(seed + 1000)
        self.x = self.random.uniform(-1, 1, (samples, 3))
        self.y = self.random.uniform(-1, 1, (samples, 2))
        self.calls, self.last = 0, np.zeros((samples, 4))

    @property
    def box(self) -> verify.BlackBox:
        theta = self.model.parameters.copy() if self.fault == "deaf" else self.model.parameters
        return verify.BlackBox(self.relax, self.contrast, theta, 2)

    def force(self, beta: float, k: int, o: Array, y: Array) -> Array:
        force = o - y
        match self.fault:
            case "nudge fades":
                return beta * force * np.exp(-k / 60)
            case "nudge ends":
                return beta * force * (k < 150)
            case "nudge averaged":
                return beta * force / len(y)
            case "nudge of outputs averaged":
                return beta * force / 4
            case "cost doubled":
                return 2 * beta * force
            case "wrong sign":
                return -beta * force
            case "one sign":
                return max(beta, 0.0) * force
            case "nudge limited":
                return np.sign(beta) * min(abs(beta), 0.01) * force
            case "nudge of fixed size":
                return 0.05 * np.sign(beta) * force
        return beta * force

    def relax(self, x: Array, beta: float, y: Array) -> Array:
        self.calls += 1
        kept = self.model.parameters.copy()
        if self.fault == "6-bit parameters":
            self.model.parameters[:] = np.round(kept * 32) / 32
        s = np.zeros((len(x), 4))
        if self.fault == "keeps its state" and self.last.shape == s.shape:
            s = self.last
        states = [s]
        for k in range(25 if self.fault in ("not at rest", "keeps its state") else self.steps):
            g = self.model.gradient(x, s)
            if self.fault == "coupled samples":
                g = g + 0.1 * np.roll(s, 1, axis=0)
            g[:, 2:] += self.force(beta, k, s[:, 2:], y)
            s = s - 0.25 * g
            s = single(s) if self.fault == "float32" else s
            states.append(s)
        self.model.parameters[:] = kept
        self.last = s
        path = np.array(states)
        if self.fault == "drift":
            path = path + 1e-5 * self.calls
        if self.fault == "noise":
            path = path + 1e-6 * self.random.standard_normal(path.shape)
        return path

    def contrast(self, x: Array, s: Array) -> Array:
        g = self.model.parameter_gradient(x, s)
        match self.fault:
            case "contrast averaged":
                return g / len(s)
            case "contrast of wrong sign":
                return g * np.where(np.arange(len(g)) < 12, -1, 1)
            case "noise of the contrast":
                return g + 1e-4 * self.random.standard_normal(g.shape)
        return g


#: name -> words of which the advice contains one
DEVICES: dict[str, tuple[str, ...]] = {
    "noise": ("Noise: two relaxations end",),
    "noise of the contrast": ("Noise: two contrasts are",),
    "drift": ("Drift: two relaxations end",),
    "keeps its state": ("Memory: two relaxations end",),
    "float32": ("float32",),
    "6-bit parameters": ("quantised",),
    "deaf": ("No parameter that was examined changes the cost",),
    "not at rest": ("had not reached a fixed point",),
    "nudge fades": ("The nudge fades and is not held",),
    "nudge ends": ("The nudge fades and is not held",),
    "nudge averaged": ("the response to the nudge: a mean over the batch",),
    "contrast averaged": ("contrast: a mean over the batch",),
    "nudge of outputs averaged": ("EqProp is 0.25 times the gradient",),
    "cost doubled": ("nudged by 2 times the given cost",),
    "wrong sign": ("Nudging does not lower the cost",),
    "one sign": ("does not act equally for both signs",),
    "nudge limited": ("not proportional to beta",),
    "nudge of fixed size": ("not proportional to beta",),
    "coupled samples": ("other samples of their batch",),
    "contrast of wrong sign": ("the sign is opposite for the parameters 0",),
}
