"""Each experiment runs in its smallest form, its file says what was run, and docs/results.md is generated."""

from __future__ import annotations

import importlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from idx_files import write_mnist
from image_files import LAYOUTS, write_cifar

pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "experiments"))
common, image_data, report = (importlib.import_module(name) for name in ("common", "image_data", "report"))
sys.path.pop(0)
EXPERIMENTS = {experiment.name: experiment for experiment in report.EXPERIMENTS}


def run(experiment: Any, folder: Path, *arguments: str) -> Any:
    """Run an experiment, and return the content of its file."""
    common.main(experiment, [*arguments, "--output", str(folder)])
    return json.loads(common.result_file(experiment, "--quick" in arguments, folder).read_text())


def one_case(name: str, number: int = 0, **changes: Any) -> Any:
    """Return an experiment with one of its cases, changed."""
    return replace(EXPERIMENTS[name], cases=[replace(EXPERIMENTS[name].cases[number], **changes)])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_smallest_form_runs_and_says_what_was_run(name: str, tmp_path: Path) -> None:
    experiment = EXPERIMENTS[name]
    content = run(experiment, tmp_path, "--quick", "--samples", "20", "--epochs", "1", "--seed", "3")
    assert content["options"] == {"quick": True, "samples": 20, "epochs": 1, "seed": 3}
    assert {"processor", "version", "numpy", "threads"} <= content["machine"].keys()
    assert content["not_run"] == []
    assert [done["case"] for done in content["runs"]] == [case.name for case in experiment.cases]
    for done, case in zip(content["runs"], experiment.cases, strict=True):
        assert done["failure"] is None
        assert done["data"] == {"name": done["data"]["name"], "substitute": True, "train": 20, "test": 10}
        assert "digits of scikit-learn" in done["data"]["name"]
        assert (done["settings"]["epochs"], done["settings"]["nudging"]) == (1, repr(case.nudging))
        (epoch,) = done["epochs"]
        assert 0 <= epoch["test_error"] <= 1
        assert 0 <= epoch["seconds"] <= done["seconds"]
    text = report.page(tmp_path)
    assert text.count("(substitute), 20 |") == len(experiment.cases)


def test_no_run_destroys_another(tmp_path: Path) -> None:
    """Cases are kept when others run; runs with other options are replaced only with --overwrite."""
    experiment = EXPERIMENTS["ernoult2019_mnist"]
    first, second = (case.name for case in experiment.cases[:2])
    small = ("--quick", "--samples", "20", "--epochs", "1", "--cases")
    before = run(experiment, tmp_path, *small, second)
    assert [done["case"] for done in before["runs"]] == [second]
    after = run(experiment, tmp_path, *small, first)
    assert [done["case"] for done in after["runs"]] == [first, second]
    assert after["runs"][1] == before["runs"][0]
    assert first not in [left["case"] for left in after["not_run"]]
    with pytest.raises(SystemExit, match=r"other options.*give another --output, or --overwrite"):
        run(experiment, tmp_path, *small, first, "--seed", "1")
    replaced = run(experiment, tmp_path, *small, first, "--seed", "1", "--overwrite")
    assert [done["case"] for done in replaced["runs"]] == [first]


