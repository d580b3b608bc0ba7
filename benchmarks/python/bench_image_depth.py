"""Errors of plain convolutional networks of growing depth with default settings, on scikit-learn's digits.

python benchmarks/python/bench_image_depth.py 1 3             hidden layers; about half a minute each
python benchmarks/python/bench_image_depth.py 7 --plain       without centred steps; about two minutes

Hidden layers have 16 channels of 8 x 8 and kernels of 3 x 3; a dense coupling leads to ten linear outputs.
The cost is the cross-entropy. 1400 samples are trained for ten epochs, 397 are tested.
"""

from __future__ import annotations

import argparse
import time
import warnings

import equiprop as eq
import numpy as np
from sklearn.datasets import load_digits

CHANNELS, TRAIN, EPOCHS = 16, 1400, 10


def network(hidden: int, activation: str, seed: int) -> eq.HopfieldNetwork:
    shapes = [eq.Layer((CHANNELS, 8, 8), activation) for _ in range(hidden)]
    convolutions = [eq.Convolution(k, k + 1, 3, padding=1) for k in range(hidden)]
    layers = [eq.Layer((1, 8, 8)), *shapes, eq.Layer(10, "linear")]
    return eq.HopfieldNetwork(
        layers=layers, couplings=[*convolutions, eq.Dense(hidden, hidden + 1)], seed=seed
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hidden", nargs="+", type=int, help="numbers of hidden layers")
    parser.add_argument("--plain", action="store_true", help="do not centre the steps of deep networks")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    arguments = parser.parse_args()
    eq.set_num_threads(1)
    warnings.simplefilter("ignore")
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = (data.images / 16).astype("float32")[order, None], data.target[order]
    for hidden in arguments.hidden:
        for activation in ("hard_sigmoid", "tanh"):
            for seed in range(arguments.seeds):
                start = time.perf_counter()
                trainer = eq.Trainer(network(hidden, activation, seed), cost=eq.CrossEntropy(), seed=seed)
                trainer.prepare(x[:TRAIN], y[:TRAIN])
                if arguments.plain:
                    trainer.optimizer._centre = None
                trainer.fit(x[:TRAIN], y[:TRAIN], epochs=EPOCHS)
                train, test = trainer.history[-1].train_error, trainer.evaluate(x[TRAIN:], y[TRAIN:]).error
                print(
                    f"{hidden} hidden layers, {activation:<12} seed {seed}: {100 * train:.1f} % of the "
                    f"training, {100 * test:.1f} % of the test samples; {time.perf_counter() - start:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
