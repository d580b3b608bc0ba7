"""Files of recordings: faults are named with file, line and value, and what is written can be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from equiprop import verify
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

ROWS = ["0.1,0,0,0,1,2", "0.1,0.2,0,0,1.1,2.1", "0.1,0.4,0,0,1.2,2.2"]
TABLE = "beta,time,repeat,sample,s0,s1\n" + "\n".join(ROWS) + "\n"
#: A change of the table (text, replacement), the line of the fault in it, and words of the message.
CHANGES = [
    ("1.1", "abc", 3, "s0 = 'abc'"),
    ("1.1", "1_1", 3, "s0 = '1_1'"),
    ("1.1", "inf", 3, "s0 = 'inf'"),
    ("1.1", "-Infinity", 3, "s0 = '-Infinity'"),
    ("1.1", "1e400", 3, "s0 = '1e400'"),
    ("1.1", "1" * 10_000, 3, "s0 = '1111"),
    ("1.1", "0x11", 3, "s0 = '0x11'"),
    ("1.1", "\u0661", 3, "s0 = '\u0661'"),
    ("1.1", "1+2j", 3, "s0 = '1+2j'"),
    ("1.1", '"1.1', 3, "unexpected end of data"),
    ("1.1", '"1.1\n"', 3, "unexpected end of data"),
    ("2.1", "2.1,9", 3, "A row has 6 fields. Received 7"),
    (",2.1", "", 3, "A row has 6 fields. Received 5"),
    ("0.1,0.2", "nan,0.2", 3, "beta = nan"),
    ("0.1,0.2", ",0.2", 3, "beta = nan"),
    ("0.1,0.2", "0,0.2", 3, "beta is not 0. Received beta = 0"),
    ("0.1,0.2", "0.1,", 3, "time = nan"),
    ("0.1,0.2", "0.1,inf", 3, "time = 'inf'"),
    ("0.1,0.2", "0.1,-0.2", 3, "not negative. Received time = -0.2"),
    ("0.1,0.2", "0.1,0.23", 3, "Times are multiples of the step size, 0.2"),
    ("0.1,0.2", "0.1,0.23", 3, "Received time = 0.23"),
    ("0.1,0.2,0", "0.1,0.2,1.5", 3, "whole numbers from 0. Received repeat = 1.5"),
    ("0.1,0.2,0", "0.1,0.2,-1", 3, "not negative. Received repeat = -1"),
    ("0.2,0,0", "0.2,0,0.5", 3, "Received sample = 0.5"),
    ("0.1,0.2,0", "0.1,0.2,1e12", 3, "at most 1e+08 numbers. Received 6e+12, with repeat up to that"),
    ("0.1,0.2", "0.1,1e300", 3, "with time up to that"),
    ("s0,s1", "s0,foo", 1, "Received the column 'foo'"),
    ("s0,s1", "s0,o1", 1, "Received the column 'o1'"),
    ("s0,s1", "s0,s2", 1, "Received the column 's2'"),
    ("s0,s1", "s0,s0", 1, "Received more than one column 's0'"),
    ("beta,time", "beta,hours", 1, "Received the column 'hours'"),
    ("beta,", "", 1, "Received no column 'beta'"),
    (",s0,s1", "", 1, "Received no column 's0'"),
]
#: Lines before the table, which are skipped.
PREFIXES = ["", "# instrument 7\n\n", '# a display of 6"\r\n   \r\n\r\n# \u00b5V\n']


def refusal(file: Path, **options: Any) -> str:
    with pytest.raises(ValueError, match=r"^\[read_recordings\] ") as found:
        verify.read_recordings(file, **{"step_size": 0.2, **options})
    message = str(found.value)
    assert re.fullmatch(r"\[read_recordings\] .+\. Received (?s:.+)\.", message)
    assert message.count("read_recordings]") == 1
    assert str(file) in message
    return message


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("old", "new", "line", "words"), CHANGES)
def test_faults_of_a_table(old: str, new: str, line: int, words: str, prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "device.csv"
    file.write_bytes((prefix + TABLE.replace(old, new, 1)).encode())
    message = refusal(file)
    assert words in message
    assert f"line {line + prefix.count(chr(10))} of '{file}'" in message


def test_rows_that_are_repeated(tmp_path: Path) -> None:
    file = tmp_path / "device.csv"
    file.write_text(f"# first\n{TABLE}{ROWS[2]}\n{ROWS[1]}\n")
    assert f"lines 5 and 6 of '{file}', 2 repeated in all" in refusal(file)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_bytes_that_are_no_text(ending: bytes, tmp_path: Path) -> None:
    file = tmp_path / "device.csv"
    content = b"\xef\xbb\xbf# caf\xe9\n".replace(b"\xe9", b"e") + TABLE.encode().replace(b"1.1", b"\xb5")
    file.write_bytes(content.replace(b"\n", ending))
    assert f"the byte 0xb5 in line 4 of '{file}'" in refusal(file)


@pytest.mark.parametrize("text", ["", "\n  \n", "# only\n", TABLE.partition("\n")[0]])
def test_tables_without_rows(text: str, tmp_path: Path) -> None:
    (tmp_path / "device.csv").write_text(text)
    refusal(tmp_path / "device.csv")


def test_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "device.csv"
    for content in (TABLE, TABLE.replace("\n", "\r\n"), TABLE.replace("\n", "\r"), "\ufeff" + TABLE):
        file.write_bytes(content.encode())
        (path,) = verify.read_recordings(file, step_size=0.2)["trajectories"].values()
        assert path.ravel().tolist() == [1, 2, 1.1, 2.1, 1.2, 2.2]


GOOD = {"beta": np.full(3, 0.1), "time": np.array([0, 0.2, 0.4]), "states": np.arange(6.0).reshape(3, 2)}
NAMES = "arrays beta, time and either states or outputs"
#: Arrays that replace those of a good file, and words of the message.
ARRAYS: list[tuple[dict[str, Any], str]] = [
    ({"step_size": [0.2, 0.3]}, "step_size is one number. Received shape (2,)"),
    ({"step_size": []}, "step_size is one number. Received shape (0,)"),
    (
        {"step_size": np.nan},
        "step_size is a number in [1e-100, 1e100], given or in an NPZ file. Received nan",
    ),
    ({"step_size": -0.2}, "Received -0.2"),
    ({"step_size": "0.2"}, "step_size holds real numbers. Received the type <U3"),
    (
        {"comment": "my device"},
        f"{NAMES} (rows, units), optionally repeat, sample and step_size, and no others",
    ),
    ({"volts": np.ones(3)}, "Received beta, states, time, volts"),
    ({"outputs": np.ones((3, 2))}, NAMES),
    ({"states": np.ones(3)}, "Received states of shape (3,)"),
    ({"states": np.ones((0, 2))}, "Received states of shape (0, 2)"),
    ({"states": np.ones((3, 2)) * 1j}, "states holds real numbers. Received the type complex128"),
    ({"states": np.full((3, 2), np.inf)}, "Received infinity in row [0]"),
    ({"states": np.full((3, 2), np.longdouble("1e400"))}, "Received infinity in row [0]"),
    ({"beta": 0.1}, "beta has one number for each of 3 rows. Received shape ()"),
    ({"time": np.ones(2)}, "time has one number for each of 3 rows. Received shape (2,)"),
    ({"beta": [0.1, 0, 0.1]}, "Received beta = 0 in row [1]"),
    ({"beta": [0.1, np.nan, 0.1]}, "Received beta = nan in row [1]"),
    ({"repeat": [0, 0, 1.5]}, "Received repeat = 1.5 in row [2]"),
    ({"time": [0, 0.2, 0.2]}, "Received those of rows [1 and 2]"),
    ({"time": [0, 0.23, 0.2]}, "Received time = 0.23 in row [1]"),
    ({"repeat": np.array([0, 0, 2**63], np.uint64)}, "with repeat up to that in row [2]"),
]


@pytest.mark.parametrize(("change", "words"), ARRAYS)
def test_faults_of_arrays(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "device.npz", **{**GOOD, **change})  # type: ignore[arg-type]
    assert words in refusal(tmp_path / "device.npz")


def test_a_step_size_is_needed_for_arrays_without_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "device.npz", **GOOD)  # type: ignore[arg-type]
    assert "Received none for" in refusal(tmp_path / "device.npz", step_size=None)
    np.savez(tmp_path / "device.npz", **GOOD, step_size=[0.2])  # type: ignore[arg-type]
    assert verify.read_recordings(tmp_path / "device.npz")["step_size"] == 0.2


STATES = np.ones((3, 1, 2))
#: Recordings that cannot be read again.
UNREADABLE: list[dict[Any, Any]] = [
    {np.nan: STATES},
    {np.inf: STATES},
    {0: STATES},
    {-0.0: STATES},
    {2**60: STATES, 2**60 + 1: STATES},
    {0.1: STATES * np.nan},
    {0.1: STATES, -0.1: STATES * np.nan},
    {0.1: STATES * np.inf},
    {0.1: np.full((3, 1, 2), np.longdouble("1e400"))},
    {0.1: STATES, 0.2: np.ones((3, 1, 3))},
    {0.1: STATES[:0]},
]


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
@pytest.mark.parametrize("number", range(len(UNREADABLE)))
def test_what_cannot_be_read_is_not_written(number: int, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"device{suffix}"
    file.write_text("an earlier file")
    with pytest.raises(ValueError, match=r"^\[write_recordings\] .+ Received .+\.$"):
        verify.write_recordings(file, UNREADABLE[number], step_size=0.1)
    with pytest.raises(ValueError, match=r"^\[write_recordings\] step_size lies in"):
        verify.write_recordings(file, {0.1: STATES}, step_size=1e-310)
    assert file.read_text() == "an earlier file"


def test_recordings_that_describe_too_many_numbers_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("equiprop.verify.recording_files._LARGEST", 1000)
    path = np.full((2, 501, 1, 1), np.nan)
    path[0, 0] = 1
    with pytest.raises(ValueError, match=r"describes at most 1000 numbers\. Received 1002"):
        verify.write_recordings(tmp_path / "device.csv", {0.1: path}, step_size=0.1)
    verify.write_recordings(tmp_path / "device.csv", {0.1: path[:, :500]}, step_size=0.1)
    assert len(verify.read_recordings(tmp_path / "device.csv", step_size=0.1)["trajectories"][0.1]) == 2
    dense = np.ones((2, 501, 1, 1))
    verify.write_recordings(tmp_path / "device.csv", {0.1: dense}, step_size=0.1)
    verify.read_recordings(tmp_path / "device.csv", step_size=0.1)


def test_a_repeat_without_numbers_is_kept(tmp_path: Path) -> None:
    paths = np.stack([STATES, STATES * np.nan])
    verify.write_recordings(tmp_path / "device.csv", {0.1: paths}, step_size=0.1)
    (found,) = verify.read_recordings(tmp_path / "device.csv", step_size=0.1)["trajectories"].values()
    np.testing.assert_array_equal(found, paths)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
BETAS = st.lists(FINITE.filter(bool), min_size=1, max_size=3, unique=True)


@st.composite
def recordings(draw: st.DrawFn) -> dict[float, np.ndarray]:
    """Recordings of any finite numbers with missing states, of different lengths."""
    units = draw(st.integers(1, 3))
    found = {}
    for beta in draw(BETAS):
        shape = (*draw(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 2))), units)
        path = draw(arrays(np.float64, shape, elements=st.one_of(FINITE, st.just(np.nan))))
        path.flat[draw(st.integers(0, path.size - 1))] = draw(FINITE)
        found[beta] = path
    return found


@given(
    paths=recordings(),
    step_size=st.floats(1e-100, 1e100),
    suffix=st.sampled_from([".csv", ".npz"]),
    outputs=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read(
    paths: dict[float, np.ndarray],
    step_size: float,
    suffix: str,
    outputs: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Every bit, in arrays with as many steps and samples as the longest recording."""
    file = tmp_path_factory.mktemp("written") / f"device{suffix}"
    verify.write_recordings(file, paths, step_size=step_size, outputs=outputs)
    found = verify.read_recordings(file, step_size=step_size)["trajectories"]
    assert list(found) == sorted(paths)
    steps, samples = np.max([path.shape[1:3] for path in paths.values()], axis=0)
    for beta, path in paths.items():
        assert found[beta].shape == (len(path), steps, samples, path.shape[3])
        part = found[beta][:, : path.shape[1], : path.shape[2]]
        np.testing.assert_array_equal(part, path)
        np.testing.assert_array_equal(np.signbit(part[~np.isnan(path)]), np.signbit(path[~np.isnan(path)]))
        assert np.isnan(found[beta][:, path.shape[1] :]).all()
        assert np.isnan(found[beta][:, :, path.shape[2] :]).all()
