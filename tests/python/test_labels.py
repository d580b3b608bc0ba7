"""Class labels of any type become codes, and come back from predictions; targets stay targets."""

from __future__ import annotations

import enum
import re
from datetime import date
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Dataset, Trainer
from equiprop.history import Evaluation
from hypothesis import given
from hypothesis import strategies as st
from networks import blobs


class Kind(enum.Enum):
    LEFT = 1
    RIGHT = 2
    UP = 3


CLASSES: dict[str, list[Any]] = {
    "strings": ["ant", "bee", "cat"],
    "bytes": [b"a", b"b", b"c"],
    "integers from 0": [0, 1, 2],
    "integers from 1": [1, 2, 3],
    "signs": [-1, 0, 1],
    "numbers far apart": [-5, 7, 10**12],
    "whole floats": [0.0, 1.0, 2.0],
    "text and numbers": [1, "a", "b"],
    "tuples": [("a", 1), ("a", 2), ("b", 1)],
    "enumerators": [Kind.LEFT, Kind.RIGHT, Kind.UP],
    "days": [date(2020, 1, 1), date(2021, 1, 1), date(2022, 1, 1)],
}
CODES = np.arange(60) % 3
FEATURES = np.random.default_rng(0).random((60, 4)) * 0.1 + np.eye(4)[CODES]


def labelled(classes: list[Any], container: str) -> Any:
    if container == "list" and not isinstance(classes[0], tuple):
        return [classes[code] for code in CODES]
    objects = np.empty(60, dtype=object)
    objects[:] = [classes[code] for code in CODES]
    return objects[:, None] if container == "column of objects" else objects


LABELLED = [(kind, form) for kind in CLASSES for form in ("list", "objects", "column of objects")]
LABELLED.remove(("whole floats", "column of objects"))  # a column of floats holds targets


@pytest.mark.parametrize(("kind", "container"), LABELLED)
def test_labels_of_every_type_are_codes_inside_and_labels_outside(kind: str, container: str) -> None:
    classes = CLASSES[kind]
    y = labelled(classes, container)
    data = Dataset(FEATURES, y)
    assert data.classes.tolist() == classes
    np.testing.assert_array_equal(data.y, CODES)
    assert (data.num_classes, data.num_outputs, data.is_classification) == (3, 3, True)
    for part in (data[10:20], data[data.y > 0], data.split(0.25)[1], data.take([0])):
        assert part.classes is data.classes
    trainer = Trainer(eq.HopfieldNetwork([4, 16, 3], seed=0), batch_size=10)
    trainer.fit(FEATURES, y, epochs=20)
    assert (
        trainer.evaluate(FEATURES, y)
        == trainer.evaluate(data)
        == Evaluation(0.0, pytest.approx(0, abs=0.3), 0)
    )
    predicted = trainer.predict_classes(FEATURES).tolist()
    assert predicted == data.classes[CODES].tolist()


@pytest.mark.parametrize(
    "y", [CODES > 0, (CODES > 0)[:, None], (CODES > 0).tolist(), (CODES > 0).astype(object)]
)
def test_booleans_are_two_classes(y: Any) -> None:
    data = Dataset(FEATURES, y)
    assert data.classes.tolist() == [False, True]
    np.testing.assert_array_equal(data.y, CODES > 0)


def test_signs_in_a_column_are_two_classes() -> None:
    data = Dataset(FEATURES, np.where(CODES == 0, -1, 1)[:, None])
    assert (data.classes.tolist(), data.y.tolist()) == ([-1, 1], (CODES > 0).astype(int).tolist())


