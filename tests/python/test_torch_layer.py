"""A layer in PyTorch gives the gradient of its outputs, for every model, second phase and solver."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import chain

torch = pytest.importorskip("torch")

from equiprop.torch import FixedPointLayer, TorchEnergy, TorchVectorField  # noqa: E402

EXACT = eq.BlockUpdate(tolerance=1e-15)
STEPS = eq.Euler(tolerance=1e-14, step_size=0.2, max_iterations=10_000)


def bowl(x: Any, s: Any, params: dict[str, Any]) -> Any:
    """A convex energy that is not a Hopfield energy: |s|^2/2 + e^k sum s^4/4 + sum log cosh(s W + x V)."""
    drive = s @ params["W"] + x @ params["V"]
    return (s**2 / 2 + torch.exp(params["k"]) * s**4 / 4).sum(dim=1) + torch.log(torch.cosh(drive)).sum(dim=1)


def swirl(x: Any, s: Any, params: dict[str, Any]) -> Any:
    """mu = tanh(s W + x V) - e^t s: dmu/ds is not symmetric."""
    return torch.tanh(s @ params["W"] + x @ params["V"]) - torch.exp(params["t"]) * s


def draw(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: 0.4 * random.normal(size=shape) for name, shape in shapes.items()}


def energy() -> TorchEnergy:
    return TorchEnergy(bowl, 3, 2, draw(W=(3, 4), V=(4, 4), k=()), num_inputs=4)


def field() -> TorchVectorField:
    return TorchVectorField(swirl, 3, 2, draw(W=(3, 3), V=(4, 3), t=(3,)), num_inputs=4)


def tight(**options: Any) -> dict[str, Any]:
    return {"tolerance": 1e-13, **options}


RBP = eq.RecurrentBackpropagation
EQPROP = eq.EquilibriumPropagation
PHASES = {
    "conjugate gradients": (RBP(eq.ConjugateGradient(**tight())), 1e-9),
    "gmres": (RBP(eq.GMRES(**tight())), 1e-9),
    "restarted gmres": (RBP(eq.GMRES(**tight(restart=2))), 1e-9),
    "richardson": (RBP(eq.Richardson(**tight(step_size=0.3))), 1e-9),
    "neumann": (RBP(eq.Neumann(**tight())), 1e-9),
    "centered": (EQPROP(eq.centered(1e-3)), 1e-5),
    "one-sided": (EQPROP(eq.one_sided(1e-5)), 1e-3),
    "random sign": (EQPROP(eq.random_sign(1e-5)), 1e-3),
    "exact limit": (EQPROP(eq.exact_limit()), 1e-9),
    "holomorphic": (EQPROP(eq.holomorphic(0.1, 16)), 1e-8),
    "symmetrized": (EQPROP(eq.exact_limit(), eq.Euler(**tight(step_size=0.2)), symmetrize=True), 1e-9),
}


def implicit(function: Any, x: Any, state: Any, params: dict[str, Any], g: Any, is_energy: bool) -> list[Any]:
    """The implicit function theorem with a dense Hessian or Jacobian, one sample after the other."""

    def slope(x: Any, s: Any, p: dict[str, Any]) -> Any:
        if not is_energy:
            return -function(x[None], s[None], p)[0]
        return torch.func.grad(lambda s: function(x[None], s[None], p)[0])(s)

    total = [torch.zeros_like(p) for p in params.values()]
    by_input = torch.zeros_like(x)
    for i in range(len(x)):
        hessian = torch.func.jacrev(slope, argnums=1)(x[i], state[i], params)
        adjoint = torch.linalg.solve(hessian.T, g[i])
        by_params = torch.func.jacrev(slope, argnums=2)(x[i], state[i], params)
        by_input[i] = -adjoint @ torch.func.jacrev(slope, argnums=0)(x[i], state[i], params)
        for share, block in zip(total, by_params.values(), strict=True):
            share -= torch.tensordot(adjoint, block, 1)
    return [by_input, *total]


def hopfield(x: Any, s: Any, params: dict[str, Any]) -> Any:
    """The energy of the chain 4-6-3 of tanh and linear units with a quadratic potential."""
    hidden, output = torch.tanh(s[:, :6]), s[:, 6:]
    pull = ((x @ params["W1"] + params["b1"]) * hidden).sum(dim=1)
    return (s**2).sum(dim=1) / 2 - pull - ((hidden @ params["W2"] + params["b2"]) * output).sum(dim=1)


def quadratic() -> eq.HopfieldNetwork:
    return chain(4, 6, 3, potential="quadratic")


MODELS = {
    "network": (quadratic, hopfield, EXACT),
    "energy": (energy, bowl, STEPS),
    "field": (field, swirl, STEPS),
}
CASES = [
    (kind, phase)
    for kind in MODELS
    for phase in PHASES
    if (kind == "network" or phase not in ("holomorphic",))
    and (kind != "field" or phase in ("gmres", "restarted gmres", "richardson", "neumann"))
]


def inputs(dtype: Any = None, batch: int = 4) -> Any:
    torch.manual_seed(0)
    return torch.randn(batch, 4, dtype=torch.float64).to(dtype or torch.float64).requires_grad_()


def pulled(layer: Any, x: Any, g: Any) -> list[Any]:
    """The gradients of <g, outputs> by the input and by each parameter."""
    return list(torch.autograd.grad(layer(x), [x, *layer.parameters()], g))


def close(found: list[Any], expected: list[Any], tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert float((a - b).detach().abs().max()) <= tolerance * max(1.0, float(b.detach().abs().max()))


@pytest.mark.parametrize(("kind", "phase"), CASES)
def test_every_second_phase_gives_the_product_of_the_implicit_function_theorem(kind: str, phase: str) -> None:
    build, function, solver = MODELS[kind]
    second_phase, tolerance = PHASES[phase]
    model, x = build(), inputs()
    layer = FixedPointLayer(model, second_phase, solver=solver)
    g = torch.randn(4, model.num_outputs, dtype=torch.float64)
    g[1] *= 1e-6  # samples of any scale are equally exact
    g[2] = 0
    found = pulled(layer, x, g)
    state = layer._phases.relax(x.detach(), list(layer.parameters())).state.detach()
    full = torch.nn.functional.pad(g, (model.num_units - model.num_outputs, 0))
    params = {name: value.detach() for name, value in layer.named_parameters()}
    expected = implicit(function, x.detach(), state, params, full, kind != "field")
    close(found, expected, tolerance)
    close([1e6 * found[0][1]], [1e6 * expected[0][1]], tolerance)
    assert not found[0][2].any()
    assert layer.last.converged
    assert layer.last_backward.converged


@pytest.mark.parametrize("kind", MODELS)
def test_gradcheck(kind: str) -> None:
    build, _, solver = MODELS[kind]
    layer = FixedPointLayer(build(), solver=solver)
    names = [name for name, _ in layer.named_parameters()]

    def call(x: Any, *params: Any) -> Any:
        return torch.func.functional_call(layer, dict(zip(names, params, strict=True)), (x,))

    given = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(call, (inputs(batch=2), *given), fast_mode=True)


def test_the_gradient_is_that_through_a_long_unrolled_relaxation() -> None:
    layer, x = FixedPointLayer(energy(), solver=STEPS), inputs()
    params = dict(layer.named_parameters())
    s = torch.zeros(4, 3, dtype=torch.float64)
    for _ in range(400):
        s = s.requires_grad_() if not s.requires_grad else s
        s = s - 0.2 * torch.autograd.grad(bowl(x, s, params).sum(), s, create_graph=True)[0]
    g = torch.randn(4, 2, dtype=torch.float64)
    expected = torch.autograd.grad(s[:, 1:], [x, *params.values()], g)
    close(pulled(layer, x, g), list(expected), 1e-9)
    close([layer(x)], [s[:, 1:]], 1e-12)


def test_the_operators_pass_the_checks_of_pytorch() -> None:
    layer, x = FixedPointLayer(chain(), solver=EXACT), inputs()
    tensors, key = list(layer.parameters()), layer._phases.key
    ops = torch.ops.equiprop
    torch.library.opcheck(ops.fixed_point.default, (x, tensors, key))
    free = [tensor.detach() for tensor in ops.fixed_point(x, tensors, key)]
    fixed = (torch.ones_like(free[0]), x.detach(), free, [t.detach() for t in tensors], key)
    torch.library.opcheck(ops.fixed_point_vjp.default, fixed)


def test_the_state_and_the_input_are_handed_over_without_a_copy() -> None:
    from equiprop.torch.network_phases import as_array

    x = inputs().detach()
    assert as_array(x).ctypes.data == x.data_ptr()
    layer = FixedPointLayer(chain(), solver=EXACT)
    seen: list[Any] = []
    network = layer._phases.network

    class Watched(type(network)):  # type: ignore[misc]
        def as_input(self, given: Any, where: str) -> Any:
            seen.append(super().as_input(given, where))
            return seen[-1]

    network.__class__ = Watched
    layer(x)
    assert seen[0].ctypes.data == x.data_ptr()


@pytest.mark.parametrize("kind", MODELS)
def test_in_single_precision(kind: str) -> None:
    model = MODELS[kind][0]()
    double, single = FixedPointLayer(model), FixedPointLayer(model).float()
    assert {p.dtype for p in single.parameters()} == {torch.float32}
    x, g = inputs(), torch.randn(4, model.num_outputs, dtype=torch.float64)
    found = pulled(single, x.detach().float().requires_grad_(), g.float())
    assert {t.dtype for t in found} == {torch.float32}
    close([t.double() for t in found], pulled(double, x, g), 2e-3)
    assert single.last_backward.converged
    close(pulled(single.double(), x, g), pulled(double, x, g), 1e-5)


def test_a_network_of_images() -> None:
    net = eq.networks.chain_of_images((2, 6, 6), [3], 3, kernel=3, pooling="mean", dtype="float64")
    layer = FixedPointLayer(net, solver=EXACT)
    shape = net.input_shape
    x = torch.rand(3, *shape, dtype=torch.float64, requires_grad=True)
    expected = eq.free_phase(net, x.detach().numpy(), solver=EXACT)
    close([layer(x)], [torch.from_numpy(expected.outputs)], 1e-14)
    y = np.eye(net.num_outputs)[np.arange(3) % net.num_outputs]
    gradient = eq.recurrent_backpropagation(net, expected, y)
    (layer(x) - torch.from_numpy(y)).square().sum(dim=1).mean().div(2).backward()
    close([x.grad.flatten(1)], [torch.from_numpy(gradient.inputs)], 1e-9)
    for name, block in gradient.blocks.items():
        close([getattr(layer, name).grad], [torch.from_numpy(block)], 1e-9)


def test_leading_dimensions_are_those_of_other_modules() -> None:
    layer, x = FixedPointLayer(chain()), torch.rand(2, 5, 4, dtype=torch.float64)
    assert layer(x).shape == (2, 5, 3)
    close([layer(x[1, 2])], [layer(x)[1, 2]], 1e-9)


def test_two_forwards_before_their_backwards_and_parameters_that_change_between() -> None:
    layer, x = FixedPointLayer(chain(), solver=EXACT), inputs()
    g = torch.ones(4, 3, dtype=torch.float64)
    expected = pulled(layer, x, g)
    first = layer(x)
    names = [name for name, _ in layer.named_parameters()]
    others = {name: 2 * value.detach() for name, value in layer.named_parameters()}
    second = torch.func.functional_call(layer, others, (x,))
    assert (second != first).any()
    found = torch.autograd.grad(first, [x, *(getattr(layer, name) for name in names)], g)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    late = layer(x).sum()
    with torch.no_grad():
        layer.W1.mul_(1.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        late.backward()


@pytest.mark.parametrize("kind", MODELS)
def test_state_dict_deepcopy_and_pickle(kind: str) -> None:
    model = MODELS[kind][0]()
    layer, x = FixedPointLayer(model), inputs()
    assert list(layer.state_dict()) == list(model.blocks)
    twins = [copy.deepcopy(layer)]
    if kind != "field":
        twins.append(pickle.loads(pickle.dumps(layer)))
    before = layer(x)
    with torch.no_grad():
        for p in layer.parameters():
            p.mul_(1.25)
    for twin in twins:
        assert torch.equal(twin(x), before)
        twin.load_state_dict(layer.state_dict())
        assert torch.equal(twin(x), layer(x))


def test_the_network_of_a_layer_and_back() -> None:
    net = chain()
    layer = FixedPointLayer(net, solver=EXACT)
    torch.optim.SGD(layer.parameters(), lr=0.1).zero_grad()
    layer(inputs()).sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    trained = layer.network
    assert (trained.parameters != net.parameters).any()
    x = inputs().detach()
    np.testing.assert_array_equal(
        eq.free_phase(trained, x.numpy(), solver=EXACT).outputs, layer(x).detach().numpy()
    )
    other = FixedPointLayer(net)
    other.load_state_dict({name: torch.from_numpy(block) for name, block in trained.blocks.items()})
    np.testing.assert_array_equal(other.network.parameters, trained.parameters)
    with pytest.raises(TypeError, match=r"^\[FixedPointLayer\] A network is inside"):
        _ = FixedPointLayer(energy()).network


@pytest.mark.parametrize("kind", MODELS)
def test_autocast_computes_in_the_precision_of_the_parameters(kind: str) -> None:
    model = MODELS[kind][0]()
    layer = torch.nn.Sequential(torch.nn.Linear(4, 4), FixedPointLayer(model).float())
    x = inputs(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = layer[0](x)
        outputs = layer(x)
    assert hidden.dtype == torch.bfloat16
    assert outputs.dtype == torch.float32
    assert torch.equal(outputs, layer[1](hidden.float()))
    outputs.sum().backward()
    assert layer[0].weight.grad.dtype == torch.float32


def test_gradients_of_gradients_are_refused() -> None:
    for model in (chain(), energy()):
        layer, x = FixedPointLayer(model), inputs()
        outputs = layer(x)
        (slope,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match=r"derivative of a derivative|no autograd formula"):
            (outputs.sum() + slope.square().sum()).backward()


def test_a_gradient_that_is_not_finite_is_handed_on() -> None:
    for model in (chain(), energy()):
        layer, x = FixedPointLayer(model, on_failure="ignore"), inputs()
        (layer(x).sum() * torch.nan).backward()
        assert x.grad.isnan().all()


@pytest.mark.parametrize("on_failure", ["warn", "raise", "ignore"])
@pytest.mark.parametrize("kind", MODELS)
def test_phases_that_do_not_converge_are_reported(kind: str, on_failure: str) -> None:
    build, _, solver = MODELS[kind]
    few = type(solver)(max_iterations=2)
    layer, x = FixedPointLayer(build(), solver=few, on_failure=on_failure), inputs()
    text = r"^\[FixedPointLayer\] 4 samples: 4 did not reach the tolerance.*\nRaise max_iterations"
    if on_failure == "warn":
        with pytest.warns(eq.ConvergenceWarning, match=text):
            layer(x)
    elif on_failure == "raise":
        with pytest.raises(eq.ConvergenceError, match=text):
            layer(x)
    else:
        layer(x)
    assert not layer.last.converged
    slow = RBP(eq.GMRES(max_iterations=1, restart=1))
    layer = FixedPointLayer(build(), slow, solver=solver)
    outputs = layer(x)
    with pytest.warns(eq.ConvergenceWarning, match=r"^\[FixedPointLayer\.backward\] 4 samples: 4 did not"):
        outputs.sum().backward()
    assert (layer.last_backward.status == eq.Status.MAX_ITERATIONS).all()


@pytest.mark.parametrize("kind", MODELS)
def test_a_second_phase_far_from_the_fixed_point_says_so(kind: str) -> None:
    build, _, solver = MODELS[kind]
    layer = FixedPointLayer(build(), solver=replace(solver, tolerance=0.5))
    outputs = layer(inputs())
    assert layer.last.converged
    with pytest.warns(eq.ConvergenceWarning, match="Lower the tolerance of the free phase"):
        outputs.sum().backward()
    cured = FixedPointLayer(build(), solver=replace(solver, tolerance=1e-3))
    cured(inputs()).sum().backward()
    assert cured.last_backward.converged


def test_a_relaxation_that_diverges_returns_its_start() -> None:
    layer = FixedPointLayer(energy(), solver=eq.Euler(step_size=5.0), on_failure="ignore")
    outputs = layer(inputs())
    assert (layer.last.status == eq.Status.DIVERGED).all()
    assert not outputs.any()
    assert "step_size" in layer.last.advice[0]


def called_with(**parameters: Any) -> Any:
    return torch.func.functional_call(FixedPointLayer(chain()), parameters, (inputs(),))


REFUSED = {
    "no model": (lambda: FixedPointLayer(3), TypeError, "model is a HopfieldNetwork"),
    "a class": (lambda: FixedPointLayer(TorchEnergy), TypeError, "model is a HopfieldNetwork"),
    "no phase": (lambda: FixedPointLayer(chain(), 3), TypeError, "A second phase is"),
    "no phase of an energy": (lambda: FixedPointLayer(energy(), 3), TypeError, "The second phase of a layer"),
    "no solver": (lambda: FixedPointLayer(chain(), solver=3), TypeError, "A solver of phases is"),
    "blocks": (lambda: FixedPointLayer(energy(), solver=EXACT), TypeError, r"relaxes by Euler\(\)"),
    "nudged blocks": (
        lambda: FixedPointLayer(energy(), EQPROP(None, EXACT)),
        TypeError,
        r"relaxes by Euler\(\)",
    ),
    "anderson": (lambda: FixedPointLayer(energy(), solver=eq.Euler(anderson=1)), ValueError, "anderson=0"),
    "complex": (lambda: FixedPointLayer(energy(), EQPROP(eq.holomorphic(0.1, 4))), ValueError, "real states"),
    "field": (lambda: FixedPointLayer(field(), EQPROP()), ValueError, r"ropagation\(GMRES\(\)\)"),
    "field by cg": (lambda: FixedPointLayer(field(), RBP()), ValueError, r"needs GMRES\(\)"),
    "on_failure": (lambda: FixedPointLayer(chain(), on_failure="no"), ValueError, "on_failure is 'warn'"),
    "name": (
        lambda: FixedPointLayer(TorchEnergy(lambda x, s, p: s.sum(1), 3, 2, {"a.b": [1.0]})),
        ValueError,
        "Names of parameters",
    ),
    "no tensor": (lambda: FixedPointLayer(chain())(np.ones((2, 4))), TypeError, "x is a tensor"),
    "width": (lambda: FixedPointLayer(chain())(inputs()[:, :3]), ValueError, r"x has shape \(\.\.\., 4\)"),
    "precision": (lambda: FixedPointLayer(chain())(inputs().float()), TypeError, "x has the type of"),
    "half": (lambda: FixedPointLayer(chain()).half()(inputs().half()), TypeError, "torch.float32 or"),
    "device": (lambda: FixedPointLayer(chain())(inputs().to("meta")), ValueError, "on the device of"),
    "nan": (lambda: FixedPointLayer(chain())(inputs() * torch.nan), ValueError, "finite"),
    "nan in PyTorch": (lambda: FixedPointLayer(energy())(inputs() * torch.nan), ValueError, "`x` .*finite"),
    "block": (lambda: called_with(W1=torch.ones(1, 1).double()), ValueError, r"W1 has shape \(4, "),
    "no sample": (lambda: FixedPointLayer(energy())(inputs()[:0]), ValueError, "at least one sample"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_layer_cannot_do_is_refused_with_a_sentence(case: str) -> None:
    call, error, text = REFUSED[case]
    with pytest.raises(error, match=rf"^\[FixedPointLayer\] .*{text}.*\. Received "):
        call()
