"""Files of trainers, and the checkpoints that `Trainer.fit` writes while it trains."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from equiprop.arrays import Array
from equiprop.averaging import Average
from equiprop.black_box import BlackBox
from equiprop.black_box_files import check_box, describe_box
from equiprop.checks import real, require, whole
from equiprop.clipping import Clipping
from equiprop.config import __version__
from equiprop.costs import CrossEntropy, LayerCosts, SquaredError
from equiprop.cuda import DeviceNetwork
from equiprop.encoding import Encoder, NotEncodable, decode, is_saved
from equiprop.files import Lock
from equiprop.health import Health
from equiprop.history import History
from equiprop.json_text import parse
from equiprop.kept_states import KeptStates
from equiprop.labels import classes_of_outputs
from equiprop.models import HopfieldNetwork
from equiprop.network_files import describe, read_scaling, rebuild, scaling_fields
from equiprop.optimizers import SGD, Adam
from equiprop.paths import path_of
from equiprop.position import Position, state_of
from equiprop.processes import group_of
from equiprop.safetensors import read_safetensors, write_safetensors
from equiprop.second_phase import EquilibriumPropagation, RecurrentBackpropagation

#: Value of ``format`` in the metadata of the file of a trainer.
TRAINER_FORMAT = "equiprop.Trainer.2"
#: Formats that are read; in the first one the scaling is a number.
TRAINER_FORMATS = ("equiprop.Trainer.1", TRAINER_FORMAT)
#: Fields of a trainer that its file does not contain, or contains in another way.
_APART = {"model", "callbacks", "step_callbacks"}
_Trainer = TypeVar("_Trainer")


def write_trainer(path: Path, trainer: Any, where: str) -> None:
    """Write a trainer to a safetensors file; an existing file is replaced only when the new one is complete.

    Metadata: format, version, network, the structure of the network or the blocks and the outputs of a
    BlackBox, the fields that a reader must know, and the device of a network that is not on the CPU.
    Tensors: ``model.`` and the name of each block; those of the scaling; ``state``, the other fields of the
    trainer and the classes as JSON in UTF-8; and the arrays of these fields.

    Raises
    ------
    TypeError
        If a part of the trainer is not of this library.
    ValueError
        If a parameter is not finite.
    OSError
        If the file cannot be written. An existing file is not changed.
    """
    state, arrays = encoded_trainer(trainer, where)
    model = trainer.model
    finite = bool(np.isfinite(model.parameters).all())
    require(finite, where, "Parameters are finite", "NaN or infinity")
    blocks = {f"model.{name}": block for name, block in model.blocks.items()}
    text = np.frombuffer(json.dumps(state).encode(), np.uint8)
    described = describe_box(model) if isinstance(model, BlackBox) else describe(model)
    metadata = {"format": TRAINER_FORMAT, "version": __version__, "network": json.dumps(described)}
    if isinstance(model, DeviceNetwork):
        metadata |= {"device": model.device, "precision": model.precision}
    scaling, required = scaling_fields(model.scaling)
    write_safetensors(path, {**arrays, **blocks, **scaling, "state": text}, {**metadata, **required})


def encoded_trainer(trainer: Any, where: str) -> tuple[dict[str, Any], Mapping[str, Array]]:
    """Return all fields of a trainer but the model, and its classes, as an object for JSON, and their arrays.

    Raises
    ------
    TypeError
        If a part of the trainer, which may be the model, is not of this library.
    """
    of_device = isinstance(trainer.model, BlackBox)
    if not of_device and type(trainer.model) not in (HopfieldNetwork, DeviceNetwork):
        raise TypeError(
            f"[{where}] The model of a saved Trainer is a HopfieldNetwork or a BlackBox. Received model of "
            f"class {type(trainer.model).__name__}. Use pickle.dump(trainer, file) to keep this Trainer."
        )
    encoder = Encoder()
    names = [field.name for field in fields(trainer) if is_saved(field) and field.name not in _APART]
    own = {name: getattr(trainer, name) for name in names} | {"classes": trainer.model.classes}
    try:
        return {name: encoder.encode(value, name) for name, value in own.items()}, encoder.arrays
    except NotEncodable as error:
        part = error.part.partition(".")[0]
        raise TypeError(
            f"[{where}] The parts of a saved Trainer are objects of this library. Received {error.name} as "
            f"{error.part}. {_CURES.get(part, _PICKLE)}"
        ) from error


#: Types of the parts of a trainer, whose constructor checks the others.
_KINDS: Mapping[str, Any] = {
    "second_phase": EquilibriumPropagation | RecurrentBackpropagation,
    "optimizer": SGD | Adam,
    "cost": SquaredError | CrossEntropy | LayerCosts,
    "schedule": partial | None,
    "history": list,
    "steps": int,
    "unfinished": Position | None,
    "averaging": float | None,
    "_average": Average,
    "_clipping": Clipping,
    "_health": Health,
    "_kept": KeptStates,
}
_PICKLE = "Use pickle.dump(trainer, file) to keep this Trainer."
_CURES = {
    "cost": "Use LayerCosts without functions of targets, or pickle.dump(trainer, file) if they are "
    "functions of a module.",
    "schedule": "Use constant(), cosine(), another schedule of equiprop.optimizers, or "
    "pickle.dump(trainer, file) if the schedule is a function of a module.",
}


def read_trainer(
    path: str | os.PathLike[str],
    kind: Callable[..., _Trainer],
    where: str,
    *,
    box: Any = None,
    on_device: bool = False,
) -> _Trainer:
    """Return the trainer of a file that `write_trainer` wrote; `kind` constructs it.

    Its network is on the CPU, or with `on_device` on the device of the training. If the file is that of a
    BlackBox, `box` is the device, whose parameters are changed in place once the file is known to be right.

    Raises
    ------
    ValueError
        If the file is not that of a trainer, or is damaged.
    TypeError
        If the file is that of a BlackBox and `box` is not one, or is given for the file of a network.
    DeviceError
        If the device of the training cannot be used here.
    OSError
        If the file cannot be read.
    """
    path = path_of(path, where)
    tensors, metadata = read_safetensors(path)
    found = metadata.get("format", "none")
    rule = f"The file holds a Trainer ({TRAINER_FORMAT})"
    require(found in TRAINER_FORMATS, where, rule, f"{found} in '{path}'")
    if _of_box(metadata) or box is not None:
        return _read_with_box(path, kind, where, box)
    try:
        state = parse(tensors.pop("state").tobytes())
        own = decode({"mapping": state}, tensors)
        own["model"] = _model(parse(metadata["network"]), tensors)
        own["model"].scaling = read_scaling(tensors, metadata, own.pop("scale", None))
        own["model"].classes = own.pop("classes", None)
        if on_device:
            device, precision = metadata.get("device", "cpu"), metadata.get("precision")
            own["model"] = own["model"].to(device, precision=precision)
        return _built(kind, own)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _incomplete(path, where, error) from error


def _of_box(metadata: Mapping[str, str]) -> bool:
    """Return True if the metadata are those of the trainer of a BlackBox."""
    try:
        return "black_box" in parse(metadata["network"])
    except (ValueError, KeyError, TypeError):
        return False


def _read_with_box(path: Path, kind: Callable[..., _Trainer], where: str, box: Any) -> _Trainer:
    """Return the trainer of a BlackBox."""
    tensors, metadata = read_safetensors(path)
    rule = "model is given for the file of the Trainer of a BlackBox alone"
    if not _of_box(metadata):
        raise TypeError(f"[{where}] {rule}. Received that of a network, '{path}'.")
    check_box(box, parse(metadata["network"]), where)
    try:
        state = parse(tensors.pop("state").tobytes())
        own = decode({"mapping": state}, tensors)
        blocks = {name: tensors[f"model.{name}"] for name in box.blocks}
        for name, block in box.blocks.items():
            fits = (blocks[name].shape, blocks[name].dtype) == (block.shape, block.dtype)
            require(fits, where, "The arrays fit the device", f"another type or shape of {name}")
            require(bool(np.isfinite(blocks[name]).all()), where, "Parameters are finite", "NaN or infinity")
        scaling, classes = read_scaling(tensors, metadata, None), own.pop("classes", None)
        if classes is not None:
            classes = classes_of_outputs(classes, box.num_outputs, where)
        trainer = _built(kind, {**own, "model": box})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _incomplete(path, where, error) from error
    for name, block in box.blocks.items():
        block[...] = blocks[name]
    box.scaling, box.classes = scaling, classes
    return trainer


def _incomplete(path: Path, where: str, error: Exception) -> ValueError:
    return ValueError(f"[{where}] The file holds a complete Trainer. Received {_reason(error)} in '{path}'.")


def _reason(error: Exception) -> str:
    return repr(str(error)) if isinstance(error, ValueError) else repr(error)


def _model(description: Mapping[str, Any], tensors: Mapping[str, Array]) -> HopfieldNetwork:
    blocks = {name[6:]: block for name, block in tensors.items() if name.startswith("model.")}
    model = rebuild(description, sum(block.size for block in blocks.values()))
    require(blocks.keys() == model.blocks.keys(), "load", "The arrays fit the layers", sorted(blocks))
    for name, block in model.blocks.items():
        fits = (blocks[name].shape, blocks[name].dtype) == (block.shape, block.dtype)
        require(fits, "load", "The arrays fit the layers", f"another type or shape of {name}")
        require(bool(np.isfinite(blocks[name]).all()), "load", "Parameters are finite", "NaN or infinity")
        block[...] = blocks[name]
    return model


def _built(kind: Callable[..., _Trainer], own: dict[str, Any]) -> _Trainer:
    places = {f.name: f.init for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(own.keys() - places)
    require(not unknown, "load", "Every field is one of a Trainer", ", ".join(unknown))
    for name, value in own.items():
        fits = isinstance(value, _KINDS.get(name, object))
        require(fits, "load", f"{name} has its type", type(value).__name__)
    average = own.get("_average", Average(None))
    fits = average.fits(own["model"].parameters)
    require(fits, "load", "The average is finite, and fits the parameters", "another one")
    fits = own.get("_kept", KeptStates()).fits(own["model"])
    require(fits, "load", "The free states fit the network", "others")
    trainer = kind(**{name: value for name, value in own.items() if places[name]})
    for name, value in own.items():
        if not places[name]:
            setattr(trainer, name, History(value) if name == "history" else value)
    return trainer


def read_unfinished(path: str | os.PathLike[str], kind: Callable[..., _Trainer], box: Any = None) -> _Trainer:
    """Return the trainer of a checkpoint of an unfinished training; see `Trainer.resume`."""
    where = "Trainer.resume"
    trainer = read_trainer(path, kind, where, box=box, on_device=True)
    version = read_safetensors(path)[1].get("version", "none")
    if version != __version__:
        raise ValueError(
            f"[{where}] A training is continued by the version of equiprop that started it. Received "
            f"{version} in '{path}', and this is {__version__}; equiprop.load(path) starts a new training "
            "from its parameters."
        )
    if trainer.unfinished is None:  # type: ignore[attr-defined]
        raise ValueError(
            f"[{where}] A checkpoint holds an unfinished training. Received a Trainer without one in "
            f"'{path}'; equiprop.load(path) returns it."
        )
    trainer.unfinished.read = state_of(trainer)  # type: ignore[attr-defined]
    return trainer


@dataclass
class Checkpoint:
    """File to which `Trainer.fit` saves the trainer at regular intervals; `Trainer.resume` continues from it.

    The file is replaced as a whole, so it is complete at any time. One training at a time writes to it: a
    lock on the file ``.NAME.lock`` beside it, which ends with the process, refuses others (not on Windows).

    Parameters
    ----------
    path : path-like
        File to create or replace, in an existing folder.
    steps : int, optional
        Number of steps after which the trainer is saved again.
    seconds : float, optional
        Time after which the trainer is saved again, at the end of a step; None for no such limit.

    Examples
    --------
    >>> import equiprop as eq, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "run.safetensors"
    >>> data = eq.Dataset(np.array([[0.0, 1.0], [1.0, 0.0]] * 20), np.array([0, 1] * 20))
    >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 2], seed=1), batch_size=10)
    >>> history = trainer.fit(data, epochs=2, checkpoint=eq.Checkpoint(path, steps=3))
    >>> eq.Trainer.resume(path).steps
    6
    """

    path: str | os.PathLike[str]
    steps: int | None = None
    seconds: float | None = 60.0
    _last: float = field(default=0.0, init=False, repr=False, compare=False)
    _writes: bool = field(default=True, init=False, repr=False, compare=False)
    _lock: Lock | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        path_of(self.path, "Checkpoint")
        if self.steps is not None:
            self.steps = whole(self.steps, "Checkpoint", "steps", 1)
        if self.seconds is not None:
            self.seconds = real(self.seconds, "Checkpoint", "seconds")
            require(self.seconds >= 0, "Checkpoint", "seconds is not negative", self.seconds)
        none = self.steps is None and self.seconds is None
        require(not none, "Checkpoint", "steps or seconds is given", "steps=None, seconds=None")

    def begin(self, trainer: Any) -> None:
        """Check, before the first step, that the trainer can be saved to the file; start the clock.

        Of the processes that train together, only the first one writes.

        Raises
        ------
        TypeError, ValueError
            If a part of the trainer is not of this library, the folder does not exist, or another training
            writes to the file.
        OSError
            If the folder cannot be written to.
        """
        encoded_trainer(trainer, "Checkpoint")
        self._writes = group_of(trainer).rank == 0
        if not self._writes:
            return
        folder = Path(self.path).parent
        require(folder.is_dir(), "Checkpoint", "path is in an existing folder", repr(str(self.path)))
        self._lock = lock_checkpoint(Path(self.path))
        self._last = time.monotonic()

    def end(self) -> None:
        """Let other trainings write to the file."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def after_step(self, trainer: Any) -> None:
        """Save the trainer if it is time."""
        if not self._writes:
            return
        by_steps = self.steps is not None and trainer.steps % self.steps == 0
        if by_steps or (self.seconds is not None and time.monotonic() - self._last >= self.seconds):
            self.write(trainer)

    def write(self, trainer: Any) -> None:
        """Save the trainer."""
        write_trainer(Path(self.path), trainer, "Checkpoint")
        self._last = time.monotonic()


def lock_of(path: Path) -> Path:
    """Return the file on which a training holds a lock while it writes the checkpoint `path`."""
    target = path.resolve()
    return target.with_name(f".{target.name}.lock")


def lock_checkpoint(path: Path) -> Lock:
    """Return the lock of the file of a checkpoint, or raise ValueError if another training holds it."""
    try:
        return Lock(lock_of(path))
    except BlockingIOError as error:
        raise ValueError(
            "[Checkpoint] One training at a time writes to the file of a checkpoint. "
            f"Received {str(path)!r}, to which another one writes."
        ) from error
