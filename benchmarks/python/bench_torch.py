"""Time of a TorchEnergy and of a FixedPointLayer, relative to PyTorch that is written by hand.

python benchmarks/python/bench_torch.py

The energy is that of 784-512-10 with tanh units and a quadratic potential, in double precision on one thread.
By hand, a relaxation is a loop of Euler steps with torch.autograd.grad. Each pair takes equally many steps.
The program prints medians of the ratios of processor times that were measured in turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import equiprop as eq
import numpy as np
import torch
from equiprop.torch import FixedPointLayer, TorchEnergy

INPUTS, HIDDEN, OUTPUTS, STEPS, RATE = 784, 512, 10, 30, 0.2


def energy(x: Any, s: Any, params: dict[str, Any]) -> Any:
    hidden, output = torch.tanh(s[:, :HIDDEN]), s[:, HIDDEN:]
    pull = ((x @ params["W1"] + params["b1"]) * hidden).sum(dim=1)
    return (s**2).sum(dim=1) / 2 - pull - ((hidden @ params["W2"] + params["b2"]) * output).sum(dim=1)


def parameters() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    sizes = {"W1": (INPUTS, HIDDEN), "b1": (HIDDEN,), "W2": (HIDDEN, OUTPUTS), "b2": (OUTPUTS,)}
    return {name: 0.03 * torch.randn(size, dtype=torch.float64) for name, size in sizes.items()}


def relax(x: Any, s: Any, params: dict[str, Any], force: Any = 0.0) -> Any:
    for _ in range(STEPS):
        s = s.detach().requires_grad_()
        s = s.detach() - RATE * (torch.autograd.grad(energy(x, s, params).sum(), s)[0] + force)
    return s


def eqprop(x: Any, s: Any, params: dict[str, Any], g: Any, beta: float = 0.1) -> list[Any]:
    """Centered EqProp with a constant force."""
    tensors = [p.requires_grad_() for p in params.values()]
    plus, minus = (relax(x, s, params, b * g) for b in (beta, -beta))
    contrast = (energy(x, plus, params) - energy(x, minus, params)).sum() / (2 * beta)
    return list(torch.autograd.grad(contrast, tensors))


def pairs(batch: int) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Return what is compared by name: with the library, and by hand."""
    params, random = parameters(), np.random.default_rng(0)
    x, y = random.uniform(size=(batch, INPUTS)), random.uniform(size=(batch, OUTPUTS))
    model = TorchEnergy(energy, HIDDEN + OUTPUTS, OUTPUTS, params, INPUTS)
    steps = eq.Euler(step_size=RATE, tolerance=0, max_iterations=STEPS)
    given, start = torch.from_numpy(x), torch.zeros(batch, HIDDEN + OUTPUTS, dtype=torch.float64)
    phase = eq.EquilibriumPropagation(eq.centered(0.1))
    layer = FixedPointLayer(model, phase, solver=steps)
    trainer = eq.Trainer(model, phase, eq.SGD(1e-9), solver=steps)
    g = torch.nn.functional.pad(torch.ones(batch, OUTPUTS, dtype=torch.float64), (HIDDEN, 0))

    def by_hand() -> Any:
        with torch.no_grad():
            fixed = dict(params)
        return eqprop(given, relax(given, start, fixed), fixed, g)

    return {
        "free phase, TorchEnergy": (
            lambda: eq.free_phase(model, x, solver=steps, on_failure="ignore"),
            lambda: relax(given, start, params),
        ),
        "training step, TorchEnergy": (lambda: trainer.step(x, y), by_hand),
        "forward and backward, FixedPointLayer": (lambda: layer(given).sum().backward(), by_hand),
    }


def ratio(mine: Callable[[], Any], theirs: Callable[[], Any], turns: int) -> tuple[float, float, float]:
    """Return the median ratio of times, and the median milliseconds of each."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns + 1):
        for call, spent in zip((mine, theirs), seconds, strict=True):
            start = time.process_time()
            call()
            spent.append(time.process_time() - start)
    a, b = (spent[1:] for spent in seconds)
    ratios = [one / other for one, other in zip(a, b, strict=True)]
    return statistics.median(ratios), 1e3 * statistics.median(a), 1e3 * statistics.median(b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 50, 200])
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    eq.set_num_threads(1)
    for batch in options.batches:
        for name, (mine, theirs) in pairs(batch).items():
            found, a, b = ratio(mine, theirs, options.turns)
            print(f"batch {batch:4}  {name:38} {a:8.2f} ms, by hand {b:8.2f} ms: {found:.2f}")


if __name__ == "__main__":
    main()
