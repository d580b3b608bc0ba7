"""Valid calls of the functions of JAX, for the table of bad inputs; none where JAX is not installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
from valid_parts import Call, X, construct


def single() -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork([3, 4, 2], seed=1)


def calls() -> dict[str, Callable[[Path], Call]]:
    if find_spec("jax") is None:
        return {}
    from equiprop import jax

    def outputs(**options: Any) -> Any:
        return np.asarray(jax.fixed_point_layer(**options)(single().blocks, X))

    def assigned(**arguments: Any) -> Any:
        jax.assign(**arguments)
        return arguments["network"].parameters

    return {
        "fixed_point_layer": construct(
            outputs,
            network=single(),
            second_phase=eq.RecurrentBackpropagation(),
            solver=eq.BlockUpdate(),
            on_failure="nan",
        ),
        "parameters_of": construct(jax.parameters_of, network=single()),
        "assign": lambda _: (assigned, {"network": single(), "params": np.arange(26.0)}),
        "assign of blocks": lambda _: (assigned, {"network": single(), "params": dict(single().blocks)}),
    }
