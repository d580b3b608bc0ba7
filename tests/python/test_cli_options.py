"""Every option of the command line has an effect, or is refused by name before the command starts."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from commands import Capture, error_of
from equiprop.cli import command
from equiprop.cli import train as train_command
from equiprop.cli import verify as verify_command
from equiprop.cli.trainer import build_trainer

DATA = eq.Dataset(np.zeros((4, 3)), np.arange(4) % 2)
TRAIN = "train digits"
VERIFY = "verify --claims limit --layers 3 4 2"

WITHOUT_EFFECT = [
    f"{TRAIN} --second-phase rbp | --beta 7.5",
    f"{TRAIN} --nudging exact | --beta 7.5",
    f"{TRAIN} --second-phase rbp | --nudging one_sided",
    f"{TRAIN} --second-phase rbp | --nudging centered",
    f"{TRAIN} | --linear-solver gmres",
    f"{TRAIN} --optimizer adam | --momentum 0.9",
    f"{TRAIN} --optimizer adam | --nesterov",
    f"{TRAIN} | --cycles 4",
    f"{TRAIN} | --precision tf32",
    f"{TRAIN} | --patience 2",
    f"{TRAIN} | --data-dir nowhere",
    f"{TRAIN} | --overwrite",
    "predict model digits | --data-dir nowhere",
    "evaluate model digits | --data-dir nowhere",
    "info model | --threads 2",
    f"{VERIFY} | --steps 7",
    f"{VERIFY} | --step-size 0.1",
    f"{VERIFY} --data digits | --data-dir nowhere",
    "verify | --data-dir nowhere",
    "verify | --data digits",
    "verify --model model | --activation tanh",
    "verify --model model | --layers 3 4 2",
    "verify --model model | --potential legendre",
    "verify --model model --data digits | --seed 1",
    "verify --json | --verbose",
    "verify --replay report.json | --claims limit",
    "verify --replay report.json | --steps 7",
    "verify --replay report.json | --step-size 0.1",
    "verify --replay report.json | --time-limit 9.5",
    "verify --replay report.json | --model model",
    "verify --replay report.json | --layers 3 4 2",
    "verify --replay report.json | --activation tanh",
    "verify --replay report.json | --potential quadratic",
    "verify --replay report.json | --cost cross-entropy",
    "verify --replay report.json | --samples 9",
    "verify --replay report.json | --data digits",
    "verify --replay report.json | --data-dir nowhere",
    "verify --replay report.json | --seed 0",
    "verify --replay report.json | --report new.json",
    "verify --replay report.json | --plot new.png",
]


@pytest.mark.parametrize("line", WITHOUT_EFFECT)
def test_an_option_without_effect_is_refused_by_name_before_anything_is_done(
    line: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "set_num_threads", lambda _: pytest.fail("threads were set"))
    for module in (train_command, verify_command):
        monkeypatch.setattr(module, "load_data", lambda _: pytest.fail("data were loaded"))
    words, option = line.split(" | ")
    (message,) = error_of(capsys, *words.split(), *option.split())
    name, flag = words.split()[0], option.split()[0]
    prefix = f"equiprop {name}: error: [{name}] {flag} has an effect only with"
    assert message.startswith(prefix)
    assert message.endswith(f". Received {option}.")
    assert list(tmp_path.iterdir()) == []


def parsed(*words: str) -> argparse.Namespace:
    options = command._parser().parse_args(words)
    options.settle(options)
    return options


def built(*words: str) -> list[Any]:
    """Return all settings of the Trainer of some options, and the number of epochs."""
    options = parsed("train", "digits", *words)
    trainer = build_trainer(options, DATA)
    facts: list[Any] = [repr(trainer.model), trainer.model.parameters.tolist(), trainer.schedule(0.5)]
    facts += [trainer.second_phase, trainer.optimizer, trainer.cost, trainer.solver]
    facts += [trainer.batch_size, trainer.seed, trainer.averaging, trainer.free_start, trainer.shards]
    return [*facts, options.epochs, options.validation, options.patience]


#: For each option, other options that it needs to have an effect.
WITH_EFFECT = {
    "--layers 5": "",
    "--activation tanh": "",
    "--output-activation tanh": "",
    "--potential quadratic": "",
    "--dtype float64": "",
    "--second-phase rbp": "",
    "--nudging one_sided": "",
    "--beta 0.1": "",
    "--free-start last": "",
    "--shards 4": "",
    "--cost cross-entropy": "",
    "--solver fixed-point": "",
    "--linear-solver gmres": "--second-phase rbp",
    "--tolerance 0.1": "",
    "--max-iterations 7": "",
    "--epochs 3": "",
    "--batch-size 7": "",
    "--optimizer sgd": "",
    "--learning-rate 0.3": "",
    "--momentum 0.1": "--optimizer sgd",
    "--weight-decay 0.1": "",
    "--nesterov": "--optimizer sgd",
    "--schedule constant": "",
    "--schedule restarts": "",
    "--cycles 2": "--schedule restarts",
    "--warm-up 0.6": "",
    "--averaging 0.9": "",
    "--validation 0.2": "",
    "--patience 2": "--validation 0.2",
    "--seed 1": "",
}


@pytest.mark.parametrize("option", WITH_EFFECT)
def test_an_option_that_is_not_refused_changes_the_training(option: str) -> None:
    others = ["--layers", "4", *WITH_EFFECT[option].split()]
    assert built(*others, *option.split()) != built(*others)
    assert built(*others) == built(*others)


def flags(name: str) -> Iterator[str]:
    (commands,) = (a for a in command._parser()._actions if isinstance(a, argparse._SubParsersAction))
    for action in commands.choices[name]._actions:
        yield from (flag for flag in action.option_strings if flag not in ("-h", "--help"))


def test_every_option_of_training_is_in_these_tests() -> None:
    elsewhere = {"--data-dir", "--output", "--plot", "--json", "--threads", "--config", "--resume"}
    elsewhere |= {
        "--overwrite",
        "--checkpoint-steps",
        "--checkpoint-seconds",
        "--scaling",
        "--tensorboard",
        "--device",
        "--precision",
    }
    assert set(flags("train")) == {option.split()[0] for option in WITH_EFFECT} | elsewhere


def test_every_option_of_verification_but_two_is_refused_with_a_replay() -> None:
    refused = {line.split(" | ")[1].split()[0] for line in WITHOUT_EFFECT if "--replay" in line}
    always = {"--replay", "--json", "--threads", "--verbose", "-v"}
    assert set(flags("verify")) - refused == always


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "verify", "info", "compare", "dashboard"])
def test_help_names_every_option_and_the_defaults(name: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as end:
        command.main([name, "--help"])
    assert end.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert all(flag in text for flag in flags(name))
    assert ("nudging factor (default: 1/4," in text) == (name == "train")


@pytest.mark.parametrize("layers", [[4], [5, 4, 3]])
@pytest.mark.parametrize("words", ["", "--activation tanh --potential quadratic", "--dtype float64"])
def test_what_is_not_given_is_what_python_users_get(layers: list[int], words: str) -> None:
    given = ["--layers", *map(str, layers), *words.split()]
    options = parsed("train", "digits", *given)
    trainer = build_trainer(options, DATA)
    settings = dict(zip((w[2:] for w in words.split()[::2]), words.split()[1::2], strict=True))
    default = eq.Trainer(eq.HopfieldNetwork([3, *layers, 2], **settings))  # type: ignore[arg-type]
    np.testing.assert_array_equal(trainer.model.parameters, default.model.parameters)
    for name in ("solver", "second_phase", "optimizer", "cost", "batch_size", "seed", "free_start"):
        assert getattr(trainer, name) == getattr(default, name), name
    rbp = build_trainer(parsed("train", "digits", *given, "--second-phase", "rbp"), DATA)
    assert rbp.second_phase == eq.RecurrentBackpropagation()


def test_options_of_a_solver_leave_its_others_as_they_are() -> None:
    trainer = build_trainer(parsed("train", "digits", "--layers", "4", "3", "--max-iterations", "9"), DATA)
    assert trainer.solver == eq.BlockUpdate(tolerance=1e-4, max_iterations=9, anderson=1)
    trainer = build_trainer(parsed("train", "digits", "--layers", "4", "3", "--solver", "euler"), DATA)
    assert trainer.solver == eq.Euler(tolerance=1e-4, max_iterations=500)
