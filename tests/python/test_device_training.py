"""Training of devices that are known only by their relaxations and contrasts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest

X = np.random.default_rng(0).uniform(0, 1, (12, 4))
Y = np.random.default_rng(1).integers(0, 3, 12)


def network(seed: int = 1) -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64", seed=seed, gain=0.5)


def precise() -> eq.BlockUpdate:
    return eq.BlockUpdate(tolerance=1e-13, max_iterations=5000)


def perfect(net: eq.HopfieldNetwork, **options: Any) -> eq.ImperfectDevice:
    return eq.imperfect(net, solver=precise(), **options)


def linear_device(**options: Any) -> eq.BlackBox:
    """One linear unit: E = s^2 / 2 - theta x s, nudged by beta (s - y)^2 / 2."""
    theta = np.zeros(2)

    def relax(x: np.ndarray, beta: float, y: np.ndarray) -> np.ndarray:
        return ((x @ theta[:, None] + beta * y) / (1 + beta))[None]

    return eq.BlackBox(relax, lambda x, s: -(s * x).sum(axis=0), theta, 1, **options)


@pytest.mark.parametrize("rule", [eq.centered(0.2), eq.one_sided(0.2), eq.random_sign(0.2, seed=3)])
@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, 12)])
def test_a_step_on_measured_contrasts_is_one_on_the_model(rule: eq.nudging.Nudging, weights: Any) -> None:
    """The core's training step on the network is an independent implementation."""
    net, phase = network(), eq.EquilibriumPropagation(rule)
    box = perfect(net)
    measured = eq.Trainer(box, phase, eq.SGD(0.1))
    exact = eq.Trainer(net, phase, eq.SGD(0.1), solver=precise())
    for _ in range(3):
        one, two = measured.step(X, Y, weights), exact.step(X, Y, weights)
        assert one.objective == pytest.approx(two.objective, rel=1e-9)
        assert one.error == two.error
    np.testing.assert_allclose(box.parameters, net.parameters, rtol=0, atol=1e-9)


@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy(logit_scale=2.0)])
def test_the_gradient_of_a_device_is_that_of_the_model(cost: Any) -> None:
    net = network()
    box = perfect(net, cost=cost)
    free, exact = eq.free_phase(box, X), eq.free_phase(net, X, solver=precise())
    np.testing.assert_allclose(free.state, exact.state, atol=1e-11)
    one = eq.equilibrium_propagation(box, free, Y, cost=cost, nudging=eq.centered(0.1))
    two = eq.equilibrium_propagation(net, exact, Y, cost=cost, nudging=eq.centered(0.1), solver=precise())
    np.testing.assert_allclose(one.parameters, two.parameters, atol=1e-9)
    assert one.objective == pytest.approx(two.objective, rel=1e-10)


def test_one_sided_measures_the_free_state_once() -> None:
    box = linear_device()
    relax, betas = box.relax, []

    def counted(x: np.ndarray, beta: float, y: np.ndarray) -> np.ndarray:
        betas.append(beta)
        return relax(x, beta, y)

    box.relax = counted
    eq.Trainer(box, eq.EquilibriumPropagation(eq.one_sided(0.5))).step(X[:, :2], X[:, 2])
    assert betas == [0.0, 0.5]


def test_the_device_receives_its_parameters_and_one_hot_targets() -> None:
    net, sent, targets = network(), [], []
    box = perfect(net)
    write, relax = box.parameters_changed, box.relax
    assert write is not None

    def heard(theta: np.ndarray) -> None:
        sent.append(theta.copy())
        write(theta)

    def seen(x: np.ndarray, beta: float, y: np.ndarray) -> np.ndarray:
        targets.append(y.copy())
        return relax(x, beta, y)

    box.parameters_changed, box.relax = heard, seen
    start = box.parameters.copy()
    trainer = eq.Trainer(box, optimizer=eq.SGD(0.1))
    trainer.step(X, Y)
    trainer.step(X, Y)
    np.testing.assert_array_equal(sent[0], start)
    assert (sent[3] != start).any()
    np.testing.assert_array_equal(targets[1], np.eye(3)[Y])
    np.testing.assert_array_equal(targets[0], np.zeros((12, 3)))


