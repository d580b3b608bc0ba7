"""Data sets in CSV and NPZ files and in folders, and the commands that use them."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from commands import Capture, error_of, run, run_json
from equiprop import Scaling
from equiprop.data_files import load_files, load_inputs
from idx_files import write_mnist

R = np.random.default_rng(0)
X, Y = R.random((60, 4)).round(6), np.arange(60) % 3
TEST = np.arange(60)[np.arange(60) // 3 % 5 == 4]  # every fifth sample of each class


def write_csv(path: Path, x: Any = X, y: Any = Y, header: str = "", delimiter: str = ",") -> Path:
    np.savetxt(path, np.c_[x, y], "%.6g", delimiter=delimiter, header=header, comments="")
    return path


def equal(part: eq.Dataset, x: Any, y: Any) -> bool:
    return np.array_equal(part.x, x) and np.array_equal(part.y, y)


@pytest.mark.parametrize(
    ("name", "header", "delimiter"),
    [
        ("a.csv", "", ","),
        ("a.csv", "a,b,c,d,label", ","),
        ("a.csv", "a;b;c;d;Class", ";"),
        ("a.tsv", '"a"\t"b"\t"c"\t"d"\t"species"', "\t"),
        ("a.txt", "", " "),
    ],
)
def test_a_text_file_is_split_into_training_and_test_data(
    name: str, header: str, delimiter: str, tmp_path: Path
) -> None:
    separator = next((mark for mark in ";\t" if mark in header), delimiter)
    train, test = load_files(write_csv(tmp_path / name, header=header, delimiter=separator))
    rest = np.setdiff1d(np.arange(60), TEST)
    assert equal(test, X[TEST], Y[TEST])
    assert equal(train, X[rest], Y[rest])
    assert (train.num_classes, train.scale) == (3, None)


def test_the_column_of_labels_is_found_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    np.savetxt(path, np.c_[Y, X], "%.6g", delimiter=",", header="target,a,b,c,d", comments="")
    assert equal(load_files(path)[1], X[TEST], Y[TEST])


def test_a_byte_order_mark_is_not_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("label,a\n" + "0,0.5\n1,1.5\n" * 10, encoding="utf-8-sig")
    assert load_files(path)[0].y.tolist() == [0, 1] * 8


@pytest.mark.parametrize("names", [("x", "y"), ("X", "labels"), ("data", "target"), ("x_train", "y_train")])
def test_an_npz_file(names: tuple[str, str], tmp_path: Path) -> None:
    pixels = (255 * X).astype(np.uint8).reshape(60, 2, 2)
    arrays = {names[0]: pixels, names[1]: Y}
    if names[0] == "x_train":
        arrays |= {"x_test": pixels[:9], "y_test": Y[:9]}
    np.savez(tmp_path / "a.npz", **arrays)
    train, test = load_files(tmp_path / "a.npz")
    assert len(test) == (9 if names[0] == "x_train" else 12)
    assert (train.x.dtype, train.num_features, train.scale) == (np.uint8, 4, Scaling.by(1 / 255))


def test_targets_of_a_regression(tmp_path: Path) -> None:
    train, test = load_files(write_csv(tmp_path / "a.csv", y=X[:, 0] + 0.25))
    assert train.y.shape == (48, 1)
    np.testing.assert_array_equal(test.x, X[4::5])
    np.savez(tmp_path / "a.npz", x=X, y=np.ones((60, 2)))
    assert load_files(tmp_path / "a.npz")[0].y.shape == (48, 2)


def test_labels_in_a_column_are_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y[:, np.newaxis])
    np.savez(tmp_path / "b.npz", x=X, y=Y)
    column, plain = (load_files(tmp_path / name)[0] for name in ("a.npz", "b.npz"))
    assert column.y.shape == (48,)
    np.testing.assert_array_equal(column.y, plain.y)


@pytest.mark.parametrize("kind", ["csv", "npz", "MNIST"])
def test_a_folder(kind: str, tmp_path: Path) -> None:
    if kind == "MNIST":
        write_mnist(tmp_path)
        assert [len(part) for part in load_files(tmp_path)] == [9, 7]
        return
    for name, part in (("train", slice(50)), ("test", slice(50, 60))):
        if kind == "csv":
            write_csv(tmp_path / f"{name}.csv", X[part], Y[part])
        else:
            np.savez(tmp_path / f"{name}.npz", x=X[part], y=Y[part])
    train, test = load_files(tmp_path)
    assert equal(train, X[:50], Y[:50])
    assert equal(test, X[50:], Y[50:])


BAD = [
    ("a.csv", "1,2,red\n3,4,blue\n", "'red'"),
    ("a.csv", "a,b,label\n1,2,0\n1,oops,1\n", "'oops'"),
    ("a.csv", "a,b,label\n1,,0\n", "a.csv"),
    ("a.csv", "1,2,0\n1,2\n", "a.csv"),
    ("a.csv", "1,nan,0\n1,2,1\n", "holds finite numbers"),
    ("a.csv", "1\n2\n", "one column"),
    ("a.csv", "a,b,c,label\n1,2,0\n", "as many names as columns. Received 4 names and 3 columns"),
    ("a.csv", "a,b\n", "a.csv"),
    ("a.csv", "1,-1\n2,1\n", r"Received -1 to 1 for 2 samples .*Number the classes from 0"),
    ("a.csv", "1,100000\n2,300000\n", r"Received 100000 to 300000 for 2 samples"),
    ("a.npz", "not a zip file", "no zip archive of arrays"),
    ("a.xlsx", "", r"ends with \.npz, \.csv, \.tsv, \.txt"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
@pytest.mark.filterwarnings("ignore:loadtxt. input contained no data")
def test_files_that_are_no_data_are_refused_with_the_place(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"(?s)^\[load_files\] .*{message}"):
        load_files(path)


def test_a_text_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("größe,label\n1,0\n2,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"^\[load_files\] A CSV file holds numbers.* 'utf-8' codec"):
        load_files(path)


@pytest.mark.parametrize("place", [0, 28, 60, 200])
def test_a_damaged_archive_is_refused_or_read(place: int, tmp_path: Path) -> None:
    """A changed byte causes errors of zipfile, zlib, NumPy or, for a place outside, of the system."""
    whole = tmp_path / "whole.npz"
    np.savez_compressed(whole, x=np.ones((10, 2)), y=np.arange(10) % 3)
    content = bytearray(whole.read_bytes())
    path = tmp_path / "a.npz"
    for k in {place, len(content) - 1 - place}:
        for value in (0, 1, 0x80, 0xFF):
            path.write_bytes(content[:k] + bytes([value]) + content[k + 1 :])
            with contextlib.suppress(ValueError):
                load_files(path)


def test_an_error_of_the_disk_is_no_damage_of_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)

    def fails(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(np.lib.format, "read_array", fails)
    with pytest.raises(OSError, match="Input/output error"):
        load_files(tmp_path / "a.npz")


def test_arrays_that_are_no_data_are_refused(tmp_path: Path) -> None:
    for arrays, message in (
        ({"a": X}, r"arrays x and y\. Received \['a'\]"),
        ({"x": X, "y": np.array([None] * 60)}, "arrays of numbers"),
        ({"x": X[:5], "y": Y}, "one row for each sample"),
    ):
        np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=message):
            load_files(tmp_path / "a.npz")


def test_a_file_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    write_csv(tmp_path / "there.csv")
    with pytest.raises(FileNotFoundError, match=r"holds there\.csv\.$"):
        load_files(tmp_path / "their.csv")
    with pytest.raises(FileNotFoundError, match=r"holds no such file\.$"):
        load_files(tmp_path / "no" / "their.csv")


def test_inputs_come_with_or_without_labels(tmp_path: Path) -> None:
    for path in (
        write_csv(tmp_path / "labels.csv"),
        write_csv(tmp_path / "none.csv", X[:, :3], X[:, 3]),
    ):
        assert np.array_equal(load_inputs(path, 4).x, X)
    with pytest.raises(ValueError, match=r"The network has 7 inputs\. Received 5 columns"):
        load_inputs(tmp_path / "labels.csv", 7)
    with pytest.raises(ValueError, match="the folder"):
        load_inputs(tmp_path, 7)


# ------------------------------------------------------------------------------------------- MNIST


def renamed(folder: Path, change: Any) -> None:
    folder.mkdir(parents=True)
    write_mnist(folder)
    for path in list(folder.iterdir()):
        path.rename(folder / change(path.name))


@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw", "MNIST", "mnist"])
@pytest.mark.parametrize(
    "change",
    [
        str,
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.replace("t10k", "test"),
    ],
    ids=["dashes", "dots", "test"],
)
def test_mnist_is_found_under_all_usual_names(below: str, change: Any, tmp_path: Path) -> None:
    renamed(tmp_path / "m" / below, change)
    assert [len(part) for part in eq.load_mnist(tmp_path / "m")] == [9, 7]


def test_mnist_is_found_in_the_home_folder_and_compressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    renamed(tmp_path / "m", lambda name: name.replace("-idx", ".idx"))
    for path in list((tmp_path / "m").iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert len(eq.load_mnist("~/m")[0]) == 9


def test_what_is_looked_for_and_what_is_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="The folder is empty"):
        eq.load_mnist(tmp_path)
    with pytest.raises(FileNotFoundError, match="is no folder"):
        eq.load_mnist(tmp_path / "absent")
    write_mnist(tmp_path)
    os.remove(tmp_path / "t10k-labels-idx1-ubyte")
    (tmp_path / "sub").mkdir()
    with pytest.raises(FileNotFoundError) as refusal:
        eq.load_mnist(tmp_path)
    text = str(refusal.value)
    for part in ("'t10k-labels-idx1-ubyte'", "'t10k-labels.idx1-ubyte.gz'", "'MNIST/raw'", "fetch_mnist"):
        assert part in text
    assert "holds sub/, t10k-images-idx3-ubyte, train-images-idx3-ubyte, train-labels-idx1-ubyte." in text


# ------------------------------------------------------------------------------------------- commands


@pytest.fixture
def model(tmp_path: Path, capsys: Capture) -> Path:
    out = tmp_path / "out"
    separated = np.c_[X[:, :3], np.eye(3)[Y][:, 0], np.eye(3)[Y][:, 1]]
    write_csv(tmp_path / "data.csv", separated, header="a,b,c,d,e,label")
    run(capsys, "train", tmp_path / "data.csv", "--epochs", 20, "--batch-size", 5, "--output", out)
    return out / "model.safetensors"


def test_own_data_are_trained_evaluated_and_predicted(model: Path, tmp_path: Path, capsys: Capture) -> None:
    data = tmp_path / "data.csv"
    assert run_json(capsys, "evaluate", model, data)["test_error"] == 0
    assert run(capsys, "predict", model, data).split() == [str(label) for label in Y]
    assert run_json(capsys, "predict", model, data)["classes"] == Y.tolist()
    rows = [line.split(",") for line in run(capsys, "predict", model, data, "--outputs").splitlines()]
    outputs = np.array(rows, float)
    assert outputs.shape == (60, 3)
    np.testing.assert_array_equal(outputs.argmax(1), Y)
    exact = run_json(capsys, "predict", model, data, "--outputs")["outputs"]
    np.testing.assert_array_equal(np.array(exact, np.float32), outputs.astype(np.float32))


def test_predict_takes_a_checkpoint_and_the_digits(
    model: Path, tmp_path: Path, capsys: Capture, good: Path
) -> None:
    checkpoint = model.with_name("checkpoint.safetensors")
    data = tmp_path / "data.csv"
    assert run(capsys, "predict", checkpoint, data) == run(capsys, "predict", model, data)
    classes = run_json(capsys, "predict", good / "model.safetensors", "digits")["classes"]
    error = run_json(capsys, "evaluate", good / "model.safetensors", "digits")["test_error"]
    assert np.mean(np.array(classes) != eq.load_digits()[1].y) == error


def test_a_network_with_one_output_prints_it(tmp_path: Path, capsys: Capture) -> None:
    data = write_csv(tmp_path / "r.csv", y=X[:, 0] + 0.25)
    text = run(capsys, "train", data, "--epochs", 2, "--output", tmp_path / "first")
    assert "%" not in text
    assert text.splitlines()[-1].endswith("(root mean square)")
    result = run_json(capsys, "train", data, "--epochs", 2, "--output", tmp_path / "out")
    assert f"{result['test_error']:.4g} (root mean square)" in text
    assert f"test error {result['test_error']:.4g} (root mean square) of 12" in run(
        capsys, "evaluate", result["model"], data
    )
    lines = run(capsys, "predict", result["model"], data).splitlines()
    assert [np.float32(line) for line in lines] == [
        np.float32(row[0]) for row in run_json(capsys, "predict", result["model"], data)["outputs"]
    ]


def test_data_that_do_not_fit_the_model_are_refused(model: Path, tmp_path: Path, capsys: Capture) -> None:
    (line,) = error_of(capsys, "predict", model, write_csv(tmp_path / "b.csv", X[:, :1]))
    assert "[predict] The network has 5 inputs. Received 2 columns" in line
    (line,) = error_of(capsys, "predict", model, tmp_path / "absent.csv")
    assert "b.csv, data.csv" in line


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        *[(np.zeros(n), f"Received {n}, at most {n} of one class, in") for n in range(1, 5)],
        (np.arange(5), "Received 5, at most 1 of one class, in"),
        (np.arange(8) // 4, "Received 8, at most 4 of one class, in"),
        (np.arange(4) + 0.5, "5 samples, because every fifth one is a test sample. Received 4 in"),
    ],
)
def test_a_file_without_a_fifth_sample_is_refused_before_a_run_begins(
    y: Any, reason: str, tmp_path: Path, capsys: Capture
) -> None:
    path = write_csv(tmp_path / "few.csv", X[: len(y)], y)
    for command in ("train", "evaluate"):
        model = eq.save(eq.HopfieldNetwork([4, 2]), tmp_path / "net")
        words = [path, "--output", tmp_path / "run"] if command == "train" else [model, path]
        (line,) = error_of(capsys, command, *words)
        assert f"[{command}] A file without test data has at least 5 samples" in line
        assert reason in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["few.csv", "net"]


@pytest.mark.parametrize("y", [np.zeros(5), np.r_[np.zeros(5), 1], np.arange(5) + 0.5], ids=str)
def test_a_file_with_a_fifth_sample_is_trained_and_tested(y: Any, tmp_path: Path, capsys: Capture) -> None:
    path = write_csv(tmp_path / "few.csv", X[: len(y)], y)
    assert len(load_files(path)[1]) == 1
    run(capsys, "train", path, "--epochs", 1, "--layers", 4, "--output", tmp_path / "run")


@pytest.mark.parametrize("empty", ["train", "test"])
def test_a_part_of_a_file_without_samples_is_refused_by_name(empty: str, tmp_path: Path) -> None:
    parts = {part: slice(0 if part == empty else 60) for part in ("train", "test")}
    x, y = ({f"{name}_{part}": v[rows] for part, rows in parts.items()} for name, v in (("x", X), ("y", Y)))
    np.savez(tmp_path / "a.npz", **x, **y)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^\[train\] Training and test data each .* none in '.*a\.npz'\."):
        load_files(tmp_path / "a.npz", "train")
