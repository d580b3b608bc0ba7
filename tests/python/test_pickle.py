"""Objects are equal in every bit after pickle, copy and joblib, and do not share memory with the original."""

from __future__ import annotations

import concurrent.futures
import copy
import dataclasses
import functools
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equiprop as eq
import joblib
import numpy as np
import pytest
from equiprop import Activation, Dense, HopfieldNetwork, Layer, optimizers
from equiprop.encoding import is_saved
from networks import CLIPPED, POTENTIALS, SMOOTH, Valley, chain, inputs, labels, skip

Way = Callable[[Any], Any]
PROTOCOLS = (2, pickle.HIGHEST_PROTOCOL)


def through_joblib(thing: Any, folder: Path) -> Any:
    joblib.dump(thing, folder / "it.joblib")
    return joblib.load(folder / "it.joblib")


@pytest.fixture(params=["deepcopy", "joblib", *(f"pickle {n}" for n in PROTOCOLS)])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    if request.param == "deepcopy":
        return copy.deepcopy
    if request.param == "joblib":
        return lambda thing: through_joblib(thing, tmp_path)
    return lambda thing: pickle.loads(pickle.dumps(thing, int(request.param.split()[1])))


NETWORKS: list[Callable[[], HopfieldNetwork]] = [
    *(
        lambda a=a, p=p: chain(3, 4, 2, activation=a, potential=p)
        for a in SMOOTH + CLIPPED
        for p in POTENTIALS
    ),
    lambda: chain(3, 4, 2, dtype="float32"),
    skip,
    lambda: skip().variant(feedback="separate"),
    lambda: chain(3, 4, 2, activation=Activation("logistic", gain=2.5, shift=-1 / 3)),
    lambda: chain(3, 4, 2, activation=Activation("clip", gain=0.1, lower=-2.0)),
    lambda: HopfieldNetwork(layers=[Layer(2), Layer(3, name="eins/ß")], couplings=[Dense(1, 0)]),
]


def equal(one: Any, other: Any) -> bool:
    """Return True if two objects have the same type, and contents that are equal in every bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, HopfieldNetwork):
        return equal(one.__getstate__(), other.__getstate__())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, functools.partial):
        return equal(one.__reduce__(), other.__reduce__())
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(equal, one, other))
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        names = [field.name for field in dataclasses.fields(one) if is_saved(field)]
        return all(equal(getattr(one, name), getattr(other, name)) for name in names)
    return bool(one == other) or one is other


def arrays_in(thing: Any, seen: set[int]) -> Iterator[np.ndarray]:
    """Yield every array in the attributes and containers of an object."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        yield thing
    elif isinstance(thing, HopfieldNetwork):
        yield thing.parameters
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from arrays_in(value, seen)
    elif isinstance(thing, tuple | list):
        for value in thing:
            yield from arrays_in(value, seen)
    elif type(thing).__module__.startswith(("equiprop.", "networks")) and hasattr(thing, "__dict__"):
        yield from arrays_in(vars(thing), seen)


def share_memory(one: Any, other: Any) -> bool:
    mine, theirs = list(arrays_in(one, set())), list(arrays_in(other, set()))
    return any(np.shares_memory(a, b) for a in mine for b in theirs if a.size and b.size)


def trained(**options: Any) -> eq.Trainer:
    x = np.random.default_rng(0).random((30, 4))
    trainer = eq.Trainer(chain(4, 6, 3, dtype="float32"), batch_size=8, **options)
    trainer.fit(eq.Dataset(x, np.arange(30) % 3), epochs=2)
    return trainer


def a_free_phase() -> eq.FixedPoint:
    net = skip()
    solver = eq.FixedPointIteration(tolerance=0, max_iterations=20)
    return eq.free_phase(net, inputs(net), solver=solver, trace=True, record=True)


def a_gradient() -> eq.Gradient:
    free = a_free_phase()
    return eq.equilibrium_propagation(free.model, free, labels(free.model))


OBJECTS: dict[str, Callable[[], Any]] = {
    "network": skip,
    "Trainer": trained,
    "Trainer with Adam": lambda: trained(optimizer=eq.Adam(), schedule=optimizers.cosine(0.1)),
    "SGD": lambda: trained().optimizer,
    "fixed point": a_free_phase,
    "gradient": a_gradient,
    "energy in Python": lambda: Valley(seed=3),
    "data of labels": lambda: eq.Dataset(
        np.arange(12, dtype=np.uint8).reshape(4, 3), np.arange(4), 1 / 255, 9
    ),
    "data of targets": lambda: eq.Dataset(np.eye(3), np.eye(3)),
    "solvers": lambda: [
        eq.BlockUpdate(anderson=2),
        eq.FixedPointIteration(damping=0.25),
        eq.Euler(step_size=0.125),
        eq.ConjugateGradient(tolerance=1e-3),
        eq.Richardson(step_size=0.125),
        eq.Neumann(),
        eq.GMRES(restart=7),
    ],
    "second phases": lambda: (
        [
            eq.EquilibriumPropagation(nudging, eq.Euler(), symmetrize=True)
            for nudging in (
                eq.one_sided(0.5),
                eq.random_sign(0.5, 3),
                eq.holomorphic(0.1, 4),
                eq.exact_limit(),
            )
        ]
        + [eq.RecurrentBackpropagation(eq.GMRES())]
    ),
    "costs": lambda: [eq.SquaredError(), eq.CrossEntropy()],
    "activations": lambda: list(eq.ACTIVATIONS.values()),
    "diagnosis": lambda: eq.verify.diagnose(a_free_phase()),
    "status": lambda: list(eq.Status),
}