def test_a_trainer_of_a_device_fits_evaluates_predicts_and_explains(
    capsys: pytest.CaptureFixture[str],
) -> None:
    box = linear_device()
    trainer = eq.Trainer(box, optimizer=eq.SGD(0.5), batch_size=6)
    x = X[:, :2]
    y = x @ [1.0, -2.0]
    history = trainer.fit(10 * x, y, epochs=150, validation=(10 * x, y), patience=140, scaling=0.1)
    assert history[-1].unconverged == 0
    assert trainer.evaluate(10 * x, y).error == pytest.approx(history[-1].validation_error, rel=1e-6)
    np.testing.assert_allclose(box.parameters, [1.0, -2.0], atol=1e-3)
    np.testing.assert_allclose(trainer.predict(10 * x)[:, 0], y, atol=1e-3)
    trainer.explain()
    assert "BlackBox(1 outputs, 2 parameters)" in capsys.readouterr().out


def test_averaged_parameters_reach_the_device() -> None:
    box = perfect(network())
    trainer = eq.Trainer(box, optimizer=eq.SGD(0.5), averaging=0.9)
    for _ in range(20):
        trainer.step(X, Y)
    average = trainer.averaged_model
    assert (average.parameters != box.parameters).any()
    net = network()
    net.parameters[:] = average.parameters
    expected = eq.free_phase(net, X, solver=precise()).outputs
    np.testing.assert_allclose(trainer.predict(X), expected, atol=1e-9)


def test_parameters_are_saved_by_their_array(tmp_path: Path) -> None:
    box = linear_device()
    eq.Trainer(box, optimizer=eq.SGD(0.5)).fit(X[:, :2], X[:, 0], epochs=3)
    np.save(tmp_path / "theta.npy", box.parameters)
    other = linear_device()
    other.parameters[:] = np.load(tmp_path / "theta.npy")
    np.testing.assert_array_equal(eq.free_phase(other, X[:, :2]).state, eq.free_phase(box, X[:, :2]).state)


def test_a_change_of_the_parameters_after_the_free_phase_is_refused() -> None:
    box = linear_device()
    free = eq.free_phase(box, X[:, :2])
    box.parameters[0] = 1.0
    with pytest.raises(ValueError, match="the parameters or the state changed"):
        eq.equilibrium_propagation(box, free, X[:, 0])


WRONG: list[tuple[Callable[[eq.BlackBox], Any], str]] = [
    (
        lambda b: eq.Trainer(b, eq.RecurrentBackpropagation()),
        "trained by EquilibriumPropagation with centered",
    ),
    (lambda b: eq.Trainer(b, eq.EquilibriumPropagation(eq.exact_limit())), r"Received exact_limit\."),
    (lambda b: eq.Trainer(b, eq.EquilibriumPropagation(eq.holomorphic(0.5, 4))), "Received holomorphic"),
    (lambda b: eq.Trainer(b, eq.EquilibriumPropagation(symmetrize=True)), "symmetrize=False"),
    (
        lambda b: eq.Trainer(b, eq.EquilibriumPropagation(solver=eq.Euler(step_size=0.1))),
        "`solver` is not given",
    ),
    (lambda b: eq.Trainer(b, solver=eq.BlockUpdate()), "`solver` is not given"),
    (lambda b: eq.Trainer(b, free_start="last"), "free_start is 'rest'"),
    (lambda b: eq.Trainer(b, coupling_norm=0.9), "`coupling_norm` is not given"),
    (lambda b: eq.Trainer(b, averaging=0.9), "so it is given"),
    (lambda b: eq.Trainer(b, cost=eq.CrossEntropy()), r"CrossEntropy\(logit_scale=a\)"),
    (lambda b: eq.free_phase(b, X[:, :2], initial=np.zeros((12, 1))), "initial"),
    (lambda b: eq.free_phase(b, X[:, :2], trace=True), "Received trace=True"),
    (lambda b: b.clamp(X).hessian_vector_product(X, X), "needs hessian_vector_product"),
]


