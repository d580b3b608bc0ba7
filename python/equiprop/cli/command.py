"""Entry point of the program: parses the command line, runs a command and returns its exit status."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

from equiprop.cli.compare import add_compare
from equiprop.cli.completion import add_completion
from equiprop.cli.console import lost_output, say
from equiprop.cli.dashboard import add_dashboard
from equiprop.cli.evaluate import add_evaluate
from equiprop.cli.info import add_info
from equiprop.cli.options import Condition, Options
from equiprop.cli.predict import add_predict
from equiprop.cli.processes import follows, how_to_continue, several, share_processors
from equiprop.cli.settings import words_of
from equiprop.cli.termination import exit_status, reason, terminable
from equiprop.cli.train import add_train
from equiprop.cli.verify import add_verify
from equiprop.config import config, set_num_threads
from equiprop.cuda_package import DeviceError
from equiprop.progress import on_terminal, shown
from equiprop.results import ConvergenceError

_COMMANDS = {
    "train": (add_train, "train a network; save the model and its history"),
    "evaluate": (add_evaluate, "print the test error of a saved model"),
    "predict": (add_predict, "print the class of each sample, by a saved model"),
    "verify": (add_verify, "check the claims of the theory on random networks or on a saved model"),
    "info": (add_info, "describe this build or a saved model"),
    "compare": (add_compare, "print the settings and the results in which runs differ"),
    "dashboard": (add_dashboard, "write one page on all runs and certificates in a folder"),
    "completion": (add_completion, "print a script that completes command lines in a shell"),
}
#: Commands that compute nothing.
_READERS = {"compare", "dashboard", "completion"}
_FAILED = 2
#: Seconds that a process waits before it prints an error, so that the first one can print the same before it.
_FIRST_SAYS = 2.0
#: Seconds before a process ends all others, in which mpirun forwards the message; it may drop the rest.
_FORWARDED = 0.2
_COMPUTES = Condition("without MODEL", lambda o: o.command != "info" or o.model is None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    The status is 0 for success, 1 if a claim does not hold, 2 for errors, and 130, 143 or 129 after Ctrl-C,
    SIGTERM or SIGHUP.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments of the command line; by default those of the process.

    Examples
    --------
    >>> from equiprop.cli import main
    >>> main(["info"])  # doctest: +ELLIPSIS
    version ...
    0
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    options.command_line = shlex.join(["equiprop", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        with terminable():
            return _run(options, parser)
    except KeyboardInterrupt as error:
        together = getattr(error, "together", False)
        return _end(options, reason(error), exit_status(error), together=together)
    except (ValueError, TypeError, OSError, ImportError, MemoryError, ConvergenceError, DeviceError) as error:
        return _end(options, f"error: {_sentence(error, options.command)}", _FAILED)
    finally:
        if hasattr(options, "run_folder"):
            options.run_folder.close()


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    options.settle(options, _inherited(options, parser))
    if options.command not in _READERS and options.threads is not None:
        set_num_threads(options.threads)
    elif getattr(options, "group", None) is not None:
        share_processors(options.group)
    # train has a bar of its own, beside which evaluations show none
    lost_output()  # of an earlier command in this process
    with shown(options.command, options.command != "train" and on_terminal()):
        status: int = options.run(options)
    failure = lost_output()
    if failure is not None:
        raise OSError(f"[{options.command}] cannot write the output: {failure.strerror}.")
    return status


def _inherited(options: argparse.Namespace, parser: argparse.ArgumentParser) -> argparse.Namespace | None:
    """Return the options in the settings file of the command, and take its data set if none was given."""
    path = options.settings_file(options) if hasattr(options, "settings_file") else None
    if path is None:
        return None
    inherited = parser.parse_args([options.command, *words_of(path)])
    if options.data is None:
        options.data = inherited.data
    inherited.settle(inherited)
    return inherited


def _end(options: argparse.Namespace, message: str, status: int, *, together: bool = False) -> int:
    """Print how a command ended, and return the exit status.

    One of several processes ends the others, unless all end `together`. If they have one error, only the
    first process prints it, because the others wait.
    """
    group: Any = getattr(options, "group", None)
    if follows(group):
        if together:
            return status
        time.sleep(_FIRST_SAYS)
        message += how_to_continue(group, getattr(options, "run_folder", None))
    line = f"equiprop {options.command}: {message}"
    say(line, error=True)
    if hasattr(options, "run_folder"):
        options.run_folder.log(line)
    if several(group) and not together:
        time.sleep(_FORWARDED)
        group.abort(status)
    return status


def _sentence(error: Exception, command: str) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.strerror is not None:  # not one of this library
        named = f"'{error.filename}'" if error.filename else "a file or folder"
        return f"[{command}] cannot use {named}: {error.strerror}."
    if isinstance(error, MemoryError) and not text.startswith("["):
        return (
            f"[{command}] cannot allocate memory: the options need more than is free. Choose fewer units, "
            "samples or steps, or smaller batches."
        )
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="equiprop", description="Train and verify fixed-point recurrent networks."
    )
    parser.set_defaults(program=parser)
    parser.add_argument("--version", action="version", version=config()["version"])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (add, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        options = Options(command)
        options.add("--json", action="store_true", help="print one JSON object instead of text")
        if name not in _READERS:
            options.add(
                "--threads", _COMPUTES, type=int, help="number of threads (default: number of processors)"
            )
        add(command, options)
    return parser
