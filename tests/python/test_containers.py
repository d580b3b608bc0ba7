"""Every entrance reads containers as it reads NumPy arrays, and refuses missing values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from equiprop.arrays import as_array
from networks import Valley
from scipy import sparse

X = np.random.default_rng(0).integers(0, 2, (6, 4)).astype(np.float64)
Y = np.array([0, 1, 2, 0, 1, 2])


def net() -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork([4, 5, 3], dtype="float64", seed=1)


class Table:
    """A data frame's way to NumPy: an array of objects if the columns have several types."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values.astype(dtype or self.values.dtype)

    def __len__(self) -> int:
        return len(self.values)


class Exported:
    """An array that only DLPack can read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class FirstExported(Exported):
    """An array that only DLPack can read, by the method of its first version."""

    def __dlpack__(self, stream: Any = None) -> Any:  # type: ignore[override]
        return self.array.__dlpack__()


class Interface:
    """An array that only the array interface of NumPy can read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__


def mapped(array: np.ndarray, folder: Path) -> np.ndarray:
    np.save(folder / "x.npy", array)
    return np.load(folder / "x.npy", mmap_mode="r")


def tensor(array: np.ndarray, **options: Any) -> Any:
    return pytest.importorskip("torch").tensor(array, **options)


CONTAINERS: dict[str, Callable[[np.ndarray], Any]] = {
    "list": np.ndarray.tolist,
    "list of arrays": list,
    "Fortran order": np.asfortranarray,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "read-only": lambda x: np.broadcast_to(x, (1, *x.shape))[0],
    **{kind: lambda x, kind=kind: x.astype(kind) for kind in ("?", "i1", "u2", "i8", "f2", "f4", ">f8", "g")},
    "objects": lambda x: x.astype(object),
    "table": Table,
    "table of several types": lambda x: Table(
        np.array([[(bool, int, float)[j % 3](v) for j, v in enumerate(row)] for row in x], object)
    ),
    "masked array without a mask": np.ma.masked_array,
    "array interface": Interface,
    "DLPack": Exported,
    "DLPack of the first version": FirstExported,
    "DLPack of a transposed array": lambda x: Exported(np.asfortranarray(x)),
    "list of DLPack": lambda x: [Exported(row) for row in x],
    "list of masked arrays": lambda x: [np.ma.masked_array(row) for row in x],
    "matrix": lambda x: x.view(np.matrix),
    "subclass": lambda x: x.view(np.recarray),
    "tensor": tensor,
    "tensor of bfloat16": lambda x: tensor(x).bfloat16(),
    "tensor of float8": lambda x: tensor(x).to(pytest.importorskip("torch").float8_e4m3fn),
    "list of tensors": lambda x: [tensor(row) for row in x],
    "tensor of booleans": lambda x: tensor(x).bool(),
    "tensor that is transposed": lambda x: tensor(x.T.copy()).T,
    "CSR": sparse.csr_array,
    "CSC": sparse.csc_matrix,
    "COO": sparse.coo_array,
    "BSR": sparse.bsr_array,
}


def fitted(x: Any, *y: Any) -> Any:
    trainer = eq.Trainer(net(), batch_size=2)
    trainer.fit(x, *y, epochs=2)
    return trainer.model.parameters


def stepped(x: Any) -> Any:
    trainer = eq.Trainer(net())
    trainer.step(x, Y)
    return trainer.model.parameters


def fitted_to_batches(x: Any) -> Any:
    trainer = eq.Trainer(net())
    trainer.fit([(x, Y)], epochs=2)
    return trainer.model.parameters


def validated(x: Any) -> Any:
    return eq.Trainer(net()).fit(X, Y, epochs=1, validation=(x, Y))[0].validation_error


def prepared(x: Any) -> Any:
    trainer = eq.Trainer(net())
    trainer.prepare(x, Y)
    return trainer.model.parameters


ENTRANCES: dict[str, Callable[[Any], Any]] = {
    "Dataset": lambda x: eq.Dataset(x, Y).batch(np.arange(6), np.float64)[0],
    "fit": lambda x: fitted(x, Y),
    "fit with a Dataset": lambda x: fitted(eq.Dataset(x, Y)),
    "fit to batches": fitted_to_batches,
    "validation": validated,
    "prepare": prepared,
    "step": stepped,
    "evaluate": lambda x: eq.Trainer(net()).evaluate(x, Y).objective,
    "predict": lambda x: eq.Trainer(net()).predict(x),
    "predict_classes": lambda x: eq.Trainer(net()).predict_classes(x),
    "free_phase": lambda x: eq.free_phase(net(), x).state,
    "free_phase of an energy": lambda x: eq.free_phase(Valley(inputs=4), x).state,
    "verify": lambda x: verify.derivatives(net(), x).rows[0].value,
    "certify": lambda x: verify.certify(net(), x, Y, claims=["limit"]).cases[0].reports[0].rows[0].value,
}


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_results_of_the_array(container: str, entrance: str) -> None:
    call = ENTRANCES[entrance]
    np.testing.assert_array_equal(call(CONTAINERS[container](X)), call(X))


