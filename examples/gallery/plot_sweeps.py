"""
Sweeps per sample
=================

How many sweeps the two phases take while a network learns, and how they are spread over the
samples.
"""

import equiprop as eq
import matplotlib.pyplot as plt

train, test = eq.load_digits()
net = eq.HopfieldNetwork([train.num_features, 64, 64, train.num_outputs], seed=0)
trainer = eq.Trainer(net)
history = trainer.fit(train, epochs=6)

# %%
# A record of an epoch holds the mean number of sweeps of a sample. The second phase counts the
# sweeps of both nudged phases.

fig, ax = plt.subplots(figsize=(4.8, 3.2), layout="constrained")
eq.plotting.sweeps(history, axes=ax)
plt.show()

# %%
# A free phase has the number of sweeps of each sample. Here all samples relax to the same tolerance.

x, _ = test.batch(range(200), net.dtype)
free = eq.free_phase(net, x, solver=eq.BlockUpdate(tolerance=1e-4))

fig, ax = plt.subplots(figsize=(4.8, 3.2), layout="constrained")
eq.plotting.sweep_histogram(free, axes=ax)
plt.show()
