"""Objects come back from JSON and arrays with their types and every bit."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import encoding
from equiprop.encoding import Encoder, NotEncodable, decode
from hypothesis import given
from hypothesis import strategies as st


@dataclass
class Probe:
    """A class with a field that is set later and a field that is not stored."""

    given: Any = None
    later: Any = field(default=None, init=False)
    scratch: Any = field(default="new", init=False, metadata={"saved": False})


def there_and_back(thing: Any) -> Any:
    encoder = Encoder()
    text = json.dumps(encoder.encode(thing, "thing"), allow_nan=False)
    return decode(json.loads(text), encoder.arrays)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        equal = one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes()
        return one.dtype == other.dtype and one.shape == other.shape and equal
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.floats(width=32).map(np.float32)
    | st.integers(0, 255).map(np.uint8)
    | st.lists(st.floats(), max_size=3).map(np.array)
    | st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), max_size=3).map(
        lambda words: np.array(words, dtype=object)
    )
    | st.lists(st.text("ab", min_size=1), min_size=1, max_size=3).map(np.array)
    | st.lists(st.booleans(), min_size=1, max_size=3).map(np.array)
)
things = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
        | st.dictionaries(st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(things)
def test_everything_comes_back(thing: Any) -> None:
    assert same(there_and_back(thing), thing)


def test_arrays_of_the_same_part_do_not_replace_each_other() -> None:
    thing = [np.arange(3.0), (np.arange(2), [np.float32(1.5)]), {"a": np.zeros(1)}]
    assert same(there_and_back(thing), thing)


def test_fields_are_stored_unless_they_say_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_CLASSES", {"Probe": Probe})
    probe = Probe(np.arange(3))
    probe.later, probe.scratch = [Probe((1, 2))], "used"
    twin = there_and_back(probe)
    assert same(twin.given, probe.given)
    assert twin.later == [Probe((1, 2))]
    assert twin.scratch == "new"


@pytest.mark.parametrize(
    "thing", [{1.5: 2}, {1: 2, "a": 3}, {True: 2}, {1, 2}, b"bytes", np.array([1j]), object(), np.bool_(True)]
)
def test_what_cannot_be_stored_is_refused_with_its_place(thing: Any) -> None:
    with pytest.raises(NotEncodable) as refusal:
        Encoder().encode({"a": [thing]}, "part")
    assert refusal.value.part == "part.a"


def test_the_classes_of_a_saved_trainer_are_those_of_the_library() -> None:
    parts: list[Any] = [
        eq.SGD(),
        eq.Adam(),
        eq.SquaredError(),
        eq.CrossEntropy(),
        eq.GMRES(),
        eq.centered(0.1),
    ]
    for part in parts:
        twin = there_and_back(part)
        assert type(twin) is type(part)
        assert [getattr(twin, f.name) for f in fields(part)] == [getattr(part, f.name) for f in fields(part)]
