"""Processor time of `eq.verify.certify` with its defaults for a dense energy in NumPy.

OMP_NUM_THREADS=1 python benchmarks/python/bench_certify.py --units 1000

The energy is |s|^2 / 2 - u' V u / 2 - x' W u with u = tanh(s), and all pairs of units are coupled. One
evaluation of its gradient takes two products with V; the time of one such product is measured too.
"""

from __future__ import annotations

import argparse
import time

import equiprop as eq
import numpy as np

INPUTS, OUTPUTS, SAMPLES = 50, 10, 3


class Dense(eq.Energy):
    """A dense energy with its gradients by states and parameters."""

    def couplings(self) -> tuple[np.ndarray, np.ndarray]:
        """Return W (inputs, units) and V (units, units)."""
        size = INPUTS * self.num_units
        w, v = self.parameters[:size], self.parameters[size:]
        return w.reshape(INPUTS, self.num_units), v.reshape(self.num_units, self.num_units)

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Return E (batch,)."""
        (w, v), u = self.couplings(), np.tanh(s)
        return (s * s).sum(1) / 2 - (x @ w * u).sum(1) - (u @ v * u).sum(1) / 2

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Return dE/ds (batch, units)."""
        (w, v), u = self.couplings(), np.tanh(s)
        return s - (1 - u**2) * (x @ w + (u @ v + u @ v.T) / 2)

    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Return dE/dtheta (parameters,), summed over the batch."""
        u = np.tanh(s)
        return np.concatenate([-(x.T @ u).ravel(), -(u.T @ u).ravel() / 2])


def seconds_of_product(v: np.ndarray, repeats: int = 200) -> float:
    """Return the processor time of one product (samples, units) with (units, units)."""
    u = np.ones((SAMPLES, len(v)))
    begin = time.process_time()
    for _ in range(repeats):
        u @ v
    return (time.process_time() - begin) / repeats


def main() -> None:
    """Print the processor time of a certificate, and the number of products that would take as long."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=1000)
    units = parser.parse_args().units
    random = np.random.default_rng(0)
    weights = 0.2 * random.normal(size=INPUTS * units), 0.3 / np.sqrt(units) * random.normal(size=units**2)
    model = Dense(units, OUTPUTS, np.concatenate(weights), INPUTS)
    x, y = random.normal(size=(SAMPLES, INPUTS)), random.normal(size=(SAMPLES, OUTPUTS))
    begin = time.process_time()
    certificate = eq.verify.certify(model, x, y)
    seconds, product = time.process_time() - begin, seconds_of_product(model.couplings()[1])
    products = f"{seconds / product:.0f} products of {product:.1e} s"
    print(f"{units} units: {seconds:.0f} s of processor time, {products}")
    print("passed" if certificate.passed else certificate)


if __name__ == "__main__":
    main()
