"""Energy-based, prototypical and convolutional networks on MNIST (Ernoult et al. 2019).

python experiments/ernoult2019_mnist.py --data DIR   the settings of the paper: a day on one core, of
    which --cases P-1h EB-1h takes six minutes
python experiments/ernoult2019_mnist.py --quick           the first 2000 images: two minutes
"""

from functools import partial
from typing import Any

import equiprop as eq
from common import Case, Experiment, Quick, euler, fan_in, main, synchronous


def energy_based(*hidden: int) -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork(
        [784, *hidden, 10],
        activation="steep_sigmoid",
        output_activation="hard_sigmoid",
        potential="quadratic",
    )


def prototypical(*hidden: int) -> eq.HopfieldNetwork:
    return eq.HopfieldNetwork(
        [784, *hidden, 10], activation="steep_sigmoid", output_activation="steep_sigmoid"
    )


def convolutional() -> eq.HopfieldNetwork:
    return eq.networks.convolutional28(output_activation="hard_sigmoid")


def case(
    name: str, network: Any, rates: tuple[float, ...], beta: float, solvers: Any, epochs: int, quick: int
) -> Case:
    free, nudged = solvers
    return Case(
        name=name,
        data="mnist",
        network=network,
        start=fan_in(),
        rates=rates,
        nudging=eq.one_sided(beta),
        free=free,
        nudged=nudged,
        epochs=epochs,
        batch_size=20,
        quick=Quick(quick),
        published="about 1 %" if name == "P-conv" else "",
    )


def steps(free: int, nudged: int) -> Any:
    return synchronous(free), synchronous(nudged)


def euler_steps(free: int, nudged: int) -> Any:
    return euler(0.2, free), euler(0.2, nudged)


EXPERIMENT = Experiment(
    name="ernoult2019_mnist",
    paper="Ernoult et al. 2019, arXiv 1905.13633",
    cases=[
        case("EB-1h", partial(energy_based, 512), (0.1, 0.05), 0.5, euler_steps(100, 12), 30, 10),
        case("EB-2h", partial(energy_based, 512, 512), (0.4, 0.1, 0.01), 0.5, euler_steps(400, 40), 50, 2),
        case("P-1h", partial(prototypical, 512), (0.08, 0.04), 0.1, steps(40, 15), 30, 10),
        case("P-2h", partial(prototypical, 512, 512), (0.2, 0.05, 0.005), 0.5, steps(100, 20), 50, 4),
        case(
            "P-3h", partial(prototypical, *[512] * 3), (0.2, 0.05, 0.01, 0.002), 0.5, steps(180, 20), 100, 2
        ),
        case("P-conv", convolutional, (0.15, 0.035, 0.015), 0.4, steps(200, 10), 40, 1),
    ],
    known="Settings: the authors' commands; start values and batch size: the defaults of their program.",
    differences=[
        "The authors add the nudge of a prototypical network to the output after its activation; here "
        "it is a force on the drive. The two agree for outputs clip(s, 0, 1) that are not held; with "
        "logistic outputs the authors' rule leaves out their slope.",
        "An output unit of the authors' energy-based networks follows -s + W rho(s) without rho'(s), "
        "which no energy gives together with its signal rho(s) to the hidden units; here it is a unit "
        "clip(s, 0, 1).",
        "The column of BPTT of the paper is not computed.",
    ],
)

if __name__ == "__main__":
    main(EXPERIMENT)
