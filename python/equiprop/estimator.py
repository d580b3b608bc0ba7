"""Estimators with the interface of scikit-learn (extra ``sklearn``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.activations import Activation
from equiprop.arrays import Array
from equiprop.checks import require, whole
from equiprop.data import Dataset
from equiprop.estimator_settings import make_trainer
from equiprop.history import Epoch
from equiprop.optimizers import Rate, constant
from equiprop.training import Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as _error:
    raise ImportError(
        f"[equiprop.estimator] scikit-learn 1.6 or later cannot be imported ({_error}). "
        "Install it with pip install 'equiprop[sklearn]'."
    ) from _error

__all__ = ["EquilibriumClassifier", "EquilibriumRegressor"]

#: Types of inputs that are not converted.
_FLOATS = (np.float64, np.float32)


class _EquilibriumEstimator(BaseEstimator):  # type: ignore[misc, unused-ignore]
    """Common base of classifier and regressor: parameters, training and outputs."""

    def __init__(
        self,
        hidden_layer_sizes: int | Iterable[int] = (100,),
        activation: str | Activation = "hard_sigmoid",
        *,
        second_phase: str = "eqprop",
        alpha: float = 1.0,
        batch_size: int = 50,
        learning_rate: Rate | None = None,
        max_iter: int = 100,
        standardize: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.second_phase = second_phase
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.standardize = standardize
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    @property
    def loss_curve_(self) -> list[float]:
        """Mean cost of each epoch of training."""
        return [epoch.objective for epoch in self.trainer_.history]

    @property
    def validation_errors_(self) -> list[float | None]:
        """Validation error after each epoch, see `equiprop.Epoch`; None without early stopping."""
        return [epoch.validation_error for epoch in self.trainer_.history]

    @property
    def n_iter_(self) -> int:
        """Number of epochs of training."""
        return len(self.trainer_.history)

    def fit(self, X: Any, y: Any) -> Any:
        """Train on samples X and their labels or targets y.

        Parameters
        ----------
        X : array or DataFrame (samples, features)
        y : array (samples,), or targets (samples, outputs)

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter of the estimator, X or y is not valid.
        equiprop.ConvergenceError
            If a sample diverged in training.
        """
        where = type(self).__name__
        epochs = whole(self.max_iter, where, "max_iter", 1)
        patience = whole(self.n_iter_no_change, where, "n_iter_no_change", 1) if self.early_stopping else None
        earlier: Trainer | None = getattr(self, "trainer_", None) if self.warm_start else None
        data = self._dataset(X, y, first=earlier is None)
        seed = self._seed()
        data, validation = self._split(data, seed)
        trainer = self._make_trainer(data, seed)
        if earlier is not None:
            _continue(trainer, earlier, where)
        self.trainer_, self.network_ = trainer, trainer.model
        trainer.fit(data, epochs=epochs, validation=validation, patience=patience)
        return self

    def _partial_fit(self, data: Dataset) -> Any:
        """Train for one epoch at constant learning rates."""
        require(not self.early_stopping, type(self).__name__, "partial_fit needs early_stopping=False", True)
        if not hasattr(self, "trainer_"):
            self.trainer_ = self._make_trainer(data, self._seed())
            self.network_ = self.trainer_.model
        self.trainer_.schedule = constant()
        self.trainer_.fit(data, epochs=1)
        return self

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _make_trainer(self, data: Dataset, seed: int) -> Trainer:
        """Return the trainer of a new network for `data`."""
        hidden = self.hidden_layer_sizes
        trainer = make_trainer(
            data,
            hidden=list(hidden) if isinstance(hidden, Iterable) else [hidden],
            activation=self.activation,
            second_phase=self.second_phase,
            learning_rate=self.learning_rate,
            weight_decay=self.alpha,
            batch_size=self.batch_size,
            seed=seed,
        )
        trainer.callbacks = (_print_epoch,) if self.verbose else ()
        return trainer

    def _dataset(self, X: Any, y: Any, *, first: bool) -> Dataset:
        """Return checked inputs and targets as the network receives them.

        Parameters
        ----------
        X, y
            Arguments of `fit`.
        first : bool
            Determine features, classes and statistics from this data; otherwise use those of earlier data.
        """
        raise NotImplementedError

    def _inputs(self, x: Array, *, first: bool) -> Array:
        if first:
            self.input_mean_, self.input_scale_ = _statistics(x, self.standardize)
        return np.asarray((x - self.input_mean_) / self.input_scale_, dtype=np.float32)

    def _split(self, data: Dataset, seed: int) -> tuple[Dataset, Dataset | None]:
        """Return training data, and validation data if early stopping needs them; stratified by class."""
        if not self.early_stopping:
            return data, None
        train, validation = train_test_split(
            np.arange(len(data)),
            test_size=self.validation_fraction,
            random_state=seed,
            stratify=data.y if data.is_classification else None,
        )
        return data.take(train), data.take(validation)

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        x = self._inputs(validate_data(self, X, reset=False, dtype=_FLOATS), first=False)
        return np.asarray(self.trainer_.predict(x), dtype=np.float64)


class EquilibriumClassifier(ClassifierMixin, _EquilibriumEstimator):  # type: ignore[misc, unused-ignore]
    """A classifier of scikit-learn that is a Hopfield network, trained with the cross-entropy.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Number of units of each hidden layer.
    activation : str or Activation
        Activation of the hidden layers, such as "hard_sigmoid", "tanh" or "relu".
    second_phase : {"eqprop", "rbp"}
        Method that computes the gradient: Equilibrium Propagation or Recurrent Backpropagation.
    alpha : float, not negative
        Weight decay of `equiprop.Adam`, which reduces overfitting.
    batch_size : int
        Number of samples of a step.
    learning_rate : float or mapping from block name to float, optional
        Learning rate of `equiprop.Adam` at the start, which falls to 0 over the epochs; by default a rate for
        each block, determined from the sizes of the layers and the data.
    max_iter : int
        Number of epochs.
    standardize : bool
        Shift and scale each feature to mean 0 and standard deviation 1 on the training data.
    early_stopping : bool
        Hold out `validation_fraction` of the data, stop after `n_iter_no_change` epochs without a lower
        validation error, and restore the parameters of the best epoch.
    validation_fraction : float in (0, 1)
        Fraction of the data that early stopping holds out; each class has the same fraction.
    n_iter_no_change : int
        Number of epochs after which early stopping stops.
    warm_start : bool
        Continue with the parameters, statistics and classes of the previous call of `fit`.
    random_state : int, RandomState or None
        Seed of the initial weights, of the order of samples and of the validation data.
    verbose : bool
        Print one line after each epoch.

    Attributes
    ----------
    classes_ : (classes,) array
        Sorted labels; their order is that of the columns of `predict_proba`.
    n_features_in_, feature_names_in_
        Number of features, and their names if X had names that are all strings.
    input_mean_, input_scale_ : (features,) arrays
        The network receives ``(X - input_mean_) / input_scale_``.
    network_ : HopfieldNetwork
    trainer_ : Trainer
    loss_curve_, validation_errors_ : list of float
        Mean cost, and error on the validation data, of each epoch.
    n_iter_ : int
        Number of epochs so far.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from equiprop.estimator import EquilibriumClassifier
    >>> x, y = load_iris(return_X_y=True)
    >>> model = EquilibriumClassifier(random_state=0).fit(x, y)
    >>> bool(model.score(x, y) > 0.9)
    True
    >>> model.predict_proba(x[:4]).shape
    (4, 3)
    """

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Any:
        """Train for one epoch on samples X and their labels y, at constant learning rates.

        Features, classes and statistics of the inputs are determined by the first call.

        Parameters
        ----------
        X : array or DataFrame (samples, features)
        y : (samples,) array of labels
        classes : array, optional
            All labels; the first call needs them.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter of the estimator, X or y is not valid, or `classes` differ from those of earlier
            calls.
        """
        where, first = f"{type(self).__name__}.partial_fit", not hasattr(self, "trainer_")
        if classes is None:
            require(not first, where, "The first call needs `classes`, all labels", None)
        else:
            same = first or np.array_equal(np.unique(classes), self.classes_)
            require(same, where, "`classes` are those of earlier data", np.unique(classes))
        return self._partial_fit(self._dataset(X, y, first=first, classes=classes))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the label of the largest output for each sample, (samples,)."""
        largest = self._outputs(X).argmax(axis=1)
        return np.asarray(self.classes_[largest])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, softmax(outputs), (samples, classes)."""
        logits = self._outputs(X)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def _dataset(self, X: Any, y: Any, *, first: bool, classes: Any = None) -> Dataset:
        x, y = validate_data(self, X, y, reset=first, dtype=_FLOATS)
        check_classification_targets(y)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
        where, labels = type(self).__name__, self.classes_
        require(len(labels) > 1, where, "y has at least two classes", f"one class, {labels}")
        places = np.searchsorted(labels, y)
        places[places == len(labels)] = 0
        unknown = np.unique(y[labels[places] != y])
        require(len(unknown) == 0, where, f"Labels are among {labels}", f"labels {unknown}")
        return Dataset(self._inputs(x, first=first), places, num_classes=len(labels))


class EquilibriumRegressor(RegressorMixin, _EquilibriumEstimator):  # type: ignore[misc, unused-ignore]
    """A regressor of scikit-learn that is a Hopfield network, trained with the squared error.

    Parameters
    ----------
    hidden_layer_sizes, activation, second_phase, alpha, batch_size, learning_rate, max_iter, ...
        See `EquilibriumClassifier`; `standardize` also shifts and scales each target.

    Attributes
    ----------
    target_mean_, target_scale_ : (outputs,) arrays
        Predictions are ``target_mean_ + target_scale_ * outputs``.
    n_features_in_, input_mean_, input_scale_, network_, trainer_, loss_curve_, n_iter_, ...
        See `EquilibriumClassifier`. Costs and validation errors are those of the standardised targets.

    Examples
    --------
    >>> import numpy as np
    >>> from equiprop.estimator import EquilibriumRegressor
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> y = np.hstack([100 * x**2, 1 - x])
    >>> model = EquilibriumRegressor(random_state=0).fit(x, y)
    >>> bool(model.score(x, y) > 0.95)
    True
    >>> model.predict(x[:4]).shape
    (4, 2)
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X: Any, y: Any) -> Any:
        """Train for one epoch on samples X and their targets y, at constant learning rates.

        Features and statistics of inputs and targets are determined by the first call.

        Parameters
        ----------
        X : array or DataFrame (samples, features)
        y : array (samples,) or (samples, outputs)

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter of the estimator, X or y is not valid.
        """
        return self._partial_fit(self._dataset(X, y, first=not hasattr(self, "trainer_")))

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the predictions, (samples,) or (samples, outputs) as the targets of `fit`."""
        outputs = self._outputs(X)
        predictions = self.target_mean_ + self.target_scale_ * outputs
        return np.asarray(predictions.reshape(len(outputs), *self._target_shape))

    def _dataset(self, X: Any, y: Any, *, first: bool) -> Dataset:
        x, y = validate_data(self, X, y, reset=first, dtype=_FLOATS, multi_output=True, y_numeric=True)
        targets = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if first:
            self._target_shape = y.shape[1:]
            self.target_mean_, self.target_scale_ = _statistics(targets, self.standardize)
        outputs = len(self.target_mean_)
        rule = f"y has {outputs} targets for each sample, as in earlier data"
        require(targets.shape[1] == outputs, type(self).__name__, rule, targets.shape[1])
        targets = (targets - self.target_mean_) / self.target_scale_
        return Dataset(self._inputs(x, first=first), targets)


def _statistics(values: Array, wanted: bool) -> tuple[Array, Array]:
    """Return mean and standard deviation of each column, with 1 for one that is constant.

    If the statistics are not `wanted`, return zeros and ones.
    """
    if not wanted:
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    scaler = StandardScaler().fit(values)
    return scaler.mean_, scaler.scale_


def _continue(trainer: Trainer, earlier: Trainer, where: str) -> None:
    """Copy parameters and history of an earlier trainer."""
    network, previous = trainer.model, earlier.model
    same = network.layers == previous.layers  # type: ignore[attr-defined]
    rule = f"warm_start continues with equal layers, here {previous}"
    require(same, where, rule, network)
    network.parameters[:] = previous.parameters
    trainer.history = list(earlier.history)


def _print_epoch(trainer: Trainer, epoch: Epoch) -> None:
    """Print the record of an epoch."""
    error = "" if epoch.validation_error is None else f", validation error {epoch.validation_error:.6g}"
    print(f"epoch {len(trainer.history)}, cost {epoch.objective:.6g}{error}")
