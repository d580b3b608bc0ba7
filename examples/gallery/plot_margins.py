"""
Figures of a check and their limits
===================================

The result of a check of ``equiprop.verify`` is a table of figures with limits. One plot shows them all.
"""

import equiprop as eq
import matplotlib.pyplot as plt

net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
report = eq.verify.gradients(net, [[0.1, 0.5, 0.9, 0.3]], [2], betas=(0.1, 0.01))

# %%
# A dot is a value, a bar its limit. A value outside of its limits is a cross.

fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
eq.plotting.margins(report, axes=ax)
plt.show()
