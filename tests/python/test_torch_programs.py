"""A FixedPointLayer inside compiled models, in threads, and in models that several processes train."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from networks import chain

torch = pytest.importorskip("torch")

import torch_processes  # noqa: E402
from equiprop.torch import FixedPointLayer, TorchEnergy  # noqa: E402


def bowl(x: Any, s: Any, params: dict[str, Any]) -> Any:
    return (s**2 / 2 + torch.log(torch.cosh(s @ params["W"] + x @ params["V"]))).sum(dim=1)


def energy() -> TorchEnergy:
    torch.manual_seed(0)
    weights = {"W": 0.3 * torch.randn(3, 3), "V": 0.3 * torch.randn(4, 3)}
    return TorchEnergy(bowl, 3, 2, weights, num_inputs=4)


@pytest.mark.parametrize("kind", ["network", "energy"])
@pytest.mark.filterwarnings("default")  # the compiler itself emits warnings
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_model_is_the_eager_one(kind: str, backend: str) -> None:
    torch.manual_seed(0)
    layer = FixedPointLayer(chain() if kind == "network" else energy())
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), layer).double()
    compiled = torch.compile(model, fullgraph=kind == "network", backend=backend)
    for batch in (6, 3):
        x = torch.randn(batch, 5, dtype=torch.float64)
        results = []
        for each in (model, compiled):
            model.zero_grad()
            outputs = each(x)
            outputs.square().sum().backward()
            results.append([outputs.detach(), *(p.grad.clone() for p in model.parameters())])
        for a, b in zip(*results, strict=True):
            assert float((a - b).abs().max()) <= 1e-12
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.5)
    assert float((model(x) - compiled(x)).detach().abs().max()) <= 1e-12
    assert layer.last.converged


@pytest.mark.parametrize("kind", ["network", "energy"])
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_derivatives_in_forward_mode_are_refused(kind: str) -> None:
    layer = FixedPointLayer(chain() if kind == "network" else energy()).double()
    x = torch.ones(2, 4, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="reverse mode"):
        torch.func.jvp(layer, (x,), (x,))
    with torch.autograd.forward_ad.dual_level(), pytest.raises(RuntimeError, match="reverse mode"):
        layer(torch.autograd.forward_ad.make_dual(x, x))


def test_threads_share_a_layer() -> None:
    layer, found = FixedPointLayer(chain()), list[bool]()

    def results(each: Any, x: Any) -> list[Any]:
        outputs = each(x)
        return [outputs, *torch.autograd.grad(outputs.square().sum(), [x, *each.parameters()])]

    def work(factor: float) -> None:
        x, alone = torch.full((4, 4), factor, dtype=torch.float64, requires_grad=True), copy.deepcopy(layer)
        for _ in range(20):
            found.append(all(map(torch.equal, results(layer, x), results(alone, x))))

    threads = [threading.Thread(target=work, args=(1 + k / 8,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert all(found)


def test_several_processes_train_the_model_of_one(tmp_path: Path) -> None:
    subprocess.run([sys.executable, torch_processes.__file__, str(tmp_path)], check=True)
    alone = torch.load(tmp_path / "1.pt")
    before = torch_processes.model().state_dict()
    for size in (2, 4):
        together = torch.load(tmp_path / f"{size}.pt")
        for name, value in alone.items():
            assert float((together[name] - value).abs().max()) <= 1e-12, (size, name)
            assert (value != before[name]).all(), name