@pytest.mark.parametrize(("action", "words"), WRONG)
def test_what_needs_more_than_relaxations_is_refused(action: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        action(linear_device())


@pytest.mark.parametrize(
    "function",
    [
        lambda b, f: eq.recurrent_backpropagation(b, f, X[:, 0]),
        lambda b, f: eq.equilibrium_propagation(b, f, X[:, 0], nudging=eq.exact_limit()),
        lambda b, f: eq.equilibrium_propagation(b, f, X[:, 0], nudging=eq.holomorphic(0.5, 4)),
        lambda b, f: eq.equilibrium_propagation(b, f, X[:, 0], symmetrize=True),
    ],
)
def test_gradients_that_need_the_model_are_refused(function: Any) -> None:
    box = linear_device()
    with pytest.raises(ValueError, match=r"use centered\(beta\)|use EquilibriumPropagation|symmetrize=False"):
        function(box, eq.free_phase(box, X[:, :2]))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((None, lambda x, s: s, np.zeros(2), 1), TypeError, "`relax` is a function"),
        ((lambda x, b, y: x, None, np.zeros(2), 1), TypeError, "`contrast` is a function"),
        ((lambda x, b, y: x, lambda x, s: s, [0.0, 1.0], 1), TypeError, "`parameters` is a NumPy array"),
        (
            (lambda x, b, y: x, lambda x, s: s, np.zeros((2, 1)), 1),
            ValueError,
            "`parameters` is a NumPy array",
        ),
        ((lambda x, b, y: x, lambda x, s: s, np.zeros(2, np.float32), 1), ValueError, "of float64"),
        ((lambda x, b, y: x, lambda x, s: s, np.zeros(2), 0), ValueError, "num_outputs is at least 1"),
        (
            (lambda x, b, y: x, lambda x, s: s, np.zeros(2), 1, 3),
            TypeError,
            "`parameters_changed` is a function",
        ),
    ],
)
def test_bad_devices_are_refused(arguments: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        eq.BlackBox(*arguments)


@pytest.mark.parametrize("slopes", [np.zeros(3), np.full(2, np.nan)])
def test_bad_contrasts_are_refused(slopes: np.ndarray) -> None:
    box = linear_device()
    box.contrast = lambda x, s: slopes
    with pytest.raises(ValueError, match=r"contrast returns finite numbers of shape \(2,\)"):
        eq.Trainer(box).step(X[:, :2], X[:, 0])


def test_contrasts_of_pairs_are_derivatives_of_the_energy() -> None:
    rng = np.random.default_rng(4)
    pairs = [(0, 2), (1, 3), (2, 4), (3, 4), (4, -1)]
    x, s, theta = rng.normal(size=(5, 2)), rng.normal(size=(5, 3)), rng.normal(size=5)

    def co_content(theta: np.ndarray) -> float:
        v = np.hstack([x, s, np.zeros((5, 1))])
        return sum(t * ((v[:, a] - v[:, b]) ** 2).sum() / 2 for t, (a, b) in zip(theta, pairs, strict=True))

    def hopfield(theta: np.ndarray) -> float:
        n = np.hstack([x, s, np.ones((5, 1))])
        return -sum(t * (n[:, a] * n[:, b]).sum() for t, (a, b) in zip(theta, pairs, strict=True))

    for energy, contrast in ((co_content, eq.contrasts.resistors), (hopfield, eq.contrasts.products)):
        slopes = [energy(theta + e) - energy(theta) for e in np.eye(5)]  # the energies are linear in theta
        np.testing.assert_allclose(contrast(pairs)(x, s), slopes, rtol=1e-12)
    with pytest.raises(ValueError, match="node 4 of 3"):
        eq.contrasts.products(pairs)(x, s[:, :1])
    for wrong in ([0, 1], [(0, 1, 2)], [(0, -2)], [(0.5, 1.0)]):
        with pytest.raises(ValueError, match="pairs is an array"):
            eq.contrasts.resistors(wrong)


def test_noise_has_the_stated_size() -> None:
    exact = perfect(network())
    states = exact.trajectory(X, 0.0, np.zeros((12, 3)))[-1]
    noisy = perfect(network(), noise=0.02, seed=5)
    repeats = np.array([noisy.trajectory(X, 0.0, np.zeros((12, 3)))[-1] for _ in range(200)])
    deviations = (repeats - states) / (0.02 * np.ptp(states))
    assert deviations.std() == pytest.approx(1, abs=4 / np.sqrt(2 * deviations.size))
    assert abs(deviations.mean()) < 4 / np.sqrt(deviations.size)


@pytest.mark.parametrize("bits", [1, 3, 6])
def test_written_parameters_have_two_to_the_bits_levels(bits: int) -> None:
    box = eq.imperfect(linear_wide(), bits=bits)
    written = box.send(box.parameters)
    assert len(np.unique(written[:5000])) == len(np.unique(written[5000:])) == 2**bits
    for half in (slice(0, 5000), slice(5000, 10000)):
        step = np.ptp(box.parameters[half]) / (2**bits - 1)
        assert np.abs(written - box.parameters)[half].max() <= step / 2 * (1 + 1e-9)
        assert written[half].min() == box.parameters[half].min()


def linear_wide() -> eq.BlackBox:
    theta = np.random.default_rng(6).uniform(-3, 3, 10000) * np.repeat([1.0, 3.0], 5000)
    blocks = {"a": slice(0, 5000), "b": slice(5000, 10000)}
    return eq.BlackBox(lambda x, b, y: x[None], lambda x, s: 0 * theta, theta, 1, block_slices=blocks)


def test_stochastic_rounding_is_right_on_average() -> None:
    box = eq.imperfect(linear_wide(), bits=2, rounding="stochastic", limits=(-2.0, 2.0))
    inside = np.abs(box.parameters) < 2
    mean = np.mean([box.send(box.parameters) for _ in range(400)], axis=0)
    step = 4 / 3
    assert np.abs(mean - box.parameters)[inside].max() < 5 * step / 2 / np.sqrt(400)
    np.testing.assert_allclose(mean[~inside], np.clip(box.parameters, -2, 2)[~inside], atol=1e-12)


def test_the_phases_of_a_step_have_the_same_rounded_parameters() -> None:
    box = perfect(network(), bits=3, rounding="stochastic")
    first = eq.free_phase(box, X).state
    np.testing.assert_array_equal(eq.free_phase(box, X).state, first)
    box.parameters += 1e-6
    assert np.abs(eq.free_phase(box, X).state - first).max() > 1e-3


def test_mismatch_multiplies_what_the_device_has_and_not_what_the_trainer_has() -> None:
    net = network()
    box = perfect(net, mismatch=0.2, seed=7)
    same = perfect(network(), mismatch=0.2, seed=7)
    np.testing.assert_array_equal(box.factors, same.factors)
    np.testing.assert_array_equal(box.parameters, net.parameters)
    effective = network()
    effective.parameters[:] *= box.factors
    expected = eq.free_phase(effective, X, solver=precise()).state
    np.testing.assert_allclose(eq.free_phase(box, X).state, expected, atol=1e-11)


def test_a_wrapped_black_box_is_the_black_box() -> None:
    inner = linear_device()
    outer = eq.imperfect(inner)
    outer.parameters[:] = [0.5, -1.0]
    free = eq.free_phase(outer, X[:, :2])
    np.testing.assert_allclose(free.state[:, 0], X[:, :2] @ [0.5, -1.0])
    np.testing.assert_array_equal(inner.parameters, outer.parameters)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"noise": -0.1}, "noise is a number from 0 to 100"),
        ({"mismatch": np.inf}, "mismatch is a number from 0 to 100"),
        ({"bits": 0}, "bits is 1 to 52"),
        ({"rounding": "up"}, "rounding is 'nearest' or 'stochastic'"),
        ({"limits": (1.0, 0.0)}, "limits is a pair of numbers"),
    ],
)
def test_bad_imperfections_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        eq.imperfect(network(), **options)


