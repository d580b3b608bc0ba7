"""
The theorem: EqProp and RBP are equal at every step
===================================================

Error derivatives of Recurrent Backpropagation are drawn as lines. Temporal derivatives of Equilibrium
Propagation, with the sign reversed, are drawn as markers. Scellier & Bengio (2019) prove that they are equal
at every time of the second phase.
"""

import equiprop as eq
import matplotlib.pyplot as plt

net = eq.HopfieldNetwork([4, 12, 8, 3], activation="tanh", potential="quadratic", dtype="float64", gain=0.9)
report = eq.verify.equivalence(net, [[0.1, 0.5, 0.9, 0.3]], [2], steps=120, step_size=0.2)
print(report)

# %%
# The most active units of the first sample: every marker lies on its line.

fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
eq.plotting.theorem(report, axes=ax)
plt.show()

# %%
# The largest difference of all units of a layer, and of all parameters, is near the rounding error.

fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
eq.plotting.step_errors(report, axes=ax)
plt.show()
