"""A valid call of every public function, constructor and method, for the table of bad inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import torch
from equiprop import data, download, networks, optimizers, plotting, verify
from equiprop.estimator import EquilibriumClassifier, EquilibriumRegressor
from equiprop.torch import TorchEnergy, TorchVectorField
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

torch.func.vjp(torch.sin, torch.ones(1))  # the first call imports much of PyTorch

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
    return function, {"model": net(), "x": X, "y": LABELS, "cost": eq.SquaredError(), **more}


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
    one = trainer(batch_size=2)
    arguments = {
        "data": X,
        "y": LABELS,
        "epochs": 2,
        "sample_weight": WEIGHTS,
        "class_weight": {0: 1.0, 1: 2.0},
    }
    more = {"validation": 0.5, "patience": 2, "progress": False, "checkpoint": None, "scaling": "standardise"}
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


_IMAGES: dict[str, Any] = {"image": (1, 6, 6), "channels": [2], "outputs": 2}
_OPTIONS: dict[str, Any] = {"activation": "hard_sigmoid", "output_activation": "linear", "pooling": "max"}
_ESTIMATOR: dict[str, Any] = {
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
}

#: Results, which the library alone constructs.
RESULTS = {
    "AsymmetryReport",
    "BlackBoxReport",
    "BoundedReport",
    "Case",
    "Certificate",
    "DerivativesReport",
    "Diagnosis",
    "DiscreteTimeReport",
    "Epoch",
    "EquivalenceReport",
    "FixedPoint",
    "Gradient",
    "GradientRow",
    "GradientsReport",
    "LimitReport",
    "OrdersReport",
    "Problem",
    "Process",
    "ProjectedCostReport",
    "Replay",
    "Report",
    "Row",
    "Spectrum",
    "SurrogateReport",
    "Symmetry",
    "TracesReport",
    "UnconvergedReport",
    "Verdict",
}
#: Methods of interfaces between parts, which the library calls with objects and arrays that it has checked.
INTERFACES = {
    "BlackBox.trajectory",
    "Checkpoint.after_step",
    "Checkpoint.begin",
    "Checkpoint.write",
    "CrossEntropy.bind",
    "EquilibriumPropagation.cure",
    "EquilibriumPropagation.gradient",
    "EquilibriumPropagation.options",
    "FusedOptimizer.needs_rates",
    "FusedOptimizer.set_automatic",
    "FusedOptimizer.sink",
    "HopfieldNetwork.from_core",
    "LayerCosts.bind",
    "Outcome.report_failure",
    "RecurrentBackpropagation.cure",
    "RecurrentBackpropagation.gradient",
    "RecurrentBackpropagation.options",
    "Scaling.apply",
    "Scaling.check_features",
    "Solver.more_steps",
    "SquaredError.bind",
    "plotting.require_matplotlib",
    *(f"{kind}.change" for kind in ("BlockUpdate", "Euler", "FixedPointIteration")),
    *(f"{kind}.change" for kind in ("Linear", "Neumann", "Richardson")),
    *(f"{kind}.cure" for kind in ("GMRES", "Linear", "Relaxation")),
    *(f"{kind}.num_weights" for kind in ("Dense", "Identity", "_Images")),
    "_Images.size",
}
#: Methods of an own model, which its author defines, and their defaults, which call those of the author.
OF_THE_AUTHOR = {"Energy", "VectorField"}
#: Arguments that a call changes in place: only the array itself can be passed, in memory that can be changed.
IN_PLACE = {
    ("Adam.step", "parameters"),
    ("Adam.step", "gradient"),
    ("BlackBox", "parameters"),
    ("Energy", "parameters"),
    ("SGD.step", "parameters"),
    ("SGD.step", "gradient"),
    ("VectorField", "parameters"),
}
#: Inputs that are valid, and begin what takes a long time or leaves the machine.
UNBOUNDED = {
    *(
        (f"fetch_{name}", "mirror", "None")
        for name in ("cifar10", "cifar100", "fashion_mnist", "kmnist", "svhn")
    ),
    *(
        (f"fetch_{name}", "directory", "None")
        for name in ("cifar10", "cifar100", "fashion_mnist", "kmnist", "svhn")
    ),
    ("Trainer.fit", "epochs", "2^40"),
    ("EquilibriumClassifier", "max_iter", "2^40"),
    ("EquilibriumRegressor", "max_iter", "2^40"),
}

CALLS: dict[str, Callable[[Path], Call]] = {
    "Activation": construct(eq.Activation, kind="clip", gain=1.0, shift=0.0, lower=0.0, upper=1.0),
    "Activation.value": lambda _: (eq.activation("tanh").value, {"x": X}),
    "Activation.derivative": lambda _: (eq.activation("tanh").derivative, {"x": X}),
    "Activation.second_derivative": lambda _: (eq.activation("tanh").second_derivative, {"x": X}),
    "activation": construct(eq.activation, name="tanh"),
    "Adam": stepped(eq.Adam, learning_rate=0.01, beta1=0.9, beta2=0.99, epsilon=1e-8, weight_decay=0.1),
    "SGD": stepped(eq.SGD, learning_rate=0.01, momentum=0.5, weight_decay=0.1, nesterov=True),
    "Adam.step": lambda _: optimizer_step(eq.Adam()),
    "SGD.step": lambda _: optimizer_step(eq.SGD(momentum=0.5)),
    "BlockUpdate": solved(eq.BlockUpdate, anderson=1),
    "Euler": solved(eq.Euler, anderson=1, step_size=0.5),
    "FixedPointIteration": solved(eq.FixedPointIteration, anderson=1, damping=0.5),
    "ConjugateGradient": solved_side(eq.ConjugateGradient),
    "GMRES": solved_side(eq.GMRES, restart=10),
    "Neumann": solved_side(eq.Neumann),
    "Richardson": solved_side(eq.Richardson, step_size=0.5),
    "centered": nudged(eq.centered, beta=0.1),
    "one_sided": nudged(eq.one_sided, beta=0.1),
    "random_sign": nudged(eq.random_sign, beta=0.1, seed=1),
    "holomorphic": nudged(eq.holomorphic, radius=0.1, points=4),
    "Checkpoint": lambda to: (eq.Checkpoint, {"path": to / "new.safetensors", "steps": 5, "seconds": 1.0}),
    "Convolution": networked(eq.Convolution, mean_pool=2),
    "MaxPooled": networked(eq.MaxPooled, pool=2),
    "SoftPooled": networked(eq.SoftPooled, pool=2, sharpness=3.0),
    "Dense": coupled(eq.Dense),
    "Identity": coupled(eq.Identity, gain=0.5),
    "Layer": construct(layered, units=3, activation="tanh", name="first"),
    "CrossEntropy": construct(eq.CrossEntropy, logit_scale=2.0),
    "LayerCosts": construct(eq.LayerCosts, costs={2: eq.SquaredError()}, scales={2: 1.0}, targets={}),
    "Dataset": lambda _: (
        eq.Dataset,
        {"x": X, "y": LABELS, "scale": 0.5, "num_classes": 2, "sample_weight": WEIGHTS},
    ),
    "Dataset with classes": construct(eq.Dataset, x=X, y=LABELS, classes=np.array([0, 1, 2])),
    "Dataset.batch with draws": lambda _: (
        dataset().augmented(data.Augmentation((1, 1, 3), flip=True)).batch,
        {"indices": np.array([2, 0]), "dtype": "float32", "draws": np.arange(4, dtype=np.uint64)},
    ),
    "Dataset.augmented": lambda _: (
        dataset().augmented,
        {"augmentation": data.Augmentation((1, 1, 3), flip=True)},
    ),
    "Dataset.batch": lambda _: (dataset().batch, {"indices": np.array([2, 0]), "dtype": "float32"}),
    "Dataset.split": lambda _: (
        dataset().split,
        {"fraction": 0.5, "order": np.array([3, 1, 0, 2]), "seed": 1},
    ),
    "Dataset.take": lambda _: (dataset().take, {"indices": np.array([2, 0])}),
    "Dataset.with_classes": lambda _: (dataset().with_classes, {"classes": np.array([0, 1, 2])}),
    "Dataset.with_sample_weight": lambda _: (dataset().with_sample_weight, {"sample_weight": WEIGHTS}),
    "Dataset.with_scale": lambda _: (dataset().with_scale, {"scale": 0.5}),
    "Augmentation": construct(data.Augmentation, shape=(1, 2, 3), padding=1, flip=True, fill="edge"),
    "Augmentation.draws": lambda _: (
        data.Augmentation((1, 2, 3), 1).draws,
        {"count": 4, "seed": 1, "epoch": 1},
    ),
    "OwnModel.as_input": lambda _: (partial(Decay(3, 1, np.ones(3), 3).as_input, where="test"), {"x": X}),
    "OwnModel.block_views": lambda _: (Decay(3, 1, np.ones(3), 3).block_views, {"flat": np.arange(3.0)}),
    "OwnModel.initial_state": lambda _: (Decay(3, 1, np.ones(3), 3).initial_state, {"batch": 2}),
    "OwnModel.clamp": lambda _: (Decay(3, 1, np.ones(3), 3).clamp, {"x": X}),
    "OwnModel.clamp_complex": lambda _: (Decay(3, 1, np.ones(3), 3).clamp_complex, {"x": X}),
    "OwnModel.clamp_dual": lambda _: (Decay(3, 1, np.ones(3), 3).clamp_dual, {"x": X}),
    "VectorField": construct(
        lambda **a: eq.free_phase(Decay(**a), X).state,
        num_units=3,
        num_outputs=1,
        parameters=np.ones(3),
        num_inputs=3,
    ),
    "Energy": construct(
        lambda **a: eq.free_phase(Quadratic(**a), X).state,
        num_units=3,
        num_outputs=2,
        parameters=np.ones(3),
        num_inputs=3,
    ),
    "EquilibriumPropagation": construct(
        lambda **a: trainer(second_phase=eq.EquilibriumPropagation(**a)).step(X, LABELS),
        nudging=eq.centered(0.1),
        solver=eq.FixedPointIteration(damping=0.5),
        symmetrize=False,
    ),
    "RecurrentBackpropagation": construct(
        lambda **a: trainer(second_phase=eq.RecurrentBackpropagation(**a)).step(X, LABELS),
        linear_solver=eq.GMRES(),
    ),
    "HopfieldNetwork": construct(
        eq.HopfieldNetwork,
        sizes=[3, 4, 2],
        activation="tanh",
        output_activation="linear",
        potential="legendre",
        feedback="tied",
        dtype="float64",
        image_format="channels_first",
        seed=1,
        gain=0.5,
    ),
    "HopfieldNetwork of a graph": construct(
        eq.HopfieldNetwork,
        layers=[eq.Layer(3), eq.Layer(4), eq.Layer(2)],
        couplings=[eq.Dense(0, 1), eq.Dense(1, 2)],
    ),
    "HopfieldNetwork.as_input": lambda _: (partial(net().as_input, where="test"), {"x": X}),
    "HopfieldNetwork.flat": lambda _: (partial(net().flat, where="test"), {"x": X}),
    "HopfieldNetwork.astype": lambda _: (net().astype, {"dtype": "float32"}),
    "HopfieldNetwork.block_views": lambda _: (net().block_views, {"flat": np.arange(26.0)}),
    "HopfieldNetwork.clamp": lambda _: (net().clamp, {"x": X}),
    "HopfieldNetwork.clamp_complex": lambda _: (net().clamp_complex, {"x": X}),
    "HopfieldNetwork.clamp_dual": lambda _: (net().clamp_dual, {"x": X}),
    "HopfieldNetwork.initial_state": lambda _: (net().initial_state, {"batch": 2}),
    "HopfieldNetwork.initialize": lambda _: (net().initialize, {"seed": 1, "gain": 0.4}),
    "HopfieldNetwork.to": lambda _: (net().to, {"device": "cpu"}),
    "HopfieldNetwork.variant": lambda _: (
        net().variant,
        {"potential": "quadratic", "feedback": "separate", "dtype": "float32"},
    ),
    "Scaling": lambda _: (
        lambda **a: eq.Scaling(**a)(X),
        {"offset": np.arange(3.0), "factor": np.ones(3) / 2},
    ),
    "Scaling.by": construct(eq.Scaling.by, factor=0.5),
    "Scaling.by_channel": construct(
        eq.Scaling.by_channel, shape=(1, 2, 3), mean=np.array([0.5]), std=np.array([2.0]), factor=0.5
    ),
    "Scaling.min_max": lambda _: (eq.Scaling.min_max, {"x": X}),
    "Scaling.standardise": lambda _: (eq.Scaling.standardise, {"x": X, "sample_weight": WEIGHTS}),
    "Trainer": construct(
        lambda **a: eq.Trainer(**a).step(X, LABELS),
        model=net(),
        second_phase=eq.EquilibriumPropagation(),
        optimizer=eq.SGD(),
        cost=eq.SquaredError(),
        solver=eq.BlockUpdate(),
        schedule=optimizers.cosine(),
        batch_size=2,
        seed=1,
        callbacks=(),
        clip=3.0,
        coupling_norm=2.0,
        averaging=0.9,
        step_callbacks=(),
        free_start="last",
    ),
    "Trainer.fit": lambda _: fit(),
    "Trainer.step": lambda _: step(),
    "Trainer.resume": lambda to: (eq.Trainer.resume, {"path": unfinished(to)}),
    "Starter.prepare": lambda _: (trainer().prepare, {"data": X, "y": LABELS, "scaling": "min_max"}),
    "Predictor.evaluate": lambda _: (trained().evaluate, {"data": X, "y": LABELS, "sample_weight": WEIGHTS}),
    "Predictor.predict": lambda _: (trained().predict, {"x": X, "scale": 0.5}),
    "Predictor.predict_classes": lambda _: (trained().predict_classes, {"x": X, "scale": 0.5}),
    "Predictor.predict_proba": lambda _: (
        trained(cost=eq.CrossEntropy()).predict_proba,
        {"x": X, "scale": 0.5},
    ),
    "Explainer.explain": lambda _: (trained().explain, {"data": X, "y": LABELS}),
    "free_phase": lambda _: (
        eq.free_phase,
        {
            "model": net(),
            "x": X,
            "solver": eq.Euler(),
            "initial": STATE,
            "trace": True,
            "record": True,
            "on_failure": "warn",
        },
    ),
    "backpropagation_through_time": lambda _: phase(eq.backpropagation_through_time, cost=eq.SquaredError()),
    "equilibrium_propagation": lambda _: phase(
        eq.equilibrium_propagation,
        cost=eq.CrossEntropy(),
        nudging=eq.centered(0.1),
        solver=eq.FixedPointIteration(damping=0.5),
        symmetrize=False,
        step=1,
        on_failure="warn",
    ),
    "recurrent_backpropagation": lambda _: phase(
        eq.recurrent_backpropagation, cost=eq.SquaredError(), linear_solver=eq.GMRES(), on_failure="warn"
    ),
    "load": lambda to: (eq.load, {"path": saved(to)}),
    "save": lambda to: (eq.save, {"thing": net(), "path": to / "written.safetensors"}),
    "set_num_threads": construct(eq.set_num_threads, count=1),
    "load_cifar10": lambda to: (eq.load_cifar10, {"directory": written(to, "cifar10")}),
    "load_cifar100": lambda to: (eq.load_cifar100, {"directory": written(to, "cifar100")}),
    "load_fashion_mnist": lambda to: (eq.load_fashion_mnist, {"directory": written(to, "mnist")}),
    "load_kmnist": lambda to: (eq.load_kmnist, {"directory": written(to, "mnist")}),
    "load_mnist": lambda to: (eq.load_mnist, {"directory": written(to, "mnist")}),
    "load_svhn": lambda to: (eq.load_svhn, {"directory": written(to, "svhn")}),
    "load_image_set": lambda to: (data.load_image_set, {"name": "mnist", "directory": written(to, "mnist")}),
    "read_idx": lambda to: (data.read_idx, {"path": written(to, "mnist") / "t10k-images-idx3-ubyte"}),
    "Source": construct(download.Source, mirror=NOWHERE, md5={"a": "0"}),
    "EquilibriumClassifier": lambda _: fit_of(
        EquilibriumClassifier, LABELS, **_ESTIMATOR, class_weight={0: 1.0, 1: 2.0}
    ),
    "EquilibriumRegressor": lambda _: fit_of(EquilibriumRegressor, X[:, 0], **_ESTIMATOR),
    "EquilibriumEstimator.fit": lambda _: (
        EquilibriumClassifier(max_iter=1, random_state=0).fit,
        {"X": X, "y": LABELS, "sample_weight": WEIGHTS},
    ),
    "EquilibriumClassifier.partial_fit": lambda _: (
        EquilibriumClassifier(random_state=0).partial_fit,
        {"X": X, "y": LABELS, "classes": np.array([0, 1]), "sample_weight": WEIGHTS},
    ),
    "EquilibriumRegressor.partial_fit": lambda _: (
        EquilibriumRegressor(random_state=0).partial_fit,
        {"X": X, "y": TARGETS, "sample_weight": WEIGHTS},
    ),
    "EquilibriumClassifier.predict": lambda _: (estimator(EquilibriumClassifier, LABELS).predict, {"X": X}),
    "EquilibriumClassifier.predict_proba": lambda _: (
        estimator(EquilibriumClassifier, LABELS).predict_proba,
        {"X": X},
    ),
    "EquilibriumRegressor.predict": lambda _: (estimator(EquilibriumRegressor, TARGETS).predict, {"X": X}),
    "chain_of_images": construct(
        networks.chain_of_images, **_IMAGES, **_OPTIONS, kernel=3, padding=1, pool=2
    ),
    "convolutional28": construct(networks.convolutional28, pooling="max"),
    "dchn32": construct(networks.dchn32, pooling="max", outputs=3),
    "dense": construct(networks.dense, sizes=[3, 4, 2]),
    "hopfield_resnet": construct(
        networks.hopfield_resnet,
        image=(1, 16, 16),
        channels=(2, 2, 2, 2),
        outputs=2,
        identity_gain=0.5,
        **_OPTIONS,
    ),
    "vgg5": construct(networks.vgg5, outputs=3),
    "cosine": scheduled(optimizers.cosine, final=0.1),
    "cosine_restarts": scheduled(optimizers.cosine_restarts, cycles=3, growth=2.0, final=0.1),
    "exponential": scheduled(optimizers.exponential, final=0.1),
    "warm_up": scheduled(optimizers.warm_up, part=0.1, then=optimizers.cosine(), start=0.1),
    "plotting.graph": lambda _: (plotting.graph, {"net": net(), "axes": axes()}),
    "plotting.learning_curve": lambda _: (
        plotting.learning_curve,
        {"history": trained().history, "axes": axes()},
    ),
    "plotting.margins": lambda _: (plotting.margins, {"verdict": equivalence(), "axes": axes()}),
    "plotting.orders": lambda _: (
        plotting.orders,
        {"report": bias(), "axes": axes()},
    ),
    "plotting.relaxation": lambda _: (plotting.relaxation, {"free": free(trace=True), "axes": axes()}),
    "plotting.save": lambda to: (plotting.save, {"axes": axes(), "path": to / "picture.png"}),
    "plotting.step_errors": lambda _: (plotting.step_errors, {"report": equivalence(), "axes": axes()}),
    "plotting.theorem": lambda _: (plotting.theorem, {"report": equivalence(), "units": 3, "axes": axes()}),
    "TorchEnergy": construct(
        lambda **a: eq.free_phase(TorchEnergy(**a), X).state,
        function=lambda x, s, p: ((s - x * total(p)) ** 2).sum(dim=1),
        num_units=3,
        num_outputs=2,
        params={"w": torch.ones(3)},
        num_inputs=3,
    ),
    "TorchVectorField": construct(
        lambda **a: eq.free_phase(TorchVectorField(**a), X).state,
        function=lambda x, s, p: x * total(p) - s,
        num_units=3,
        num_outputs=2,
        params={"w": torch.ones(3)},
        num_inputs=3,
    ),
    "_TorchModel.block_views": lambda _: (torch_energy().block_views, {"flat": np.arange(3.0)}),
    **{
        f"TorchEnergy.{name}": (lambda _, name=name, arrays=arrays: own(torch_energy(), name, *arrays))
        for name, arrays in {
            "energy": "xs",
            "gradient": "xs",
            "parameter_gradient": "xs",
            "hessian_vector_product": "xsv",
            "mixed_derivative_product": "xsv",
        }.items()
    },
    **{
        f"TorchVectorField.{name}": (lambda _, name=name, arrays=arrays: own(torch_field(), name, *arrays))
        for name, arrays in {
            "velocity": "xs",
            "jacobian_vector_product": "xsv",
            "vector_jacobian_product": "xsv",
            "parameter_vector_product": "xsv",
        }.items()
    },
    "Verdict.plot": lambda _: (equivalence_of(verify.limit).plot, {"axes": axes()}),
    "Verdict.save": lambda to: (equivalence().save, {"path": to / "verdict.json"}),
    "EquivalenceReport.most_active": lambda _: (equivalence().most_active, {"count": 2}),
    "EquivalenceReport.plot": lambda _: (equivalence().plot, {"axes": axes(), "units": 3}),
    "Certificate.save": lambda to: (
        verify.certify(net(), X, LABELS, claims=["equality"]).save,
        {"path": to / "certificate.json"},
    ),
    "BlackBox": construct(
        lambda **a: verify.black_box(verify.BlackBox(**a), X, TARGETS),
        relax=box().relax,
        contrast=box().contrast,
        parameters=np.ones(3),
        num_outputs=2,
        parameters_changed=lambda _: None,
        block_slices={"w": slice(0, 3)},
    ),
    "Problem.bind": lambda _: (problem().bind, {"y": LABELS}),
    "Problem.difference_step": lambda _: (problem().difference_step, {"betas": (0.0, 0.1)}),
    "Problem.nudged": lambda _: (
        problem().nudged,
        {"nudging": eq.centered(0.1), "solver": eq.FixedPointIteration(damping=0.5), "symmetrize": False},
    ),
    "Problem.nudged_solver": lambda _: (problem().nudged_solver, {"symmetrize": True}),
    "Problem.objective": lambda _: (problem().objective, {"state": STATE}),
    "Problem.step_size": lambda _: (problem().step_size, {"wanted": 0.1}),
    "Row.text": lambda _: (verify.Row("a", 1.0, 0.0, 2.0).text, {"width": 10}),
    "Spectrum.rate": lambda _: (verify.diagnose(free()).spectrum.rate, {"step": 0.5}),
    "verify.asymmetry": lambda _: claim(verify.asymmetry, deltas=(0.001, 0.01), seed=1, solver=eq.Euler()),
    "verify.black_box": lambda _: (
        verify.black_box,
        {
            "box": box(),
            "x": X,
            "y": TARGETS,
            "beta": 0.1,
            "step": 0.001,
            "cost": eq.SquaredError(),
            "tolerance": 1e-5,
            "max_differences": 3,
        },
    ),
    "verify.bounded": lambda _: claim(verify.bounded, betas=(0.01, 0.1), solver=eq.BlockUpdate()),
    "verify.certify": lambda _: claim(
        verify.certify, claims=("equality",), solver=eq.Euler(), progress=False
    ),
    "verify.derivatives": lambda _: claim(verify.derivatives, state=STATE, max_parameters=20, seed=1),
    "verify.diagnose": lambda _: (verify.diagnose, {"free": free()}),
    "verify.discrete_time": lambda _: claim(verify.discrete_time, steps=20, solver=eq.Euler()),
    "verify.equivalence": lambda _: claim(
        verify.equivalence,
        steps=20,
        step_size=0.1,
        integrator="euler",
        nudging=eq.exact_limit(),
        symmetrize=False,
        solver=eq.Euler(),
        tolerance=1e-6,
    ),
    "verify.finite_differences": lambda _: (
        verify.finite_differences,
        {"problem": problem(), "chosen": np.array([0, 3]), "step": 1e-5},
    ),
    "verify.gradients": lambda _: claim(
        verify.gradients,
        betas=(0.1, 0.01),
        linear_solvers=[eq.GMRES()],
        solver=eq.Euler(),
        max_differences=20,
    ),
    "verify.implicit_gradient": lambda _: (verify.implicit_gradient, {"problem": problem()}),
    "verify.limit": lambda _: claim(verify.limit, symmetrize=False, solver=eq.Euler()),
    "verify.orders": lambda _: claim(verify.orders, betas=(0.2, 0.1, 0.05), points=(2, 4), solver=eq.Euler()),
    "verify.prepare": lambda _: claim(lambda **a: verify.prepare("test", **a), solver=eq.Euler()),
    "verify.projected_cost": lambda _: claim(
        verify.projected_cost, steps=(0, 5), solver=eq.Euler(), max_differences=3
    ),
    "verify.replay": lambda to: (verify.replay, {"path": replayable(to)}),
    "verify.surrogate": lambda _: claim(verify.surrogate, beta=0.1, solver=eq.Euler(), max_differences=3),
    "verify.traces": lambda _: recorded(noise=1e-6, significance=0.01),
    "verify.traces with a tolerance": lambda _: recorded(tolerance=0.1),
    "verify.unconverged": lambda _: claim(verify.unconverged, steps=(10, 20), beta=0.001, solver=eq.Euler()),
}


def fetched(name: str) -> Callable[[Path], Call]:
    """Return a call of a download from an address without a server."""
    fetch = getattr(download, f"fetch_{name}")
    return lambda to: (fetch, {"directory": to / "fetched", "mirror": NOWHERE, "timeout": 0.5})


CALLS |= {
    f"fetch_{name}": fetched(name)
    for name in ("cifar10", "cifar100", "fashion_mnist", "kmnist", "mnist", "svhn")
}


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
