"""The commands `verify`, `evaluate` and `info`: their output, files and exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from commands import Capture, error_of, run, run_json
from equiprop.cli import data, verdicts
from equiprop.cli import verify as verify_command
from idx_files import write_mnist
from networks import chain

SMALL = ["verify", "--layers", 3, 4, 2, "--activation", "tanh"]


def test_an_error_rate_of_states_that_are_not_at_rest_comes_with_a_warning(
    tmp_path: Path, capsys: Capture
) -> None:
    model = tmp_path / "model.safetensors"
    eq.save(eq.HopfieldNetwork([64, 20, 20, 10], seed=0), model)
    words = ["evaluate", model, "digits", "--tolerance", 1e-6, "--max-iterations"]
    with pytest.warns(eq.ConvergenceWarning, match="did not reach the tolerance"):
        assert run_json(capsys, *words, 1)["unconverged"] > 0
    assert run_json(capsys, *words, 1000)["unconverged"] == 0


def rows(case: dict[str, Any], claim: str) -> dict[str, Any]:
    return {r["label"]: r["value"] for c in case["claims"] if c["claim"] == claim for r in c["rows"]}


def test_verification_passes_on_random_networks(capsys: Capture) -> None:
    result = run_json(capsys, "verify", "--claims", "equality", "gradients", "bounded", "--steps", 20)
    assert result["passed"] is True
    assert len(result["cases"]) == 9
    for case in result["cases"]:
        assert case["passed"]
        assert rows(case, "equality")["states, largest over all steps"] < 1e-12
        assert rows(case, "gradients")["EqProp, exact_limit"] < 1e-10


def test_every_claim_is_checked_unless_told_otherwise(capsys: Capture) -> None:
    text = run(capsys, *SMALL, "--samples", 1)
    assert text.startswith("HopfieldNetwork(3-4-2")
    assert text.endswith("All 11 claims hold, on 1 model.\n")
    (case,) = run_json(capsys, *SMALL, "--samples", 1)["cases"]
    assert {c["claim"] for c in case["claims"]} | set(case["not_claimed"]) == set(eq.verify.CLAIMS)
    assert set(case["not_claimed"]) == {"bounded"}


@pytest.mark.parametrize("claim", sorted(eq.verify.CLAIMS))
def test_each_claim_is_a_choice(claim: str, capsys: Capture) -> None:
    layers = ["--layers", 4, 6, 5, 3, "--activation", "hard_sigmoid" if claim == "bounded" else "tanh"]
    result = run_json(capsys, "verify", "--claims", claim, *layers, "--samples", 2)
    assert [c["claim"] for c in result["cases"][0]["claims"]] == [claim]
    assert result["passed"] is True


def test_verification_prints_a_line_for_each_group_of_claims_and_figures_if_asked(
    default_verification: tuple[Path, str], capsys: Capture
) -> None:
    short = default_verification[1].splitlines()
    assert len(short) <= 80
    assert max(map(len, short)) <= 100
    assert [line.split()[0] for line in short[1:5]] == ["model", "processes", "gradient", "finite"]
    assert set(eq.verify.CLAIMS) == {name for names in verdicts.GROUPS.values() for name in names}
    long = run(capsys, *SMALL, "-v")
    assert "order of holomorphic 4" in long
    assert "order of holomorphic 4" not in run(capsys, *SMALL)


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
    words = [*SMALL, "--claims", "equality", "limit", "--step-size", 50]
    text = run(capsys, *words, status=1)
    assert "DOES NOT HOLD" in text
    assert "The step size 50 is not stable" in text
    assert text.endswith("1 of 2 claims hold, on 1 model.\n")
    assert run_json(capsys, *words, status=1)["passed"] is False


def test_certificates_are_written_and_replayed(tmp_path: Path, capsys: Capture) -> None:
    page, figures, picture = tmp_path / "report.html", tmp_path / "report.json", tmp_path / "theorem.png"
    words = [*SMALL, "--claims", "equality", "limit"]
    run(capsys, *words, "--report", page, figures, "--plot", picture)
    assert "equiprop verify --layers 3 4 2" in page.read_text()
    assert picture.read_bytes()[:4] == b"\x89PNG"
    text = run(capsys, "verify", "--replay", figures)
    assert "all 7 figures are equal in every bit" in text
    stored = json.loads(figures.read_text())
    stored["cases"][0]["claims"][1]["rows"][0]["value"] *= 1 + 1e-15
    figures.write_text(json.dumps(stored))
    assert "1 of 7 figures differ" in run(capsys, "verify", "--replay", figures, status=1)
    assert run_json(capsys, "verify", "--replay", figures, status=1)["identical"] is False


@pytest.mark.parametrize(
    ("words", "added"),
    [
        ([*SMALL], " --seed 0"),
        ([*SMALL, "--seed", 3], ""),
        ([*SMALL, "--see", 3], ""),
        (["verify", "--model", "m"], " --seed 0"),
        (["verify", "--model", "m", "--data", "digits"], ""),
    ],
)
def test_a_certificate_names_the_command_that_repeats_it(
    words: list[Any], added: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    eq.save(chain(64, 3, 10), tmp_path / "m")
    first = run_json(capsys, *words, "--claims", "limit", "--samples", 1)
    command = first["repeat_with"]
    asked = ["equiprop", *words, "--claims", "limit", "--samples", 1, "--json"]
    assert command == " ".join(map(str, asked)) + added
    again = run_json(capsys, *(word for word in command.split()[1:] if word != "--json"))
    assert again["cases"] == first["cases"]


@pytest.mark.parametrize("outputs", ["--report r.txt", "--report r.json no/r.html", "--plot no/t.png"])
def test_files_that_cannot_be_written_are_refused_before_the_claims_are_checked(
    outputs: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verify_command, "examine", lambda *_: pytest.fail("claims were checked"))
    (line,) = error_of(capsys, *SMALL, *outputs.split())
    assert outputs.split()[-1] in line
    assert list(tmp_path.iterdir()) == []


def test_a_picture_needs_a_claim_that_applies(tmp_path: Path, capsys: Capture) -> None:
    (line,) = error_of(capsys, *SMALL, "--claims", "bounded", "--plot", tmp_path / "t.png")
    assert line.endswith("[verify] --plot needs a claim that applies to a network. Received none.")


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


def test_info_shows_the_graph_of_a_network(tmp_path: Path, capsys: Capture) -> None:
    layers = [eq.Layer(4), eq.Layer(6, "tanh"), eq.Layer(6, "tanh"), eq.Layer(3, "linear")]
    couplings = [eq.Dense(0, 1), eq.Dense(1, 1), eq.Identity(1, 2, 0.25), eq.Dense(1, 2), eq.Dense(2, 3)]
    net, path = eq.HopfieldNetwork(layers=layers, couplings=couplings), tmp_path / "graph.safetensors"
    eq.save(net, path)
    assert run_json(capsys, "info", path)["couplings"] == [repr(coupling) for coupling in couplings]
    assert str(net).partition("\n\n")[2] in run(capsys, "info", path)


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

    monkeypatch.setattr(data, "load_digits", missing)
    assert error_of(capsys, "train", "digits", "--output", tmp_path / "out") == [
        "equiprop train: error: [load_digits] needs scikit-learn"
    ]
    assert not (tmp_path / "out").exists()


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "equiprop", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == eq.__version__


def test_a_checkpoint_is_evaluated_with_its_cost_and_solver(tmp_path: Path, capsys: Capture) -> None:
    solver = eq.BlockUpdate(tolerance=1e-6, max_iterations=300)
    trainer = eq.Trainer(eq.HopfieldNetwork([64, 8, 10]), cost=eq.CrossEntropy(), solver=solver)
    path, test = eq.save(trainer, tmp_path / "t"), eq.load_digits()[1]
    assert run_json(capsys, "evaluate", path, "digits")["objective"] == trainer.evaluate(test).objective
    trainer.solver = eq.BlockUpdate(tolerance=0.5, max_iterations=300)
    loose = run_json(capsys, "evaluate", path, "digits", "--tolerance", 0.5)["objective"]
    assert loose == trainer.evaluate(test).objective
    assert "CrossEntropy" in run(capsys, "evaluate", path, "digits")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_the_shell_has_closed_changes_no_status(closed: str) -> None:
    words = [sys.executable, "-m", "equiprop", *map(str, SMALL), "--claims", "limit"]
    command = f'"$@" {closed}'
    result = subprocess.run(["/bin/sh", "-c", command, "sh", *words], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert ("All 1 claims hold" in result.stdout) == (closed == "2>&-")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_output_that_a_full_disk_does_not_take_is_an_error() -> None:
    words = [sys.executable, "-m", "equiprop", "info", "--json"]
    with open("/dev/full", "w") as full:
        result = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert "[info] cannot write the output: No space left on device." in result.stderr
    reader = subprocess.run(
        ["/bin/sh", "-c", '"$@" | true; exit 0', "sh", *words], capture_output=True, text=True
    )
    assert reader.stderr == ""
