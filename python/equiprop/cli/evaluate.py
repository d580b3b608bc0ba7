"""The command ``equiprop evaluate``, which prints the test error of a saved model."""

from __future__ import annotations

import argparse

from equiprop.cli.console import error_text, say, say_json
from equiprop.cli.data import add_data, load_data, user_path
from equiprop.cli.options import Options
from equiprop.cli.trainer import add_device, add_solver, as_trained, load_trainer


def add_evaluate(command: argparse.ArgumentParser, options: Options) -> None:
    """Declare the arguments of the command."""
    command.add_argument("model", type=user_path, help="saved model or checkpoint, such as model.safetensors")
    add_data(command, options)
    options.section("free phase")
    add_solver(options)
    add_device(options)
    command.set_defaults(run=run_evaluate)


def run_evaluate(options: argparse.Namespace) -> int:
    """Print the test error of a saved model, and return the exit status."""
    trainer = load_trainer(options)
    _, test = load_data(options)
    result = trainer.evaluate(as_trained(test, trainer))
    if options.json:
        numbers = {"objective": result.objective, "unconverged": result.unconverged}
        say_json("evaluate", {"test_error": result.error, **numbers})
    else:
        cost = f"{type(trainer.cost).__name__} {result.objective:.5f}"
        error = error_text(result.error, test.is_classification)
        say(f"{trainer.model}: test error {error} of {len(test)}, {cost}")
    return 0
