"""What the experiments share: cases with the settings of a paper, their training, and files of results."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import equiprop as eq
import image_data
import numpy as np
from equiprop.config import config
from equiprop.files import write_text
from equiprop.optimizers import SGD, Schedule
from image_data import Images, MissingData

RESULTS = Path(__file__).parent / "results"

Network = Callable[[], eq.HopfieldNetwork]
Start = Callable[[eq.HopfieldNetwork, int], None]


@dataclass(frozen=True)
class Quick:
    """What a quick run changes, next to the number of images.

    Attributes
    ----------
    epochs : int
    network : callable, optional
        A smaller network; None for that of the paper.
    batch_size : int, optional
        None for that of the paper.
    tolerance : float
        Residual at which a phase stops before it has taken the steps of the paper.
    """

    epochs: int
    network: Network | None = None
    batch_size: int | None = None
    tolerance: float = 0.0


@dataclass(frozen=True)
class Case:
    """One row of a table of a paper.

    Attributes
    ----------
    name : str
    data : {"mnist", "cifar10"}
    network : callable
        Returns the network.
    start : callable
        Draws start values into a network, with a seed.
    rates : tuple of float
        Learning rate of each block, from the input to the output; W1 and b1 have the first one.
    nudging : Nudging
    free, nudged : solver
        Those of the free and of the nudged phases. With the tolerance 0 they take a fixed number of steps.
    epochs, batch_size : int
    quick : Quick
    cost : SquaredError or CrossEntropy
    momentum, weight_decay : float
    schedule : callable, optional
    published : str
        Test error that the abstract of the paper, or the logs of its authors, state; "" if neither does.
    """

    name: str
    data: str
    network: Network
    start: Start
    rates: tuple[float, ...]
    nudging: Any
    free: Any
    nudged: Any
    epochs: int
    batch_size: int
    quick: Quick
    cost: Any = field(default_factory=eq.SquaredError)
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Schedule | None = None
    published: str = ""

    def shortened(self) -> Case:
        """Return the case of a quick run. Its rates stay those of the beginning of the schedule."""
        quick = self.quick
        return replace(
            self,
            network=quick.network or self.network,
            batch_size=quick.batch_size or self.batch_size,
            epochs=quick.epochs,
            free=replace(self.free, tolerance=quick.tolerance),
            nudged=replace(self.nudged, tolerance=quick.tolerance),
            schedule=None,
        )

    def settings(self, net: eq.HopfieldNetwork, epochs: int) -> dict[str, Any]:
        """Return the settings of a run as text and numbers."""
        names = ("nudging", "free", "nudged", "cost")
        return {
            "network": repr(net),
            "parameters": net.num_parameters,
            **{name: repr(getattr(self, name)) for name in names},
            "rates": list(self.rates),
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "schedule": "constant" if self.schedule is None else "cosine",
            "batch_size": self.batch_size,
            "epochs": epochs,
        }

    def trainer(self, net: eq.HopfieldNetwork, seed: int) -> eq.Trainer:
        """Return a trainer that takes the steps of the paper: no clipping, no schedule but the given one."""
        rates = {f"{kind}{k}": rate for kind in "Wb" for k, rate in enumerate(self.rates, start=1)}
        return eq.Trainer(
            net,
            eq.EquilibriumPropagation(self.nudging, self.nudged),
            SGD(rates, momentum=self.momentum, weight_decay=self.weight_decay),
            self.cost,
            self.free,
            self.schedule,
            self.batch_size,
            seed,
            clip=math.inf,
        )


@dataclass(frozen=True)
class Experiment:
    """The table of a paper.

    Attributes
    ----------
    name : str
        Name of the program and of its files of results.
    paper : str
        Authors, year and arXiv number.
    cases : sequence of Case
    known : str
        Where the settings are from.
    differences : sequence of str
        Sentences: where the library differs from the program of the authors, and settings that we chose.
    """

    name: str
    paper: str
    cases: Sequence[Case]
    known: str
    differences: Sequence[str]


# ---------------------------------------------------------------------------- start values


def glorot(net: eq.HopfieldNetwork, seed: int) -> None:
    """Draw weights within Glorot's limit sqrt(6 / (fan in + fan out)), and set biases to zero."""
    net.initialize(seed, gain=1.0)


def fan_in(weight_gain: float = 1.0, bias_gain: float = 1.0) -> Start:
    """Return a start with uniform weights within gain / sqrt(fan in), and biases likewise.

    The fan in counts the inputs from the layer below, as in PyTorch's Linear and Conv2d, whose gains are 1.
    """

    def start(net: eq.HopfieldNetwork, seed: int) -> None:
        random = np.random.default_rng(seed)
        for weights, biases, root in _blocks(net):
            for block, gain in ((weights, weight_gain), (biases, bias_gain)):
                block[...] = random.uniform(-gain / root, gain / root, block.shape)

    return start


def truncated_normal(net: eq.HopfieldNetwork, seed: int) -> None:
    """Draw normal weights of deviation 1 / sqrt(fan in) without those beyond two deviations; biases are 0.

    These are the defaults of Haiku's Linear and Conv2D.
    """
    random = np.random.default_rng(seed)
    for weights, biases, root in _blocks(net):
        drawn = random.standard_normal(weights.shape)
        while (far := np.abs(drawn) > 2).any():
            drawn[far] = random.standard_normal(far.sum())
        weights[...] = drawn / root
        biases[...] = 0


def _blocks(net: eq.HopfieldNetwork) -> Iterator[tuple[Any, Any, float]]:
    """Yield weights, biases and the square root of the fan in of each layer of a chain."""
    blocks = net.blocks
    for k in range(1, len(net.couplings) + 1):
        weights = blocks[f"W{k}"]
        inputs = weights.shape[0] if weights.ndim == 2 else math.prod(weights.shape[1:])
        yield weights, blocks[f"b{k}"], math.sqrt(inputs)


