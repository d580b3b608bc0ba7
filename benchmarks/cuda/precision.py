"""Print errors of the options of precision of a network on a CUDA device, relative to "exact".

python benchmarks/cuda/precision.py [FOLDER]

FOLDER holds the package equiprop_cuda: that on the emulated device by default, or that of a build with CUDA.
The gradient is that of centered Equilibrium Propagation after 12 sweeps of each phase, on uniform random
inputs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np

EMULATED = Path(__file__).parents[2] / "build" / "cpp" / "tests" / "cuda" / "python"
NETWORKS: tuple[tuple[list[int], int], ...] = (([784, 512, 10], 50), ([97, 150, 61, 10], 21))
PRECISIONS = ("tf32", "3xtf32", "bf16")


def gradients(sizes: list[int], batch: int, precision: str) -> tuple[Any, Any]:
    """Return free states and gradient of one mini-batch."""
    random = np.random.default_rng(0)
    x, y = random.random((batch, sizes[0])), random.integers(0, sizes[-1], batch)
    net = eq.HopfieldNetwork(sizes, seed=1).to("cuda", precision=precision)
    sweeps = eq.BlockUpdate(tolerance=0, max_iterations=12)
    free = eq.free_phase(net, x, solver=sweeps, on_failure="ignore")
    gradient = eq.equilibrium_propagation(net, free, y, nudging=eq.centered(0.25), on_failure="ignore")
    return free.state.astype(np.float64), {
        name: block.astype(np.float64) for name, block in gradient.blocks.items()
    }


def relative(value: Any, exact: Any) -> float:
    """Return the Euclidean norm of a difference, relative to that of the exact value."""
    return float(np.linalg.norm(value - exact) / np.linalg.norm(exact))


def main(folder: Path) -> None:
    """Print one table for each network."""
    sys.path.insert(0, str(folder.absolute()))
    for sizes, batch in NETWORKS:
        state, exact = gradients(sizes, batch, "exact")
        print("-".join(map(str, sizes)), f"batch {batch}: relative errors of free states and of gradients")
        print(" " * 8 + "".join(f"{name:>10s}" for name in ("states", *exact)))
        for precision in PRECISIONS:
            of_state, found = gradients(sizes, batch, precision)
            errors = [relative(of_state, state), *(relative(found[k], exact[k]) for k in exact)]
            print(f"{precision:8s}" + "".join(f"{error:10.1e}" for error in errors))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else EMULATED)
