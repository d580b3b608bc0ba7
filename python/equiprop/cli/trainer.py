"""Command-line options of a `Trainer`, and the construction of the `Trainer` from them."""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from equiprop.activations import ACTIVATIONS
from equiprop.checkpoint import load
from equiprop.checks import enough_memory
from equiprop.cli.data import default_text, defaults_of
from equiprop.cli.options import COSTS, Condition, Options
from equiprop.cost_defaults import training_beta, training_cost
from equiprop.costs import Cost
from equiprop.dataset import Dataset
from equiprop.devices import PRODUCT_PRECISIONS
from equiprop.linear_solvers import GMRES, ConjugateGradient, LinearSolver, Neumann, Richardson
from equiprop.models import HopfieldNetwork
from equiprop.nudging import Nudging, centered, exact_limit, one_sided, random_sign
from equiprop.optimizers import SGD, Adam, Optimizer, Schedule, constant, cosine, cosine_restarts, warm_up
from equiprop.second_phase import EquilibriumPropagation, RecurrentBackpropagation, SecondPhase
from equiprop.solvers import BlockUpdate, Euler, FixedPointIteration, FreeSolver, training_solver
from equiprop.training import Trainer

_SOLVERS: dict[str, type[FreeSolver]] = {
    "block": BlockUpdate,
    "fixed-point": FixedPointIteration,
    "euler": Euler,
}
_LINEAR: dict[str, type[LinearSolver]] = {
    "cg": ConjugateGradient,
    "gmres": GMRES,
    "richardson": Richardson,
    "neumann": Neumann,
}
_NUDGINGS = ["centered", "one_sided", "random_sign", "exact"]
_EQPROP = Condition("with --second-phase eqprop", lambda o: o.second_phase == "eqprop")
_RBP = Condition("with --second-phase rbp", lambda o: o.second_phase == "rbp")
_FINITE_BETA = Condition("with a --nudging other than exact", lambda o: o.nudging != "exact")
_SGD = Condition("with --optimizer sgd", lambda o: o.optimizer == "sgd")
_RESTARTS = Condition("with --schedule restarts", lambda o: o.schedule == "restarts")
_DEVICE = Condition("with --device cuda", lambda o: o.device == "cuda")
_VALIDATION = Condition("with --validation", lambda o: o.validation is not None)


def add_trainer(options: Options) -> None:
    """Declare the options of network, phases and optimization."""
    _add_network(options)
    _add_phases(options)
    _add_optimization(options)


def _add_network(options: Options) -> None:
    options.section("network")
    sizes = default_text(lambda defaults: " ".join(map(str, defaults.hidden)))
    options.add(
        "--layers",
        type=int,
        nargs="+",
        metavar="UNITS",
        help=f"units of each hidden layer (default: {sizes})",
    )
    words: dict[str, Any] = {"choices": sorted(ACTIVATIONS)}
    options.add("--activation", default="hard_sigmoid", **words, help="activation of the hidden layers")
    options.add("--output-activation", default="linear", **words, help="activation of the output layer")
    options.add(
        "--potential",
        default="legendre",
        choices=["legendre", "quadratic"],
        help="Legendre potential of the activation, or quadratic leak",
    )
    options.add(
        "--dtype",
        default="float32",
        choices=["float32", "float64"],
        help="precision of parameters and states",
    )
    add_device(options)


def add_device(options: Options) -> None:
    """Declare the options of the device."""
    options.add(
        "--device",
        default="cpu",
        choices=["cpu", "cuda"],
        help="device on which phases run; cuda needs the package equiprop-cuda and an NVIDIA GPU",
    )
    options.add(
        "--precision",
        _DEVICE,
        default="exact",
        choices=PRODUCT_PRECISIONS,
        help="rounding of the factors of the large products of a network in float32",
    )


