"""Arrays of other libraries on a CUDA device, which is emulated: its memory is that of the host."""

from __future__ import annotations

import ctypes
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from emulated_cuda import (
    ON_EMULATED_DEVICE,
    SMOOTH,
    SWEEPS,
    X,
    Y,
    close,
    network,
)
from equiprop.cuda import DeviceArray, OutOfDeviceMemory, device_array

pytestmark = ON_EMULATED_DEVICE


_address = ctypes.pythonapi.PyCapsule_GetPointer
_address.restype, _address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_name = ctypes.pythonapi.PyCapsule_GetName
_name.restype, _name.argtypes = ctypes.c_char_p, [ctypes.py_object]
#: Position of the device type in the structure of a capsule.
_DEVICE = {b"dltensor": 8, b"dltensor_versioned": 40}


@pytest.fixture
def awaited(device: Any) -> Any:
    """Return the function that names the stream that was awaited last."""
    device.emulated_awaited.restype = ctypes.c_void_p
    return device.emulated_awaited


def moved(capsule: Any, device_type: int) -> Any:
    """Return a capsule of DLPack that says that its memory is on a device of another type."""
    name = _name(capsule)
    ctypes.c_int32.from_address(_address(capsule, name) + _DEVICE[name]).value = device_type
    return capsule


class Interface:
    """An array with ``__cuda_array_interface__``."""

    def __init__(self, array: Any, **changes: Any) -> None:
        self.array = array
        self.changes = changes

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        array = self.array
        strides = None if array.flags.c_contiguous else array.strides
        data, given = (array.ctypes.data, False), {"shape": array.shape, "typestr": array.dtype.str}
        return {**given, "strides": strides, "data": data, "version": 3, **self.changes}


