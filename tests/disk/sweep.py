"""Sweep of a scenario: each of its calls that write fails in turn; LD_PRELOAD names the shim.

Usage: python sweep.py SHIM SCENARIO ONCE|ALWAYS|KILL STRIDE FOLDER; prints the numbers of calls that failed.
With KILL, the process ends at the call as by kill -9.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import equiprop as eq
import numpy as np
from equiprop import plotting, verify
from equiprop.cli import main
from equiprop.safetensors import read_safetensors
from equiprop.verify import certificate
from runs import COMPLETE, contents, same_run, sigterm


class Noon(datetime):
    """A clock that stands still, so that equal certificates have equal bytes."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Noon:
        return cls(2000, 1, 1, 12, tzinfo=tz)


certificate.datetime = Noon
RANDOM = np.random.default_rng(0)
DATA = eq.Dataset(RANDOM.random((24, 4)), np.arange(24) % 3)
CAUSES = r"No space left on device|Input/output error"


@dataclass
class Result:
    """How an action ended: exit status, 0 for success, and the lines of its error."""

    status: int
    lines: list[str]


KILLED = Result(-9, [])


@dataclass
class Scenario:
    """An action in a folder, what is there before, and the laws that hold after its failure."""

    prepare: Callable[[Path], None]
    act: Callable[[Path], Result]
    check: Callable[[Path, Result, str], None]


def called(function: Callable[[], Any]) -> Result:
    """Call a function of Python; its errors are those of the operating system."""
    try:
        function()
    except OSError as error:
        return Result(2, [str(error)])
    return Result(0, [])


def command(*words: Any) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(word) for word in words])
    return Result(status, err.getvalue().splitlines())


class Steps:
    """Steps in the checkpoint of a process that was killed; their number grows with that of the call."""

    def __init__(self) -> None:
        self._saved = 0

    def check(self, path: Path) -> None:
        saved = eq.load(path).steps if path.exists() else 0
        assert saved >= self._saved, (saved, self._saved)
        self._saved = saved


def check_error(result: Result, folder: Path) -> None:
    """Check that an error is one sentence with its cause and the path."""
    if result == KILLED:
        return
    line = result.lines[-1]
    assert result.status == 2, result
    assert re.search(CAUSES, line), line
    assert str(folder) in line or "equiprop-data-1" in line, line
    assert "Traceback" not in "".join(result.lines)


def check_readable(folder: Path, mode: str) -> None:
    """Check that every file below a folder is complete; only a kill leaves temporary files.

    The last line of a history may be half if the rest of it could not be written or removed.
    """
    for path in filter(Path.is_file, folder.rglob("*")):
        assert mode == "KILL" or not path.name.startswith("."), path
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".safetensors":
            read_safetensors(path)
        elif path.suffix == ".jsonl":
            lines = path.read_text().splitlines()
            for line in lines if mode == "ONCE" else lines[:-1]:
                json.loads(line)


# ---------------------------------------------------------------------------- files


def one_file(name: str, write: Callable[[Path, int], Any]) -> Scenario:
    """Return the scenario that replaces a file; `write` writes one of two contents."""
    expected: dict[int, bytes] = {}

    def prepare(folder: Path) -> None:
        for k in (1, 0):
            write(folder / name, k)
            expected[k] = (folder / name).read_bytes()

    def check(folder: Path, result: Result, mode: str) -> None:
        check_readable(folder, mode)
        files = {name: text for name, text in contents(folder).items() if not name.startswith(".")}
        if result.status:
            check_error(result, folder)
            assert files in ({name: expected[0]}, {name: expected[1]}), sorted(files)
        else:
            assert files == {name: expected[1]}, sorted(files)
        write(folder / name, 1)
        assert contents(folder) == {name: expected[1]}

    return Scenario(prepare, lambda folder: called(lambda: write(folder / name, 1)), check)


def network(k: int) -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork([4, 6, 3], seed=k)


def trainer(k: int) -> eq.Trainer:
    made = eq.Trainer(network(k), batch_size=5)
    made.step(*DATA.batch(np.arange(5), np.float32))
    return made


REPORTS = [verify.limit(network(k), DATA.batch(np.arange(2), np.float64)[0], [0, 1]) for k in (0, 1)]


def picture(path: Path, k: int) -> None:
    from matplotlib.figure import Figure

    axes = Figure(figsize=(1, 1)).subplots()
    axes.plot([0, k])
    plotting.save(axes, path)


