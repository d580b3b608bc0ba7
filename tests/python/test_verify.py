"""The reports pass for correct models, and fail for every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from equiprop.verify.suite import CLAIMS, examine, networks, random_network, random_samples
from equiprop.verify.verdict import pictures, write
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import CLIPPED, POTENTIALS, SMOOTH, Oracle, chain, inputs, labels, skip

few = settings(max_examples=15, deadline=None, derandomize=True)
costs = st.sampled_from([eq.SquaredError(), eq.CrossEntropy()])


@few
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.sampled_from(SMOOTH + CLIPPED),
    st.sampled_from(POTENTIALS),
    costs,
    st.integers(0, 99),
)
def test_the_theorem_holds_on_random_networks(
    sizes: list[int], activation: str, potential: str, cost: Any, seed: int
) -> None:
    net = chain(*sizes, activation=activation, potential=potential, seed=seed)
    report = verify.equivalence(net, inputs(net, 2, seed), labels(net, 2, seed), steps=60, cost=cost)
    assert report.passed
    assert report.max_relative_error < 1e-12
    assert len(report.state_errors) == len(report.parameter_errors) == 61
    assert report.error_derivatives.states.shape == (61, 2, net.num_units)
    assert report.temporal_derivatives.parameters.shape == (61, net.num_parameters)


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid", "relu"])
@pytest.mark.parametrize("build", [chain, skip])
def test_every_gradient_passes(build: Any, activation: str, potential: str) -> None:
    net = build(activation=activation, potential=potential)
    report = verify.gradients(net, inputs(net), labels(net), max_differences=30)
    assert report.passed, str(report)
    names = [way.name for way in report.ways]
    assert names[0] == "EqProp, exact_limit"
    assert names[-1] == "central finite differences"
    assert len(names) == 1 + 2 * 2 + 4 + 1 + 1
    assert any(name.startswith("BPTT") for name in names)
    errors = {way.name: way.relative_error for way in report.ways}
    assert (
        errors["EqProp, centered(0.001)"]
        < errors["EqProp, one_sided(0.001)"]
        < errors["EqProp, one_sided(0.1)"]
    )
    assert not any(row.judged for row in report.rows[1:5])


def test_the_processes_start_and_end_where_the_theory_says() -> None:
    net = chain(4, 6, 3, potential="quadratic")
    x, y = inputs(net), labels(net)
    report = verify.equivalence(net, x, y, steps=400, step_size=0.25)
    force = Oracle(net).force(report.free.state, np.eye(3)[y])
    np.testing.assert_allclose(report.error_derivatives.states[0], force, rtol=0, atol=1e-15)
    assert (report.error_derivatives.parameters[0] == 0).all()
    gradient, _, _ = Oracle(net).implicit(x, np.eye(3)[y])
    np.testing.assert_allclose(report.error_derivatives.parameters[-1], gradient, rtol=0, atol=1e-12)
    np.testing.assert_allclose(report.temporal_derivatives.parameters[-1], gradient, rtol=0, atol=1e-12)
    assert np.abs(report.error_derivatives.states[-1]).max() < 1e-12


def test_a_finite_beta_shows_its_bias() -> None:
    net = chain(4, 6, 3, potential="quadratic")
    x, y = inputs(net), labels(net)
    report = verify.equivalence(net, x, y, nudging=eq.one_sided(0.1), tolerance=1e-12)
    assert not report.passed
    assert 1e-4 < report.max_relative_error < 1
    assert verify.equivalence(net, x, y, nudging=eq.one_sided(0.1), tolerance=1.0).passed


@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy()])
@pytest.mark.parametrize("build", [chain, skip])
def test_the_orders_are_those_of_the_rules(cost: Any, build: Any) -> None:
    net = build()
    if build is skip:  # its output is linear, so the cost is holomorphic
        assert net.holomorphic
    report = verify.orders(net, inputs(net), labels(net), cost=cost)
    assert report.passed, str(report)
    assert {"one_sided", "centered", "holomorphic 2", "holomorphic 4"} <= set(report.slopes)
    assert report.radius > 0.05
    assert len(report.table().splitlines()) == 2 + len(report.betas)
    assert "order" in report.table()


def test_an_order_that_cannot_be_seen_fails() -> None:
    net = chain()
    report = verify.orders(net, inputs(net), labels(net), betas=(1e-9, 2e-9), points=())
    assert not report.passed  # both errors are below rounding
    assert np.isnan(report["order of centered"])


def test_single_precision_networks_are_verified_in_double() -> None:
    net = chain(dtype="float32")
    report = verify.equivalence(net, inputs(net), labels(net))
    assert report.passed
    assert report.free.state.dtype == np.float64
    assert net.dtype == np.float32


def test_a_free_phase_that_did_not_converge_fails_the_reports() -> None:
    net = chain()
    solver = eq.BlockUpdate(tolerance=1e-14, max_iterations=2)
    with pytest.warns(eq.ConvergenceWarning):
        report = verify.equivalence(net, inputs(net), labels(net), solver=solver, steps=5)
    assert not report.passed
    with pytest.warns(eq.ConvergenceWarning):
        assert not verify.gradients(net, inputs(net), labels(net), solver=solver, betas=[]).passed


def test_reports_are_readable_and_drawable() -> None:
    net = chain(4, 6, 3, activation="hard_sigmoid")
    report = verify.equivalence(net, inputs(net), labels(net), steps=20)
    assert "EqProp (exact_limit) = RBP holds over 20 steps" in str(report)
    assert f"{(~report.free_units).sum()} of {report.free_units.size} units held by a bound" in str(report)
    assert report.plot().get_title().startswith("EqProp and RBP differ by ")
    gradients = str(verify.gradients(net, inputs(net), labels(net), betas=[0.5]))
    assert "EqProp, centered(0.5)" in gradients
    assert "RBP, ConjugateGradient" in gradients


def test_the_comparison_is_streamed_and_keeps_some_traces() -> None:
    """All steps would take 4 GB."""
    net = eq.HopfieldNetwork([30, 60, 10], activation="tanh", potential="quadratic", dtype="float64")
    x, y = inputs(net, 9), labels(net, 9)
    short = verify.equivalence(net, x, y, steps=40)
    long = verify.equivalence(net, x, y, steps=5000)
    assert long.passed
    assert long.error_derivatives.states.shape == (5001, 1, len(long.traced.units))
    assert long.temporal_derivatives.parameters.shape == (5001, len(long.traced.parameters))
    assert len(long.traced.units) <= 24
    assert (long.traced.units[-10:] == np.arange(60, 70)).all()
    kept = short.error_derivatives.states[:, :1][:, :, long.traced.units]
    np.testing.assert_allclose(long.error_derivatives.states[:41], kept, rtol=0, atol=1e-13)
    kept = short.error_derivatives.parameters[:, long.traced.parameters]
    np.testing.assert_allclose(long.error_derivatives.parameters[:41], kept, rtol=0, atol=1e-13)


def test_chunks_of_the_batch_give_what_single_samples_give() -> None:
    net = chain(potential="quadratic")
    x, y = inputs(net, 5), labels(net, 5)
    together = verify.equivalence(net, x, y, steps=30)
    alone = [
        verify.equivalence(net, x[j : j + 1], y[j : j + 1], steps=30, step_size=together.step_size)
        for j in range(5)
    ]
    states = np.concatenate([report.error_derivatives.states for report in alone], axis=1)
    np.testing.assert_allclose(together.error_derivatives.states, states, rtol=0, atol=1e-13)
    parameters = np.mean([report.error_derivatives.parameters for report in alone], axis=0)
    np.testing.assert_allclose(together.error_derivatives.parameters, parameters, rtol=0, atol=1e-13)


def test_errors_are_told_apart_by_layer_and_block() -> None:
    net = chain(4, 6, 5, 3, potential="quadratic")
    report = verify.equivalence(net, inputs(net), labels(net), steps=30)
    assert list(report.layer_errors) == ["hidden1", "hidden2", "output"]
    assert list(report.block_errors) == list(net.blocks)
    np.testing.assert_array_equal(report.state_errors, np.max(list(report.layer_errors.values()), axis=0))


@pytest.mark.parametrize("solver", [eq.Euler(step_size=0.2, tolerance=1e-14, max_iterations=10**5), None])
def test_a_prepared_problem_is_relaxed_once(solver: Any) -> None:
    net = chain(potential="quadratic")
    problem = verify.prepare("here", net, inputs(net), labels(net), eq.SquaredError(), solver)
    report = verify.equivalence(problem, steps=20)
    assert report.problem is problem
    assert verify.limit(problem).problem is problem
    assert problem.solver == (solver or problem.free.solver)


@pytest.mark.parametrize("build", [chain, skip])
def test_the_implicit_gradient_is_the_oracles(build: Any) -> None:
    net = build()
    x, y = inputs(net), labels(net)
    expected, _, _ = Oracle(net).implicit(x, np.eye(3)[y])
    problem = verify.prepare("here", net, x, y, eq.SquaredError(), None)
    reference = verify.implicit_gradient(problem)
    np.testing.assert_allclose(reference, expected, rtol=0, atol=1e-12)
    kept = net.parameters.copy()
    chosen = np.array([0, 7, net.num_parameters - 1])
    slopes = verify.finite_differences(problem, chosen)
    np.testing.assert_allclose(slopes, expected[chosen], rtol=0, atol=1e-8)
    np.testing.assert_array_equal(net.parameters, kept)


def test_the_suite_runs_the_networks_it_is_asked_for() -> None:
    nets = list(networks(None, [3, 4, 2], None, "legendre", 1))
    assert [net.layers[1].activation.kind for net in nets] == ["tanh", "logistic", "clip"]
    assert len(list(networks(None, None, None, "quadratic", 1))) == 9
    assert list(networks(nets[0], [3, 4, 2], None, "legendre", 1)) == [nets[0]]
    net = random_network([3, 4, 2], "tanh", "quadratic", 5)
    x, y = random_samples(net, 7, 5)
    assert x.shape == (7, 3)
    assert ((x >= 0) & (x < 1)).all()
    assert ((y >= 0) & (y < 2)).all()
    assert (net.blocks["b1"] != 0).all()


@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid"])
def test_every_claim_is_made_or_said_not_to_be(activation: str) -> None:
    net = chain(activation=activation, output=activation, potential="quadratic")
    problem = verify.prepare("here", net, inputs(net), labels(net), eq.SquaredError(), None)
    seen: list[str] = []
    case = examine(problem, show=lambda report: seen.append(report.name))
    assert case.passed, str(case)
    assert [report.name for report in case.reports] == seen
    assert set(seen) | set(case.skipped) == set(CLAIMS)
    assert not set(seen) & set(case.skipped)
    assert all(report.name in str(case) or "EqProp" in str(case) for report in case.reports)


def test_unknown_claims_are_refused() -> None:
    net = chain()
    for wrong in (["equalty"], "equality"):
        with pytest.raises(
            ValueError,
            match=r"\[verify\] Claims are a list with entries of derivatives, equality, .*Received",
        ):
            verify.certify(net, inputs(net), labels(net), claims=wrong)


def test_what_is_no_verdict_is_neither_drawn_nor_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"^\[pictures\] `verdict` is the result of a check. Received int"):
        pictures(3)
    with pytest.raises(
        TypeError, match=r"^\[save\] The object .* is the result of a check or a certificate\. Received int"
    ):
        write(3, tmp_path / "report.json")


def test_advice_on_an_unfinished_free_phase_is_computed_once() -> None:
    net = chain(potential="quadratic")
    few = eq.Euler(tolerance=1e-14, max_iterations=5, step_size=0.3)
    with pytest.warns(eq.ConvergenceWarning):
        report = verify.equivalence(net, inputs(net), labels(net), solver=few, steps=5)
    assert any("Too few free steps" in sentence for sentence in report.all_advice())
    assert report.problem.diagnosis is report.problem.diagnosis
    assert report.problem.diagnosis.advice == verify.diagnose(report.free).advice


class Quarters(eq.HopfieldNetwork):
    """A network whose inputs are given in quarters."""

    def as_input(self, x: Any, where: str) -> Any:
        return super().as_input(x, where) / self.dtype.type(4)


FUNCTIONS = ["asymmetry", "bounded", "derivatives", "discrete_time", "equivalence", "gradients", "limit"]
FUNCTIONS += ["orders", "projected_cost", "surrogate", "unconverged"]


@pytest.mark.parametrize("claim", FUNCTIONS)
def test_every_claim_converts_the_inputs_of_a_network_once(claim: str) -> None:
    plain = chain(4, 6, 3, activation="tanh", potential="quadratic")
    quarters = Quarters([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
    quarters.parameters[:] = plain.parameters
    x, y = inputs(plain), labels(plain)
    function = getattr(verify, claim)
    ours, expected = (function(net, scale * x, y) for net, scale in ((quarters, 4), (plain, 1)))
    np.testing.assert_array_equal(ours.problem.x, x)
    np.testing.assert_array_equal(ours.problem.state, expected.problem.state)
    assert [(row.label, row.value) for row in ours.rows] == [(row.label, row.value) for row in expected.rows]
