"""Schedules of learning rates satisfy their formulas."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from equiprop.optimizers import Schedule, constant, cosine, cosine_restarts, exponential, warm_up
from hypothesis import given
from hypothesis import strategies as st

unit = st.floats(0.0, 0.99)
schedules = st.one_of(st.just(constant()), st.floats(0, 1).map(cosine), st.floats(1e-3, 1).map(exponential))


@given(schedules, st.floats(0, 1), st.floats(0, 1))
def test_schedules_start_at_one_and_never_rise(schedule: Schedule, one: float, other: float) -> None:
    assert schedule(0.0) == pytest.approx(1.0)
    assert schedule(min(one, other)) >= schedule(max(one, other)) - 1e-12
    assert pickle.loads(pickle.dumps(schedule))(one) == schedule(one)


@given(st.floats(1e-3, 2), unit)
def test_schedules_end_at_the_final_factor_with_their_own_shape(final: float, progress: float) -> None:
    assert cosine(final)(1.0) == pytest.approx(final)
    assert exponential(final)(1.0) == pytest.approx(final)
    mirrored = cosine(final)(progress) + cosine(final)(1 - progress)
    assert mirrored == pytest.approx(1 + final)
    assert exponential(final)(progress) == pytest.approx(exponential(final)(progress / 2) ** 2)
    assert constant()(progress) == 1.0


@pytest.mark.parametrize("progress", [-0.01, 1.01, math.nan])
def test_schedules_refuse_what_they_cannot_mean(progress: float) -> None:
    for schedule in (constant(), cosine(), exponential(0.1)):
        with pytest.raises(ValueError, match="progress lies in"):
            schedule(progress)
    for make, bad in ((cosine, -0.1), (cosine, math.inf), (exponential, 0.0), (exponential, math.nan)):
        with pytest.raises(ValueError, match=r"^\[(cosine|exponential)\] final"):
            make(bad)


@pytest.mark.parametrize(("cycles", "growth"), [(1, 2), (3, 1), (3, 2), (4, 3)])
def test_restarts_are_those_of_pytorch(cycles: int, growth: int) -> None:
    torch = pytest.importorskip("torch")
    first = 7
    count = first * sum(growth**k for k in range(cycles))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    kind = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts
    other, schedule = kind(optimizer, first, growth, eta_min=0.1), cosine_restarts(cycles, growth, 0.1)
    for step in range(count):
        assert schedule(step / count) == pytest.approx(other.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        other.step()
    assert schedule(1.0) == pytest.approx(0.1)


def test_a_warm_up_before_a_cosine_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    schedulers = torch.optim.lr_scheduler
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    parts = [
        schedulers.LinearLR(optimizer, start_factor=0.25, total_iters=10),
        schedulers.CosineAnnealingLR(optimizer, T_max=30),
    ]
    other = schedulers.SequentialLR(optimizer, parts, milestones=[10])
    schedule = warm_up(0.25, cosine(), start=0.25)
    for step in range(40):
        assert schedule(step / 40) == pytest.approx(other.get_last_lr()[0], rel=1e-9, abs=1e-12)
        optimizer.step()
        other.step()


@given(st.floats(0.01, 0.99), st.floats(0, 1), st.floats(0, 1))
def test_a_warm_up_rises_to_the_schedule_that_it_leads_to(part: float, start: float, place: float) -> None:
    schedule, then = warm_up(part, exponential(0.1), start), exponential(0.1)
    assert schedule(part * place * 0.999) == pytest.approx(start + (1 - start) * place * 0.999)
    assert schedule(min(part + (1 - part) * place, 1.0)) == pytest.approx(then(place))
    assert warm_up(part)(1.0) == 1.0
    assert warm_up(part, cosine_restarts(1))(1.0) == pytest.approx(0.0, abs=1e-12)


def test_composed_schedules_can_be_pickled() -> None:
    schedule = warm_up(0.1, cosine_restarts(3, 2.0, 0.1))
    twin = pickle.loads(pickle.dumps(schedule))
    assert [twin(k / 50) for k in range(51)] == [schedule(k / 50) for k in range(51)]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: cosine_restarts(0), ValueError, r"\[cosine_restarts\] cycles is 1 to 1000\. Received 0\."),
        (lambda: cosine_restarts(2.0), TypeError, r"\[cosine_restarts\] cycles is a whole number"),  # type: ignore[arg-type]
        (lambda: cosine_restarts(3, 0.5), ValueError, "growth is at least 1"),
        (lambda: cosine_restarts(3, math.inf), ValueError, "below 1e300"),
        (lambda: cosine_restarts(1000, 9.0), ValueError, "below 1e300"),
        (lambda: cosine_restarts(3, math.nan), ValueError, "growth is at least 1"),
        (lambda: cosine_restarts(3, final=-1.0), ValueError, r"\[cosine_restarts\] final lies in"),
        (lambda: warm_up(0.0), ValueError, r"\[warm_up\] part lies in \(0, 1\)\. Received 0\.0\."),
        (lambda: warm_up(1.0), ValueError, r"\[warm_up\] part lies in"),
        (lambda: warm_up("a"), TypeError, r"\[warm_up\] part is a number"),  # type: ignore[arg-type]
        (lambda: warm_up(0.1, start=1.5), ValueError, r"\[warm_up\] start lies in \[0, 1\]"),
        (
            lambda: warm_up(0.1, 3),
            TypeError,
            r"\[warm_up\] then is a schedule, such as cosine\(\)\. Received 3",
        ),  # type: ignore[arg-type]
        (lambda: warm_up(0.1)(1.5), ValueError, r"\[warm_up\] progress lies in"),
        (lambda: cosine_restarts(2)(-0.1), ValueError, r"\[cosine_restarts\] progress lies in"),
    ],
)
def test_schedules_refuse_wrong_arguments(
    make: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()
