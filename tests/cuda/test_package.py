"""The package of the kernels has the version of equiprop, which its users install with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("pattern", [r'^version = "(.*)"', r'"equiprop==(.*)"'])
def test_the_package_of_the_kernels_has_one_version_with_equiprop(pattern: str) -> None:
    own = (ROOT / "pyproject.toml").read_text()
    (version,) = re.findall(r'^version = "(.*)"', own, re.MULTILINE)
    package = (ROOT / "cpp" / "cuda" / "package" / "pyproject.toml").read_text()
    assert re.findall(pattern, package, re.MULTILINE) == [version]
    assert f'"equiprop-cuda=={version}"' in own
