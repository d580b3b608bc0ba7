"""Fuzzing of Python's readers of model files: each damaged file raises an error or survives a round trip.

    python tests/fuzz/fuzz_model_file.py COUNT [FIRST]

This program changes the JSON trees of the header and of the description; the C++ driver changes bytes.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import equiprop as eq
import numpy as np
from equiprop.safetensors import read_safetensors, write_safetensors

T = TypeVar("T")

NUMBERS = [0, 1, 2, 3, 8, -1, -0.0, 1.0, 2.5, 1e-320, 2**31, 2**32, 2**62, 2**63, 10**18, 10**30]
VALUES = [*NUMBERS, float("nan"), float("inf"), None, True, "", "tanh", "clip", "softplus", "float32", "F32"]
VALUES += ["float64", "F64", "I8", "separate", "quadratic", "\ud800", "ß\n", [], {}, [0, 4], [0, 1], [[[[]]]]]
NAMES = [
    "dtype",
    "shape",
    "data_offsets",
    "__metadata__",
    "format",
    "network",
    "requires",
    "scaling.offset",
    "scaling.factor",
    "layers",
    "units",
    "W1",
    "b1",
    "é",
]


def valid_files(folder: Path) -> list[tuple[str, bytes]]:
    """Return header and data of networks of every kind, and of a file with every type of number."""
    graph = [eq.Layer(2), eq.Layer(1, "softplus", "ß"), eq.Layer(2, eq.Activation("clip", 0.1, 0, -2), "h")]
    couplings = [eq.Dense(0, 1), eq.Dense(2, 1), eq.Dense(2, 0), eq.Dense(2, 2), eq.Identity(0, 2, -0.5)]
    scalings = [None, eq.Scaling.by(1 / 255), eq.Scaling([3.0, -0.5], [1.0, 1e-3])]
    path = folder / "valid"
    files: list[tuple[str, bytes]] = []
    for dtype in ("float32", "float64"):
        for feedback in ("tied", "separate"):
            for layers, edges in ((graph, couplings), (graph[:2], couplings[:1])):
                net = eq.HopfieldNetwork(layers=layers, couplings=edges, feedback=feedback, dtype=dtype)
                net.scaling = scalings[len(files) % len(scalings)]
                files.append(split(eq.save(net, path).read_bytes()))
    dtypes = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
    arrays = {dtype: np.ones(8 // np.dtype(dtype).itemsize, dtype) for dtype in dtypes}
    write_safetensors(path, {**arrays, "": np.zeros((3, 0)), "scalar": np.array(1.0)}, {"unit": "mV"})
    return [*files, split(path.read_bytes())]


def split(content: bytes) -> tuple[str, bytes]:
    end = 8 + int.from_bytes(content[:8], "little")
    return content[8:end].decode(), content[end:]


def damaged_file(number: int, files: list[tuple[str, bytes]]) -> bytes:
    """Return the damaged file with this number; it is equal in every run."""
    choices = random.Random(number)
    text, data = choices.choice(files)
    header = json.loads(text)
    network = header["__metadata__"].get("network")
    for _ in range(choices.randrange(3)):
        change(choices, header)
    description = header.get("__metadata__", {})
    if network and choices.random() < 0.5 and isinstance(description, dict):
        tree = json.loads(network)
        change(choices, tree)
        description["network"] = json.dumps(tree)
    text = json.dumps(header, ensure_ascii=choices.random() < 0.5)
    if choices.random() < 0.05:
        deep = choices.choice(["[", '{"a":']) * choices.choice([3, 50, 20_000])
        text = text.replace("[", deep, 1)
    encoded = text.encode("utf-8", "surrogatepass")
    length = len(encoded) + (choices.randrange(-9, 9) if choices.random() < 0.05 else 0)
    content = bytearray(max(length, 0).to_bytes(8, "little") + encoded + data)
    for _ in range(choices.choice([0, 0, 0, 1, 4])):
        content[choices.randrange(len(content))] = choices.randrange(256)
    if choices.random() < 0.05:
        del content[choices.randrange(len(content)) :]
    return bytes(content)


def change(choices: random.Random, tree: Any) -> None:
    """Replace, remove, rename, repeat or exchange a random value in a JSON tree."""
    places = [(branch, key) for branch in branches(tree) for key in keys(branch)]
    if not places:
        return
    (branch, key), (other, other_key) = choices.choice(places), choices.choice(places)
    action = choices.randrange(6)
    if action == 0:
        del branch[key]
    elif action == 1:
        branch[key], other[other_key] = other[other_key], json.loads(json.dumps(branch[key]))
    elif action == 2 and isinstance(branch, dict):
        branch[choices.choice(NAMES)] = branch.pop(key)
    elif action == 3 and isinstance(branch, list):
        branch.insert(key, json.loads(json.dumps(other[other_key])))
    else:
        branch[key] = json.loads(json.dumps(choices.choice(VALUES)))


def branches(tree: Any) -> Iterator[Any]:
    if isinstance(tree, (dict, list)):
        yield tree
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from branches(branch)


def keys(branch: Any) -> list[Any]:
    return list(branch) if isinstance(branch, dict) else list(range(len(branch)))


def read_or_refuse(read: Callable[[Path], T], path: Path) -> T | None:
    try:
        return read(path)
    except ValueError as error:
        refusal = str(error)
    assert refusal.startswith("[")
    assert " Received " in refusal
    assert refusal.endswith(f" in '{path}'.")
    return None


def check_file(path: Path, copy: Path) -> tuple[bool, bool]:
    """Return whether read_safetensors and load accept the file."""
    file, net = read_or_refuse(read_safetensors, path), read_or_refuse(eq.load, path)
    if file is not None:
        write_safetensors(copy, *file)
        again = read_safetensors(copy)
        assert again[1] == file[1]
        assert described(again[0]) == described(file[0])
    if net is not None:
        saved = eq.save(net, copy).read_bytes()
        assert eq.save(eq.load(copy), copy).read_bytes() == saved
    return file is not None, net is not None


def described(tensors: dict[str, np.ndarray]) -> dict[str, tuple[Any, ...]]:
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in tensors.items()}


def fuzz(count: int, first: int, folder: Path) -> tuple[int, int]:
    """Check `count` damaged files; return the numbers that read_safetensors and load accepted."""
    files = valid_files(folder)
    path, copy = folder / "damaged", folder / "copy"
    accepted = [0, 0]
    for number in range(first, first + count):
        path.write_bytes(damaged_file(number, files))
        for k, accepts in enumerate(check_file(path, copy)):
            accepted[k] += accepts
    return accepted[0], accepted[1]


def main(count: int, first: int = 0) -> None:
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").exists() else None) as folder:
        accepted = fuzz(count, first, Path(folder))
    for reader, number in zip(("read_safetensors", "load"), accepted, strict=True):
        print(f"{reader:16}  {count - number} refused, {number} accepted")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{time.perf_counter() - begin:.1f} seconds, at most {peak} MiB")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
