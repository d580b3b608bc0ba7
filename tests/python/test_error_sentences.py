"""Errors and logs of runs, files, labels and nudging factors say what happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import equiprop as eq
import numpy as np
import pytest
from commands import Capture, error_of, run
from runs import DIGITS, diverge


def test_a_run_without_a_checkpoint_says_that_it_starts_again(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "run"
    run(capsys, *DIGITS, "--output", folder)
    for name in ("result.json", "checkpoint.safetensors"):
        (folder / name).unlink()
    line = f"{folder} has no checkpoint.safetensors; the run starts from the beginning"
    assert line in run(capsys, "train", "--resume", folder).splitlines()
    assert line in (folder / "log.txt").read_text().splitlines()


def test_the_log_of_a_failed_run_ends_with_its_error(
    tmp_path: Path, capsys: Capture, end_at: Callable[..., None]
) -> None:
    end_at(40, diverge)
    told = error_of(capsys, *DIGITS, "--output", tmp_path, status=2)
    assert (tmp_path / "log.txt").read_text().splitlines()[-2:] == told


def test_files_without_data_are_refused_in_one_sentence(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty.csv").write_text("")
    (line,) = error_of(capsys, "evaluate", tmp_path, "digits")
    assert line.endswith(f"cannot read '{tmp_path}': Is a directory.")
    eq.save(eq.HopfieldNetwork([3, 4, 2]), tmp_path / "model.safetensors")
    (line,) = error_of(capsys, "predict", tmp_path / "model.safetensors", tmp_path / "empty.csv")
    assert line.endswith(f"A CSV file has samples. Received none in '{tmp_path / 'empty.csv'}'.")


def test_labels_beyond_int64_are_shown_as_they_are() -> None:
    labels = np.array([0, 2**63], np.uint64)
    rule = r"^\[Trainer\.step\] Class labels are 0 to 1\. Received 0 to 9223372036854775808\.$"
    with pytest.raises(ValueError, match=rule):
        eq.Trainer(eq.HopfieldNetwork([2, 8, 2])).step(np.eye(2), labels)


@pytest.mark.parametrize("beta", [np.nan, np.inf, 0.0])
def test_a_wrong_beta_names_random_sign(beta: float) -> None:
    rule = r"^\[random_sign\] beta is a finite number other than 0\. Received (nan|inf|0)\.$"
    with pytest.raises(ValueError, match=rule):
        eq.random_sign(beta)