@given(st.lists(st.sampled_from("abcdefg"), min_size=1), st.randoms())
def test_codes_are_positions_in_the_sorted_classes(y: list[str], random: Any) -> None:
    data = Dataset(np.zeros((len(y), 1)), y)
    assert data.classes.tolist() == sorted(set(y))
    assert data.classes[data.y].tolist() == y
    known = [*sorted(set(y)), "z"]
    random.shuffle(known)
    other = data.with_classes(np.array(known))
    assert other.classes[other.y].tolist() == y
    assert other.num_classes == len(known)
    np.testing.assert_array_equal(Dataset(np.zeros((len(y), 1)), y, classes=known).y, other.y)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([0, 2], [0, 1, 2]),
        ([0, 5, 2], [0, 1, 2, 3, 4, 5]),
        ([1, 2, 3], [1, 2, 3]),
        ([0, 255], [0, 255]),
        ([3], [3]),
        (np.array([0, 1], np.uint64), [0, 1]),
    ],
)
def test_integers_from_0_keep_their_value_if_half_of_the_numbers_occur(y: Any, classes: list[int]) -> None:
    data = Dataset(np.zeros((len(y), 2)), y)
    assert data.classes.tolist() == classes
    assert data.classes[data.y].tolist() == list(y)


def test_a_number_of_classes_fixes_the_codes() -> None:
    assert Dataset(FEATURES[:2], [1, 3], num_classes=10).y.tolist() == [1, 3]
    assert Dataset(FEATURES[:2], [1, 3], num_classes=10).num_classes == 10
    assert Dataset(FEATURES[:2], [-1, 1], num_classes=2).y.tolist() == [0, 1]
    with pytest.raises(
        ValueError, match=r"^\[Dataset\] Labels lie in 0 \.\. 2, .* Received 2 classes, -1, 1"
    ):
        Dataset(FEATURES[:2], [-1, 1], num_classes=3)
    with pytest.raises(ValueError, match=r"num_classes counts the classes\. Received 3"):
        Dataset(FEATURES[:2], [-1, 1], num_classes=3, classes=[-1, 1])
    with pytest.raises(ValueError, match=r"classes are distinct"):
        Dataset(FEATURES[:2], [1, 1], classes=[1, 1])
    with pytest.raises(ValueError, match=r"Labels are among the classes 'a', 'b'\. Received 'c'"):
        Dataset(FEATURES[:2], ["a", "c"], classes=["a", "b"])
    with pytest.raises(ValueError, match=r"classes is None for real targets"):
        Dataset(FEATURES, FEATURES, classes=[0, 1])
    with pytest.raises(ValueError, match=r"^\[Dataset\.with_classes\] The samples have class labels"):
        Dataset(FEATURES, FEATURES).with_classes(np.arange(2))


@pytest.mark.parametrize(
    "y",
    [
        np.eye(3)[CODES],
        np.eye(3, dtype=int)[CODES],
        np.eye(3, dtype=bool)[CODES],
        np.eye(3)[CODES].tolist(),
        np.eye(3)[CODES].astype(object),
    ],
)
def test_one_hot_matrices_are_targets(y: Any) -> None:
    data = Dataset(FEATURES, y)
    assert (data.is_classification, data.classes, data.num_outputs) == (False, None, 3)
    np.testing.assert_array_equal(data.batch(np.arange(60), np.float64)[1], np.eye(3)[CODES])
    trainer = Trainer(eq.HopfieldNetwork([4, 16, 3], seed=0), batch_size=10)
    trainer.fit(data, epochs=20)
    np.testing.assert_array_equal(trainer.predict_classes(FEATURES), CODES)


@pytest.mark.parametrize(
    "y", [FEATURES[:, 0], FEATURES[:, :1], FEATURES[:, 0].tolist(), FEATURES[:, 0].astype("f4")]
)
def test_other_floats_in_one_dimension_or_a_column_are_targets(y: Any) -> None:
    data = Dataset(FEATURES, y)
    assert (data.is_classification, data.num_outputs) == (False, 1)
    np.testing.assert_array_equal(data.y[:, 0], np.ravel(y))


def test_whole_floats_in_a_column_are_targets() -> None:
    assert not Dataset(FEATURES, CODES.astype(float)[:, None]).is_classification


@pytest.mark.parametrize(
    "y", [CODES, CODES.astype(float), CODES > 0, np.where(CODES > 0, 1, -1), CODES.tolist()]
)
def test_numbers_are_targets_of_a_model_with_one_output(y: Any) -> None:
    nets = [eq.HopfieldNetwork([4, 16, 1], seed=0) for _ in range(2)]
    Trainer(nets[0]).fit(FEATURES, y, epochs=2)
    Trainer(nets[1]).fit(Dataset(FEATURES, np.asarray(y, float)[:, None]), epochs=2)
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)


