"""A `Scaling` computes its formula; its fits are those of independent formulas, on difficult numbers too."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Dataset, Scaling, scaling
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.preprocessing import StandardScaler

R = np.random.default_rng(0)
X = R.normal(size=(50, 4)) * [1, 1e5, 1e-5, 1e200] + [0, 1e7, 3, 0]
FITS = [Scaling.standardise, Scaling.min_max]
fits = pytest.mark.parametrize("fit", FITS, ids=["standardise", "min_max"])
finite = st.floats(-1e100, 1e100)
factors = st.floats(1e-100, 1e100)


@given(st.lists(st.tuples(finite, finite, factors), min_size=1, max_size=4))
def test_the_formula_is_computed_in_float64_and_rounded_once(columns: list[tuple[float, ...]]) -> None:
    x, offset, factor = (np.array(column) for column in zip(*columns, strict=True))
    expected = [(a - b) * c for a, b, c in columns]
    own = Scaling(offset, factor)
    np.testing.assert_array_equal(own(x[None])[0], expected)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(own(x[None], np.float32)[0], np.array(expected, np.float32))


@pytest.mark.parametrize("stored", ["?", "i1", "u1", "i8", "f2", "f4", "f8", ">f8", "g"])
def test_inputs_of_every_type_are_scaled_as_numbers_in_float64(stored: str) -> None:
    x = R.integers(0, 2 if stored == "?" else 100, (6, 4)).astype(stored)
    own = Scaling([1.0, 2.0, 3.0, 4.5], [0.1, 0.2, 0.3, 0.4])
    for given_x in (x, np.asfortranarray(x), x.tolist()):
        result = own(given_x, np.float32)
        np.testing.assert_array_equal(result, own(x.astype(float)).astype(np.float32))
        assert (result.dtype, result.flags.c_contiguous) == (np.float32, True)
    if stored not in ("f2", "g", ">f8"):  # SciPy has no sparse arrays of these
        np.testing.assert_array_equal(own(sparse.csr_array(x)), own(x))


def test_a_standardised_feature_has_mean_0_and_deviation_1() -> None:
    z = Scaling.standardise(X)(X)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-9)  # 1e7 of 1e5, 3 of 1e-5: rounding of the mean
    other = StandardScaler().fit(X[:, :3])
    np.testing.assert_allclose(z[:, :3], other.transform(X[:, :3]), rtol=1e-9, atol=1e-9)


def test_offset_and_factor_are_those_of_exact_arithmetic() -> None:
    x = R.normal(size=(31, 3)) * [1, 1e-8, 1e8] + [0.1, 1, -7e9]
    own = Scaling.standardise(x)
    for k, column in enumerate(x.T):
        numbers = [Fraction(float(v)) for v in column]
        mean = sum(numbers) / len(numbers)
        variance = sum((v - mean) ** 2 for v in numbers) / len(numbers)
        assert own.offset[k] == pytest.approx(float(mean), rel=1e-15)
        assert own.factor[k] == pytest.approx(float(variance) ** -0.5, rel=1e-13)


def test_min_max_gives_the_ends_of_the_unit_interval() -> None:
    z = Scaling.min_max(X)(X)
    assert (z.min(axis=0) == 0).all()
    np.testing.assert_allclose(z.max(axis=0), 1, rtol=1e-15)
    np.testing.assert_array_equal(z.argsort(axis=0), X.argsort(axis=0))


@fits
def test_constant_features_become_0_with_factor_1(fit: Any) -> None:
    x = np.tile([0.1, 1e300, -7.0, 0.0, 1e-310], (9, 1))
    x[::2, 0] = np.nextafter(0.1, 1)  # constant but for rounding
    own = fit(x)
    assert (own.factor == 1).all()
    np.testing.assert_allclose(own(x), 0, atol=1e-15)
    assert own(x + 2)[0, 2] == 2


@fits
@pytest.mark.parametrize("size", [1e-300, 1e-150, 1.0, 1e150, 4e307])
def test_numbers_of_every_size_are_scaled(fit: Any, size: float) -> None:
    x = R.uniform(-1, 1, (40, 2))
    x[0], x[1] = 1, -1
    np.testing.assert_allclose(fit(x * size)(x * size), fit(x)(x), rtol=1e-12, atol=1e-12)


@fits
def test_subnormal_numbers_have_finite_factors(fit: Any) -> None:
    own = fit(np.arange(5.0)[:, None] * 5e-324)
    assert np.isfinite(own.factor)


@fits
def test_a_fit_in_parts_is_that_of_the_whole(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit(X)
    monkeypatch.setattr(scaling, "_ENTRIES", 3 * X.shape[1])
    parts = fit(X)
    np.testing.assert_allclose(parts.offset, whole.offset, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(parts.factor, whole.factor, rtol=1e-14)


@fits
def test_sparse_and_stored_data_give_the_scaling_of_their_numbers(fit: Any, tmp_path: Path) -> None:
    x = np.where(R.random((50, 4)) < 0.3, R.normal(size=(50, 4)), 0)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for same in (sparse.csr_array(x), sparse.coo_matrix(x), mapped, x.tolist(), np.asfortranarray(x)):
        assert fit(same) == fit(x)
    rows = [3, 1, 4, 1, 5]
    part = Dataset(mapped, np.arange(50) % 2).take(rows)
    assert scaling.as_scaling(fit.__name__, part.x, "test") == fit(x[rows])


def test_a_mapped_file_is_not_read_into_memory(tmp_path: Path) -> None:
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (200_000, 200))
    x[::7] = 9
    tracemalloc.start()
    own = Scaling.standardise(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 45e6  # x in float64 has 320 MB
    np.testing.assert_allclose(own.offset, 9 / 7, rtol=1e-4)


@fits
@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (np.array([[1.0, np.nan]]), "finite"),
        (np.array([[1.0], [np.inf]]), "finite"),
        (np.ma.array([[1.0, 2.0]], mask=[[True, False]]), "no missing values"),
        (sparse.csr_array(np.array([[0.0, np.nan]])), "finite"),
        ([[1.0, None]], "no missing values"),
        (np.array([[5e307]]), r"at most 4\.4e307"),
        (np.zeros((0, 3)), r"shape \(samples, features\)"),
        (np.zeros((3, 0)), r"shape \(samples, features\)"),
        (np.zeros(3), r"shape \(samples, features\)"),
    ],
)
def test_data_without_a_scaling_are_refused(fit: Any, x: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"^\[Scaling\.{fit.__name__}\] .*{reason}.* Received "):
        fit(x)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((0.0, 0.0), "Every factor is positive"),
        ((0.0, -1.0), "Every factor is positive"),
        ((0.0, np.nan), "factor is finite"),
        ((np.inf, 1.0), "offset is finite"),
        (([0.0, 0.0], 1.0), "equal shapes"),
        (([0.0, 0.0], [1.0, 1.0, 1.0]), "equal shapes"),
        ((np.zeros((2, 2)), np.ones((2, 2))), "factor|offset"),
        (([], []), "offset is a number"),
    ],
)
def test_numbers_that_are_no_scaling_are_refused(arguments: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"^\[Scaling\] .*{reason}.* Received "):
        Scaling(*arguments)
    for factor in (0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^\[Scaling\.by\] factor is positive and finite"):
            Scaling.by(factor)
    with pytest.raises(TypeError, match=r"^\[Scaling\.by\] factor is a number"):
        Scaling.by("1")  # type: ignore[arg-type]


def test_inputs_of_another_shape_are_refused() -> None:
    own = Scaling.standardise(X)
    with pytest.raises(ValueError, match=r"^\[Scaling\] .* Received 4 factors for 3 features"):
        own(X[:, :3])
    with pytest.raises(ValueError, match=r"^\[Scaling\] x has shape \(samples, features\)"):
        own(X[0])
    with pytest.raises(ValueError, match=r"^\[Dataset\] .* Received 4 factors for 3 features"):
        Dataset(X[:, :3], np.arange(50) % 2, scale=own)


def test_equal_numbers_make_equal_scalings_that_cannot_be_changed() -> None:
    own = Scaling.standardise(X)
    for twin in (Scaling(own.offset, own.factor), copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        assert twin == own
        assert hash(twin) == hash(own)
        for numbers in (twin.offset, twin.factor):
            with pytest.raises(ValueError, match="read-only"):
                numbers[0] = 1
    with pytest.raises(AttributeError):
        own.offset = np.zeros(4)  # type: ignore[misc]
    others = [Scaling.none(), Scaling.by(2), Scaling.min_max(X), Scaling(own.offset, own.factor * 2)]
    assert all(own != other for other in others)
    assert len({own, *others}) == 5
    assert Scaling([3.0], [2.0]) == Scaling(3, 2)
    assert own != "standardise"


def test_representations() -> None:
    found = [repr(Scaling.none()), repr(Scaling.by(1 / 4)), repr(Scaling(1, 2)), repr(Scaling.min_max(X))]
    assert found == ["Scaling.none()", "Scaling.by(0.25)", "Scaling(1, 2)", "Scaling of 4 features"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("none", Scaling.none()),
        ("1/255", Scaling.by(1 / 255)),
        ("0.25", Scaling.by(0.25)),
        (2, Scaling.by(2)),
        (np.float32(0.5), Scaling.by(0.5)),
        (Scaling(1, 2), Scaling(1, 2)),
        ("standardise", Scaling.standardise(X)),
        ("min_max", Scaling.min_max(X)),
    ],
)
def test_names_and_numbers(value: Any, expected: Scaling) -> None:
    assert scaling.as_scaling(value, X, "test") == expected


@pytest.mark.parametrize("value", ["standardize", "1/0", "", "1/", "-1", "nan", "1/2/3", "1e999", 0])
def test_other_names_are_refused_with_the_choice(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^\[Trainer\.fit\] scaling is .* Received "):
        eq.Trainer(eq.HopfieldNetwork([4, 2])).fit(X, np.arange(50) % 2, epochs=1, scaling=value)


def test_other_types_are_refused() -> None:
    for value in ([1.0], b"none", True + 1j):
        with pytest.raises(TypeError, match=r"^\[Trainer\.fit\] scaling is a Scaling, 'none', 'standardise'"):
            eq.Trainer(eq.HopfieldNetwork([4, 2])).fit(X, np.arange(50) % 2, epochs=1, scaling=value)
