"""Models in PyTorch give the results of equal models in NumPy; their parameters share one flat array."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import chain, inputs, labels

torch = pytest.importorskip("torch")

from equiprop.torch import TorchEnergy, TorchVectorField  # noqa: E402

UNITS, OUTPUTS, INPUTS = 3, 2, 2
PRECISE = eq.Euler(tolerance=1e-14, max_iterations=100_000, step_size=0.2)
X = np.array([[0.5, -1.0], [0.2, 0.3]])
Y = np.array([[0.3, -0.2], [0.1, 0.4]])


def close(value: np.ndarray, reference: np.ndarray, tolerance: float = 1e-12) -> None:
    """Assert equal shapes, double precision, and equality relative to the largest entry."""
    assert value.dtype == reference.dtype == np.float64
    assert value.shape == reference.shape
    np.testing.assert_allclose(value, reference, rtol=0, atol=tolerance * np.abs(reference).max())


def draw(seed: int, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: 0.6 * random.normal(size=shape) for name, shape in shapes.items()}


def bowl(x: Any, s: Any, params: dict[str, Any]) -> Any:
    """A convex energy that is not a Hopfield energy: |s|^2/2 + e^k sum s^4/4 + sum log cosh(s W + x V)."""
    drive = s @ params["W"] + x @ params["V"]
    return (s**2 / 2 + torch.exp(params["k"]) * s**4 / 4).sum(dim=1) + torch.log(torch.cosh(drive)).sum(dim=1)


def swirl(x: Any, s: Any, params: dict[str, Any]) -> Any:
    """mu = tanh(s W + x V) - e^t s: dmu/ds is not symmetric."""
    return torch.tanh(s @ params["W"] + x @ params["V"]) - torch.exp(params["t"]) * s


class Bowl(eq.Energy):
    """The energy `bowl` in NumPy; its other derivatives are computed by complex steps."""

    def split(self) -> tuple[np.ndarray, np.ndarray, Any]:
        w, v, k = np.split(self.parameters, [12, 20])
        return w.reshape(3, 4), v.reshape(2, 4), k[0]

    def energy(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        w, v, k = self.split()
        return (s**2 / 2 + np.exp(k) * s**4 / 4).sum(axis=1) + np.log(np.cosh(s @ w + x @ v)).sum(axis=1)

    def gradient(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        w, v, k = self.split()
        return s + np.exp(k) * s**3 + np.tanh(s @ w + x @ v) @ w.T


class Swirl(eq.VectorField):
    """The vector field `swirl` in NumPy."""

    def velocity(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        w, v, t = np.split(self.parameters, [9, 15])
        return np.tanh(s @ w.reshape(3, 3) + x @ v.reshape(2, 3)) - np.exp(t) * s


def energies(seed: int = 0) -> tuple[TorchEnergy, Bowl]:
    params = draw(seed, W=(UNITS, 4), V=(INPUTS, 4), k=())
    model = TorchEnergy(bowl, UNITS, OUTPUTS, params, num_inputs=INPUTS)
    return model, Bowl(UNITS, OUTPUTS, model.parameters.copy(), num_inputs=INPUTS)


def fields(seed: int = 0) -> tuple[TorchVectorField, Swirl]:
    params = draw(seed, W=(UNITS, UNITS), V=(INPUTS, UNITS), t=(UNITS,))
    model = TorchVectorField(swirl, UNITS, OUTPUTS, params, num_inputs=INPUTS)
    return model, Swirl(UNITS, OUTPUTS, model.parameters.copy(), num_inputs=INPUTS)


ENERGY = ["energy", "gradient", "parameter_gradient"]
FIELD = ["velocity", "gradient", "energy"]
PRODUCTS = ["hessian_vector_product", "mixed_derivative_product"]
FIELD_PRODUCTS = [
    *PRODUCTS,
    "transposed_hessian_vector_product",
    "jacobian_vector_product",
    "vector_jacobian_product",
    "parameter_vector_product",
]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("build", "functions", "products"),
    [(energies, ENERGY, PRODUCTS), (fields, FIELD, FIELD_PRODUCTS)],
    ids=["energy", "field"],
)
def test_every_derivative_is_that_of_the_same_model_in_numpy(
    build: Any, functions: list[str], products: list[str], seed: int, batch: int
) -> None:
    model, twin = build(seed)
    random = np.random.default_rng(seed)
    x, s, v = (random.normal(size=(batch, n)) for n in (INPUTS, UNITS, UNITS))
    for name in functions:
        close(getattr(model, name)(x, s), getattr(twin, name)(x, s))
    for name in products:
        close(getattr(model, name)(x, s, v), getattr(twin, name)(x, s, v))


def test_parameters_are_a_copy_of_what_was_given_as_one_array_with_names() -> None:
    given = {
        "single": torch.arange(6, dtype=torch.float32).reshape(2, 3).T,
        "learned": torch.nn.Parameter(torch.tensor([0.1, 0.2], dtype=torch.float64)),
        "whole": torch.tensor(3),
        "array": np.array([[0.5]]),
        "list": [1.5, 2.5],
    }
    model = TorchEnergy(bowl, UNITS, OUTPUTS, given)
    assert model.parameters.dtype == np.float64
    np.testing.assert_array_equal(model.parameters, [0, 3, 1, 4, 2, 5, 0.1, 0.2, 3, 0.5, 1.5, 2.5])
    assert {name: block.shape for name, block in model.blocks.items()} == {
        "single": (3, 2),
        "learned": (2,),
        "whole": (),
        "array": (1, 1),
        "list": (2,),
    }
    model.parameters[:] = 0
    assert given["single"].sum() == 15
    assert given["array"].sum() == 0.5


def test_flat_array_blocks_and_tensors_are_the_same_memory() -> None:
    model, _ = energies()
    before = model.energy(X, Y @ np.ones((2, 3)))
    model.parameters[0] = 7.0
    assert model.blocks["W"][0, 0] == 7.0
    assert model.params["W"][0, 0] == 7.0
    model.blocks["V"][1, 2] = -3.0
    assert model.parameters[12 + 6] == -3.0
    model.params["k"].fill_(0.25)
    assert model.parameters[-1] == 0.25
    assert (model.energy(X, Y @ np.ones((2, 3))) != before).all()


def test_training_takes_the_same_steps_as_in_numpy() -> None:
    model, twin = energies()
    before, tensors = model.parameters.copy(), model.params
    data = eq.Dataset(np.random.default_rng(0).normal(size=(12, INPUTS)), np.arange(12) % 2)
    for each in (model, twin):
        solver = eq.Euler(tolerance=1e-13, max_iterations=10_000, step_size=0.2)
        phase = eq.EquilibriumPropagation(eq.centered(0.5))
        eq.Trainer(each, phase, eq.Adam(0.05), solver=solver, batch_size=4).fit(data, epochs=3)
    close(model.parameters, twin.parameters, 1e-9)
    assert (model.parameters != before).all()
    np.testing.assert_array_equal(tensors["W"].numpy(), model.blocks["W"])


def test_each_block_may_learn_at_its_own_rate() -> None:
    model, _ = energies()
    before = {name: block.copy() for name, block in model.blocks.items()}
    rates = eq.SGD({"W": 0.1, "V": 0.0, "k": 0.1})
    eq.Trainer(model, optimizer=rates).step(X, Y)
    assert (model.blocks["W"] != before["W"]).all()
    assert model.blocks["k"] != before["k"]
    np.testing.assert_array_equal(model.blocks["V"], before["V"])


@pytest.mark.parametrize("seed", range(3))
def test_both_second_phases_and_unrolling_agree_on_an_energy(seed: int) -> None:
    model, twin = energies(seed)
    free = eq.free_phase(model, X, solver=PRECISE)
    close(free.state, eq.free_phase(twin, X, solver=PRECISE).state, 1e-13)
    side = eq.recurrent_backpropagation(model, free, Y, linear_solver=eq.ConjugateGradient(tolerance=1e-14))
    limit = eq.equilibrium_propagation(model, free, Y, nudging=eq.exact_limit())
    assert side.converged
    assert limit.converged
    close(limit.parameters, side.parameters, 1e-10)
    close(
        eq.equilibrium_propagation(model, free, Y, nudging=eq.centered(1e-3)).parameters,
        side.parameters,
        1e-5,
    )
    close(
        eq.equilibrium_propagation(model, free, Y, nudging=eq.one_sided(1e-4)).parameters,
        side.parameters,
        1e-3,
    )
    close(unrolled(model), side.parameters, 1e-10)


def unrolled(model: Any) -> np.ndarray:
    """Return the gradient through so many recorded steps that the first ones contribute nothing."""
    steps = eq.Euler(tolerance=0, max_iterations=400, step_size=0.2)
    free = eq.free_phase(model, X, solver=steps, record=True)
    return eq.backpropagation_through_time(model, free, Y).parameters


@pytest.mark.parametrize(("nudging", "order"), [(eq.one_sided, 1), (eq.centered, 2)])
def test_the_bias_of_a_nudging_has_its_order(nudging: Any, order: int) -> None:
    model, _ = energies()
    free = eq.free_phase(model, X, solver=PRECISE)
    exact = eq.equilibrium_propagation(model, free, Y, nudging=eq.exact_limit()).parameters
    wide, narrow = (
        np.abs(eq.equilibrium_propagation(model, free, Y, nudging=nudging(beta)).parameters - exact).max()
        for beta in (0.02, 0.01)
    )
    assert wide / narrow == pytest.approx(2**order, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_both_second_phases_and_unrolling_agree_on_a_vector_field(seed: int) -> None:
    model, twin = fields(seed)
    free = eq.free_phase(model, X, solver=PRECISE)
    close(free.state, eq.free_phase(twin, X, solver=PRECISE).state, 1e-13)
    side = eq.recurrent_backpropagation(model, free, Y, linear_solver=eq.GMRES(tolerance=1e-14))
    assert side.converged

    def eqprop(nudging: Any, symmetrize: bool) -> np.ndarray:
        return eq.equilibrium_propagation(model, free, Y, nudging=nudging, symmetrize=symmetrize).parameters

    close(eqprop(eq.exact_limit(), True), side.parameters, 1e-10)
    close(eqprop(eq.centered(1e-3), True), side.parameters, 1e-5)
    close(unrolled(model), side.parameters, 1e-10)
    bias = np.abs(eqprop(eq.exact_limit(), False) - side.parameters).max()
    assert bias > 0.01 * np.abs(side.parameters).max()


def test_the_theorem_holds_for_an_energy_in_pytorch() -> None:
    assert eq.verify.equivalence(energies()[0], X, Y, steps=50).passed


def leaky(x: Any, s: Any, params: dict[str, Any]) -> Any:
    """An energy whose gradient has kinks, for which complex steps are not possible."""
    bends = s**2 / 2 + params["g"] * torch.relu(s) ** 2 / 2 + 0.1 * s.abs() ** 3
    return bends.sum(dim=1) - params["a"] * (x * s[:, :INPUTS]).sum(dim=1)


def test_the_exact_limit_needs_no_complex_states() -> None:
    model = TorchEnergy(leaky, UNITS, OUTPUTS, {"g": [2.0, 1.0, 0.5], "a": 0.7})
    free = eq.free_phase(model, X, solver=PRECISE)
    side = eq.recurrent_backpropagation(model, free, Y, linear_solver=eq.ConjugateGradient(tolerance=1e-14))
    limit = eq.equilibrium_propagation(model, free, Y, nudging=eq.exact_limit())
    close(limit.parameters, side.parameters, 1e-10)


def hopfield(x: Any, s: Any, params: dict[str, Any]) -> Any:
    """A chain 4-6-3 of tanh and linear units with a quadratic potential."""
    hidden, output = torch.tanh(s[:, :6]), s[:, 6:]
    pull = ((x @ params["W1"] + params["b1"]) * hidden).sum(dim=1)
    return (s**2).sum(dim=1) / 2 - pull - ((hidden @ params["W2"] + params["b2"]) * output).sum(dim=1)


def test_the_hopfield_energy_in_pytorch_is_the_hopfield_network() -> None:
    net = chain(4, 6, 3, potential="quadratic")
    model = TorchEnergy(hopfield, net.num_units, net.num_outputs, net.blocks, net.num_inputs)
    assert model.block_slices == net.block_slices
    np.testing.assert_array_equal(model.parameters, net.parameters)
    x, y = inputs(net), labels(net)
    free = [eq.free_phase(each, x, solver=PRECISE) for each in (model, net)]
    close(free[0].state, free[1].state, 1e-13)
    close(model.energy(x, free[0].state), net.clamp(x).energy(free[0].state), 1e-13)
    for nudging in (eq.one_sided(0.1), eq.centered(0.1), eq.exact_limit()):
        mine, theirs = (
            eq.equilibrium_propagation(each, phase, y, nudging=nudging).parameters
            for each, phase in zip((model, net), free, strict=True)
        )
        close(mine, theirs, 1e-10)
    mine, theirs = (
        eq.recurrent_backpropagation(each, phase, y).parameters
        for each, phase in zip((model, net), free, strict=True)
    )
    close(mine, theirs, 1e-9)


def test_a_parameter_without_influence_has_no_gradient() -> None:
    params = {**draw(0, W=(UNITS, 4), V=(INPUTS, 4), k=()), "idle": np.ones((2, 2))}
    model = TorchEnergy(bowl, UNITS, OUTPUTS, params)
    free = eq.free_phase(model, X, solver=PRECISE)
    for nudging in (eq.centered(0.1), eq.exact_limit()):
        gradient = eq.equilibrium_propagation(model, free, Y, nudging=nudging)
        np.testing.assert_array_equal(gradient.blocks["idle"], np.zeros((2, 2)))
    assert not eq.recurrent_backpropagation(model, free, Y).blocks["idle"].any()


def test_arrays_that_may_not_be_written_and_outer_contexts_of_pytorch_do_no_harm() -> None:
    model, twin = energies()
    x, s = X.copy(), np.broadcast_to(np.array([0.1, -0.2, 0.3]), (2, 3))
    x.flags.writeable = False
    with torch.no_grad():
        close(model.gradient(x, s), twin.gradient(x, s))
        close(model.hessian_vector_product(x, s, s), twin.hessian_vector_product(x, s, s))
        close(model.parameter_gradient(x, s), twin.parameter_gradient(x, s))
        assert eq.free_phase(model, x).converged


def use(model: Any) -> None:
    """Call all functions that call the function of the model."""
    free = eq.free_phase(model, X, on_failure="ignore")
    model.energy(X, free.state)


WRONG = {
    "a sum": (lambda e: e.sum(), ValueError, r"Received shape \(\)"),
    "a column": (lambda e: e[:, None], ValueError, r"Received shape \(2, 1\)"),
    "too few": (lambda e: e[:-1], ValueError, r"Received shape \(1,?.*\)"),
    "single precision": (lambda e: e.float(), TypeError, r"Received torch\.float32"),
    "complex numbers": (lambda e: e + 0j, TypeError, r"Received torch\.complex128"),
    "no tensor": (lambda e: None, TypeError, r"Received NoneType"),
    "an array": (lambda e: e.detach().numpy(), TypeError, r"Received ndarray"),
}
RULES = {
    "energy": r"^\[TorchEnergy\] The function returns E of each sample: a tensor \(2,\) of torch\.float64\. ",
    "field": r"^\[TorchVectorField\] The function returns mu: a tensor \(2, 3\) of torch\.float64\. ",
}


@pytest.mark.parametrize("wrong", sorted(WRONG))
@pytest.mark.parametrize("kind", sorted(RULES))
def test_what_is_no_energy_or_velocity_is_refused_with_a_sentence(kind: str, wrong: str) -> None:
    change, error, received = WRONG[wrong]
    build = {"energy": energies, "field": fields}[kind]
    model, function = build()[0], {"energy": bowl, "field": swirl}[kind]
    model.function = lambda *arguments: change(function(*arguments))
    if kind == "field" and wrong in ("a column", "too few"):
        received = r"Received shape \("
    with pytest.raises(error, match=RULES[kind] + received):
        use(model)


def test_every_derivative_refuses_a_wrong_function() -> None:
    model, _ = energies()
    model.function = lambda *arguments: bowl(*arguments).sum()
    s = np.ones((2, UNITS))
    calls = [lambda name=name: getattr(model, name)(X, s) for name in ENERGY]
    calls += [lambda name=name: getattr(model, name)(X, s, s) for name in PRODUCTS]
    for call in calls:
        with pytest.raises(ValueError, match=RULES["energy"]):
            call()


@pytest.mark.parametrize("kind", [TorchEnergy, TorchVectorField])
@pytest.mark.parametrize("params", [{}, [torch.ones(2)], None, torch.ones(2)])
def test_params_that_are_no_mapping_are_refused(kind: Any, params: Any) -> None:
    with pytest.raises(TypeError, match=rf"^\[{kind.__name__}\] `params` maps names to tensors\. Received "):
        kind(bowl, UNITS, OUTPUTS, params)


@pytest.mark.parametrize("build", [energies, fields])
def test_complex_nudging_is_refused_with_a_sentence(build: Any) -> None:
    model, _ = build()
    free = eq.free_phase(model, X)
    with pytest.raises(ValueError, match=rf"^\[holomorphic\] .* Received {type(model).__name__}\("):
        eq.equilibrium_propagation(model, free, Y, nudging=eq.holomorphic(0.2, 4))


def test_without_pytorch_its_module_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n")
    code = (
        f"import sys; sys.path[:] = [{str(tmp_path)!r}, *{sys.path!r}]\n"
        "import equiprop\n"
        "try:\n    import equiprop.torch\n"
        "except ImportError as error:\n    print(error, '|', error.__cause__)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("[equiprop.torch] PyTorch is not installed.")
    assert "pip install 'equiprop[torch]'" in run.stdout
    assert run.stdout.strip().endswith("| no torch here")
