"""
Residual and energy during relaxation
=====================================

A free phase lowers the energy until the residual is below the tolerance. On a logarithmic axis a
straight line is convergence at a linear rate.
"""

import equiprop as eq
import matplotlib.pyplot as plt
import numpy as np

net = eq.HopfieldNetwork([64, 100, 100, 10], activation="hard_sigmoid", dtype="float64", seed=1)
x = np.random.default_rng(0).uniform(size=(30, 64))

# %%
# ``trace=True`` keeps the residual of every sample at every iteration, ``record=True`` the states.

free = eq.free_phase(net, x, solver=eq.BlockUpdate(tolerance=1e-12), trace=True, record=True)
fig, ax = plt.subplots(figsize=(4.8, 3.2), layout="constrained")
eq.plotting.relaxation(free, axes=ax)
plt.show()

# %%
# Block updates never raise the energy.

fig, ax = plt.subplots(figsize=(4.8, 3.2), layout="constrained")
eq.plotting.energy(free, axes=ax)
plt.show()
