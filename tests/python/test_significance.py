"""The F distribution of the tests of noisy recordings, against SciPy and closed forms."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
from equiprop.verify.significance import limit, one_sided, survival, two_sided

DOFS = (1, 2, 3.5, 9, 459, 1e4)
NOISE_DOFS = (1, 2, 7.3, 50, 1e3, 1e5, math.inf)


@pytest.mark.parametrize("noise_dof", NOISE_DOFS)
@pytest.mark.parametrize("dof", DOFS)
def test_tails_and_limits_are_those_of_scipy(dof: float, noise_dof: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    for p in (0.9, 0.5, 0.1, 1e-2, 1e-4):
        known = math.isinf(noise_dof)
        ratio = float(stats.chi2.isf(p, dof) / dof if known else stats.f.isf(p, dof, noise_dof))
        assert survival(ratio, dof, noise_dof) == pytest.approx(p, rel=1e-7)
        assert limit(p, dof, noise_dof) == pytest.approx(ratio, rel=1e-7)


def test_special_cases_have_their_closed_forms() -> None:
    for z in (0.1, 1.0, 3.0, 8.0):
        assert survival(z**2, 1, math.inf) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-12)
        assert survival(z, 2, math.inf) == pytest.approx(math.exp(-z), rel=1e-12)
        assert survival(z**2, 1, 1) == pytest.approx(1 - 2 * math.atan(z) / math.pi, rel=1e-12)
        assert survival(z, 2, 6) == pytest.approx((1 + z / 3) ** -3, rel=1e-12)
    for p in (0.2, 0.01, 1e-6):
        assert two_sided(p, math.inf) == pytest.approx(NormalDist().inv_cdf(1 - p / 2), rel=1e-9)
        assert one_sided(p, math.inf) == pytest.approx(NormalDist().inv_cdf(1 - p), rel=1e-9)


def test_ends_of_the_range() -> None:
    for noise_dof in (3.0, math.inf):
        assert survival(0.0, 4, noise_dof) == 1
        assert survival(math.inf, 4, noise_dof) == 0
        assert survival(1e300, 4, noise_dof) <= 1e-300
        assert math.isnan(survival(math.nan, 4, noise_dof))
