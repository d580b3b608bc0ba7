"""Figures of `Trainer.explain` agree with independent computations, and it prints for every model."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.health_probe import probe
from networks import SMOOTH, Valley, blobs, chain, inputs, labels, skip

DATA = blobs()


def explained(trainer: eq.Trainer, capsys: pytest.CaptureFixture[str], *data: Any) -> list[str]:
    capsys.readouterr()
    trainer.explain(*data)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 100
    return lines


def jacobian(net: eq.HopfieldNetwork, x: Any, s: Any) -> Any:
    """Return the Hessian at one state by complex steps of the core's gradient, or differences at a clip."""
    if net.holomorphic:
        energy = net.clamp_complex(x)
        return np.array([energy.gradient(s + 1e-30j * e[None])[0].imag / 1e-30 for e in np.eye(s.shape[1])])
    energy = net.clamp(x)
    return np.array(
        [(energy.gradient(s + h) - energy.gradient(s - h))[0] / 2e-6 for h in 1e-6 * np.eye(s.shape[1])]
    )


@pytest.mark.parametrize("potential", ["legendre", "quadratic"])
@pytest.mark.parametrize("name", [*SMOOTH, "hard_sigmoid", "relu"])
def test_margins_are_the_smallest_eigenvalues_on_free_units(name: str, potential: str) -> None:
    net = chain(4, 5, 4, 2, activation=name, potential=potential)  # the Krylov space is the whole space
    slow: Any = eq.Euler(step_size=0.1, max_iterations=20_000, tolerance=1e-12)
    solver: Any = eq.BlockUpdate(tolerance=1e-12) if net.has_block_update else slow
    x = inputs(net, 6)
    found = probe(net, solver, x, labels(net, 6), margins=6)
    mobility = net.clamp(x).mobility(found.free.state)
    exact = []
    for j in range(6):
        free = mobility[j] > 0
        root = np.sqrt(mobility[j][free])
        hessian = jacobian(net, x[j : j + 1], found.free.state[j : j + 1])[np.ix_(free, free)]
        exact.append(np.linalg.eigvalsh(root[:, None] * hessian * root)[0])
    np.testing.assert_allclose(found.margins, np.sort(exact), rtol=1e-4)


def test_a_margin_of_a_deep_network_is_at_most_twice_the_true_one() -> None:
    train, _ = eq.load_digits()
    trainer = eq.Trainer(eq.HopfieldNetwork([64, 64, 64, 64, 64, 10], activation="relu"))
    trainer.fit(train, epochs=2)
    x, y = train.batch(np.arange(20), np.float32)
    found = probe(trainer.model, trainer.solver, x, y, margins=20)  # type: ignore[arg-type]
    true = eq.verify.diagnose(found.free).map_spectrum.smallest
    assert true * 0.9 <= found.margins[0] <= 2 * true


def test_an_unstable_fixed_point_has_a_negative_margin() -> None:
    net = chain(4, 8, 3)
    net.parameters[:] *= 8
    for name in ("b1", "b2"):
        net.blocks[name][...] = 0
    x = np.zeros((2, 4))
    solver = eq.BlockUpdate()
    saddle = eq.free_phase(net, x, solver=solver)
    assert np.abs(saddle.state).max() == 0
    assert probe(net, solver, x, np.zeros(2, np.int64), margins=2).margins[0] < 0


def test_held_and_silent_units_are_counted() -> None:
    net = eq.HopfieldNetwork([4, 6, 3], dtype="float64", gain=0.5)
    net.blocks["W1"][...] = 0
    net.blocks["W2"][...] = 0
    net.blocks["b1"][...] = [-1, 2, 0.5, 0.5, 0, 0]  # below 0, above 1, twice inside
    net.blocks["W1"][:, 2] = [1e-5, 0, 0, 0]  # free, and silent
    net.blocks["W1"][:, 4] = [4, 0, 0, 0]  # held at either bound in most samples
    x = np.zeros((10, 4))
    x[:, 0] = np.linspace(-1, 1, 10)
    found = probe(net, eq.BlockUpdate(), x, np.arange(10) % 3, margins=0)
    inside = (x[:, 0] > 0) & (x[:, 0] < 0.25)
    assert found.layers[0].silent == pytest.approx(5 / 6)
    assert found.layers[0].held == pytest.approx((10 + 10 + (~inside).sum() + 10 * 0 + 10) / 60)
    assert found.layers[1][2:] == (0.0, 1.0)
    assert len(found.margins) == 0


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("potential", ["legendre", "quadratic"])
def test_saturated_units_count_as_held(name: str, potential: str) -> None:
    net = eq.HopfieldNetwork([4, 5, 3], activation=name, potential=potential, dtype="float64", gain=0.5)
    net.parameters[:] = 0
    rho, flat = eq.activation(name), {"tanh": -3.5, "sigmoid": -7, "steep_sigmoid": -1.5, "softplus": -5}
    at = np.array([flat[name], -0.5, 0.1, 0.2, 0.3])
    # The argument of rho is the drive b, or for a quadratic potential the state s = rho'(s) b.
    net.blocks["b1"][...] = at if potential == "legendre" else at / rho.derivative(at)
    slow: Any = eq.Euler(step_size=0.01, max_iterations=20_000)
    solver = eq.BlockUpdate() if net.has_block_update else slow
    found = probe(net, solver, np.zeros((2, 4)), np.arange(2), margins=0)
    np.testing.assert_allclose(
        found.free.state[0, :5], at if potential == "quadratic" else rho.value(at), atol=1e-6
    )
    assert found.layers[0].held == 0.2


