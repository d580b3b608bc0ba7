"""Fuzzing of the readers in Python: targets accept their seeds, and refuse damaged inputs with sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.readers import TARGETS, check, damaged


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_accepted(name: str, tmp_path: Path) -> None:
    seeds = TARGETS[name].seeds()
    assert len(seeds) > 1
    assert all(check(TARGETS[name], seed, tmp_path) for seed in seeds)


@pytest.mark.filterwarnings("ignore")  # a damaged table may be unusual data
@pytest.mark.parametrize("count", [200, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused_with_a_sentence(name: str, count: int, tmp_path: Path) -> None:
    accepted = sum(check(TARGETS[name], damaged(TARGETS[name], k), tmp_path) for k in range(count))
    assert accepted < count