class Certificates:
    """The scenario of a command that replaces two certificates."""

    WORDS = ("verify", "--layers", "4", "3", "2", "--claims", "limit", "--threads", "1")
    NAMES = ("c.json", "c.html")

    def act(self, folder: Path, seed: int = 1) -> Result:
        return command(*self.WORDS, "--seed", seed, "--report", *(folder / name for name in self.NAMES))

    def prepare(self, folder: Path) -> None:
        assert self.act(folder, seed=0).status == 0
        self.old = contents(folder)

    def check(self, folder: Path, result: Result, mode: str) -> None:
        check_readable(folder, mode)
        if result.status:
            check_error(result, folder)
        seen = contents(folder)
        assert self.act(folder) == Result(0, [])
        new = contents(folder)
        assert sorted(new) == sorted(self.NAMES)
        for name in self.NAMES:
            assert seen[name] in (self.old[name], new[name])
            assert result.status or seen[name] == new[name]

    def scenario(self) -> Scenario:
        return Scenario(self.prepare, self.act, self.check)


# ---------------------------------------------------------------------------- checkpoints of Python


def fitted(path: Path, made: eq.Trainer | None = None) -> eq.Trainer:
    made = made or eq.Trainer(network(1), batch_size=5, seed=1)
    made.fit(DATA, epochs=3, checkpoint=eq.Checkpoint(path, steps=2))
    return made


class Fits:
    """The scenario of a training with checkpoints, and the parameters that it ends with."""

    def __init__(self, place: Path) -> None:
        self.expected = fitted(place / "expected.safetensors").model.parameters
        self.steps = Steps()

    def scenario(self) -> Scenario:
        return Scenario(
            lambda _: None, lambda folder: called(lambda: fitted(folder / "run.safetensors")), self.check
        )

    def check(self, folder: Path, result: Result, mode: str) -> None:
        path = folder / "run.safetensors"
        check_readable(folder, mode)
        if result.status:
            check_error(result, folder)
        if mode == "KILL":
            self.steps.check(path)
        resumed = fitted(path, eq.Trainer.resume(path) if path.exists() else None)
        assert sorted(contents(folder)) == [path.name]
        np.testing.assert_array_equal(resumed.model.parameters, self.expected)


# ---------------------------------------------------------------------------- runs of the command line

OPTIONS = [
    "--layers",
    "5",
    "--batch-size",
    "10",
    "--epochs",
    "2",
    "--threads",
    "1",
    "--checkpoint-steps",
    "2",
]


class Runs:
    """Folders of runs: a good one, an interrupted one, and the run that each scenario ends with."""

    def __init__(self, place: Path) -> None:
        self.data = place / "data.npz"
        np.savez(self.data, x=DATA.x, y=DATA.y)
        self.words = ["train", self.data, *OPTIONS, "--seed", "1", "--output"]
        for name, seed in (("good", 0), ("expected", 1)):
            result = command("train", self.data, *OPTIONS, "--seed", seed, "--output", place / name)
            assert result == Result(0, []), result
        self.good, self.expected = contents(place / "good"), contents(place / "expected")
        self.interrupted = self._interrupted(place / "interrupted")
        self.steps = Steps()

    def _interrupted(self, folder: Path) -> dict[str, bytes]:
        original = eq.Trainer.step

        def step(made: Any, *arguments: Any, **options: Any) -> Any:
            if made.steps == 3:
                sigterm(None)
            return original(made, *arguments, **options)

        eq.Trainer.step = step  # type: ignore[method-assign]
        assert command(*self.words, folder).status == 143
        eq.Trainer.step = original  # type: ignore[method-assign]
        return contents(folder)

    def scenario(self, before: dict[str, bytes], act: Callable[[Path], Result]) -> Scenario:
        def prepare(folder: Path) -> None:
            for name, content in before.items():
                (folder / name).write_bytes(content)

        return Scenario(prepare, act, lambda *arguments: self.check(*arguments, before))

    def check(self, folder: Path, result: Result, mode: str, before: dict[str, bytes]) -> None:
        run = next(iter(folder.glob("equiprop-*")), folder)
        check_readable(folder, mode)
        text = "\n".join(result.lines)
        if result.status:
            check_error(result, folder)
        models = [before.get("model.safetensors"), self.expected["model.safetensors"], None]
        assert contents(run).get("model.safetensors") in models
        if "earlier run" in text and before is self.good:
            assert contents(run) == before
        if mode == "KILL" and result.status:
            if before is not self.good:
                self.steps.check(run / "checkpoint.safetensors")
            self.go_on(run, before)
        elif "--resume" in text:
            assert command("train", "--resume", run) == Result(0, [])
        elif result.status and "is complete" not in text:
            assert command(*self.words, run, *(["--overwrite"] if before else [])) == Result(0, [])
        self.check_complete(run)

    def go_on(self, run: Path, before: dict[str, bytes]) -> None:
        """Continue a run that was killed: nothing has said how."""
        resumed = command("train", "--resume", run)
        finished = resumed.status == 0 or "is finished" in resumed.lines[0]
        if not finished or contents(run) == self.good:
            assert command(*self.words, run, *(["--overwrite"] if before else [])) == Result(0, [])

    def check_complete(self, run: Path) -> None:
        assert sorted(path.name for path in run.iterdir()) == COMPLETE, sorted(run.iterdir())
        same_run(contents(run), self.expected)


