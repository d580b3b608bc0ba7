"""Options of a command: each has an effect, or is refused by name before anything is done."""

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
    """When an option has an effect.

    Attributes
    ----------
    text : str
        Completes the sentence "The option has an effect only ...".
    holds : callable
        Takes the options, with their defaults filled in.
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

    The parser is not told the defaults, so that an option that was given differs from one that was not.
    """

    def __init__(self, command: argparse.ArgumentParser) -> None:
        self._command = command
        self._container: Any = command
        self._shared: tuple[Condition, ...] = ()
        self._options: list[_Option] = []
        command.set_defaults(settle=self._settle)

    def section(self, title: str, *conditions: Condition) -> None:
        """Show the options added from now on under `title`; all of them have these conditions."""
        self._container = self._command.add_argument_group(title)
        self._shared = conditions

    def add(self, flag: str, *conditions: Condition, default: Any = None, **words: Any) -> None:
        """Add an option; `words` are arguments of ``argparse.ArgumentParser.add_argument``."""
        if default is not None:
            words["help"] = f"{words.get('help', '')} (default: {default})".strip()
        action = self._container.add_argument(flag, default=None, **words)
        self._options.append(_Option(flag, action.dest, default, (*self._shared, *conditions)))

    def _settle(self, options: argparse.Namespace) -> None:
        """Fill in the defaults, and refuse options that were given but have no effect.

        `options.given` then holds the names of those that were given.
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
