"""The command line: what it prints, writes and returns."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import cli, training
from equiprop.cli import main
from idx_files import write_mnist
from networks import chain

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
DIGITS = ["train", "digits", "--layers", "12", "--epochs", "2"]
Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *words: Any, status: int = 0) -> str:
    """Run a command, check its exit status, and return what it printed."""
    assert main([str(word) for word in words]) == status
    output = capsys.readouterr()
    assert (output.err == "") == (status in (0, 1))
    return output.out


def run_json(capsys: Capture, *words: Any, status: int = 0) -> dict[str, Any]:
    output = run(capsys, *words, "--json", status=status)
    assert output.count("\n") == 1
    result: dict[str, Any] = json.loads(output)
    assert result["command"] == words[0]
    return result


def test_training_prints_a_table_and_keeps_model_and_history(tmp_path: Path, capsys: Capture) -> None:
    output = run(capsys, *DIGITS, "--output", tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    lines = output.splitlines()
    assert "64-12-10" in lines[0]
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
    assert sorted(path.name for path in folder.iterdir()) == ["history.jsonl", "model.safetensors"]


def test_training_as_json_is_one_object(tmp_path: Path, capsys: Capture) -> None:
    result = run_json(capsys, *DIGITS, "--output", tmp_path, "--validation", "0.2")
    records = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert result["history"] == records
    assert result["test_error"] == records[-1]["test_error"]
    assert all(0 <= record["validation_error"] <= 1 for record in records)
    evaluated = run_json(capsys, "evaluate", result["model"], "digits")
    assert evaluated["test_error"] == result["test_error"]
    assert evaluated["objective"] > 0
    assert evaluated["unconverged"] == 0


def test_an_error_rate_of_states_that_are_not_at_rest_comes_with_a_warning(
    tmp_path: Path, capsys: Capture
) -> None:
    model = tmp_path / "model.safetensors"
    eq.save(eq.HopfieldNetwork([64, 20, 20, 10], seed=0), model)
    words = ["evaluate", model, "digits", "--tolerance", 1e-6, "--max-iterations"]
    with pytest.warns(eq.ConvergenceWarning, match="did not reach the tolerance.*\nRaise max_iterations"):
        assert run_json(capsys, *words, 1)["unconverged"] > 0
    assert run_json(capsys, *words, 1000)["unconverged"] == 0


def test_two_runs_give_the_same_bytes_and_another_seed_others(tmp_path: Path, capsys: Capture) -> None:
    contents = []
    for folder, words in [("a", ["--threads", 1]), ("b", ["--threads", 2]), ("c", ["--seed", 1])]:
        run(capsys, *DIGITS, "--output", tmp_path / folder, *words)
        contents.append((tmp_path / folder / "model.safetensors").read_bytes())
    eq.set_num_threads(0)
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


@pytest.mark.parametrize(
    "words",
    [
        "--second-phase rbp --linear-solver cg",
        "--second-phase rbp --linear-solver richardson",
        "--nudging exact --dtype float64",
        "--nudging random_sign --beta 0.1 --cost cross-entropy",
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


def test_a_learning_rate_of_zero_changes_nothing(tmp_path: Path, capsys: Capture) -> None:
    for optimizer in ("sgd", "adam"):
        run(capsys, *DIGITS, "--output", tmp_path, "--learning-rate", 0, "--optimizer", optimizer)
        trained = eq.load(tmp_path / "model.safetensors")
        fresh = eq.HopfieldNetwork([64, 12, 10], seed=0)
        np.testing.assert_array_equal(trained.parameters, fresh.parameters)


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
    run(capsys, *DIGITS, "--output", tmp_path, "--plot")
    run(capsys, "verify", "--layers", 3, 2, "--activation", "tanh", "--plot", tmp_path / "theorem.png")
    for name in ("learning_curve.png", "relaxation.png", "theorem.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_an_interrupted_training_keeps_its_model(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = training.Trainer.step
    count = 0

    def step(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == 40:
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    monkeypatch.setattr(training.Trainer, "step", step)
    assert main([*DIGITS, "--output", str(tmp_path)]) == 130
    told = capsys.readouterr().err.splitlines()
    assert told == [
        f"stopped; the model so far is in {tmp_path}/model.safetensors",
        "equiprop train: interrupted",
    ]
    model = eq.load(tmp_path / "model.safetensors")
    assert (model.parameters != eq.HopfieldNetwork([64, 12, 10], seed=0).parameters).any()
    assert (tmp_path / "history.jsonl").read_text().count("\n") == 1


def test_a_training_that_does_not_begin_leaves_the_old_model(tmp_path: Path, capsys: Capture) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"old")
    assert main([*DIGITS, "--output", str(tmp_path), "--patience", "2"]) == 2
    assert "stopped" not in capsys.readouterr().err
    assert model.read_bytes() == b"old"


def test_a_training_that_diverges_leaves_the_old_model(tmp_path: Path, capsys: Capture) -> None:
    assert main([*DIGITS, "--output", str(tmp_path)]) == 0
    good = (tmp_path / "model.safetensors").read_bytes()
    assert main([*DIGITS, "--output", str(tmp_path), "--learning-rate", "1e30"]) == 2
    assert "diverge" in capsys.readouterr().err
    assert (tmp_path / "model.safetensors").read_bytes() == good


def rows(case: dict[str, Any], claim: str) -> dict[str, Any]:
    return {r["label"]: r["value"] for c in case["claims"] if c["claim"] == claim for r in c["rows"]}


def test_verification_passes_on_random_networks(capsys: Capture) -> None:
    result = run_json(capsys, "verify", "--steps", 50)
    assert result["passed"] is True
    assert len(result["cases"]) == 9
    for case in result["cases"]:
        assert case["passed"]
        assert {c["claim"] for c in case["claims"]} | set(case["not_claimed"]) == set(eq.verify.CLAIMS)
        assert rows(case, "equality")["states, largest over all steps"] < 1e-12
        assert rows(case, "gradients")["EqProp, exact_limit"] < 1e-10
    text = run(capsys, "verify", "--layers", 3, 4, 2, "--activation", "tanh", "--samples", 1)
    assert text.startswith("HopfieldNetwork(3-4-2")
    assert text.endswith("All 11 claims hold, on 1 model.\n")


@pytest.mark.parametrize("claim", sorted(eq.verify.CLAIMS))
def test_each_claim_is_a_choice(claim: str, capsys: Capture) -> None:
    layers = ["--layers", 4, 6, 5, 3, "--activation", "hard_sigmoid" if claim == "bounded" else "tanh"]
    result = run_json(capsys, "verify", "--claims", claim, *layers, "--samples", 2)
    assert [c["claim"] for c in result["cases"][0]["claims"]] == [claim]
    assert result["passed"] is True


def test_verification_of_a_saved_model(tmp_path: Path, capsys: Capture) -> None:
    path = eq.save(chain(4, 6, 3, dtype="float32"), tmp_path / "model")
    words = ["verify", "--model", path, "--cost", "cross-entropy", "--claims", "equality", "limit"]
    result = run_json(capsys, *words)
    assert [case["network"] for case in result["cases"]] == [repr(eq.load(path).astype("float64"))]
    assert result["passed"] is True


def test_verification_on_images(tmp_path: Path, capsys: Capture) -> None:
    write_mnist(tmp_path)
    words = ["verify", "--layers", 784, 6, 10, "--activation", "tanh", "--claims", "equality"]
    result = run_json(capsys, *words, "--data", "mnist", "--data-dir", tmp_path, "--samples", 2)
    assert result["cases"][0]["problem"]["x"]["shape"] == [2, 784]
    assert result["passed"] is True


def test_a_failed_verification_ends_with_1(capsys: Capture) -> None:
    words = ["verify", "--layers", 3, 4, 2, "--activation", "tanh", "--claims", "equality", "limit"]
    text = run(capsys, *words, "--step-size", 50, status=1)
    assert "DOES NOT HOLD" in text
    assert "The step size 50 is beyond stability" in text
    assert text.endswith("1 of 2 claims hold, on 1 model.\n")
    assert run_json(capsys, *words, "--step-size", 50, status=1)["passed"] is False


def test_certificates_are_written_and_replayed(tmp_path: Path, capsys: Capture) -> None:
    page, figures = tmp_path / "report.html", tmp_path / "report.json"
    words = ["verify", "--layers", 3, 4, 2, "--activation", "tanh", "--claims", "equality", "limit"]
    run(capsys, *words, "--report", page, figures, "--plot", tmp_path / "theorem.png")
    assert "equiprop verify --layers 3 4 2" in page.read_text()
    assert "--seed 0" in json.loads(figures.read_text())["repeat_with"]
    assert (tmp_path / "theorem.png").stat().st_size > 1000
    text = run(capsys, "verify", "--replay", figures)
    assert "the bits of all 7 figures agree" in text
    stored = json.loads(figures.read_text())
    stored["cases"][0]["claims"][1]["rows"][0]["value"] *= 1 + 1e-15
    figures.write_text(json.dumps(stored))
    assert "1 of 7 figures differ" in run(capsys, "verify", "--replay", figures, status=1)
    assert run_json(capsys, "verify", "--replay", figures, status=1)["identical"] is False


def test_info_tells_of_the_build_and_of_a_model(tmp_path: Path, capsys: Capture) -> None:
    assert run_json(capsys, "info")["version"] == eq.__version__
    assert eq.__version__ in run(capsys, "info")
    net = chain(4, 6, 3)
    path = eq.save(net, tmp_path / "model")
    facts = run_json(capsys, "info", path)
    assert facts["blocks"] == {name: list(block.shape) for name, block in net.blocks.items()}
    assert facts["parameters"] == net.num_parameters
    assert facts["largest_parameter"] == np.abs(net.parameters).max()
    assert repr(net) in run(capsys, "info", path)


def test_threads_are_set(capsys: Capture) -> None:
    try:
        assert run_json(capsys, "info", "--threads", 3)["threads"] == 3
    finally:
        eq.set_num_threads(0)


def test_missing_libraries_end_with_2(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing() -> Any:
        raise ImportError("[load_digits] needs scikit-learn")

    monkeypatch.setattr(cli, "load_digits", missing)
    run(capsys, *DIGITS, "--output", tmp_path, status=2)


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "equiprop", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == eq.__version__