def in_folder(folder: Path, *words: Any) -> Result:
    with contextlib.chdir(folder):
        return command(*words)


def of_runs(place: Path, before: str, act: Callable[[Runs, Path], Result]) -> Scenario:
    runs = Runs(place)
    return runs.scenario(getattr(runs, before, {}), lambda folder: act(runs, folder))


#: Functions that make a scenario in a folder.
SCENARIOS: dict[str, Callable[[Path], Scenario]] = {
    "network": lambda _: one_file("m.safetensors", lambda path, k: eq.save(network(k), path)),
    "trainer": lambda _: one_file("t.safetensors", lambda path, k: eq.save(trainer(k), path)),
    "certificate.json": lambda _: one_file("c.json", lambda path, k: REPORTS[k].save(path)),
    "certificate.html": lambda _: one_file("c.html", lambda path, k: REPORTS[k].save(path)),
    "verify --report": lambda _: Certificates().scenario(),
    "picture": lambda _: one_file("p.png", picture),
    "fit": lambda place: Fits(place).scenario(),
    "train": lambda place: of_runs(place, "none", lambda runs, f: command(*runs.words, f)),
    "train without --output": lambda place: of_runs(
        place, "none", lambda runs, f: in_folder(f, *runs.words[:-1])
    ),
    "train --overwrite": lambda place: of_runs(
        place, "good", lambda runs, f: command(*runs.words, f, "--overwrite")
    ),
    "train --resume": lambda place: of_runs(
        place, "interrupted", lambda _, f: command("train", "--resume", f)
    ),
}


def act_once(shim: Any, scenario: Scenario, folder: Path, call: int, mode: str) -> tuple[Result, int]:
    """Act while a call fails; return the result, and the number of calls."""
    shim.failing_calls_start(os.fsencode(folder), call, COUNTS[mode])
    try:
        return scenario.act(folder), shim.failing_calls_count()
    finally:
        shim.failing_calls_start(b"", 0, 1)


def act_killed(shim: Any, scenario: Scenario, folder: Path, call: int, mode: str) -> tuple[Result, int]:
    """Act in another process, which a call may kill, and bound the number of calls."""
    child = os.fork()
    if child == 0:
        result, calls = act_once(shim, scenario, folder, call, mode)
        os._exit(0 if calls < call and result.status == 0 else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -9)
    return (KILLED, call) if status else (Result(0, []), call - 1)


COUNTS = {"ONCE": 1, "ALWAYS": 10**6, "KILL": 0}


def sweep(shim: Any, scenario: Scenario, folder: Path, mode: str, stride: int) -> list[int]:
    """Let call 1, 1 + stride, ... fail until a run has no failure left; return the numbers."""
    failed: list[int] = []
    call, act = 1, act_killed if mode == "KILL" else act_once
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        scenario.prepare(folder)
        result, calls = act(shim, scenario, folder, call, mode)
        try:
            scenario.check(folder, result, mode)
        except BaseException:
            print(f"call {call} of {calls}: {result}", file=sys.stderr)
            raise
        if calls < call:
            assert result.status == 0
            return failed
        failed.append(call)
        call += stride


if __name__ == "__main__":
    library, name, mode, stride, where = sys.argv[1:]
    scenario = SCENARIOS[name](Path(where))
    print(json.dumps(sweep(ctypes.CDLL(library), scenario, Path(where) / "swept", mode, int(stride))))
