"""The command ``equiprop predict``, which prints the classes or outputs of samples by a saved model."""

from __future__ import annotations

import argparse

import numpy as np

from equiprop.cli.console import say, say_json
from equiprop.cli.data import DATA, add_data, load_data, user_path
from equiprop.cli.options import Options
from equiprop.cli.trainer import add_device, add_solver, as_trained, load_trainer
from equiprop.data_files import load_inputs
from equiprop.models import HopfieldNetwork


def add_predict(command: argparse.ArgumentParser, options: Options) -> None:
    """Declare the arguments of the command."""
    command.add_argument("model", type=user_path, help="saved model or checkpoint, such as model.safetensors")
    add_data(command, options)
    options.add("--outputs", action="store_true", help="print the outputs of the network, not the class")
    options.section("free phase")
    add_solver(options)
    add_device(options)
    command.set_defaults(run=run_predict)


def run_predict(options: argparse.Namespace) -> int:
    """Print one line for each sample, and return the exit status.

    The samples are all rows of a CSV file, the array x (otherwise x_test) of an NPZ file, or the test data of
    digits and of sets of images such as mnist. A network with one output has no classes, so its outputs are
    printed. Without classes of a training in the file, the class is the number of the output.
    """
    trainer = load_trainer(options)
    model = trainer.model
    assert isinstance(model, HopfieldNetwork)
    data = (
        load_data(options)[1]
        if options.data in DATA
        else load_inputs(options.data, model.num_inputs, "predict")
    )
    outputs = trainer.predict(as_trained(data, trainer))
    if options.outputs or model.num_outputs == 1:
        name, values = "outputs", outputs.tolist()
        lines = [",".join(row) for row in outputs.astype(str)]  # as many digits as the precision needs
    else:
        numbers = np.argmax(outputs, axis=1)
        classes = numbers if trainer.classes is None else trainer.classes[numbers]
        name, values = "classes", classes.tolist()
        lines = [str(value) for value in values]
    if options.json:
        say_json("predict", {name: values})
    else:
        say("\n".join(lines))
    return 0
