"""Replays of certificates of devices: measured again if their functions can be imported, and compared."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify

X, Y = np.array([[1.0, 0.5], [0.2, -0.4]]), np.array([[1.0, 0.0], [0.3, 0.1]])
SOURCE = """
import numpy as np

theta = np.array([2.0, 3.0])
gain, noise, random = 1.0, 0.0, np.random.default_rng(5)


def relax(x, beta, y):
    s = (gain * x + beta * y) / (theta + beta)
    return (s + noise * random.standard_normal(s.shape))[None]


def contrast(x, s):
    return (s**2 / 2).sum(axis=0)


sent = np.zeros(2)


def send(parameters):
    sent[:] = parameters


def relax_sent(x, beta, y):
    return ((x + beta * y) / (sent + beta))[None]


class Device:
    def __init__(self):
        self.theta, self.calls = np.array([2.0, 3.0]), 0

    def relax(self, x, beta, y):
        self.calls += 1
        return ((x + beta * y) / (self.theta + beta))[None]

    def contrast(self, x, s):
        return (s**2 / 2).sum(axis=0)
"""


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module with the functions of a device."""
    (tmp_path / "linear_device.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("linear_device")
    del sys.modules["linear_device"]


def saved(folder: Path, box: eq.BlackBox, **settings: Any) -> Path:
    report = verify.black_box(box, X, Y, **settings)
    assert report.passed, str(report)
    report.save(folder / "device.json")
    return folder / "device.json"


def boxes(device: Any) -> dict[str, eq.BlackBox]:
    one = device.Device()
    return {
        "array of the module": eq.BlackBox(device.relax, device.contrast, device.theta, 2),
        "methods": eq.BlackBox(one.relax, one.contrast, one.theta, 2),
        "parameters that are sent": eq.BlackBox(
            device.relax_sent, device.contrast, np.array([2.0, 3.0]), 2, device.send
        ),
    }


@pytest.mark.parametrize("kind", ["array of the module", "methods", "parameters that are sent"])
def test_a_device_that_repeats_is_measured_again_with_equal_bits(
    kind: str, device: ModuleType, tmp_path: Path
) -> None:
    path = saved(tmp_path, boxes(device)[kind], tolerance=1e-3)
    replayed = verify.replay(path)
    assert replayed.identical, str(replayed)
    assert "measured again, and its relaxations repeat: all bits were compared" in str(replayed)
    assert isinstance(replayed.certificate.cases[0].reports[0], verify.BlackBoxReport)


def test_another_device_differs(device: Any, tmp_path: Path) -> None:
    path = saved(tmp_path, boxes(device)["array of the module"], tolerance=1e-3)
    device.theta[:] = 7.0  # the replay sends the parameters of the file
    assert verify.replay(path).identical
    device.gain = 1 + 1e-15
    replayed = verify.replay(path)
    assert not replayed.identical
    assert replayed.changed_figures > 0


def test_a_device_with_noise_is_compared_by_statistics(device: Any, tmp_path: Path) -> None:
    device.noise = 1e-4
    box = boxes(device)["array of the module"]
    path = saved(tmp_path, box, repeats=12)
    replayed = verify.replay(path)
    assert replayed.identical, str(replayed)
    assert "a device with noise was measured again: the verdicts were compared, and" in str(replayed)
    device.gain = 1.1
    assert verify.replay(path).identical  # another gain changes the gradient, not the claim
    device.contrast.__code__ = (lambda x, s: -(s**2 / 2).sum(axis=0)).__code__
    replayed = verify.replay(path)
    assert not replayed.identical
    assert "black-box was holds, is fails" in replayed.differences
    assert any("the noise of both explains a difference of" in text for text in replayed.differences)


def test_noise_alone_makes_few_replays_differ(device: Any, tmp_path: Path) -> None:
    device.noise = 1e-4
    path = saved(tmp_path, boxes(device)["array of the module"], repeats=6, significance=0.05)
    found = [verify.replay(path).identical for _ in range(25)]
    assert found.count(False) <= 6  # 1.25 are expected at most; more than 6 have a probability below 0.1 %


def test_a_device_that_cannot_be_imported_is_judged_by_its_figures(device: Any, tmp_path: Path) -> None:
    theta = np.array([2.0, 3.0])
    box = eq.BlackBox(lambda x, b, y: ((x + b * y) / (theta + b))[None], device.contrast, theta, 2)
    replayed = verify.replay(saved(tmp_path, box, tolerance=1e-3))
    assert replayed.identical
    assert "judged again by its figures: relax is not a function or a method of a module" in str(replayed)


def test_a_source_that_changed_is_refused(device: ModuleType, tmp_path: Path) -> None:
    path = saved(tmp_path, boxes(device)["array of the module"], tolerance=1e-3)
    (tmp_path / "linear_device.py").write_text(SOURCE + "\n")
    with pytest.raises(ValueError, match=r"\[replay\] the source of linear_device:.* differs"):
        verify.replay(path)
