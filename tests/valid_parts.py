"""Objects and helpers of the valid calls in `valid_calls` and `valid_checks`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import torch
from equiprop import download, networks, verify
from equiprop.processes import Alone
from equiprop.torch import FixedPointLayer, TorchEnergy, TorchVectorField
from idx_files import write_mnist
from image_files import LAYOUTS, write_cifar, write_svhn
from networks import chain

X = np.linspace(0.1, 0.9, 12).reshape(4, 3)
LABELS = np.array([0, 1, 1, 0])
TARGETS = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
WEIGHTS = np.array([1.0, 2.0, 0.5, 0.5])
STATE = np.full((4, 6), 0.2)
V = np.linspace(-1, 1, 24).reshape(4, 6)
NOWHERE = "http://127.0.0.1:9/"

torch.func.grad(torch.sin)(torch.ones(()))  # the first call imports much of PyTorch, which takes seconds

#: A call: the function, and its arguments by name.
Call = tuple[Callable[..., Any], dict[str, Any]]


class Quadratic(eq.Energy):
    """E = |s - sum theta|^2 / 2."""

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return ((s - self.parameters.sum()) ** 2).sum(axis=1) / 2

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return s - self.parameters.sum()


class Decay(eq.VectorField):
    """ds/dt = x - (1 + sum theta / 10) s."""

    def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return x - (1 + self.parameters.sum() / 10) * s


def net(dtype: str = "float64") -> eq.HopfieldNetwork:
    return chain(3, 4, 2, dtype=dtype)


def dataset() -> eq.Dataset:
    return eq.Dataset(X, LABELS)


def trainer(**options: Any) -> eq.Trainer:
    return eq.Trainer(net(), **options)


@cache
def trained(**options: Any) -> eq.Trainer:
    one = trainer(batch_size=2, **options)
    one.fit(dataset(), epochs=1)
    return one


def free(**options: Any) -> eq.FixedPoint:
    return eq.free_phase(net(), X, **options)


@cache
def problem() -> verify.Problem:
    return verify.prepare("test", net(), X, LABELS, eq.SquaredError(), None)


def torch_energy() -> TorchEnergy:
    def energy(x: Any, s: Any, params: Any) -> Any:
        return (s**2 / 2 - torch.log(torch.cosh(s * params["w"] + x))).sum(dim=1)

    return TorchEnergy(energy, 3, 2, {"w": torch.tensor([0.1, 0.2, 0.3])}, num_inputs=3)


def torch_field() -> TorchVectorField:
    return TorchVectorField(lambda x, s, p: x - p["a"] * s, 3, 2, {"a": torch.tensor([1.0, 2.0, 3.0])}, 3)


def layer() -> FixedPointLayer:
    return FixedPointLayer(net())


def linear() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(3, 2)


def total(params: Any) -> Any:
    return sum(tensor.sum() for tensor in params.values())


def own(model: Any, name: str, *arrays: str) -> Call:
    at = np.full((4, 3), 0.2)
    given = {"x": X, "s": at, "v": at - 0.5}
    return getattr(model, name), {key: given[key] for key in arrays}


def phase(function: Callable[..., Any], **more: Any) -> Call:
    model = net()
    record = function is eq.backpropagation_through_time
    solver = eq.Euler(tolerance=0, max_iterations=100) if record else None
    found = eq.free_phase(model, X, record=record, solver=solver)
    return function, {"model": model, "free": found, "y": LABELS, "sample_weight": WEIGHTS, **more}


def claim(function: Callable[..., Any], **more: Any) -> Call:
    """Return a call of a claim; one that has a limit of time gets one."""
    timed = {"time_limit": 60.0, "progress": False} if has_limit(function) else {}
    return function, {"model": net(), "x": X, "y": LABELS, "cost": eq.SquaredError(), **timed, **more}


def has_limit(function: Callable[..., Any]) -> bool:
    return "time_limit" in inspect.signature(function).parameters


def images() -> eq.HopfieldNetwork:
    return networks.chain_of_images((1, 6, 6), [2], 2, kernel=3, dtype="float64")


def kept(one: eq.Trainer, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call with the trainer that it changes as the result."""

    def both(*arguments: Any, **options: Any) -> Any:
        return call(*arguments, **options), one

    return both


