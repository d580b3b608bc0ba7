"""
Spectrum of the Jacobian
========================

The eigenvalues of the Jacobian at a fixed point tell whether it is stable, and which steps a solver
may take.
"""

import equiprop as eq
import matplotlib.pyplot as plt
import numpy as np

net = eq.HopfieldNetwork([20, 40, 10], activation="tanh", potential="quadratic", feedback="separate", seed=2)
net.blocks["B2"][...] += 0.3 * np.random.default_rng(0).normal(size=net.blocks["B2"].shape)
x = np.random.default_rng(1).uniform(size=(3, 20))
free = eq.free_phase(net, x, solver=eq.Euler(step_size=0.3))

# %%
# The flow ds/dt = mu(s) is stable if all eigenvalues of dmu/ds are on the left of the imaginary
# axis. Without an energy (here the feedback weights differ) they may be complex. Euler steps are
# stable if all eigenvalues are inside the circle.

fig, ax = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
eq.plotting.spectrum(eq.analysis.eigenvalues(free), step_size=0.8, axes=ax)
plt.show()

# %%
# The fixed-point iteration s <- T(s) is stable if all eigenvalues of dT/ds are inside the unit
# circle. Here some are outside, so it needs damping.

fig, ax = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
eq.plotting.spectrum(eq.analysis.eigenvalues(free, of="map"), axes=ax)
plt.show()
