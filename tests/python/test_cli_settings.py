"""settings.json of a run repeats the run, and a file of settings is checked as the command line is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Capture, error_of, run
from equiprop.cli import command, main
from runs import DIGITS, contents, same_run, sigterm

RUNS = [
    "",
    "--second-phase rbp --linear-solver gmres --learning-rate 2e-05 --dtype float64",
    "--nudging one_sided --beta -0.25 --optimizer sgd --momentum 0.5 --weight-decay 1e-6 --seed 7 --nesterov",
    "--schedule restarts --cycles 2 --warm-up 0.1 --averaging 0.9 --free-start last",
    "--layers 6 5 --validation 0.2 --patience 1 --tolerance 1e-2 --max-iterations 50 --batch-size 70 --plot",
]


@pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")  # the learning rate is too small
@pytest.mark.parametrize("words", RUNS)
@pytest.mark.filterwarnings("ignore::equiprop.ConvergenceWarning")
def test_the_settings_of_a_run_repeat_it(words: str, tmp_path: Path, capsys: Capture) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run(capsys, *DIGITS, *words.split(), "--output", first)
    run(capsys, "train", "--config", first / "settings.json", "--output", second)
    one, other = contents(first), contents(second)
    assert one.keys() == other.keys()
    assert one["settings.json"] == other["settings.json"]
    same_run(one, other)


def test_settings_are_complete(tmp_path: Path, capsys: Capture) -> None:
    run(capsys, "train", "digits", "--epochs", 1, "--output", tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text())
    options = settings["options"]
    assert (options["data"], options["layers"], options["epochs"]) == ("digits", [256], 1)
    declared = {f"--{name.replace('_', '-')}" for name in options} - {"--data"}
    assert declared <= set(flags())
    without = set(flags()) - declared
    calls = {"--output", "--overwrite", "--resume", "--config", "--json"}
    assert without == calls | {
        "--data-dir",
        "--linear-solver",
        "--patience",
        "--precision",
        "--momentum",
        "--nesterov",
        "--cycles",
    }  # no effect in this run
    assert settings["trainer"]["model"].startswith("HopfieldNetwork(64-256-10")


def flags() -> list[str]:
    commands = next(a for a in command._parser()._actions if a.dest == "command")
    actions: Any = commands.choices["train"]._actions  # type: ignore[index]
    return [f for a in actions for f in a.option_strings if f not in ("-h", "--help")]


def settled(*words: Any) -> Any:
    parser = command._parser()
    options = parser.parse_args([str(word) for word in words])
    options.settle(options, command._inherited(options, parser))
    return options


def test_the_command_line_goes_before_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(
        json.dumps({"data": "digits", "batch-size": 7, "optimizer": "sgd", "momentum": 0.5, "plot": True})
    )
    options = settled("train", "--config", path, "--batch-size", 9)
    assert (options.data, options.batch_size, options.momentum, options.plot) == ("digits", 9, 0.5, True)
    assert settled("train", "mnist", "--config", path).data == "mnist"
    other = settled("train", "--config", path, "--optimizer", "adam")
    assert other.momentum == settled("train", "digits").momentum  # it has no effect any more
    assert "momentum" not in other.given


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no reader of TOML")
def test_settings_in_toml(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('data = "digits"\nlayers = [8, 6]\nsecond-phase = "rbp"\nseed = 3\nplot = false\n')
    options = settled("train", "--config", path)
    assert (options.layers, options.second_phase, options.seed, options.plot) == ([8, 6], "rbp", 3, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "--config is a JSON or .toml file"),
        ("[1]", "--config holds options by name"),
        ('{"options": 1}', "--config holds options by name"),
        ('{"data": "digits", "beta": {"a": 1}}', "--config holds settings of a run. Received beta"),
        ('{"data": "digits", "output": "x"}', "--config holds settings of a run. Received output"),
        ('{"data": "digits", "second_phase": "rbp", "beta": 0.1}', "--beta has an effect only with"),
    ],
)
def test_files_that_hold_no_settings_are_refused(
    content: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(content)
    (line,) = error_of(capsys, "train", "--config", path, "--output", tmp_path / "out")
    assert message in line
    assert [p.name for p in tmp_path.iterdir()] == ["settings.json"]


def test_a_python_without_a_reader_of_toml_names_json(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tomllib", None)
    path = tmp_path / "run.toml"
    path.write_text('data = "digits"')
    (line,) = error_of(capsys, "train", "--config", path)
    assert "Python 3.11 or later reads TOML" in line
    path = path.rename(tmp_path / "run.json")
    path.write_text('{"data": "digits"}')
    assert settled("train", "--config", path).data == "digits"


def test_a_device_holds_no_settings(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "run.json"
    path.symlink_to("/dev/zero")
    (line,) = error_of(capsys, "train", "--config", path)
    assert "A file has an end. Received the device" in line


def test_settings_that_are_not_utf8_are_refused(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes('{"data": "größe"}'.encode("latin-1"))
    (line,) = error_of(capsys, "train", "--config", path, "--output", tmp_path / "out")
    assert "--config is a JSON or .toml file" in line


@pytest.mark.parametrize("content", ['{"data": "digits", "unheard": 1}', '{"data": "digits", "seed": "x"}'])
def test_unknown_settings_and_values_are_refused_as_on_the_command_line(
    content: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(content)
    with pytest.raises(SystemExit) as end:
        main(["train", "--config", str(path)])
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--layers 5", "--seed 1", "--output x", "--config x", "--plot", "digits"])
def test_a_resumed_run_takes_no_other_settings(words: str, tmp_path: Path, capsys: Capture) -> None:
    (line,) = error_of(capsys, "train", "--resume", tmp_path, *words.split())
    assert "only without --resume" in line


def test_a_resumed_run_refuses_other_data_and_another_network(
    tmp_path: Path, capsys: Capture, end_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "data.csv", tmp_path / "out"
    table = np.random.default_rng(0).random((60, 5))
    table[:, 4] = np.arange(60) % 3
    np.savetxt(data, table, delimiter=",")
    end_at(3, sigterm)
    error_of(capsys, "train", data, "--batch-size", 10, "--output", out, status=143)
    monkeypatch.undo()
    table[7, 1] += 0.125
    np.savetxt(data, table, delimiter=",")
    assert "Received other data" in error_of(capsys, "train", "--resume", out)[-1]
    table[7, 1] -= 0.125
    np.savetxt(data, table, delimiter=",")
    settings = json.loads((out / "settings.json").read_text())
    text = (out / "settings.json").read_text()
    settings["options"]["layers"] = [9]
    (out / "settings.json").write_text(json.dumps(settings))
    assert "HopfieldNetwork(4-64-3" in error_of(capsys, "train", "--resume", out)[-1]
    (out / "settings.json").write_text(text)
    assert "test error" in run(capsys, "train", "--resume", out)
