"""Costs of several layers: the sum by its formula, and gradients of every second phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import LayerCosts, SquaredError, _core
from networks import Oracle, blobs, chain, inputs, labels, skip

CE = eq.CrossEntropy
SHARP = eq.BlockUpdate(tolerance=1e-14, max_iterations=20000)
PLACES = np.random.default_rng(5).permutation(5)


def spread(y: np.ndarray) -> np.ndarray:
    """Targets of six units for class codes, different in each class."""
    return np.array([[0, 1, 0, 1, 0.5, 0], [1, 0, 0, 0.3, 0, 1], [0.2, 0, 1, 0, 1, 0]])[y]


def further(y: np.ndarray) -> np.ndarray:
    """Class codes of five classes for those of three."""
    return PLACES[y]


#: Costs of the chain 4-6-5-3 and of the graph 4-6-5-3 by name.
COSTS: dict[str, LayerCosts] = {
    "all": LayerCosts({1: SquaredError(), 2: CE(1.5), -1: CE()}, {1: 0.4, 2: 0.3}, {1: spread, 2: further}),
    "hidden": LayerCosts({2: SquaredError()}, {2: 2.0}, {2: further}),
    "outer": LayerCosts({3: SquaredError(), 1: SquaredError()}, {1: 0.5}, {1: spread}),
}
NETWORKS: dict[str, Any] = {
    "tanh": lambda: chain(4, 6, 5, 3),
    "quadratic": lambda: chain(4, 6, 5, 3, potential="quadratic"),
    "hard sigmoid": lambda: chain(4, 6, 5, 3, activation="hard_sigmoid"),
    "skip": skip,
}
each_cost = pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS.keys())
each_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())


def one_hot(codes: np.ndarray, units: int) -> np.ndarray:
    return np.eye(units)[codes]


def terms(name: str, s: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """C of each sample and dC/ds of a cost in COSTS, by the formulas; layers have 6, 5 and 3 units."""
    first, second, last = s[:, :6], s[:, 6:11], s[:, 11:]

    def squared(o: np.ndarray, to: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return ((o - to) ** 2).sum(axis=1) / 2, o - to

    def entropy(o: np.ndarray, to: np.ndarray, a: float) -> tuple[np.ndarray, np.ndarray]:
        e = np.exp(a * o)
        p = e / e.sum(axis=1, keepdims=True)
        return -(to * np.log(p)).sum(axis=1), a * (p - to)

    none = np.zeros(len(s))
    parts = {
        "all": (
            (0.4, squared(first, spread(y))),
            (0.3, entropy(second, one_hot(further(y), 5), 1.5)),
            (1.0, entropy(last, one_hot(y, 3), 1.0)),
        ),
        "hidden": (
            (1.0, (none, 0 * first)),
            (2.0, squared(second, one_hot(further(y), 5))),
            (1.0, (none, 0 * last)),
        ),
        "outer": (
            (0.5, squared(first, spread(y))),
            (1.0, (none, 0 * second)),
            (1.0, squared(last, one_hot(y, 3))),
        ),
    }[name]
    value = sum((scale * v for scale, (v, _) in parts), none)
    return value, np.concatenate([scale * slope for scale, (_, slope) in parts], axis=1)


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_cost_is_the_sum_over_layers(name: str, dtype: str) -> None:
    net, y = chain(4, 6, 5, 3, dtype=dtype), np.array([2, 0, 1, 1])
    s = np.random.default_rng(0).normal(size=(4, 14)).astype(dtype)
    bound = COSTS[name].bind(net, y, "")
    value, slope = terms(name, s.astype(float), y)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(bound.value(s), value, rtol=tolerance)
    np.testing.assert_allclose(bound.state_gradient(s), slope, rtol=0, atol=tolerance)


@each_network
@pytest.mark.parametrize("name", COSTS)
def test_every_second_phase_gives_the_derivative_of_the_objective(make: Any, name: str) -> None:
    """The oracle is -dC/ds H^-1 d2E/dtheta ds with dense matrices, H by complex steps or differences."""
    net, cost = make(), COSTS[name]
    x, y = inputs(net), labels(net)
    free = eq.free_phase(net, x, solver=SHARP, on_failure="ignore")
    expected = implicit_gradient(net, x, terms(name, free.state, y)[1], free.state)
    rbp = eq.recurrent_backpropagation(
        net, free, y, cost=cost, linear_solver=eq.ConjugateGradient(tolerance=1e-13), on_failure="ignore"
    )
    limit = eq.equilibrium_propagation(
        net, free, y, cost=cost, nudging=eq.exact_limit(), solver=SHARP, on_failure="ignore"
    )
    assert rbp.objective == pytest.approx(terms(name, free.state, y)[0].mean(), rel=1e-12)
    for gradient in (rbp, limit):
        np.testing.assert_allclose(
            gradient.parameters, expected, rtol=0, atol=1e-10 * (1 + abs(expected).max())
        )


def implicit_gradient(net: Any, x: np.ndarray, force: np.ndarray, s: np.ndarray) -> np.ndarray:
    """dJ/dtheta from products of the clamped energy with unit vectors, solved densely on the free units."""
    total = np.zeros(net.num_parameters)
    for j in range(len(x)):
        energy, at = net.clamp(x[j : j + 1]), s[j : j + 1]
        columns = [energy.hessian_vector_product(at, unit[None])[0] for unit in np.eye(net.num_units)]
        hessian, free = np.array(columns), np.ones(net.num_units, dtype=bool)
        for layer, part in zip(net.layers[1:], net.layer_slices.values(), strict=True):
            rho = eq.activation(layer.activation)
            if rho.kind == "clip":
                free[part] = (at[0, part] > rho.lower) & (at[0, part] < rho.upper)
        adjoint = np.zeros((1, net.num_units))
        adjoint[0, free] = np.linalg.solve(hessian[np.ix_(free, free)], force[j, free])
        total -= energy.mixed_derivative_product(at, adjoint) / len(x)
    return total


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("potential", ["legendre", "quadratic"])
def test_objective_differences_agree_with_the_gradient(name: str, potential: str) -> None:
    net, cost = chain(4, 6, 5, 3, potential=potential), COSTS[name]
    x, y = inputs(net), labels(net)

    def objective() -> float:
        free = eq.free_phase(net, x, solver=SHARP, on_failure="ignore")
        return float(terms(name, free.state, y)[0].mean())

    free = eq.free_phase(net, x, solver=SHARP, on_failure="ignore")
    gradient = eq.equilibrium_propagation(net, free, y, cost=cost, nudging=eq.exact_limit(), solver=SHARP)
    for i in np.random.default_rng(0).choice(net.num_parameters, 8, replace=False):
        start, differences = net.parameters[i], []
        for step in (1e-3, 5e-4):
            net.parameters[i] = start + step
            above = objective()
            net.parameters[i] = start - step
            differences.append((above - objective()) / (2 * step))
        net.parameters[i] = start
        extrapolated = (4 * differences[1] - differences[0]) / 3
        assert gradient.parameters[i] == pytest.approx(extrapolated, abs=1e-9)


@pytest.mark.parametrize(
    "nudging", [eq.one_sided(0.1), eq.centered(0.1), eq.random_sign(0.1)], ids=lambda n: n.name
)
@pytest.mark.parametrize("name", COSTS)
def test_nudged_states_are_those_of_the_oracle(name: str, nudging: Any) -> None:
    """Block updates, fixed-point steps and Euler steps reach the states that a NumPy iteration finds."""
    net, cost = chain(4, 6, 5, 3), COSTS[name]
    x, y = inputs(net), labels(net)
    oracle, states = Oracle(net), {}
    for beta in {beta for rule in nudging.rules for beta, _ in rule}:
        s = np.full((len(x), 14), 0.4)
        change = np.inf
        while change > 1e-15:
            before, s = s, 0.5 * s + 0.5 * oracle.image(x, s, beta * terms(name, s, y)[1])
            change = abs(s - before).max()
        states[beta] = s
        energy = _core.f64.total_energy(net.clamp(x), cost.bind(net, y, ""), beta)
        for solver in (
            SHARP,
            eq.BlockUpdate(tolerance=1e-13, max_iterations=5000, anderson=1),
            eq.FixedPointIteration(tolerance=1e-13, max_iterations=5000, damping=0.5),
            eq.Euler(tolerance=1e-13, max_iterations=20000, step_size=0.2),
        ):
            found, *_ = _core.f64.relax(energy, solver.core, np.zeros_like(s))
            np.testing.assert_allclose(found, s, rtol=0, atol=1e-11)
    free = eq.free_phase(net, x, solver=SHARP, on_failure="ignore")
    gradient = eq.equilibrium_propagation(
        net, free, y, cost=cost, nudging=nudging, solver=SHARP, on_failure="ignore"
    )
    expected = sum(w * oracle.parameter_gradient(x, states[b]) for b, w in nudging.nodes(0)) / len(x)
    np.testing.assert_allclose(gradient.parameters, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid"])
def test_a_nudged_sample_does_not_depend_on_its_batch(activation: str) -> None:
    net, cost = chain(4, 6, 5, 3, activation=activation), COSTS["all"]
    x, y = inputs(net, 40), labels(net, 40)
    solver = eq.BlockUpdate(tolerance=1e-4, max_iterations=100, anderson=1)

    def nudged(which: slice) -> np.ndarray:
        energy = _core.f64.total_energy(net.clamp(x[which]), cost.bind(net, y[which], ""), 0.2)
        state, *_ = _core.f64.relax(energy, solver.core, net.initial_state(len(y[which])))
        return state

    whole = nudged(slice(None))
    for j in (0, 17, 39):
        assert (nudged(slice(j, j + 1)) == whole[j]).all()


def test_a_circle_of_complex_nudges_gives_the_limit() -> None:
    net, cost = chain(4, 6, 5, 3), COSTS["all"]
    free = eq.free_phase(net, inputs(net), solver=SHARP, on_failure="ignore")
    limit, circle = (
        eq.equilibrium_propagation(
            net, free, labels(net), cost=cost, nudging=n, solver=s, on_failure="ignore"
        )
        for n, s in (
            (eq.exact_limit(), SHARP),
            (eq.holomorphic(0.2, 16), eq.FixedPointIteration(tolerance=1e-14, max_iterations=5000)),
        )
    )
    np.testing.assert_allclose(circle.parameters, limit.parameters, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("plain", [SquaredError(), CE(2.0)], ids=["squared", "entropy"])
@pytest.mark.parametrize("key", [-1, 3])
def test_the_cost_of_the_last_layer_alone_has_the_bits_of_the_plain_cost(
    key: int, plain: Any, dtype: str
) -> None:
    results = []
    for cost in (plain, LayerCosts({key: plain})):
        net, data = chain(4, 6, 5, 3, activation="hard_sigmoid", dtype=dtype), blobs(60)
        trainer = eq.Trainer(net, cost=cost, batch_size=20)
        trainer.fit(data, epochs=2, sample_weight=np.linspace(0.5, 1.5, 60))
        results.append((net.parameters.copy(), trainer.history[-1].objective, trainer.evaluate(data)))
    assert (results[0][0] == results[1][0]).all()
    assert results[0][1:] == results[1][1:]


def test_scales_multiply_the_terms() -> None:
    net, y = chain(4, 6, 5, 3), np.array([0, 2])
    free = eq.free_phase(net, inputs(net, 2), solver=SHARP, on_failure="ignore")

    def gradient(costs: dict[int, Any], scales: dict[int, float]) -> np.ndarray:
        targets = {key: spread for key in costs if key == 1}
        cost = LayerCosts(costs, scales, targets)
        return eq.recurrent_backpropagation(
            net, free, y, cost=cost, linear_solver=eq.GMRES(tolerance=1e-13), on_failure="ignore"
        ).parameters

    both = gradient({1: SquaredError(), -1: CE()}, {1: 0.3, -1: 2.0})
    alone = 0.3 * gradient({1: SquaredError()}, {}) + 2 * gradient({-1: CE()}, {})
    np.testing.assert_allclose(both, alone, rtol=0, atol=1e-11)


def test_weights_of_samples_scale_their_terms() -> None:
    net, cost, y, w = chain(4, 6, 5, 3), COSTS["all"], np.array([0, 2, 1]), np.array([2.0, 0.0, 0.5])
    free = eq.free_phase(net, inputs(net), solver=SHARP, on_failure="ignore")
    single = []
    for j in range(3):
        one = eq.free_phase(net, inputs(net)[j : j + 1], solver=SHARP, on_failure="ignore")
        single.append(
            eq.recurrent_backpropagation(net, one, y[j : j + 1], cost=cost, on_failure="ignore").parameters
        )
    whole = eq.recurrent_backpropagation(net, free, y, cost=cost, sample_weight=w, on_failure="ignore")
    np.testing.assert_allclose(whole.parameters, w @ np.array(single) / 3, rtol=0, atol=1e-6)
    limit = eq.equilibrium_propagation(
        net, free, y, cost=cost, sample_weight=w, nudging=eq.exact_limit(), solver=SHARP, on_failure="ignore"
    )
    np.testing.assert_allclose(limit.parameters, whole.parameters, rtol=0, atol=1e-6)


@each_network
@each_cost
def test_the_theorem_holds_at_every_step(make: Any, cost: LayerCosts) -> None:
    net = make()
    assert eq.verify.equivalence(net, inputs(net), labels(net), cost=cost, steps=50).passed


@each_cost
def test_every_claim_holds(cost: LayerCosts) -> None:
    net = chain(4, 6, 5, 3)
    certificate = eq.verify.certify(net, inputs(net), labels(net), cost=cost)
    assert certificate.passed, str(certificate)


def test_a_report_is_replayed_unless_targets_come_from_a_function(tmp_path: Path) -> None:
    net, path = chain(4, 3, 3), tmp_path / "report.json"
    x, y = inputs(net), labels(net)
    eq.verify.limit(net, x, y, cost=LayerCosts({1: CE(), -1: SquaredError()}, {1: 0.5})).save(path)
    assert eq.verify.replay(path).identical
    eq.verify.limit(net, x, y, cost=LayerCosts({1: CE()}, {}, {1: lambda y: y})).save(path)
    with pytest.raises(ValueError, match=r"\[replay\] cannot import .*: it is a lambda"):
        eq.verify.replay(path)


def test_vector_fields_and_unrolled_relaxations_give_the_same_gradient() -> None:
    """RBP, the limit with the antisymmetric term, and backpropagation through time agree."""
    net = eq.HopfieldNetwork([4, 6, 5, 3], activation="tanh", feedback="separate", dtype="float64", gain=0.35)
    net.parameters[:] += 0.05 * np.random.default_rng(0).normal(size=net.num_parameters)
    x, y, cost = inputs(net), labels(net), COSTS["all"]
    solver = eq.FixedPointIteration(tolerance=1e-14, max_iterations=20000, damping=0.5)
    free = eq.free_phase(net, x, solver=solver, on_failure="ignore")
    rbp = eq.recurrent_backpropagation(
        net, free, y, cost=cost, linear_solver=eq.GMRES(tolerance=1e-13), on_failure="ignore"
    )
    turned, plain = (
        eq.equilibrium_propagation(
            net,
            free,
            y,
            cost=cost,
            nudging=eq.exact_limit(),
            symmetrize=s,
            solver=solver,
            on_failure="ignore",
        )
        for s in (True, False)
    )
    steps = eq.FixedPointIteration(tolerance=0, max_iterations=300, damping=0.5)
    unrolled = eq.backpropagation_through_time(
        net, eq.free_phase(net, x, solver=steps, record=True), y, cost=cost
    )
    for gradient in (turned, unrolled):
        np.testing.assert_allclose(gradient.parameters, rbp.parameters, rtol=0, atol=1e-11)
        np.testing.assert_allclose(gradient.inputs, rbp.inputs, rtol=0, atol=1e-11)
    assert abs(plain.parameters - rbp.parameters).max() > 1e-3
    assert eq.verify.equivalence(net, x, y, cost=cost, steps=50, symmetrize=True).passed
