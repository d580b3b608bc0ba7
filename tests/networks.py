"""Networks for tests, and an independent NumPy implementation of the Hopfield energy as their oracle."""

from __future__ import annotations

import equiprop as eq
import numpy as np
from equiprop import Dataset, Dense, Layer

SMOOTH = ["tanh", "sigmoid", "steep_sigmoid", "softplus"]
CLIPPED = ["hard_sigmoid", "half_hard_sigmoid", "relu", "linear"]
POTENTIALS = ["legendre", "quadratic"]


def randomize(net: eq.HopfieldNetwork, seed: int) -> eq.HopfieldNetwork:
    """Give the biases random values, too."""
    random = np.random.default_rng(seed)
    for name, block in net.blocks.items():
        if name.startswith("b"):
            block[...] = random.uniform(-0.3, 0.7, block.shape)
    return net


def chain(
    *sizes: int,
    activation: str | list[str] = "tanh",
    output: str = "linear",
    potential: str = "legendre",
    seed: int = 0,
    dtype: str = "float64",
) -> eq.HopfieldNetwork:
    net = eq.HopfieldNetwork(
        sizes or (4, 6, 3),
        activation=activation,
        output_activation=output,
        potential=potential,
        seed=seed,
        dtype=dtype,
        gain=0.35,
    )
    return randomize(net, seed)


def skip(
    activation: str = "tanh", potential: str = "legendre", seed: int = 0, dtype: str = "float64"
) -> eq.HopfieldNetwork:
    """The chain 0-1-2-3 with two more couplings, 3-1 and 2-0, whose source is above their target."""
    net = eq.HopfieldNetwork(
        layers=[Layer(4), Layer(6, activation, "first"), Layer(5, "sigmoid"), Layer(3, "linear")],
        couplings=[Dense(0, 1), Dense(1, 2), Dense(2, 3), Dense(3, 1), Dense(2, 0)],
        potential=potential,
        seed=seed,
        dtype=dtype,
    )
    return randomize(net, seed)


def small_net(
    activation: str = "tanh", potential: str = "legendre", gain: float = 0.5, dtype: str = "float64"
) -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork([4, 8, 3], activation=activation, potential=potential, gain=gain, dtype=dtype)


def scaled_down(net: eq.HopfieldNetwork, factor: float = 0.25) -> eq.HopfieldNetwork:
    smaller = net.astype(net.dtype)
    smaller.parameters[:] *= factor
    return smaller


