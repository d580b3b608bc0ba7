"""Positive, negative and centered nudging of a deep convolutional Hopfield network (Scellier et al. 2023).

python experiments/scellier2023_cifar10.py --data DIR   the settings of the paper: weeks on one core
python experiments/scellier2023_cifar10.py --quick           a small network, the first 2000 images
"""

from typing import Any

import equiprop as eq
from common import Case, Experiment, Quick, even_odd, fan_in, main
from equiprop.optimizers import cosine

RATES = (0.0625, 0.0375, 0.025, 0.02, 0.0125)


def small_network() -> eq.HopfieldNetwork:
    return eq.networks.chain_of_images((3, 32, 32), [8, 16, 32, 32], 10, kernel=3, padding=1)


def case(name: str, nudging: Any) -> Case:
    return Case(
        name=name,
        data="cifar10",
        network=eq.networks.dchn32,
        start=fan_in(weight_gain=0.5, bias_gain=0.5),
        rates=RATES,
        nudging=nudging,
        free=even_odd(60),
        nudged=even_odd(15),
        epochs=100,
        batch_size=128,
        quick=Quick(8, small_network, 16),
        momentum=0.9,
        weight_decay=3e-4,
        schedule=cosine(2e-6 / RATES[0]),
    )


EXPERIMENT = Experiment(
    name="scellier2023_cifar10",
    paper="Scellier et al. 2023, arXiv 2312.15103",
    cases=[
        case("positive (P-EP)", eq.one_sided(0.25)),
        case("negative (N-EP)", eq.one_sided(-0.25)),
        case("centered (C-EP)", eq.centered(0.25)),
    ],
    known="Settings: the authors' program for the comparison of algorithms.",
    differences=[
        "A nudged output of the authors is W^T s + b - beta (o - y) with the o of the sweep before; "
        "here it is the minimum (W^T s + b + beta y) / (1 + beta). The fixed points are equal.",
        "The authors' cosine changes the rates after each epoch and ends at the rate 2e-6; here it "
        "changes them at each step, and ends at 2e-6 for the first block and at equal fractions for the "
        "others.",
        "Contrastive learning, coupled learning, truncated and recurrent backpropagation, and the other "
        "four sets of the paper are not part of this experiment.",
        "A small network needs 600 steps of centered nudging and 1400 of negative nudging before its error "
        "falls, so the stored quick run has --epochs 16 in place of 8.",
        "The abstract of the paper: negative perturbations are better than positive ones, and centered "
        "Equilibrium Propagation is best. The stored quick run has this order.",
    ],
)

if __name__ == "__main__":
    main(EXPERIMENT)
