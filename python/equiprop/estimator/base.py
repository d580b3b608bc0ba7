"""Common base of the estimators: parameters, training and outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from equiprop.activations import Activation
from equiprop.arrays import Array
from equiprop.batches import ShuffledBatches
from equiprop.checks import check_flag, check_type, real, require, whole
from equiprop.data import Dataset
from equiprop.estimator.inputs import fitted, readable, refuse_beyond_float32
from equiprop.estimator.settings import make_trainer
from equiprop.history import Epoch, History
from equiprop.models import HopfieldNetwork
from equiprop.optimizers import Rate, constant
from equiprop.scaling import Scaling
from equiprop.training import Trainer
from equiprop.weights import Weights

if TYPE_CHECKING:  # scikit-learn has no type annotations

    class BaseEstimator:
        """The members of scikit-learn's class that users call."""

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...  # noqa: D102
        def set_params(self: _Self, **params: Any) -> _Self: ...  # noqa: D102
        def __sklearn_tags__(self) -> Any: ...

    class _Scored:
        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float: ...

    class ClassifierMixin(_Scored):
        """Accuracy as the score."""

    class RegressorMixin(_Scored):
        """R2 as the score."""
else:
    from sklearn.base import BaseEstimator as BaseEstimator
    from sklearn.base import ClassifierMixin as ClassifierMixin
    from sklearn.base import RegressorMixin as RegressorMixin

_Self = TypeVar("_Self")
_Estimator = TypeVar("_Estimator", bound="EquilibriumEstimator")

#: Types of inputs that are not converted.
FLOATS = (np.float64, np.float32)


