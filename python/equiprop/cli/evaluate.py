"""The command ``equiprop evaluate``, which prints the test error of a saved model."""

from __future__ import annotations

import argparse
import json

from equiprop.checkpoint import load_network
from equiprop.cli.console import say
from equiprop.cli.data import add_data, load_data, user_path
from equiprop.cli.options import Options
from equiprop.cli.trainer import add_solver, build_solver
from equiprop.training import Trainer


def add_evaluate(command: argparse.ArgumentParser, options: Options) -> None:
    """Declare the arguments of the command."""
    command.add_argument("model", type=user_path, help="file of a saved model, such as model.safetensors")
    add_data(command, options)
    options.section("free phase")
    add_solver(options)
    command.set_defaults(run=run_evaluate)


def run_evaluate(options: argparse.Namespace) -> int:
    """Print the test error of a saved model, and return the exit status."""
    model = load_network(options.model)
    _, test = load_data(options)
    result = Trainer(model, solver=build_solver(options, model)).evaluate(test)
    if options.json:
        numbers = {"objective": result.objective, "unconverged": result.unconverged}
        say(json.dumps({"command": "evaluate", "test_error": result.error, **numbers}))
    else:
        say(f"{model}: test error {100 * result.error:.2f} % of {len(test)}, cost {result.objective:.5f}")
    return 0