def test_only_models_with_an_energy_are_devices() -> None:
    with pytest.raises(TypeError, match="model is a HopfieldNetwork, an Energy or a BlackBox"):
        eq.imperfect("network")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="have an energy"):
        eq.imperfect(network().variant(feedback="separate"))


def test_a_diverged_simulation_is_refused() -> None:
    net = network()
    device = eq.imperfect(net, solver=eq.Euler(step_size=50.0))
    with pytest.raises(ValueError, match="Received one that diverged"):
        eq.free_phase(device, X)


def test_a_copy_has_its_own_parameters() -> None:
    box = perfect(network())
    other = copy.deepcopy(box)
    other.parameters[:] = 0
    assert box.parameters.any()
    np.testing.assert_allclose(eq.free_phase(other, X).outputs, 0, atol=1e-12)


def trained_error(seed: int, epochs: int) -> float:
    """Return the test error of a Hopfield network with 1 % noise and 6 bits for each parameter on digits."""
    train, test = eq.load_digits()
    net = eq.HopfieldNetwork([64, 128, 10], seed=seed)
    exact = eq.Trainer(net)
    exact.prepare(train)
    rates: Any = exact.optimizer.learning_rate  # type: ignore[attr-defined]
    device = eq.imperfect(net, noise=0.01, bits=6, seed=seed)
    trainer = eq.Trainer(device, optimizer=eq.Adam(rates), schedule=eq.optimizers.cosine())
    trainer.fit(train, epochs=epochs)
    return trainer.evaluate(test).error


def test_a_noisy_quantised_device_learns_digits() -> None:
    assert trained_error(0, 4) < 0.12


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_device_with_one_percent_noise_and_six_bits_learns_digits_to_six_percent(seed: int) -> None:
    assert trained_error(seed, 20) <= 0.06
