"""The command ``equiprop info``, which describes this build or a saved model."""

from __future__ import annotations

import argparse

import numpy as np

from equiprop.checkpoint import load_network
from equiprop.cli.console import say, say_json
from equiprop.cli.data import user_path
from equiprop.cli.options import Options
from equiprop.config import config


def add_info(command: argparse.ArgumentParser, _: Options) -> None:
    """Declare the arguments of the command."""
    command.add_argument(
        "model", type=user_path, nargs="?", help="file of a saved model to describe (default: this build)"
    )
    command.set_defaults(run=run_info)


def run_info(options: argparse.Namespace) -> int:
    """Print the description, and return the exit status."""
    facts, table = config(), ""
    if options.model:
        model = load_network(options.model)
        facts = {
            "model": repr(model),
            "scaling": repr(model.scaling),
            "parameters": model.num_parameters,
            "blocks": {name: list(block.shape) for name, block in model.blocks.items()},
            "couplings": [repr(coupling) for coupling in model.couplings],
            "largest_parameter": float(np.abs(model.parameters).max()),
        }
        table = str(model).partition("\n\n")[2]  # of a graph that is no chain of dense layers
    if options.json:
        say_json("info", facts)
    else:
        for name, value in facts.items():
            if name != "couplings":  # the table has them
                say(f"{name:<18} {value}")
        if table:
            say(f"\n{table}")
    return 0