class EquilibriumEstimator(BaseEstimator):
    """Common base of classifier and regressor: parameters, training and outputs."""

    network_: HopfieldNetwork
    trainer_: Trainer
    input_scaling_: Scaling
    _made_with: dict[str, Any]

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
        device: str = "cpu",
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
        self.device = device

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def fit(self: _Estimator, X: Any, y: Any, sample_weight: Any = None) -> _Estimator:
        """Train on samples X and their labels or targets y.

        Parameters
        ----------
        X : array, DataFrame or scipy.sparse array (samples, features)
            A sparse array becomes dense batch by batch.
        y : array (samples,), or targets (samples, outputs)
        sample_weight : array (samples,), optional
            Weight of each sample, at least 0. Only the ratios matter: a sample of weight k counts as k equal
            samples, also in the standardisation and in the validation error, and one of weight 0 is left out.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter of the estimator, X, y or a weight is not valid.
        equiprop.ConvergenceError
            If a sample diverged in training.
        """
        where = type(self).__name__
        for name in ("standardize", "early_stopping", "warm_start"):
            check_flag(getattr(self, name), where, name)
        epochs = whole(self.max_iter, where, "max_iter", 1)
        patience = None
        if self.early_stopping:
            patience = whole(self.n_iter_no_change, where, "n_iter_no_change", 1)
            fraction = real(self.validation_fraction, where, "validation_fraction")
            require(0 < fraction < 1, where, "validation_fraction lies in (0, 1)", fraction)
        earlier: Trainer | None = getattr(self, "trainer_", None) if self.warm_start else None
        data = self._dataset(X, y, sample_weight, first=earlier is None)
        seed = self._seed()
        data, validation = self._split(data, seed)
        trainer = self._make_trainer(data, seed)
        if earlier is not None:
            _continue(trainer, earlier, where)
        self.trainer_, self.network_ = trainer, _network_of(trainer)
        trainer.fit(data, epochs=epochs, validation=validation, patience=patience)
        return self

    def _partial_fit(self: _Estimator, data: Dataset) -> _Estimator:
        """Train for one epoch at constant learning rates."""
        require(not self.early_stopping, type(self).__name__, "partial_fit needs early_stopping=False", True)
        if not hasattr(self, "trainer_"):
            self.trainer_ = self._make_trainer(data, self._seed())
            self.network_ = _network_of(self.trainer_)
        else:
            self._check_unchanged()
        trainer = self.trainer_
        trainer.batch_size, trainer.schedule = self.batch_size, constant()
        if data.sample_weight is None:
            trainer.fit(data, epochs=1)
        else:  # the weights are relative to those of other calls, too: `fit` would divide them by their mean
            order = (trainer.batch_size, trainer.seed, len(trainer.history))
            trainer.fit(ShuffledBatches(data, *order, trainer.model.dtype), epochs=1)
        return self

    def _check_unchanged(self) -> None:
        """Raise ValueError if a parameter of the trainer was changed, which `partial_fit` would ignore."""
        where, given = f"{type(self).__name__}.partial_fit", self._settings()
        for name, first in self._made_with.items():
            rule = f"{name} is that of the first call, {first!r}; fit starts anew"
            require(given[name] == first, where, rule, repr(given[name]))

    def _settings(self) -> dict[str, Any]:
        """Return the parameters that determine the trainer of a network."""
        names = ("activation", "second_phase", "alpha", "learning_rate", "standardize", "device")
        return {"hidden_layer_sizes": self._hidden(), **{name: getattr(self, name) for name in names}}

    def _hidden(self) -> list[int]:
        hidden, where = self.hidden_layer_sizes, type(self).__name__
        check_type(hidden, (int, np.integer, Iterable), where, "hidden_layer_sizes lists numbers")
        return list(hidden) if isinstance(hidden, Iterable) else [hidden]

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _make_trainer(self, data: Dataset, seed: int) -> Trainer:
        """Return the trainer of a new network for `data`."""
        alpha = real(self.alpha, type(self).__name__, "alpha")
        require(0 <= alpha < np.inf, type(self).__name__, "alpha lies in [0, inf)", alpha)
        self._made_with = self._settings()
        trainer = make_trainer(
            data,
            hidden=self._made_with["hidden_layer_sizes"],
            activation=self.activation,
            second_phase=self.second_phase,
            learning_rate=self.learning_rate,
            alpha=alpha,
            batch_size=self.batch_size,
            seed=seed,
            device=self.device,
        )
        check_type(self.verbose, (bool, int), type(self).__name__, "verbose is True or False")
        trainer.callbacks = (_print_epoch,) if self.verbose else ()
        return trainer

    def _dataset(self, X: Any, y: Any, sample_weight: Any, *, first: bool) -> Dataset:
        """Return checked inputs with their scaling, targets as the network receives them, and weights.

        Parameters
        ----------
        X, y, sample_weight
            Arguments of `fit`.
        first : bool
            Determine features, classes and statistics from this data; otherwise use those of earlier data.
        """
        raise NotImplementedError

    def _scaling(self, x: Any, weights: Weights | None = None, *, first: bool) -> Scaling:
        """Return the scaling of inputs x, which is fitted on the first of them."""
        where = type(self).__name__
        if first:
            self.input_scaling_ = fitted(x, self.standardize, weights, where)
        refuse_beyond_float32(x, self.input_scaling_, where, "X")
        return self.input_scaling_

    def _split(self, data: Dataset, seed: int) -> tuple[Dataset, Dataset | None]:
        """Return training data, and validation data if early stopping needs them; stratified by class."""
        if not self.early_stopping:
            return data, None
        train: Array
        validation: Array
        try:
            train, validation = train_test_split(  # pyright: ignore[reportAssignmentType]
                np.arange(len(data)),
                test_size=self.validation_fraction,
                random_state=seed,
                stratify=data.y if data.is_classification else None,
            )
        except ValueError as error:
            rule = "validation_fraction leaves samples, and some of each class, for training and validation"
            given = f"{self.validation_fraction} for {len(data)} samples"
            raise ValueError(f"[{type(self).__name__}.fit] {rule}. Received {given}: {error}") from error
        return data.take(train), data.take(validation)

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        x: Any = validate_data(self, readable(X), reset=False, dtype=FLOATS, accept_sparse="csr")
        outputs = self.trainer_.predict(x, scale=self._scaling(x, first=False))
        return np.asarray(outputs, dtype=np.float64)


def _network_of(trainer: Trainer) -> HopfieldNetwork:
    assert isinstance(trainer.model, HopfieldNetwork)
    return trainer.model


def _continue(trainer: Trainer, earlier: Trainer, where: str) -> None:
    """Copy parameters and history of an earlier trainer."""
    network, previous = _network_of(trainer), _network_of(earlier)
    rule = f"warm_start continues with equal layers, here {previous}"
    require(network.layers == previous.layers, where, rule, network)
    network.parameters[:] = previous.parameters
    trainer.history = History(earlier.history)


def _print_epoch(trainer: Trainer, epoch: Epoch) -> None:
    """Print the record of an epoch."""
    error = "" if epoch.validation_error is None else f", validation error {epoch.validation_error:.6g}"
    print(f"epoch {len(trainer.history)}, cost {epoch.objective:.6g}{error}")
