"""The class of each output belongs to a network: files keep it, and trainers and commands use it."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from commands import Capture, run, run_json
from equiprop import Trainer, _core
from equiprop.estimator import EquilibriumClassifier
from equiprop.safetensors import read_safetensors, write_safetensors

X = np.random.default_rng(0).uniform(size=(150, 4))
CODES = X[:, :3].argmax(axis=1)
LABELS = {
    "from 1": np.array([1, 2, 3]),
    "from 0": np.array([0, 1, 2]),
    "bytes": np.array([7, 200, 255], np.uint8),
    "negative": np.array([-5, 0, 2**40]),
    "text": np.array(["ant", "bee", "Käfer"]),
    "mixed": np.array(["ant", 2, "cat"], object),
}
labels = pytest.mark.parametrize("classes", LABELS.values(), ids=list(LABELS))


def listed(model: Any) -> Any:
    """Return the classes of a model as a list, whose order is that of the outputs."""
    return model.classes.tolist()


def network_of(trainer: Trainer) -> eq.HopfieldNetwork:
    assert isinstance(trainer.model, eq.HopfieldNetwork)
    return trainer.model


def trained(classes: Any, epochs: int = 20, **settings: Any) -> Trainer:
    trainer = Trainer(eq.HopfieldNetwork([4, 12, 3], seed=0), batch_size=10, **settings)
    trainer.fit(X, list(classes[CODES]), epochs=epochs, scaling="standardise")
    return trainer


@labels
def test_a_saved_network_predicts_and_evaluates_the_labels_of_its_training(
    classes: Any, tmp_path: Path
) -> None:
    trainer = trained(classes)
    assert trainer.model.classes is trainer.classes
    expected, part = trainer.predict_classes(X), CODES > 0
    error = np.mean([a != b for a, b in zip(expected[part], classes[CODES[part]], strict=True)])
    assert error < 0.2
    loaded = eq.load(eq.save(network_of(trainer), tmp_path / "net"))
    for net in (trainer.model, loaded, copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        again = Trainer(net)
        assert again.predict_classes(X).tolist() == expected.tolist()
        evaluation = again.evaluate(X[part], list(classes[CODES[part]]))  # a class is missing
        assert evaluation.error == pytest.approx(error)
    assert loaded.classes.dtype == network_of(trainer).classes.dtype  # type: ignore[union-attr]
    assert eq.save(loaded, tmp_path / "again").read_bytes() == (tmp_path / "net").read_bytes()


@labels
def test_a_saved_trainer_keeps_the_classes_in_its_network_and_in_the_average(
    classes: Any, tmp_path: Path
) -> None:
    trainer = trained(classes, 1, averaging=0.9)
    assert set(listed(trainer.model)) == set(classes.tolist())
    loaded = eq.load(eq.save(trainer, tmp_path / "trainer"))
    for model in (loaded.model, loaded.averaged_model, trainer.averaged_model):
        assert listed(model) == listed(trainer.model)
    assert eq.save(loaded, tmp_path / "again").read_bytes() == (tmp_path / "trainer").read_bytes()


def test_the_reader_of_the_cpp_library_ignores_the_classes(tmp_path: Path) -> None:
    net = network_of(trained(LABELS["text"], 1))
    read = _core.load(os.fsencode(eq.save(net, tmp_path / "net")))
    np.testing.assert_array_equal(read.parameters, net.parameters)
    assert json.loads(read_safetensors(tmp_path / "net")[1]["requires"]) == ["scaling"]
    read.save(os.fsencode(tmp_path / "cpp"))
    own = [read_safetensors(tmp_path / name) for name in ("net", "cpp")]
    assert {name: text for name, text in own[0][1].items() if name != "classes"} == own[1][1]
    assert eq.load(tmp_path / "cpp").classes is None


def test_real_targets_have_no_classes(tmp_path: Path) -> None:
    trainer = trained(LABELS["from 1"], 1)
    trainer.fit(X, np.eye(3)[CODES], epochs=1)
    assert trainer.classes is None
    assert eq.load(eq.save(network_of(trainer), tmp_path / "net")).classes is None


def test_classes_that_are_forgotten_give_way_to_other_labels() -> None:
    net = trained(LABELS["from 1"], 1).model
    other = LABELS["text"][CODES]
    rule = r"Labels are among the classes 1, 2, 3\. Received 'Käfer'\. .* set its attribute `classes` to None"
    with pytest.raises(ValueError, match=rule):
        Trainer(net).fit(X, other, epochs=1)
    net.classes = None
    trainer = Trainer(net)
    trainer.fit(X, other, epochs=1)
    assert listed(trainer.model) == sorted(LABELS["text"])


def test_classes_are_distinct_and_as_many_as_the_outputs() -> None:
    net = eq.HopfieldNetwork([4, 3])
    net.classes = ["a", "b", "c"]
    for wrong in (["a", "b"], ["a", "b", "b"], [["a", "b", "c"]]):
        with pytest.raises(ValueError, match=r"^\[HopfieldNetwork\] classes .* Received"):
            net.classes = wrong
    assert listed(net.variant(dtype="float64")) == ["a", "b", "c"]


def test_classes_that_are_no_text_or_number_are_refused_and_the_cure_saves_the_network(
    tmp_path: Path,
) -> None:
    net = eq.HopfieldNetwork([4, 3])
    net.classes = np.array([("a", 1), ("b", 2), None, 0], object)[:3]
    with pytest.raises(TypeError, match=r"^\[save\] The classes of a saved network are numbers or text"):
        eq.save(net, tmp_path / "net")
    assert not (tmp_path / "net").exists()
    net.classes = None
    eq.load(eq.save(net, tmp_path / "net"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 10_000,
        '{"dtype": "<i8"}',
        '{"dtype": "<i8", "labels": [1, 2]}',
        '{"dtype": "<i8", "labels": [1, 2, 2]}',
        '{"dtype": "<i8", "labels": [1, 2, "a"]}',
        '{"dtype": "|u1", "labels": [1, 2, 300]}',
        '{"dtype": "<U900000000", "labels": ["a", "b", "c"]}',
        '{"dtype": "(9,9)f8", "labels": [1, 2, 3]}',
        '{"dtype": "|O", "labels": [[1], [2], [3, 4]]}',
    ],
)
def test_damaged_classes_of_a_file_are_refused_with_its_name(text: str, tmp_path: Path) -> None:
    tensors, metadata = read_safetensors(eq.save(eq.HopfieldNetwork([4, 3]), tmp_path / "net"))
    write_safetensors(tmp_path / "net", tensors, {**metadata, "classes": text})
    with pytest.raises(ValueError, match=r"^\[load\] The classes of a file .* in '.*net'\."):
        eq.load(tmp_path / "net")


def test_the_network_of_an_estimator_has_its_classes() -> None:
    names = LABELS["text"]
    model = EquilibriumClassifier(max_iter=1, hidden_layer_sizes=8)
    for fitted in (
        model.partial_fit(X, names[CODES], classes=names, sample_weight=np.ones(150)),
        model.fit(X, names[CODES]),
    ):
        assert listed(fitted.network_) == fitted.classes_.tolist() == sorted(names)
        np.testing.assert_array_equal(fitted.trainer_.predict_classes(X), fitted.predict(X))
        assert fitted.network_.scaling == fitted.input_scaling_


def table(path: Path, rows: Any, labels: Any) -> Path:
    np.savetxt(path, np.c_[X[rows], labels[rows]], "%.9g", delimiter=",")
    return path


def test_commands_print_and_use_the_labels_of_the_table(tmp_path: Path, capsys: Capture) -> None:
    shifted, every = CODES + 1, np.arange(150)
    whole = table(tmp_path / "whole.csv", every, shifted)
    folder, words = tmp_path / "run", ["--epochs", "20", "--layers", "12", "--scaling", "standardise"]
    run(capsys, "train", whole, *words, "--output", folder)
    for name in ("model.safetensors", "checkpoint.safetensors"):
        predicted = run_json(capsys, "predict", folder / name, whole)["classes"]
        assert np.mean(np.array(predicted) != shifted) < 0.2
        lines = run(capsys, "predict", folder / name, whole).split()
        assert lines == [str(label) for label in predicted]
        for kept in ([1, 2], [1, 3]):
            part = table(tmp_path / "part.csv", np.flatnonzero(np.isin(shifted, kept)), shifted)
            assert run_json(capsys, "evaluate", folder / name, part)["test_error"] < 0.2
