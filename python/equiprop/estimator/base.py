"""Common base of the estimators: parameters, training and outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from equiprop.activations import Activation
from equiprop.arrays import Array
from equiprop.checks import require, whole
from equiprop.data import Dataset
from equiprop.estimator.settings import make_trainer
from equiprop.history import Epoch
from equiprop.optimizers import Rate, constant
from equiprop.training import Trainer

#: Types of inputs that are not converted.
FLOATS = (np.float64, np.float32)


class EquilibriumEstimator(BaseEstimator):  # type: ignore[misc, unused-ignore]
    """Common base of classifier and regressor: parameters, training and outputs."""

    def __init__(
        self,
        hidden_layer_sizes: int | Iterable[int] = (100,),
        activation: str | Activation = "hard_sigmoid",
        *,
        second_phase: str = "eqprop",
        alpha: float = 0.05,
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
        patience = None
        if self.early_stopping:
            patience = whole(self.n_iter_no_change, where, "n_iter_no_change", 1)
            fraction = self.validation_fraction
            require(0 < fraction < 1, where, "validation_fraction lies in (0, 1)", fraction)
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
        require(0 <= self.alpha < np.inf, type(self).__name__, "alpha lies in [0, inf)", self.alpha)
        hidden = self.hidden_layer_sizes
        trainer = make_trainer(
            data,
            hidden=list(hidden) if isinstance(hidden, Iterable) else [hidden],
            activation=self.activation,
            second_phase=self.second_phase,
            learning_rate=self.learning_rate,
            alpha=self.alpha,
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
            self.input_mean_, self.input_scale_ = statistics(x, self.standardize)
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
        x = self._inputs(validate_data(self, X, reset=False, dtype=FLOATS), first=False)
        return np.asarray(self.trainer_.predict(x), dtype=np.float64)


def statistics(values: Array, wanted: bool) -> tuple[Array, Array]:
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
