"""The command-line program ``equiprop`` with the commands train, evaluate, predict, verify and info."""

from equiprop.cli.command import main as main
