"""Training of a simulated circuit of resistors and diodes with 1 % noise and 6 bits for each resistor.

The trainer sees measured voltages only: in a free phase, and with a current beta (y - o) into the outputs.
Inputs are voltage sources of both signs; half of the diodes let a hidden node be positive only, half negative
only. The parameters are logarithms of conductances, in 64 steps. Source: arXiv 2006.01981 (2020).
"""

import equiprop as eq
import numpy as np

PIXELS, HIDDEN, CLASSES, VOLTS = 64, 50, 10, 8.0
SOURCES, RAILS = 2 * PIXELS + 2, 2
sign = np.where(np.arange(HIDDEN) % 2, -1.0, 1.0)
below, above = SOURCES * HIDDEN, (HIDDEN + RAILS) * CLASSES
unit = np.repeat([0.1, 1.0], [below, above])  # conductance of a resistor with the parameter 0
theta = np.random.default_rng(0).uniform(-3, 0, below + above)

# Nodes in the order of the measured voltages: sources, rails of the outputs, hidden nodes, outputs.
hidden = SOURCES + RAILS + np.arange(HIDDEN)
outputs = hidden[-1] + 1 + np.arange(CLASSES)
rails = SOURCES + np.arange(RAILS)
pairs = [(a, b) for a in range(SOURCES) for b in hidden]
pairs += [(a, b) for a in [*hidden, *rails] for b in outputs]
half_squares = eq.contrasts.resistors(pairs)  # dE/dg = (v_a - v_b)^2 / 2


def sources(x):
    one = np.ones((len(x), 1))
    return np.concatenate([VOLTS * x, -VOLTS * x, VOLTS * one, -VOLTS * one, one, -one], axis=1)


def relax(x, beta, y):
    """Solve Kirchhoff's laws: hidden nodes and outputs in turn, until the outputs change by 1e-6 V."""
    g = unit * np.exp(theta)
    first, second = g[:below].reshape(SOURCES, HIDDEN), g[below:].reshape(HIDDEN + RAILS, CLASSES)
    v, o, last = sources(x), np.zeros((len(x), CLASSES)), 1.0
    current, out = v[:, :SOURCES] @ first, second[:HIDDEN]
    while np.abs(o - last).max() > 1e-6:
        mean = (current + o @ out.T) / (first.sum(axis=0) + out.sum(axis=1))
        h = sign * np.maximum(sign * mean, 0)  # ideal diodes
        last, o = o, (np.hstack([h, v[:, SOURCES:]]) @ second + beta * y) / (second.sum(axis=0) + beta)
    return np.hstack([h, o])[None]


circuit = eq.BlackBox(relax, lambda x, s: unit * np.exp(theta) * half_squares(sources(x), s), theta, CLASSES)
circuit.block_slices = {"below": slice(0, below), "above": slice(below, below + above)}
device = eq.imperfect(circuit, noise=0.01, bits=6, limits=(-4.0, 2.0))
train, test = eq.load_digits()
trainer = eq.Trainer(
    device,
    eq.EquilibriumPropagation(eq.centered(8.0)),
    eq.Adam(0.05),
    schedule=eq.optimizers.cosine(),
)
for epoch in trainer.fit(train, epochs=25):
    print(f"epoch {epoch.epoch:>2}: training error {epoch.train_error:6.2%}, {epoch.seconds:.1f} s")
error = trainer.evaluate(test).error
print(f"test error {error:.2%} with 1 % noise and 6 bits for each resistor")
assert error < 0.06