def _add_phases(options: Options) -> None:
    options.section("phases")
    options.add(
        "--second-phase",
        default="eqprop",
        choices=["eqprop", "rbp"],
        help="method that computes the gradient",
    )
    options.add(
        "--nudging",
        _EQPROP,
        default="centered",
        choices=_NUDGINGS,
        help="rule for the values of beta in the nudged phases",
    )
    options.add(
        "--beta",
        _EQPROP,
        _FINITE_BETA,
        type=float,
        help="nudging factor (default: 1/4, divided by the outputs' slope and by a^2 of a logit scale a)",
    )
    options.add(
        "--linear-solver",
        _RBP,
        default="cg",
        choices=sorted(_LINEAR),
        help="solver of the linear side network",
    )
    options.add(
        "--free-start",
        default="rest",
        choices=["rest", "last"],
        help="start of the free phase of a sample; last: its free state in the epoch before",
    )
    options.add("--cost", default="squared-error", choices=sorted(COSTS), help="cost that training minimises")
    add_solver(options)


def add_solver(options: Options) -> None:
    """Declare the options of the solver of phases."""
    options.add(
        "--solver",
        choices=sorted(_SOLVERS),
        help="solver of free and nudged phases (default: block if the network supports it, else fixed-point)",
    )
    options.add(
        "--tolerance",
        type=float,
        help="largest residual of a converged phase; with 0 every phase takes --max-iterations steps",
    )
    options.add("--max-iterations", type=int, help="largest number of steps of each phase")


def _add_optimization(options: Options) -> None:
    options.section("optimization")
    epochs = default_text(lambda defaults: str(defaults.epochs))
    options.add("--epochs", type=int, help=f"passes over the training data (default: {epochs})")
    options.add("--batch-size", default=50, type=int, help="samples per step")
    options.add(
        "--optimizer", default="adam", choices=["sgd", "adam"], help="stochastic gradient descent or Adam"
    )
    options.add(
        "--learning-rate",
        type=float,
        help="factor of the step (default: 0.01 for sgd, one rate for each block for adam)",
    )
    options.add(
        "--momentum", _SGD, default=0.9, type=float, help="factor of the previous direction in each step"
    )
    options.add("--nesterov", _SGD, action="store_true", help="use Nesterov's momentum")
    options.add(
        "--weight-decay",
        default=0.0,
        type=float,
        help="decay of the parameters: by a term of the gradient for sgd, apart from the gradient for adam",
    )
    _add_schedule(options)
    options.add(
        "--averaging",
        type=float,
        metavar="DECAY",
        help="decay of a moving average of the parameters, such as 0.999; the average is evaluated and saved",
    )
    options.add("--validation", type=float, help="fraction of the training data that is held out")
    options.add(
        "--patience",
        _VALIDATION,
        type=int,
        help="stop training after this many epochs without a lower validation error",
    )
    options.add(
        "--seed", default=0, type=int, help="seed of the weights, of the order of samples and of random signs"
    )


def _add_schedule(options: Options) -> None:
    options.add(
        "--schedule",
        default="cosine",
        choices=["cosine", "restarts", "constant"],
        help="schedule of the learning rate; restarts: cosines, each one twice as long as the one before",
    )
    options.add("--cycles", _RESTARTS, default=3, type=int, help="number of cosines")
    options.add(
        "--warm-up",
        type=float,
        metavar="PART",
        help="first part of the training, such as 0.05, in which the learning rate rises from 0",
    )


def build_trainer(options: argparse.Namespace, data: Dataset) -> Trainer:
    """Return the `Trainer` of the options; layers, epochs and schedule have defaults of their own."""
    hidden = options.layers or defaults_of(options).hidden
    sizes = [data.num_features, *hidden, data.num_outputs]
    _check_memory(options, sizes, min(options.batch_size, len(data)))
    model = HopfieldNetwork(
        sizes,
        activation=options.activation,
        output_activation=options.output_activation,
        potential=options.potential,
        dtype=options.dtype,
        seed=options.seed,
    ).to(options.device, precision=options.precision)
    cost = training_cost(model, COSTS[options.cost]())
    return Trainer(
        model,
        second_phase=_second_phase(options, model, cost),
        optimizer=_optimizer(options),
        cost=cost,
        solver=build_solver(options, training_solver(model)),
        schedule=_schedule(options),
        batch_size=options.batch_size,
        seed=options.seed,
        averaging=options.averaging,
        free_start=options.free_start,
        shards=options.shards,
    )