class Packed:
    """An array with ``__dlpack__`` of version 1."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.streams: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None) -> Any:
        self.streams.append(stream)
        return moved(self.array.__dlpack__(max_version=max_version), 2)


class PackedBefore(Packed):
    """An array with ``__dlpack__`` from before version 1."""

    def __dlpack__(self, *, stream: Any = None) -> Any:  # type: ignore[override]
        self.streams.append(stream)
        return moved(self.array.__dlpack__(), 2)


class OfHost:
    """The memory of an array on the device as NumPy reads it, which is possible with the emulated device."""

    def __init__(self, array: DeviceArray) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **options: Any) -> Any:
        return moved(self.array.__dlpack__(max_version=options.get("max_version")), 1)


KINDS = pytest.mark.parametrize("kind", [Interface, Packed, PackedBefore])


@KINDS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_phases_of_an_input_on_the_device_are_those_of_the_host(kind: Any, dtype: str) -> None:
    net, x = network(dtype).to("cuda"), X.astype(dtype)
    host = eq.free_phase(net, x, solver=SWEEPS)
    there = eq.free_phase(net, kind(x), solver=SWEEPS)
    np.testing.assert_array_equal(there.state, host.state)
    assert type(there.state) is np.ndarray
    for y, of_device in ((Y, kind(Y)), (np.eye(3)[Y], kind(np.eye(3)[Y]))):
        names: dict[str, Any] = {"on_failure": "ignore"}
        expected = eq.equilibrium_propagation(net, host, y, **names)
        found = eq.equilibrium_propagation(net, there, of_device, **names)
        np.testing.assert_array_equal(found.parameters, expected.parameters)
        np.testing.assert_array_equal(found.inputs, expected.inputs)
        expected = eq.recurrent_backpropagation(net, host, y, **names)
        found = eq.recurrent_backpropagation(net, there, of_device, **names)
        np.testing.assert_array_equal(found.parameters, expected.parameters)


@KINDS
def test_the_numbers_of_an_input_are_not_copied_to_the_host(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = network().to("cuda"), X.copy()
    trainer = eq.Trainer(net, optimizer=eq.SGD(0.1), solver=SWEEPS)
    trainer.step(X, Y)  # the first step computes start values from its inputs
    monkeypatch.setattr(DeviceArray, "__array__", None)
    given = kind(x)
    free = eq.free_phase(net, given, solver=SWEEPS)
    assert isinstance(free.x, DeviceArray)
    assert free.x.address == x.ctypes.data
    trainer.step(given, Y)


@KINDS
def test_trainings_on_arrays_of_the_device_are_those_of_the_host(kind: Any) -> None:
    weights, targets = np.arange(12) / 5.5, np.random.default_rng(1).random((12, 3))
    nets = []
    for wrap in (np.asarray, kind):
        trainer = eq.Trainer(network().to("cuda"), optimizer=eq.Adam(0.01), solver=SWEEPS, batch_size=5)
        trainer.step(wrap(X), wrap(Y), wrap(weights))
        trainer.step(wrap(X), wrap(targets))
        trainer.fit([(wrap(X[:6]), wrap(Y[:6])), (wrap(X[6:]), wrap(Y[6:]), wrap(weights[6:]))], epochs=2)
        trainer.fit(wrap(X), wrap(Y), epochs=1)
        nets.append(trainer.model)
    np.testing.assert_array_equal(nets[1].parameters, nets[0].parameters)


def test_a_new_network_gets_start_values_from_an_array_of_the_device() -> None:
    nets = []
    for x in (X, Packed(X)):
        net = eq.HopfieldNetwork([5, 8, 3], dtype="float64").to("cuda")
        eq.Trainer(net, solver=SWEEPS).step(x, Y)
        nets.append(net)
    np.testing.assert_array_equal(nets[1].parameters, nets[0].parameters)


def test_images_on_the_device_are_flat_or_have_the_shape_of_the_input() -> None:
    layers = [eq.Layer((1, 2, 3)), eq.Layer(4), eq.Layer(2)]
    net = eq.HopfieldNetwork(layers=layers, couplings=[eq.Dense(0, 1), eq.Dense(1, 2)], dtype="float64").to(
        "cuda"
    )
    x = np.random.default_rng(0).random((3, 2, 3))
    expected = eq.free_phase(net, x, solver=SWEEPS).state
    np.testing.assert_array_equal(eq.free_phase(net, Packed(x), solver=SWEEPS).state, expected)
    with pytest.raises(
        ValueError, match=r"`x` has shape \(batch, 1, 2, 3\)\. Received shape \(batch, 3, 2\)"
    ):
        eq.free_phase(net, Packed(np.zeros((3, 3, 2))))


def test_a_free_phase_of_an_array_on_the_device_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for x in (X, Packed(X)):
        eq.free_phase(network(**SMOOTH).to("cuda"), x).explain()
        texts.append(capsys.readouterr().out)
    assert texts[1] == texts[0]


def test_a_stream_is_respected(device: Any) -> None:
    net = network().to("cuda")
    ours = net.residence.batch(1).stream
    packed = Packed(X)
    eq.free_phase(net, packed, solver=SWEEPS)
    assert packed.streams == [ours]  # the producer lets this stream wait for its own
    assert ours > 2
    eq.free_phase(net, Interface(X, stream=0x1234), solver=SWEEPS)
    assert device.emulated_awaited() == 0x1234
    eq.free_phase(net, Interface(X, stream=None), solver=SWEEPS)
    assert device.emulated_awaited() == 0x1234


def transposed(array: Any) -> Any:
    return np.asfortranarray(array)


BAD: list[tuple[Any, type[Exception], str]] = [
    (
        lambda k: k(transposed(X)),
        ValueError,
        "is C-contiguous. Received shape (12, 5) with strides of (1, 12) numbers",
    ),
    (
        lambda k: k(np.repeat(X, 2, axis=0)[::2]),
        ValueError,
        "is C-contiguous. Received shape (12, 5) with strides",
    ),
    (
        lambda k: k(X.astype(np.float32)),
        TypeError,
        "has the precision of the network, float64. Received float32.",
    ),
    (
        lambda k: k(np.arange(10).reshape(2, 5)),
        TypeError,
        "precision of the network, float64. Received int64.",
    ),
    (
        lambda k: k(X[:, :3].copy()),
        ValueError,
        "has shape (batch, 5), with at least one sample. Received shape (12, 3).",
    ),
    (
        lambda k: k(X[:0]),
        ValueError,
        "has shape (batch, 5), with at least one sample. Received shape (0, 5).",
    ),
    (
        lambda k: k(X[0].copy()),
        ValueError,
        "has shape (batch, 5), with at least one sample. Received shape (5,).",
    ),
    (
        lambda k: k(np.where(X > 0.9, np.nan, X)),
        ValueError,
        "holds finite numbers. Received NaN or infinity.",
    ),
]


@KINDS
@pytest.mark.parametrize("case", range(len(BAD)))
def test_other_arrays_are_refused(kind: Any, case: int) -> None:
    make, error, sentence = BAD[case]
    net = network().to("cuda")
    with pytest.raises(error) as refusal:
        eq.free_phase(net, make(kind))
    assert str(refusal.value).startswith("[free_phase] `x` ")
    assert sentence in str(refusal.value)


def test_addresses_and_masks_are_checked() -> None:
    net = network().to("cuda")
    with pytest.raises(ValueError, match=r"is in memory of device 0\. Received an array in other memory"):
        eq.free_phase(net, Interface(X, data=(8, False)))
    with pytest.raises(ValueError, match=r"`x` has no missing values\. Received an array with a mask"):
        eq.free_phase(net, Interface(X, mask=X))
    with pytest.raises(TypeError, match=r"`y` holds real numbers\. Received dtype complex128"):
        eq.Trainer(net).step(X, Interface(Y.astype(complex)))


class Kept(Packed):
    """An array that its library does not give away, such as a tensor that records its history."""

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")


def test_the_reason_for_which_an_array_is_not_given_is_said() -> None:
    with pytest.raises(TypeError, match=r"by DLPack\. Received Kept: Can't export .* tensor\.detach\(\)\."):
        eq.free_phase(network().to("cuda"), Kept(X))


def test_a_network_on_the_cpu_refuses_arrays_of_the_device() -> None:
    for given in (Interface(X), device_array(X)):
        if isinstance(given, DeviceArray):
            np.testing.assert_array_equal(eq.free_phase(network(), given).x, X)  # NumPy copies it
            continue
        with pytest.raises(TypeError, match=r"is in the memory of the host\. Received Interface in the"):
            eq.free_phase(network(), given)


class OnHost:
    """A tensor of the CPU with ``__dlpack__`` alone."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **options: Any) -> Any:
        return X.__dlpack__(**options)


