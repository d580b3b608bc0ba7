"""Training of a circuit of resistors and diodes, with its energy in PyTorch (arXiv 2006.01981).

By Kirchhoff's laws, the node voltages s minimise the co-content, g v^2 / 2 for a resistor. The sources are x
and -x, so that positive conductances can raise or lower a voltage. A diode conducts at each negative node.
"""

import equiprop as eq
import torch
from equiprop.torch import TorchEnergy

PIXELS, HIDDEN, CLASSES = 64, 100, 10
VOLTS, DIODE, KNEE = 8.0, 3.0, 0.05  # amplitude of the sources; conductance and width of the bend of a diode
torch.set_num_threads(1)


def conductances(theta):
    """Conductances of the resistors at a node; their sum is 1, so that the step size remains stable."""
    return torch.softmax(theta, dim=0)


def resistors(u, v, g):
    """Co-content sum_ij g_ij (u_i - v_j)^2 / 2 of resistors between nodes with voltages u and v."""
    return (u**2 @ g.sum(dim=1) + v**2 @ g.sum(dim=0)) / 2 - ((u @ g) * v).sum(dim=1)


def diodes(v):
    """Co-content of the current (v + sqrt(v^2 + KNEE^2)) / 2 through a diode and a resistor in series."""
    bend = torch.sqrt(v**2 + KNEE**2)
    return DIODE / 4 * (v**2 + v * bend + KNEE**2 * torch.asinh(v / KNEE)).sum(dim=1)


def cocontent(x, s, params):
    hidden, outputs = s[:, :HIDDEN], s[:, HIDDEN:]
    rails = torch.ones_like(x[:, :1]) * torch.tensor([1.0, -1.0])
    below = resistors(VOLTS * torch.cat([x, -x, rails], dim=1), hidden, conductances(params["below"]))
    above = resistors(torch.cat([hidden, rails], dim=1), outputs, conductances(params["above"]))
    return below + diodes(-hidden) + above


torch.manual_seed(0)
theta = {"below": torch.randn(2 * PIXELS + 2, HIDDEN), "above": torch.randn(HIDDEN + 2, CLASSES)}
circuit = TorchEnergy(cocontent, HIDDEN + CLASSES, CLASSES, theta, num_inputs=PIXELS)

train, test = eq.load_digits()
report = eq.verify.equivalence(circuit, *test.batch([0, 1], "float64"))
print(report)
assert report.passed

trainer = eq.Trainer(
    circuit,
    eq.EquilibriumPropagation(eq.centered(0.2)),
    eq.Adam(0.3),
    solver=eq.Euler(tolerance=1e-2, step_size=0.3),
    schedule=eq.optimizers.cosine(),
)
for epoch in trainer.fit(train, epochs=5):
    print(f"epoch {epoch.epoch:>2}: training error {epoch.train_error:6.2%}, {epoch.seconds:.1f} s")
error = trainer.evaluate(test).error
print(f"test accuracy {1 - error:.2%}")
assert error < 0.05
