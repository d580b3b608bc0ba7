"""The data that a Trainer receives, as a Dataset that fits its model, with the classes of its outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from equiprop.arrays import Array, check_image_shape
from equiprop.batches import checked_batches, is_batches, parts
from equiprop.dataset import Dataset
from equiprop.input_scale import warn_if_scaled_twice
from equiprop.labels import UnknownLabel, read_y, shown
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.scaling import Scaling, as_scaling
from equiprop.weights import as_sample_weight, class_factors, refuse_zero_weights


def as_dataset(
    data: Any,
    y: Any,
    model: Model,
    classes: Array | None,
    where: str,
    name: str = "`data`",
) -> Dataset:
    """Return a Dataset, or arrays x and y as one, for a model: its codes are the numbers of the outputs.

    Labels that are integers in 0 .. outputs - 1 are the numbers of the outputs. Other labels are numbered in
    the order of `Dataset.classes`, and there is one output for each. A model with one output has no classes:
    numbers y in one dimension are its targets.

    Parameters
    ----------
    data : Dataset, or array (samples, inputs)
    y : array, optional
        Labels or targets of an array.
    model : Model
    classes : array, optional
        The class of each output, if it is known from training.
    where, name : str
        Function and argument, for errors.

    Raises
    ------
    TypeError, ValueError
        If `data` is no Dataset and y is None, or both are given; or the data set is empty, or does not have
        the numbers of inputs and outputs of the model; or a label is none of `classes`.
    """
    try:
        return _as_dataset(data, y, model, classes, where, name)
    except UnknownLabel as error:
        cure = "To train the model on other classes, set its attribute `classes` to None."
        raise ValueError(f"{error} {cure}") from error


def _as_dataset(data: Any, y: Any, model: Model, classes: Array | None, where: str, name: str) -> Dataset:
    """Return the Dataset; raise UnknownLabel for a label that is none of `classes`."""
    samples = _dataset(data, y, model, classes, where, name)
    if len(samples) == 0:
        raise ValueError(f"[{where}] {name} holds at least one sample. Received none.")
    refuse_zero_weights(samples.sample_weight, where)
    _check_sizes(samples, model, where, name)
    if not samples.is_classification:
        return samples
    if classes is None:
        classes = _classes_of_outputs(samples, model.num_outputs, where)
    return samples.with_classes(classes)


def _dataset(data: Any, y: Any, model: Model, classes: Array | None, where: str, name: str) -> Dataset:
    if isinstance(data, Dataset):
        if y is not None:
            raise ValueError(f"[{where}] A Dataset contains y. Received a Dataset and {type(y).__name__}.")
        return data
    if y is None:
        received = type(data).__name__
        raise TypeError(f"[{where}] {name} is a Dataset, or an array x with y. Received {received} alone.")
    y = read_y(y, where)
    if model.num_outputs == 1:
        y = _column(y)
    return Dataset(data, y, classes=classes if y.ndim == 1 else None)


def presented(data: Dataset, scaling: Scaling, where: str) -> Dataset:
    """Return data with their own scale, or with the scaling of a model if they are raw.

    Raises
    ------
    ValueError
        If the data have a scale of their own, and the scaling was fitted for each feature, or the reverse.
    """
    own = data.scale
    if own is None:
        return data.with_scale(scaling)
    if own.is_none or own == scaling or (own.is_uniform and scaling.is_uniform):
        return data
    raise ValueError(
        f"[{where}] Data have no scale, that of the training data, or 1 for inputs that are scaled already; "
        f"use data.with_scale(None) for raw inputs. Received {own!r}, after training with {scaling!r}."
    )


def chosen_scaling(data: Dataset, given: Any, model: Model, where: str) -> Scaling:
    """Return the scaling of training data: a given one, their scale, that of the model, or none.

    Parameters
    ----------
    data : Dataset
    given : Scaling, float, str or None
        See `Trainer.fit`; one with a name is fitted on the data.
    model : Model
    where : str
        Name of the caller, for errors.

    Raises
    ------
    TypeError, ValueError
        If the given scaling is none, or the data have a scale, too.
    """
    if given is None:
        return data.scale or model.scaling or Scaling.none()
    if data.scale is not None:
        raise ValueError(
            f"[{where}] `scaling` is for data without a scale; use data.with_scale(None). "
            f"Received {given!r} and data with {data.scale!r}."
        )
    return as_scaling(given, data.x, where, data.sample_weight)


def with_given_weight(data: Dataset, sample_weight: Any, where: str) -> Dataset:
    """Return a data set with the weights that were given besides it; None keeps its own.

    Raises
    ------
    TypeError, ValueError
        If they are not the weights of its samples, all are 0, or the data set has weights, too.
    """
    if sample_weight is None:
        return data
    if data.sample_weight is not None:
        raise ValueError(f"[{where}] Weights are given once. Received a Dataset with weights, and others.")
    weights = as_sample_weight(sample_weight, where, len(data))
    refuse_zero_weights(weights, where)
    return data.with_sample_weight(weights)


def weighted(data: Dataset, sample_weight: Any, class_weight: Any, where: str) -> Dataset:
    """Return the samples whose weight is not 0, with the products of the weights of samples and of classes.

    Parameters
    ----------
    data : Dataset
    sample_weight : array (samples,), optional
        Weights of a data set that has none.
    class_weight : mapping from class to float, "balanced", or None
        See `class_factors`.
    where : str
        Name of the caller, for errors.
    """
    data = _without_zero_weights(with_given_weight(data, sample_weight, where))
    if class_weight is None:
        return data
    if not data.is_classification:
        cure = "; pass y.argmax(axis=1) for one-hot rows" if are_one_hot(data.y) else ""
        raise ValueError(f"[{where}] class_weight needs class labels{cure}. Received real targets.")
    factors = class_factors(data.y, data.classes, class_weight, data.sample_weight, where)
    weights = factors if data.sample_weight is None else data.sample_weight * factors
    refuse_zero_weights(weights, where)
    return _without_zero_weights(data.with_sample_weight(weights))


def _without_zero_weights(data: Dataset) -> Dataset:
    if data.sample_weight is None or data.sample_weight.all():
        return data
    return data.take(data.sample_weight > 0)


def _of_mean_one(data: Any) -> Any:
    """Return a data set with its weights divided by their mean; others, and batches, as they are."""
    if not isinstance(data, Dataset) or data.sample_weight is None:
        return data
    weights = data.sample_weight / data.sample_weight.max()  # so that no sum overflows
    return data.with_sample_weight(weights / weights.mean())


def fit_data(
    data: Any,
    y: Any,
    validation: Any,
    given: tuple[Any, Any, Any],
    epochs: int,
    model: Model,
    classes: Array | None,
    seed: int,
) -> tuple[Any, Any, Dataset | None]:
    """Return what `Trainer.fit` received as data, training data, and validation data or None.

    Parameters
    ----------
    data, y : Dataset and None, arrays x and y, or iterable of batches and None
    validation : float, Dataset, pair (x, y), triple (x, y, sample_weight), or None
        A float is the fraction of a Dataset that is held out.
    given : tuple
        The arguments scaling, sample_weight and class_weight.
    epochs : int
    model : Model
    classes : array, optional
        The class of each output, if it is known from earlier training.
    seed : int
        Seed of the choice of the samples that are held out.

    Returns
    -------
    tuple of data, training data, and validation data
        The first is all of `data` as a Dataset, or the iterable; training data are the part that remains.
        Their weights have the mean 1, and samples of weight 0 are left out. All have a scale.

    Raises
    ------
    TypeError, ValueError
        If an argument is something else, does not fit the model, or one of the two parts is empty.
    """
    where, name = "Trainer.fit", "Each of training and validation data"
    chosen = model.scaling or Scaling.none()
    if y is None and is_batches(data):
        _refuse_given(given)
        data = training = checked_batches(data, epochs)
    else:
        scaling, sample_weight, class_weight = given
        data = as_dataset(data, y, model, classes, where)
        data = training = weighted(data, sample_weight, class_weight, where)
        classes = data.classes
        if isinstance(validation, float):
            training, validation = data.split(validation, seed=seed)
            as_dataset(training, None, model, classes, where, name)
        chosen = chosen_scaling(training, scaling, model, where)
        if scaling is None and data.scale is None:
            warn_if_scaled_twice(data.x, chosen, where, stacklevel=5)
        data, training = data.with_scale(chosen), training.with_scale(chosen)
    if validation is not None:
        several = isinstance(validation, tuple) and len(validation) in (2, 3)
        x, y, weight = parts(validation) if several else (validation, None, None)
        held_out = with_given_weight(as_dataset(x, y, model, classes, where, name), weight, where)
        validation = _validation(held_out, chosen, where)
    return data, _of_mean_one(training), validation


def _validation(data: Dataset, scaling: Scaling, where: str) -> Dataset:
    """Return validation data with their scale, or with the scaling of the training data."""
    if data.scale is None:
        warn_if_scaled_twice(data.x, scaling, where, stacklevel=6)
    return presented(data, scaling, where)


def _refuse_given(given: tuple[Any, Any, Any]) -> None:
    """Raise ValueError if a scaling or weights are given besides batches."""
    scaling, *weights = given
    if scaling is not None:
        raise ValueError(
            "[Trainer.fit] `scaling` is for a Dataset or arrays; scale the inputs of batches where they are "
            f"made. Received {scaling!r} and batches."
        )
    if any(weight is not None for weight in weights):
        raise ValueError(
            "[Trainer.fit] Weights of batches are part of them: yield (x, y, sample_weight). Received "
            "batches, and weights besides them."
        )


def are_one_hot(y: Array) -> bool:
    """Return True if each row of targets has a single 1 and otherwise 0."""
    return bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all())


def _column(y: Array) -> Array:
    """Return numbers, as targets of one output; labels of another type as they are."""
    if y.dtype.kind not in "biuf":
        return y
    return y.astype(np.float64)[:, None] if y.ndim == 1 else y.astype(np.float64)


def _check_sizes(data: Dataset, model: Model, where: str, name: str) -> None:
    inputs = getattr(model, "num_inputs", None)
    if inputs and data.num_features != inputs:
        raise ValueError(
            f"[{where}] {name} has one feature for each of the {inputs} inputs of the model. "
            f"Received {data.num_features} features."
        )
    check_images(data, model, where)
    if not data.is_classification and data.num_outputs != model.num_outputs:
        raise ValueError(
            f"[{where}] {name} has one target for each of the {model.num_outputs} outputs of the model. "
            f"Received {data.num_outputs} targets per sample."
        )


def check_images(data: Dataset, model: Model, where: str) -> None:
    """Raise ValueError if the samples are images of another shape than the input of the model."""
    if data.image_shape is not None and isinstance(model, HopfieldNetwork) and model.layers[0].is_image:
        check_image_shape(data.image_shape, model.input_shape, where)


def _classes_of_outputs(data: Dataset, outputs: int, where: str) -> Array:
    """Return the class that each output of a model stands for."""
    classes: Array = data.classes
    if classes.dtype.kind in "iu" and classes[0] >= 0 and classes[-1] < outputs:
        return np.arange(outputs)
    if len(classes) != outputs:
        numbers = outputs == 1 and classes.dtype.kind in "biu"
        cure = "; for regression, pass y.astype(float)[:, None]" if numbers else ""
        raise ValueError(
            f"[{where}] The model has one output for each class, {outputs} in all. Received {len(classes)} "
            f"classes, {shown(classes)}. Make a model with {len(classes)} outputs{cure}."
        )
    return classes
