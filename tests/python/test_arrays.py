"""Arguments become arrays of one dtype in C order, and are copied only if necessary."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.arrays import as_array, as_states, as_targets, one_hot
from hypothesis import given
from hypothesis import strategies as st

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
batches = st.tuples(st.integers(1, 5), st.integers(1, 4))


@given(batches, st.sampled_from(["f4", "f8", "f2", "i8", "u1", "?", ">f4"]), st.booleans(), st.booleans())
def test_states_keep_their_numbers_in_every_layout(
    shape: Any, dtype: str, fortran: bool, single: bool
) -> None:
    array = np.arange(shape[0] * shape[1]).reshape(shape).astype(dtype)
    given_array = np.asfortranarray(array) if fortran else array
    states = as_states(given_array, shape[1], F32 if single else F64, "here", "x")
    assert states.dtype == (F32 if single else F64)
    assert states.flags.c_contiguous
    np.testing.assert_array_equal(states, array)


@given(batches)
def test_an_array_that_fits_is_not_copied(shape: Any) -> None:
    array = np.zeros(shape)
    assert as_states(array, shape[1], F64, "here", "x") is array
    assert as_states(np.zeros((9, *shape))[3], shape[1], F64, "here", "x").base is not None


def test_the_message_names_function_argument_and_place() -> None:
    array = np.zeros((3, 4))
    array[1, 2] = np.inf
    with pytest.raises(
        ValueError, match=r"^\[here\] `it` holds finite numbers\. Received inf at sample 1, unit 2\.$"
    ):
        as_states(array, 4, F64, "here", "it")
    with pytest.raises(
        ValueError, match=r"^\[here\] `it` has shape \(batch, 5\)\. Received shape \(3, 4\)\.$"
    ):
        as_states(array, 5, F64, "here", "it")


@given(st.integers(1, 6), st.lists(st.integers(0, 5), max_size=9))
def test_one_hot_has_its_one_at_the_label(classes: int, labels: list[int]) -> None:
    inside = np.array([label % classes for label in labels], dtype=np.uint8)
    targets = one_hot(inside, classes, F32, "here")
    assert targets.shape == (len(inside), classes)
    assert targets.dtype == F32
    assert (targets.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(targets.argmax(axis=1), inside)


@pytest.mark.parametrize(
    "labels", [[1, 0], [True, False], [1.0, 0.0], [[1], [0]], np.array([1, 0], np.uint8)]
)
def test_whole_numbers_in_one_dimension_or_one_column_are_class_codes(labels: Any) -> None:
    assert as_targets(labels, 2, F64, "here").tolist() == [[0, 1], [1, 0]]


def test_other_numbers_are_targets() -> None:
    assert as_targets([[1, 0]], 2, F64, "here").tolist() == [[1, 0]]
    assert as_targets([[3], [0]], 1, F64, "here").tolist() == [[3], [0]]
    assert as_targets([1.0, 0.5], 1, F64, "here").tolist() == [[1], [0.5]]
    for y in ([1.0, 0.5], [[0.5], [1]], [1.0, 1e300]):
        with pytest.raises(
            ValueError, match=r"has shape \(batch, 2\), or \(batch,\) with class codes\. Received"
        ):
            as_targets(y, 2, F64, "here")


def test_what_numpy_cannot_read_is_named_by_its_type() -> None:
    with pytest.raises(TypeError, match=r"is an array of numbers\. Received object\.$"):
        as_array(object(), "here", "x")
    with pytest.raises(
        TypeError, match=r"is an array of numbers that NumPy can read\. Received list: .*sequence"
    ):
        as_array([[1], [1, 2]], "here", "x")
    with pytest.raises(
        TypeError, match=r"holds real numbers\. Received 'a' at sample 1, feature 0\. Encode text"
    ):
        as_array(np.array([[1.5, 2], ["a", 3]], dtype=object), "here", "x")


class Broken:
    """A sequence of one entry, which cannot be read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> float:
        raise self.error


@pytest.mark.parametrize(
    "error", [OverflowError("x"), ZeroDivisionError("x"), KeyError("x"), AttributeError("x"), OSError("x")]
)
def test_errors_of_the_callers_object_are_named(error: Exception) -> None:
    with pytest.raises(TypeError, match=r"^\[free_phase\] `x` is an array .* Received Broken[:.]"):
        eq.free_phase(eq.HopfieldNetwork([3, 2], seed=1), Broken(error))


def test_a_lack_of_memory_is_named() -> None:
    with pytest.raises(MemoryError, match=r"^\[here\] cannot read `x`"):
        as_array(Broken(MemoryError()), "here", "x")


@pytest.mark.parametrize("number", [Decimal("sNaN"), Decimal("1e999999")])
def test_numbers_without_a_float_are_named(number: Decimal) -> None:
    with pytest.raises(ValueError, match=r"^\[free_phase\] `x` holds .* Received"):
        eq.free_phase(eq.HopfieldNetwork([3, 2], seed=1), [[number] * 3])
