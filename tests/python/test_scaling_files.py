"""Files keep the scaling of a model: those of networks, trainers, checkpoints and runs; format 1 is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from commands import Capture, error_of, run, run_json
from equiprop import Dataset, Scaling
from equiprop.data_files import load_files
from equiprop.safetensors import read_safetensors, write_safetensors
from runs import DIGITS, contents
from sklearn.datasets import load_wine

X, Y = load_wine(return_X_y=True)
SCALINGS = [None, Scaling.none(), Scaling.by(1 / 255), Scaling(3, 2), Scaling.standardise(X)]
scalings = pytest.mark.parametrize("scaling", SCALINGS, ids=str)
DTYPES = ["float32", "float64"]


def network(scaling: Scaling | None = None, dtype: str = "float32") -> eq.HopfieldNetwork:
    net = eq.HopfieldNetwork([13, 3], dtype=dtype)
    net.scaling = scaling
    return net


@scalings
@pytest.mark.parametrize("dtype", DTYPES)
def test_networks_and_trainers_come_back_with_their_scaling(
    scaling: Scaling | None, dtype: str, tmp_path: Path
) -> None:
    for thing in (network(scaling, dtype), eq.Trainer(network(scaling, dtype))):
        path = eq.save(thing, tmp_path / "a")
        twin = eq.load(path)
        assert getattr(twin, "model", twin).scaling == scaling
        assert eq.save(twin, tmp_path / "b").read_bytes() == path.read_bytes()


def test_a_scaling_is_two_tensors_that_the_reader_must_know(tmp_path: Path) -> None:
    for thing in (network(SCALINGS[-1]), eq.Trainer(network(SCALINGS[-1]))):
        tensors, metadata = read_safetensors(eq.save(thing, tmp_path / "a"))
        np.testing.assert_array_equal(tensors["scaling.offset"], SCALINGS[-1].offset)  # type: ignore[union-attr]
        np.testing.assert_array_equal(tensors["scaling.factor"], SCALINGS[-1].factor)  # type: ignore[union-attr]
        assert metadata["requires"] == '["scaling"]'
    tensors, metadata = read_safetensors(eq.save(network(), tmp_path / "a"))
    assert (tensors.keys(), "requires" in metadata) == ({"W1", "b1"}, False)


#: A network of one float32 weight 0.5 and one bias -2, as the first format stores it.
DESCRIPTION = (
    r"{\"couplings\": [[0, 1]], \"dtype\": \"float32\", \"feedback\": \"tied\", \"layers\": "
    r"[{\"activation\": [\"clip\", 1.0, 0.0, null, null], \"name\": \"x\", \"units\": 1}, "
    r"{\"activation\": [\"clip\", 1.0, 0.0, null, null], \"name\": \"y\", \"units\": 1}], "
    r"\"potential\": \"legendre\"}"
)
HEADER = (
    '{"__metadata__":{"format":"equiprop.HopfieldNetwork.1","network":"' + DESCRIPTION + '"},'
    '"W1":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},'
    '"b1":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
)


def first_format() -> bytes:
    numbers = np.array([0.5, -2], "<f4").tobytes()
    return len(HEADER).to_bytes(8, "little") + HEADER.encode() + numbers


def test_a_network_of_format_1_is_loaded_without_a_scaling(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(first_format())
    net = eq.load(tmp_path / "old")
    assert (repr(net), net.scaling) == ("HopfieldNetwork(1-1, linear, legendre, float32)", None)
    assert net.parameters.tolist() == [0.5, -2]
    assert eq.Trainer(net).predict([[4.0]]).tolist() == [[0.0]]
    again = eq.load(eq.save(net, tmp_path / "new"))
    assert (again.parameters.tolist(), again.scaling) == ([0.5, -2], None)


def old_trainer(path: Path, scale: float) -> Path:
    """Write the file of a trainer as the first format stores it: its scale is a number of the state."""
    trainer = eq.Trainer(eq.HopfieldNetwork([13, 3]))
    trainer.fit(Dataset(X, Y, scale=1e-3), epochs=1)
    tensors, metadata = read_safetensors(eq.save(trainer, path))
    state = {**json.loads(tensors["state"].tobytes()), "scale": scale}
    tensors = {name: t for name, t in tensors.items() if not name.startswith("scaling.")}
    tensors["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    del metadata["requires"]
    write_safetensors(path, tensors, {**metadata, "format": "equiprop.Trainer.1"})
    return path


def test_a_trainer_of_format_1_is_loaded_with_its_scale(tmp_path: Path) -> None:
    trainer = eq.load(old_trainer(tmp_path / "old", 1e-3))
    assert trainer.scaling == Scaling.by(1e-3)
    assert trainer.steps == 4
    assert eq.load(old_trainer(tmp_path / "none", 1.0)).scaling == Scaling.none()
    with pytest.raises(ValueError, match=r"^\[load\] The file holds a complete Trainer\. .* positive"):
        eq.load(old_trainer(tmp_path / "bad", -1.0))


def changed(thing: Any, path: Path, tensors: dict[str, Any], metadata: dict[str, str]) -> Path:
    """Write the file of a network or a trainer with other or new entries; None removes one."""
    own = read_safetensors(eq.save(thing, path))
    arrays = {name: array for name, array in {**own[0], **tensors}.items() if array is not None}
    texts = {name: text for name, text in {**own[1], **metadata}.items() if text is not None}
    write_safetensors(path, arrays, texts)
    return path


THINGS = [lambda: network(Scaling.standardise(X)), lambda: eq.Trainer(network(Scaling.standardise(X)))]
things = pytest.mark.parametrize("thing", THINGS, ids=["network", "trainer"])


@things
@pytest.mark.parametrize("required", ['["scaling"]', "[]", None])
def test_unknown_fields_that_are_not_required_are_ignored(thing: Any, required: Any, tmp_path: Path) -> None:
    new = {"calibration.table": np.arange(6).reshape(2, 3), "other.x": np.zeros(0)}
    path = changed(thing(), tmp_path / "new", new, {"calibration": "{}", "requires": required})
    loaded = eq.load(path)
    assert getattr(loaded, "model", loaded).scaling == Scaling.standardise(X)


@things
@pytest.mark.parametrize(
    "required",
    ['["scaling", "calibration"]', '["calibration"]', '"scaling"', "{}", "null", "", "[1]", "[" * 10_000],
)
def test_unknown_fields_that_are_required_are_refused(thing: Any, required: str, tmp_path: Path) -> None:
    path = changed(thing(), tmp_path / "new", {"calibration.x": np.zeros(1)}, {"requires": required})
    with pytest.raises(ValueError, match=r"^\[load\] .* Received .* in '.*new'\."):
        eq.load(path)


@things
def test_a_required_scaling_that_is_missing_is_refused(thing: Any, tmp_path: Path) -> None:
    gone = {"scaling.offset": None, "scaling.factor": None}
    with pytest.raises(ValueError, match=r"^\[load\] .* has each field that it requires"):
        eq.load(changed(thing(), tmp_path / "new", gone, {}))


ONES = np.ones(13)


@things
@pytest.mark.parametrize(
    "tensors",
    [
        {"scaling.factor": None},
        {"scaling.offset": None},
        {"scaling.offset": None, "requires": "[]"},
        {"scaling.factor": ONES * 0},
        {"scaling.factor": -ONES},
        {"scaling.factor": ONES * np.nan},
        {"scaling.offset": ONES * np.inf},
        {"scaling.factor": np.ones(12), "scaling.offset": np.ones(12)},
        {"scaling.factor": np.ones(12)},
        {"scaling.factor": np.array(1.0)},
        {"scaling.factor": np.ones((13, 1)), "scaling.offset": np.ones((13, 1))},
        {"scaling.factor": np.ones((0,)), "scaling.offset": np.ones((0,))},
        {"scaling.factor": np.ones(13, np.float32)},
        {"scaling.factor": np.ones(13, np.int64)},
    ],
    ids=str,
)
def test_numbers_that_are_no_scaling_of_the_network_are_refused(
    thing: Any, tensors: dict[str, Any], tmp_path: Path
) -> None:
    tensors = dict(tensors)
    texts = {name: tensors.pop(name) for name in ("requires",) if name in tensors}
    path = changed(thing(), tmp_path / "damaged", tensors, texts)
    with pytest.raises(ValueError, match=r"^\[load\] .* Received .* in '.*damaged'\."):
        eq.load(path)


def test_a_checkpoint_resumes_with_the_scaling(tmp_path: Path) -> None:
    def stop(trainer: eq.Trainer, _: Any) -> None:
        if len(trainer.history) == 2:
            raise KeyboardInterrupt

    whole, part = (eq.Trainer(eq.HopfieldNetwork([13, 8, 3]), batch_size=20) for _ in range(2))
    whole.fit(X, Y, epochs=4, scaling="standardise", validation=0.2)
    part.callbacks = [stop]
    checkpoint = eq.Checkpoint(tmp_path / "run", steps=1)
    with pytest.raises(KeyboardInterrupt):
        part.fit(X, Y, epochs=4, scaling="standardise", validation=0.2, checkpoint=checkpoint)
    for again in ({"scaling": "standardise"}, {}):
        rest = eq.Trainer.resume(tmp_path / "run")
        rest.fit(X, Y, epochs=4, validation=0.2, **again)  # type: ignore[arg-type]
        assert rest.scaling == whole.scaling
        np.testing.assert_array_equal(rest.model.parameters, whole.model.parameters)
    with pytest.raises(ValueError, match="other data"):
        eq.Trainer.resume(tmp_path / "run").fit(X, Y, epochs=4, validation=0.2, scaling="min_max")


@pytest.mark.parametrize("rule", ["standardise", "min_max", "1/32"])
def test_a_run_keeps_its_scaling(rule: str, tmp_path: Path, capsys: Capture) -> None:
    words = [*DIGITS, "--scaling", rule, "--plot"]
    result = run_json(capsys, *words, "--output", tmp_path / "a")
    train, test = eq.load_digits()
    expected = {"standardise": Scaling.standardise, "min_max": Scaling.min_max}.get(
        rule, lambda _: Scaling.by(1 / 32)
    )(train.x)
    for name in ("model", "checkpoint"):
        path = tmp_path / "a" / f"{name}.safetensors"
        thing = eq.load(path)
        assert getattr(thing, "model", thing).scaling == expected
        assert run_json(capsys, "evaluate", path, "digits")["test_error"] == result["test_error"]
        classes = run_json(capsys, "predict", path, "digits")["classes"]
        assert np.mean(classes != test.y) == pytest.approx(result["test_error"], abs=1e-12)
        assert repr(expected) in run(capsys, "info", path)
    settings = tmp_path / "a" / "settings.json"
    assert json.loads(settings.read_text())["options"]["scaling"] == rule
    run(capsys, "train", "--config", settings, "--output", tmp_path / "b")
    models = [contents(tmp_path / name)["model.safetensors"] for name in "ab"]
    assert models[0] == models[1]


def test_a_table_is_scaled_as_by_hand(tmp_path: Path, capsys: Capture) -> None:
    tables = [tmp_path / "wine.csv", tmp_path / "by_hand.csv"]
    np.savetxt(tables[0], np.c_[X, Y], "%.17g", delimiter=",")
    scaling = Scaling.standardise(load_files(tables[0])[0].x)
    np.savetxt(tables[1], np.c_[scaling(X), Y], "%.17g", delimiter=",")
    runs = [(tables[0], tmp_path / "a", ["--scaling", "standardise"]), (tables[1], tmp_path / "b", [])]
    answers = []
    for table, folder, words in runs:
        result = run_json(capsys, "train", table, *words, "--epochs", "3", "--output", folder)
        model = folder / "model.safetensors"
        evaluated = run_json(capsys, "evaluate", model, table)
        assert evaluated["test_error"] == result["test_error"]
        outputs = run_json(capsys, "predict", model, table, "--outputs")["outputs"]
        answers.append((result["test_error"], evaluated["objective"], outputs))
    assert answers[0] == answers[1]
    assert eq.load(tmp_path / "a" / "model.safetensors").scaling == scaling


def test_rules_that_are_no_scaling_are_refused(tmp_path: Path, capsys: Capture) -> None:
    for rule, reason in (("standardize", "scaling is 'none', 'standardise'"), ("none", "without a scale")):
        (line,) = error_of(capsys, *DIGITS, "--scaling", rule, "--output", tmp_path / "run")
        assert reason in line
    assert list(tmp_path.iterdir()) == []
