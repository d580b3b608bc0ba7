"""The ``equiprop`` command: train, evaluate, verify, info."""

from equiprop.cli.command import main as main
