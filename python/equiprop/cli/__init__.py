"""The command-line program ``equiprop`` with the commands train, evaluate, verify and info."""

from equiprop.cli.command import main as main