def step() -> Call:
    one = trainer()
    return kept(one, one.step), {"x": X, "y": LABELS, "sample_weight": WEIGHTS, "progress": 0.5}


def fit() -> Call:
    one = trainer(batch_size=2, shards=2)
    arguments = {
        "data": X,
        "y": LABELS,
        "epochs": 2,
        "sample_weight": WEIGHTS,
        "class_weight": {0: 1.0, 1: 2.0},
    }
    more = {"validation": 0.5, "patience": 2, "progress": False, "checkpoint": None, "scaling": "standardise"}
    more |= {"group": Alone()}
    return kept(one, one.fit), {**arguments, **more}


def fit_of(kind: type[Any], y: np.ndarray, **constructor: Any) -> Call:
    def construct(**options: Any) -> Any:
        return kind(**{"max_iter": 1, **options}).fit(np.tile(X, (5, 1)), np.tile(y, 5)).network_

    return construct, constructor


def estimator(kind: type[Any], y: np.ndarray) -> Any:
    return kind(hidden_layer_sizes=(4,), max_iter=1, random_state=0).fit(X, y)


def optimizer_step(optimizer: Any) -> Call:
    def step(**arguments: Any) -> Any:
        parameters = arguments["parameters"]
        optimizer.step(**arguments)
        return np.array(parameters, dtype=float)

    blocks = {"W": slice(0, 4), "b": slice(4, 6)}
    given = {
        "parameters": np.linspace(0, 1, 6),
        "gradient": np.linspace(1, 2, 6),
        "blocks": blocks,
        "factor": 1.0,
    }
    return step, given


