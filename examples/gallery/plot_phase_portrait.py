"""
Phase portrait of two units
===========================

A network with one hidden unit and one output has a flow in a plane. A nudge bends the flow towards
the target, and moves the fixed point.
"""

import equiprop as eq
import matplotlib.pyplot as plt

net = eq.HopfieldNetwork([1, 1, 1], activation="tanh", potential="quadratic", dtype="float64")
net.blocks["W1"][...], net.blocks["W2"][...] = 0.8, 0.9

# %%
# The nudged phase starts at the free fixed point s* and ends at the nudged one.

portrait = eq.analysis.phase_portrait(net, [[1.0]], [[1.2]], beta=1.0)
fig, ax = plt.subplots(figsize=(6.0, 4.0), layout="constrained")
eq.plotting.phase_portrait(portrait, axes=ax)
plt.show()