class NaTType:
    """A missing time of a library for data frames."""


@pytest.mark.parametrize(
    "y",
    [
        [0, None, 1],
        ["a", None, "b"],
        np.array(["a", np.nan, "b"], dtype=object),
        np.array([0, np.nan, 1]),
        np.array([0.5, np.nan, 1]),
        np.array(["2020-01-01", "NaT", "2020-01-01"], "M8[D]"),
        np.array([0, NaTType(), 1], dtype=object),
        np.ma.masked_array([0, 1, 1], [False, True, False]),
    ],
)
def test_missing_labels_are_refused_by_name_and_place(y: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^\[[\w.]+\] `y` (has no|holds finite) .* Received .* at sample 1\. Drop"
    ):
        Dataset(FEATURES[:3], y)
    with pytest.raises(ValueError, match=r"`y` .* at sample 1"):
        Trainer(eq.HopfieldNetwork([4, 5, 3])).fit(FEATURES[:3], y, epochs=1)


def test_a_missing_target_is_refused_by_name_and_place() -> None:
    y = np.zeros((60, 2))
    y[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"`y` holds finite numbers\. Received nan at sample 3, output 1\."):
        Dataset(FEATURES, y)


@pytest.mark.parametrize(
    "y",
    [
        np.arange(400) * 1000 + 10**9,
        np.arange(400),
        np.arange(60) * 1000,
        1e9 + 60.0 * np.arange(400),
        [f"user {i}" for i in range(400)],
        np.datetime64("2020-01-01") + np.arange(60),
    ],
)
def test_identifiers_and_times_are_no_classes(y: Any) -> None:
    x = np.zeros((len(y), 2))
    with pytest.raises(
        ValueError, match=r"^\[Dataset\] Class labels occur at least twice .* Received"
    ) as refusal:
        Dataset(x, y)
    message = str(refusal.value)
    assert "\n" not in message
    assert len(message) < 400
    assert f"num_classes={len(y)}" in message
    assert Dataset(x, y, num_classes=len(y)).num_classes == len(y)
    if np.asarray(y).dtype.kind in "iuf":
        assert "y.astype(float)[:, None]" in message
        assert not Dataset(x, np.asarray(y).astype(float)[:, None]).is_classification


