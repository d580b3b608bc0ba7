"""Functions of JAX for its tests, which are skipped where it is not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import inputs

jax: Any = pytest.importorskip("jax", reason="the extra 'jax' is not installed")
import equiprop.jax as eqj  # noqa: E402

SOLVER = eq.BlockUpdate(tolerance=1e-15)
RBP = eq.RecurrentBackpropagation(eq.ConjugateGradient(tolerance=1e-15))


@pytest.fixture
def double() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def layer(net: Any, **options: Any) -> Callable[..., Any]:
    return eqj.fixed_point_layer(net, **{"solver": SOLVER, "second_phase": RBP, **options})


def loss_of(apply: Callable[..., Any]) -> Callable[..., Any]:
    def loss(params: Any, x: Any, y: Any) -> Any:
        return ((apply(params, x) - y) ** 2).sum() / 2 / len(x)

    return loss


def same(a: Any, b: Any) -> bool:
    """Return whether two trees of arrays are equal, bit for bit."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(bool((p == q).all()) for p, q in pairs)


def close(a: Any, b: Any, accuracy: float = 1e-12) -> bool:
    """Return whether two trees of arrays agree relative to the largest entry of each array."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(bool(abs(p - q).max() <= accuracy * abs(q).max()) for p, q in pairs)


def sample(net: Any, batch: int = 4) -> tuple[Any, Any]:
    return inputs(net, batch), np.random.default_rng(5).normal(size=(batch, net.num_outputs))
