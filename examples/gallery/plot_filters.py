"""
Filters
=======

The weights of the first layer after a training on handwritten digits, one image for each hidden
unit. Small initial weights and a weight decay keep weights that were not learned near zero.
"""

import equiprop as eq
import matplotlib.pyplot as plt

train, _ = eq.load_digits()
net = eq.HopfieldNetwork([64, 36, 10], activation="sigmoid", gain=0.05, seed=0)
trainer = eq.Trainer(net, optimizer=eq.Adam(weight_decay=0.3))
trainer.fit(train, epochs=20)

# %%
# The inputs are 8 x 8 pixels, so the weights into a hidden unit are an image of 8 x 8 numbers.

fig, ax = plt.subplots(figsize=(4.4, 3.8), layout="constrained")
eq.plotting.filters(net, "W1", axes=ax)
plt.show()
