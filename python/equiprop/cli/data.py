"""Data sets that the commands offer, and the options that select them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from equiprop.cli.options import Condition, Options
from equiprop.data import Dataset, load_digits, load_image_set
from equiprop.data_files import load_files
from equiprop.image_sets import IMAGE_SETS
from equiprop.paths import in_home, path_of


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
    {"digits": Defaults((256,), 30), **dict.fromkeys(IMAGE_SETS, Defaults((512,), 10))}
)


#: Default options of `train` for the user's own data.
OWN = Defaults((64,), 30)


def user_path(text: str) -> Path:
    """Return a path; ``~`` is the home folder, also where a shell does not replace it."""
    try:
        return in_home(path_of(text, "equiprop"), "equiprop")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_data(command: argparse.ArgumentParser, options: Options, *, optional: bool = False) -> None:
    """Add the argument that selects the data set, and the option for its folder."""
    command.add_argument(
        "data",
        nargs="?" if optional else None,
        help=f"digits (part of scikit-learn), {', '.join(IMAGE_SETS)} (with --data-dir), a CSV or NPZ file, "
        "or a folder with train.csv and test.csv, train.npz and test.npz, or the files of MNIST",
    )
    add_folder(options, "with a set of images such as mnist")


def add_folder(options: Options, when: str) -> None:
    """Add the option for the folder of a set of images; `when` is the condition of its effect in words."""
    condition = Condition(when, lambda o: o.data in IMAGE_SETS)
    words = "folder of the files of a set of images such as mnist"
    options.add("--data-dir", condition, type=user_path, metavar="DIR", help=words)


def defaults_of(options: argparse.Namespace) -> Defaults:
    """Return the default options of `train` for the data set."""
    return DATA.get(options.data, OWN)


def default_text(value: Callable[[Defaults], str]) -> str:
    """Return the default values of an option for each data set, as text for its help."""
    names: dict[str, list[str]] = {}
    for name, defaults in sorted(DATA.items()):
        names.setdefault(value(defaults), []).append(name)
    named = [f"{text} for {', '.join(group)}" for text, group in names.items()]
    return "; ".join([*named, f"else {value(OWN)}"])


def name_of_data(options: argparse.Namespace) -> str:
    """Return a short name of the data set: that of its file or folder without ending."""
    return options.data if options.data in DATA else user_path(options.data).resolve().stem


def load_data(options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    """Return training and test data."""
    if options.data == "digits":
        return load_digits()
    if options.data not in IMAGE_SETS:
        return load_files(options.data, options.command)
    files = IMAGE_SETS[options.data].files
    if options.data_dir is None:
        raise ValueError(
            f"[{options.command} {options.data}] --data-dir is the folder of {files}. "
            f"Received none; equiprop.download.fetch_{options.data}(folder) downloads the data set."
        )
    return load_image_set(options.data, options.data_dir)
