"""What functions of JAX refuse, with a sentence and where they are traced."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from networks import Valley, chain, inputs

jax: Any = pytest.importorskip("jax", reason="the extra 'jax' is not installed")
import equiprop.jax as eqj  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402
from jax_functions import double, layer, loss_of, sample  # noqa: E402

__all__ = ["double"]


@pytest.mark.parametrize(
    ("params", "x", "message"),
    [
        ({"W1": 0}, None, r"`params` has the blocks W1, W2, b1, b2. Received \['W1'\]"),
        ({"b1": np.zeros(7)}, None, r"params\['b1'\] has shape \(6,\). Received shape \(7,\)"),
        ({"b1": "b"}, None, r"`params\['b1'\]` holds real numbers\."),
        ({"b1": np.zeros(6, complex)}, None, r"`params\['b1'\]` holds real numbers\."),
        (np.zeros(50), None, r"`params` has shape \(51,\). Received shape \(50,\)"),
        (None, None, r"`params` is an array of numbers\. Received NoneType"),
        ({}, np.zeros((2, 3)), r"`x` has shape \(..., 4\). Received shape \(2, 3\)"),
        ({}, 1.0, r"`x` has shape \(..., 4\). Received shape \(\)"),
        ({}, "x", "`x` holds real numbers"),
        ({}, [[1j] * 4], "`x` holds real numbers"),
        ({}, jnp.ones((2, 4), complex), "`x` holds real numbers"),
    ],
)
@pytest.mark.parametrize("transform", ["eager", "jit"])
def test_wrong_arguments_are_named_when_a_function_is_traced(
    params: Any, x: Any, message: str, transform: str
) -> None:
    """The error comes from the function, not from the callback deep inside a compiled program."""
    net = chain(dtype="float32")
    if isinstance(params, dict):
        params = params if params == {"W1": 0} else {**eqj.parameters_of(net), **params}
    x = np.zeros((2, 4)) if x is None else x
    apply = eqj.fixed_point_layer(net)
    call = (lambda: apply(params, x)) if transform == "eager" else jax.jit(lambda: apply(params, x))
    with pytest.raises((TypeError, ValueError), match=rf"\[fixed_point_layer\] .*{message}"):
        call()


def test_float64_without_x64_is_refused_with_the_cure() -> None:
    net = chain()
    apply = eqj.fixed_point_layer(net)
    rule = r"jax.config.update\('jax_enable_x64', True\) or use network.astype\('float32'\)"
    for where, call in (
        ("fixed_point_layer", lambda: apply(net.parameters, inputs(net))),
        ("parameters_of", lambda: eqj.parameters_of(net)),
        ("assign", lambda: eqj.assign(net, net.parameters)),
    ):
        with pytest.raises(ValueError, match=rf"\[{where}\] .*{rule}"):
            call()
    eqj.fixed_point_layer(net.astype("float32"))(eqj.parameters_of(net.astype("float32")), inputs(net))
    model = Valley()
    model.num_inputs = 2
    with pytest.raises(ValueError, match=r"True\)\.$"):
        eqj.fixed_point_layer(model)(model.parameters, np.zeros((1, 2)))


@pytest.mark.usefixtures("double")
def test_a_derivative_by_x_that_a_model_does_not_have_is_refused() -> None:
    model = Valley()
    model.num_inputs = 2
    apply, params, x = eqj.fixed_point_layer(model), eqj.parameters_of(model), np.ones((3, 2))
    with pytest.raises(TypeError, match=r"need a HopfieldNetwork: pass jax.lax.stop_gradient\(x\)"):
        jax.grad(lambda x: apply(params, x).sum())(x)
    stopped = jax.grad(lambda x: apply(params, jax.lax.stop_gradient(x)).sum())(x)
    assert not stopped.any()
    check_grads(lambda p: apply(p, x), (params,), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


@pytest.mark.usefixtures("double")
def test_derivatives_that_do_not_exist_are_refused() -> None:
    net = chain()
    (x, y), apply, params = sample(net), layer(net), eqj.parameters_of(net)
    rule = r"\[fixed_point_layer\] Derivatives have order one, in reverse mode"
    with pytest.raises(TypeError, match=rule):
        jax.hessian(loss_of(apply))(params, x, y)
    with pytest.raises(TypeError, match=rule):
        jax.grad(lambda p: sum(v.sum() for v in jax.grad(loss_of(apply))(p, x, y).values()))(params)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda p: apply(p, x), (params,), (params,))


@pytest.mark.usefixtures("double")
def test_a_model_whose_blocks_are_not_all_parameters_takes_a_flat_array() -> None:
    class Partly(Valley):
        block_slices = {"a": slice(0, 3)}  # noqa: RUF012

    with pytest.raises(ValueError, match="blocks of a dictionary are all parameters: pass a flat array"):
        eqj._flat(Partly(), {"a": np.zeros(3)}, "test")


def test_the_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['jax'] = None; import equiprop.jax"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'equiprop[jax]'" in run.stderr