@pytest.mark.parametrize("build", NETWORKS)
def test_networks_come_back_with_their_bits(build: Callable[[], HopfieldNetwork], way: Way) -> None:
    net = build()
    twin = way(net)
    assert (twin.layers, twin.couplings, twin.potential) == (net.layers, net.couplings, net.potential)
    assert (twin.feedback, twin.dtype, repr(twin)) == (net.feedback, net.dtype, repr(net))
    assert twin.parameters.tobytes() == net.parameters.tobytes()
    before = eq.free_phase(net, inputs(net), on_failure="ignore").state
    twin_state = eq.free_phase(twin, inputs(net), on_failure="ignore").state
    assert twin_state.tobytes() == before.tobytes()
    twin.parameters[:] = 0
    assert eq.free_phase(net, inputs(net), on_failure="ignore").state.tobytes() == before.tobytes()


@pytest.mark.parametrize("build", OBJECTS.values(), ids=OBJECTS)
def test_copies_are_equal_and_share_no_memory(build: Callable[[], Any], way: Way) -> None:
    thing = build()
    twin = way(thing)
    assert equal(twin, thing)
    assert not share_memory(twin, thing)


def test_the_comparison_of_this_test_sees_one_bit_and_shared_memory() -> None:
    trainer = trained()
    twin = copy.deepcopy(trainer)
    twin.model.parameters[3] = np.nextafter(twin.model.parameters[3], np.float32(9))
    assert not equal(twin, trainer)
    assert share_memory(copy.copy(trainer), trainer)


def test_a_shallow_copy_of_a_network_has_parameters_of_its_own() -> None:
    net = skip()
    twin = copy.copy(net)
    assert twin.parameters.tobytes() == net.parameters.tobytes()
    assert not np.shares_memory(twin.parameters, net.parameters)


def test_parameters_that_are_not_finite_are_kept(way: Way) -> None:
    net = chain()
    net.parameters[:3] = [np.nan, np.inf, -0.0]
    assert way(net).parameters.tobytes() == net.parameters.tobytes()


class Named(HopfieldNetwork):
    """A subclass that a user defines, with one more attribute."""

    def __init__(self, name: str) -> None:
        super().__init__([4, 6, 3])
        self.name = [name]


def test_subclasses_keep_their_type_and_attributes(way: Way) -> None:
    net = Named("it")
    twin = way(net)
    assert type(twin) is Named
    assert twin.name == ["it"]
    assert twin.name is not net.name


def test_a_network_is_written_once_for_all_who_hold_it(way: Way) -> None:
    trainer = trained()
    model, again = way([trainer.model, trainer])
    assert again.model is model


PHASES = [
    eq.EquilibriumPropagation(),
    eq.EquilibriumPropagation(eq.random_sign(0.2)),
    eq.RecurrentBackpropagation(),
]


@pytest.mark.parametrize("phase", PHASES, ids=["centered", "random sign", "rbp"])
@pytest.mark.parametrize(
    "optimizer", [lambda: eq.SGD(0.05, momentum=0.9, weight_decay=1e-3), eq.Adam], ids=["sgd", "adam"]
)
def test_a_copied_trainer_goes_on_with_the_bits_of_the_original(
    phase: Any, optimizer: Callable[[], Any], way: Way
) -> None:
    trainer = trained(second_phase=phase, optimizer=optimizer())
    twin, data = way(trainer), eq.Dataset(np.random.default_rng(1).random((50, 4)), np.arange(50) % 3)
    for one in (trainer, twin):
        one.fit(data, epochs=2, validation=0.2)
    assert twin.model.parameters.tobytes() == trainer.model.parameters.tobytes()
    assert [dataclasses.replace(epoch, seconds=0) for epoch in twin.history] == [
        dataclasses.replace(epoch, seconds=0) for epoch in trainer.history
    ]


def test_a_copied_fixed_point_still_belongs_to_its_model(way: Way) -> None:
    free = a_free_phase()
    twin, y = way(free), labels(free.model)

    def gradient(model: eq.HopfieldNetwork, at: eq.FixedPoint) -> bytes:
        return eq.recurrent_backpropagation(model, at, y, on_failure="ignore").parameters.tobytes()

    want = gradient(free.model, free)
    assert gradient(twin.model, twin) == gradient(free.model, twin) == want
    twin.model.parameters[:] *= 2
    with pytest.raises(ValueError, match="Run free_phase again"):
        eq.recurrent_backpropagation(twin.model, twin, y)


def test_a_failure_of_convergence_keeps_its_outcome(way: Way) -> None:
    net = chain()
    with pytest.raises(eq.ConvergenceError) as failure:
        eq.free_phase(net, inputs(net), solver=eq.Euler(max_iterations=1), on_failure="raise")
    twin = way(failure.value)
    assert str(twin) == str(failure.value)
    assert equal(twin.outcome, failure.value.outcome)


def test_a_callback_that_cannot_be_pickled_is_pythons_own_error() -> None:
    trainer = trained(callbacks=[lambda trainer, epoch: None])
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError), match="lambda"):
        pickle.dumps(trainer)


def test_a_damaged_state_is_refused() -> None:
    state = chain().__getstate__()
    for damage in ({"parameters": state["parameters"][:-1]}, {"description": "{}"}):
        with pytest.raises(ValueError, match="Received"):
            HopfieldNetwork.__new__(HopfieldNetwork).__setstate__({**state, **damage})


def test_trainers_travel_to_other_processes() -> None:
    trainers, x = [trained(seed=seed) for seed in (0, 1)], np.random.default_rng(2).random((5, 4))
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        outputs = list(pool.map(eq.Trainer.predict, trainers, [x, x]))
    for trainer, output in zip(trainers, outputs, strict=True):
        assert output.tobytes() == trainer.predict(x).tobytes()
