"""Signs of the nudging on convolutional networks, MNIST and CIFAR-10 (Laborieux et al. 2021).

python experiments/laborieux2021_cifar10.py --data DIR   the settings of the paper: months on one core
python experiments/laborieux2021_cifar10.py --quick           small networks, the first 2000 images
"""

from functools import partial
from typing import Any

import equiprop as eq
from common import Case, Experiment, Quick, fan_in, main, synchronous
from equiprop.optimizers import cosine

SQUARED, ENTROPY = eq.SquaredError(), eq.CrossEntropy(logit_scale=1.0)


def cifar_network(output: str, channels: tuple[int, ...] = (128, 256, 512, 512)) -> eq.HopfieldNetwork:
    """Return four convolutions with maxima, the last one without padding, and a dense output."""
    sizes = [16, 8, 4, 1]
    hidden = [
        eq.Layer((count, size, size), "half_hard_sigmoid")
        for count, size in zip(channels, sizes, strict=True)
    ]
    return eq.HopfieldNetwork(
        layers=[eq.Layer((3, 32, 32)), *hidden, eq.Layer(10, output)],
        couplings=[*(eq.MaxPooled(k, k + 1, 3, padding=int(k < 3)) for k in range(4)), eq.Dense(4, 5)],
    )


def cifar(name: str, nudging: Any, nudged: int, published: str = "") -> Case:
    cost = ENTROPY if name.startswith("entropy") else SQUARED
    output = "linear" if cost is ENTROPY else "half_hard_sigmoid"
    return Case(
        name=f"CIFAR-10, {name}",
        data="cifar10",
        network=partial(cifar_network, output),
        start=fan_in(),
        rates=(0.25, 0.15, 0.1, 0.08, 0.05),
        nudging=nudging,
        free=synchronous(250),
        nudged=synchronous(nudged),
        epochs=120,
        batch_size=128,
        quick=Quick(2, partial(cifar_network, output, (8, 16, 32, 32)), 16, tolerance=1e-4),
        cost=cost,
        momentum=0.9,
        weight_decay=3e-4,
        schedule=cosine(),
        published=published,
    )


def mnist_network(output: str, channels: tuple[int, int] = (32, 64)) -> eq.HopfieldNetwork:
    options = {"kernel": 5, "activation": "half_hard_sigmoid", "output_activation": output}
    return eq.networks.chain_of_images((1, 28, 28), channels, 10, **options)


def mnist(name: str, nudging: Any) -> Case:
    cost = ENTROPY if name.startswith("entropy") else SQUARED
    output = "linear" if cost is ENTROPY else "half_hard_sigmoid"
    return Case(
        name=f"MNIST, {name}",
        data="mnist",
        network=partial(mnist_network, output),
        start=fan_in(),
        rates=(
            0.6,
            0.14,
            0.06,
        ),  # those of Ernoult et al. 2019 for units of half their slope: four times as large
        nudging=nudging,
        free=synchronous(200),
        nudged=synchronous(10),
        epochs=40,
        batch_size=20,
        quick=Quick(2, partial(mnist_network, output, (8, 16))),
        cost=cost,
    )


EXPERIMENT = Experiment(
    name="laborieux2021_cifar10",
    paper="Laborieux et al. 2021, arXiv 2006.03824",
    cases=[
        mnist("squared, one-sided", eq.one_sided(0.4)),
        mnist("squared, random sign", eq.random_sign(0.4)),
        mnist("squared, centered", eq.centered(0.4)),
        mnist("entropy, centered", eq.centered(0.4)),
        cifar("squared, one-sided", eq.one_sided(0.5), 30, "86 %"),
        cifar("squared, random sign", eq.random_sign(0.5), 30),
        cifar("squared, centered", eq.centered(0.5), 30),
        cifar("entropy, centered", eq.centered(1.0), 25, "11.7 %"),
    ],
    known="Settings of CIFAR-10: the authors' program. The paper has no table of MNIST: sizes, numbers of "
    "steps and the factor 0.4 are those of the authors' command for MNIST, which uses Adam; the rates and "
    "the batch size were chosen here (those of P-conv of Ernoult et al. 2019).",
    differences=[
        "Cross-entropy: the softmax of the authors reads the last hidden layer and does not act back on "
        "it; here the outputs are linear units of the network, with logit scale 1.",
        "Initial weights are the defaults of PyTorch's layers, which the authors' program uses.",
    ],
)

if __name__ == "__main__":
    main(EXPERIMENT)