STATES = np.random.default_rng(3).integers(0, 2, (6, 8)).astype(np.float64)
ENTRANCES_OF_STATES: dict[str, Callable[[Any], Any]] = {
    "free_phase": lambda s: eq.free_phase(net(), X, initial=s).state,
    "verify": lambda s: verify.derivatives(net(), X, state=s).rows[0].value,
}


@pytest.mark.parametrize("entrance", ENTRANCES_OF_STATES)
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_of_states_gives_the_results_of_the_array(container: str, entrance: str) -> None:
    call = ENTRANCES_OF_STATES[entrance]
    np.testing.assert_array_equal(call(CONTAINERS[container](STATES)), call(STATES))


def test_a_file_that_is_mapped_into_memory_gives_the_results_of_the_array(tmp_path: Path) -> None:
    for call in ENTRANCES.values():
        np.testing.assert_array_equal(call(mapped(X, tmp_path)), call(X))


ENTRANCES_OF_Y: dict[str, Callable[[Any], Any]] = {
    "Dataset": lambda y: eq.Dataset(X, y).batch(np.arange(6), np.float64)[1],
    "fit": lambda y: fitted(X, y),
    "step": lambda y: eq.Trainer(net()).step(X, y)[:2],
    "evaluate": lambda y: eq.Trainer(net()).evaluate(X, y).objective,
    "equilibrium_propagation": lambda y: eq.equilibrium_propagation(net(), PHASE, y).parameters,
    "recurrent_backpropagation": lambda y: eq.recurrent_backpropagation(net(), PHASE, y).parameters,
    "verify": lambda y: verify.derivatives(net(), X, y).rows[-1].value,
    "verify of processes": lambda y: verify.equivalence(net(), X, y, steps=3).rows[0].value,
}
PHASE = eq.free_phase(net(), X)


@pytest.mark.parametrize("entrance", ENTRANCES_OF_Y)
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_of_targets_gives_the_results_of_the_array(container: str, entrance: str) -> None:
    call, one_hot = ENTRANCES_OF_Y[entrance], np.eye(3)[Y]
    np.testing.assert_array_equal(call(CONTAINERS[container](one_hot)), call(one_hot))


LABELS: dict[str, Callable[[np.ndarray], Any]] = {
    **{kind: lambda y, kind=kind: y.astype(kind) for kind in ("i1", "u2", "i8", "f4", "f8", ">i4")},
    "list": np.ndarray.tolist,
    "column": lambda y: y[:, None],
    "objects": lambda y: y.astype(object),
    "table": lambda y: Table(y[:, None]),
    "tensor": tensor,
    "column of a tensor": lambda y: tensor(y[:, None]),
}


@pytest.mark.parametrize("entrance", ENTRANCES_OF_Y)
@pytest.mark.parametrize("container", LABELS)
def test_every_container_of_labels_gives_the_results_of_the_array(container: str, entrance: str) -> None:
    call = ENTRANCES_OF_Y[entrance]
    np.testing.assert_array_equal(call(LABELS[container](Y)), call(Y))


class NAType:
    """The missing value of a library for data frames."""

    def __repr__(self) -> str:
        return "<NA>"


def at(value: Any) -> np.ndarray:
    """Return X with a value at sample 2, feature 1."""
    objects = X.astype(object)
    objects[2, 1] = value
    return objects


def masked() -> Any:
    mask = np.zeros(X.shape, bool)
    mask[2, 1] = mask[4, 0] = True
    return np.ma.masked_array(X, mask)