def euler(step_size: float, steps: int) -> eq.Euler:
    """Return a solver that takes a fixed number of Euler steps."""
    return eq.Euler(step_size=step_size, tolerance=0, max_iterations=steps)


def synchronous(steps: int) -> eq.FixedPointIteration:
    """Return a solver that updates all layers at once, a fixed number of times."""
    return eq.FixedPointIteration(damping=0.0, tolerance=0, max_iterations=steps)


def even_odd(sweeps: int) -> eq.BlockUpdate:
    """Return a solver that updates even and odd layers in turns, a fixed number of times."""
    return eq.BlockUpdate(tolerance=0, max_iterations=sweeps)


# ---------------------------------------------------------------------------- running


def run(case: Case, data: Images, options: argparse.Namespace) -> dict[str, Any]:
    """Train one case; return settings, errors after each epoch, processor seconds, warnings and failure."""
    case = case.shortened() if options.quick else case
    net, epochs = case.network(), options.epochs or case.epochs
    case.start(net, options.seed)
    trainer, records, begin = case.trainer(net, options.seed), list[dict[str, Any]](), time.process_time()

    def record(trainer: eq.Trainer, epoch: eq.Epoch) -> None:
        test = trainer.evaluate(data.test).error
        used = round(time.process_time() - begin, 2)
        records.append(
            {"train_error": round(epoch.train_error, 5), "test_error": round(test, 5), "seconds": used}
        )
        print(f"  {case.name}: epoch {epoch.epoch}, test error {test:.2%}, {used:.0f} s", flush=True)

    trainer.callbacks = [record]
    failure = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer.fit(data.train, epochs=epochs)
        except eq.ConvergenceError as error:
            failure = str(error)
    return {
        "case": case.name,
        "settings": case.settings(net, epochs),
        "data": data.as_dict(),
        "epochs": records,
        "seconds": round(time.process_time() - begin, 2),
        "warnings": sorted({str(warning.message) for warning in caught}),
        "failure": failure,
    }


def processor() -> str:
    """Return the model name of the processor, "unknown" where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def result_file(experiment: Experiment, quick: bool, folder: Path = RESULTS) -> Path:
    """Return the file of results of a quick or a full run."""
    return folder / f"{experiment.name}{'-quick' if quick else ''}.json"


def main(experiment: Experiment, arguments: Sequence[str] | None = None) -> None:
    """Run the cases of an experiment as the command line says, and write the file of results after each case.

    Runs of other cases that the file already has are kept, if they had the same options.
    """
    options = parse(experiment, arguments)
    file = result_file(experiment, options.quick, options.output)
    settings = {name: getattr(options, name) for name in ("quick", "samples", "epochs", "seed")}
    runs, missing = earlier_runs(file, settings, options.overwrite), dict[str, str]()
    ran = False
    for case in experiment.cases:
        if options.cases and case.name not in options.cases:
            missing[case.name] = "left out by --cases"
            continue
        try:
            data = image_data.load(case.data, options.data, options.quick)
        except MissingData as absent:
            missing[case.name] = str(absent)
            print(f"{experiment.name}: {case.name} was not run: {absent}", file=sys.stderr)
            continue
        runs[case.name] = run(case, data.first(options.samples) if options.samples else data, options)
        ran = True
        names = [case.name for case in experiment.cases]
        content = {
            "experiment": experiment.name,
            "options": settings,
            "machine": {"processor": processor(), **config()},
            "runs": [runs[name] for name in names if name in runs],
            "not_run": [
                {"case": name, "reason": missing.get(name, "not yet run")}
                for name in names
                if name not in runs
            ],
        }
        write_text(file, json.dumps(content, indent=1) + "\n", experiment.name)
    if not ran:
        raise SystemExit(1)


def earlier_runs(file: Path, settings: dict[str, Any], overwrite: bool) -> dict[str, dict[str, Any]]:
    """Return the runs of a file of results by case, if there is one.

    Raises
    ------
    SystemExit
        If the file is of a run with other options, unless it may be overwritten.
    """
    if overwrite or not file.exists():
        return {}
    content = json.loads(file.read_text())
    if content["options"] != settings:
        raise SystemExit(
            f"{file} holds runs with other options, {content['options']}: "
            "give another --output, or --overwrite."
        )
    return {run["case"]: run for run in content["runs"]}


def positive(text: str) -> int:
    """Return a whole number above 0 of the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"a number of at least 1 is needed, not {text}")
    return number


def seed(text: str) -> int:
    """Return a seed of the command line."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"a seed is between 0 and 2^63 - 1, not {text}")
    return number


def existing_folder(text: str) -> Path:
    """Return a folder of the command line, which must exist."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return Path(text)


def writable_folder(text: str) -> Path:
    """Return a folder of the command line; it is created if it is missing."""
    folder = Path(text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} is no folder and cannot become one: {error}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{text} is not writable")
    return folder


def parse(experiment: Experiment, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line; all are checked before anything runs."""
    parser = argparse.ArgumentParser(prog=f"{experiment.name}.py", description=experiment.paper)
    parser.add_argument("--quick", action="store_true", help="fewer images and epochs: one to five minutes")
    parser.add_argument("--data", type=existing_folder, metavar="DIR", help="folder with the published files")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in experiment.cases])
    parser.add_argument(
        "--samples", type=positive, help="number of training images; half as many test images"
    )
    parser.add_argument("--epochs", type=positive, help="number of epochs of each case")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument(
        "--output",
        type=writable_folder,
        default=str(RESULTS),
        metavar="DIR",
        help="folder of the file of results",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace runs with other options")
    return parser.parse_args(arguments)
