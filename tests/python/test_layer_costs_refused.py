"""What costs of several layers refuse, with its sentence, and the cures that these name."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import LayerCosts, SquaredError
from networks import chain, inputs, labels

CE = eq.CrossEntropy


def spread(y: np.ndarray) -> np.ndarray:
    """Targets of six units for class codes."""
    return np.eye(6)[y] / 2


def further(y: np.ndarray) -> np.ndarray:
    """Class codes of five classes."""
    return y + 2


class Bowl(eq.Energy):
    """A model of the user's own, without layers."""

    def __init__(self) -> None:
        super().__init__(num_units=5, num_outputs=3, parameters=np.zeros(5), num_inputs=2)

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return (s**2).sum(axis=1) / 2

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return s


DEVICE = eq.verify.BlackBox(lambda x, *_: x[None], lambda *_: np.zeros(1), np.zeros(1), num_outputs=2)


NET = chain(4, 6, 5, 3)
REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "no costs": (lambda: LayerCosts({}), ValueError, r"\[LayerCosts\] At least one layer has a cost"),
    "no mapping": (lambda: LayerCosts([CE()]), TypeError, r"\[LayerCosts\] costs maps positions of layers"),
    "a name": (
        lambda: LayerCosts({"hidden": CE()}),
        TypeError,
        "A position is a whole number",
    ),
    "a boolean": (
        lambda: LayerCosts({True: CE()}),
        TypeError,
        "A position is a whole number",
    ),
    "the input": (lambda: LayerCosts({0: CE()}), ValueError, "Layer 0 is the input, which has no cost"),
    "a class": (lambda: LayerCosts({1: CE}), TypeError, r"The cost of a layer is a SquaredError\(\) or"),
    "a nested cost": (
        lambda: LayerCosts({1: LayerCosts({1: CE()})}),
        TypeError,
        r"The cost of a layer is a SquaredError\(\) or",
    ),
    "a zero scale": (
        lambda: LayerCosts({1: CE()}, {1: 0}),
        ValueError,
        "A scale is positive",
    ),
    "an infinite scale": (
        lambda: LayerCosts({1: CE()}, {1: np.inf}),
        ValueError,
        "A scale is positive",
    ),
    "a text": (lambda: LayerCosts({1: CE()}, {1: "1"}), TypeError, "A scale is a number"),
    "another scale": (
        lambda: LayerCosts({1: CE()}, {2: 1}),
        ValueError,
        "scales has keys of costs",
    ),
    "other targets": (
        lambda: LayerCosts({1: CE()}, {}, {2: spread}),
        ValueError,
        "targets has keys",
    ),
    "an array": (
        lambda: LayerCosts({1: CE()}, {}, {1: np.eye(3)}),
        TypeError,
        "targets are functions of y",
    ),
    "no such layer": (
        lambda: LayerCosts({4: CE()}).bind(NET, [0], "f"),
        ValueError,
        r"\[f\] LayerCosts names layers 1 to 3, or -3 to -1. Received 4",
    ),
    "the input from the end": (lambda: LayerCosts({-4: CE()}).bind(NET, [0], "f"), ValueError, "Received -4"),
    "one layer twice": (
        lambda: LayerCosts({3: CE(), -1: CE()}).bind(NET, [0], "f"),
        ValueError,
        r"\[f\] A layer has one cost. Received two for layer 3",
    ),
    "a layer without targets": (
        lambda: LayerCosts({2: CE()}).bind(NET, [0], "f"),
        ValueError,
        r"\[f\] y is the target of layers with as many units as the last one; another layer needs "
        r"LayerCosts\(targets={2: function of y}\). Received layer 2 of 5 units, and 3 outputs",
    ),
    "targets of a wrong size": (
        lambda: LayerCosts({2: SquaredError()}, {}, {2: spread}).bind(NET, [0], "f"),
        ValueError,
        r"\[f, targets of layer 2\] `y` has shape \(batch, 5\). Received shape \(1, 6\)",
    ),
    "targets of too few samples": (
        lambda: LayerCosts({2: SquaredError()}, {}, {2: lambda y: y[:1]}).bind(NET, [0, 1], "f"),
        ValueError,
        r"\[f\] A layer has one target for each sample. Received 1",
    ),
    "codes out of range": (
        lambda: LayerCosts({2: SquaredError()}, {}, {2: lambda y: y + 5}).bind(NET, [0], "f"),
        ValueError,
        "Class labels are 0 to 4",
    ),
    "no probabilities": (
        lambda: LayerCosts({1: CE()}, {}, {1: spread}).bind(NET, [0], "f"),
        ValueError,
        r"\[f\] Targets of CrossEntropy are probabilities",
    ),
    "a model without layers": (
        lambda: LayerCosts({1: CE()}).bind(Bowl(), [0], "f"),
        TypeError,
        r"\[f\] LayerCosts needs the layers of a HopfieldNetwork. Received Bowl",
    ),
    "a device": (
        lambda: eq.verify.black_box(DEVICE, np.ones((1, 2)), [0], cost=LayerCosts({1: CE()})),
        TypeError,
        r"\[black_box\] LayerCosts needs the layers of a HopfieldNetwork",
    ),
    "a trainer of such a model": (
        lambda: eq.Trainer(Bowl(), cost=LayerCosts({1: CE()})),
        TypeError,
        r"\[Trainer\] LayerCosts needs the layers of a HopfieldNetwork. Received Bowl",
    ),
    "a trainer of other layers": (
        lambda: eq.Trainer(NET, cost=LayerCosts({7: CE()})),
        ValueError,
        r"\[Trainer\] LayerCosts names layers 1 to 3",
    ),
    "bounded logits": (
        lambda: eq.Trainer(NET, cost=LayerCosts({2: CE(1.0)}, {}, {2: further})),
        ValueError,
        r"\[Trainer\] CrossEntropy needs logits that differ by 4.39; use a linear activation, or "
        r"CrossEntropy\(logit_scale=2.19\). Received layer 2 in a range of 2 with the logit scale 1",
    ),
    "one class": (
        lambda: eq.Trainer(chain(4, 1, 3), cost=LayerCosts({1: CE()})),
        ValueError,
        r"\[Trainer\] CrossEntropy needs one unit of layer 1 for each class, at least two",
    ),
    "targets out of range": (
        lambda: eq.Trainer(chain(4, 3, 3), cost=LayerCosts({1: SquaredError()})).fit(
            np.ones((4, 4)), 2 * np.eye(3)[[0, 1, 2, 0]], epochs=1
        ),
        ValueError,
        r"\[Trainer.fit\] Targets lie in the range of layer 1, -1 to 1; use a linear activation, or scale",
    ),
    "a nudge without a minimum": (
        lambda: eq.Trainer(
            chain(4, 3, 3, activation="relu"),
            eq.EquilibriumPropagation(eq.centered(0.25)),
            cost=LayerCosts({1: SquaredError(), -1: SquaredError()}, {1: 4.0}),
        ),
        ValueError,
        r"\[Trainer\] A nudge by -beta has a minimum only if beta < 0.25 .* use centered\(0.0625\)",
    ),
}


@pytest.mark.parametrize(("make", "kind", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_is_refused_with_a_sentence(make: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


def test_the_cures_of_the_refusals_work() -> None:
    assert eq.Trainer(NET, cost=LayerCosts({2: CE(2.2)}, {}, {2: further})).cost.costs[2] == CE(2.2)
    net = chain(4, 3, 3, activation="relu")
    cost = LayerCosts({1: SquaredError(), -1: SquaredError()}, {1: 4.0})
    eq.Trainer(net, eq.EquilibriumPropagation(eq.centered(0.0625)), cost=cost).step(inputs(net), labels(net))
