"""
Learning curves
===============

Training and held-out error of two trainings by epoch: Equilibrium Propagation and Recurrent
Backpropagation. Both compute the gradient of the same objective, so the curves lie close to each
other.
"""

import equiprop as eq
import matplotlib.pyplot as plt

train, test = eq.load_digits()
phases = {"EqProp": eq.EquilibriumPropagation(), "RBP": eq.RecurrentBackpropagation()}

# %%
# `Trainer.fit` returns a record of each epoch. With ``validation`` it also measures the error on
# other samples.

histories = {}
for name, second_phase in phases.items():
    net = eq.HopfieldNetwork([train.num_features, 64, train.num_outputs], seed=0)
    trainer = eq.Trainer(net, second_phase=second_phase)
    histories[name] = trainer.fit(train, epochs=8, validation=test)

# %%
# One history draws two lines; a dictionary draws two lines for each name.

fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
eq.plotting.learning_curve(histories, axes=ax)
plt.show()
