"""The example that drives ngspice, with an output that ngspice 39 printed; ngspice is not needed."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import equiprop as eq
import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "07_ngspice_network.py"
X, BETA, Y = np.array([[-1.0, 1.0], [1.0, 0.5]]), 0.5, np.array([[1.0], [0.0]])
PRINTED = """
Note: No compatibility mode selected!


Circuit: resistors and diodes

Doing analysis at TEMP = 27.000000 and TNOM = 27.000000


No. of Data Rows : 1
v(n0_5) = 9.445423552686e-01
v(n0_6) = 4.243678470210e-01
v(n0_7) = 5.266558458566e-02
v(n0_8) = 4.213729913402e-01
v(n0_9) = 5.352256636621e-01
v(n0_10) = -5.99443522645e-01
v(n0_11) = 8.370007803438e-01
v(n1_5) = 5.006543108458e-01
v(n1_6) = 4.062698693906e-01
v(n1_7) = 1.679366132338e+00
v(n1_8) = 3.843529317637e-01
v(n1_9) = -3.79774485875e-01
v(n1_10) = 9.509438502981e-02
v(n1_11) = 9.209986884105e-01
ngspice-39 done
"""


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ngspice_network", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_printed_voltages_obey_kirchhoffs_laws(example: ModuleType) -> None:
    """Currents into each node in mA sum to zero, with the diode law I_S (exp(v / V_T) - 1) at 27 C."""
    nodes = np.hstack([example.sources(X), example.voltages(PRINTED, 2)])
    currents = np.zeros_like(nodes)
    for (a, b), t in zip(example.pairs, example.theta, strict=True):
        through = np.exp(t) * (nodes[:, a] - nodes[:, b])
        currents[:, a] -= through
        currents[:, b] += through
    thermal = 1.380649e-23 * 300.15 / 1.602176634e-19
    for h in example.HIDDEN:
        v = nodes[:, h] * (-1 if h % 2 else 1)
        currents[:, h] -= (-1 if h % 2 else 1) * 1e-6 * np.expm1(v / thermal)
    currents[:, example.OUTPUT] -= BETA * (nodes[:, example.OUTPUT] - Y[:, 0])
    assert np.abs(currents[:, 5:]).max() < 1e-4  # of currents of 10 mA; constants of ngspice have six digits
    assert np.abs(currents[:, example.OUTPUT]).max() < 1e-8


def test_the_netlist_names_every_element(example: ModuleType) -> None:
    lines = example.netlist(example.theta, X, BETA, Y).splitlines()
    kinds = [line[0] for line in lines[2:] if line[0] in "VRDB"]
    assert kinds.count("R") == 2 * len(example.pairs)
    assert (kinds.count("V"), kinds.count("D"), kinds.count("B")) == (10, 12, 2)
    assert f"R1_0 n1_0 n1_5 {1e3 * np.exp(-example.theta[0]):.12g}" in lines


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
def test_ngspice_gives_the_recorded_voltages_and_the_gradient(example: ModuleType) -> None:
    np.testing.assert_allclose(example.relax(X, BETA, Y)[0], example.voltages(PRINTED, 2), rtol=1e-6)
    report = eq.verify.black_box(
        example.circuit, X, Y, beta=0.3, step=0.05, tolerance=1e-3, max_differences=3
    )
    assert report.passed, str(report)
