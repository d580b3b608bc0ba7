"""Saved networks are loaded without any change, and malicious files raise errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Activation, Dense, HopfieldNetwork, Layer
from equiprop.safetensors import read_safetensors, write_safetensors
from fuzz.fuzz_model_file import fuzz
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import CLIPPED, POTENTIALS, SMOOTH, chain, inputs, skip
from safetensors import numpy as oracle
from safetensors import safe_open

NETWORKS: list[Callable[[], HopfieldNetwork]] = [
    *(
        lambda a=a, p=p: chain(3, 4, 2, activation=a, potential=p)
        for a in SMOOTH + CLIPPED
        for p in POTENTIALS
    ),
    lambda: chain(3, 4, 2, dtype="float32"),
    lambda: chain(2, 1),
    skip,
    lambda: chain(3, 4, 2, activation=Activation("logistic", gain=2.5, shift=-1 / 3)),
    lambda: chain(3, 4, 2, activation=Activation("clip", gain=0.1, lower=-2.0)),
    lambda: HopfieldNetwork(layers=[Layer(2), Layer(3, name="eins/ß")], couplings=[Dense(1, 0)]),
]


@pytest.mark.parametrize("build", NETWORKS)
def test_a_network_comes_back_as_it_was(build: Callable[[], HopfieldNetwork], tmp_path: Path) -> None:
    net = build()
    path = eq.save(net, tmp_path / "model.safetensors")
    copy = eq.load(str(path))
    np.testing.assert_array_equal(copy.parameters, net.parameters)
    assert (copy.couplings, copy.potential, copy.dtype) == (net.couplings, net.potential, net.dtype)
    assert copy.layers == net.layers
    state = eq.free_phase(copy, inputs(net), on_failure="ignore").state
    np.testing.assert_array_equal(state, eq.free_phase(net, inputs(net), on_failure="ignore").state)


def test_equal_networks_give_equal_bytes_and_others_do_not(tmp_path: Path) -> None:
    nets = [
        chain(),
        chain(),
        chain(seed=1),
        chain(potential="quadratic"),
        chain(activation="sigmoid"),
        chain(dtype="float32"),
    ]
    contents = [eq.save(net, tmp_path / str(k)).read_bytes() for k, net in enumerate(nets)]
    assert contents[0] == contents[1]
    assert len(set(contents)) == len(nets) - 1


def test_saving_replaces_the_old_file(tmp_path: Path) -> None:
    path = eq.save(chain(), tmp_path / "model")
    eq.save(chain(seed=1), path)
    np.testing.assert_array_equal(eq.load(path).parameters, chain(seed=1).parameters)
    assert list(tmp_path.iterdir()) == [path]


positive = st.floats(0, exclude_min=True, allow_infinity=False)
finite = st.floats(allow_nan=False, allow_infinity=False)
bounds = st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)).filter(
    lambda pair: pair[0] < pair[1]
)
activations = (
    st.sampled_from(SMOOTH + CLIPPED)
    | st.builds(lambda gain, shift: Activation("logistic", gain, shift), positive, finite)
    | st.builds(lambda gain: Activation("softplus", gain), positive)
    | st.builds(lambda gain, pair: Activation("clip", gain, 0, *pair), positive, bounds)
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def networks(draw: st.DrawFn) -> HopfieldNetwork:
    """A strategy for graphs of a few layers with parameters of any magnitude."""
    count = draw(st.integers(2, 5))
    layers = [
        Layer(
            draw(st.integers(1, 4)),
            draw(activations),
            f"{draw(names)}{k}!" if draw(st.booleans()) else "",
        )
        for k in range(count)
    ]
    pairs = {(draw(st.integers(0, k - 1)), k) for k in range(1, count)}
    pairs |= draw(st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=3))
    net = HopfieldNetwork(
        layers=layers,
        couplings=[
            Dense(*draw(st.permutations(pair)))
            for pair in sorted({(min(p), max(p)) for p in pairs})
            if pair[0] < pair[1]
        ],
        potential=draw(st.sampled_from(POTENTIALS)),
        feedback=draw(st.sampled_from(["tied", "separate"])),
        dtype=draw(st.sampled_from(["float32", "float64"])),
    )
    numbers = st.floats(allow_nan=False, allow_infinity=False, width=8 * net.dtype.itemsize)
    net.parameters[:] = draw(st.lists(numbers, min_size=net.num_parameters, max_size=net.num_parameters))
    return net


def described(net: HopfieldNetwork) -> str:
    def fields(layer: Layer) -> list[Any]:
        rho = eq.activation(layer.activation)
        limits = [None if np.isinf(bound) else bound for bound in (rho.lower, rho.upper)]
        return [rho.kind, rho.gain, rho.shift, *limits]

    description = {
        "dtype": net.dtype.name,
        "potential": net.potential,
        "feedback": net.feedback,
        "layers": [
            {"name": layer.name, "units": layer.units, "activation": fields(layer)} for layer in net.layers
        ],
        "couplings": [[c.source, c.target] for c in net.couplings],
    }
    return json.dumps(description, sort_keys=True)


@settings(deadline=None)
@given(networks())
def test_any_network_comes_back_from_a_file_that_others_read(
    tmp_path_factory: pytest.TempPathFactory, net: HopfieldNetwork
) -> None:
    path = eq.save(net, tmp_path_factory.getbasetemp() / "any")
    content = path.read_bytes()
    copy = eq.load(path)
    assert (copy.layers, copy.couplings) == (net.layers, net.couplings)
    assert copy.parameters.tobytes() == net.parameters.tobytes()
    assert eq.save(copy, path).read_bytes() == content
    with safe_open(path, "numpy") as stream:
        metadata = stream.metadata()
        assert metadata == {"format": "equiprop.HopfieldNetwork.2", "network": described(net)}
        assert {name: stream.get_tensor(name).tobytes() for name in stream.keys()} == {  # noqa: SIM118
            name: block.tobytes() for name, block in net.blocks.items()
        }
    oracle.save_file(net.blocks, path, metadata)
    assert eq.load(path).parameters.tobytes() == net.parameters.tobytes()


@pytest.mark.parametrize("count", [400, pytest.param(5000, marks=pytest.mark.slow)])
def test_damaged_files_are_refused_or_come_back(count: int, tmp_path: Path) -> None:
    read, loaded = fuzz(count, 0, tmp_path)
    assert count > read > loaded > 0


def hostile(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Return a saved network with a changed description; the result of `change`, if any, replaces it."""
    tensors, metadata = read_safetensors(eq.save(chain(), path))
    network = json.loads(metadata["network"])
    returned = change(network)
    metadata["network"] = json.dumps(network) if returned is None else returned
    write_safetensors(path, tensors, metadata)
    return path


