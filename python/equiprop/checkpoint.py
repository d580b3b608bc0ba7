"""Saving and loading networks and trainers as safetensors files, which contain no code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from equiprop import _core
from equiprop.black_box import BlackBox
from equiprop.checkpointing import TRAINER_FORMATS, read_trainer, write_trainer
from equiprop.checks import check_type
from equiprop.json_text import parse
from equiprop.models import HopfieldNetwork
from equiprop.network_files import read_classes_text, write_network
from equiprop.overlap import reading
from equiprop.paths import path_of
from equiprop.safetensors import MAX_HEADER_BYTES
from equiprop.training import Trainer


def save(thing: HopfieldNetwork | Trainer, path: str | os.PathLike[str]) -> Path:
    """Write a network or a trainer to a safetensors file; an old file is replaced by a complete one.

    Equal networks give equal bytes. The file of a network contains its scaling and its classes, which a
    `Trainer` of it uses. The file of a trainer contains all that its next step needs: network, optimizer
    with its averages, averaged parameters, cost, second phase, solver, schedule, seed, history,
    number of steps and, with ``free_start="last"``, the free states of its samples. A trainer that is loaded
    continues with the same bits. Callbacks are not saved.

    Parameters
    ----------
    thing : HopfieldNetwork or Trainer
        A trainer has a HopfieldNetwork or a BlackBox, of which the parameters and the scaling are saved, and
        no functions; `load` receives the device. Its optimizer, cost, second phase, solver and schedule are
        of this library.
    path : path-like
        File to create or replace.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    TypeError
        If `thing` is neither a network nor a trainer, or a part of a trainer is of another class, or a class
        of a network is neither a number nor text.
    ValueError
        If a parameter is not finite. An existing file is not changed.
    OverlapError
        If another thread trains the network.
    OSError
        If the file cannot be written. An existing file is not changed.

    Examples
    --------
    >>> import equiprop as eq, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> net = eq.HopfieldNetwork([2, 3, 1])
    >>> bool((eq.load(eq.save(net, path)).parameters == net.parameters).all())
    True
    >>> eq.load(eq.save(eq.Trainer(net, optimizer=eq.Adam()), path)).optimizer
    Adam(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08, weight_decay=0.0)
    """
    path = path_of(path, "save")
    if type(thing) is not Trainer and not isinstance(thing, HopfieldNetwork):
        raise TypeError(
            f"[save] A HopfieldNetwork or a Trainer can be saved. Received {type(thing).__name__}."
        )
    with reading(thing.model if isinstance(thing, Trainer) else thing, "save"):
        if isinstance(thing, Trainer):
            write_trainer(path, thing, "save")
        else:
            write_network(path, thing, "save")
    return path


def load(path: str | os.PathLike[str], model: BlackBox | None = None) -> Any:
    """Read a network or a trainer from a file that `save` wrote, or ``equiprop::save`` of the C++ library.

    A trainer that a `Checkpoint` saved is returned without its position in the data: its next `fit` starts
    with a new epoch. `Trainer.resume` returns it with the position.

    Parameters
    ----------
    path : path-like
    model : BlackBox, optional
        The device of a trainer of a BlackBox, whose functions no file holds. It gets the parameters and the
        scaling of the file, once the file is known to be right.

    Returns
    -------
    HopfieldNetwork or Trainer

    Raises
    ------
    TypeError
        If the file is that of a trainer of a BlackBox and `model` is missing, or of another and it is given.
    ValueError
        If the file is not of a saved network or trainer, is damaged, or has arrays that do not fit.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import equiprop as eq, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> eq.load(eq.save(eq.HopfieldNetwork([2, 3, 1]), path))
    HopfieldNetwork(2-3-1, hard_sigmoid, linear, legendre, float32)
    """
    path = path_of(path, "load")
    metadata = _metadata(path)
    if metadata.get("format") not in TRAINER_FORMATS:
        rule = "model is given for the file of the Trainer of a BlackBox alone"
        check_type(model, type(None), "load", rule)
        net = HopfieldNetwork.from_core(_core.load(os.fsencode(path)))
        if "classes" in metadata:
            net.classes = read_classes_text(metadata["classes"], net.num_outputs, path)
        return net
    trainer = read_trainer(path, Trainer, "load", box=model)
    trainer.unfinished = None
    return trainer


def load_network(path: str | os.PathLike[str]) -> HopfieldNetwork:
    """Return the network of a file that `save` wrote; of a trainer, the one with which it predicts."""
    thing = load(path)
    if isinstance(thing, HopfieldNetwork):
        return thing
    assert isinstance(thing, Trainer)
    model = thing.averaged_model
    assert isinstance(model, HopfieldNetwork)
    return model


def _metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a file, or none if it has no valid ones; `load` checks the file."""
    try:
        with path.open("rb") as stream:
            length = min(int.from_bytes(stream.read(8), "little"), MAX_HEADER_BYTES)
            return dict(parse(stream.read(length))["__metadata__"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
