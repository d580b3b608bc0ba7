"""Every option of every command with bad values: status 2 and one sentence, or the command works."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import equiprop as eq
import pytest
from bad_inputs import complaint
from equiprop.cli import command, main

#: Valid command lines; each option is added to the first line of its command with which it has an effect.
LINES = {
    "train": [
        "train own.csv --layers 3 --epochs 1 --output {new}",
        "train own.csv --layers 3 --epochs 1 --output {new} --second-phase rbp",
        "train own.csv --layers 3 --epochs 1 --output {new} --optimizer sgd",
        "train own.csv --layers 3 --epochs 1 --output {new} --schedule restarts",
        "train own.csv --layers 3 --epochs 1 --output {new} --validation 0.3",
        "train mnist --layers 3 --epochs 1 --output {new}",
    ],
    "evaluate": ["evaluate model.safetensors own.csv", "evaluate model.safetensors mnist"],
    "predict": ["predict model.safetensors own.csv", "predict model.safetensors mnist"],
    "verify": ["verify --claims limit --layers 3 4 2", "verify --claims equality --layers 3 4 2"],
    "info": ["info model.safetensors", "info"],
    "compare": ["compare kept kept"],
    "dashboard": ["dashboard kept"],
    "completion": ["completion bash"],
}
VALUES = [
    "",
    "abc",
    "18446744073709551616",
    "100000000000",
    "1e400",
    "nan",
    "-1",
    "0",
    "inf",
    "1e-400",
    "missing/file",
    "folder",
    "unreadable",
    "binary",
    "x" * 5000,
    "a\0b",
    "~no-such-user/file",
    "\udcff",
]
#: Arguments of the commands in their order.
ARGUMENTS = {
    "train": ["data"],
    "evaluate": ["model", "data"],
    "predict": ["model", "data"],
    "info": ["model"],
    "compare": ["runs"],
    "dashboard": ["folder"],
    "completion": ["shell"],
}
#: Values with which a command would run for very long.
ENDLESS = {("train", "--epochs", "100000000000"), ("verify", "--steps", "100000000000")}
SENTENCE = re.compile(r"(training was not completed\n)?equiprop \w+: error: \[[\w. ]+\] .+\n", re.DOTALL)


def options() -> Iterator[tuple[str, str]]:
    """Yield every option and argument of every command that takes a value, from the parsers."""
    parser = command._parser()
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for name, sub in commands.choices.items():
        for action in sub._actions:
            if action.nargs != 0:
                yield name, action.option_strings[-1] if action.option_strings else action.dest


OPTIONS = sorted(options())


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i % 2},{i % 3},{i % 2}\n" for i in range(40))
    (tmp_path / "own.csv").write_text("a,b,label\n" + rows)
    eq.save(eq.HopfieldNetwork([2, 3, 2]), tmp_path / "model.safetensors")
    for name in ("folder", "kept"):
        (tmp_path / name).mkdir()
    (tmp_path / "kept" / "settings.json").write_text("{}")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "unreadable").write_text("a,b\n")
    (tmp_path / "unreadable").chmod(0)
    threads = eq.num_threads()
    yield
    eq.set_num_threads(threads)


def words_of(name: str, option: str, value: str, number: int) -> Iterator[list[str]]:
    """Yield the command lines of a command with a value for an option, each with a new folder."""
    for k, line in enumerate(LINES[name]):
        words = line.format(new=f"run-{number}-{k}").split()
        if option.startswith("-"):
            yield [*words, option, value]
        else:
            place = 1 + ARGUMENTS[name].index(option)
            yield [*words[:place], value, *words[place + 1 :]]


def test_every_command_is_tried() -> None:
    assert {name for name, _ in OPTIONS} == set(LINES)
    assert len(OPTIONS) > 50


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=[f"{name} {option}" for name, option in OPTIONS])
def test_bad_values_end_with_2_and_a_sentence(
    name: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = 0
    for number, value in enumerate(VALUES):
        if (name, option, value) in ENDLESS:
            continue
        for words in words_of(name, option, value, number):
            status: list[object] = []

            def call(words: list[str] = words, status: list[object] = status) -> None:
                try:
                    status.append(main(words))
                except SystemExit as end:
                    status.append(end.code)

            assert complaint(call, seconds=5) is None, words
            errors = capsys.readouterr().err
            assert status[0] in (0, 1, 2), words
            assert "Traceback" not in errors, words
            if status[0] == 2:
                tried += 1
                assert SENTENCE.fullmatch(errors) or "usage: equiprop" in errors, (words, errors)
                assert "Errno" not in errors, (words, errors)
    assert tried > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", ["100000000000", "1000000 1000000", "18446744073709551616"])
def test_layers_beyond_the_memory_are_refused_with_numbers(
    layers: str, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"train own.csv --epochs 1 --dtype {dtype} --output run --layers {layers}"
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    needed = (
        r"cannot allocate [\d.e+]+ GB for the training of layers 2-.*: this machine has [\d.]+ GB\. Choose"
    )
    assert re.search(rf"\[train\] {needed}|Arrays have fewer than 2\^63 bytes", error)
    assert not Path("run").exists()


def test_a_hundred_million_units_are_judged_before_they_are_allocated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("equiprop.checks.physical_memory", lambda: 10**12)
    monkeypatch.setattr("equiprop.checks.free_memory", lambda: 16 * 10**9)
    assert main(["train", "own.csv", "--epochs", "1", "--output", "run", "--layers", "100000000"]) == 2
    assert "[train] cannot allocate 137 GB for the training of layers 2-100000000-2: 16 GB are free." in (
        capsys.readouterr().err
    )


PEAK = """
import re, sys
from pathlib import Path
from equiprop.checks import enough_memory
from equiprop.cli import main, trainer

sizes = []

def peak():
    # Not ru_maxrss, which begins with the memory of the process that started this one.
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

def noted(size, *arguments, **options):
    sizes.append(size)
    return enough_memory(size, *arguments, **options)

trainer.enough_memory = noted
run = "train own.csv --epochs 1 --max-iterations 5 --json --output "
main([*run.split(), "small", "--layers", "3"])
before = peak()
main([*run.split(), "large", "--layers", *sys.argv[1:]])
print((peak() - before) / sizes[-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory in kilobytes")
@pytest.mark.parametrize("layers", [["1500", "1500"], ["300000"]])
def test_the_estimate_is_what_a_training_takes(layers: list[str]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PEAK, *layers]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "EQUIPROP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert 0.5 < float(result.stdout.splitlines()[-1]) < 1.2
