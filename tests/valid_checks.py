"""Valid calls of pictures, own models in PyTorch, and checks, for the table of bad inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import equiprop as eq
import numpy as np
import torch
from equiprop import analysis, plotting, verify
from equiprop.torch import FixedPointLayer, TorchEnergy, TorchVectorField
from equiprop.torch import verify as verify_module
from networks import chain
from valid_parts import (
    LABELS,
    STATE,
    TARGETS,
    Call,
    X,
    axes,
    bias,
    box,
    claim,
    construct,
    equivalence,
    equivalence_of,
    free,
    layer,
    linear,
    net,
    own,
    problem,
    recorded,
    replayable,
    torch_energy,
    torch_field,
    total,
    trained,
)


def recordings(folder: Path) -> Path:
    path = folder / "recordings.npz"
    verify.write_recordings(path, {0.1: np.ones((3, 1, 2))}, step_size=0.1)
    return path


def flow() -> Call:
    """Return a phase portrait of a network of two free units."""
    arguments = {"model": chain(1, 1, 1), "x": np.array([[0.5]]), "y": np.array([[0.8]]), "beta": 0.5}
    more = {"bounds": ((-0.5, 0.5), (0.0, 1.0)), "points": 3, "cost": eq.SquaredError()}
    return analysis.phase_portrait, {**arguments, **more, "solver": eq.BlockUpdate()}


@cache
def portrait() -> analysis.PhasePortrait:
    function, arguments = flow()
    found: analysis.PhasePortrait = function(**arguments)
    return found


@cache
def cosines() -> analysis.GradientCosines:
    return analysis.gradient_cosines(net(), X, LABELS, betas=[0.1])


CHECKS: dict[str, Callable[[Path], Call]] = {
    "plotting.graph": lambda _: (plotting.graph, {"net": net(), "axes": axes()}),
    "plotting.learning_curve": lambda _: (
        plotting.learning_curve,
        {"history": trained().history, "axes": axes(), "classification": False},
    ),
    "plotting.learning_curve of several": lambda _: (
        plotting.learning_curve,
        {"history": {"first": trained().history, "second": trained().history}},
    ),
    "plotting.sweeps": lambda _: (plotting.sweeps, {"history": trained().history, "axes": axes()}),
    "plotting.energy": lambda _: (plotting.energy, {"free": free(record=True), "axes": axes()}),
    "plotting.sweep_histogram": lambda _: (plotting.sweep_histogram, {"outcome": free(), "axes": axes()}),
    "plotting.spectrum": lambda _: (
        plotting.spectrum,
        {"eigenvalues": analysis.eigenvalues(free()), "step_size": 0.5, "axes": axes()},
    ),
    "plotting.filters": lambda _: (
        plotting.filters,
        {"net": net(), "block": "W2", "count": 2, "shape": (2, 2), "axes": axes()},
    ),
    "plotting.gradient_cosines": lambda _: (
        plotting.gradient_cosines,
        {"cosines": cosines(), "blocks": ["W1", "b2"], "axes": axes()},
    ),
    "plotting.phase_portrait": lambda _: (
        plotting.phase_portrait,
        {"portrait": portrait(), "axes": axes()},
    ),
    "analysis.energies": lambda _: (analysis.energies, {"free": free(record=True)}),
    "analysis.eigenvalues": lambda _: (analysis.eigenvalues, {"free": free(), "of": "map"}),
    "analysis.filters": lambda _: (analysis.filters, {"net": net(), "block": "W2", "shape": (2, 2)}),
    "analysis.gradient_cosines": lambda _: claim(
        analysis.gradient_cosines, rules=("centered",), betas=(0.1,), solver=eq.BlockUpdate()
    ),
    "analysis.phase_portrait": lambda _: flow(),
    "plotting.margins": lambda _: (plotting.margins, {"verdict": equivalence(), "axes": axes()}),
    "plotting.orders": lambda _: (
        plotting.orders,
        {"report": bias(), "axes": axes()},
    ),
    "plotting.relaxation": lambda _: (plotting.relaxation, {"free": free(trace=True), "axes": axes()}),
    "plotting.save": lambda to: (plotting.save, {"axes": axes(), "path": to / "picture.png"}),
    "plotting.step_errors": lambda _: (plotting.step_errors, {"report": equivalence(), "axes": axes()}),
    "plotting.theorem": lambda _: (plotting.theorem, {"report": equivalence(), "units": 3, "axes": axes()}),
    "TorchEnergy": construct(
        lambda **a: eq.free_phase(TorchEnergy(**a), X).state,
        function=lambda x, s, p: ((s - x * total(p)) ** 2).sum(dim=1),
        num_units=3,
        num_outputs=2,
        params={"w": torch.ones(3)},
        num_inputs=3,
    ),
    "TorchVectorField": construct(
        lambda **a: eq.free_phase(TorchVectorField(**a), X).state,
        function=lambda x, s, p: x * total(p) - s,
        num_units=3,
        num_outputs=2,
        params={"w": torch.ones(3)},
        num_inputs=3,
    ),
    "FixedPointLayer": construct(
        lambda **a: FixedPointLayer(**a)(torch.from_numpy(X)).detach().numpy(),
        model=net(),
        second_phase=eq.RecurrentBackpropagation(),
        solver=eq.BlockUpdate(),
        on_failure="warn",
    ),
    "FixedPointLayer.forward": lambda _: (layer().forward, {"x": torch.from_numpy(X)}),
    "verify": lambda _: (
        verify_module,
        {"module": linear(), "x": X, "y": TARGETS, "tolerance": 1e-5, "claims": ["limit"]},
    ),
    "_TorchModel.block_views": lambda _: (torch_energy().block_views, {"flat": np.arange(3.0)}),
    **{
        f"TorchEnergy.{name}": (lambda _, name=name, arrays=arrays: own(torch_energy(), name, *arrays))
        for name, arrays in {
            "energy": "xs",
            "gradient": "xs",
            "parameter_gradient": "xs",
            "hessian_vector_product": "xsv",
            "mixed_derivative_product": "xsv",
        }.items()
    },
    **{
        f"TorchVectorField.{name}": (lambda _, name=name, arrays=arrays: own(torch_field(), name, *arrays))
        for name, arrays in {
            "velocity": "xs",
            "jacobian_vector_product": "xsv",
            "vector_jacobian_product": "xsv",
            "parameter_vector_product": "xsv",
        }.items()
    },
    "Verdict.plot": lambda _: (equivalence_of(verify.limit).plot, {"axes": axes()}),
    "Verdict.save": lambda to: (equivalence().save, {"path": to / "verdict.json"}),
    "EquivalenceReport.most_active": lambda _: (equivalence().most_active, {"count": 2}),
    "EquivalenceReport.plot": lambda _: (equivalence().plot, {"axes": axes(), "units": 3}),
    "Certificate.save": lambda to: (
        verify.certify(net(), X, LABELS, claims=["equality"]).save,
        {"path": to / "certificate.json"},
    ),
    "BlackBox": construct(
        lambda **a: verify.black_box(verify.BlackBox(**a), X, TARGETS),
        relax=box().relax,
        contrast=box().contrast,
        parameters=np.ones(3),
        num_outputs=2,
        parameters_changed=lambda _: None,
        block_slices={"w": slice(0, 3)},
        num_inputs=X.shape[1],
    ),
    "Problem.bind": lambda _: (problem().bind, {"y": LABELS}),
    "Problem.difference_step": lambda _: (problem().difference_step, {"betas": (0.0, 0.1)}),
    "Problem.nudged": lambda _: (
        problem().nudged,
        {"nudging": eq.centered(0.1), "solver": eq.FixedPointIteration(damping=0.5), "symmetrize": False},
    ),
    "Problem.nudged_solver": lambda _: (problem().nudged_solver, {"symmetrize": True}),
    "Problem.objective": lambda _: (problem().objective, {"state": STATE}),
    "Problem.step_size": lambda _: (problem().step_size, {"wanted": 0.1}),
    "Row.text": lambda _: (verify.Row("a", 1.0, 0.0, 2.0).text, {"width": 10}),
    "Spectrum.rate": lambda _: (verify.diagnose(free()).spectrum.rate, {"step": 0.5}),
    "verify.asymmetry": lambda _: claim(verify.asymmetry, deltas=(0.001, 0.01), seed=1, solver=eq.Euler()),
    "verify.black_box": lambda _: (
        verify.black_box,
        {
            "box": box(),
            "x": X,
            "y": TARGETS,
            "beta": 0.1,
            "step": 0.001,
            "cost": eq.SquaredError(),
            "tolerance": 1e-5,
            "max_differences": 3,
            "time_limit": 60.0,
            "progress": False,
        },
    ),
    "verify.black_box with repeats": lambda _: (
        verify.black_box,
        {"box": box(), "x": X, "y": TARGETS, "repeats": 4, "significance": 0.01},
    ),
    "verify.best_beta": lambda _: (
        verify.best_beta,
        {
            "box": box(),
            "x": X,
            "y": TARGETS,
            "beta": 0.1,
            "cost": eq.SquaredError(),
            "repeats": 4,
            "averages": 2,
            "time_limit": 60.0,
            "progress": False,
        },
    ),
    "verify.read_recordings": lambda to: (
        verify.read_recordings,
        {"path": recordings(to), "step_size": 0.1},
    ),
    "verify.write_recordings": lambda to: (
        verify.write_recordings,
        {
            "path": to / "written.npz",
            "trajectories": {-0.1: np.zeros((3, 1, 2)), 0.1: np.ones((3, 1, 2))},
            "step_size": 0.1,
            "outputs": False,
        },
    ),
    "verify.bounded": lambda _: claim(verify.bounded, betas=(0.01, 0.1), solver=eq.BlockUpdate()),
    "verify.certify": lambda _: claim(verify.certify, claims=("equality",), solver=eq.Euler()),
    "verify.derivatives": lambda _: claim(verify.derivatives, state=STATE, max_parameters=20, seed=1),
    "verify.diagnose": lambda _: (verify.diagnose, {"free": free()}),
    "verify.discrete_time": lambda _: claim(verify.discrete_time, steps=20, solver=eq.Euler()),
    "verify.equivalence": lambda _: claim(
        verify.equivalence,
        steps=20,
        step_size=0.1,
        integrator="euler",
        nudging=eq.exact_limit(),
        symmetrize=False,
        solver=eq.Euler(),
        tolerance=1e-6,
    ),
    "verify.finite_differences": lambda _: (
        verify.finite_differences,
        {"problem": problem(), "chosen": np.array([0, 3]), "step": 1e-5},
    ),
    "verify.gradients": lambda _: claim(
        verify.gradients,
        betas=(0.1, 0.01),
        linear_solvers=[eq.GMRES()],
        solver=eq.Euler(),
        max_differences=20,
    ),
    "verify.implicit_gradient": lambda _: (verify.implicit_gradient, {"problem": problem()}),
    "verify.limit": lambda _: claim(verify.limit, symmetrize=False, solver=eq.Euler()),
    "verify.orders": lambda _: claim(verify.orders, betas=(0.2, 0.1, 0.05), points=(2, 4), solver=eq.Euler()),
    "verify.prepare": lambda _: claim(lambda **a: verify.prepare("test", **a), solver=eq.Euler()),
    "verify.projected_cost": lambda _: claim(
        verify.projected_cost, steps=(0, 5), solver=eq.Euler(), max_differences=3
    ),
    "verify.replay": lambda to: (verify.replay, {"path": replayable(to)}),
    "verify.surrogate": lambda _: claim(verify.surrogate, beta=0.1, solver=eq.Euler(), max_differences=3),
    "verify.traces": lambda _: recorded(noise=1e-6, significance=0.01),
    "verify.traces with a tolerance": lambda _: recorded(tolerance=0.1),
    "verify.unconverged": lambda _: claim(verify.unconverged, steps=(10, 20), beta=0.001, solver=eq.Euler()),
}
