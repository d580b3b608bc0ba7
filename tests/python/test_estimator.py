"""The estimators follow the rules of scikit-learn and learn from raw features."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import equiprop as eq
import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn")

from equiprop.estimator import EquilibriumClassifier, EquilibriumRegressor
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

IRIS = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[IRIS[1]]
CURVE = np.linspace(-1, 1, 120)[:, None]
PARABOLA = 3000 + 100 * CURVE[:, 0] ** 2


def classifier(**settings: Any) -> EquilibriumClassifier:
    return EquilibriumClassifier(**{"hidden_layer_sizes": 20, "max_iter": 20, "random_state": 0, **settings})


def regressor(**settings: Any) -> EquilibriumRegressor:
    return EquilibriumRegressor(**{"hidden_layer_sizes": 20, "max_iter": 20, "random_state": 0, **settings})


def parameters(model: BaseEstimator) -> np.ndarray:
    return np.array(model.network_.parameters)


#: Checks that do not apply, and why. Weights equal repeated samples in the objective (test_weights.py).
BATCHES = "the batches of a training with repeated samples are others"
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": BATCHES,
    "check_sample_weight_equivalence_on_sparse_data": BATCHES,
}


@parametrize_with_checks(
    [
        EquilibriumClassifier(max_iter=20),
        EquilibriumClassifier(max_iter=20, second_phase="rbp"),
        EquilibriumRegressor(max_iter=20),
        EquilibriumRegressor(max_iter=20, second_phase="rbp"),
    ],
    expected_failed_checks=lambda _: EXPECTED_FAILURES,
)
@pytest.mark.filterwarnings("default")
def test_the_rules_of_scikit_learn_hold(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


def test_an_import_without_scikit_learn_names_the_extra() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import equiprop; import equiprop.estimator"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = run.stderr.splitlines()[-1]
    assert last.startswith("ImportError: [equiprop.estimator] scikit-learn")
    assert "pip install 'equiprop[sklearn]'" in last


# With a few settings a single sample does not converge in some epoch.
@pytest.mark.filterwarnings("ignore::equiprop.ConvergenceWarning")
@pytest.mark.parametrize("second_phase", ["eqprop", "rbp"])
@pytest.mark.parametrize("activation", list(eq.ACTIVATIONS))
def test_every_activation_learns_with_each_second_phase(activation: str, second_phase: str) -> None:
    settings = {"activation": activation, "second_phase": second_phase, "hidden_layer_sizes": (20, 10)}
    assert classifier(max_iter=40, **settings).fit(*IRIS).score(*IRIS) > 0.93
    if activation != "linear":
        assert regressor(max_iter=100, **settings).fit(CURVE, PARABOLA).score(CURVE, PARABOLA) > 0.9


def test_probabilities_are_the_softmax_of_the_outputs_in_the_order_of_the_classes() -> None:
    model = classifier().fit(IRIS[0], NAMES)
    inputs = ((IRIS[0] - IRIS[0].mean(axis=0)) / IRIS[0].std(axis=0)).astype(np.float32)
    outputs = model.trainer_.predict(inputs, scale=1).astype(np.float64)
    exponentials = np.exp(4.0 * outputs)  # the logit scale
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(IRIS[0]), expected, rtol=1e-4)
    of_trainer = model.trainer_.predict_proba(IRIS[0])
    np.testing.assert_allclose(model.predict_proba(IRIS[0]), of_trainer, rtol=1e-4)
    assert model.classes_.tolist() == sorted(set(NAMES))
    assert (model.predict(IRIS[0]) == model.classes_[expected.argmax(axis=1)]).all()
    assert model.score(IRIS[0], NAMES) > 0.9


@pytest.mark.parametrize("labels", [IRIS[1] * 5 - 7, IRIS[1] == 0, IRIS[1] / 4, NAMES.astype(object)])
def test_labels_of_each_type_are_returned(labels: np.ndarray) -> None:
    if labels.dtype.kind == "f":
        labels = 4 * labels  # whole numbers; scikit-learn takes others for targets of a regression
    predicted = classifier().fit(IRIS[0], labels).predict(IRIS[0])
    assert predicted.dtype == labels.dtype
    assert (predicted == labels).mean() > 0.9


def test_shifted_and_scaled_features_and_targets_give_the_same_model() -> None:
    shift, scale = np.array([1e3, -5.0, 0.0, 1e4]), np.array([1e3, 1e-4, 1.0, 1e5])
    plain, moved = classifier().fit(*IRIS), classifier().fit(IRIS[0] * scale + shift, IRIS[1])
    expected = plain.predict_proba(IRIS[0])
    np.testing.assert_allclose(moved.predict_proba(IRIS[0] * scale + shift), expected, rtol=0, atol=0.02)

    x, y = load_diabetes(return_X_y=True)
    targets = np.stack([y, 1e6 - 1e4 * y], axis=1)
    model = regressor().fit(1e5 * x, targets)
    assert model.score(1e5 * x, targets) > 0.4
    np.testing.assert_allclose(model.target_scaling_.offset, targets.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(model.input_scaling_.factor, 1e-5 / x.std(axis=0), rtol=1e-12)


def test_without_standardize_the_network_receives_the_inputs_unchanged() -> None:
    x = IRIS[0].astype(np.float32)
    model = classifier(standardize=False).fit(x, IRIS[1])
    outputs = model.trainer_.predict(x)
    assert (model.predict(x) == outputs.argmax(axis=1)).all()
    assert model.input_scaling_.is_none
    raw = regressor(standardize=False).fit(CURVE, CURVE[:, 0])
    assert (raw.predict(CURVE) == raw.trainer_.predict(CURVE.astype(np.float32))[:, 0]).all()


def test_the_network_of_an_estimator_takes_raw_features_in_a_trainer(tmp_path: Path) -> None:
    for standardize in (True, False):
        model = classifier(standardize=standardize).fit(*IRIS)
        model.partial_fit(*IRIS, sample_weight=np.linspace(1, 2, 150))
        trainer = eq.Trainer(eq.load(eq.save(model.network_, tmp_path / "net")), solver=model.trainer_.solver)
        assert trainer.scaling == model.input_scaling_
        np.testing.assert_array_equal(trainer.predict(IRIS[0]), model.trainer_.predict(IRIS[0]))
        assert (model.predict(IRIS[0]) == trainer.predict_classes(IRIS[0])).all()


def test_constant_features_and_targets_and_equal_samples_are_no_obstacle() -> None:
    x = np.hstack([IRIS[0], np.full((150, 1), 7.0)])
    assert classifier().fit(x, IRIS[1]).score(x, IRIS[1]) > 0.9
    np.testing.assert_allclose(regressor(max_iter=60).fit(x, np.full(150, 7.0)).predict(x), 7, atol=0.1)
    same = np.ones((10, 3))
    for standardize in (True, False):
        predictions = regressor(standardize=standardize, max_iter=100).fit(same, np.ones(10)).predict(same)
        np.testing.assert_allclose(predictions, 1, atol=0.2)


def test_predictions_have_the_shape_of_the_targets() -> None:
    for y in (PARABOLA, PARABOLA[:, None], np.stack([PARABOLA, CURVE[:, 0]], axis=1)):
        assert regressor(max_iter=1).fit(CURVE, y).predict(CURVE[:5]).shape == (5, *y.shape[1:])


def test_early_stopping_restores_the_parameters_of_the_best_epoch() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(100, 10))
    y = (x[:, 0] + 0.5 * random.normal(size=100) > 0).astype(int)  # overfits
    model = classifier(
        max_iter=200, alpha=0.0, early_stopping=True, validation_fraction=0.3, n_iter_no_change=8
    )
    model.fit(x, y)
    seed = np.random.RandomState(0).randint(2**31 - 1)
    train, held_out = train_test_split(np.arange(100), test_size=0.3, random_state=seed, stratify=y)
    errors = model.validation_errors_
    assert model.n_iter_ == len(errors) == np.argmin(errors) + 1 + 8 < 200
    assert errors[-1] > min(errors)
    inputs = (x[held_out] - model.input_scaling_.offset) * model.input_scaling_.factor
    free = eq.free_phase(model.network_, inputs.astype(np.float32))
    assert np.mean(free.outputs.argmax(axis=1) != y[held_out]) == pytest.approx(min(errors), abs=1e-12)
    assert len(train) == 70


def test_without_early_stopping_every_epoch_is_run_and_none_is_validated() -> None:
    model = classifier().fit(*IRIS)
    assert model.n_iter_ == len(model.loss_curve_) == 20
    assert model.validation_errors_ == [None] * 20
    assert model.loss_curve_[-1] < 0.3 * model.loss_curve_[0]


def test_one_seed_gives_one_model() -> None:
    first, second = (parameters(classifier(max_iter=2).fit(*IRIS)) for _ in range(2))
    assert (first == second).all()
    other = parameters(classifier(max_iter=2, random_state=1).fit(*IRIS))
    assert (first != other).any()
    state = np.random.RandomState(0)
    drawn = [parameters(classifier(max_iter=2, random_state=state).fit(*IRIS)) for _ in range(2)]
    assert (drawn[0] == first).all()
    assert (drawn[1] != first).any()


@pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")  # the later data have another scale
def test_warm_start_continues_with_parameters_statistics_and_history() -> None:
    model = classifier(warm_start=True).fit(IRIS[0], NAMES)
    before, earlier = model.predict_proba(IRIS[0]), parameters(model)
    model.set_params(learning_rate=0.0, random_state=5).fit(10 * IRIS[0][:90], NAMES[:90])
    assert (parameters(model) == earlier).all()
    assert (model.predict_proba(IRIS[0]) == before).all()
    assert model.n_iter_ == len(model.loss_curve_) == 40
    model.set_params(warm_start=False).fit(IRIS[0], NAMES)
    assert (parameters(model) != earlier).any()
    assert model.n_iter_ == 20


def test_warm_start_refuses_another_network_and_unknown_labels() -> None:
    model = classifier(warm_start=True).fit(IRIS[0], NAMES)
    with pytest.raises(ValueError, match=r"Labels are among .* Received labels .*'rose'"):
        model.fit(IRIS[0], np.where(NAMES == "setosa", "rose", NAMES))
    with pytest.raises(ValueError, match="features"):
        model.fit(IRIS[0][:, :2], NAMES)
    with pytest.raises(ValueError, match="warm_start continues with equal layers"):
        model.set_params(hidden_layer_sizes=(5,)).fit(IRIS[0], NAMES)


def test_partial_fit_learns_from_batches_that_lack_classes() -> None:
    model = classifier()
    order = np.random.default_rng(0).permutation(150)
    model.partial_fit(IRIS[0][order], NAMES[order], classes=np.unique(NAMES))
    for _ in range(15):
        for label in np.unique(NAMES):
            batch = np.flatnonzero(np.equal(NAMES, label))[:5]
            model.partial_fit(IRIS[0][batch], NAMES[batch])
        model.partial_fit(IRIS[0][order], NAMES[order])
    assert model.n_iter_ == 61
    assert model.score(IRIS[0], NAMES) > 0.9


def test_partial_fit_continues_a_fit() -> None:
    model = regressor().fit(CURVE, PARABOLA)
    scalings = model.input_scaling_, model.target_scaling_
    model.partial_fit(CURVE[::2], PARABOLA[::2])
    assert (model.input_scaling_, model.target_scaling_) == scalings
    first, last = model.loss_curve_[0], model.loss_curve_[-1]
    assert last < 0.5 * first < regressor().partial_fit(CURVE[::2], PARABOLA[::2]).loss_curve_[0]


def test_partial_fit_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="The first call needs `classes`"):
        classifier().partial_fit(*IRIS)
    model = classifier().partial_fit(*IRIS, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="`classes` are those of earlier data"):
        model.partial_fit(*IRIS, classes=[0, 1])
    with pytest.raises(ValueError, match="Labels are among"):
        model.partial_fit(IRIS[0], IRIS[1] + 1)
    with pytest.raises(ValueError, match="partial_fit needs early_stopping=False"):
        regressor(early_stopping=True).partial_fit(CURVE, PARABOLA)
    with pytest.raises(ValueError, match="1 targets for each sample"):
        regressor().partial_fit(CURVE, PARABOLA).partial_fit(CURVE, np.ones((120, 2)))


def test_pipelines_clones_scores_and_grid_searches_work() -> None:
    model = make_pipeline(MinMaxScaler(), clone(classifier()))
    assert cross_val_score(model, IRIS[0], NAMES, cv=3).mean() > 0.85
    grid = {"alpha": [0.0, 1.0], "second_phase": ["eqprop", "rbp"], "hidden_layer_sizes": [(4,), (6, 6)]}
    search = GridSearchCV(classifier(), grid, cv=2).fit(IRIS[0], NAMES)
    assert len(search.cv_results_["params"]) == 8
    assert search.best_score_ > 0.85


@pytest.mark.parametrize("model", [classifier(max_iter=2), regressor(max_iter=2)])
def test_saved_models_predict_and_continue_with_equal_bits(model: BaseEstimator, tmp_path: Path) -> None:
    model = clone(model).fit(*IRIS)
    joblib.dump(model, tmp_path / "model.joblib")
    copies = [pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")]
    before = parameters(model)
    for copy in copies:
        assert (copy.predict(IRIS[0]) == model.predict(IRIS[0])).all()
        copy.partial_fit(*IRIS)
    assert (parameters(model) == before).all()
    model.partial_fit(*IRIS)
    assert (parameters(model) != before).any()
    for copy in copies:
        assert (parameters(copy) == parameters(model)).all()


@pytest.mark.parametrize(("hidden", "depth"), [((20,), 1), ((20, 10), 2), ((10,) * 5, 5)])
def test_alpha_shrinks_all_weights_by_one_factor_and_no_bias(hidden: tuple[int, ...], depth: int) -> None:
    """One step of default size moves weights by the fraction 0.2 / depth of their size."""
    settings = {"hidden_layer_sizes": hidden, "max_iter": 1, "batch_size": 150}
    without, decayed = (
        classifier(alpha=alpha, **settings).fit(*IRIS).network_.blocks for alpha in (0.0, 0.5)
    )
    for name, block in without.items():
        kept = np.exp(-0.5 * 0.2 / depth) if name.startswith("W") else 1.0
        np.testing.assert_allclose(decayed[name], kept * block, rtol=1e-6)


def test_the_default_weight_decay_reduces_overfitting() -> None:
    x, y = load_diabetes(return_X_y=True)
    without, by_default = (
        EquilibriumRegressor(random_state=0, **settings).fit(x[::2], y[::2]).score(x[1::2], y[1::2])
        for settings in ({"alpha": 0.0}, {})
    )
    assert without < by_default - 0.1


def test_verbose_prints_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    model = classifier(verbose=True, early_stopping=True, max_iter=2).fit(*IRIS)
    expected = [
        f"epoch {k + 1}, cost {model.loss_curve_[k]:.6g}, validation error {model.validation_errors_[k]:.6g}"
        for k in range(2)
    ]
    assert capsys.readouterr().out.splitlines() == expected
    pickle.dumps(model)


def test_feature_names_are_kept() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(IRIS[0], columns=list("abcd"))
    model = classifier(max_iter=2).fit(frame, NAMES)
    assert model.feature_names_in_.tolist() == list("abcd")
    assert (model.predict(frame) == model.predict(frame)).all()
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "e"}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"second_phase": "backprop"}, "second_phase is 'eqprop' or 'rbp'. Received 'backprop'"),
        ({"alpha": -1.0}, r"alpha lies in \[0, inf\)"),
        ({"max_iter": 0}, "max_iter is at least 1"),
        ({"batch_size": 0}, "batch_size is at least 1"),
        ({"hidden_layer_sizes": (0,)}, "size of a layer is at least 1"),
        ({"activation": "swish"}, "An activation is one of"),
        ({"learning_rate": -1.0}, "learning_rate lies in"),
        ({"early_stopping": True, "n_iter_no_change": 0}, "n_iter_no_change is at least 1"),
        ({"early_stopping": True, "validation_fraction": 1.5}, r"validation_fraction lies in \(0, 1\)"),
    ],
)
def test_wrong_settings_are_refused_by_fit(settings: dict[str, Any], message: str) -> None:
    for model in (classifier(**settings), regressor(**settings)):
        with pytest.raises(ValueError, match=message):
            model.fit(*IRIS)


def test_data_of_one_class_and_models_without_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        classifier().fit(IRIS[0], np.zeros(150, dtype=int))
    for model in (classifier(), regressor()):
        with pytest.raises(NotFittedError):
            model.predict(IRIS[0])


CHANGES: dict[str, Any] = {
    "hidden_layer_sizes": 99, "activation": "tanh", "second_phase": "rbp", "alpha": 100.0,
    "learning_rate": 1e-9, "standardize": False, "device": "cuda",
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_parameter_that_partial_fit_would_ignore_is_refused(name: str) -> None:
    model = EquilibriumClassifier((6,), max_iter=1, random_state=0)
    model.partial_fit(IRIS[0], IRIS[1], classes=[0, 1, 2])
    model.set_params(**{name: CHANGES[name]})
    rule = rf"^\[EquilibriumClassifier\.partial_fit\] {name} is that of the first call, .*; fit starts anew"
    with pytest.raises(ValueError, match=rule):
        model.partial_fit(IRIS[0], IRIS[1])


def test_partial_fit_follows_another_batch_size() -> None:
    one, other = (EquilibriumClassifier(6, random_state=0) for _ in range(2))
    for model in (one, other):
        model.partial_fit(IRIS[0], IRIS[1], classes=[0, 1, 2])
    one.partial_fit(IRIS[0], IRIS[1])
    other.set_params(batch_size=1).partial_fit(IRIS[0], IRIS[1])
    assert abs(one.predict_proba(IRIS[0]) - other.predict_proba(IRIS[0])).max() > 1e-3


def test_a_first_call_of_partial_fit_with_one_sample_does_not_spoil_the_next() -> None:
    model = EquilibriumClassifier(20, random_state=0)
    model.partial_fit(IRIS[0][:1], IRIS[1][:1], classes=[0, 1, 2])
    for _ in range(30):
        model.partial_fit(IRIS[0], IRIS[1])
    assert model.score(IRIS[0], IRIS[1]) > 0.6


@pytest.mark.parametrize("labels", [[0] * 30 + [1], [0, 1, 0, 1]])
def test_early_stopping_without_samples_to_hold_out_names_its_parameter(labels: list[int]) -> None:
    model = EquilibriumClassifier(4, early_stopping=True, random_state=0)
    with pytest.raises(ValueError, match=r"^\[EquilibriumClassifier\.fit\] validation_fraction leaves sam"):
        model.fit(np.random.default_rng(0).random((len(labels), 3)), labels)
