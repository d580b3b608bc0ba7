"""The advice on planted faults names their cause, and correct models and devices pass without advice."""

from __future__ import annotations

import warnings
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from planted import DEVICES, MODELS, Device

X = np.random.default_rng(1).normal(size=(3, 3))
Y = np.random.default_rng(2).normal(size=(3, 2))
#: A cause stands among the first sentences.
FIRST = 3


def reports(model: Any, x: Any = X, y: Any = Y) -> list[verify.Report]:
    """Return the reports on a model; a warning about its free phase is not the subject."""
    solver = eq.Euler(tolerance=1e-14, max_iterations=3000, step_size=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        problem = verify.prepare("test", model, x, y, eq.SquaredError(), solver)
        return [verify.derivatives(problem), verify.equivalence(problem, steps=20)]


def named(sentences: list[str], words: tuple[str, ...]) -> bool:
    return any(word in sentence for word in words for sentence in sentences)


@pytest.mark.parametrize("fault", MODELS)
def test_the_cause_inside_a_model_is_named(fault: str) -> None:
    build, words = MODELS[fault]
    found = reports(build())
    assert not all(report.passed for report in found)
    sentences = [sentence for report in found for sentence in report.all_advice()[:FIRST]]
    assert named(sentences, words), sentences


@pytest.mark.parametrize("fault", DEVICES)
def test_the_cause_inside_a_device_is_named(fault: str) -> None:
    device = Device(fault)
    report = verify.black_box(device.box, device.x, device.y, max_differences=6)
    assert not report.passed
    assert named(list(report.all_advice()[:FIRST]), DEVICES[fault]), report.all_advice()
