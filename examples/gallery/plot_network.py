"""
The graph of a network
======================

Layers are boxes and couplings are arrows. Layers of one colour are relaxed together by a block
update.
"""

import equiprop as eq
import matplotlib.pyplot as plt

net = eq.HopfieldNetwork(
    layers=[eq.Layer((1, 28, 28)), eq.Layer((8, 14, 14)), eq.Layer((8, 14, 14)), eq.Layer(10, "linear")],
    couplings=[
        eq.Convolution(0, 1, 3, stride=2, padding=1),
        eq.Convolution(1, 2, 3, padding=1),
        eq.Dense(1, 3),
        eq.Dense(2, 3),
    ],
)

# %%
# A coupling of free layers acts in both directions; the input is clamped.

fig, ax = plt.subplots(figsize=(7.2, 2.4), layout="constrained")
eq.plotting.graph(net, axes=ax)
plt.show()
