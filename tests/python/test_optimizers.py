"""Optimizers agree with scalar loops and check their arguments."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from equiprop.optimizers import SGD, Adam, Optimizer
from hypothesis import given
from hypothesis import strategies as st

BLOCKS = {"b": slice(3, 5), "w": slice(0, 3)}
RATES = {"w": 0.1, "b": 0.02}
unit = st.floats(0.0, 0.99)
gradients = st.lists(st.lists(st.floats(-10, 10), min_size=5, max_size=5), min_size=1, max_size=6)
both = pytest.mark.parametrize("make", [SGD, Adam])


def rate_of(index: int) -> float:
    return RATES["w"] if index < 3 else RATES["b"]


def sgd_scalar(theta: float, slopes: list[float], rates: list[float], momentum: float, decay: float) -> float:
    velocity = 0.0
    for slope, rate in zip(slopes, rates, strict=True):
        velocity = momentum * velocity + slope + decay * theta
        theta = theta - rate * velocity
    return theta


def adam_scalar(theta: float, slopes: list[float], rates: list[float], adam: Adam) -> float:
    for step, rate in enumerate(rates, start=1):
        ages = range(step - 1, -1, -1)
        mean = sum((1 - adam.beta1) * adam.beta1**age * g for age, g in zip(ages, slopes, strict=False))
        square = sum((1 - adam.beta2) * adam.beta2**age * g * g for age, g in zip(ages, slopes, strict=False))
        mean, square = mean / (1 - adam.beta1**step), square / (1 - adam.beta2**step)
        theta = theta - rate * (mean / (math.sqrt(square) + adam.epsilon) + adam.weight_decay * theta)
    return theta


def run(
    optimizer: Optimizer, theta: np.ndarray, history: list[list[float]], factors: list[float]
) -> np.ndarray:
    for slopes, factor in zip(history, factors, strict=True):
        optimizer.step(theta, np.array(slopes, dtype=theta.dtype), BLOCKS, factor)
    return theta


@given(gradients, unit, st.floats(0, 1))
def test_sgd_agrees_with_the_scalar_recursion(
    history: list[list[float]], momentum: float, decay: float
) -> None:
    factors = [1.0 / (1 + index) for index in range(len(history))]
    theta = run(SGD(RATES, momentum, decay), np.linspace(-1, 1, 5), history, factors)
    for index, start in enumerate(np.linspace(-1, 1, 5)):
        slopes, rates = [row[index] for row in history], [rate_of(index) * factor for factor in factors]
        expected = sgd_scalar(float(start), slopes, rates, momentum, decay)
        assert theta[index] == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(gradients, unit, unit, st.floats(0, 1))
def test_adam_agrees_with_weighted_sums_of_the_history(
    history: list[list[float]], beta1: float, beta2: float, decay: float
) -> None:
    adam = Adam(RATES, beta1, beta2, 1e-3, decay)
    factors = [1.0 / (1 + index) for index in range(len(history))]
    theta = run(adam, np.linspace(-1, 1, 5), history, factors)
    for index, start in enumerate(np.linspace(-1, 1, 5)):
        slopes, rates = [row[index] for row in history], [rate_of(index) * factor for factor in factors]
        expected = adam_scalar(float(start), slopes, rates, adam)
        assert theta[index] == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(gradients, st.floats(0.01, 0.99), st.floats(0, 1))
def test_nesterov_agrees_with_the_scalar_recursion(
    history: list[list[float]], momentum: float, decay: float
) -> None:
    factors = [1.0 / (1 + index) for index in range(len(history))]
    optimizer = SGD(RATES, momentum, {"w": decay}, nesterov=True)
    theta = run(optimizer, np.linspace(-1, 1, 5), history, factors)
    for index, expected in enumerate(np.linspace(-1, 1, 5).tolist()):
        velocity = 0.0
        for row, factor in zip(history, factors, strict=True):
            slope = row[index] + (decay * expected if index < 3 else 0.0)
            velocity = momentum * velocity + slope
            expected -= rate_of(index) * factor * (slope + momentum * velocity)
        assert theta[index] == pytest.approx(expected, rel=1e-12, abs=1e-12)


DECAYS = {"w": 0.3}


@pytest.mark.parametrize(
    ("make", "name", "options"),
    [
        (lambda: SGD(RATES, 0.9, 0.2, nesterov=True), "SGD", {"momentum": 0.9, "nesterov": True}),
        (lambda: SGD(RATES, 0.9, DECAYS, nesterov=True), "SGD", {"momentum": 0.9, "nesterov": True}),
        (lambda: SGD(RATES, 0.9, DECAYS), "SGD", {"momentum": 0.9}),
        (lambda: Adam(RATES, weight_decay=DECAYS), "AdamW", {}),
    ],
)
def test_steps_are_those_of_pytorch(
    make: Callable[[], SGD | Adam], name: str, options: dict[str, Any]
) -> None:
    torch = pytest.importorskip("torch")
    optimizer, theta = make(), np.linspace(-1, 1, 5)
    decay = optimizer.weight_decay
    pieces = {block: torch.tensor(theta[where], requires_grad=True) for block, where in BLOCKS.items()}
    groups = [
        {
            "params": [piece],
            "lr": RATES[block],
            "weight_decay": decay if isinstance(decay, float) else decay.get(block, 0.0),
        }
        for block, piece in pieces.items()
    ]
    other = getattr(torch.optim, name)(groups, **options)
    for step in range(7):
        gradient = np.cos(3.0 * np.arange(5) + step)
        optimizer.step(theta, gradient, BLOCKS)
        for block, where in BLOCKS.items():
            pieces[block].grad = torch.tensor(gradient[where])
        other.step()
    for block, where in BLOCKS.items():
        np.testing.assert_allclose(theta[where], pieces[block].detach().numpy(), rtol=1e-12)


def test_nesterov_of_many_parameters_is_that_of_each() -> None:
    size = 40_001
    theta, gradient = np.linspace(-1, 1, size), np.cos(np.arange(size))
    few = theta[-5:].copy()
    joint, apart = (SGD(0.1, 0.9, 0.2, nesterov=True) for _ in range(2))
    for _ in range(3):
        joint.step(theta, gradient, {"w": slice(0, size)})
        apart.step(few, gradient[-5:], {"w": slice(0, 5)})
    np.testing.assert_array_equal(theta[-5:], few)


def test_nesterov_needs_momentum_and_decays_need_the_names_of_blocks() -> None:
    with pytest.raises(
        ValueError, match=r"^\[SGD\] nesterov=True needs a momentum above 0\. Received momentum=0"
    ):
        SGD(nesterov=True)
    with pytest.raises(TypeError, match=r"^\[SGD\] nesterov is True or False\. Received 1\.$"):
        SGD(momentum=0.9, nesterov=1)  # type: ignore[arg-type]
    for make in (SGD, Adam):
        with pytest.raises(TypeError, match="weight_decay is a number"):
            make(weight_decay={"w": "much"})
        theta = np.ones(5)
        with pytest.raises(
            ValueError, match=r"weight_decay mapping names blocks, here b, w\. Received unknown \['v'\]"
        ):
            make(weight_decay={"v": 0.1}).step(theta, theta.copy(), BLOCKS)
        assert (theta == 1).all()


def test_first_adam_step_has_the_length_of_the_rate_whatever_the_scale() -> None:
    for scale in (1e-4, 1.0, 1e4):
        theta = np.zeros(5)
        Adam(0.1, epsilon=1e-12).step(theta, scale * np.array([1, -2, 3, -4, 5.0]), BLOCKS)
        assert theta == pytest.approx([-0.1, 0.1, -0.1, 0.1, -0.1])


def test_l2_decay_joins_the_gradient_and_decoupled_decay_does_not() -> None:
    start, zero = np.array([1.0, -2.0, 3.0, 4.0, 5.0]), np.zeros(5)
    for optimizer in (SGD(0.5, weight_decay=0.2), Adam(0.5, weight_decay=0.2)):
        theta = start.copy()
        optimizer.step(theta, zero, BLOCKS)
        assert theta == pytest.approx(0.9 * start)
    penalised, decoupled, plain = (start.copy() for _ in range(3))
    SGD(0.5, 0.9, 0.2).step(penalised, start, BLOCKS)
    SGD(0.5, 0.9).step(plain, 1.2 * start, BLOCKS)
    Adam(0.5, weight_decay=0.2).step(decoupled, start, BLOCKS)
    assert penalised == pytest.approx(plain)
    assert decoupled == pytest.approx(0.9 * start - 0.5 * np.sign(start))


@both
def test_per_block_rates_equal_separate_optimisers(make: Callable[..., Optimizer]) -> None:
    joint, apart, optimizer = np.ones(5), np.ones(5), make(RATES)
    others = {name: make(rate) for name, rate in RATES.items()}
    for step in range(4):
        gradient = np.cos(np.arange(5.0) + step)
        optimizer.step(joint, gradient, BLOCKS)
        for name, block in BLOCKS.items():
            piece = apart[block]
            others[name].step(piece, gradient[block], {name: slice(0, piece.size)})
    np.testing.assert_array_equal(joint, apart)


@both
def test_a_block_of_rate_zero_stays_as_it_is(make: Callable[..., Optimizer]) -> None:
    theta = np.ones(5)
    make({"w": 0.0, "b": 0.1}).step(theta, np.ones(5), BLOCKS)
    assert (theta[:3] == 1).all()
    assert (theta[3:] < 1).all()


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_is_updated_in_place_and_the_gradient_is_left_alone(
    make: Callable[..., Optimizer], dtype: type
) -> None:
    shared = bytearray(5 * np.dtype(dtype).itemsize)
    theta, optimizer, gradient = np.frombuffer(shared, dtype=dtype), make(RATES), np.ones(5, dtype=dtype)
    for _ in range(2):
        before = bytes(shared)
        optimizer.step(theta, gradient, BLOCKS)
        assert bytes(shared) != before
    assert theta.dtype == dtype
    assert (gradient == 1).all()


@both
def test_later_steps_allocate_nothing_of_parameter_size(make: Callable[..., Optimizer]) -> None:
    size = 200_000
    theta, gradient, blocks = np.zeros(size), np.ones(size), {"b": slice(9, size), "w": slice(0, 9)}
    optimizer = make(RATES)
    optimizer.step(theta, gradient, blocks)
    tracemalloc.start()
    optimizer.step(theta, gradient, blocks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < theta.nbytes / 10


@both
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("warm_up", [0, 2])
def test_a_gradient_that_is_not_finite_changes_nothing(
    make: Callable[..., Optimizer], bad: float, warm_up: int
) -> None:
    (theta, twin), (optimizer, reference) = np.ones((2, 5)), (make(RATES), make(RATES))
    poisoned = np.array([1.0, 2.0, bad, 4.0, 5.0])
    for _ in range(warm_up):
        optimizer.step(theta, np.ones(5), BLOCKS)
        reference.step(twin, np.ones(5), BLOCKS)
    with pytest.raises(ValueError, match=rf"^\[{make.__name__}\.step\] gradient is finite"):
        optimizer.step(theta, poisoned, BLOCKS)
    np.testing.assert_array_equal(theta, twin)
    optimizer.step(theta, np.arange(5.0), BLOCKS)
    reference.step(twin, np.arange(5.0), BLOCKS)
    np.testing.assert_array_equal(theta, twin)


@both
def test_huge_finite_gradients_are_not_taken_for_infinite(make: Callable[..., Optimizer]) -> None:
    theta = np.zeros(5)
    make(1e-3).step(theta, np.array([1e150, 1e150, -1e150, 1e150, 1e150]), BLOCKS)
    assert np.isfinite(theta).all()
    assert theta[2] > 0


@both
@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"w": 0.1}, r"missing \['b'\], unknown \[\]"),
        ({"w": 0.1, "bias": 0.1}, r"missing \['b'\], unknown \['bias'\]"),
        ({"w": 0.1, "b": 0.1, "c": 1.0}, r"missing \[\], unknown \['c'\]"),
    ],
)
def test_rates_name_every_block(
    make: Callable[..., Optimizer], rates: dict[str, float], message: str
) -> None:
    theta = np.ones(5)
    with pytest.raises(ValueError, match=message):
        make(rates).step(theta, np.ones(5), BLOCKS)
    assert (theta == 1).all()


@both
@pytest.mark.parametrize(
    "blocks",
    [
        {},
        {"w": slice(0, 4)},
        {"w": slice(0, 6)},
        {"w": slice(1, 5)},
        {"w": slice(0, 3), "b": slice(2, 5)},
        {"w": slice(0, 2), "b": slice(3, 5)},
        {"w": slice(0, 5), "b": slice(5, 2), "c": slice(2, 5)},
        {"w": slice(0, 5, 2)},
        {"w": slice(0, 5, 2), "b": slice(0, 5)},
        {"w": slice(None)},
        {"w": slice(0, None), "b": slice(0, 5)},
    ],
)
def test_blocks_cover_the_vector_once(make: Callable[..., Optimizer], blocks: dict[str, slice]) -> None:
    with pytest.raises(ValueError, match="without gap or overlap"):
        make().step(np.ones(5), np.ones(5), blocks)


@given(st.lists(st.integers(0, 7), max_size=5), st.permutations(range(6)))
def test_any_partition_in_any_order_covers(cuts: list[int], shuffle: list[int]) -> None:
    edges = [0, *sorted(cuts), 7]
    named = {f"block {index}": slice(*pair) for index, pair in enumerate(pairwise(edges))}
    order = sorted(named, key=lambda name: shuffle[int(name[-1])])
    theta = np.zeros(7)
    SGD(1.0).step(theta, np.ones(7), {name: named[name] for name in order})
    assert (theta == -1).all()


@both
def test_arrays_that_do_not_fit_are_refused(make: Callable[..., Optimizer]) -> None:
    optimizer, frozen = make(), np.ones(5)
    frozen.flags.writeable = False
    optimizer.step(np.ones(5), np.ones(5), BLOCKS)
    for theta, gradient, message in (
        (np.ones(5), np.ones(4), "vectors of one length"),
        (np.ones((5, 1)), np.ones((5, 1)), "vectors of one length"),
        (frozen, np.ones(5), "read-only"),
        (np.ones(4), np.ones(4), "create a new optimizer"),
        (np.ones(5, np.float32), np.ones(5, np.float32), "create a new optimizer"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.step(theta, gradient, BLOCKS)
    for theta, gradient in ((np.ones(5), np.ones(5, np.float32)), (np.ones(5, int), np.ones(5, int))):
        with pytest.raises(TypeError, match="both float32 or float64"):
            make().step(theta, gradient, BLOCKS)
    for factor in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="factor lies in"):
            make().step(np.ones(5), np.ones(5), BLOCKS, factor)


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf])
def test_settings_out_of_range_are_refused(bad: float) -> None:
    for make in (SGD, Adam):
        for rate in (bad, {"w": 0.1, "b": bad}):
            with pytest.raises(ValueError, match="learning_rate lies in"):
                make(learning_rate=rate)
        for decay in (bad, {"w": 0.1, "b": bad}):
            with pytest.raises(ValueError, match="weight_decay lies in"):
                make(weight_decay=decay)
    for value in (bad, 1.0):
        with pytest.raises(ValueError, match="momentum lies in"):
            SGD(momentum=value)
        with pytest.raises(ValueError, match="beta1 lies in"):
            Adam(beta1=value)
        with pytest.raises(ValueError, match="beta2 lies in"):
            Adam(beta2=value)
    with pytest.raises(ValueError, match="epsilon is positive"):
        Adam(epsilon=min(bad, 0.0))


@pytest.mark.parametrize("optimizer", [SGD(learning_rate=0.1, momentum=0.9), Adam(learning_rate=0.1)])
def test_averages_of_vanished_gradients_never_become_subnormal(optimizer: SGD | Adam) -> None:
    theta, blocks = np.zeros(3, np.float32), {"theta": slice(0, 3)}
    optimizer.step(theta, np.array([1, -1e-20, 1e-35], np.float32), blocks)
    for _ in range(2000):
        optimizer.step(theta, np.zeros(3, np.float32), blocks)
        averages = optimizer._buffers[:-1]
        if optimizer._steps > 64:
            assert ((averages == 0) | (np.abs(averages) >= np.finfo(np.float32).tiny)).all()
    assert np.isfinite(theta).all()
