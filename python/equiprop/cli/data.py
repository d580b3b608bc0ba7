"""Data sets that the commands offer, and the options that select them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from equiprop.cli.options import Condition, Options
from equiprop.data import Dataset, load_digits, load_mnist


@dataclass(frozen=True)
class Defaults:
    """Default options of `train` for a data set.

    Attributes
    ----------
    hidden : tuple of int
        Units of each hidden layer.
    epochs : int
    """

    hidden: tuple[int, ...]
    epochs: int


#: The data sets by name, with the default options of `train`.
DATA: Mapping[str, Defaults] = MappingProxyType(
    {"digits": Defaults((256,), 30), "mnist": Defaults((512,), 10)}
)


def add_data(command: argparse.ArgumentParser, options: Options) -> None:
    """Add the argument that selects the data set, and the option for its folder."""
    command.add_argument(
        "data", choices=sorted(DATA), help="data set; digits is part of scikit-learn, mnist needs --data-dir"
    )
    add_folder(options, "with the data set mnist")


def add_folder(options: Options, when: str) -> None:
    """Add the option for the folder of MNIST; `when` is the condition of its effect in words."""
    condition = Condition(when, lambda o: o.data == "mnist")
    options.add("--data-dir", condition, type=Path, metavar="DIR", help="folder of the four MNIST files")


def load_data(options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    """Return training and test data."""
    if options.data == "digits":
        return load_digits()
    if options.data_dir is None:
        raise ValueError(
            f"[{options.command} mnist] --data-dir is the folder of the four MNIST files. Received none; "
            "equiprop.download.fetch_mnist(folder) downloads them."
        )
    return load_mnist(options.data_dir)
