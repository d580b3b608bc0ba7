"""The script of `equiprop completion` completes commands, options, choices and files in a real shell."""

from __future__ import annotations

import builtins
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import Capture, error_of, run, run_json

pytest.importorskip("shtab", reason="the extra 'completion' is not installed")

#: Loads a script, completes the words of a command line, and prints the answers.
_COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p equiprop | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function equiprop "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from equiprop.cli import command

    path = tmp_path_factory.mktemp("shell") / "equiprop.bash"
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("equiprop.cli.completion.say", said.append)
        assert command.main(["completion", "bash"]) == 0
    path.write_text(said[0])
    return path


def completed(script: Path, folder: Path, *words: str) -> list[str]:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    command = [bash, "--norc", "-c", _COMPLETE, "bash", str(script), "equiprop", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (["tr"], {"train"}),
        (["co"], {"compare", "completion"}),
        (["train", "--nest"], {"--nesterov"}),
        (["train", "--second-phase", ""], {"eqprop", "rbp"}),
        (["completion", ""], {"bash", "zsh", "tcsh"}),
        (["verify", "--replay", "rep"], {"report.json"}),
        (["info", "mod"], {"model.safetensors"}),
    ],
)
def test_bash_completes(words: list[str], answers: set[str], script: Path, tmp_path: Path) -> None:
    for name in ("report.json", "model.safetensors"):
        (tmp_path / name).write_text("")
    assert answers <= set(completed(script, tmp_path, *words))
    if words[-1]:
        assert all(answer.startswith(words[-1]) for answer in completed(script, tmp_path, *words))


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_each_shell_has_a_script(shell: str, capsys: Capture) -> None:
    text = run(capsys, "completion", shell)
    assert "--second-phase" in text
    assert run_json(capsys, "completion", shell)["script"] == text.removesuffix("\n")


def test_a_missing_library_is_named(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_shtab(name: str, *rest: Any) -> Any:
        if name == "shtab":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_shtab)
    (line,) = error_of(capsys, "completion", "bash")
    assert line.endswith("shtab is not installed. Install it with pip install 'equiprop[completion]'.")
