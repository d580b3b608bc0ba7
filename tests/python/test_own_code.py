"""Certificates of models, costs and functions that a user wrote: import path, source hash, and attributes."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from equiprop.verify.encoding import decode, encode
from networks import Valley, chain, inputs, labels

MODELS = '''
import numpy as np
import equiprop as eq


class Springs(eq.Energy):
    """E = sum theta s^2 / 2 + k s^4 / 4 - x s, with attributes of many kinds."""

    def __init__(self, theta, k):
        super().__init__(len(theta), 1, np.asarray(theta, dtype=float), num_inputs=len(theta))
        self.k, self.names, self.places = k, ("a", "b"), {"all": slice(0, None)}
        self.view = self.parameters[1:]

    def energy(self, x, s):
        return (self.parameters * s**2 / 2 + self.k * s**4 / 4 - x * s).sum(axis=1)

    def gradient(self, x, s):
        return self.parameters * s + self.k * s**3 - x


class Cost:
    def __init__(self, inner):
        self.inner = inner

    def bind(self, model, y, where):
        return self.inner.bind(model, y, where)


def shifted(y):
    return np.eye(4)[y]
'''


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "springs_of_a_user.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("springs_of_a_user")
    sys.modules.pop("springs_of_a_user", None)


def saved(models: Any, path: Path, cost: Any = None) -> Path:
    springs = models.Springs([1.0, 2.0], np.float64(0.5))
    given = eq.SquaredError() if cost is None else cost
    report = verify.limit(springs, [[0.3, -0.2]], [[0.1]], cost=given)
    assert report.passed, str(report)
    report.save(path)
    return path


def test_a_model_is_found_by_its_import_path_and_repeated(models: Any, tmp_path: Path) -> None:
    path = saved(models, tmp_path / "own.json", models.Cost(eq.SquaredError()))
    sys.modules.pop("springs_of_a_user")  # a new process
    replayed = verify.replay(path)
    assert replayed.identical, str(replayed)
    model: Any = replayed.certificate.cases[0].problem.model  # type: ignore[union-attr]
    assert (model.k, model.names, model.places) == (0.5, ("a", "b"), {"all": slice(0, None)})
    model.parameters[1] = 7.0
    assert model.view.tolist() == [7.0]  # still a view
    stored = json.loads(path.read_text())["cases"][0]["problem"]["model"]["code"]
    assert stored["name"] == "springs_of_a_user:Springs"
    assert list(stored["sources"]) == ["springs_of_a_user"]


def test_a_model_whose_source_changed_is_refused(models: Any, tmp_path: Path) -> None:
    path = saved(models, tmp_path / "own.json")
    source = tmp_path / "springs_of_a_user.py"
    source.write_text(MODELS.replace("s**4 / 4", "s**4 / 5"))
    with pytest.raises(ValueError, match=r"the source of springs_of_a_user:Springs differs .*\.py was"):
        verify.replay(path)
    source.write_text(MODELS)
    assert verify.replay(path).identical


def test_a_module_that_cannot_be_found_is_named_with_the_cure(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(models, tmp_path / "own.json")
    sys.modules.pop("springs_of_a_user")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    importlib.invalidate_caches()
    with pytest.raises(
        ValueError,
        match=r"cannot import .*contains springs_of_a_user\.py in .* PYTHONPATH",
    ):
        verify.replay(path)
    monkeypatch.syspath_prepend(tmp_path)  # the cure
    assert verify.replay(path).identical


def test_a_base_class_belongs_to_the_source(models: Any, tmp_path: Path) -> None:
    (tmp_path / "heirs_of_a_user.py").write_text(
        "from springs_of_a_user import Springs\n\n\nclass Heir(Springs):\n    pass\n"
    )
    heirs: Any = importlib.import_module("heirs_of_a_user")
    verify.limit(heirs.Heir([1.0, 2.0], 0.5), [[0.3, -0.2]], [[0.1]]).save(tmp_path / "own.json")
    (tmp_path / "springs_of_a_user.py").write_text(MODELS + "\n")
    with pytest.raises(ValueError, match=r"of heirs_of_a_user:Heir differs .*springs_of_a_user\.py was"):
        verify.replay(tmp_path / "own.json")
    sys.modules.pop("heirs_of_a_user")


class Here(Valley):
    """A model of this file."""


def test_classes_that_no_process_can_import_are_named_with_the_cure(tmp_path: Path) -> None:
    class Inside(Valley):
        pass

    script = type("Script", (Valley,), {"__module__": "__main__"})
    for kind, cause in ((Inside, "inside a function"), (script, "in a script or a notebook")):
        path = tmp_path / "own.json"
        verify.limit(kind(), [[0.5, -1.0]], [[0.3, -0.2]]).save(path)
        with pytest.raises(ValueError, match=rf"{cause}\. Define it at the top level of a module"):
            verify.replay(path)
    verify.limit(Here(), [[0.5, -1.0]], [[0.3, -0.2]]).save(path)
    assert verify.replay(path).identical


def test_attributes_that_are_not_stored_are_named(tmp_path: Path) -> None:
    model = Here()
    model.generator = np.random.default_rng(0)  # type: ignore[attr-defined]
    verify.limit(model, [[0.5, -1.0]], [[0.3, -0.2]]).save(tmp_path / "own.json")
    with pytest.raises(ValueError, match=r"an object of numpy.*Generator, which is not"):
        verify.replay(tmp_path / "own.json")


def test_functions_of_a_module_are_found(models: Any, tmp_path: Path) -> None:
    net, path = chain(3, 4, 2, potential="quadratic"), tmp_path / "cost.json"
    cost = eq.LayerCosts({1: eq.SquaredError(), -1: eq.SquaredError()}, {}, {1: models.shifted})
    verify.limit(net, inputs(net, 1), labels(net, 1), cost=cost).save(path)
    assert verify.replay(path).identical
    with pytest.raises(ValueError, match=r"it is a lambda, or was defined inside a function"):
        decode(encode(lambda y: y))


def test_torch_models_are_found(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from equiprop.torch import TorchEnergy

    model = TorchEnergy(torch_energy, 3, 1, {"w": np.array([0.1, 0.2, 0.3])}, num_inputs=3)
    verify.limit(model, [[0.5, -0.1, 0.2]], [[1.0]]).save(tmp_path / "own.json")
    assert verify.replay(tmp_path / "own.json").identical


def torch_energy(x: Any, s: Any, params: Any) -> Any:
    return (s**2 / 2 - (s * params["w"] + x).tanh() * s).sum(dim=1)
