"""
Bias of a finite nudging
========================

The error of the gradient of Equilibrium Propagation against beta: of first order for one-sided, of
second order for centered nudging, and of order N for N points on a circle.
"""

import equiprop as eq
import matplotlib.pyplot as plt

net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
report = eq.verify.orders(net, [[0.1, 0.5, 0.9, 0.3]], [2], points=(4, 8))
print(report)

# %%
# Lines are straight until they reach rounding errors, which grow as 1 / beta.

fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
eq.plotting.orders(report, axes=ax)
plt.show()
