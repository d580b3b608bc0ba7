"""Evaluation and predictions of a Trainer: errors, outputs, classes and probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from equiprop.arrays import Array
from equiprop.costs import Cost, CrossEntropy
from equiprop.dataset import Dataset
from equiprop.evaluation import dataset_inputs, input_batches, measure, predict
from equiprop.history import Evaluation
from equiprop.input_scale import warn_of_scales
from equiprop.models import Model
from equiprop.solvers import FreeSolver
from equiprop.training_data import are_one_hot, as_dataset, with_given_weight


class Predictor:
    """Predictions of a model with the solver, the cost, the scale and the classes of its training.

    Attributes
    ----------
    model : Model
    cost : Cost
    solver : FreeSolver
    scale : float
        Factor of the inputs in training.
    classes : array, or None
        The class that each output stands for; None before training, and for real targets.
    """

    model: Model
    cost: Cost
    solver: FreeSolver | None
    scale: float
    classes: Array | None
    _has_classes: bool

    @property
    def _solver(self) -> FreeSolver:
        assert self.solver is not None
        return self.solver

    def _represent(self, data: Any) -> None:
        """Store scale and classes of a Dataset for training, or scale 1 of batches; warn of scales."""
        if not isinstance(data, Dataset):
            self.scale = 1.0
            return
        self.scale, self.classes = data.scale, data.classes
        self._has_classes = data.is_classification or are_one_hot(data.y)
        warn_of_scales(data, stacklevel=4)

    def _require_classes(self, where: str) -> None:
        received = "a model with one output" if self.model.num_outputs == 1 else "one of real targets"
        if self.model.num_outputs == 1 or not self._has_classes:
            raise ValueError(f"[{where}] Classes need a model of classes. Received {received}.")

    def evaluate(self, data: Any, y: Any = None, *, sample_weight: Any = None) -> Evaluation:
        """Return error and mean cost on data, from free phases with the trainer's solver.

        With weights w_i of the samples, the error is sum_i w_i e_i / sum_i w_i, as the score of scikit-learn,
        and so is the cost.

        Emits a `ConvergenceWarning` if some samples do not converge.

        Parameters
        ----------
        data : Dataset, or array (samples, inputs)
            Class labels are those of training. Integers and booleans get the scale of the training data; an
            array of floats is refused unless that is 1.
        y : array, optional
            Labels or targets of an array.
        sample_weight : array (samples,), optional
            Weights, at least 0, unless `data` is a Dataset with weights.
        """
        where = "Trainer.evaluate"
        data = as_dataset(data, y, self.model, self.classes, where, scale=self.scale)
        data = with_given_weight(data, sample_weight, where)
        evaluation, outcome = measure(self.model, self.cost, self._solver, data)
        outcome.report_failure("Trainer.evaluate", "warn")
        return evaluation

    def predict(self, x: Any, *, scale: float | None = None) -> Array:
        """Return the outputs (samples, outputs) of free phases with the trainer's solver.

        Emits a `ConvergenceWarning` if some samples do not converge. ``predict(data)`` equals
        ``predict(data.x, scale=data.scale)``.

        Parameters
        ----------
        x : Dataset, or array or scipy.sparse array (samples, inputs)
        scale : float, optional
            Factor by which an array is multiplied; 1 for inputs that `Dataset.batch` returned. The default
            for integers and booleans is the scale of the training data, `Trainer.scale`. Floats may have been
            scaled already, so they need `scale` unless that of the training data is 1.

        Raises
        ------
        ValueError
            `x` is an array of floats, `scale` is not given, and that of the training data is not 1; or `x` is
            a Dataset, and `scale` is given.

        Examples
        --------
        >>> import equiprop as eq
        >>> pixels, labels = np.array([[0, 255], [255, 0]] * 20, dtype=np.uint8), np.array([0, 1] * 20)
        >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 2], seed=1))
        >>> history = trainer.fit(eq.Dataset(pixels, labels, scale=1 / 255), epochs=1)
        >>> trainer.predict(pixels).shape
        (40, 2)
        """
        if isinstance(x, Dataset):
            if scale is not None:
                raise ValueError(
                    f"[Trainer.predict] scale is for arrays; a Dataset has one. Received {scale}."
                )
            batches = dataset_inputs(self.model, x)
        else:
            batches = input_batches(self.model, x, scale, self.scale)
        outputs, outcome = predict(self.model, self._solver, batches)
        outcome.report_failure("Trainer.predict", "warn")
        return outputs

    def predict_classes(self, x: Any, *, scale: float | None = None) -> Array:
        """Return the class of the largest output for each sample, (samples,), as a label of training.

        Before training, the class is the number of the output. Parameters and errors are those of `predict`.

        Raises
        ------
        ValueError
            The model has one output, or was trained with real targets.

        Examples
        --------
        >>> import equiprop as eq
        >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 2], seed=1), batch_size=10)
        >>> history = trainer.fit([[0, 1], [1, 0]] * 20, ["cat", "dog"] * 20, epochs=20)
        >>> trainer.predict_classes([[0, 1], [1, 0]]).tolist()
        ['cat', 'dog']
        """
        self._require_classes("Trainer.predict_classes")
        numbers: Array = self.predict(x, scale=scale).argmax(axis=1)
        return numbers if self.classes is None else self.classes[numbers]

    def predict_proba(self, x: Any, *, scale: float | None = None) -> Array:
        """Return the probability of each class, (samples, classes), in the order of `Trainer.classes`.

        It is softmax(a o), with the logit scale a of the cost `CrossEntropy` and the outputs o. Parameters
        and errors are those of `predict`.

        Raises
        ------
        ValueError
            The cost is not `CrossEntropy`, whose outputs alone are the logits of probabilities.

        Examples
        --------
        >>> import equiprop as eq
        >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 3], seed=1), cost=eq.CrossEntropy())
        >>> trainer.predict_proba([[0, 1], [1, 0]]).sum(axis=1).round(6).tolist()
        [1.0, 1.0]
        """
        where = "Trainer.predict_proba"
        if not isinstance(self.cost, CrossEntropy):
            raise ValueError(
                f"[{where}] Probabilities need a Trainer with cost=CrossEntropy(). Received {self.cost!r}."
            )
        self._require_classes(where)
        outputs = self.cost.scale * self.predict(x, scale=scale)
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
