"""
Cosine of gradients by rule, beta and layer
===========================================

The angle between the gradient of Equilibrium Propagation and the exact one, by the rule of nudging,
its factor beta, and the layer.
"""

import equiprop as eq
import matplotlib.pyplot as plt
import numpy as np

net = eq.HopfieldNetwork([8, 20, 15, 4], activation="tanh", dtype="float64", seed=3, gain=0.8)
random = np.random.default_rng(0)
x, y = random.uniform(size=(10, 8)), random.integers(0, 4, 10)

# %%
# A bias of order beta^n gives 1 - cosine of order beta^(2 n): slope 2 for one-sided, 4 for centered
# nudging. The exact limit has no beta.

cosines = eq.analysis.gradient_cosines(net, x, y)
for rule, blocks in cosines.cosines.items():
    print(f"{rule:<12} cosine at beta = {cosines.betas[0]:g}: W1 {blocks['W1'][0]:.4f}")

fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
eq.plotting.gradient_cosines(cosines, axes=ax)
plt.show()