def change(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(network: Any) -> None:
        for key in keys[:-1]:
            network = network[key]
        network[keys[-1]] = to

    return apply


CHANGES: list[Callable[[dict[str, Any]], Any]] = [
    change("layers", 0, "units", to=10**18),
    change("layers", 1, "units", to=0),
    change("layers", 1, "units", to=-6),
    change("layers", 1, "units", to="6"),
    change("layers", 1, "units", to=6.0),
    change("layers", 1, "units", to=float("inf")),
    change("layers", 1, "units", to=float("nan")),
    change("layers", 1, "units", to=None),
    change("layers", 1, "activation", to=[]),
    change("layers", 1, "activation", to=["tanh", "1", 0, None, None]),
    change("layers", 1, "activation", to=["exec", 1, 0, None, None]),
    change("layers", 1, "activation", to=["tanh", -1, 0, None, None]),
    change("layers", 1, "activation", to=["tanh", 10**400, 0, None, None]),
    change("layers", 1, "name", to=7),
    change("layers", 1, "name", to="output"),
    change("layers", 1, to={}),
    change("layers", 1, to=[]),
    change("layers", to=[]),
    change("layers", to=None),
    change("couplings", to=[]),
    change("couplings", to=[[0, 1], [1, 2], [2, 0]]),
    change("couplings", to=[[0, 1], [1, 2, 3]]),
    change("couplings", to=[[0, 1], [1, 1]]),
    change("couplings", to=[[0, 1], [1, 99]]),
    change("couplings", to=[[0, 1], [1, -1]]),
    change("couplings", to=[[0, 1], ["1", 2]]),
    change("couplings", to=7),
    change("dtype", to="float32"),
    change("dtype", to="object"),
    change("dtype", to=None),
    change("potential", to="kinetic"),
    change("potential", to=[]),
    lambda network: network.pop("potential") and None,
    lambda network: network.pop("couplings") and None,
    lambda network: network["layers"][1].pop("name") and None,
    lambda network: network["layers"][1].pop("activation") and None,
    lambda _: "",
    lambda _: "null",
    lambda _: "[]",
    lambda _: "not json",
    lambda _: "[" * 100_000,
]


@pytest.mark.parametrize("mutate", CHANGES)
def test_a_false_description_is_refused_with_a_sentence(mutate: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^\[load\] .+ Received .+ in '"):
        eq.load(hostile(tmp_path / "model", mutate))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
PLACES: list[tuple[Any, ...]] = [
    ("dtype",),
    ("potential",),
    ("layers",),
    ("couplings",),
    ("layers", 1),
    ("layers", 1, "units"),
    ("layers", 1, "activation"),
    ("layers", 1, "name"),
    ("layers", 1, "activation", 1),
    ("layers", 1, "activation", 3),
    ("couplings", 1),
    ("couplings", 1, 0),
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PLACES), JSON)
def test_any_change_gives_a_network_or_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[Any, ...], value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    message, shapes = "", []
    try:
        shapes = [block.shape for block in eq.load(hostile(path, change(*place, to=value))).blocks.values()]
    except ValueError as error:
        message = str(error)
    assert message.startswith("[load] ") or shapes == [block.shape for block in chain().blocks.values()]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite_are_neither_saved_nor_loaded(bad: float, tmp_path: Path) -> None:
    net = chain()
    path = eq.save(net, tmp_path / "model")
    good = path.read_bytes()
    net.parameters[5] = bad
    with pytest.raises(ValueError, match=r"^\[save\] Parameters are finite\. Received NaN or infinity"):
        eq.save(net, path)
    assert path.read_bytes() == good
    tensors, metadata = read_safetensors(path)
    tensors["b1"][0] = bad
    write_safetensors(path, tensors, metadata)
    with pytest.raises(ValueError, match=r"^\[load\] Parameters are finite\. Received NaN or infinity"):
        eq.load(path)


def test_a_failure_is_reported_in_the_name_of_save(tmp_path: Path) -> None:
    message = r"^\[save\] cannot write .*: No such file or directory\. No file was changed\."
    with pytest.raises(FileNotFoundError, match=message):
        eq.save(chain(), tmp_path / "absent" / "model")


@pytest.mark.parametrize(
    "kind", ["missing", "extra", "transposed", "integers", "no format", "another format"]
)
def test_arrays_that_do_not_fit_are_refused(kind: str, tmp_path: Path) -> None:
    tensors, metadata = read_safetensors(eq.save(chain(), tmp_path / "model"))
    if kind == "missing":
        del tensors["b1"]
    elif kind == "extra":
        tensors["W3"] = np.zeros(1)
    elif kind == "transposed":
        tensors["W1"] = np.ascontiguousarray(tensors["W1"].T)
    elif kind == "integers":
        tensors["b1"] = tensors["b1"].astype(np.int64)
    elif kind == "no format":
        metadata = {"network": metadata["network"]}
    else:
        metadata["format"] = "pt"
    write_safetensors(tmp_path / "model", tensors, metadata)
    with pytest.raises(ValueError, match=r"^\[load\] .+ Received .+ in '"):
        eq.load(tmp_path / "model")
