"""The regressor for scikit-learn."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from equiprop.checks import require
from equiprop.data import Dataset
from equiprop.estimator.base import FLOATS, EquilibriumEstimator, RegressorMixin
from equiprop.estimator.inputs import fitted, readable, refuse_beyond_float32, without_zero_weights
from equiprop.scaling import Scaling

_Self = TypeVar("_Self", bound="EquilibriumRegressor")


class EquilibriumRegressor(RegressorMixin, EquilibriumEstimator):
    """A regressor of scikit-learn that is a Hopfield network, trained with the squared error.

    Parameters
    ----------
    hidden_layer_sizes, activation, second_phase, alpha, batch_size, learning_rate, max_iter, ...
        See `EquilibriumClassifier`; `standardize` also shifts and scales each target.

    Attributes
    ----------
    target_scaling_ : Scaling
        The outputs of the network are trained to be ``target_scaling_(y)``.
    n_features_in_, input_scaling_, network_, trainer_, loss_curve_, n_iter_, ...
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

    target_scaling_: Scaling

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self: _Self, X: Any, y: Any, sample_weight: Any = None) -> _Self:
        """Train for one epoch on samples X and their targets y, at constant learning rates.

        Features and statistics of inputs and targets are determined by the first call.

        Parameters
        ----------
        X : array, DataFrame or scipy.sparse array (samples, features)
        y : array (samples,) or (samples, outputs)
        sample_weight : array (samples,), optional
            Weight of each sample, at least 0, best with mean 1 over all calls.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter of the estimator, X, y or a weight is not valid.
        """
        return self._partial_fit(self._dataset(X, y, sample_weight, first=not hasattr(self, "trainer_")))

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the predictions, (samples,) or (samples, outputs) as the targets of `fit`."""
        outputs = self._outputs(X)
        predictions = outputs / self.target_scaling_.factor + self.target_scaling_.offset
        return np.asarray(predictions.reshape(len(outputs), *self._target_shape))

    def _dataset(self, X: Any, y: Any, sample_weight: Any, *, first: bool) -> Dataset:
        x: Any
        x, y = validate_data(
            self,
            readable(X),
            readable(y),
            reset=first,
            dtype=FLOATS,
            multi_output=True,
            y_numeric=True,
            accept_sparse="csr",
        )
        x, y, weights = without_zero_weights(x, y, sample_weight, type(self).__name__)
        targets = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        where = type(self).__name__
        if first:
            self._target_shape = y.shape[1:]
            self.target_scaling_ = fitted(targets, self.standardize, weights, where)
        outputs = int(np.prod(self._target_shape))
        rule = f"y has {outputs} targets for each sample, as in earlier data"
        require(targets.shape[1] == outputs, where, rule, targets.shape[1])
        refuse_beyond_float32(targets, self.target_scaling_, where, "y")
        targets = self.target_scaling_(targets, np.float32)
        return Dataset(x, targets, self._scaling(x, weights, first=first), sample_weight=weights)
