"""Evaluation and predictions of a Trainer: errors, outputs, classes and probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from equiprop.arrays import Array
from equiprop.costs import Cost, CrossEntropy, cost_of_outputs
from equiprop.dataset import Dataset
from equiprop.evaluation import dataset_inputs, input_batches, input_samples, measure, num_batches, predict
from equiprop.history import Evaluation
from equiprop.input_scale import warn_if_scaled_twice, warn_of_scales
from equiprop.model_interface import Model
from equiprop.overlap import reading
from equiprop.processes import group_of
from equiprop.progress import tracked
from equiprop.scaling import Scaling, as_scale
from equiprop.solvers import FreeSolver
from equiprop.training_data import are_one_hot, as_dataset, check_images, presented, with_given_weight


class Predictor:
    """Predictions of a model with the solver, the cost, the scale and the classes of its training.

    Attributes
    ----------
    model : Model
    cost : Cost
    solver : FreeSolver
    scaling : Scaling
        Scaling of raw inputs, which is that of the model: the one in training.
    classes : array, or None
        The class that each output stands for, which is that of the model; None before training, and for real
        targets.
    """

    model: Model
    cost: Cost
    solver: FreeSolver | None
    _has_classes: bool

    @property
    def averaged_model(self) -> Model:  # noqa: D102
        raise NotImplementedError

    @property
    def _solver(self) -> FreeSolver:
        assert self.solver is not None
        return self.solver

    @property
    def scaling(self) -> Scaling:
        """`Scaling` of raw inputs: that of the model, or none if it is not known."""
        return self.model.scaling or Scaling.none()

    @property
    def classes(self) -> Array | None:
        """The class that each output of the model stands for; None before training, and for real targets."""
        return self.model.classes

    def _represent(self, data: Any, stacklevel: int) -> None:
        """Store scaling and classes of a Dataset for training in the model, and warn of scales."""
        if not isinstance(data, Dataset):
            return
        self.model.scaling, self.model.classes = data.scale, data.classes
        self._has_classes = data.is_classification or are_one_hot(data.y)
        warn_of_scales(data, stacklevel)

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
            Class labels are those of training. The model's `scaling` is applied, unless the Dataset has a
            scale of its own, such as 1 for inputs that are scaled already.
        y : array, optional
            Labels or targets of an array.
        sample_weight : array (samples,), optional
            Weights, at least 0, unless `data` is a Dataset with weights.
        """
        where = "Trainer.evaluate"
        data = self._presented(as_dataset(data, y, self.model, self.classes, where), where)
        data = with_given_weight(data, sample_weight, where)
        with reading(self.model, where):
            settings = self.averaged_model, self.cost, self._solver
            evaluation, outcome = measure(*settings, data, group_of(self))
        outcome.report_failure("Trainer.evaluate", "warn")
        return evaluation

    def predict(self, x: Any, *, scale: Scaling | float | None = None) -> Array:
        """Return the outputs (samples, outputs) of free phases with the trainer's solver.

        Emits a `ConvergenceWarning` if some samples do not converge. ``predict(data)`` equals
        ``predict(data.x, scale=data.scale)``.

        Parameters
        ----------
        x : Dataset, or array or scipy.sparse array (samples, inputs)
        scale : Scaling or float, optional
            Scale of an array, such as 1 for inputs that `Dataset.batch` returned. By default the model's
            `scaling` is applied, as to a Dataset without a scale.

        Raises
        ------
        ValueError
            `x` is a Dataset and `scale` is given, or `x` has a scale that contradicts that of training.

        Examples
        --------
        >>> import equiprop as eq
        >>> pixels, labels = np.array([[0, 255], [255, 0]] * 20, dtype=np.uint8), np.array([0, 1] * 20)
        >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 2], seed=1))
        >>> history = trainer.fit(eq.Dataset(pixels, labels, scale=1 / 255), epochs=1)
        >>> trainer.predict(pixels).shape
        (40, 2)
        """
        where = "Trainer.predict"
        if isinstance(x, Dataset):
            if scale is not None:
                raise ValueError(f"[{where}] scale is for arrays; a Dataset has one. Received {scale}.")
            check_images(x, self.model, where)
            count, batches = len(x), dataset_inputs(self.model, self._presented(x, where))
        else:
            samples = input_samples(self.model, x)
            count = samples.shape[0]
            batches = input_batches(self.model, samples, self._scale_of(samples, scale, where))
        with reading(self.model, where):
            shown = tracked(batches, num_batches(count))
            outputs, outcome = predict(self.averaged_model, self._solver, shown)
        outcome.report_failure("Trainer.predict", "warn")
        return outputs

    def _presented(self, data: Dataset, where: str) -> Dataset:
        """Return data with their own scale, or with the scaling of the model if they are raw."""
        if data.scale is None:
            warn_if_scaled_twice(data.x, self.scaling, where, stacklevel=4)
        return presented(data, self.scaling, where)

    def _scale_of(self, samples: Any, scale: Scaling | float | None, where: str) -> Scaling:
        """Return the scale of an array, which is that of the model unless it is given."""
        if scale is None:
            warn_if_scaled_twice(samples, self.scaling, where, stacklevel=4)
            scale = self.scaling
        return as_scale(scale, int(samples.shape[1]), where)

    def predict_classes(self, x: Any, *, scale: Scaling | float | None = None) -> Array:
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

    def predict_proba(self, x: Any, *, scale: Scaling | float | None = None) -> Array:
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
        cost = cost_of_outputs(self.cost, self.averaged_model, where)
        if not isinstance(cost, CrossEntropy):
            raise ValueError(
                f"[{where}] Probabilities need a Trainer with cost=CrossEntropy(). Received {self.cost!r}."
            )
        self._require_classes(where)
        outputs = cost.scale * self.predict(x, scale=scale)
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