def test_an_array_of_the_host_by_dlpack_is_read_by_numpy() -> None:
    net = network().to("cuda")
    free = eq.free_phase(net, OnHost(), solver=SWEEPS)
    assert type(free.x) is np.ndarray
    np.testing.assert_array_equal(free.state, eq.free_phase(net, X, solver=SWEEPS).state)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_are_given_to_other_libraries(dtype: str) -> None:
    net = network(dtype).to("cuda")
    free = eq.free_phase(net, X.astype(dtype), solver=SWEEPS)
    gradient = eq.equilibrium_propagation(net, free, Y, on_failure="ignore")
    for numbers in (free.state, free.outputs, gradient.parameters):
        array = device_array(numbers)
        assert (array.shape, array.dtype, array.ndim) == (numbers.shape, numbers.dtype, numbers.ndim)
        assert (len(array), array.size) == (len(numbers), numbers.size)
        np.testing.assert_array_equal(np.asarray(array), numbers)
        seen = np.from_dlpack(OfHost(array))
        np.testing.assert_array_equal(seen, numbers)
        given = array.__cuda_array_interface__
        assert given["data"] == (seen.ctypes.data, False) == (array.address, False)
        assert (given["shape"], given["typestr"], given["strides"]) == (
            numbers.shape,
            numbers.dtype.str,
            None,
        )
        assert (given["version"], given["stream"]) == (3, None)
        assert array.__dlpack_device__() == (2, 0)
    close(eq.free_phase(net, device_array(X.astype(dtype)), solver=SWEEPS).state, free.state, dtype)
    assert repr(device_array(free.outputs)) == f"DeviceArray(shape=(12, 3), dtype={dtype})"


def test_memory_lives_as_long_as_an_array_or_a_capsule_does() -> None:
    array = device_array(X)
    seen = np.from_dlpack(OfHost(array))
    unused = array.__dlpack__()
    other = array.reshape(60)
    del array
    np.testing.assert_array_equal(seen, X)
    np.testing.assert_array_equal(np.asarray(other), X.ravel())
    del unused, other
    np.testing.assert_array_equal(seen, X)


def test_what_an_array_of_the_device_cannot_do_is_said(device: Any) -> None:
    array = device_array(X)
    with pytest.raises(BufferError, match="DLPack gives the memory itself"):
        array.__dlpack__(copy=True)
    with pytest.raises(BufferError, match="Received dl_device="):
        array.__dlpack__(dl_device=(1, 0))
    with pytest.raises(ValueError, match="Received copy=False"):
        array.__array__(copy=False)
    with pytest.raises(ValueError, match="A shape keeps the size 60"):
        array.reshape(7)
    with pytest.raises(TypeError, match=r"of float32 or float64\. Received dtype int64"):
        device_array(Y)
    device.emulated_fail_allocation(0)
    with pytest.raises(OutOfDeviceMemory, match="too little memory for an array of 480 bytes"):
        device_array(X)
    device_array(X)