def test_the_step_is_the_relative_update_of_each_block() -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 6, 3]))
    before = {}
    for k in range(101):
        if k == 100:
            before = {name: block.copy() for name, block in trainer.model.blocks.items()}
        trainer.step(DATA.x[:20], DATA.y[:20])
    for name, block in trainer.model.blocks.items():
        move = np.linalg.norm(block - before[name]) / np.linalg.norm(before[name])
        assert trainer._health.moves[name] == pytest.approx(move, rel=1e-4)
    assert trainer._health.moved == 101


def test_the_table_has_the_figures_of_layers_blocks_and_training(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 12, 3]), batch_size=20)
    first, *_, last = trainer.fit(DATA, epochs=10)
    lines = explained(trainer, capsys)
    rows = np.unique(np.linspace(0, len(DATA) - 1, 100).astype(int))
    x, y = DATA.batch(rows, np.float32)
    free = eq.free_phase(trainer.model, x, solver=trainer.solver)
    nudging = trainer.second_phase.rule  # type: ignore[attr-defined]
    gradient = eq.equilibrium_propagation(trainer.model, free, y, nudging=nudging)
    block = trainer.model.blocks["W2"]
    size, norm = np.sqrt((block**2).mean()), np.linalg.norm(gradient.blocks["W2"])
    held = (free.state[:, :12] == 0).sum() + (free.state[:, :12] == 1).sum()
    assert lines[:2] == [repr(trainer.model), f"{trainer.steps} steps, 10 epochs"]
    assert re.match(rf"hidden1 +12 +{held / 12:.1f}% +0.0% +W1 +4x12 ", lines[3])
    assert re.match(rf"output +3 +0.0% +0.0% +W2 +12x3 +{size:.2g} +\S+% +{norm:.1e} +b2 ", lines[4])
    assert (
        f"objective: {first.objective:.3g} in the first epoch, {last.objective:.3g} in the last" in lines[6]
    )
    assert lines[7] == "training samples: 0.00% unconverged, 0.00% with inaccurate gradients"
    assert lines[8].startswith("examined samples: 100, 0 unconverged;")
    assert lines[-1] == "No fault was found."


def test_before_training_and_after_single_steps_it_says_what_is_not_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 6, 3]))
    start = trainer.model.parameters.copy()
    lines = explained(trainer, capsys)
    assert "Held and silent units and gradients are not measured: pass data to explain." in lines
    assert "No step was taken: objective, steps and errors of gradients are not measured." in lines
    assert "No fault was found." not in lines
    assert any(line.startswith("examined samples: 100") for line in explained(trainer, capsys, DATA))
    np.testing.assert_array_equal(trainer.model.parameters, start)
    trainer.step(DATA.x, DATA.y)
    lines = explained(trainer, capsys)
    assert lines[1] == "1 step, 0 epochs"
    assert any("step: change of the block by step 1" in line for line in lines)
    arrays = explained(trainer, capsys, DATA.x[:30], DATA.y[:30])
    assert any(line.startswith("examined samples: 30") for line in arrays)


