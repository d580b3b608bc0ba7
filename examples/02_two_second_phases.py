"""Second phases: EqProp and RBP give equal gradients, and equal derivatives at every step."""

import equiprop as eq
import numpy as np

net = eq.HopfieldNetwork([8, 12, 6, 3], activation="tanh", potential="quadratic", dtype="float64", gain=0.3)
generator = np.random.default_rng(0)
x, y = generator.uniform(size=(4, 8)), np.array([0, 1, 2, 1])

free = eq.free_phase(net, x, solver=eq.Euler(tolerance=1e-13, max_iterations=10_000))
reference = eq.recurrent_backpropagation(net, free, y).parameters


def error(gradient: eq.Gradient) -> float:
    return float(np.abs(gradient.parameters - reference).max() / np.abs(reference).max())


print("Relative difference between the gradients of EqProp and RBP:")
for nudging in [eq.one_sided(0.1), eq.one_sided(0.01), eq.centered(0.1), eq.centered(0.01), eq.exact_limit()]:
    gradient = eq.equilibrium_propagation(net, free, y, nudging=nudging)
    print(f"  {nudging!r:<16} {error(gradient):.1e}")

report = eq.verify.equivalence(net, x, y, steps=200, step_size=0.3)
print(report)
assert report.passed

print(eq.verify.gradients(net, x, y))
