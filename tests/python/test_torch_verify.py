"""`equiprop.torch.verify` passes right modules and names the fault of wrong ones."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import chain

torch = pytest.importorskip("torch")

import torch_modules as modules  # noqa: E402
from equiprop.torch import FixedPointLayer, verify  # noqa: E402

X = np.random.default_rng(1).normal(size=(4, 3))
Y = np.random.default_rng(2).normal(size=(4, 2))


def check(module: Any, claims: Any = ()) -> Any:
    return verify(module, X, Y, claims=claims)


@pytest.mark.parametrize("kind", [modules.DeepEquilibrium, modules.Unrolled])
def test_right_modules_pass(kind: Any) -> None:
    report = check(kind())
    assert report.passed, str(report)
    assert report.advice == ()
    assert report.relaxation == "f"
    assert report["residual of the fixed point"] < 1e-14
    assert report["gradient, against finite differences"] < 1e-10


def test_the_claims_of_the_theory_are_checked_on_the_step_of_a_module() -> None:
    report = check(modules.DeepEquilibrium(), ["limit"])
    assert report.passed
    assert report.certificate is not None
    assert "limit: holds" in str(report)
    assert report.certificate.cases[0].reports[0]["gradient by dual numbers"] < 1e-11


def test_the_jacobian_is_that_of_the_step() -> None:
    module = modules.DeepEquilibrium().double()
    report = check(module)
    x = torch.from_numpy(X)
    z = module.relax(x)
    found = []
    for i in range(4):
        j = torch.func.jacrev(lambda s, i=i: module.f(s, x[i]))(z[i])
        found.append(float(torch.linalg.eigvals(j.detach()).abs().max()))
    assert report["largest |eigenvalue| of the step's Jacobian"] == pytest.approx(max(found), rel=1e-9)


@pytest.mark.parametrize("fault", modules.FAULTS)
def test_a_planted_fault_is_named(fault: str) -> None:
    build, sentence = modules.FAULTS[fault]
    report = check(build())
    assert not report.passed
    assert len(report.advice) == 1, report.advice
    assert report.advice[0].startswith(sentence), report.advice
    assert report.advice[0] in str(report)


def test_the_cures_of_a_kink_work() -> None:
    module = modules.Kinked()
    assert not check(module).passed
    with torch.no_grad():
        module.f.W.bias += 0.1
    assert check(module).passed
    smooth = modules.Kinked()
    smooth.f.rectifier = torch.nn.functional.softplus
    assert check(smooth).passed


def test_the_module_is_left_as_it_is() -> None:
    module = modules.DeepEquilibrium()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    check(module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert next(module.parameters()).dtype == torch.float32
    assert all(p.grad is None for p in module.parameters())


def test_a_layer_of_this_library() -> None:
    def model(*phase: Any, **options: Any) -> Any:
        torch.manual_seed(0)
        layer = FixedPointLayer(chain(), *phase, **options)
        return torch.nn.Sequential(torch.nn.Linear(3, 4), layer, torch.nn.Linear(3, 2))

    assert check(model()).passed
    biased = check(model(eq.EquilibriumPropagation(eq.centered(0.25))))
    assert not biased.passed
    assert biased.advice[0].startswith("Bias of a finite nudge: centered(0.25)")
    few = check(model(solver=eq.BlockUpdate(max_iterations=3), on_failure="ignore"))
    assert not few.passed
    assert few.advice[0].startswith("Raise max_iterations (3)")


def test_labels_and_targets_of_any_shape() -> None:
    module = modules.DeepEquilibrium()
    assert verify(module, X, [0, 1, 1, 0], claims=()).passed
    assert verify(
        torch.nn.Sequential(module, torch.nn.Unflatten(1, (2, 1))), X, Y[:, :, None], claims=()
    ).passed


def test_a_module_without_a_step_is_judged_by_its_gradient() -> None:
    report = check(torch.nn.Linear(3, 2))
    assert report.passed
    assert report.relaxation is None
    assert report.certificate is None


@pytest.mark.parametrize("steps", ["ift", 1])
def test_the_layer_of_torchdeq(steps: Any) -> None:
    torchdeq = pytest.importorskip("torchdeq", reason="needs the extra 'deq'")

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f, self.head = modules.Step(), torch.nn.Linear(5, 2)
            options = {"f_tol": 1e-12, "b_tol": 1e-12, "f_max_iter": 200, "b_max_iter": 200}
            options |= {"f_solver": "fixed_point_iter", "b_solver": "fixed_point_iter"}
            self.deq = torchdeq.get_deq(**options, **({"ift": True} if steps == "ift" else {"grad": steps}))

        def forward(self, x: Any) -> Any:
            z, _ = self.deq(lambda z: self.f(z, x), x.new_zeros(len(x), 5))
            return self.head(z[-1])

    report = check(Model())
    if steps == "ift":
        assert report.passed, str(report)
        assert report.relaxation == "f"
    else:
        assert report.advice[0].startswith("One-step gradient:"), str(report)


class Undefined(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.log(-x[:, :2].abs())


REFUSED = {
    "no module": (lambda: verify(3, X, Y), TypeError, "module is a"),
    "tolerance": (
        lambda: verify(torch.nn.Linear(3, 2), X, Y, tolerance=0),
        ValueError,
        "tolerance is positive",
    ),
    "claim": (
        lambda: verify(torch.nn.Linear(3, 2), X, Y, claims=["no"]),
        ValueError,
        "an entry of claims is",
    ),
    "targets": (lambda: verify(torch.nn.Linear(3, 2), X, Y[:3]), ValueError, "y has the shape of"),
    "labels": (lambda: verify(torch.nn.Linear(3, 2), X, [0, 1, 2, 0]), ValueError, r"Labels lie in 0 \.\. 1"),
    "width": (lambda: verify(torch.nn.Linear(3, 2), X[:, :2], Y), ValueError, "The module accepts x"),
    "nan": (lambda: verify(torch.nn.Linear(3, 2), X * np.nan, Y), ValueError, "x is finite"),
    "nan inside": (lambda: verify(Undefined(), X, Y), ValueError, "The outputs of the module are finite"),
    "tuple": (lambda: verify(torch.nn.LSTM(3, 2), X, Y), TypeError, "The module returns a tensor"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_checked_is_refused_with_a_sentence(case: str) -> None:
    call, error, text = REFUSED[case]
    with pytest.raises(error, match=rf"^\[verify\] .*{text}.*\. Received "):
        call()