def test_faults_are_printed_with_their_cures(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 12, 3], gain=0.5), optimizer=eq.SGD(1e-3))
    with pytest.warns(eq.TrainingWarning):
        trainer.fit(eq.Dataset(1e-5 * DATA.x, DATA.y), epochs=10)
    text = " ".join(explained(trainer, capsys))
    assert "-> 100% of the units of hidden1 do not respond to the input. Scale the features" in text
    wrong = eq.Trainer(eq.HopfieldNetwork([4, 2, 3]))
    with pytest.warns(eq.TrainingWarning, match="check that the labels"):
        wrong.fit(DATA.x, np.random.default_rng(0).permutation(DATA.y), epochs=10)
    text = " ".join(explained(wrong, capsys))
    assert "The error is at chance. No cause was found in the network: check that the labels belong" in text


class Field(eq.VectorField):
    """Velocity -s + W tanh(s) + x with a W that is not symmetric."""

    def velocity(self, x: Any, s: Any) -> Any:
        return np.tanh(s) @ self.parameters.reshape(4, 4) + x - s


def field() -> eq.Trainer:
    parameters = 0.2 * np.random.default_rng(0).normal(size=16)
    return eq.Trainer(Field(4, 3, parameters), eq.EquilibriumPropagation(symmetrize=True))


class Own(eq.RecurrentBackpropagation):
    """A second phase with its own `gradient`."""

    def gradient(self, free: Any) -> Any:
        return super().gradient(free)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: eq.Trainer(Valley(5, 3, 4)),
        field,
        lambda: eq.Trainer(skip()),
        lambda: eq.Trainer(eq.HopfieldNetwork([4, 6, 3], feedback="separate")),
        lambda: eq.Trainer(eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic")),
        lambda: eq.Trainer(eq.HopfieldNetwork([4, *[5] * 16, 3])),
        lambda: eq.Trainer(eq.HopfieldNetwork([4, 3]), cost=eq.CrossEntropy()),
        lambda: eq.Trainer(eq.HopfieldNetwork([4, 6, 3]), Own()),
        lambda: eq.Trainer(
            eq.HopfieldNetwork([4, 6, 3], activation="tanh"),
            eq.EquilibriumPropagation(eq.holomorphic(0.1, 4)),
        ),
        lambda: eq.Trainer(eq.HopfieldNetwork([4, 6, 3]), eq.EquilibriumPropagation(eq.exact_limit())),
        lambda: eq.Trainer(eq.HopfieldNetwork([4, 6, 3]), eq.EquilibriumPropagation(eq.random_sign(0.2, 0))),
        lambda: eq.Trainer(
            eq.HopfieldNetwork(
                layers=[eq.Layer(4), eq.Layer(1024, "relu", "a_layer_with_a_long_name"), eq.Layer(3)],
                couplings=[eq.Dense(0, 1), eq.Dense(1, 2)],
            )
        ),
    ],
)
def test_every_kind_of_training_is_explained(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make()
    lines = explained(trainer, capsys)
    assert lines[0] == repr(trainer.model)[:100]
    trainer.fit(DATA, epochs=1)
    lines = explained(trainer, capsys)
    assert any(line.startswith("examined samples: 100") for line in lines)
    assert any(line.startswith("stability margin") for line in lines) == trainer.model.conservative


@pytest.mark.parametrize("gain", [2.0, 20.0])
def test_a_network_without_fixed_points_is_explained(gain: float, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 12, 12, 3], activation="relu", gain=gain))
    lines = explained(trainer, capsys, DATA)
    unconverged = re.search(r"examined samples: 100, (\d+) unconverged", " ".join(lines))
    assert unconverged is not None
    assert int(unconverged.group(1)) > 90


def test_a_training_on_batches_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 6, 3]))
    trainer.fit([(DATA.x[k : k + 20], DATA.y[k : k + 20]) for k in range(0, 260, 20)], epochs=2)
    assert any(line.startswith("examined samples: 20") for line in explained(trainer, capsys))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_copy_contains_no_samples(copied: Any, capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 6, 3]))
    trainer.fit(DATA, epochs=2)
    eq.save(trainer, tmp_path / "trainer.safetensors")
    for other in (copied(trainer), eq.load(tmp_path / "trainer.safetensors")):
        assert other._health.probe is None
        assert "Held and silent units and gradients are not measured: pass data to explain." in explained(
            other, capsys
        )
        assert explained(other, capsys, DATA) == explained(trainer, capsys, DATA)


def test_another_model_forgets_the_samples(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 6, 3]))
    trainer.fit(DATA, epochs=1)
    trainer.model = eq.HopfieldNetwork([5, 6, 3])
    assert "Held and silent units and gradients are not measured: pass data to explain." in explained(
        trainer, capsys
    )
