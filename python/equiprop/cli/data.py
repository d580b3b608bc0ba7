"""Data sets of the command line."""

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
    """What `train` does with a data set unless it is told otherwise."""

    hidden: tuple[int, ...]
    epochs: int


#: Choices of a data set.
DATA: Mapping[str, Defaults] = MappingProxyType(
    {"digits": Defaults((256,), 30), "mnist": Defaults((512,), 10)}
)


def add_data(command: argparse.ArgumentParser, options: Options) -> None:
    """Add the data set as an argument, and the option that says where it is."""
    command.add_argument("data", choices=sorted(DATA), help="the digits come with scikit-learn")
    add_folder(options, "with the data set mnist")


def add_folder(options: Options, when: str) -> None:
    """Add the option that says where a data set is; `when` says in words that it is one with files."""
    condition = Condition(when, lambda o: o.data == "mnist")
    options.add("--data-dir", condition, type=Path, metavar="DIR", help="folder of the four MNIST files")


def load_data(options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    """Return training and test data."""
    if options.data == "digits":
        return load_digits()
    if options.data_dir is None:
        raise ValueError(
            f"[{options.command} mnist] --data-dir names the folder of the four MNIST files. Received none; "
            "equiprop.download.fetch_mnist(folder) downloads them."
        )
    return load_mnist(options.data_dir)