def inputs(net: eq.HopfieldNetwork, batch: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(1000 + seed).uniform(0, 1, (batch, net.num_inputs))


def labels(net: eq.HopfieldNetwork, batch: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(2000 + seed).integers(0, net.num_outputs, batch)


def blobs(samples: int = 260, seed: int = 0) -> Dataset:
    """Three noisy classes in four dimensions."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, samples)
    centres = np.array([[1.0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0]])
    return Dataset(centres[labels] + random.normal(0, 0.3, (samples, 4)), labels)


class Oracle:
    """E, dE/ds and all derived quantities, by complex steps, dense solves and many damped iterations."""

    def __init__(self, net: eq.HopfieldNetwork) -> None:
        self.sizes = [layer.units for layer in net.layers]
        self.rho = [eq.activation(layer.activation) for layer in net.layers]
        self.edges = [(min(c.source, c.target), max(c.source, c.target)) for c in net.couplings]
        # The shape of a weight matrix is (source, target), except that the input is always the source.
        self.flipped = [c.source > c.target and c.target != 0 for c in net.couplings]
        self.legendre = net.potential == "legendre"
        self.theta = net.parameters.astype(np.float64)

    def unpack(self, theta: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        weights, at = [], 0
        for (a, b), flipped in zip(self.edges, self.flipped, strict=True):
            shape = (self.sizes[b], self.sizes[a]) if flipped else (self.sizes[a], self.sizes[b])
            block = theta[at : at + shape[0] * shape[1]].reshape(shape)
            weights.append(block.T if flipped else block)
            at += block.size
        biases = [np.zeros(0)]
        for n in self.sizes[1:]:
            biases.append(theta[at : at + n])
            at += n
        assert at == len(theta)
        return weights, biases

    def layers(self, s: np.ndarray) -> list[np.ndarray]:
        return np.split(s, np.cumsum(self.sizes[1:-1]), axis=1)

    def signal(self, k: int, s: np.ndarray) -> np.ndarray:
        """u of a layer; for a clip, u is linear because the states are clipped to its bounds."""
        rho = self.rho[k]
        if self.legendre:
            return s
        return rho.gain * s if rho.kind == "clip" else response(rho, s)

    def leak(self, k: int, s: np.ndarray) -> np.ndarray:
        rho = self.rho[k]
        if not self.legendre:
            return s**2 / 2
        if rho.kind == "clip":
            return s**2 / (2 * rho.gain)
        if rho.kind == "tanh":
            return s * np.arctanh(s) + np.log(1 - s**2) / 2
        if rho.kind == "softplus":
            return softplus_leak(s)
        return (s * np.log(s) + (1 - s) * np.log(1 - s)) / rho.gain + rho.shift * s

    def energy(self, x: np.ndarray, s: np.ndarray, theta: np.ndarray | None = None) -> np.ndarray:
        weights, biases = self.unpack(self.theta if theta is None else theta)
        states = [x, *self.layers(s)]
        u = [x] + [self.signal(k, states[k]) for k in range(1, len(states))]
        total = sum(self.leak(k, states[k]).sum(axis=1) for k in range(1, len(states)))
        for (a, b), w in zip(self.edges, weights, strict=True):
            total = total - np.einsum("na,ab,nb->n", u[a], w, u[b])
        return total - sum(u[k] @ biases[k] for k in range(1, len(states)))

    def drives(self, x: np.ndarray, s: np.ndarray, theta: np.ndarray | None = None) -> list[np.ndarray]:
        weights, biases = self.unpack(self.theta if theta is None else theta)
        u = [x] + [self.signal(k, part) for k, part in enumerate(self.layers(s), start=1)]
        p = [np.zeros(0)] + [biases[k] + np.zeros_like(u[k]) for k in range(1, len(u))]
        for (a, b), w in zip(self.edges, weights, strict=True):
            p[b] = p[b] + u[a] @ w
            if a > 0:
                p[a] = p[a] + u[b] @ w.T
        return p[1:]

    def gradient(self, x: np.ndarray, s: np.ndarray, theta: np.ndarray | None = None) -> np.ndarray:
        """dE/ds = leak'(s) - u'(s) p."""
        parts = []
        for k, (part, p) in enumerate(zip(self.layers(s), self.drives(x, s, theta), strict=True), start=1):
            rho = self.rho[k]
            if not self.legendre:
                slope = rho.gain if rho.kind == "clip" else slope_of(rho, part)
                parts.append(part - slope * p)
            elif rho.kind == "clip":
                parts.append(part / rho.gain - p)
            elif rho.kind == "tanh":
                parts.append(np.arctanh(part) - p)
            elif rho.kind == "softplus":
                parts.append(np.log(np.exp(part) - 1) - p)
            else:
                parts.append(np.log(part / (1 - part)) / rho.gain + rho.shift - p)
        return np.concatenate(parts, axis=1)

    def box(self, k: int) -> tuple[float, float]:
        rho = self.rho[k]
        if rho.kind != "clip":
            return -np.inf, np.inf
        divisor = 1.0 if self.legendre else rho.gain
        return rho.lower / divisor, rho.upper / divisor

    def image(self, x: np.ndarray, s: np.ndarray, nudge: np.ndarray | float = 0.0) -> np.ndarray:
        """T(s) with `nudge` = beta dC/ds: rho(p - nudge), or s - dE/ds - nudge, clipped to the bounds."""
        pull = np.broadcast_to(nudge, s.shape)
        parts = []
        rows = zip(self.layers(s), self.drives(x, s), self.layers(pull), strict=True)
        for k, (part, p, f) in enumerate(rows, start=1):
            rho = self.rho[k]
            if self.legendre:
                parts.append(response(rho, p - f))
            else:
                slope = rho.gain if rho.kind == "clip" else slope_of(rho, part)
                parts.append(np.clip(slope * p - f, *self.box(k)))
        return np.concatenate(parts, axis=1)

    def relax(
        self,
        x: np.ndarray,
        y: np.ndarray | None = None,
        beta: float = 0.0,
        cost: str = "squared",
        steps: int = 3000,
    ) -> np.ndarray:
        """The fixed point of E + beta C, by damped iteration from a state within all bounds."""
        s = np.full((len(x), sum(self.sizes[1:])), 0.4)
        image = s
        for _ in range(steps):
            image = self.image(x, s, 0.0 if y is None else beta * self.force(s, y, cost))
            done = np.abs(image - s).max() < 1e-15
            s = 0.5 * s + 0.5 * image
            if done:
                break
        return image  # the damped state approaches a bound, and its image is exactly at the bound

    def cost(self, s: np.ndarray, y: np.ndarray, cost: str = "squared") -> np.ndarray:
        o = s[:, -self.sizes[-1] :]
        if cost == "squared":
            return ((o - y) ** 2).sum(axis=1) / 2
        return np.log(np.exp(o).sum(axis=1)) - (y * o).sum(axis=1)

    def force(self, s: np.ndarray, y: np.ndarray, cost: str = "squared") -> np.ndarray:
        """dC/ds for targets that sum to one."""
        o = s[:, -self.sizes[-1] :]
        guess = o if cost == "squared" else np.exp(o) / np.exp(o).sum(axis=1, keepdims=True)
        out = np.zeros_like(s)
        out[:, -self.sizes[-1] :] = guess - y
        return out

    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        """dE/dtheta summed over the batch; E is linear in theta."""
        zero = self.energy(x, s, 0 * self.theta)
        return np.array([(self.energy(x, s, e) - zero).sum() for e in np.eye(len(self.theta))])

    def equilibrium_propagation(
        self, x: np.ndarray, y: np.ndarray, nodes: list[tuple[float, float]], cost: str = "squared"
    ) -> np.ndarray:
        """sum_k w_k dE/dtheta(s^{beta_k}), averaged over the batch."""
        return sum(w * self.parameter_gradient(x, self.relax(x, y, b, cost)) for b, w in nodes) / len(x)

    def implicit(
        self, x: np.ndarray, y: np.ndarray, cost: str = "squared"
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """(dJ/dtheta, dJ/dx, J) by the implicit function theorem on the units that no bound holds."""
        s, h = self.relax(x), 1e-100
        low, high = (
            np.concatenate([np.full(self.sizes[k], self.box(k)[i]) for k in self.free]) for i in (0, 1)
        )
        by_theta, by_x = np.zeros(len(self.theta)), np.zeros_like(x)
        for j in range(len(x)):
            xj, sj = x[j : j + 1], s[j : j + 1]
            loose = np.flatnonzero((sj[0] > low) & (sj[0] < high))
            columns = [self.gradient(xj, sj + 1j * h * e[None]).imag[0] / h for e in np.eye(s.shape[1])]
            hessian = np.stack(columns, axis=1)[np.ix_(loose, loose)]
            adjoint = np.linalg.solve(hessian, self.force(sj, y[j : j + 1], cost)[0, loose])
            for i, e in enumerate(np.eye(len(self.theta))):
                mixed = self.gradient(xj, sj + 0j, self.theta + 1j * h * e).imag[0] / h
                by_theta[i] -= adjoint @ mixed[loose] / len(x)
            for i, e in enumerate(np.eye(x.shape[1])):
                mixed = self.gradient(xj + 1j * h * e, sj + 0j).imag[0] / h
                by_x[j, i] = -(adjoint @ mixed[loose]) / len(x)
        return by_theta, by_x, float(self.cost(s, y, cost).mean())

    @property
    def free(self) -> range:
        return range(1, len(self.sizes))


def response(rho: eq.Activation, p: np.ndarray) -> np.ndarray:
    if rho.kind == "tanh":
        return np.tanh(p)
    if rho.kind == "logistic":
        return 1 / (1 + np.exp(-rho.gain * (p - rho.shift)))
    if rho.kind == "softplus":
        return np.log(1 + np.exp(p))
    return np.clip(rho.gain * p, rho.lower, rho.upper)


def slope_of(rho: eq.Activation, s: np.ndarray) -> np.ndarray:
    """rho' of a smooth activation."""
    r = response(rho, s)
    if rho.kind == "softplus":
        return 1 / (1 + np.exp(-s))
    return 1 - r**2 if rho.kind == "tanh" else rho.gain * r * (1 - r)


def softplus_leak(s: np.ndarray) -> np.ndarray:
    """The Legendre potential of softplus: pi^2 / 6 plus the integral of log(exp(t) - 1) from 0 to s.

    log(exp(t) - 1) = log t + log((exp(t) - 1) / t). The first term is integrated in closed form, the second
    one, which has no singularity, by Gauss-Legendre quadrature.
    """
    nodes, weights = np.polynomial.legendre.leggauss(40)
    total = s * np.log(s) - s + np.pi**2 / 6
    for node, weight in zip(nodes, weights, strict=True):
        t = s * (node + 1) / 2
        total = total + s / 2 * weight * np.log((np.exp(t) - 1) / t)
    return total


class Valley(eq.Energy):
    """A convex, smooth energy that is not a Hopfield energy: E = |s|^2/2 + sum s^4/4 + (a.s)^2/2 - s.Bx."""

    def __init__(self, units: int = 3, outputs: int = 2, inputs: int = 2, seed: int = 0) -> None:
        theta = 0.4 * np.random.default_rng(seed).normal(size=units * (1 + inputs))
        super().__init__(units, outputs, theta)

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        a, b = self.parameters[: self.num_units], self.matrix
        return (s**2 / 2 + s**4 / 4 - s * (x @ b.T)).sum(axis=1) + (s @ a) ** 2 / 2

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        a, b = self.parameters[: self.num_units], self.matrix
        return s + s**3 + np.outer(s @ a, a) - x @ b.T

    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        a = self.parameters[: self.num_units]
        return np.concatenate([(s @ a) @ s, -(s.T @ x).ravel()])

    @property
    def matrix(self) -> np.ndarray:
        return self.parameters[self.num_units :].reshape(self.num_units, -1)


class TanhHopfield(eq.Energy):
    """E = |s|^2 / 2 - r W r / 2 - x U r with r = tanh(s), without a derivative by the parameters."""

    def __init__(self, units: int = 24) -> None:
        random = np.random.default_rng(0)
        weights = 0.3 / np.sqrt(units) * random.normal(size=(units, units))
        drive = 0.3 * random.normal(size=(units, 10))
        super().__init__(units, 10, np.concatenate([weights.ravel(), drive.ravel()]), num_inputs=10)

    @property
    def block_slices(self) -> dict[str, slice]:
        at = self.num_units**2
        return {"W": slice(0, at), "U": slice(at, at + 10 * self.num_units)}

    @property
    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        weights, drive = self.blocks.values()
        return weights.reshape(self.num_units, -1), drive.reshape(self.num_units, -1)

    def block_views(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        return {name: flat[at] for name, at in self.block_slices.items()}

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        weights, drive = self.matrices
        r = np.tanh(s)
        return (s**2 / 2 - (r @ weights) * r / 2 - (x @ drive.T) * r).sum(axis=1)

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        weights, drive = self.matrices
        r = np.tanh(s)
        return s - (1 - r**2) * ((r @ weights + r @ weights.T) / 2 + x @ drive.T)
