"""Entry point of the program: parses the command line, runs a command and returns its exit status."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from equiprop.cli.evaluate import add_evaluate
from equiprop.cli.info import add_info
from equiprop.cli.options import Condition, Options
from equiprop.cli.termination import Terminated, terminable
from equiprop.cli.train import add_train
from equiprop.cli.verify import add_verify
from equiprop.config import config, set_num_threads
from equiprop.results import ConvergenceError

_COMMANDS = {
    "train": (add_train, "train a network; save the model and its history"),
    "evaluate": (add_evaluate, "print the test error of a saved model"),
    "verify": (add_verify, "check the claims of the theory on random networks or on a saved model"),
    "info": (add_info, "describe this build or a saved model"),
}
_FAILED = 2
#: 128 + the number of the signal, the convention of shells: SIGINT is 2, SIGTERM is 15.
_INTERRUPTED, _TERMINATED = 130, 143
_COMPUTES = Condition("without MODEL", lambda o: o.command != "info" or o.model is None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    The status is 0 for success, 1 if a claim does not hold, 2 for errors, 130 after Ctrl-C, and 143 after
    SIGTERM.

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
    options = _parser().parse_args(arguments)
    options.command_line = shlex.join(["equiprop", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        with terminable():
            return _run(options)
    except Terminated:
        return _end(options, "terminated", _TERMINATED)
    except KeyboardInterrupt:
        return _end(options, "interrupted", _INTERRUPTED)
    except (ValueError, TypeError, OSError, ImportError, MemoryError, ConvergenceError) as error:
        return _end(options, f"error: {_sentence(error, options.command)}", _FAILED)


def _run(options: argparse.Namespace) -> int:
    options.settle(options)
    if options.threads is not None:
        set_num_threads(options.threads)
    status: int = options.run(options)
    return status


def _end(options: argparse.Namespace, message: str, status: int) -> int:
    print(f"equiprop {options.command}: {message}", file=sys.stderr)
    return status


def _sentence(error: Exception, command: str) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return f"[{command}] cannot use a file or folder: {text}."
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
    parser.add_argument("--version", action="version", version=config()["version"])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (add, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        options = Options(command)
        options.add("--json", action="store_true", help="print one JSON object instead of text")
        options.add(
            "--threads", _COMPUTES, type=int, help="number of threads (default: number of processors)"
        )
        add(command, options)
    return parser
