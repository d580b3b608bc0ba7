"""Bad input raises an error of the right type, with a rule and the value received, or with a cause."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Dense, HopfieldNetwork, Layer, Trainer, verify
from equiprop.cli import main
from networks import Valley, chain

RULE = re.compile(r"^\[[\w. ]+\] .+ Received .+", re.DOTALL)
FAILURE = re.compile(r"^\[[\w. ]+\] (.+ Received .+|cannot .+)", re.DOTALL)
NAN, INF = float("nan"), float("inf")
NET = chain(3, 4, 2)
SINGLE = chain(3, 4, 2, dtype="float32")
X = np.full((2, 3), 0.1)
FREE = eq.free_phase(NET, X)
DATA = eq.Dataset(np.linspace(0, 1, 60).reshape(20, 3), np.arange(20) % 2)
EMPTY = eq.Dataset(np.zeros((0, 3)), np.zeros(0, np.int64), num_classes=2)


def graph(layers: list[Any], couplings: list[Any]) -> HopfieldNetwork:
    return HopfieldNetwork(layers=layers, couplings=couplings)


def phase(**options: Any) -> Any:
    return eq.free_phase(NET, X, **options)


def eqprop(y: Any = (0, 1), free: Any = FREE, **options: Any) -> Any:
    return eq.equilibrium_propagation(NET, free, y, **options)


def rbp(**options: Any) -> Any:
    return eq.recurrent_backpropagation(NET, FREE, [0, 1], **options)


def fit(data: Any = DATA, *, epochs: Any = 1, **options: Any) -> Any:
    return Trainer(chain(3, 4, 2)).fit(data, epochs=epochs, **options)


PAIR = [Layer(2), Layer(3)]
CASES: list[tuple[str, type[Exception], Callable[[], Any]]] = [
    ("sizes that are one number", TypeError, lambda: HopfieldNetwork(5)),
    ("sizes that are text", TypeError, lambda: HopfieldNetwork("ab")),
    ("a single layer", ValueError, lambda: HopfieldNetwork([3])),
    ("a fractional size", TypeError, lambda: HopfieldNetwork([3, 2.5])),
    ("a negative size", ValueError, lambda: HopfieldNetwork([3, -1])),
    ("an absurd size", ValueError, lambda: HopfieldNetwork([2**31, 2**31])),
    ("a size beyond 64 bits", ValueError, lambda: HopfieldNetwork([3, 10**20, 2])),
    ("an uncoupled size beyond 64 bits", ValueError, lambda: graph([Layer(10**20), *PAIR], [Dense(1, 2)])),
    ("more parameters than memory", MemoryError, lambda: HopfieldNetwork([10**4, 10**10, 10])),
    ("an unknown activation", ValueError, lambda: HopfieldNetwork([3, 2, 1], activation="swish")),
    ("an activation of another type", ValueError, lambda: HopfieldNetwork([3, 2, 1], activation=3)),
    ("too many activations", ValueError, lambda: HopfieldNetwork([3, 2], activation=["tanh"])),
    ("a half-precision network", ValueError, lambda: HopfieldNetwork([3, 2], dtype="float16")),
    ("an integer network", ValueError, lambda: NET.astype(int)),
    ("an unknown potential", ValueError, lambda: HopfieldNetwork([3, 2], potential=[])),
    ("a negative seed", ValueError, lambda: HopfieldNetwork([3, 2], seed=-1)),
    ("a fractional seed", TypeError, lambda: HopfieldNetwork([3, 2], seed=1.5)),
    ("a gain of nan", ValueError, lambda: HopfieldNetwork([3, 2], gain=NAN)),
    ("a gain of text", TypeError, lambda: HopfieldNetwork([3, 2], gain="big")),
    ("sizes and layers", ValueError, lambda: HopfieldNetwork([3, 2], layers=PAIR, couplings=[])),
    ("layers without couplings", ValueError, lambda: HopfieldNetwork(layers=PAIR)),
    ("layers that are numbers", TypeError, lambda: graph([2, 3], [Dense(0, 1)])),
    ("couplings that are tuples", TypeError, lambda: graph(PAIR, [(0, 1)])),
    ("a coupling within the input", ValueError, lambda: graph(PAIR, [Dense(0, 1), Dense(0, 0)])),
    ("an identity within a layer", ValueError, lambda: graph(PAIR, [Dense(0, 1), eq.Identity(1, 1)])),
    ("an identity of two shapes", ValueError, lambda: graph(PAIR, [Dense(0, 1), eq.Identity(0, 1)])),
    ("an identity of gain nan", ValueError, lambda: graph([Layer(2)] * 2, [eq.Identity(0, 1, NAN)])),
    ("an identity of gain text", TypeError, lambda: eq.Identity(0, 1, "1")),
    ("a double coupling", ValueError, lambda: graph(PAIR, [Dense(0, 1), Dense(1, 0)])),
    ("a coupling to nowhere", ValueError, lambda: graph(PAIR, [Dense(0, 5)])),
    ("a layer that is alone", ValueError, lambda: graph([*PAIR, Layer(1)], [Dense(0, 1)])),
    ("a fractional coupling", TypeError, lambda: graph(PAIR, [Dense(0.5, 1)])),
    ("equal names", ValueError, lambda: graph([Layer(2, name="a")] * 2, [Dense(0, 1)])),
    ("a name that is a number", TypeError, lambda: graph([Layer(2, name=3), Layer(2)], [Dense(0, 1)])),
    ("an unknown kind of activation", ValueError, lambda: eq.Activation("relu")),
    ("a negative activation gain", ValueError, lambda: eq.Activation("tanh", gain=-1)),
    ("an activation gain of text", TypeError, lambda: eq.Activation("tanh", gain="1")),
    ("empty bounds", ValueError, lambda: eq.Activation("clip", lower=1.0, upper=1.0)),
    ("x of text for an activation", TypeError, lambda: eq.activation("tanh").value("a")),
    ("x of one dimension", ValueError, lambda: eq.free_phase(NET, [1, 2, 3])),
    ("x of the wrong width", ValueError, lambda: eq.free_phase(NET, [[1, 2]])),
    ("x of text", TypeError, lambda: eq.free_phase(NET, "abc")),
    ("no x", TypeError, lambda: eq.free_phase(NET, None)),
    ("a ragged x", TypeError, lambda: eq.free_phase(NET, [[1, 2, 3], [1]])),
    ("a complex x", TypeError, lambda: eq.free_phase(NET, X * 1j)),
    ("x with nan", ValueError, lambda: eq.free_phase(NET, X * NAN)),
    ("x with infinity", ValueError, lambda: eq.free_phase(NET, X + INF)),
    ("x beyond single precision", ValueError, lambda: eq.free_phase(SINGLE, X * 1e300)),
    ("an empty batch", ValueError, lambda: eq.free_phase(NET, X[:0])),
    ("x of text for an energy", TypeError, lambda: eq.free_phase(Valley(), "abc")),
    ("targets too wide for an energy", ValueError, lambda: eqprop_of_valley([[1.0, 2.0, 3.0]])),
    ("an initial state of the wrong width", ValueError, lambda: phase(initial=X)),
    ("too few initial states", ValueError, lambda: phase(initial=np.zeros((1, 6)))),
    ("a solver by name", TypeError, lambda: phase(solver="euler")),
    ("a solver's class", TypeError, lambda: phase(solver=eq.Euler)),
    ("a linear solver in a free phase", TypeError, lambda: phase(solver=eq.Neumann())),
    ("a negative tolerance", ValueError, lambda: phase(solver=eq.Euler(tolerance=-1))),
    ("a tolerance of nan", ValueError, lambda: phase(solver=eq.Euler(tolerance=NAN))),
    ("a tolerance of text", TypeError, lambda: phase(solver=eq.Euler(tolerance="small"))),
    ("negative iterations", ValueError, lambda: phase(solver=eq.Euler(max_iterations=-1))),
    ("fractional iterations", TypeError, lambda: phase(solver=eq.Euler(max_iterations=1.5))),
    ("a step size of nan", ValueError, lambda: phase(solver=eq.Euler(step_size=NAN))),
    ("a damping of 1", ValueError, lambda: phase(solver=eq.FixedPointIteration(damping=1))),
    ("a negative anderson", ValueError, lambda: phase(solver=eq.BlockUpdate(anderson=-1))),
    ("an anderson of 21", ValueError, lambda: phase(solver=eq.BlockUpdate(anderson=21))),
    ("a fractional anderson", TypeError, lambda: phase(solver=eq.FixedPointIteration(anderson=1.5))),
    ("an unknown on_failure", ValueError, lambda: phase(on_failure="shout")),
    ("block updates where there are none", ValueError, lambda: valley_by_blocks()),
    ("too many targets", ValueError, lambda: eqprop([0, 1, 1])),
    ("too few targets", ValueError, lambda: verify.equivalence(NET, X, [0])),
    ("a label too large", ValueError, lambda: eqprop([0, 2])),
    ("a negative label", ValueError, lambda: eqprop([0, -1])),
    ("targets of the wrong width", ValueError, lambda: eqprop(np.zeros((2, 3)))),
    ("real targets of one dimension", ValueError, lambda: eqprop([0.0, 0.5])),
    ("labels of text", TypeError, lambda: eqprop(["a", "b"])),
    ("targets of nan", ValueError, lambda: eqprop(np.full((2, 2), NAN))),
    ("no labels", ValueError, lambda: eqprop(np.zeros(0, int), cost=eq.CrossEntropy())),
    ("no probabilities", ValueError, lambda: eqprop([[0.5, 0.6]] * 2, cost=eq.CrossEntropy())),
    ("negative probabilities", ValueError, lambda: eqprop([[1.5, -0.5]] * 2, cost=eq.CrossEntropy())),
    ("a cost by name", TypeError, lambda: eqprop(cost="mse")),
    ("a cost's class", TypeError, lambda: eqprop(cost=eq.SquaredError)),
    ("a nudging that is a number", TypeError, lambda: eqprop(nudging=0.1)),
    ("a nudged solver by name", TypeError, lambda: eqprop(solver="block")),
    ("beta too negative", ValueError, lambda: eqprop(nudging=eq.centered(1.5))),
    ("a negative step", ValueError, lambda: eqprop(nudging=eq.random_sign(0.1), step=-1)),
    ("a state in place of a free phase", TypeError, lambda: eqprop(free=FREE.state)),
    ("beta 0", ValueError, lambda: eq.centered(0)),
    ("beta nan", ValueError, lambda: eq.one_sided(NAN)),
    ("beta infinity", ValueError, lambda: eq.random_sign(INF)),
    ("beta of text", TypeError, lambda: eq.one_sided("0.1")),
    ("a radius of 0", ValueError, lambda: eq.holomorphic(0, 4)),
    ("a radius of nan", ValueError, lambda: eq.holomorphic(NAN, 4)),
    ("an odd number of points", ValueError, lambda: eq.holomorphic(0.1, 3)),
    ("one point", ValueError, lambda: eq.holomorphic(0.1, 1)),
    ("fractional points", TypeError, lambda: eq.holomorphic(0.1, 4.5)),
    ("block updates that are to be symmetrized", ValueError, lambda: eqprop(symmetrize=True)),
    ("a restart of 0", ValueError, lambda: rbp(linear_solver=eq.GMRES(restart=0))),
    ("a fractional restart", TypeError, lambda: rbp(linear_solver=eq.GMRES(restart=2.5))),
    ("an unknown feedback", ValueError, lambda: eq.HopfieldNetwork([2, 2], feedback="none")),
    ("a free phase that was not recorded", ValueError, lambda: unrolled(FREE)),
    ("a state in place of a recording", TypeError, lambda: unrolled(FREE.state)),
    ("a negative seed of signs", ValueError, lambda: eq.random_sign(0.1, seed=-1)),
    ("a free solver in a side network", TypeError, lambda: rbp(linear_solver=eq.Euler())),
    ("a linear step size of 0", ValueError, lambda: rbp(linear_solver=eq.Richardson(step_size=0))),
    ("too many threads", ValueError, lambda: eq.set_num_threads(10**6)),
    ("far too many threads", ValueError, lambda: eq.set_num_threads(10**12)),
    ("negative threads", ValueError, lambda: eq.set_num_threads(-1)),
    ("fractional threads", TypeError, lambda: eq.set_num_threads(1.5)),
    ("a batch size of 0", ValueError, lambda: Trainer(NET, batch_size=0)),
    ("a fractional batch size", TypeError, lambda: Trainer(NET, batch_size=2.5)),
    ("a trainer's negative seed", ValueError, lambda: Trainer(NET, seed=-1)),
    ("a trainer's solver by name", TypeError, lambda: Trainer(NET, solver="block")),
    ("no epochs", ValueError, lambda: fit(epochs=0)),
    ("fractional epochs", TypeError, lambda: fit(epochs=1.5)),
    ("patience without validation", TypeError, lambda: fit(patience=2)),
    ("patience of 0", ValueError, lambda: fit(patience=0, validation=0.5)),
    ("nothing held out", ValueError, lambda: fit(validation=0.0)),
    ("everything held out", ValueError, lambda: fit(validation=1.0)),
    ("more than everything held out", ValueError, lambda: fit(validation=2.0)),
    ("validation that is no data", TypeError, lambda: fit(validation=1)),
    ("data that is a pair", TypeError, lambda: fit((X, [0, 1]))),
    ("data that is text", TypeError, lambda: fit("abc")),
    ("data without labels", TypeError, lambda: fit(X)),
    ("a Dataset and labels", ValueError, lambda: Trainer(NET).fit(DATA, [0, 1], epochs=1)),
    ("batches that are no pairs", TypeError, lambda: fit([X, X])),
    ("a list of rows without labels", TypeError, lambda: fit(X.tolist())),
    ("no batches", ValueError, lambda: fit([])),
    ("an iterator for two epochs", TypeError, lambda: fit(iter([(X, [0, 1])]), epochs=2)),
    ("a fraction of batches", TypeError, lambda: fit([(X, [0, 1])], validation=0.5)),
    ("data to evaluate without labels", TypeError, lambda: Trainer(NET).evaluate(X)),
    ("data of the wrong width", ValueError, lambda: fit(eq.Dataset(np.zeros((4, 5)), np.arange(4) % 2))),
    ("data of too many classes", ValueError, lambda: fit(eq.Dataset(np.zeros((4, 3)), np.arange(4)))),
    ("no data", ValueError, lambda: fit(EMPTY)),
    ("no data to evaluate", ValueError, lambda: Trainer(NET).evaluate(EMPTY)),
    ("a step of unequal lengths", ValueError, lambda: Trainer(NET).step(X, [0])),
    ("x of one dimension to predict", ValueError, lambda: Trainer(NET).predict([1, 2, 3])),
    ("negative steps of a process", ValueError, lambda: verify.equivalence(NET, X, [0, 1], steps=-1)),
    ("fractional steps", TypeError, lambda: verify.equivalence(NET, X, [0, 1], steps=1.5)),
    ("a negative step size", ValueError, lambda: verify.equivalence(NET, X, [0, 1], step_size=-0.1)),
    ("a slope through one point", ValueError, lambda: verify.orders(NET, X, [0, 1], betas=[0.1, 0.1])),
    ("a slope over negative betas", ValueError, lambda: verify.orders(NET, X, [0, 1], betas=[-0.1, 0.1])),
    ("no finite differences", ValueError, lambda: verify.gradients(NET, X, [0, 1], max_differences=0)),
    ("an unknown integrator", ValueError, lambda: verify.equivalence(NET, X, [0, 1], integrator="rk4")),
    ("a complex nudging of the theorem", ValueError, lambda: circle()),
    ("a negative beta of a surrogate", ValueError, lambda: verify.surrogate(NET, X, [0, 1], beta=-0.1)),
    ("no steps in discrete time", ValueError, lambda: verify.discrete_time(NET, X, [0, 1], steps=0)),
    ("a negative time", ValueError, lambda: verify.projected_cost(NET, X, [0, 1], steps=[-1])),
    ("an asymmetric energy", ValueError, lambda: verify.asymmetry(Valley(), [[1.0, 2.0]], [[0.1, 0.2]])),
    ("claims that are none", ValueError, lambda: verify.certify(NET, X, [0, 1], claims=["truth"])),
    ("a certificate that is missing", FileNotFoundError, lambda: verify.replay("no-such-file")),
    ("a missing file", FileNotFoundError, lambda: eq.load("no-such-file")),
    ("a folder in place of a file", OSError, lambda: eq.load(Path(__file__).parent)),
    ("a file that is no network", ValueError, lambda: eq.load(__file__)),
    ("saving something else", TypeError, lambda: eq.save(Valley(), "never-written")),
    ("saving into nowhere", OSError, lambda: eq.save(NET, "/no-such-folder/model")),
    ("a plot without a trace", ValueError, lambda: eq.plotting.relaxation(FREE)),
]


def eqprop_of_valley(y: Any) -> Any:
    valley = Valley()
    return eq.equilibrium_propagation(valley, eq.free_phase(valley, [[1.0, 2.0]]), y)


def unrolled(free: Any) -> Any:
    return eq.backpropagation_through_time(NET, free, [0, 1])


def circle() -> Any:
    return verify.equivalence(NET, X, [0, 1], nudging=eq.holomorphic(0.1, 4))


def valley_by_blocks() -> Any:
    return eq.free_phase(Valley(), [[1.0, 2.0]], solver=eq.BlockUpdate())


@pytest.mark.parametrize(("kind", "call"), [pytest.param(k, c, id=n) for n, k, c in CASES])
def test_bad_input_is_refused_with_a_sentence(kind: type[Exception], call: Callable[[], Any]) -> None:
    threads = eq.num_threads()
    with pytest.raises(kind, match=RULE if issubclass(kind, (TypeError, ValueError)) else FAILURE):
        call()
    assert eq.num_threads() == threads


TRAIN = "train digits --layers 4 --epochs 1 --output {folder} "
COMMANDS = [
    TRAIN + "--layers -3",
    TRAIN + "--layers 10000000000",
    TRAIN + "--layers 100000000000000000000",
    TRAIN + "--threads 100000",
    TRAIN + "--threads 100000000000000",
    TRAIN + "--epochs 0",
    TRAIN + "--batch-size 0",
    TRAIN + "--beta 0",
    TRAIN + "--beta nan",
    TRAIN + "--beta 2",
    TRAIN + "--learning-rate -1",
    TRAIN + "--optimizer adam --learning-rate nan",
    TRAIN + "--momentum 1",
    TRAIN + "--seed -1",
    TRAIN + "--tolerance -1",
    TRAIN + "--max-iterations -1",
    TRAIN + "--validation 0.0",
    TRAIN + "--validation 1.0",
    TRAIN + "--validation 2",
    TRAIN + "--patience 2",
    TRAIN + "--output {file}",
    "train mnist --output {folder}",
    "train mnist --data-dir {folder} --output {folder}",
    TRAIN + "--overwrite --checkpoint-steps 0",
    TRAIN + "--checkpoint-seconds nan",
    "train {folder}/missing.csv --output {folder}/new",
    "train {file} --output {folder}/new",
    "train cifar --output {folder}/new",
    "train --resume {folder}",
    "train --resume {folder}/missing",
    "train --config {file}",
    "predict {model} digits",
    "predict {model} {file}",
    "evaluate {folder}/missing digits",
    "evaluate {file} digits",
    "evaluate {model} digits",
    "info {folder}/missing",
    "info {file}",
    "verify --layers 3",
    "verify --layers 3 0",
    "verify --steps -1",
    "verify --samples 0",
    "verify --samples -1",
    "verify --samples 1000000000000000",
    "verify --step-size 0",
    "verify --seed -1",
    "verify --model {folder}/missing",
]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_line_ends_with_2_and_the_sentence(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a model, but longer than a header")
    model = eq.save(NET, tmp_path / "model")
    words = [word.format(folder=tmp_path, file=tmp_path / "file", model=model) for word in line.split()]
    assert main(words) == 2
    program, _, message = capsys.readouterr().err.rpartition("error: ")
    assert program == f"equiprop {words[0]}: "
    assert FAILURE.match(message)


@pytest.mark.parametrize(
    "line",
    ["", "bogus", "train", "predict model", "train digits --activation swish", "train digits --layers x"],
)
def test_words_that_are_no_command_end_with_2_and_the_usage(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(line.split())
    assert end.value.code == 2
    assert "usage: equiprop" in capsys.readouterr().err


@pytest.mark.parametrize("feedback", ["tied", "separate"])
@pytest.mark.parametrize("clamp", ["clamp", "clamp_dual", "clamp_complex"])
@pytest.mark.parametrize("samples", [0, 1, 3])
def test_an_energy_refuses_states_of_another_number_of_samples(
    samples: int, clamp: str, feedback: str
) -> None:
    net = HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64", feedback=feedback)
    energy = getattr(net, clamp)(np.ones((2, 4)))
    good, bad = (np.zeros((n, 9), complex if clamp == "clamp_complex" else float) for n in (2, samples))
    names = ["gradient", "fixed_point_map", "mobility", "residual"]
    if feedback == "tied":
        names += ["energy", "parameter_gradient"]
    for name in names if hasattr(energy, "gradient") else []:
        getattr(energy, name)(good)
        with pytest.raises(ValueError, match=r"\[Energy\] A state has as many samples as the clamped input"):
            getattr(energy, name)(bad)
    for name in ("hessian_vector_product", "mixed_derivative_product") if hasattr(energy, "gradient") else ():
        for pair in ((good, bad), (bad, good), (bad, bad)):
            with pytest.raises(ValueError, match=r"\[Energy\] A state has as many samples"):
                getattr(energy, name)(*pair)
    if clamp == "clamp":
        with pytest.raises(ValueError, match=r"\[relax\] A state has as many samples"):
            net.core.relax(energy, eq.BlockUpdate().core, bad)


def test_derivatives_are_refused_at_states_of_another_number_of_samples() -> None:
    net = HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64", feedback="separate")
    with pytest.raises(ValueError, match="samples"):
        eq.verify.derivatives(net, np.ones((3, 4)), [0, 1, 2], state=np.zeros((2, 9)))
