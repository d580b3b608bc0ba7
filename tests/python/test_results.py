"""Results report the number of samples with each status, and advice."""

from __future__ import annotations

import dataclasses

import equiprop as eq
import numpy as np
import pytest
from equiprop import Status
from equiprop.results import Outcome, advise
from hypothesis import given
from hypothesis import strategies as st
from networks import chain, inputs, labels

statuses = st.lists(st.sampled_from(list(Status)), min_size=1, max_size=20)
WORDS = {
    Status.CONVERGED: "converged",
    Status.FIXED_STEPS: "ran the requested steps",
    Status.INACCURATE: "converged, but too loosely for an accurate gradient",
    Status.MAX_ITERATIONS: "did not reach the tolerance",
    Status.INDEFINITE: "met negative curvature",
    Status.DIVERGED: "diverged to infinity or NaN",
}


def outcome(status: list[Status]) -> Outcome:
    n, statuses = len(status), np.array(status, np.int8)
    advice = advise(statuses, lambda failure: f"Cure {failure.name}.")
    numbers = np.linspace(0.1, 1, n)
    return Outcome(statuses, np.arange(n), numbers, np.zeros(n, np.int64), numbers, advice=advice)


@given(statuses)
def test_a_summary_counts_every_kind_and_advises_on_failures(status: list[Status]) -> None:
    first, *advice = outcome(status).summary().splitlines()
    assert first.startswith(f"{len(status)} samples: ")
    for kind, words in WORDS.items():
        assert (f"{status.count(kind)} {words}" in first) == (kind in status)
    failures = {kind for kind in status if kind > Status.FIXED_STEPS}
    assert advice == [f"Cure {kind.name}." for kind in sorted(failures)]
    assert f"{len(status) - 1} at most" in first
    assert outcome(status).converged == (not failures)


def test_a_summary_tells_of_fall_backs_where_there_are_some() -> None:
    plain = outcome([Status.CONVERGED] * 2)
    accelerated = dataclasses.replace(plain, fallbacks=np.array([0, 3]))
    assert "fell back" not in plain.summary()
    assert accelerated.summary().endswith("; the acceleration fell back 1.5 times on average.")


@given(statuses)
def test_only_failures_are_reported(status: list[Status]) -> None:
    result = outcome(status)
    result.report_failure("here", "ignore")
    if result.converged:
        result.report_failure("here", "warn")
        result.report_failure("here", "raise")
        return
    with pytest.warns(eq.ConvergenceWarning, match=r"^\[here\] \d+ samples"):
        result.report_failure("here", "warn")
    with pytest.raises(eq.ConvergenceError, match=r"^\[here\] \d+ samples") as failure:
        result.report_failure("here", "raise")
    assert failure.value.outcome is result


def test_the_order_of_statuses_is_that_of_worry() -> None:
    assert list(Status) == sorted(Status)
    assert [status.name for status in Status] == [
        "CONVERGED",
        "FIXED_STEPS",
        "INACCURATE",
        "MAX_ITERATIONS",
        "INDEFINITE",
        "DIVERGED",
    ]


def test_results_print_themselves_in_a_few_lines() -> None:
    net = chain()
    free = eq.free_phase(net, inputs(net))
    gradient = eq.recurrent_backpropagation(net, free, labels(net))
    assert str(free).splitlines()[0] == f"Free phase of {net!r}"
    assert str(free).splitlines()[1] == free.summary()
    assert str(gradient).splitlines()[0] == f"Gradient of {net!r}, objective {gradient.objective:.6g}"
    assert "fingerprint" not in repr(free)
    assert "model" not in repr(gradient)


def test_results_cannot_be_overwritten() -> None:
    free = eq.free_phase(chain(), inputs(chain()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        free.state = free.state + 1  # type: ignore[misc]
