"""The average of parameters follows its formula, and is what a trainer evaluates, restores and saves."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.averaging import Average
from equiprop.checkpoint import load_network
from equiprop.safetensors import read_safetensors, write_safetensors
from hypothesis import given
from hypothesis import strategies as st
from networks import Valley, chain

pytestmark = pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")  # random labels

R = np.random.default_rng(0)
X, Y = R.random((60, 4)), R.integers(0, 3, 60)
DATA = eq.Dataset(X, Y)


def new(averaging: float | None = 0.9, **options: Any) -> eq.Trainer:
    return eq.Trainer(chain(), optimizer=eq.Adam(0.02), batch_size=10, averaging=averaging, **options)


def steps(trainer: eq.Trainer, count: int) -> list[np.ndarray]:
    """Return the parameters after each of some steps."""
    after = []
    for _ in range(count):
        trainer.step(X[:10], Y[:10])
        after.append(trainer.model.parameters.copy())
    return after


def averaged(after: list[np.ndarray], decay: float) -> np.ndarray:
    """Return sum_t w_t theta_t with the weights of the recursion, which are at least 0 and sum to 1."""
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(1, len(after))]
    weights = [float(np.prod(decays))]
    weights += [(1 - d) * float(np.prod(decays[k + 1 :])) for k, d in enumerate(decays)]
    assert sum(weights) == pytest.approx(1)
    total: np.ndarray = sum(w * theta for w, theta in zip(weights, after, strict=True))  # type: ignore[assignment]
    return total


@given(st.integers(1, 30), st.floats(0, 0.9999))
def test_the_average_is_the_weighted_sum_of_all_parameters(count: int, decay: float) -> None:
    after = list(np.random.default_rng(count).normal(size=(count, 7)))
    average = Average(decay)
    for theta in after:
        average.after_step(theta)
    assert average.mean == pytest.approx(averaged(after, decay), rel=1e-12, abs=1e-13)


def test_many_parameters_are_averaged_piece_by_piece_without_memory_of_their_size() -> None:
    average, theta = Average(0.9), np.zeros(100_001)
    average.after_step(theta)
    theta += 1
    tracemalloc.start()
    average.after_step(theta)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(average.mean, 1 - 2 / 11, rtol=1e-15)
    assert peak < theta.nbytes / 3


def test_with_a_small_decay_the_average_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    theta = torch.nn.Linear(6, 2, dtype=torch.float64)
    other = AveragedModel(theta, multi_avg_fn=get_ema_multi_avg_fn(0.1))  # (1 + t) / (10 + t) is larger
    average = Average(0.1)
    for _ in range(9):
        with torch.no_grad():
            theta.weight.copy_(torch.tensor(R.normal(size=(2, 6))))
        other.update_parameters(theta)
        average.after_step(theta.weight.detach().numpy().ravel())
    np.testing.assert_allclose(average.mean, other.module.weight.detach().numpy().ravel(), rtol=1e-12)


def test_a_trainer_evaluates_the_average_and_trains_the_same_network() -> None:
    trainer, plain = new(0.95), new(None)
    after = steps(trainer, 8)
    np.testing.assert_array_equal(after, steps(plain, 8))
    reference = copy.deepcopy(plain.model)
    reference.parameters[:] = averaged(after, 0.95)
    expected = eq.Trainer(reference)
    assert trainer.averaged_model.parameters == pytest.approx(reference.parameters, rel=1e-12)
    np.testing.assert_allclose(trainer.predict(X), expected.predict(X), atol=1e-9)
    assert trainer.evaluate(DATA).objective == pytest.approx(expected.evaluate(DATA).objective, rel=1e-9)
    assert np.abs(trainer.predict(X) - plain.predict(X)).max() > 1e-4


def test_without_an_average_the_model_is_evaluated() -> None:
    trainer = new(None)
    steps(trainer, 2)
    assert trainer.averaged_model is trainer.model
    assert new().averaged_model is not None  # before the first step there is no average
    assert (fresh := new()).averaged_model is fresh.model


def test_the_averaged_model_follows_later_steps_and_the_scaling() -> None:
    trainer = new()
    trainer.fit(DATA, epochs=1, scaling="standardise")
    model = trainer.averaged_model
    before = model.parameters.copy()
    assert model is not trainer.model
    assert model.scaling == trainer.model.scaling is not None
    steps(trainer, 1)
    assert trainer.averaged_model is model
    assert (model.parameters != before).any()


def test_early_stopping_keeps_the_average_of_the_best_epoch() -> None:
    kept: list[tuple[float, np.ndarray]] = []

    def keep(trainer: eq.Trainer, epoch: eq.Epoch) -> None:
        assert epoch.validation_error == trainer.evaluate(DATA).error
        kept.append((epoch.validation_error, trainer.averaged_model.parameters.copy()))

    trainer = new(callbacks=[keep])
    trainer.fit(DATA, epochs=30, validation=DATA, patience=2)
    best = min(kept, key=lambda pair: pair[0])[1]
    np.testing.assert_array_equal(trainer.model.parameters, best)
    np.testing.assert_array_equal(trainer.averaged_model.parameters, best)


def test_a_failure_restores_the_average_too() -> None:
    trainer = new(clip=np.inf)
    trainer.fit(DATA, epochs=1)
    trainer.optimizer = eq.SGD(1e6)
    with pytest.raises(eq.ConvergenceError):
        trainer.fit(DATA, epochs=50)
    np.testing.assert_array_equal(trainer.averaged_model.parameters, trainer.model.parameters)
    assert np.abs(trainer.model.parameters).max() < 100


def test_another_model_and_another_decay_take_effect() -> None:
    trainer = new()
    steps(trainer, 3)
    trainer.averaging = None
    assert trainer.averaged_model is trainer.model
    trainer.averaging = 0.5
    after = steps(trainer, 3)
    assert trainer.averaged_model.parameters == pytest.approx(averaged(after, 0.5), rel=1e-12)
    trainer.model, trainer.optimizer = chain(4, 5, 3), eq.Adam(0.01)
    assert trainer.averaged_model is trainer.model


def test_a_model_of_ones_own_is_averaged() -> None:
    model = Valley()
    trainer = eq.Trainer(model, optimizer=eq.SGD(0.01), averaging=0.9)
    after = []
    for _ in range(4):
        trainer.step(R.random((3, 2)), R.random((3, model.num_outputs)))
        after.append(model.parameters.copy())
    assert trainer.averaged_model.parameters == pytest.approx(averaged(after, 0.9), rel=1e-12)


@pytest.mark.parametrize("bad", [1.0, -0.1, np.nan, np.inf])
def test_a_decay_out_of_range_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"^\[Trainer\] averaging, if given, lies in \[0, 1\)\. Received"):
        new(bad)
    trainer = new()
    trainer.averaging = bad
    with pytest.raises(ValueError, match="averaging, if given"):
        trainer.step(X[:10], Y[:10])


def test_a_decay_that_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^\[Trainer\] averaging is a number\. Received 'ema'\.$"):
        new("ema")  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["pickle", "copy", "file"])
def test_a_copy_continues_with_equal_bits(way: str, tmp_path: Path) -> None:
    trainer = new()
    steps(trainer, 3)
    model = trainer.averaged_model
    twin = {
        "pickle": lambda: pickle.loads(pickle.dumps(trainer)),
        "copy": lambda: copy.deepcopy(trainer),
        "file": lambda: eq.load(eq.save(trainer, tmp_path / "t")),
    }[way]()
    steps(twin, 2)
    assert (twin.averaged_model.parameters != model.parameters).any()  # they share no memory
    steps(trainer, 2)
    np.testing.assert_array_equal(twin.averaged_model.parameters, model.parameters)


def test_the_network_of_a_file_is_the_averaged_one(tmp_path: Path) -> None:
    trainer = new()
    steps(trainer, 3)
    network = load_network(eq.save(trainer, tmp_path / "t"))
    np.testing.assert_array_equal(network.parameters, trainer.averaged_model.parameters)


@pytest.mark.parametrize("entry", [np.nan, None])
def test_a_file_with_a_damaged_average_is_refused(entry: float | None, tmp_path: Path) -> None:
    trainer = new()
    steps(trainer, 1)
    tensors, metadata = read_safetensors(eq.save(trainer, tmp_path / "t"))
    (name,) = [name for name in tensors if name.startswith("_average")]
    tensors[name] = tensors[name][1:] if entry is None else np.full_like(tensors[name], entry)
    write_safetensors(tmp_path / "t", tensors, metadata)
    with pytest.raises(ValueError, match="The average is finite, and fits the parameters"):
        eq.load(tmp_path / "t")


def test_averaging_helps_where_steps_are_noisy() -> None:
    """With a large constant rate the average lies in the middle of the values between which steps jump."""
    train, test = eq.load_digits()
    trainer = eq.Trainer(
        eq.HopfieldNetwork([64, 32, 10]), optimizer=eq.Adam(0.01), batch_size=10, averaging=0.99
    )
    trainer.fit(train, epochs=5)
    last = eq.Trainer(trainer.model).evaluate(test)
    assert trainer.evaluate(test).objective < 0.8 * last.objective


@pytest.mark.parametrize("decay", [0, np.float32(0.5), np.int64(0)])
def test_a_decay_of_any_number_type_is_saved_and_read(tmp_path: Path, decay: Any) -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 6, 3], seed=0), averaging=decay)
    trainer.fit(np.random.default_rng(0).random((20, 4)), np.arange(20) % 3, epochs=1)
    loaded = eq.load(eq.save(trainer, tmp_path / "trainer"))
    assert loaded.averaging == trainer.averaging == decay
    assert type(loaded.averaging) is float
