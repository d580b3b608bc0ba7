"""Seconds of training 784-512-10 on the device from start to end, with the test error on MNIST.

python benchmarks/cuda/mnist.py OUTPUT [--small]

The images are MNIST's in the folder MNIST_DIR, or random numbers.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import equiprop as eq
import numpy as np
from equiprop import cuda_core
from results import write

SECONDS = 25


def images(small: bool) -> tuple[eq.Dataset, eq.Dataset, str]:
    """Return training and test images, and where they are from."""
    if os.environ.get("MNIST_DIR") and not small:
        return *eq.load_mnist(os.environ["MNIST_DIR"]), "MNIST"
    random, count = np.random.default_rng(0), 60 if small else 60_000
    x = random.random((count, 784), dtype=np.float32) * (random.random((count, 784)) < 0.2)
    data = eq.Dataset(x.astype(np.float32), random.integers(0, 10, count))
    return data, data.take(np.arange(count // 6)), "random"


def main(path: str, size: str = "") -> None:
    small = bool(size)
    if small:
        cuda_core.DIVISION = (1, 8, 64)  # few threads, which are slow to emulate
    train, test, source = images(small)
    net = eq.HopfieldNetwork([784, 8 if small else 512, 10], seed=0).to("cuda")
    trainer = eq.Trainer(net, optimizer=eq.Adam(1e-3), batch_size=20 if small else 50)
    result: dict[str, Any] = {"images": source, "samples": len(train), "epochs": []}
    begin = time.perf_counter()
    while len(result["epochs"]) < (1 if small else 5) and time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        trainer.fit(train, epochs=1)
        seconds = time.perf_counter() - start
        epoch = {"seconds": round(seconds, 4), "error": trainer.evaluate(test).error}
        result["epochs"].append(epoch)
        write(path, result)


if __name__ == "__main__":
    main(*sys.argv[1:])
