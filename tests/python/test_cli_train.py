"""The command `equiprop train`: its output, files and exit status, also if the training ends early."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from commands import Capture, error_of, run, run_json
from equiprop import checkpointing, plotting, training
from equiprop.checkpointing import write_trainer
from equiprop.cli import data, main, train
from idx_files import write_mnist

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
STEPS = 29  # per epoch: 1442 samples in batches of 50
COMPLETE = [
    "checkpoint.safetensors",
    "history.jsonl",
    "log.txt",
    "model.safetensors",
    "result.json",
    "settings.json",
]
Files = dict[str, bytes]


def contents(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return the files of a trained model."""
    folder = tmp_path_factory.mktemp("trained")
    assert main([*DIGITS, "--output", str(folder), "--json"]) == 0
    return contents(folder)


@pytest.fixture
def good(tmp_path: Path, trained: Files) -> Path:
    """Return a folder with a trained model."""
    for name, content in trained.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def end_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[Any], None]], None]:
    """Replace a step of the training by a function of the trainer, which ends the training."""
    original = training.Trainer.step

    def end_at(step: int, end: Callable[[Any], None]) -> None:
        def stepped(trainer: Any, *arguments: Any, **options: Any) -> Any:
            if trainer.steps == step:
                end(trainer)
            return original(trainer, *arguments, **options)

        monkeypatch.setattr(training.Trainer, "step", stepped)

    return end_at


def ctrl_c(_: Any) -> None:
    signal.raise_signal(signal.SIGINT)


def sigterm(_: Any) -> None:
    signal.raise_signal(signal.SIGTERM)


def sighup(_: Any) -> None:
    signal.raise_signal(signal.SIGHUP)


def diverge(trainer: Any) -> None:
    raise eq.ConvergenceError("[Trainer.step] The free phase must stay finite. Received infinity.", None)


def overflow(trainer: Any) -> None:
    trainer.model.parameters[0] = np.inf
    diverge(trainer)


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


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_learning_rate_of_zero_changes_nothing(optimizer: str, tmp_path: Path, capsys: Capture) -> None:
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
        "--solver block --activation tanh --potential quadratic",
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


ENDS = [(diverge, 2, "error: [Trainer.step]"), (ctrl_c, 130, "interrupted"), (sigterm, 143, "terminated")]
ENDS.append((sighup, 129, "the terminal was closed"))


@pytest.mark.parametrize(("end", "status", "message"), ENDS)
def test_a_run_that_ends_early_says_how_to_go_on_and_never_touches_a_good_model(
    end: Any,
    status: int,
    message: str,
    trained: Files,
    good: Path,
    capsys: Capture,
    end_at: Callable[..., None],
) -> None:
    end_at(40, end)
    words = [*DIGITS, "--output", good, "--overwrite", "--seed", 1, "--checkpoint-steps", 7]
    told = error_of(capsys, *words, status=status)
    name = "last-good" if status == 2 else "model"
    new = good / "unfinished" / f"{name}.safetensors"
    assert told[0] == (
        f"training was not completed; its model is in {new}; equiprop train --resume {good} continues it; "
        f"the earlier run in {good} is unchanged"
    )
    assert told[1].startswith(f"equiprop train: {message}")
    assert (eq.load(new).parameters != eq.HopfieldNetwork([64, 12, 10], seed=1).parameters).any()
    steps = eq.Trainer.resume(good / "unfinished" / "checkpoint.safetensors").steps
    assert steps == (35 if status == 2 else 41)
    assert contents(good) == trained