def box() -> verify.BlackBox:
    scale = np.array([1.0, 1.0, 1.0])

    def relax(x: np.ndarray, beta: float, y: np.ndarray) -> np.ndarray:
        y = np.eye(2)[y.astype(int)] if y.ndim == 1 else y
        with np.errstate(all="ignore"):
            fixed = np.resize(x, (len(x), 3)) * scale
            fixed[:, 1:] = (fixed[:, 1:] + beta * y) / (1 + beta)
        return np.stack([fixed * 0, fixed, fixed])

    def contrast(x: np.ndarray, s: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return -(np.resize(x, s.shape) * s).sum(axis=0)

    return verify.BlackBox(relax, contrast, scale, 2)


def written(folder: Path, name: str) -> Path:
    target = folder / f"files-of-{name}"
    if not target.exists():
        target.mkdir()
        writers: dict[str, Callable[[Path], Any]] = {"mnist": write_mnist, "svhn": write_svhn}
        writers.get(name, lambda to: write_cifar(to, LAYOUTS[name]))(target)
    return target


def replayable(folder: Path) -> Path:
    path = folder / "report.json"
    if not path.exists():
        verify.certify(net(), X, LABELS, claims=["equality"]).save(path)
    return path


def saved(folder: Path) -> Path:
    return eq.save(net(), folder / "model.safetensors")


def unfinished(folder: Path) -> Path:
    path = folder / "unfinished.safetensors"
    one = trainer(batch_size=2, step_callbacks=[lambda t, _: t.steps == 2 and eq.save(t, path) and None])
    one.fit(dataset(), epochs=2, checkpoint=eq.Checkpoint(folder / "other.safetensors", steps=1))
    return path


def construct(function: Callable[..., Any], /, **arguments: Any) -> Callable[[Path], Call]:
    return lambda _: (function, arguments)


def solved(kind: Callable[..., Any], **arguments: Any) -> Callable[[Path], Call]:
    """Return a call that makes a solver of a free phase, and uses it."""
    given = {"tolerance": 1e-8, "max_iterations": 2000, **arguments}
    return lambda _: (lambda **a: eq.free_phase(net(), X, solver=kind(**a)), given)


def solved_side(kind: Callable[..., Any], **arguments: Any) -> Callable[[Path], Call]:
    """Return a call that makes a solver of a side network, and uses it."""
    given = {"tolerance": 1e-8, "max_iterations": 2000, **arguments}

    def use(**a: Any) -> Any:
        model = net()
        found = eq.free_phase(model, X)
        return eq.recurrent_backpropagation(model, found, LABELS, linear_solver=kind(**a))

    return lambda _: (use, given)


def nudged(kind: Callable[..., Any], **arguments: Any) -> Callable[[Path], Call]:
    """Return a call that makes a nudging, and uses it."""

    def use(**a: Any) -> Any:
        model = net()
        return eq.equilibrium_propagation(model, eq.free_phase(model, X), LABELS, nudging=kind(**a))

    return lambda _: (use, arguments)


def stepped(kind: Callable[..., Any], **arguments: Any) -> Callable[[Path], Call]:
    """Return a call that makes an optimizer, and takes one step with it."""

    def use(**a: Any) -> Any:
        one = trainer(optimizer=kind(**a))
        return one.step(X, LABELS), one

    return lambda _: (use, arguments)


def scheduled(kind: Callable[..., Any], **arguments: Any) -> Callable[[Path], Call]:
    """Return a call that makes a schedule, and evaluates it."""
    return lambda _: (lambda **a: [kind(**a)(p) for p in (0.0, 0.5, 1.0)], arguments)


def networked(kind: Callable[..., Any], **arguments: Any) -> Callable[[Path], Call]:
    """Return a call that makes a coupling of images, and a network with it."""
    pair: dict[str, Any] = {"source": 0, "target": 1, "kernel": 3, "stride": 1, "padding": 1, "dilation": 1}

    def use(**a: Any) -> Any:
        layers = [eq.Layer((1, 6, 6)), eq.Layer((2, 3, 3)), eq.Layer(2)]
        return eq.HopfieldNetwork(layers=layers, couplings=[kind(**a), eq.Dense(1, 2)])

    return lambda _: (use, {**pair, "groups": 1, **arguments})


def coupled(kind: Callable[..., Any], **arguments: Any) -> Callable[[Path], Call]:
    """Return a call that makes a coupling of vectors, and a network with it."""

    def use(**a: Any) -> Any:
        return eq.HopfieldNetwork(
            layers=[eq.Layer(3), eq.Layer(3), eq.Layer(3)], couplings=[kind(**a), eq.Dense(1, 2)]
        )

    return lambda _: (use, {"source": 0, "target": 1, **arguments})


def layered(**a: Any) -> Any:
    return eq.HopfieldNetwork(layers=[eq.Layer(**a), eq.Layer(2)], couplings=[eq.Dense(0, 1)])


IMAGES: dict[str, Any] = {"image": (1, 6, 6), "channels": [2], "outputs": 2}
OPTIONS: dict[str, Any] = {"activation": "hard_sigmoid", "output_activation": "linear", "pooling": "max"}
ESTIMATOR: dict[str, Any] = {
    "hidden_layer_sizes": (4,),
    "activation": "tanh",
    "second_phase": "eqprop",
    "alpha": 0.05,
    "batch_size": 5,
    "learning_rate": 0.01,
    "max_iter": 2,
    "standardize": True,
    "early_stopping": True,
    "validation_fraction": 0.4,
    "n_iter_no_change": 3,
    "warm_start": False,
    "random_state": 1,
    "verbose": False,
    "device": "cpu",
}


def fetched(name: str) -> Callable[[Path], Call]:
    """Return a call of a download from an address without a server."""
    fetch = getattr(download, f"fetch_{name}")
    return lambda to: (fetch, {"directory": to / "fetched", "mirror": NOWHERE, "timeout": 0.5})


def numbers(_: Any) -> dict[str, float]:
    return {"own": 0.5}


def logged(logger: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that constructs a logger, and trains with it."""

    def train(**arguments: Any) -> Any:
        return trainer(callbacks=[logger(**arguments)]).fit(X, LABELS, epochs=1)

    return train


def axes() -> Any:
    import matplotlib.figure

    return matplotlib.figure.Figure().add_subplot()


@cache
def equivalence() -> verify.EquivalenceReport:
    return verify.equivalence(net(), X, LABELS, steps=5)


@cache
def bias() -> verify.OrdersReport:
    return verify.orders(net(), X, LABELS, betas=(0.2, 0.1))


@cache
def equivalence_of(function: Callable[..., Any]) -> Any:
    return function(net(), X, LABELS)


def recorded(**limits: float) -> Call:
    """Return a check of a recording that stays at rest."""
    rest = np.repeat(problem().state[None], 30, axis=0)
    return claim(verify.traces, solver=eq.Euler(), trajectories={0.1: rest}, step_size=0.1, **limits)
