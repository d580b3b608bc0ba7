"""The advice on planted faults names their cause, and correct models and devices pass without advice."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from networks import chain
from planted import DEVICES, MODELS, Device, Pair

X = np.random.default_rng(1).normal(size=(3, 3))
Y = np.random.default_rng(2).normal(size=(3, 2))
#: A cause stands among the first sentences.
FIRST = 3


def reports(model: Any, x: Any = X, y: Any = Y) -> list[verify.Report]:
    """Return the reports on a model; a warning about its free phase is not the subject."""
    solver = eq.Euler(tolerance=1e-14, max_iterations=3000, step_size=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        problem = verify.prepare("test", model, x, y, eq.SquaredError(), solver)
        return [verify.derivatives(problem), verify.equivalence(problem, steps=20)]


def named(sentences: list[str], words: tuple[str, ...]) -> bool:
    """Return True if a sentence has one of the words, and says how sure it is."""
    return any(word in text and "Confidence: " in text for word in words for text in sentences)


@pytest.mark.parametrize("fault", MODELS)
def test_the_cause_inside_a_model_is_named(fault: str) -> None:
    build, words = MODELS[fault]
    found = reports(build())
    assert not all(report.passed for report in found)
    sentences = [sentence for report in found for sentence in report.all_advice()[:FIRST]]
    assert named(sentences, words), sentences


def beyond(limit: float) -> Any:
    """Return a `Pair` whose gradient has a wrong term where a unit is above `limit`."""

    class Beyond(Pair):
        def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
            return super().gradient(x, s) + 0.3 * (s.real > limit)

    return Beyond()


def test_a_mask_far_from_the_fixed_point_fails_the_derivatives() -> None:
    report = verify.derivatives(beyond(1.2), X)
    failed = [row.label for row in report.rows if not row.passed]
    assert failed == ["gradient = dE/ds at far states"]
    assert report.problem.state.max() < 0.8
    assert named(list(report.all_advice()[:1]), ("gradient is not smooth: it jumps by 0.3 where s[",))
    assert named(list(report.advice), ("a mask, a clip or a threshold",))


#: fault of a PyTorch energy -> words of which the advice contains one
TORCH: dict[str, tuple[str, ...]] = {
    "float32": ("float32",),
    "bfloat16": ("bfloat16",),
    "dropout": ("Noise inside gradient",),
    "batch normalisation": ("other samples of their batch",),
    "mean over the batch": ("a mean over the batch",),
    "rectifier": ("gradient is not smooth",),
    "mask": ("gradient is not smooth",),
}


def torch_model(fault: str, seed: int = 5) -> Any:
    """Return the energy of a `Pair` in PyTorch with a fault."""
    torch = pytest.importorskip("torch")
    from equiprop.torch import TorchEnergy

    torch.manual_seed(0)
    act = {
        "bfloat16": lambda u: u.bfloat16().double(),
        "dropout": lambda u: torch.nn.functional.dropout(u, 0.1),
        "batch normalisation": lambda u: u - u.mean(0),
        "rectifier": lambda u: torch.relu(u - 0.1),
        "mask": lambda u: u * (u.detach() > 0),
    }.get(fault, lambda u: u)

    def energy(x: Any, s: Any, params: Any) -> Any:
        if fault == "float32":
            x, s = x.float(), s.float()
            params = {name: value.float() for name, value in params.items()}
        u, v = act(torch.tanh(s)), (params["v"] + params["v"].T) / 2
        total = (s * s).sum(1) / 2 - ((x @ params["w"]) * u).sum(1) - ((u @ v) * u).sum(1) / 2
        return total.double() / (len(s) if fault == "mean over the batch" else 1)

    random = np.random.default_rng(seed)
    params = {"w": 0.4 * random.normal(size=(3, 4)), "v": 0.4 * random.normal(size=(4, 4))}
    return TorchEnergy(energy, 4, 2, params, 3)


@pytest.mark.parametrize("fault", TORCH)
def test_the_cause_inside_a_torch_energy_is_named(fault: str) -> None:
    found = reports(torch_model(fault))
    assert not all(report.passed for report in found)
    sentences = [sentence for report in found for sentence in report.all_advice()[:FIRST]]
    assert named(sentences, TORCH[fault]), sentences


def test_the_torch_energy_without_a_fault_passes() -> None:
    found = reports(torch_model(""))
    assert all(report.passed for report in found)
    assert found[0].problem.causes == ()


@pytest.mark.parametrize("fault", DEVICES)
def test_the_cause_inside_a_device_is_named(fault: str) -> None:
    device = Device(fault)
    report = verify.black_box(device.box, device.x, device.y, max_differences=6)
    assert not report.passed
    assert named(list(report.all_advice()[:FIRST]), DEVICES[fault]), report.all_advice()


@pytest.mark.parametrize("fault", ["noise", "noise of the contrast"])
def test_the_advised_tolerance_admits_a_noisy_device(fault: str) -> None:
    device = Device(fault)
    report = verify.black_box(device.box, device.x, device.y, max_differences=6)
    (match,) = [m for text in report.advice if (m := re.search(r"Use tolerance=(\S+), or", text))]
    box = Device(fault).box
    assert verify.black_box(box, device.x, device.y, max_differences=6, tolerance=float(match[1])).passed
    assert verify.black_box(box, device.x, device.y, repeats=8).passed


@pytest.mark.parametrize(
    ("tolerance", "words"), [(1e-5, "Use tolerance="), (0.1, "within the limit of 1.0e-01")]
)
def test_two_causes_are_both_said(tolerance: float, words: str) -> None:
    device = Device("noise")
    box = device.box
    box.contrast = Device("contrast averaged").contrast
    report = verify.black_box(box, device.x, device.y, max_differences=6, tolerance=tolerance)
    noise, mean = report.advice
    assert noise.startswith("Noise: two relaxations end")
    assert words in noise
    assert mean.startswith("contrast: a mean over the batch")


def test_a_scaled_cost_and_a_mean_are_told_apart() -> None:
    device = Device("cost doubled")
    box = device.box
    box.contrast = Device("contrast averaged").contrast
    mean, cost = verify.black_box(box, device.x, device.y, max_differences=6).advice
    assert mean.startswith("contrast: a mean over the batch")
    assert cost.startswith("EqProp is 2 times the gradient")


class Well(Pair):
    """A `Pair` with a quartic term and a scale of the whole energy."""

    def __init__(self, scale: float, **sizes: int) -> None:
        super().__init__(**sizes)
        self.scale = scale

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return self.scale * (super().energy(x, s) + (s**4).sum(axis=1))

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return self.scale * (super().gradient(x, s) + 4 * s**3)

    def parameter_gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return self.scale * super().parameter_gradient(x, s)


class Stiff(Pair):
    """A `Pair` with a steep sigmoid: u = tanh(8 s) / 8."""

    def response(self, s: np.ndarray) -> np.ndarray:
        return np.tanh(8 * s) / 8

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        u, w, v = self.parts(s)
        return s - (1 - np.tanh(8 * s) ** 2) * (x @ w + u @ v)


class Turning(eq.VectorField):
    """A vector field without an energy."""

    def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        w = self.parameters.reshape(self.num_units, self.num_units)
        return x - s + 0.3 * np.tanh(s @ w)


def right_model(seed: int) -> Any:
    """Return one of many correct models."""
    random = np.random.default_rng(seed)
    sizes = {"seed": seed, "inputs": 3, "units": int(random.integers(2, 9)), "outputs": 2}
    kind = seed % 6
    if kind == 0:
        return Pair(**sizes)
    if kind == 1:
        return Well(float(10 ** random.uniform(-1, 0)), **sizes)
    if kind == 2:
        return Stiff(**sizes)
    if kind == 3:
        return Turning(3, 2, random.normal(size=9), 3)
    activation = str(random.choice(["tanh", "softplus", "hard_sigmoid"]))
    potential = "quadratic" if kind == 4 else "legendre"
    return chain(3, sizes["units"], 2, activation=activation, potential=potential, seed=seed)


def seeds(quick: int, all_: int) -> list[Any]:
    """Return the seeds of a test, of which the quick tests run the first ones."""
    return [*range(quick), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(quick, all_))]


@pytest.mark.parametrize("seed", seeds(48, 200))
def test_correct_models_raise_no_false_alarm(seed: int) -> None:
    """All causes are looked for, although no claim fails."""
    check_right_model(right_model(seed), seed)


@pytest.mark.parametrize("seed", seeds(3, 30))
def test_correct_torch_energies_raise_no_false_alarm(seed: int) -> None:
    check_right_model(torch_model("", seed), seed)


def check_right_model(model: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(1 + seed % 4, 3)), random.normal(size=(1 + seed % 4, 2))
    symmetrize = not model.conservative
    problem = verify.prepare("test", model, x, y, eq.SquaredError(), None)
    assert problem.causes == ()
    assert verify.derivatives(problem).all_advice() == ()
    assert verify.equivalence(problem, steps=20, symmetrize=symmetrize).all_advice() == ()


class Bounded(Pair):
    """Units in (-1, 1): E = sum s artanh(s) + log(1 - s^2) / 2 - x W s - s V s / 2."""

    refuse, noise = False, 0.0

    def response(self, s: np.ndarray) -> np.ndarray:
        if self.refuse and (np.abs(s.real) >= 1).any():
            raise ValueError("outside of (-1, 1)")
        return s

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        leak = s * np.arctanh(s) + np.log(1 - s**2) / 2 - s**2 / 2
        return super().energy(x, s) + leak.sum(axis=1)

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        u, w, v = self.parts(s)
        return np.arctanh(s) - x @ w - u @ v + self.noise * self.random.standard_normal(s.shape)


@pytest.mark.parametrize("refuse", [False, True])
def test_a_model_with_a_domain_is_examined_within_it(refuse: bool) -> None:
    model = Bounded()
    model.refuse = refuse
    solver = eq.Euler(tolerance=1e-14, max_iterations=3000, step_size=0.1)
    problem = verify.prepare("test", model, X, Y, eq.SquaredError(), solver)
    assert verify.derivatives(problem).passed
    assert problem.causes == ()
    model.noise = 1e-6
    report = verify.derivatives(replace(problem))  # without the causes that were found before
    assert not report.passed
    assert report.all_advice()[0].startswith("Noise inside gradient")


@pytest.mark.parametrize("seed", seeds(8, 60))
def test_a_correct_device_that_misses_a_tolerance_is_not_blamed(seed: int) -> None:
    device = Device(seed=seed, samples=1 + seed % 3)
    report = verify.black_box(device.box, device.x, device.y, max_differences=3)
    end = device.relax(device.x, 0.0, device.y)[-1]
    device.steps = 3000
    if np.abs(device.relax(device.x, 0.0, device.y)[-1] - end).max() > 1e-5:
        assert report.advice[0].startswith("The device had not reached a fixed point")
        return
    device.steps = 300
    if not report.passed:
        (sentence,) = report.advice
        assert "Use a smaller beta" in sentence
        report = verify.black_box(device.box, device.x, device.y, max_differences=3, beta=0.02)
    assert report.all_advice() == ()
    report = verify.black_box(device.box, device.x, device.y, max_differences=3, tolerance=1e-13)
    (sentence,) = report.advice
    assert sentence.startswith(("No known cause fits.", "The device had not reached a fixed point"))


class Counting(Pair):
    """A `Pair` that counts its calls, and ends after a number of them as after Ctrl-C."""

    end = 10**9

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls == self.end:
            raise KeyboardInterrupt
        return super().gradient(x, s)


def test_a_certificate_of_a_small_model_takes_few_calls() -> None:
    """Without a limit, a Neumann series that stagnates takes 200,000 calls."""
    model = Counting(seed=3, inputs=4, units=5)
    random = np.random.default_rng(0)
    x, y = random.uniform(0, 1, (5, 4)), random.uniform(0, 1, (5, 2))
    assert verify.gradients(model, x, y).passed
    assert model.calls < 100_000


@pytest.mark.parametrize("end", [200, 2000, 5000])
def test_an_interrupt_ends_a_certificate_and_restores_the_parameters(end: int) -> None:
    model = Counting()
    kept = model.parameters.copy()
    model.end = end
    with pytest.raises(KeyboardInterrupt):
        verify.certify(model, X, Y)
    np.testing.assert_array_equal(model.parameters, kept)


def test_a_certificate_shows_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    verify.certify(Pair(), X, Y, claims=["equality", "limit"])
    assert capsys.readouterr() == ("", "")
    verify.certify(Pair(), X, Y, claims=["equality", "limit"], progress=True)
    lines = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert [line.split("\r")[-1].split(",")[0] for line in lines] == ["equality: holds", "limit: holds"]