@pytest.mark.parametrize(("end", "status", "message"), ENDS[1:])
def test_an_interrupted_run_is_resumed_with_the_bits_of_an_uninterrupted_one(
    end: Any,
    status: int,
    message: str,
    trained: Files,
    tmp_path: Path,
    capsys: Capture,
    end_at: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end_at(40, end)
    told = error_of(capsys, *DIGITS, "--output", tmp_path, status=status)
    assert told == [
        f"training was not completed; its model is in {tmp_path}/model.safetensors; "
        f"equiprop train --resume {tmp_path} continues it",
        f"equiprop train: {message}",
    ]
    assert (tmp_path / "history.jsonl").read_text().count("\n") == 1
    eq.load(tmp_path / "model.safetensors")
    monkeypatch.undo()
    run(capsys, "train", "--resume", tmp_path)
    assert sorted(contents(tmp_path)) == COMPLETE
    same_run(contents(tmp_path), trained)


def same_run(files: Files, expected: Files) -> None:
    """Check that two runs have equal models and, but for the seconds, equal histories."""
    assert files["model.safetensors"] == expected["model.safetensors"]
    histories = [
        [{**json.loads(line), "seconds": 0} for line in f["history.jsonl"].splitlines()]
        for f in (files, expected)
    ]
    assert histories[0] == histories[1]


def test_a_signal_before_the_first_step_leaves_nothing(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    monkeypatch.setattr(train, "load_data", sigterm)
    assert error_of(capsys, *DIGITS, "--output", folder, status=143) == ["equiprop train: terminated"]
    assert not folder.exists()


def test_a_second_ctrl_c_ends_a_step_at_once(tmp_path: Path, capsys: Capture, end_at: Any) -> None:
    def twice(trainer: Any) -> None:
        ctrl_c(trainer)
        ctrl_c(trainer)
        pytest.fail("the step went on")

    end_at(40, twice)
    told = error_of(capsys, *DIGITS, "--output", tmp_path, "--checkpoint-steps", 9, status=130)
    assert told[1] == "equiprop train: interrupted"
    assert eq.Trainer.resume(tmp_path / "checkpoint.safetensors").steps == 36


def test_a_failed_run_never_passes_for_a_complete_one(
    tmp_path: Path, capsys: Capture, end_at: Callable[..., None]
) -> None:
    end_at(40, diverge)
    told = error_of(capsys, *DIGITS, "--output", tmp_path)
    assert told[0] == f"training was not completed; its model is in {tmp_path}/last-good.safetensors"
    assert told[1].startswith("equiprop train: error: [Trainer.step]")
    assert sorted(contents(tmp_path)) == [
        "history.jsonl",
        "last-good.safetensors",
        "log.txt",
        "settings.json",
    ]


def test_a_complete_run_replaces_all_of_the_earlier_one_and_nothing_else(
    trained: Files, good: Path, capsys: Capture
) -> None:
    own = {"notes.txt": b"my notes", "last.safetensors": b"my work"}
    for name, content in own.items():
        (good / name).write_bytes(content)
    (good / "relaxation.png").write_bytes(b"of the earlier run")
    run(capsys, *DIGITS, "--output", good, "--overwrite", "--seed", 1)
    after = contents(good)
    assert {name: after.pop(name) for name in own} == own
    assert sorted(after) == COMPLETE
    assert all(after[name] != trained[name] for name in trained)
    assert [path for path in good.iterdir() if path.is_dir()] == []


def test_a_folder_with_a_run_is_not_written_into_without_overwrite(
    trained: Files, good: Path, tmp_path_factory: Any, capsys: Capture, end_at: Callable[..., None]
) -> None:
    (line,) = error_of(capsys, *DIGITS, "--output", good)
    assert line.endswith("which holds a finished run: --overwrite replaces it when the new run is complete.")
    assert contents(good) == trained
    end_at(40, sigterm)
    other = tmp_path_factory.mktemp("other")
    error_of(capsys, *DIGITS, "--output", other, status=143)
    before = contents(other)
    (line,) = error_of(capsys, *DIGITS, "--output", other)
    assert f"which holds an unfinished run: --resume {other} continues it, --overwrite" in line
    assert contents(other) == before


def test_without_output_each_run_gets_a_folder_of_its_own(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        run(capsys, "train", "digits", "--layers", 4, "--epochs", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["equiprop-digits-1", "equiprop-digits-2"]


def test_a_replacement_that_was_killed_while_it_moved_its_files_is_completed(
    trained: Files, good: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    new = good / "unfinished"
    run(capsys, *DIGITS, "--output", tmp_path_factory.mktemp("x") / "new", "--seed", 1)
    source = next((tmp_path_factory.getbasetemp()).glob("x*/new"))
    expected = contents(source)
    new.mkdir()
    for name, content in expected.items():  # some files have been moved already
        (good if name in ("history.jsonl", "model.safetensors") else new).joinpath(name).write_bytes(content)
    (line,) = error_of(capsys, "train", "--resume", good)
    assert line.endswith("whose run is finished.")
    assert contents(good) == expected
    assert not new.exists()


def test_the_model_of_the_lowest_objective_is_kept(
    tmp_path: Path, capsys: Capture, end_at: Callable[..., None]
) -> None:
    words = [*DIGITS, "--schedule", "constant"]
    run(capsys, *words, "--epochs", 1, "--output", tmp_path / "one")
    end_at(40, overflow)
    error_of(capsys, *words, "--output", tmp_path / "failed")
    kept, expected = (
        eq.load(tmp_path / name).parameters
        for name in ("failed/last-good.safetensors", "one/model.safetensors")
    )
    np.testing.assert_array_equal(kept, expected)


def test_a_training_that_really_diverges_leaves_the_good_model(
    trained: Files, good: Path, capsys: Capture
) -> None:
    told = error_of(capsys, *DIGITS, "--output", good, "--overwrite", "--learning-rate", "1e30")
    assert "diverge" in " ".join(told)
    assert contents(good) == trained


@pytest.fixture
def handler() -> Iterator[Any]:
    """A handler of SIGTERM that the program has set before."""
    received: list[int] = []
    kept = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, kept)


def test_a_second_sigterm_does_not_stop_the_saving(
    handler: list[int],
    tmp_path: Path,
    capsys: Capture,
    end_at: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write(*arguments: Any) -> None:
        sigterm(None)
        ctrl_c(None)
        write_trainer(*arguments)

    monkeypatch.setattr(checkpointing, "write_trainer", write)
    end_at(40, sigterm)
    told = error_of(capsys, *DIGITS, "--output", tmp_path, status=143)
    assert told[-1] == "equiprop train: terminated"
    eq.load(tmp_path / "model.safetensors")
    assert handler == []
    sigterm(None)
    assert handler == [signal.SIGTERM]


def test_a_command_runs_in_any_thread(capsys: Capture) -> None:
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(main(["info"])))
    thread.start()
    thread.join()
    assert statuses == [0]