def test_many_classes_of_few_samples_each_are_classes() -> None:
    assert Dataset(np.zeros((400, 2)), np.arange(400) // 2).num_classes == 200
    assert Dataset(np.zeros((100, 2)), np.arange(100)).num_classes == 100


def test_data_that_lack_a_class_are_encoded_as_in_training() -> None:
    trainer = Trainer(eq.HopfieldNetwork([4, 16, 3], seed=0), batch_size=10)
    names = np.array(["ant", "bee", "cat"])[CODES]
    trainer.fit(FEATURES, names, epochs=20, validation=(FEATURES[CODES != 1], names[CODES != 1]))
    assert trainer.history[-1].validation_error == 0
    part = Dataset(FEATURES[CODES > 0], names[CODES > 0])
    assert part.y.max() == 1
    assert trainer.evaluate(part).error == 0
    with pytest.raises(
        ValueError, match=r"Labels are among the classes 'ant', 'bee', 'cat'\. Received 'dog'"
    ):
        trainer.evaluate(FEATURES[:2], ["ant", "dog"])


def test_integer_labels_below_the_outputs_are_their_numbers() -> None:
    trainer = Trainer(eq.HopfieldNetwork([4, 16, 4], seed=0), batch_size=10)
    shifted = CODES + 1
    trainer.fit(FEATURES, shifted, epochs=20)
    assert trainer.classes is not None
    assert trainer.classes.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(trainer.predict(FEATURES).argmax(axis=1), shifted)
    np.testing.assert_array_equal(trainer.predict_classes(FEATURES), shifted)


@pytest.mark.parametrize(
    ("outputs", "y", "received"),
    [
        (2, ["a", "b", "c"], "3 classes, 'a', 'b', 'c'"),
        (4, ["a", "b", "c"], "3 classes, 'a', 'b', 'c'"),
        (2, [0, 1, 2], "3 classes, 0, 1, 2"),
        (1, [0, 1, 2], "3 classes, 0, 1, 2"),
        (1, ["a", "b", "a"], "2 classes, 'a', 'b'"),
    ],
)
def test_classes_and_outputs_have_equal_numbers(outputs: int, y: Any, received: str) -> None:
    trainer = Trainer(eq.HopfieldNetwork([4, 5, outputs]))
    rule = rf"^\[Trainer\.\w+\] .* one output for each class, {outputs} in all\. Received {received}\."
    data = Dataset(FEATURES[:3], y)
    for call in (lambda: trainer.fit(data, epochs=1), lambda: trainer.evaluate(data)):
        with pytest.raises(ValueError, match=rule) as refusal:
            call()
        advice = re.search(r"Make a model with (\d+) outputs", str(refusal.value))
        assert advice is not None
        Trainer(eq.HopfieldNetwork([4, 5, int(advice.group(1))])).fit(data, epochs=1)
        if "for regression, pass y.astype(float)[:, None]" in str(refusal.value):
            Trainer(eq.HopfieldNetwork([4, 5, outputs])).evaluate(FEATURES[:3], np.array(y, float)[:, None])
        assert ("for regression" in str(refusal.value)) == (outputs == 1 and y[0] != "a")


def test_text_is_no_target_of_a_model_with_one_output() -> None:
    with pytest.raises(ValueError, match=r"Received 2 classes, 'a', 'b'\. Make a model with 2 outputs\.$"):
        Trainer(eq.HopfieldNetwork([4, 5, 1])).fit(FEATURES, ["a", "b"] * 30, epochs=1)


def test_predictions_name_classes_only_where_there_are_some() -> None:
    data = blobs()
    trainer = Trainer(eq.HopfieldNetwork([4, 8, 3]))
    np.testing.assert_array_equal(trainer.predict_classes(data), trainer.predict(data).argmax(axis=1))
    trainer.fit(data.x, data.x[:, :3], epochs=1)
    with pytest.raises(ValueError, match=r"^\[Trainer\.predict_classes\] .* Received one of real targets"):
        trainer.predict_classes(data)
    with pytest.raises(
        ValueError, match=r"^\[Trainer\.predict_classes\] .* Received a model with one output"
    ):
        Trainer(eq.HopfieldNetwork([4, 8, 1])).predict_classes(data)


def test_probabilities_are_the_softmax_of_the_outputs() -> None:
    data = blobs()
    trainer = Trainer(eq.HopfieldNetwork([4, 8, 3], dtype="float64"), cost=eq.CrossEntropy())
    trainer.fit(data, epochs=3)
    probabilities, outputs = trainer.predict_proba(data.x), trainer.predict(data)
    powers = np.exp(trainer.cost.scale * outputs)  # type: ignore[attr-defined]
    np.testing.assert_allclose(probabilities, powers / powers.sum(axis=1, keepdims=True), rtol=1e-12)
    objective = -np.log(probabilities[np.arange(len(data)), data.y]).mean()
    assert trainer.evaluate(data).objective == pytest.approx(objective, rel=1e-12)
    trainer.model.blocks["b2"][:] = 1e4 * np.arange(3)
    np.testing.assert_array_equal(trainer.predict_proba(data.x[:2]), [[0, 0, 1]] * 2)


def test_the_advice_on_probabilities_holds() -> None:
    net, data = eq.HopfieldNetwork([4, 8, 3]), blobs()
    with pytest.raises(
        ValueError, match=r"^\[Trainer\.predict_proba\] .* cost=CrossEntropy\(\)\. Received Squared"
    ):
        Trainer(net).predict_proba(data)
    assert Trainer(net, cost=eq.CrossEntropy()).predict_proba(data).shape == (260, 3)
