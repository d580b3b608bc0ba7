"""The command `equiprop train`: its output, files and exit status, also if the training ends early."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from commands import Capture, error_of, run, run_json
from equiprop import plotting
from equiprop.cli import data
from idx_files import write_mnist
from image_files import LAYOUTS, write_cifar
from runs import COMPLETE, DIGITS, STEPS, Files, contents

KEYS = {
    "epoch",
    "train_error",
    "test_error",
    "validation_error",
    "objective",
    "free_iterations",
    "second_iterations",
    "residual",
    "unconverged",
    "seconds",
}


def test_training_prints_a_table_and_keeps_model_and_history(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "new" / "folder"
    lines = run(capsys, *DIGITS, "--output", folder).splitlines()
    assert "64-12-10" in lines[0]
    assert lines[0].endswith(f"results go to {folder}/")
    assert lines[1].split()[0] == "epoch"
    assert [line.split()[0] for line in lines[2:4]] == ["1", "2"]
    error = float(re.fullmatch(r"test error (\S+) % .*", lines[4]).group(1))  # type: ignore[union-attr]
    model = eq.load(folder / "model.safetensors")
    test = eq.load_digits()[1]
    assert error == pytest.approx(100 * eq.Trainer(model).evaluate(test).error, abs=0.006)
    records = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    assert all(record.keys() == KEYS for record in records)
    assert records[-1]["test_error"] == pytest.approx(error / 100, abs=6e-5)
    assert sorted(contents(folder)) == COMPLETE
    assert (folder / "log.txt").read_text().splitlines() == lines
    assert json.loads((folder / "result.json").read_text())["test_error"] == records[-1]["test_error"]
    finished = eq.load(folder / "checkpoint.safetensors")
    assert (finished.steps, finished.unfinished) == (2 * STEPS, None)
    np.testing.assert_array_equal(finished.model.parameters, model.parameters)


def test_training_as_json_is_one_object(tmp_path: Path, capsys: Capture) -> None:
    result = run_json(capsys, *DIGITS, "--output", tmp_path, "--validation", "0.2")
    records = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert result["history"] == records
    assert result["test_error"] == records[-1]["test_error"]
    assert all(0 <= record["validation_error"] <= 1 for record in records)
    evaluated = run_json(capsys, "evaluate", result["model"], "digits")
    assert evaluated["test_error"] == result["test_error"]
    assert evaluated["objective"] > 0


def test_two_runs_give_the_same_bytes_and_another_seed_others(
    trained: Files, tmp_path: Path, capsys: Capture
) -> None:
    models = []
    for folder, words in [("a", ["--threads", 1]), ("b", ["--threads", 2]), ("c", ["--seed", 1])]:
        run(capsys, *DIGITS, "--output", tmp_path / folder, *words)
        models.append((tmp_path / folder / "model.safetensors").read_bytes())
    eq.set_num_threads(0)
    assert models[0] == models[1] == trained["model.safetensors"]
    assert models[0] != models[2]


@pytest.mark.parametrize("layers", [[12], [9, 8, 7]])
def test_the_parameters_are_those_of_the_trainer_to_the_bit(
    layers: list[int], tmp_path: Path, capsys: Capture
) -> None:
    run(capsys, *DIGITS, "--layers", *layers, "--output", tmp_path)
    net = eq.HopfieldNetwork([64, *layers, 10], seed=0)
    eq.Trainer(net, schedule=eq.optimizers.cosine()).fit(eq.load_digits()[0], epochs=2)
    np.testing.assert_array_equal(eq.load(tmp_path / "model.safetensors").parameters, net.parameters)


@pytest.mark.parametrize(
    "words",
    [
        "--second-phase rbp --linear-solver cg",
        "--second-phase rbp --linear-solver richardson",
        "--nudging exact --dtype float64",
        "--nudging random_sign --beta 0.02 --cost cross-entropy",
        "--nudging one_sided --optimizer adam --schedule constant --weight-decay 1e-4",
        "--solver fixed-point --activation tanh --output-activation sigmoid",
        "--solver euler --activation tanh --potential quadratic --tolerance 0 --max-iterations 20",
        "--layers 8 6 --batch-size 100 --validation 0.1 --patience 1",
    ],
)
@pytest.mark.filterwarnings("ignore::equiprop.ConvergenceWarning")
def test_every_option_trains(words: str, tmp_path: Path, capsys: Capture) -> None:
    first, second = run_json(capsys, *DIGITS, "--output", tmp_path, *words.split())["history"]
    assert 0 < second["objective"] < first["objective"]


@pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")  # the learning rate is too small
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_learning_rate_of_zero_changes_nothing(optimizer: str, tmp_path: Path, capsys: Capture) -> None:
    run(capsys, *DIGITS, "--output", tmp_path, "--learning-rate", 0, "--optimizer", optimizer)
    trained = eq.load(tmp_path / "model.safetensors")
    start = eq.Trainer(eq.HopfieldNetwork([64, 12, 10], seed=0))
    start.prepare(eq.load_digits()[0])
    np.testing.assert_array_equal(trained.parameters, start.model.parameters)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_other_sets_of_images_are_read_from_their_files(name: str, tmp_path: Path, capsys: Capture) -> None:
    write_cifar(tmp_path, LAYOUTS[name])
    words = ["--data-dir", tmp_path]
    (told,) = error_of(capsys, "train", name, "--output", tmp_path / "o")
    assert told.endswith(f"equiprop.download.fetch_{name}(folder) downloads the data set.")
    result = run_json(capsys, "train", name, *words, "--layers", 5, "--epochs", 1, "--output", tmp_path / "o")
    line = run(capsys, "evaluate", result["model"], name, *words)
    assert "of 4" in line
    assert f"{100 * result['test_error']:.2f} %" in line


def test_mnist_is_read_from_its_files(tmp_path: Path, capsys: Capture) -> None:
    write_mnist(tmp_path, count=20)
    words = ["--data-dir", tmp_path]
    result = run_json(
        capsys, "train", "mnist", *words, "--layers", 5, "--epochs", 1, "--output", tmp_path / "o"
    )
    assert eq.load(result["model"]).num_inputs == 784
    line = run(capsys, "evaluate", result["model"], "mnist", *words)
    assert "of 20" in line
    assert f"{100 * result['test_error']:.2f} %" in line


def test_plots_are_drawn(tmp_path: Path, capsys: Capture) -> None:
    run(capsys, *DIGITS, "--epochs", 1, "--output", tmp_path, "--plot")
    for name in ("learning_curve.png", "relaxation.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "words",
    [
        "--layers -3",
        "--layers 100000000000",
        "--beta 2",
        "--momentum 1",
        "--max-iterations -1",
        "--batch-size 0",
        "--epochs 0",
        "--validation 1.0",
        "--patience 2",
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_touched(
    words: str, trained: Files, good: Path, capsys: Capture
) -> None:
    for output in ([good, "--overwrite"], [good / "new" / "folder"]):
        (line,) = error_of(capsys, *DIGITS, "--output", *output, *words.split())
        assert line.startswith("equiprop train: error: [")
    assert contents(good) == trained
    assert [path for path in good.iterdir() if path.is_dir()] == []


def unreadable(*_: Any) -> Any:
    raise FileNotFoundError("[load_digits] no data")


def missing(where: str) -> Any:
    raise ImportError(f"[{where}] A plot needs matplotlib.")


@pytest.mark.parametrize(
    ("module", "name", "function"),
    [(data, "load_digits", unreadable), (plotting, "require_matplotlib", missing)],
)
def test_data_and_libraries_that_are_missing_end_a_run_before_anything_is_touched(
    module: Any,
    name: str,
    function: Any,
    trained: Files,
    good: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, name, function)
    for output in ([good, "--overwrite"], [good / "new"]):
        error_of(capsys, *DIGITS, "--plot", "--output", *output)
    assert contents(good) == trained


@pytest.mark.parametrize("locked", [False, True])
def test_a_folder_that_cannot_be_written_is_refused_before_training(
    locked: bool, tmp_path: Path, capsys: Capture, end_at: Callable[..., None]
) -> None:
    if locked and os.geteuid() == 0:
        pytest.skip("root can write everywhere")
    end_at(0, lambda _: pytest.fail("training began"))
    taken = tmp_path / "taken"
    if locked:
        taken.mkdir(0o500)
    else:
        taken.write_text("")
    (line,) = error_of(capsys, *DIGITS, "--output", taken / "new")
    assert repr(str(taken)) in line


def test_early_stopping_says_which_epoch_is_kept(tmp_path: Path, capsys: Capture) -> None:
    words = ["--validation", 0.1, "--patience", 1, "--epochs", 40]
    lines = run(capsys, *DIGITS, *words, "--output", tmp_path).splitlines()
    assert lines[1].split()[:7] == ["epoch", "train", "err", "valid", "err", "test", "err"]
    records = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    errors = [record["validation_error"] for record in records]
    best = int(np.argmin(errors))
    assert len(records) == best + 2 < 40
    assert lines[2].split()[2] == f"{100 * errors[0]:.2f}%"
    assert lines[-2] == (
        f"stopped early, after epoch {len(records)}; the model is that of epoch {best + 1}, "
        f"validation error {100 * errors[best]:.2f} %"
    )
    assert f"test error {100 * records[best]['test_error']:.2f} %" in lines[-1]