MISSING = {
    "NaN": (at(np.nan).astype(float), "nan"),
    "NaN in single precision": (at(np.nan).astype(np.float32), "nan"),
    "NaN in a list": (at(np.nan).tolist(), "nan"),
    "None": (at(None), "None"),
    "None in a list": (at(None).tolist(), "None"),
    "NA in a table": (Table(at(NAType())), "<NA>"),
    "a masked entry": (masked(), "a masked value"),
    "NaN in a sparse array": (sparse.csc_array(at(np.nan).astype(float)), "nan"),
    "infinity": (at(np.inf).astype(float), "inf"),
}


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("case", MISSING)
def test_missing_values_are_refused_by_name_and_place(case: str, entrance: str) -> None:
    x, shown = MISSING[case]
    column = "unit|feature" if entrance in ("step", "fit to batches") else "feature"
    with pytest.raises(
        ValueError,
        match=rf"^\[[\w. ]+\] `x` (has no|holds finite) .* Received {shown} at sample 2, ({column}) 1",
    ):
        ENTRANCES[entrance](x)


def test_the_advice_on_missing_values_holds() -> None:
    from sklearn.impute import SimpleImputer

    with pytest.raises(ValueError, match=r"sklearn\.impute\.SimpleImputer"):
        eq.Dataset(at(np.nan).astype(float), Y)
    filled = SimpleImputer().fit_transform(at(np.nan).astype(float))
    assert len(eq.Dataset(filled, Y)) == 6


def test_nan_in_a_tensor_is_refused_by_name_and_place() -> None:
    with pytest.raises(ValueError, match=r"^\[Dataset\] `x` .* Received nan at sample 2, feature 1"):
        eq.Dataset(tensor(at(np.nan).astype(float)), Y)


class OnDevice:
    """A tensor of PyTorch in the memory of a GPU; the name of its device is all that differs."""

    requires_grad, device = False, "cuda:0"

    def __init__(self, array: np.ndarray) -> None:
        self.tensor = tensor(array)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy.")

    def detach(self) -> OnDevice:
        other = OnDevice(self.tensor.numpy())
        other.requires_grad = False
        return other

    def cpu(self) -> Any:
        return self.tensor.requires_grad_(self.requires_grad)


def on_device_with_graph() -> OnDevice:
    x = OnDevice(X)
    x.requires_grad = True
    return x


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize(
    ("made", "advice"),
    [
        (lambda: tensor(X, requires_grad=True), "x.detach()"),
        (lambda: OnDevice(X), "x.cpu()"),
        (on_device_with_graph, "x.detach().cpu()"),
    ],
)
def test_the_advice_on_a_tensor_makes_it_readable(
    made: Callable[[], Any], advice: str, entrance: str
) -> None:
    x, call = made(), ENTRANCES[entrance]
    with pytest.raises(TypeError, match=r"^\[[\w. ]+\] .*numpy.* Pass ") as refusal:
        call(x)
    assert str(refusal.value).endswith(f" Pass {advice}.")
    np.testing.assert_array_equal(call(eval(advice, {"x": x})), call(X))


def test_other_advice_is_that_of_the_library() -> None:
    torch = pytest.importorskip("torch")
    for x, advice in ((torch.eye(4).to_sparse(), "to_dense"), (torch.empty((2, 4), device="meta"), "cpu")):
        with pytest.raises(TypeError, match=rf"^\[here\] `x` .*Received Tensor: .*{advice}"):
            as_array(x, "here", "x")
    assert as_array(torch.eye(4).to_sparse().to_dense(), "here", "x").shape == (4, 4)


@pytest.mark.parametrize("y", [["a", "b", "c"] * 2, np.array(["a", "b", "c"] * 2, dtype=object)])
def test_the_advice_on_labels_of_text_holds(y: Any) -> None:
    trainer = eq.Trainer(net())
    for call in (lambda y: trainer.step(X, y), lambda y: verify.gradients(net(), X, y)):
        with pytest.raises(
            TypeError, match=r"Dataset\(x, y\) does, or np\.unique\(y, return_inverse=True\)\[1\]"
        ):
            call(y)
        call(np.unique(y, return_inverse=True)[1])
    trainer.step(*eq.Dataset(X, y).batch(np.arange(6), np.float64))


def test_numbers_that_numpy_lacks_are_refused() -> None:
    with pytest.raises(
        TypeError, match=r"holds real numbers\. Received dtype .*V2.* Convert it to float32 first"
    ):
        as_array(np.zeros((2, 3), "V2"), "here", "x")
    with pytest.raises(ValueError, match=r"holds finite numbers\. Received an integer beyond float64"):
        as_array(np.array([[10**400, 1]], dtype=object), "here", "x")
    with pytest.raises(TypeError, match=r"OneHotEncoder"):
        as_array([["red", "blue"]], "here", "x")
    with pytest.raises(TypeError, match=r"real numbers\. Received <object.*> at sample 0, feature 1\.$"):
        as_array([[1.0, object()]], "here", "x")
