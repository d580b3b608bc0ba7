"""The command-line program ``equiprop``, whose commands train, evaluate, verify and compare networks."""

from equiprop.cli.command import main as main
