"""Train a classifier by EqProp, on MNIST or on the digits of scikit-learn.

python 03_mnist.py            # the digits of scikit-learn
python 03_mnist.py FOLDER     # MNIST; equiprop.download.fetch_mnist(FOLDER) downloads it
"""

import sys

import equiprop as eq

if len(sys.argv) > 1:
    train, test = eq.load_mnist(sys.argv[1])
    hidden, epochs = 512, 10
else:
    train, test = eq.load_digits()
    hidden, epochs = 256, 15

net = eq.HopfieldNetwork([train.num_features, hidden, train.num_outputs], seed=0)


def report(trainer: eq.Trainer, epoch: eq.Epoch) -> None:
    error = trainer.evaluate(test).error
    print(
        f"epoch {epoch.epoch:>2}: training error {epoch.train_error:6.2%}, test error {error:6.2%}, "
        f"{epoch.free_iterations:.1f} + {epoch.second_iterations:.1f} iterations, {epoch.seconds:.2f} s"
    )


trainer = eq.Trainer(net, schedule=eq.optimizers.cosine(), callbacks=[report])
trainer.fit(train, epochs=epochs)
error = trainer.evaluate(test).error
print(f"test accuracy {1 - error:.2%}")
assert error < 0.04