def test_a_finished_case_is_stored_though_the_next_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, train = EXPERIMENTS["ernoult2019_mnist"], common.run

    def interrupted(case: Any, *rest: Any) -> Any:
        if case.name != experiment.cases[0].name:
            raise KeyboardInterrupt
        return train(case, *rest)

    monkeypatch.setattr(common, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        common.main(experiment, ["--quick", "--samples", "20", "--epochs", "1", "--output", str(tmp_path)])
    content = json.loads(common.result_file(experiment, True, tmp_path).read_text())
    assert [done["case"] for done in content["runs"]] == [experiment.cases[0].name]


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--samples", "0", "at least 1"),
        ("--samples", "-5", "at least 1"),
        ("--epochs", "-1", "at least 1"),
        ("--seed", "-1", "a seed is between"),
        ("--data", "/nowhere/at/all", "is no folder"),
        ("--output", __file__, "is no folder and cannot become one"),
    ],
)
def test_options_are_checked_before_anything_runs(
    option: str, value: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        common.main(EXPERIMENTS["scellier2017_mnist"], ["--quick", option, value])
    assert text in capsys.readouterr().err


def test_the_settings_of_a_paper_learn_the_digits(tmp_path: Path) -> None:
    (done,) = run(one_case("scellier2017_mnist"), tmp_path, "--quick")["runs"]
    assert len(done["epochs"]) == 25
    assert done["epochs"][-1]["test_error"] < 0.06
    assert done["epochs"][-1]["train_error"] < 0.005


def test_a_full_run_without_data_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([], ["--data", str(tmp_path)]):
        with pytest.raises(SystemExit, match="1"):
            common.main(EXPERIMENTS["scellier2023_cifar10"], ["--output", str(tmp_path), *arguments])
        printed = capsys.readouterr().err
        assert printed.count("was not run: ") == 3
        assert "fetch_cifar10(" in printed
    assert list(tmp_path.iterdir()) == []


def test_a_full_run_takes_the_published_files_and_settings(tmp_path: Path) -> None:
    write_cifar(tmp_path, LAYOUTS["cifar10"])
    small = EXPERIMENTS["scellier2023_cifar10"].cases[0].quick.network
    experiment = one_case("scellier2023_cifar10", network=small)
    (done,) = run(experiment, tmp_path / "out", "--data", str(tmp_path), "--epochs", "1")["runs"]
    assert done["data"] == {"name": "CIFAR-10", "substitute": False, "train": 20, "test": 4}
    assert (done["settings"]["batch_size"], done["settings"]["schedule"]) == (128, "cosine")
    assert done["failure"] is None


def test_images_are_those_of_the_programs_of_the_papers(tmp_path: Path) -> None:
    write_cifar(tmp_path, LAYOUTS["cifar10"])
    write_mnist(tmp_path)
    cifar = image_data.load("cifar10", tmp_path, quick=False)
    pixel = np.asarray(cifar.test.x).reshape(-1, 3, 1024)[1, 2, 5] / 255
    x, _ = cifar.test.batch(np.array([1]), np.float64)
    assert x.reshape(3, 1024)[2, 5] == pytest.approx((pixel - 0.4465) / (3 * 0.2010))
    assert cifar.train.augmentation.padding == 4
    assert not image_data.load("mnist", tmp_path, quick=True).substitute
    for path in (tmp_path / "cifar-10-binary.tar.gz",):
        path.unlink()
    framed = image_data.load("cifar10", tmp_path, quick=True)
    assert (framed.name, framed.substitute) == ("MNIST as 3 x 32 x 32", True)
    images = np.asarray(framed.test.x).reshape(-1, 3, 32, 32)
    original = np.asarray(image_data.load("mnist", tmp_path, quick=True).test.x).reshape(-1, 28, 28)
    np.testing.assert_array_equal(images[:, 1, 2:-2, 2:-2], original)
    assert images.sum() == 3 * original.sum(dtype=np.int64)


def test_start_values_fill_their_limits() -> None:
    case = EXPERIMENTS["scellier2023_cifar10"].cases[0]
    net = case.quick.network()
    case.start(net, 0)
    for block, inputs in {"W1": 27, "W2": 8 * 9, "W5": 4 * 32, "b2": 8 * 9, "b5": 4 * 32}.items():
        limit = 0.5 / math.sqrt(inputs)
        largest = np.abs(net.blocks[block]).max()
        assert 0.6 * limit < largest <= limit


def test_normal_start_values_have_their_deviation_and_no_tails() -> None:
    net = EXPERIMENTS["laborieux_zenke2022_cifar10"].cases[0].quick.network()
    common.truncated_normal(net, 0)
    weights = net.blocks["W4"] * math.sqrt(32 * 9)
    assert 1.9 < np.abs(weights).max() <= 2 + 1e-6
    assert weights.std() == pytest.approx(0.8796, abs=0.02)  # of a standard normal number between -2 and 2
    assert not net.blocks["b4"].any()


class Recorded(eq.SGD):
    """An optimiser that keeps the gradient and changes nothing."""

    def step(self, parameters: Any, gradient: Any, blocks: Any, factor: float = 1.0) -> None:
        self.gradient = gradient.astype(float)


def test_more_points_of_a_holomorphic_rule_give_a_better_gradient_at_the_start() -> None:
    images = image_data.load("cifar10", None, quick=True)
    x, y = images.train.batch(np.arange(16), np.float32)
    worst = []
    for case in EXPERIMENTS["laborieux_zenke2022_cifar10"].cases:
        short = case.shortened()
        net = short.network()
        short.start(net, 0)
        exact_net = net.astype("float64")
        free = eq.free_phase(exact_net, x, solver=eq.BlockUpdate(tolerance=1e-11, max_iterations=2000))
        outputs = free.outputs
        exact = eq.recurrent_backpropagation(exact_net, free, y, cost=case.cost).parameters
        trainer = short.trainer(net, 0)
        trainer.optimizer = Recorded()
        trainer.step(x, y)
        pairs = [(trainer.optimizer.gradient[part], exact[part]) for part in net.block_slices.values()]
        worst.append(min(a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs))
    two, four = worst
    assert two < 0.99
    assert four > 0.995
    assert outputs.std(axis=0).max() < 1e-3


def test_a_run_that_diverges_is_recorded_as_not_finished(tmp_path: Path) -> None:
    experiment = one_case("scellier2023_cifar10", rates=(1e3,) * 5)
    (done,) = run(experiment, tmp_path, "--quick", "--samples", "64", "--epochs", "3")["runs"]
    assert done["failure"] is not None
    assert f"{done['case']} ended with an error: {done['failure']}" in report.page(tmp_path)
    assert not report.finished(done)


# ---------------------------------------------------------------------------- committed results


needs_results = pytest.mark.skipif(
    not common.RESULTS.exists(),
    reason="a source distribution holds no measured results",
)


@needs_results
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_committed_results_are_of_the_present_settings(name: str) -> None:
    experiment = EXPERIMENTS[name]
    cases = {case.name: case for case in experiment.cases}
    for quick in (False, True):
        content = report.stored(experiment, quick, common.RESULTS)
        for done in content["runs"] if content else []:
            case = cases[done["case"]]
            case = case.shortened() if quick else case
            assert done["settings"] == case.settings(case.network(), done["settings"]["epochs"])


@needs_results
def test_the_page_is_generated_from_the_committed_results() -> None:
    assert report.DOCUMENT.read_text() == report.page()
