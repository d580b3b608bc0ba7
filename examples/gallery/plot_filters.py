"""
Filters
=======

The weights of the first layer after a short training on handwritten digits, one image for each hidden unit.
"""

import equiprop as eq
import matplotlib.pyplot as plt

train, _ = eq.load_digits()
net = eq.HopfieldNetwork([train.num_features, 36, train.num_outputs], seed=0)
eq.Trainer(net).fit(train, epochs=8)

# %%
# The inputs are 8 x 8 pixels, so the weights into a hidden unit are an image of 8 x 8 numbers.

fig, ax = plt.subplots(figsize=(4.4, 3.8), layout="constrained")
eq.plotting.filters(net, "W1", axes=ax)
plt.show()
