"""Free phase: a network relaxes to a fixed point, and reports the residual of every sample."""

import equiprop as eq
import numpy as np

net = eq.HopfieldNetwork([64, 100, 100, 10], activation="hard_sigmoid", dtype="float64", seed=1)
print(net)

x = np.random.default_rng(0).uniform(size=(5, 64))
solvers = [
    eq.BlockUpdate(tolerance=1e-10),
    eq.FixedPointIteration(tolerance=1e-10, damping=0.3),
    eq.Euler(tolerance=1e-10, step_size=0.5),
]
states = []
for solver in solvers:
    free = eq.free_phase(net, x, solver=solver)
    states.append(free.state)
    print(f"{type(solver).__name__:<20} {free.summary()}")

difference = max(np.abs(state - states[0]).max() for state in states)
print(f"The fixed points of all solvers agree within {difference:.0e}.")
assert difference < 1e-8

# The result reports samples that did not converge.
hasty = eq.free_phase(net, x, solver=eq.BlockUpdate(tolerance=1e-10, max_iterations=3), on_failure="ignore")
print("After three sweeps:", hasty.summary())
assert not hasty.converged
