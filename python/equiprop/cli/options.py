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
    when_given: tuple[Condition, ...]  # conditions for the user, not for values of a settings file

    def has_effect(self, options: argparse.Namespace) -> bool:
        """Return True if all conditions hold."""
        return all(condition.holds(options) for condition in self.conditions)


class Options:
    """Declares the options of one command, with their defaults and the conditions of their effect.

    The defaults are not passed to argparse, so that None marks an option that the user did not give.
    """

    def __init__(self, command: argparse.ArgumentParser) -> None:
        self._command = command
        self._container: Any = command
        self._shared: tuple[Condition, ...] = ()
        self._when_given: tuple[Condition, ...] = ()
        self._options: list[_Option] = []
        command.set_defaults(settle=self._settle, usage_error=command.error)
        command.set_defaults(refuse_restricted=self._refuse_restricted)

    def section(self, title: str, *conditions: Condition) -> None:
        """Start a section of the help text; the conditions hold for all options that are added to it."""
        self._container = self._command.add_argument_group(title)
        self._shared = conditions

    def restrict(self, *conditions: Condition) -> None:
        """Add conditions for the options that follow; a file of settings is not checked for them."""
        self._when_given = conditions

    def add(
        self, flag: str, *conditions: Condition, default: Any = None, short: str = "", **words: Any
    ) -> None:
        """Add an option with the conditions of its effect; `words` are arguments for argparse."""
        if default is not None:
            words["help"] = f"{words.get('help', '')} (default: {default})".strip()
        action = self._container.add_argument(*filter(None, (short, flag)), default=None, **words)
        self._options.append(
            _Option(flag, action.dest, default, (*self._shared, *conditions), self._when_given)
        )

    def _refuse_restricted(self, options: argparse.Namespace) -> None:
        """Raise ValueError if the user gave an option against the conditions of `restrict`."""
        for option in self._options:
            if getattr(options, option.dest) is not None:
                _refuse_without_effect(options, option, option.when_given)

    def _settle(self, options: argparse.Namespace, inherited: argparse.Namespace | None = None) -> None:
        """Set the defaults, and raise ValueError for options that the user gave and that have no effect.

        An option that the user did not give has its value in `inherited`, if it has an effect there and still
        has one. Afterwards `options.given` contains the names of the options that were given here or there.
        """
        options.given = {o.dest for o in self._options if getattr(options, o.dest) is not None}
        earlier = inherited.given - options.given if inherited is not None else set()
        for option in self._options:
            if option.dest not in options.given:
                source = inherited if option.dest in earlier else None
                setattr(options, option.dest, getattr(source, option.dest, option.default))
        for option in self._options:
            if option.dest in options.given:
                _refuse_without_effect(options, option, option.conditions)
            elif option.dest in earlier and not option.has_effect(options):
                setattr(options, option.dest, option.default)
                earlier.remove(option.dest)
        options.given |= earlier
        options.effective = {o.dest: getattr(options, o.dest) for o in self._options if o.has_effect(options)}


def _refuse_without_effect(
    options: argparse.Namespace, option: _Option, conditions: tuple[Condition, ...]
) -> None:
    for condition in conditions:
        if not condition.holds(options):
            value = getattr(options, option.dest)
            words = () if value is True else value if isinstance(value, list) else (value,)
            raise ValueError(
                f"[{options.command}] {option.flag} has an effect only {condition.text}. "
                f"Received {' '.join([option.flag, *map(str, words)])}."
            )
