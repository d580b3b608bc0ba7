"""The description of the build."""

from __future__ import annotations

import re
from importlib import metadata

import equiprop as eq
import numpy as np
import pytest
from equiprop.config import config


def test_the_version_is_one_number_everywhere() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", eq.__version__)
    assert config()["version"] == eq.__version__
    try:
        installed = metadata.version("equiprop")
    except metadata.PackageNotFoundError:
        return
    assert installed == eq.__version__


def test_the_description_names_what_results_may_depend_on(capsys: pytest.CaptureFixture[str]) -> None:
    facts = config()
    assert facts["numpy"] == np.__version__
    assert facts["threads"] == eq.num_threads()
    assert {"compiler", "eigen", "pybind11", "simd", "python", "machine"} <= facts.keys()
    eq.show_config()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        [name, str(value).strip()] for name, value in facts.items()
    ]


def test_the_package_exports_what_it_lists() -> None:
    for name in (
        "HopfieldNetwork",
        "free_phase",
        "equilibrium_propagation",
        "recurrent_backpropagation",
        "Trainer",
    ):
        assert getattr(eq, name).__module__.startswith("equiprop.")
        assert getattr(eq, name).__doc__
