"""Networks of images against PyTorch's automatic differentiation of their energy, in double precision."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from image_networks import Oracle, random_network  # noqa: E402  (it imports torch)

KINDS = ("convolution", "max", "soft", "within", "to input")
#: Rounding errors of sums of up to a thousand products.
ROUNDING = 1e-12


def tensor(array: Any) -> Any:
    """Return a tensor by which derivatives are taken."""
    return torch.tensor(array, dtype=torch.float64, requires_grad=True)


def assert_close(actual: Any, expected: Any, what: str, tolerance: float = ROUNDING) -> None:
    """Assert that two arrays agree relative to their largest entry."""
    actual = np.asarray(actual)
    expected = expected.detach().numpy() if hasattr(expected, "detach") else np.asarray(expected)
    assert np.abs(actual - expected).max() <= tolerance * (1 + np.abs(expected).max()), what


def random_case(kind: str, seed: int, **options: Any) -> tuple[eq.HopfieldNetwork, np.random.Generator]:
    """Return a random network with random parameters of every block."""
    rng = np.random.default_rng(seed)
    net = random_network(
        rng, kind, seed=seed, image_format=("channels_first", "channels_last")[seed % 2], **options
    )
    net.parameters[:] = 0.3 * rng.standard_normal(net.num_parameters)
    return net, rng


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_energy_and_all_derivatives(kind: str, seed: int) -> None:
    """E, its first derivatives and its products with second derivatives are those of autograd."""
    net, rng = random_case(kind, seed)
    x, s, v = (rng.standard_normal((3, n)) for n in (net.num_inputs, net.num_units, net.num_units))
    theta, inputs, state = tensor(net.parameters), tensor(x), tensor(s)
    energy = Oracle(net).energy(theta, inputs, state)
    by_state, by_input, by_theta = torch.autograd.grad(
        energy.sum(), [state, inputs, theta], create_graph=True
    )
    second = torch.autograd.grad((by_state * torch.tensor(v)).sum(), [state, inputs, theta])
    clamped = net.clamp(x)
    assert_close(clamped.energy(s), energy, "E")
    assert_close(clamped.gradient(s), by_state, "dE/ds")
    assert_close(clamped.input_gradient(s), by_input, "dE/dx")
    assert_close(clamped.parameter_gradient(s), by_theta, "dE/dtheta")
    assert_close(clamped.hessian_vector_product(s, v), second[0], "H v")
    assert_close(clamped.transposed_hessian_vector_product(s, v), second[0], "H^T v")
    assert_close(clamped.mixed_input_product(s, v), second[1], "d/dx <v, dE/ds>")
    assert_close(clamped.mixed_derivative_product(s, v), second[2], "d/dtheta <v, dE/ds>")


def implicit_gradients(net: eq.HopfieldNetwork, x: Any, force: Any, s_star: Any) -> tuple[Any, Any]:
    """Return dJ/dtheta and dJ/dx for dC/ds = force, by the Hessian of autograd on the free units."""
    oracle, outputs = Oracle(net), net.num_outputs
    total, inputs = np.zeros(net.num_parameters), np.zeros_like(x)
    for j in range(len(x)):
        theta, one, state = tensor(net.parameters), tensor(x[j : j + 1]), tensor(s_star[j])

        def energy(s: Any, theta: Any = theta, one: Any = one) -> Any:
            return oracle.energy(theta, one, s[None]).sum()

        free = np.ones(net.num_units, dtype=bool)
        if net.potential == "legendre":
            free[:-outputs] = (s_star[j, :-outputs] > 0) & (s_star[j, :-outputs] < 1)
        hessian = torch.autograd.functional.hessian(energy, state).numpy()
        adjoint = np.zeros(net.num_units)
        adjoint[free] = np.linalg.solve(hessian[np.ix_(free, free)], force[j, free])
        (slope,) = torch.autograd.grad(energy(state), state, create_graph=True)
        by_theta, by_input = torch.autograd.grad((slope * torch.tensor(adjoint)).sum(), [theta, one])
        total -= by_theta.numpy() / len(x)
        inputs[j] = -by_input.numpy()[0] / len(x)
    return total, inputs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("potential", "activation"), [("legendre", "hard_sigmoid"), ("quadratic", "tanh")])
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_equal_implicit_differentiation(
    kind: str, potential: str, activation: str, seed: int
) -> None:
    """RBP and the exact limit of EqProp are -dC/ds H^-1 d2E/dtheta ds, with the Hessian of autograd."""
    net, rng = random_case(kind, seed, activation=activation, potential=potential, size=6)
    net.parameters[:] *= 0.3
    x, y = rng.random((2, net.num_inputs)), rng.random((2, 3))
    solver = eq.BlockUpdate(tolerance=1e-14, max_iterations=20000)
    free = eq.free_phase(net, x, solver=solver, on_failure="ignore")  # 1e-14 may be below the rounding error
    part = next(iter(net.layer_slices.values()))  # the first hidden layer, which has a cost, too
    goal = rng.random((2, part.stop - part.start))
    both = eq.LayerCosts({1: eq.SquaredError(), -1: eq.SquaredError()}, {1: 0.3}, {1: lambda y: goal})
    force = np.zeros_like(free.state)
    force[:, -3:] = free.outputs - y
    more = force.copy()
    more[:, part] += 0.3 * (free.state[:, part] - goal)
    for cost, slope in ((eq.SquaredError(), force), (both, more)):
        theta, inputs = implicit_gradients(net, x, slope, free.state)
        rbp = eq.recurrent_backpropagation(
            net, free, y, cost=cost, linear_solver=eq.GMRES(tolerance=1e-13), on_failure="ignore"
        )
        limit = eq.equilibrium_propagation(
            net, free, y, cost=cost, nudging=eq.exact_limit(), on_failure="ignore"
        )
        for gradient in (rbp, limit):
            assert_close(gradient.parameters, theta, "dJ/dtheta", 1e-10)
            assert_close(gradient.inputs, inputs, "dJ/dx", 1e-10)


class Unrolled:
    """Projected gradient steps of a network in PyTorch."""

    def __init__(self, net: eq.HopfieldNetwork, x: Any) -> None:
        self.net, self.oracle = net, Oracle(net)
        self.theta, self.inputs = tensor(net.parameters), tensor(x)
        self.upper = torch.full((net.num_units,), torch.inf, dtype=torch.float64)
        if net.potential == "legendre":
            self.upper[: -net.num_outputs] = 1
        self.lower = torch.where(self.upper == 1, 0.0, -torch.inf)

    def step(self, s: Any, record: bool) -> Any:
        energy = self.oracle.energy(self.theta, self.inputs, s).sum()
        (slope,) = torch.autograd.grad(energy, s, create_graph=record)
        return torch.minimum(torch.maximum(s - 0.5 * slope, self.lower), self.upper)

    def settle(self, start: Any, steps: int) -> tuple[Any, float]:
        """Return the state after some steps that are not recorded, and the change in the last one."""
        s, change = tensor(start), np.inf
        for _ in range(steps):
            after = self.step(s, False).detach()
            s, change = after.requires_grad_(), float((after - s).detach().abs().max())
        return s, change

    def gradients(self, s_star: Any, y: Any, steps: int) -> tuple[Any, Any]:
        """Return the derivatives of the mean squared error by autograd through steps from s*.

        Their relative error is q^steps, where q < 1 is the rate of convergence.
        """
        s = s_star
        for _ in range(steps):
            s = self.step(s, True)
        cost = 0.5 * ((s[:, -self.net.num_outputs :] - torch.tensor(y)) ** 2).sum() / len(y)
        return torch.autograd.grad(cost, [self.theta, self.inputs])


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[] if seed < 7 else pytest.mark.slow) for seed in range(50)]
)
def test_states_and_gradients_are_those_of_the_unrolled_relaxation(seed: int) -> None:
    """Random graphs with convolutions in both directions, pooling, skips, identities, couplings within.

    A graph may have several fixed points: the unrolled relaxation starts near the one that was found. Weights
    are reduced until it converges fast: its rate q is then below 0.85.
    """
    kind = ("max", "within", "convolution", "soft", "to input")[seed % 5]
    potential, activation = [("legendre", "hard_sigmoid"), ("quadratic", "tanh")][seed // 5 % 2]
    net, rng = random_case(kind, 100 + seed, activation=activation, potential=potential, size=6)
    x, y = rng.random((2, net.num_inputs)), rng.random((2, 3))
    solver = eq.BlockUpdate(tolerance=1e-14, max_iterations=20000)
    change = np.inf
    while change > 1e-8:
        net.parameters[:] *= 0.8
        free = eq.free_phase(
            net, x, solver=solver, on_failure="ignore"
        )  # 1e-14 may be below the rounding error
        near = free.state + 1e-3 * rng.standard_normal(free.state.shape)
        change = Unrolled(net, x).settle(near, 100)[1]
    relaxation = Unrolled(net, x)
    state, _ = relaxation.settle(near, 300)
    theta, inputs = relaxation.gradients(state, y, 300)
    assert_close(free.state, state, "s*", 1e-10)
    rbp = eq.recurrent_backpropagation(
        net, free, y, linear_solver=eq.GMRES(tolerance=1e-13), on_failure="ignore"
    )
    limit = eq.equilibrium_propagation(net, free, y, nudging=eq.exact_limit(), on_failure="ignore")
    for gradient in (rbp, limit):
        assert_close(gradient.parameters, theta, "dJ/dtheta", 1e-10)
        assert_close(gradient.inputs, inputs, "dJ/dx", 1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_the_two_second_phases_are_equal_at_every_step(kind: str, seed: int) -> None:
    """The theorem of Scellier & Bengio (arXiv 1711.08416) holds to rounding."""
    net, rng = random_case(kind, seed)
    net.parameters[:] *= 0.3
    x, y = rng.random((2, net.num_inputs)), rng.integers(0, 3, 2)
    report = eq.verify.equivalence(net, x, y)
    assert report.passed, str(report)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sample_does_not_depend_on_its_batch(kind: str, dtype: str) -> None:
    """States of a sample have the same bits in any batch."""
    net, rng = random_case(kind, 5)
    net = net.astype(dtype)
    net.parameters[:] *= 0.3
    x = rng.random((9, net.num_inputs)).astype(dtype)
    whole = eq.free_phase(net, x, solver=eq.BlockUpdate())
    assert whole.converged
    for j in (0, 4, 8):
        alone = eq.free_phase(net, x[j : j + 1], solver=eq.BlockUpdate())
        assert (alone.state[0] == whole.state[j]).all()


@pytest.mark.parametrize("kind", ["convolution", "max", "within", "to input"])
@pytest.mark.parametrize("seed", range(3))
def test_block_updates_never_raise_the_energy(kind: str, seed: int) -> None:
    """An update minimises E, or for a maximum an upper bound that touches E (concave-convex procedure)."""
    net, rng = random_case(kind, seed)
    net.parameters[:] *= 0.5
    x = rng.random((4, net.num_inputs))
    clamped = net.clamp(x)
    energies = [
        clamped.energy(
            eq.free_phase(
                net, x, solver=eq.BlockUpdate(tolerance=0, max_iterations=n), on_failure="ignore"
            ).state
        )
        for n in range(1, 12)
    ]
    rises = np.diff(np.array(energies), axis=0)
    assert rises.max() <= 1e-12 * (1 + np.abs(energies).max())


@pytest.mark.parametrize("kind", KINDS)
def test_files_and_copies_hold_the_couplings(kind: str, tmp_path: Path) -> None:
    """A saved, loaded, pickled and cast network has the couplings, shapes and bits of the original."""
    net, _ = random_case(kind, 2)
    eq.save(net, tmp_path / "net.safetensors")
    for other in (eq.load(tmp_path / "net.safetensors"), pickle.loads(pickle.dumps(net))):
        assert other.couplings == net.couplings
        assert other.layers == net.layers
        assert other.image_format == net.image_format
        assert (other.parameters == net.parameters).all()
        assert {n: b.shape for n, b in other.blocks.items()} == {n: b.shape for n, b in net.blocks.items()}
    assert net.astype("float32").couplings == net.couplings


@pytest.mark.parametrize("pooling", ["max", "mean", "soft"])
def test_separate_feedback_of_images_has_its_own_weights(pooling: str) -> None:
    """The Jacobian of a vector field is that of differences, and its transpose is its transpose."""
    rng = np.random.default_rng(4)
    net = eq.networks.chain_of_images(
        (2, 6, 6),
        [2, 4],
        3,
        kernel=3,
        padding=1,
        pooling=pooling,
        activation="sigmoid",
        dtype="float64",
        feedback="separate",
    )
    net.parameters[:] = 0.5 * rng.standard_normal(net.num_parameters)
    x, s = rng.random((1, net.num_inputs)), rng.uniform(0.2, 0.8, (1, net.num_units))
    a, b = rng.standard_normal((2, 1, net.num_units))
    clamped = net.clamp(x)
    left = (a * clamped.hessian_vector_product(s, b)).sum()
    right = (clamped.transposed_hessian_vector_product(s, a) * b).sum()
    assert_close(left, right, "J^T")
    step = 1e-6
    slope = (clamped.gradient(s + step * b) - clamped.gradient(s - step * b)) / (2 * step)
    assert_close(clamped.hessian_vector_product(s, b), slope, "J", 1e-7)
    theta, direction = net.parameters.copy(), rng.standard_normal(net.num_parameters)
    ends = []
    for sign in (1, -1):
        net.parameters[:] = theta + sign * step * direction
        ends.append((a * net.clamp(x).gradient(s)).sum())
    net.parameters[:] = theta
    mixed = net.clamp(x).mixed_derivative_product(s, a) @ direction
    assert_close(mixed, (ends[0] - ends[1]) / (2 * step), "d/dtheta <a, mu>", 1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pooling", "activation", "options"),
    [
        ("max", "hard_sigmoid", {}),
        ("max", "sigmoid", {}),
        ("mean", "tanh", {}),
        ("soft", "sigmoid", {}),
        ("mean", "tanh", {"potential": "quadratic"}),
        ("soft", "sigmoid", {"feedback": "separate"}),
    ],
)
def test_every_claim_holds_on_images(pooling: str, activation: str, options: dict[str, Any]) -> None:
    """The claims of `eq.verify` hold at the accuracy of dense networks."""
    net = eq.networks.chain_of_images(
        (2, 6, 6),
        [2, 4],
        3,
        kernel=3,
        padding=1,
        pooling=pooling,
        activation=activation,
        dtype="float64",
        seed=1,
        **options,
    )
    rng = np.random.default_rng(0)
    certificate = eq.verify.certify(net, rng.random((3, net.num_inputs)), rng.integers(0, 3, 3))
    assert certificate.passed, str(certificate)
