"""The command ``equiprop completion``, which prints a script that completes command lines in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from equiprop.cli.console import say, say_json
from equiprop.cli.data import user_path
from equiprop.cli.options import Options


def add_completion(command: argparse.ArgumentParser, _: Options) -> None:
    """Declare the arguments of the command."""
    command.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="shell that runs the script")
    command.set_defaults(run=run_completion)


def run_completion(options: argparse.Namespace) -> int:
    """Print the script, and return the exit status."""
    try:
        import shtab
    except ImportError as error:
        raise ImportError(
            "[completion] shtab is not installed. Install it with pip install 'equiprop[completion]'."
        ) from error
    for action in _actions(options.program):
        if action.type is user_path:
            action.complete = shtab.FILE
    script = shtab.complete(options.program, shell=options.shell)
    if options.json:
        say_json("completion", {"shell": options.shell, "script": script})
    else:
        say(script)
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[Any]:
    """Yield the arguments of a program and of all its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
