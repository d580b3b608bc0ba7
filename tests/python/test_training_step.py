"""A training step in the core equals a gradient and an update of the optimizer, in every bit."""

from __future__ import annotations

import copy
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import EquilibriumPropagation, RecurrentBackpropagation, Trainer, _core
from networks import blobs, chain, skip


class Elsewhere:
    """An optimizer that only satisfies the protocol, so that it receives the summed gradient."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.steps = 0

    def step(self, *arguments: Any) -> None:
        self.inner.step(*arguments)
        self.steps += 1


class Renamed(eq.SGD):
    """A subclass that overrides no method."""


class Halved(eq.SGD):
    """A subclass that overrides `step`."""

    def step(self, parameters: Any, gradient: Any, blocks: Any, factor: float = 1.0) -> None:
        super().step(parameters, 0.5 * gradient, blocks, factor)


RATES = {"W1": 0.05, "W2": 0.02, "W3": 0.0, "W4": 0.1, "W5": 0.07, "b1": 0.03, "b2": 0.05, "b3": 0.01}
OPTIMIZERS: dict[str, Any] = {
    "plain": lambda: eq.SGD(0.05),
    "momentum": lambda: eq.SGD(0.05, momentum=0.9),
    "decay": lambda: eq.SGD(0.05, weight_decay=1e-2),
    "both": lambda: eq.SGD(0.05, momentum=0.5, weight_decay=0.1),
    "rates": lambda: eq.SGD(RATES, momentum=0.5),
    "subclass": lambda: Renamed(0.05, momentum=0.9),
    "own step": lambda: Halved(0.05, momentum=0.9),
    "Adam": lambda: eq.Adam(1e-2, weight_decay=0.1),
    "Adam with rates": lambda: eq.Adam(RATES),
    "Nesterov": lambda: eq.SGD(0.05, momentum=0.9, weight_decay=0.1, nesterov=True),
    "SGD with decays": lambda: eq.SGD(0.05, momentum=0.9, weight_decay={"W1": 0.1}),
    "Adam with decays": lambda: eq.Adam(0.01, weight_decay={"W2": 0.1, "b1": 0.3}),
}


@pytest.mark.parametrize(
    "phase", [EquilibriumPropagation(), RecurrentBackpropagation()], ids=["eqprop", "rbp"]
)
@pytest.mark.parametrize("feedback", ["tied", "separate"])
@pytest.mark.parametrize("potential", ["legendre", "quadratic"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_taken_by_the_core_has_the_bits_of_gradient_then_update(
    optimizer: str, phase: Any, feedback: str, potential: str, dtype: str
) -> None:
    if feedback == "separate" and isinstance(phase, RecurrentBackpropagation):
        phase = RecurrentBackpropagation(eq.GMRES())
    x, y = blobs().x[:37], blobs().y[:37]
    given = skip(activation="tanh")
    layers, couplings = given.layers, given.couplings
    nets = [
        eq.HopfieldNetwork(
            layers=layers, couplings=couplings, potential=potential, feedback=feedback, dtype=dtype
        )
        for _ in range(2)
    ]
    if optimizer in ("rates", "Adam with rates") and feedback == "separate":
        pytest.skip("the rates name the blocks of tied weights")
    elsewhere = Elsewhere(OPTIMIZERS[optimizer]())
    trainers = [Trainer(n, phase, o) for n, o in zip(nets, (OPTIMIZERS[optimizer](), elsewhere), strict=True)]
    for k in range(4):
        one, other = (
            t.step(x[k:, : n.num_inputs], y[k:] % n.num_outputs, progress=k / 4)
            for t, n in zip(trainers, nets, strict=True)
        )
        assert one == other
    assert elsewhere.steps == 4
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)


CHANGES: dict[str, Any] = {
    "momentum": lambda o: setattr(o, "momentum", 0.0),
    "no momentum before": lambda o: setattr(o, "momentum", 0.5),
    "decay": lambda o: setattr(o, "weight_decay", 0.1),
    "rate": lambda o: setattr(o, "learning_rate", 0.01),
    "an entry of the rates": lambda o: o.learning_rate.update(W1=0.5),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_next_step_uses_a_setting_that_was_changed(change: str) -> None:
    blocks = chain(4, 6, 3).block_slices
    start = 0.0 if change == "no momentum before" else 0.9
    rates = 0.05 if change == "rate" else dict.fromkeys(blocks, 0.05)
    nets = [chain(4, 6, 3) for _ in range(2)]
    inner = [eq.SGD(copy.copy(rates), start) for _ in range(2)]
    trainers = [Trainer(nets[0], optimizer=inner[0]), Trainer(nets[1], optimizer=Elsewhere(inner[1]))]
    for k in range(4):
        if k == 2:
            for optimizer in inner:
                CHANGES[change](optimizer)
        for trainer in trainers:
            trainer.step(blobs().x[k : k + 9], blobs().y[k : k + 9])
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)


def test_the_next_step_uses_another_second_phase_solver_or_model() -> None:
    x, y = blobs().x[:9], blobs().y[:9]
    trainer = Trainer(chain(4, 6, 3), optimizer=eq.SGD(0.05, 0.9), clip=1e30)
    for name, value in (
        ("second_phase", RecurrentBackpropagation()),
        ("second_phase", EquilibriumPropagation(eq.one_sided(0.5))),
        ("solver", eq.FixedPointIteration(tolerance=1e-9)),
        ("cost", eq.CrossEntropy(logit_scale=1.0)),
        ("model", chain(4, 9, 3)),
    ):
        trainer.step(x, y)
        setattr(trainer, name, value)
        if name == "model":
            trainer.optimizer = eq.SGD(0.1)
        fresh = Trainer(
            copy.deepcopy(trainer.model),
            trainer.second_phase,
            copy.deepcopy(trainer.optimizer),
            trainer.cost,
            trainer.solver,
            clip=1e30,
        )
        assert trainer.step(x, y) == fresh.step(x, y)
        np.testing.assert_array_equal(trainer.model.parameters, fresh.model.parameters)


def test_a_step_whose_sums_overflow_leaves_everything_as_it_was() -> None:
    net = chain(4, 6, 3, dtype="float32")
    optimizer = eq.SGD(0.1, momentum=0.9)
    trainer = Trainer(net, optimizer=optimizer)
    trainer.step(blobs().x[:5], blobs().y[:5])
    assert optimizer._buffers is not None
    velocity = optimizer._buffers.copy()
    net.blocks["W1"][:] = 0
    theta = net.parameters.copy()
    targets = np.full((5, 3), 3e38, dtype=np.float32)
    with pytest.raises(eq.ConvergenceError):
        trainer.step(blobs().x[:5], targets)
    np.testing.assert_array_equal(net.parameters, theta)
    np.testing.assert_array_equal(optimizer._buffers, velocity)


def test_the_core_refuses_memory_that_it_would_have_to_copy() -> None:
    net = chain(4, 6, 3)  # float64
    x, labels = np.ascontiguousarray(blobs().x[:5], np.float64), blobs().y[:5].astype(np.int64)
    phases = EquilibriumPropagation().options(net, eq.BlockUpdate(), 0)
    before = net.parameters.copy()
    single, strided = net.parameters.astype(np.float32), np.zeros(2 * len(net.parameters))[::2]
    rates = ((0, 0.1),)
    for theta in (single, strided):
        with pytest.raises(ValueError, match=r"\[Trainer.step\] .* contiguous vectors of one length"):
            net.core.OptimizerSink.sgd(theta, None, rates, 0.0, 0.0)
    sink = net.core.OptimizerSink.sgd(net.parameters[1:], None, rates, 0.0, 0.0)
    step = net.core.TrainingStep(net, net.core_network)
    with pytest.raises(
        ValueError, match=r"\[Trainer.step\] The optimizer updates the parameters of the model"
    ):
        step.take(x, labels, _core.CostKind(0.0), eq.BlockUpdate().core, phases, sink, np.nan)
    np.testing.assert_array_equal(net.parameters, before)
