"""Options of a command; an option that would have no effect is an error before the command starts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from equiprop.costs import Cost, CrossEntropy, SquaredError

#: Choices of --cost.
COSTS: dict[str, type[Cost]] = {"squared-error": SquaredError, "cross-entropy": CrossEntropy}


@dataclass(frozen=True)
class Condition:
    """A condition under which an option has an effect.

    Attributes
    ----------
    text : str
        End of the sentence "The option has an effect only ...".
    holds : callable
        Returns True if the options, including their defaults, satisfy the condition.
    """

    text: str
    holds: Callable[[argparse.Namespace], bool]


@dataclass(frozen=True)
class _Option:
    flag: str
    dest: str
    default: Any
    conditions: tuple[Condition, ...]


class Options:
    """Declares the options of one command, with their defaults and the conditions of their effect.

    The defaults are not passed to argparse, so that None marks an option that the user did not give.
    """

    def __init__(self, command: argparse.ArgumentParser) -> None:
        self._command = command
        self._container: Any = command
        self._shared: tuple[Condition, ...] = ()
        self._options: list[_Option] = []
        command.set_defaults(settle=self._settle)

    def section(self, title: str, *conditions: Condition) -> None:
        """Start a section of the help text; the conditions hold for all options that are added to it."""
        self._container = self._command.add_argument_group(title)
        self._shared = conditions

    def add(self, flag: str, *conditions: Condition, default: Any = None, **words: Any) -> None:
        """Add an option with the conditions of its effect; `words` are arguments for argparse."""
        if default is not None:
            words["help"] = f"{words.get('help', '')} (default: {default})".strip()
        action = self._container.add_argument(flag, default=None, **words)
        self._options.append(_Option(flag, action.dest, default, (*self._shared, *conditions)))

    def _settle(self, options: argparse.Namespace) -> None:
        """Set the defaults, and raise ValueError for options that the user gave and that have no effect.

        Afterwards `options.given` contains the names of the options that the user gave.
        """
        options.given = {o.dest for o in self._options if getattr(options, o.dest) is not None}
        for option in self._options:
            if option.dest not in options.given:
                setattr(options, option.dest, option.default)
        for option in self._options:
            if option.dest in options.given:
                _refuse_without_effect(options, option)


def _refuse_without_effect(options: argparse.Namespace, option: _Option) -> None:
    for condition in option.conditions:
        if not condition.holds(options):
            value = getattr(options, option.dest)
            words = () if value is True else value if isinstance(value, list) else (value,)
            raise ValueError(
                f"[{options.command}] {option.flag} has an effect only {condition.text}. "
                f"Received {' '.join([option.flag, *map(str, words)])}."
            )
