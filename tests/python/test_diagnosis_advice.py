"""The advice of a diagnosis, and of nudged phases near a loss of stability, cures what it names."""

from __future__ import annotations

import re
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Status, verify
from networks import chain, inputs, labels, scaled_down


def advice(free: eq.FixedPoint, words: str) -> re.Match[str]:
    """Return the match of the sentence of a diagnosis that contains `words`, a pattern."""
    found = [match for text in verify.diagnose(free).advice if (match := re.search(words, text))]
    assert len(found) == 1, verify.diagnose(free).advice
    return found[0]


def again(free: eq.FixedPoint, solver: Any, model: Any = None) -> eq.FixedPoint:
    return eq.free_phase(model or free.model, free.x, solver=solver, on_failure="ignore")


def test_the_advised_step_size_is_stable() -> None:
    net = chain(4, 8, 3, potential="quadratic")
    free = eq.free_phase(net, inputs(net), solver=eq.Euler(step_size=3.0), on_failure="ignore")
    step = float(advice(free, r"is not stable: .* Use step_size=(\S+)\.").group(1))
    assert again(free, eq.Euler(step_size=step)).converged


def test_the_advised_number_of_steps_is_enough() -> None:
    net = chain(4, 8, 3, potential="quadratic")
    slow = eq.Euler(step_size=0.1, max_iterations=100, tolerance=1e-9)
    free = eq.free_phase(net, inputs(net), solver=slow, on_failure="ignore")
    more = int(advice(free, r"about (\d+) more steps are needed: raise max_iterations\.").group(1))
    assert (
        again(free, eq.Euler(step_size=0.1, max_iterations=100 + more // 2, tolerance=1e-9)).converged
        is False
    )
    assert again(free, eq.Euler(step_size=0.1, max_iterations=110 + more, tolerance=1e-9)).converged


@pytest.mark.parametrize(
    ("potential", "solver"),
    [
        ("legendre", eq.Euler(step_size=2.5)),
        ("legendre", eq.BlockUpdate(max_iterations=5)),
        ("quadratic", eq.FixedPointIteration()),
    ],
)
def test_the_advised_solver_converges(potential: str, solver: Any) -> None:
    net = eq.HopfieldNetwork([4, 8, 3], activation="tanh", potential=potential, dtype="float64", gain=1.5)
    free = eq.free_phase(net, inputs(net), solver=solver, on_failure="ignore")
    found = advice(free, r"approach a fixed point: use (?:(\w+)\((.*)\)|(\w+=\d+)), or more steps\.")
    options = dict(part.split("=") for part in (found.group(2) or found.group(3)).split(", "))
    advised = getattr(eq, found.group(1) or type(solver).__name__)(
        **{name: int(text) if text.isdigit() else float(text) for name, text in options.items()}
    )
    assert again(free, advised).converged


def test_smaller_weights_cure_a_network_without_a_fixed_point() -> None:
    net = eq.HopfieldNetwork([4, 8, 3], activation="relu", dtype="float64", gain=2.0)
    free = eq.free_phase(net, inputs(net), solver=eq.BlockUpdate(), on_failure="ignore")
    advice(free, r"no solver that was tried converges: scale the weights down\.")
    cured = again(free, eq.BlockUpdate(), scaled_down(net))
    assert cured.converged
    assert verify.diagnose(cured).advice == ()


def test_symmetrize_and_tied_weights_cure_asymmetric_couplings() -> None:
    net = chain(4, 8, 3).variant(feedback="separate")
    net.blocks["B2"][...] += 0.2 * np.random.default_rng(1).normal(size=net.blocks["B2"].shape)
    x, y = inputs(net), labels(net)
    solver = eq.FixedPointIteration(damping=0.2, tolerance=1e-12, max_iterations=5000)
    free = eq.free_phase(net, x, solver=solver)
    advice(free, r"The Jacobian is not symmetric: .* Use symmetrize=True, .* or tie the weights\.")
    linear = eq.GMRES(tolerance=1e-12)
    exact = eq.recurrent_backpropagation(net, free, y, linear_solver=linear).parameters

    def error(**options: Any) -> float:
        found = eq.equilibrium_propagation(net, free, y, nudging=eq.centered(1e-3), **options).parameters
        return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))

    assert error() > 0.01
    assert error(symmetrize=True) < 1e-4
    tied = net.variant(feedback="tied")
    assert verify.diagnose(eq.free_phase(tied, x)).advice == ()


class Scaled(eq.VectorField):
    """Velocity f_i (W rho(s) - s + x)_i; with rho = tanh a gradient of an energy needs f = rho'(s)."""

    factor = staticmethod(np.ones_like)

    def velocity(self, x: Any, s: Any) -> Any:
        w = np.array([[0.0, 0.4], [0.4, 0.0]])
        return self.factor(s) * (np.tanh(s) @ w + x) - s


def test_a_diagonal_factor_that_is_missing_is_named_and_adding_it_cures() -> None:
    x = np.array([[0.5, -1.0]])
    solver = eq.Euler(step_size=0.2, tolerance=1e-12, max_iterations=5000)
    free = eq.free_phase(Scaled(2, 1), x, solver=solver)
    advice(free, r"a diagonal factor is missing or in the wrong place, such as rho'\(s_i\) in ds_i/dt = ")
    mended = Scaled(2, 1)
    mended.factor = lambda s: 1 - np.tanh(s) ** 2  # type: ignore[method-assign]
    assert verify.diagnose(again(free, solver, mended)).advice == ()


def test_another_bias_and_a_smooth_activation_cure_a_kink() -> None:
    net = eq.HopfieldNetwork([1, 2, 1], activation="hard_sigmoid", dtype="float64")
    net.parameters[:] = 0
    net.blocks["b1"][:] = [1.0, 0.5]
    free = eq.free_phase(net, [[0.3]])
    advice(free, r"change the biases slightly, or use a smooth activation\.")
    smooth = eq.HopfieldNetwork([1, 2, 1], activation="steep_sigmoid", dtype="float64")
    smooth.parameters[:] = net.parameters
    net.blocks["b1"][0] = 1.001
    assert verify.diagnose(eq.free_phase(net, [[0.3]])).advice == ()
    assert verify.diagnose(eq.free_phase(smooth, [[0.3]])).advice == ()


def test_nudged_phases_near_a_loss_of_stability_are_cured_as_advised() -> None:
    net = eq.HopfieldNetwork([4, 8, 3], activation="linear", gain=0.5)
    net.blocks["W2"][...] *= 0.999 / np.linalg.norm(net.blocks["W2"], 2)
    x, y = inputs(net, 10).astype(np.float32), labels(net, 10)

    def nudged(model: Any, steps: int) -> eq.Gradient:
        free = eq.free_phase(model, x, solver=eq.BlockUpdate(max_iterations=50_000), on_failure="ignore")
        solver, nudging = eq.BlockUpdate(tolerance=0.05, max_iterations=steps), eq.one_sided(0.5)
        return eq.equilibrium_propagation(model, free, y, nudging=nudging, solver=solver, on_failure="ignore")

    failed = nudged(net, 20)
    assert (failed.status == Status.INACCURATE).any()
    (sentence,) = failed.advice
    assert "Raise max_iterations (20). If that does not help, " in sentence
    assert sentence.endswith("or scale the weights down.")
    assert nudged(net, 2000).converged
    assert nudged(scaled_down(net), 20).converged
