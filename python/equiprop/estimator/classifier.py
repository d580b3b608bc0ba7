"""The classifier for scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from equiprop.activations import Activation
from equiprop.checks import check_type, require
from equiprop.costs import logit_scale
from equiprop.data import Dataset
from equiprop.estimator.base import FLOATS, ClassifierMixin, EquilibriumEstimator
from equiprop.estimator.inputs import readable, sorted_labels, without_zero_weights
from equiprop.optimizers import Rate
from equiprop.weights import class_factors

_Self = TypeVar("_Self", bound="EquilibriumClassifier")


class EquilibriumClassifier(ClassifierMixin, EquilibriumEstimator):
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
        Weight decay, which reduces overfitting: a step that changes weights by a fraction f of their usual
        size also multiplies them by 1 - alpha f. Biases do not decay.
    batch_size : int
        Number of samples of a step.
    learning_rate : float or mapping from block name to float, optional
        Learning rate of `equiprop.Adam` at the start, which falls to 0 over the epochs; by default a rate for
        each block, determined from the sizes of the layers and the data.
    max_iter : int
        Number of epochs.
    standardize : bool
        Shift and scale each feature to mean 0 and standard deviation 1 on the training data.
    class_weight : mapping from label to float, "balanced", or None
        Weight of each class, 1 for labels that are not named, by which the weights of its samples are
        multiplied. "balanced" gives all classes the same sum of weights.
    early_stopping : bool
        Hold out `validation_fraction` of the data, stop after `n_iter_no_change` epochs without a lower
        validation error, and restore the parameters of the best epoch.
    validation_fraction : float in (0, 1)
        Fraction of the data that early stopping holds out; each class has the same fraction.
    n_iter_no_change : int
        Number of epochs without a lower validation error after which training stops.
    warm_start : bool
        Continue with the parameters, statistics and classes of the previous call of `fit`.
    random_state : int, RandomState or None
        Seed of the initial weights, of the order of samples and of the validation data.
    verbose : bool
        Print one line after each epoch.
    device : {"cpu", "cuda"}
        Device on which phases run; see `HopfieldNetwork.to`. With `alpha` above 0 the host decays the weights
        after each step, so they are copied to the host and back in each step.

    Attributes
    ----------
    classes_ : (classes,) array
        Sorted labels; their order is that of the columns of `predict_proba`.
    n_features_in_, feature_names_in_
        Number of features, and their names if X had names that are all strings.
    input_scaling_ : Scaling
        The network receives ``input_scaling_(X)``; it is saved with `network_`, as `classes_` are.
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

    classes_: NDArray[Any]

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
        class_weight: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
        device: str = "cpu",
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            second_phase=second_phase,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            max_iter=max_iter,
            standardize=standardize,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
            device=device,
        )
        self.class_weight = class_weight

    def partial_fit(self: _Self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> _Self:
        """Train for one epoch on samples X and their labels y, at constant learning rates.

        Features, classes and statistics of the inputs are determined by the first call.

        Parameters
        ----------
        X : array, DataFrame or scipy.sparse array (samples, features)
        y : (samples,) array of labels
        classes : array, optional
            All labels; the first call needs them.
        sample_weight : array (samples,), optional
            Weight of each sample, at least 0, best with mean 1 over all calls.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter of the estimator, X, y or a weight is not valid, `classes` differ from those of
            earlier calls, or `class_weight` is "balanced", which needs all samples.
        """
        where, first = f"{type(self).__name__}.partial_fit", not hasattr(self, "trainer_")
        if classes is None:
            require(not first, where, "The first call needs `classes`, all labels", None)
        else:
            classes = sorted_labels(classes, where, "classes")
            same = first or np.array_equal(classes, self.classes_)
            require(same, where, "`classes` are those of earlier data", classes)
        rule = "class_weight maps labels to weights, n / (classes * count) of all data for balanced classes"
        require(self.class_weight != "balanced", where, rule, "'balanced'")
        return self._partial_fit(self._dataset(X, y, sample_weight, first=first, classes=classes))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the label of the largest output for each sample, (samples,)."""
        largest = self._outputs(X).argmax(axis=1)
        return np.asarray(self.classes_[largest])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return softmax(a o), (samples, classes): a the logit scale of the cost, o the outputs."""
        outputs = self._outputs(X)
        logits = logit_scale(self.trainer_.cost) * outputs
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def _dataset(self, X: Any, y: Any, sample_weight: Any, *, first: bool, classes: Any = None) -> Dataset:
        x: Any
        where = type(self).__name__
        x, y = validate_data(self, readable(X), readable(y), reset=first, dtype=FLOATS, accept_sparse="csr")
        check_classification_targets(y)
        if first:
            self.classes_ = sorted_labels(y, where, "y") if classes is None else classes
        labels = self.classes_
        require(len(labels) > 1, where, "y has at least two classes", f"one class, {labels}")
        check_type(y.dtype.names, NoneType, where, "y holds labels, not records")
        rule = f"Labels are of the type of the classes, {labels.dtype}"
        require((y.dtype.kind in "Mm") == (labels.dtype.kind in "Mm"), where, rule, y.dtype)
        places = np.searchsorted(labels, y)
        places[places == len(labels)] = 0
        unknown = np.unique(y[labels[places] != y])
        require(len(unknown) == 0, where, f"Labels are among {labels}", f"labels {unknown}")
        x, places, weights = without_zero_weights(x, places, sample_weight, where)
        scaling = self._scaling(x, weights, first=first)
        if self.class_weight is not None:
            factors = class_factors(places, labels, self.class_weight, weights, where)
            weights = factors if weights is None else weights * factors
        return Dataset(x, labels[places], scaling, classes=labels, sample_weight=weights)