def _check_memory(options: argparse.Namespace, sizes: list[int], batch: int) -> None:
    """Raise MemoryError if the training needs more memory than there is.

    As measured, a training holds seven vectors of the parameters (the averages of Adam, the gradient, copies)
    and two in double precision for the start values, and nine states of a batch.
    """
    parameters = sum(a * b for a, b in pairwise(sizes)) + sum(sizes[1:])
    size = np.dtype(options.dtype).itemsize * (7 * parameters + 9 * batch * sum(sizes)) + 16 * parameters
    with enough_memory(size, "train", f"the training of layers {'-'.join(map(str, sizes))}"):
        pass


def epochs_of(options: argparse.Namespace) -> int:
    """Return the number of epochs."""
    return defaults_of(options).epochs if options.epochs is None else int(options.epochs)


def build_solver(options: argparse.Namespace, default: FreeSolver) -> FreeSolver:
    """Return the solver of the options; what they do not say is that of `default`."""
    kind = _SOLVERS[options.solver] if options.solver else type(default)
    if kind is not type(default):
        default = kind(tolerance=default.tolerance, max_iterations=default.max_iterations)
    given = {name: getattr(options, name) for name in {"tolerance", "max_iterations"} & options.given}
    return replace(default, **given)


def load_trainer(options: argparse.Namespace) -> Trainer:
    """Return the trainer of a checkpoint, with its cost, or a new one of a saved network, for predictions.

    It has the solver and the device of the options.
    """
    thing = load(options.model)
    trainer = thing if isinstance(thing, Trainer) else Trainer(thing)
    if options.device != "cpu":
        _move(trainer, options.device, options.precision)
    assert trainer.solver is not None
    trainer.solver = build_solver(options, trainer.solver)
    return trainer


def _move(trainer: Trainer, device: str, precision: str) -> None:
    """Put the network with which a trainer predicts on a device; it takes no steps there."""
    model = trainer.averaged_model
    assert isinstance(model, HopfieldNetwork)
    assert trainer.solver is not None
    trainer.model, trainer.averaging = model.to(device, precision=precision), None
    trainer.solver, trainer.second_phase = replace(trainer.solver, anderson=0), EquilibriumPropagation()


def as_trained(data: Dataset, trainer: Trainer) -> Dataset:
    """Return data that get the scaling of the trainer's model, or keep their scale if the model has none."""
    return data if trainer.scaling.is_none else data.with_scale(None)


def _nudging(options: argparse.Namespace, beta: float) -> Nudging:
    if options.nudging == "exact":
        return exact_limit()
    if options.nudging == "random_sign":
        return random_sign(beta, options.seed)
    return {"centered": centered, "one_sided": one_sided}[options.nudging](beta)


def _second_phase(options: argparse.Namespace, model: HopfieldNetwork, cost: Cost) -> SecondPhase:
    if options.second_phase == "rbp":
        return RecurrentBackpropagation(_LINEAR[options.linear_solver](tolerance=1e-3))
    beta = training_beta(model, cost) if options.beta is None else options.beta
    return EquilibriumPropagation(_nudging(options, beta))


def _optimizer(options: argparse.Namespace) -> Optimizer:
    if options.optimizer == "adam":
        automatic = options.learning_rate is None
        return Adam("auto" if automatic else options.learning_rate, weight_decay=options.weight_decay)
    rate = 0.01 if options.learning_rate is None else options.learning_rate
    return SGD(rate, options.momentum, options.weight_decay, bool(options.nesterov))


def _schedule(options: argparse.Namespace) -> Schedule:
    if options.schedule == "restarts":
        schedule = cosine_restarts(options.cycles)
    else:
        schedule = {"cosine": cosine, "constant": constant}[options.schedule]()
    return schedule if options.warm_up is None else warm_up(options.warm_up, schedule)
