"""A user's own energy: a chain of pendulums that are coupled by springs and driven by the input.

E = sum_i k_i (1 - cos s_i) + 1/2 sum_i c_i (s_{i+1} - s_i)^2 + 1/2 |s|^2 - x . s[:inputs]

The parameters theta = (k, c) are the weights of the pendulums and the stiffnesses of the springs. The class
defines the energy and its first derivatives; the library computes second derivatives by complex steps.
"""

import equiprop as eq
import numpy as np

UNITS, OUTPUTS = 6, 2


class Pendulums(eq.Energy):
    def split(self):
        return self.parameters[:UNITS], self.parameters[UNITS:]

    def energy(self, x, s):
        k, c = self.split()
        springs = 0.5 * (c * np.diff(s, axis=1) ** 2).sum(axis=1)
        return (k * (1 - np.cos(s)) + 0.5 * s**2).sum(axis=1) + springs - (x * s[:, : x.shape[1]]).sum(axis=1)

    def gradient(self, x, s):
        k, c = self.split()
        force = k * np.sin(s) + s
        pull = c * np.diff(s, axis=1)
        force[:, :-1] -= pull
        force[:, 1:] += pull
        force[:, : x.shape[1]] -= x
        return force

    def parameter_gradient(self, x, s):
        return np.concatenate([(1 - np.cos(s)).sum(axis=0), 0.5 * (np.diff(s, axis=1) ** 2).sum(axis=0)])


model = Pendulums(UNITS, OUTPUTS, np.linspace(0.5, 1.5, 2 * UNITS - 1))
x, y = np.array([[0.8, 0.3], [-0.4, 1.0]]), np.array([[0.2, 0.1], [-0.1, 0.3]])

print(eq.verify.equivalence(model, x, y))
report = eq.verify.gradients(model, x, y)
print(report)
assert report.passed

solver = eq.Euler(tolerance=1e-9, step_size=0.2)
for _step in range(60):
    free = eq.free_phase(model, x, solver=solver)
    gradient = eq.equilibrium_propagation(model, free, y, nudging=eq.centered(0.01))
    model.parameters -= 2.0 * gradient.parameters
    np.maximum(model.parameters, 0.05, out=model.parameters)
print(f"objective after learning {gradient.objective:.5f}")
